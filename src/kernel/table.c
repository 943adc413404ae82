// SPDX-License-Identifier: Apache-2.0
// kernel: the tables, one a level: portable C first, then what each instruction set does better.
#include "kernel/f32_engine.h"
#include "kernel/kernel_private.h"
#include "kernel/vector_fill.h"
#include <pthread.h>

static gm_kernels tables[GM_CPU_AMX + 1];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_ref(gm_kernels *t) {
    gm__vector_fill_ref(t);
    t->conv = gm__conv_ref;
    t->conv_dgrad = gm__conv_dgrad_ref;
    t->conv_wgrad = gm__conv_wgrad_ref;
    t->pack = gm__pack_ref;
    t->pack_t = gm__pack_t_ref;
}

static void conv_avx512(gm_dtype type, GM__CONV_ARGS) {
    if (type == GM_I8) gm__conv_ref(type, g, x, w, e, y, scratch);
    else gm__f32_conv(&gm__f32_ops_avx512, type, g, x, w, e, y, scratch);
}

static void conv_dgrad_avx512(gm_dtype type, GM__DGRAD_ARGS) {
    gm__f32_dgrad(&gm__f32_ops_avx512, type, g, dy, wt, accumulate, dx, scratch);
}

static void conv_wgrad_avx512(gm_dtype type, GM__WGRAD_ARGS) {
    gm__f32_wgrad(&gm__f32_ops_avx512, type, g, x, dy, w, dw, c0, c1, p0, p1, scratch);
}

// Builds every level that the machine has; a level above it is the one below.
static void build(void) {
    const gm_cpu_level top = gm_cpu_detected();
    fill_ref(&tables[GM_CPU_REF]);
    for (int level = GM_CPU_AVX2; level <= GM_CPU_AMX; level++) {
        gm_kernels *t = &tables[level];
        *t = tables[level - 1];
        if (level > (int)top) continue;
        t->level = (gm_cpu_level)level;
        if (level == GM_CPU_AVX512) {
            t->conv = conv_avx512;
            t->conv_dgrad = conv_dgrad_avx512;
            t->conv_wgrad = conv_wgrad_avx512;
        }
    }
}

const gm_kernels *gm_kernels_at(gm_cpu_level level) {
    pthread_once(&once, build);
    return &tables[level < GM_CPU_REF ? GM_CPU_REF : level > GM_CPU_AMX ? GM_CPU_AMX : level];
}

const gm_kernels *gm_kernels_active(void) {
    return gm_kernels_at(gm_cpu_active());
}

size_t gm_conv_scratch(const gm_conv *g, gm_dtype type) {
    size_t a = gm__f32_conv_scratch(&gm__f32_ops_avx512, g, type), b = gm__f32_wgrad_scratch(g);
    return a > b ? a : b;
}
