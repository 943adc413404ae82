// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: matrices of rows with guard bytes, random content and zero tails, and comparison with
// a double-precision answer.
#ifndef GAMUT_TESTS_KERNEL_CHECK_H
#define GAMUT_TESTS_KERNEL_CHECK_H

#include <gamut/kernel.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CHECK_SEED = 20240611, CHECK_GUARD = 128 };

// Poison is what an output holds before a kernel writes it: a NaN in both types, so that a forgotten element shows.
enum { CHECK_POISON = 0xff };

typedef struct check_matrix {
    gm_dtype t;
    int rows, c, ld;
    char *block;
    void *data;
} check_matrix;

static inline size_t check_bytes(const check_matrix *m) {
    return (size_t)m->rows * (size_t)m->ld * gm_dtype_size(m->t);
}

static inline double check_get(const check_matrix *m, long row, int c) {
    size_t at = (size_t)row * (size_t)m->ld + (size_t)c;
    return m->t == GM_F32 ? ((const float *)m->data)[at] : gm_bf16_to_f32(((const gm_bf16 *)m->data)[at]);
}

static inline void check_set(check_matrix *m, long row, int c, float v) {
    size_t at = (size_t)row * (size_t)m->ld + (size_t)c;
    if (m->t == GM_F32)
        ((float *)m->data)[at] = v;
    else
        ((gm_bf16 *)m->data)[at] = gm_bf16_from_f32(v);
}

// An output: poisoned, between guards. extra: groups of 64 bytes that the stride is wider than needed.
static inline check_matrix check_output(gm_dtype t, int rows, int c, int extra) {
    check_matrix m = {.t = t, .rows = rows, .c = c};
    m.ld = gm_channel_stride(t, c) + extra * gm_channel_stride(t, 1);
    m.block = gm_alloc(check_bytes(&m) + 2 * CHECK_GUARD, 1);
    assert_non_null(m.block);
    memset(m.block, CHECK_POISON, check_bytes(&m) + 2 * CHECK_GUARD);
    m.data = m.block + CHECK_GUARD;
    return m;
}

// An input: normal values times size, tails zero.
static inline check_matrix check_input(gm_rng *rng, gm_dtype t, int rows, int c, int extra, float size) {
    check_matrix m = check_output(t, rows, c, extra);
    memset(m.data, 0, check_bytes(&m));
    for (long row = 0; row < rows; row++)
        for (int k = 0; k < c; k++) check_set(&m, row, k, size * gm_rng_normal(rng));
    return m;
}

static inline check_matrix check_copy(const check_matrix *from) {
    check_matrix m = *from;
    m.block = gm_alloc(check_bytes(&m) + 2 * CHECK_GUARD, 1);
    assert_non_null(m.block);
    memcpy(m.block, from->block, check_bytes(&m) + 2 * CHECK_GUARD);
    m.data = m.block + CHECK_GUARD;
    return m;
}

static inline void check_free(check_matrix *m) {
    gm_free(m->block);
    m->block = NULL;
}

// Guards untouched, tails zero.
static inline void check_frame(const check_matrix *m, const char *what) {
    const unsigned char *before = (const unsigned char *)m->block;
    const unsigned char *after = (const unsigned char *)m->data + check_bytes(m);
    for (int i = 0; i < CHECK_GUARD; i++)
        if (before[i] != CHECK_POISON || after[i] != CHECK_POISON)
            fail_msg("%s: wrote outside of its rows", what);
    for (long row = 0; row < m->rows; row++)
        for (int k = m->c; k < m->ld; k++)
            if (check_get(m, row, k) != 0) fail_msg("%s: tail of row %ld, column %d is not zero", what, row, k);
}

// |got - want| within the rounding of the type plus `slack` times `size`, the magnitude of what was summed.
static inline void check_near(gm_dtype t, double got, double want, double slack, const char *what) {
    double rounding = t == GM_F32 ? 4e-7 : 4.1e-3;
    if (!(fabs(got - want) <= rounding * fabs(want) + slack + 1e-30))
        fail_msg("%s: got %.9g, expected %.9g (slack %.3g)", what, got, want, slack);
}

// Runs `body` for every level the machine has (k is the table) and both types (t).
#define CHECK_EVERY(...)                                                                           \
    for (int level_ = GM_CPU_REF; level_ <= (int)gm_cpu_detected(); level_++) {                    \
        const gm_kernels *k = gm_kernels_at((gm_cpu_level)level_);                                 \
        for (int type_ = GM_F32; type_ <= GM_BF16; type_++) {                                      \
            gm_dtype t = (gm_dtype)type_;                                                          \
            __VA_ARGS__                                                                                \
        }                                                                                          \
    }

#ifdef GAMUT_SANITIZED
static const int check_widths[] = {1, 8, 15, 16, 17, 33, 64, 100};
#else
static const int check_widths[] = {1, 3, 8, 15, 16, 17, 24, 32, 33, 40, 63, 64, 65, 100, 130};
#endif
enum { CHECK_WIDTHS = sizeof check_widths / sizeof check_widths[0] };

static inline double check_act(gm_act a, double x) {
    switch (a) {
    case GM_ACT_NONE: return x;
    case GM_ACT_RELU: return x > 0 ? x : 0;
    case GM_ACT_RELU6: return fmin(fmax(x, 0), 6);
    case GM_ACT_HSWISH: return x * fmin(fmax(x + 3, 0), 6) / 6;
    case GM_ACT_HSIGMOID: return fmin(fmax(x + 3, 0), 6) / 6;
    case GM_ACT_GELU: return 0.5 * x * erfc(-x / sqrt(2));
    case GM_ACT_SILU: return x / (1 + exp(-x));
    case GM_ACT_SIGMOID: return 1 / (1 + exp(-x));
    }
    return x;
}

// Central difference; away from kinks its error is below 1e-9 here.
static inline double check_act_slope(gm_act a, double x) {
    const double h = 1e-5;
    return (check_act(a, x + h) - check_act(a, x - h)) / (2 * h);
}

static inline bool check_at_kink(gm_act a, double x) {
    const double near = 2e-5;
    switch (a) {
    case GM_ACT_RELU: return fabs(x) < near;
    case GM_ACT_RELU6: return fabs(x) < near || fabs(x - 6) < near;
    case GM_ACT_HSWISH:
    case GM_ACT_HSIGMOID: return fabs(fabs(x) - 3) < near;
    default: return false;
    }
}

#endif
