// SPDX-License-Identifier: Apache-2.0
// Batch norm over rows, portable. Channels in blocks outside, rows inside: sums stay in a small block of doubles.
#include "kernel/ref/block.h"
#include "kernel/vector_fill.h"

static void norm_stats(gm_dtype t, int rows, int c, const void *x, int ldx, float *sum, float *sumsq) {
    float v[GM__BLOCK];
    double s[GM__BLOCK], q[GM__BLOCK];
    for (int b = 0; b < c; b += GM__BLOCK) {
        int count = gm_min(GM__BLOCK, c - b);
        memset(s, 0, sizeof s);
        memset(q, 0, sizeof q);
        for (ptrdiff_t row = 0; row < rows; row++) {
            gm__load(t, gm__at(t, x, row, ldx, b), count, v);
            for (int i = 0; i < count; i++) {
                s[i] += v[i];
                q[i] += (double)v[i] * v[i];
            }
        }
        for (int i = 0; i < count; i++) {
            sum[b + i] = (float)s[i];
            sumsq[b + i] = (float)q[i];
        }
    }
}

static void norm_apply(gm_dtype t, int rows, int c, const void *x, int ldx, const float *scale,
                       const float *shift, const void *residual, int ldr, gm_act a, void *y, int ldy) {
    float v[GM__BLOCK], r[GM__BLOCK];
    memset(r, 0, sizeof r);
    for (ptrdiff_t row = 0; row < rows; row++) {
        for (int b = 0; b < c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - b);
            gm__load(t, gm__at(t, x, row, ldx, b), count, v);
            if (residual) gm__load(t, gm__at(t, residual, row, ldr, b), count, r);
            for (int i = 0; i < count; i++)
                v[i] = gm__act_value(a, v[i] * scale[b + i] + shift[b + i] + r[i]);
            gm__store(t, gm__at_mut(t, y, row, ldy, b), count, v);
        }
        gm__zero_tail(t, y, row, ldy, c);
    }
}

// d = dy * act'(pre) for one block. out is NULL when the slope comes from x*scale + shift. Relu and relu6 have the
// same slope at their output as at their input.
static void gradient_before_act(gm_dtype t, gm_act a, int count, const float *x, const float *scale,
                                const float *shift, const void *out, const void *dy, float *d) {
    float o[GM__BLOCK];
    gm__load(t, dy, count, d);
    if (a == GM_ACT_NONE) return;
    if (out) {
        gm__load(t, out, count, o);
    } else {
        for (int i = 0; i < count; i++) o[i] = x[i] * scale[i] + shift[i];
    }
    for (int i = 0; i < count; i++) d[i] *= gm__act_slope(a, o[i]);
}

static void norm_grad_stats(gm_dtype t, int rows, int c, const void *x, int ldx, const float *scale,
                            const float *shift, const void *out, int ldo, gm_act a, const void *dy, int ldy,
                            const float *mean, const float *rstd, float *sum_dz, float *sum_dzx) {
    float v[GM__BLOCK], d[GM__BLOCK];
    double s[GM__BLOCK], q[GM__BLOCK];
    for (int b = 0; b < c; b += GM__BLOCK) {
        int count = gm_min(GM__BLOCK, c - b);
        memset(s, 0, sizeof s);
        memset(q, 0, sizeof q);
        for (ptrdiff_t row = 0; row < rows; row++) {
            gm__load(t, gm__at(t, x, row, ldx, b), count, v);
            gradient_before_act(t, a, count, v, scale + b, shift + b, out ? gm__at(t, out, row, ldo, b) : NULL,
                                gm__at(t, dy, row, ldy, b), d);
            for (int i = 0; i < count; i++) {
                s[i] += d[i];
                q[i] += (double)d[i] * (v[i] - mean[b + i]) * rstd[b + i];
            }
        }
        for (int i = 0; i < count; i++) {
            sum_dz[b + i] = (float)s[i];
            sum_dzx[b + i] = (float)q[i];
        }
    }
}

static void norm_grad_apply(gm_dtype t, int rows, int c, const void *x, int ldx, const float *scale,
                            const float *shift, const void *out, int ldo, gm_act a, const void *dy, int ldy,
                            const float *ca, const float *cb, const float *cd, void *dx, int lddx, void *dres,
                            int lddres, bool accumulate_res) {
    float v[GM__BLOCK], d[GM__BLOCK];
    for (ptrdiff_t row = 0; row < rows; row++) {
        for (int b = 0; b < c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - b);
            gm__load(t, gm__at(t, x, row, ldx, b), count, v);
            gradient_before_act(t, a, count, v, scale + b, shift + b, out ? gm__at(t, out, row, ldo, b) : NULL,
                                gm__at(t, dy, row, ldy, b), d);
            for (int i = 0; i < count; i++) v[i] = ca[b + i] * d[i] + (cb[b + i] * v[i] + cd[b + i]);
            gm__store(t, gm__at_mut(t, dx, row, lddx, b), count, v);
            if (dres) gm__store_or_add(t, gm__at_mut(t, dres, row, lddres, b), count, d, accumulate_res);
        }
        gm__zero_tail(t, dx, row, lddx, c);
        if (dres) gm__zero_tail(t, dres, row, lddres, c);
    }
}

void gm__norm_fill_ref(gm_kernels *table) {
    table->norm_stats = norm_stats;
    table->norm_apply = norm_apply;
    table->norm_grad_stats = norm_grad_stats;
    table->norm_grad_apply = norm_grad_apply;
}
