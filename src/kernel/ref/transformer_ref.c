// SPDX-License-Identifier: Apache-2.0
// Layer norm, RMS norm and embedding, portable. A row is a token; sums over a row are double.
#include "kernel/ref/block.h"
#include "kernel/vector_fill.h"

// sum over a row of (x - centre), or of its square
static double row_sum(gm_dtype t, int c, const void *x, double centre, bool squared) {
    float v[GM__BLOCK];
    double sum = 0;
    for (int b = 0; b < c; b += GM__BLOCK) {
        int count = gm_min(GM__BLOCK, c - b);
        gm__load(t, gm__at(t, x, 0, 0, b), count, v);
        for (int i = 0; i < count; i++) {
            double d = v[i] - centre;
            sum += squared ? d * d : d;
        }
    }
    return sum;
}

// y = (x - m)*s*gamma + beta (beta may be NULL)
static void normalise(gm_dtype t, int c, const void *x, float m, float s, const float *gamma, const float *beta,
                      void *y) {
    float v[GM__BLOCK];
    for (int b = 0; b < c; b += GM__BLOCK) {
        int count = gm_min(GM__BLOCK, c - b);
        gm__load(t, gm__at(t, x, 0, 0, b), count, v);
        for (int i = 0; i < count; i++) v[i] = (v[i] - m) * s * gamma[b + i] + (beta ? beta[b + i] : 0);
        gm__store(t, gm__at_mut(t, y, 0, 0, b), count, v);
    }
}

static void layer_norm(gm_dtype t, int rows, int c, const void *x, int ldx, const float *gamma, const float *beta,
                       float eps, void *y, int ldy, float *mean, float *rstd) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        const void *in = gm__at(t, x, row, ldx, 0);
        double m = row_sum(t, c, in, 0, false) / c;
        double s = 1 / sqrt(row_sum(t, c, in, m, true) / c + eps);
        normalise(t, c, in, (float)m, (float)s, gamma, beta, gm__at_mut(t, y, row, ldy, 0));
        gm__zero_tail(t, y, row, ldy, c);
        if (mean) mean[row] = (float)m;
        if (rstd) rstd[row] = (float)s;
    }
}

static void rms_norm(gm_dtype t, int rows, int c, const void *x, int ldx, const float *gamma, float eps, void *y,
                     int ldy, float *rstd) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        const void *in = gm__at(t, x, row, ldx, 0);
        float s = (float)(1 / sqrt(row_sum(t, c, in, 0, true) / c + eps));
        normalise(t, c, in, 0, s, gamma, NULL, gm__at_mut(t, y, row, ldy, 0));
        gm__zero_tail(t, y, row, ldy, c);
        if (rstd) rstd[row] = s;
    }
}

// Gradient of one row of either norm. With u = (x - m)*s and g = dy*gamma:
// layer norm dx = s*(g - mean(g) - u*mean(g*u)); RMS norm the same without mean(g). dbeta is NULL for RMS norm.
static void row_gradient(gm_dtype t, int c, const void *x, const float *gamma, float m, float s, const void *dy,
                         bool accumulate, void *dx, float *dgamma, float *dbeta) {
    float v[GM__BLOCK], d[GM__BLOCK];
    double sum = 0, dot = 0;
    for (int b = 0; b < c; b += GM__BLOCK) {
        int count = gm_min(GM__BLOCK, c - b);
        gm__load(t, gm__at(t, x, 0, 0, b), count, v);
        gm__load(t, gm__at(t, dy, 0, 0, b), count, d);
        for (int i = 0; i < count; i++) {
            float u = (v[i] - m) * s, g = d[i] * gamma[b + i];
            sum += g;
            dot += (double)g * u;
            dgamma[b + i] += d[i] * u;
            if (dbeta) dbeta[b + i] += d[i];
        }
    }
    float shift = dbeta ? (float)(sum / c) : 0, slope = (float)(dot / c);
    for (int b = 0; b < c; b += GM__BLOCK) {
        int count = gm_min(GM__BLOCK, c - b);
        gm__load(t, gm__at(t, x, 0, 0, b), count, v);
        gm__load(t, gm__at(t, dy, 0, 0, b), count, d);
        for (int i = 0; i < count; i++) d[i] = s * (d[i] * gamma[b + i] - shift - (v[i] - m) * s * slope);
        gm__store_or_add(t, gm__at_mut(t, dx, 0, 0, b), count, d, accumulate);
    }
}

static void layer_norm_grad(gm_dtype t, int rows, int c, const void *x, int ldx, const float *gamma,
                            const float *mean, const float *rstd, const void *dy, int ldy, bool accumulate,
                            void *dx, int lddx, float *dgamma, float *dbeta) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        row_gradient(t, c, gm__at(t, x, row, ldx, 0), gamma, mean[row], rstd[row], gm__at(t, dy, row, ldy, 0),
                     accumulate, gm__at_mut(t, dx, row, lddx, 0), dgamma, dbeta);
        gm__zero_tail(t, dx, row, lddx, c);
    }
}

static void rms_norm_grad(gm_dtype t, int rows, int c, const void *x, int ldx, const float *gamma,
                          const float *rstd, const void *dy, int ldy, bool accumulate, void *dx, int lddx,
                          float *dgamma) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        row_gradient(t, c, gm__at(t, x, row, ldx, 0), gamma, 0, rstd[row], gm__at(t, dy, row, ldy, 0), accumulate,
                     gm__at_mut(t, dx, row, lddx, 0), dgamma, NULL);
        gm__zero_tail(t, dx, row, lddx, c);
    }
}

static void embedding(gm_dtype t, int rows, int c, const int *id, const float *table, int ldt, void *y, int ldy) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        gm__store(t, gm__at_mut(t, y, row, ldy, 0), c, table + (ptrdiff_t)id[row] * ldt);
        gm__zero_tail(t, y, row, ldy, c);
    }
}

static void embedding_grad(gm_dtype t, int rows, int c, const int *id, const void *dy, int ldy, float *dtable,
                           int ldt) {
    float d[GM__BLOCK];
    for (ptrdiff_t row = 0; row < rows; row++) {
        float *to = dtable + (ptrdiff_t)id[row] * ldt;
        for (int b = 0; b < c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - b);
            gm__load(t, gm__at(t, dy, row, ldy, b), count, d);
            for (int i = 0; i < count; i++) to[b + i] += d[i];
        }
    }
}

void gm__transformer_fill_ref(gm_kernels *table) {
    table->layer_norm = layer_norm;
    table->layer_norm_grad = layer_norm_grad;
    table->rms_norm = rms_norm;
    table->rms_norm_grad = rms_norm_grad;
    table->embedding = embedding;
    table->embedding_grad = embedding_grad;
}
