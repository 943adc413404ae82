// SPDX-License-Identifier: Apache-2.0
// Elementwise kernels over rows, portable.
#include "kernel/ref/block.h"
#include "kernel/quantize_rows.h"
#include "kernel/vector_fill.h"

static void act_forward(gm_dtype t, gm_act a, int rows, int c, const void *x, int ldx, void *y, int ldy) {
    float v[GM__BLOCK];
    for (ptrdiff_t row = 0; row < rows; row++) {
        for (int b = 0; b < c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - b);
            gm__load(t, gm__at(t, x, row, ldx, b), count, v);
            for (int i = 0; i < count; i++) v[i] = gm__act_value(a, v[i]);
            gm__store(t, gm__at_mut(t, y, row, ldy, b), count, v);
        }
        gm__zero_tail(t, y, row, ldy, c);
    }
}

static void act_grad(gm_dtype t, gm_act a, int rows, int c, const void *x, int ldx, const void *dy, int ldy,
                     bool accumulate, void *dx, int lddx) {
    float v[GM__BLOCK], d[GM__BLOCK];
    for (ptrdiff_t row = 0; row < rows; row++) {
        for (int b = 0; b < c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - b);
            gm__load(t, gm__at(t, x, row, ldx, b), count, v);
            gm__load(t, gm__at(t, dy, row, ldy, b), count, d);
            for (int i = 0; i < count; i++) d[i] *= gm__act_slope(a, v[i]);
            gm__store_or_add(t, gm__at_mut(t, dx, row, lddx, b), count, d, accumulate);
        }
        gm__zero_tail(t, dx, row, lddx, c);
    }
}

static void add(gm_dtype t, int rows, int c, const void *a, int lda, const void *b, int ldb, void *y, int ldy) {
    float u[GM__BLOCK], v[GM__BLOCK];
    for (ptrdiff_t row = 0; row < rows; row++) {
        for (int k = 0; k < c; k += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - k);
            gm__load(t, gm__at(t, a, row, lda, k), count, u);
            gm__load(t, gm__at(t, b, row, ldb, k), count, v);
            for (int i = 0; i < count; i++) u[i] += v[i];
            gm__store(t, gm__at_mut(t, y, row, ldy, k), count, u);
        }
        gm__zero_tail(t, y, row, ldy, c);
    }
}

static void convert(gm_dtype from, gm_dtype to, size_t count, const void *x, void *y) {
    if (from == to) {
        memmove(y, x, count * (size_t)gm__size_of(from));
    } else if (to == GM_BF16) {
        const float *in = x;
        gm_bf16 *out = y;
        for (size_t i = 0; i < count; i++) out[i] = gm_bf16_from_f32(in[i]);
    } else {
        const gm_bf16 *in = x;
        float *out = y;
        for (size_t i = 0; i < count; i++) out[i] = gm_bf16_to_f32(in[i]);
    }
}

static void channel_scale(gm_dtype t, int n, int positions, int c, const void *x, int ldx, const void *s, int lds,
                          void *y, int ldy) {
    float u[GM__BLOCK], v[GM__BLOCK];
    for (ptrdiff_t row = 0; row < (ptrdiff_t)n * positions; row++) {
        for (int b = 0; b < c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - b);
            gm__load(t, gm__at(t, s, row / positions, lds, b), count, u);
            gm__load(t, gm__at(t, x, row, ldx, b), count, v);
            for (int i = 0; i < count; i++) v[i] *= u[i];
            gm__store(t, gm__at_mut(t, y, row, ldy, b), count, v);
        }
        gm__zero_tail(t, y, row, ldy, c);
    }
}

static void channel_scale_grad(gm_dtype t, int n, int positions, int c, const void *x, int ldx, const void *s,
                               int lds, const void *dy, int ldy, bool accumulate, void *dx, int lddx, void *ds,
                               int ldds) {
    float u[GM__BLOCK], v[GM__BLOCK], d[GM__BLOCK], sum[GM__BLOCK];
    for (int image = 0; image < n; image++) {
        for (int b = 0; b < c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - b);
            gm__load(t, gm__at(t, s, image, lds, b), count, u);
            memset(sum, 0, sizeof sum);
            for (int p = 0; p < positions; p++) {
                ptrdiff_t row = (ptrdiff_t)image * positions + p;
                gm__load(t, gm__at(t, x, row, ldx, b), count, v);
                gm__load(t, gm__at(t, dy, row, ldy, b), count, d);
                for (int i = 0; i < count; i++) {
                    sum[i] += d[i] * v[i];
                    d[i] *= u[i];
                }
                gm__store_or_add(t, gm__at_mut(t, dx, row, lddx, b), count, d, accumulate);
            }
            gm__store(t, gm__at_mut(t, ds, image, ldds, b), count, sum);
        }
        for (int p = 0; p < positions; p++) gm__zero_tail(t, dx, (ptrdiff_t)image * positions + p, lddx, c);
        gm__zero_tail(t, ds, image, ldds, c);
    }
}

void gm__act_fill_ref(gm_kernels *table) {
    table->act = act_forward;
    table->act_grad = act_grad;
    table->add = add;
    table->convert = convert;
    table->channel_scale = channel_scale;
    table->channel_scale_grad = channel_scale_grad;
    table->quantize = quantize_rows;
    table->dequantize = dequantize_rows;
}
