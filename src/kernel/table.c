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

#if GM__X86

bool gm__bf16_pairs;

static void conv_avx2(gm_dtype type, GM__CONV_ARGS) {
    gm__f32_conv(&gm__f32_ops_avx2, type, g, x, w, e, y, scratch);
}
static void conv_dgrad_avx2(gm_dtype type, GM__DGRAD_ARGS) {
    gm__f32_dgrad(&gm__f32_ops_avx2, type, g, dy, wt, accumulate, dx, scratch);
}
static void conv_wgrad_avx2(gm_dtype type, GM__WGRAD_ARGS) {
    gm__f32_wgrad(&gm__f32_ops_avx2, type, g, x, dy, w, dw, c0, c1, p0, p1, scratch);
}

static void conv_avx512(gm_dtype type, GM__CONV_ARGS) {
    if (type == GM_I8) gm__conv_i8_avx512(g, x, w, e, y, scratch);
    else gm__f32_conv(&gm__f32_ops_avx512, type, g, x, w, e, y, scratch);
}
static void conv_dgrad_avx512(gm_dtype type, GM__DGRAD_ARGS) {
    gm__f32_dgrad(&gm__f32_ops_avx512, type, g, dy, wt, accumulate, dx, scratch);
}
static void conv_wgrad_avx512(gm_dtype type, GM__WGRAD_ARGS) {
    gm__f32_wgrad(&gm__f32_ops_avx512, type, g, x, dy, w, dw, c0, c1, p0, p1, scratch);
}

static void conv_avx512bf16(gm_dtype type, GM__CONV_ARGS) {
    if (type == GM_BF16) gm__conv_bf16_avx512(g, x, w, e, y, scratch);
    else conv_avx512(type, g, x, w, e, y, scratch);
}
static void conv_dgrad_avx512bf16(gm_dtype type, GM__DGRAD_ARGS) {
    if (type == GM_BF16) gm__conv_dgrad_bf16_avx512(g, dy, wt, accumulate, dx, scratch);
    else conv_dgrad_avx512(type, g, dy, wt, accumulate, dx, scratch);
}
static void conv_wgrad_avx512bf16(gm_dtype type, GM__WGRAD_ARGS) {
    if (type == GM_BF16) gm__conv_wgrad_bf16_avx512(g, x, dy, w, dw, c0, c1, p0, p1, scratch);
    else conv_wgrad_avx512(type, g, x, dy, w, dw, c0, c1, p0, p1, scratch);
}

static void conv_amx(gm_dtype type, GM__CONV_ARGS) {
    if (type == GM_BF16) gm__conv_bf16_amx(g, x, w, e, y, scratch);
    else if (type == GM_I8) gm__conv_i8_amx(g, x, w, e, y, scratch);
    else conv_avx512(type, g, x, w, e, y, scratch);
}
static void conv_dgrad_amx(gm_dtype type, GM__DGRAD_ARGS) {
    if (type == GM_BF16) gm__conv_dgrad_bf16_amx(g, dy, wt, accumulate, dx, scratch);
    else conv_dgrad_avx512(type, g, dy, wt, accumulate, dx, scratch);
}
static void conv_wgrad_amx(gm_dtype type, GM__WGRAD_ARGS) {
    if (type == GM_BF16) gm__conv_wgrad_bf16_amx(g, x, dy, w, dw, c0, c1, p0, p1, scratch);
    else conv_wgrad_avx512(type, g, x, dy, w, dw, c0, c1, p0, p1, scratch);
}

static void fill_x86(gm_kernels *t) {
    if (t->level == GM_CPU_AVX2) {
        gm__vector_fill_avx2(t);
        t->conv = conv_avx2;
        t->conv_dgrad = conv_dgrad_avx2;
        t->conv_wgrad = conv_wgrad_avx2;
    } else if (t->level == GM_CPU_AVX512) {
        gm__vector_fill_avx512(t);
        t->conv = gm__bf16_pairs ? conv_avx512bf16 : conv_avx512;
        t->conv_dgrad = gm__bf16_pairs ? conv_dgrad_avx512bf16 : conv_dgrad_avx512;
        t->conv_wgrad = gm__bf16_pairs ? conv_wgrad_avx512bf16 : conv_wgrad_avx512;
    } else {
        t->conv = conv_amx;
        t->conv_dgrad = conv_dgrad_amx;
        t->conv_wgrad = conv_wgrad_amx;
    }
}

#endif

// Builds every level that the machine has; one above it is the same as the highest that it has.
static void build(void) {
    fill_ref(&tables[GM_CPU_REF]);
#if GM__X86
    gm__bf16_pairs = gm_cpu_bf16(GM_CPU_AVX512);
#endif
    for (int level = GM_CPU_AVX2; level <= GM_CPU_AMX; level++) {
        tables[level] = tables[level - 1];
#if GM__X86
        if (level > (int)gm_cpu_detected()) continue;
        tables[level].level = (gm_cpu_level)level;
        fill_x86(&tables[level]);
#endif
    }
}

const gm_kernels *gm_kernels_at(gm_cpu_level level) {
    pthread_once(&once, build);
    return &tables[gm_max(GM_CPU_REF, gm_min(GM_CPU_AMX, (int)level))];
}

const gm_kernels *gm_kernels_active(void) {
    return gm_kernels_at(gm_cpu_active());
}

#if GM__X86

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

// Every level is counted, so that scratch outlives a change of level.
size_t gm_conv_scratch(const gm_conv *g, gm_dtype type) {
    size_t bytes = larger(gm__f32_conv_scratch(&gm__f32_ops_avx2, g, type),
                          gm__f32_conv_scratch(&gm__f32_ops_avx512, g, type));
    if (type == GM_I8) return larger(bytes, gm__conv_scratch_i8(g));
    bytes = larger(larger(bytes, GM__DEPTHWISE_SCRATCH), gm__f32_wgrad_scratch(g, type));
    return type == GM_BF16 ? larger(bytes, gm__conv_scratch_bf16(g)) : bytes;
}

#else

size_t gm_conv_scratch(const gm_conv *g, gm_dtype type) {
    (void)g;
    (void)type;
    return 64; // the portable kernels use none
}

#endif
