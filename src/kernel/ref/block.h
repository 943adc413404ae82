// SPDX-License-Identifier: Apache-2.0
// What the portable kernels share: rows are read in blocks of up to 64 channels into f32, worked on in plain loops
// that any compiler vectorises, and written back in the type of the row.
#ifndef GAMUT_KERNEL_REF_BLOCK_H
#define GAMUT_KERNEL_REF_BLOCK_H

#include <gamut/kernel.h>
#include <math.h>
#include <string.h>

enum { GM__BLOCK = 64 };

static inline ptrdiff_t gm__size_of(gm_dtype t) { return t == GM_F32 ? 4 : t == GM_BF16 ? 2 : 1; }

// Element (row, column) of a matrix with row stride ld.
static inline const void *gm__at(gm_dtype t, const void *p, ptrdiff_t row, int ld, int column) {
    return (const char *)p + (row * ld + column) * gm__size_of(t);
}
static inline void *gm__at_mut(gm_dtype t, void *p, ptrdiff_t row, int ld, int column) {
    return (char *)p + (row * ld + column) * gm__size_of(t);
}

static inline void gm__load(gm_dtype t, const void *p, int count, float *out) {
    if (t == GM_F32) {
        memcpy(out, p, (size_t)count * sizeof(float));
        return;
    }
    const gm_bf16 *in = p;
    for (int i = 0; i < count; i++) out[i] = gm_bf16_to_f32(in[i]);
}

static inline void gm__store(gm_dtype t, void *p, int count, const float *in) {
    if (t == GM_F32) {
        memcpy(p, in, (size_t)count * sizeof(float));
        return;
    }
    gm_bf16 *out = p;
    for (int i = 0; i < count; i++) out[i] = gm_bf16_from_f32(in[i]);
}

// p = in, or p += in
static inline void gm__store_or_add(gm_dtype t, void *p, int count, float *in, bool accumulate) {
    if (accumulate) {
        float old[GM__BLOCK];
        gm__load(t, p, count, old);
        for (int i = 0; i < count; i++) in[i] += old[i];
    }
    gm__store(t, p, count, in);
}

// Zeroes [c, ld) of a row.
static inline void gm__zero_tail(gm_dtype t, void *p, ptrdiff_t row, int ld, int c) {
    if (ld > c) memset(gm__at_mut(t, p, row, ld, c), 0, (size_t)((ld - c) * gm__size_of(t)));
}

// Comparisons are written so that NaN falls through to the branch that returns x: a NaN stays visible.
static inline float gm__act_value(gm_act a, float x) {
    switch (a) {
    case GM_ACT_NONE: return x;
    case GM_ACT_RELU: return x < 0 ? 0 : x;
    case GM_ACT_RELU6: return x < 0 ? 0 : x > 6 ? 6 : x;
    case GM_ACT_HSWISH: return x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) * (1.0f / 6);
    case GM_ACT_HSIGMOID: return x <= -3 ? 0 : x >= 3 ? 1 : (x + 3) * (1.0f / 6);
    case GM_ACT_GELU: return 0.5f * x * (1 + erff(x * 0.70710678f));
    case GM_ACT_SILU: return x / (1 + expf(-x));
    case GM_ACT_SIGMOID: return 1 / (1 + expf(-x));
    }
    return x;
}

// a'(x); at a kink the side that is flat.
static inline float gm__act_slope(gm_act a, float x) {
    switch (a) {
    case GM_ACT_NONE: return 1;
    case GM_ACT_RELU: return x > 0 ? 1 : 0;
    case GM_ACT_RELU6: return x > 0 && x < 6 ? 1 : 0;
    case GM_ACT_HSWISH: return x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) * (1.0f / 6);
    case GM_ACT_HSIGMOID: return x > -3 && x < 3 ? 1.0f / 6 : 0;
    case GM_ACT_GELU:
        return 0.5f * (1 + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
    case GM_ACT_SILU: {
        float s = 1 / (1 + expf(-x));
        return s * (1 + x * (1 - s));
    }
    case GM_ACT_SIGMOID: {
        float s = 1 / (1 + expf(-x));
        return s * (1 - s);
    }
    }
    return 1;
}

#endif
