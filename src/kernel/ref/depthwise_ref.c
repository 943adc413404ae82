// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution, portable. Every output (or input gradient, or tap) gathers its terms in a fixed order.
#include "kernel/ref/block.h"
#include "kernel/vector_fill.h"

// y = epilogue(sum) for one block of channels of one position.
static void finish(gm_dtype t, const gm_epilogue *e, ptrdiff_t position, int b, int count, float *sum, void *y,
                   int ldy) {
    gm_dtype to = e->out == GM_F32 ? GM_F32 : t;
    float r[GM__BLOCK];
    for (int i = 0; i < count; i++) {
        if (e->scale) sum[i] *= e->scale[b + i];
        if (e->shift) sum[i] += e->shift[b + i];
    }
    if (e->residual) {
        gm__load(to, gm__at(to, e->residual, position, e->ldr, b), count, r);
        for (int i = 0; i < count; i++) sum[i] += r[i];
    }
    for (int i = 0; i < count; i++) sum[i] = gm__act_value(e->act, sum[i]);
    gm__store_or_add(to, gm__at_mut(to, y, position, ldy, b), count, sum, e->accumulate);
}

static void depthwise(gm_dtype t, const gm_conv *g, const void *x, const float *w, int w_row, int w_ld,
                      const gm_epilogue *e, void *y, void *scratch) {
    (void)scratch;
    gm_dtype to = e->out == GM_F32 ? GM_F32 : t;
    float sum[GM__BLOCK], v[GM__BLOCK];
    ptrdiff_t position = 0;
    for (int n = 0; n < g->n; n++)
        for (int oy = 0; oy < g->ho; oy++)
            for (int ox = 0; ox < g->wo; ox++, position++) {
                for (int b = 0; b < g->c; b += GM__BLOCK) {
                    int count = gm_min(GM__BLOCK, g->c - b);
                    memset(sum, 0, sizeof sum);
                    for (int i = 0; i < g->r; i++) {
                        int iy = (oy + g->y0) * g->stride + i - g->pad;
                        if (iy < 0 || iy >= g->h) continue;
                        for (int j = 0; j < g->s; j++) {
                            int ix = ox * g->stride + j - g->pad;
                            if (ix < 0 || ix >= g->w) continue;
                            ptrdiff_t from = ((ptrdiff_t)n * g->h + iy) * g->w + ix;
                            const float *tap = w + (ptrdiff_t)(i * w_row + j) * w_ld + b;
                            gm__load(t, gm__at(t, x, from, g->ldx, b), count, v);
                            for (int k = 0; k < count; k++) sum[k] += v[k] * tap[k];
                        }
                    }
                    finish(t, e, position, b, count, sum, y, g->ldy);
                }
                gm__zero_tail(to, y, position, g->ldy, g->c);
            }
}

static void depthwise_dgrad(gm_dtype t, const gm_conv *g, const void *dy, const float *w, int w_row, int w_ld,
                            bool accumulate, void *dx, void *scratch) {
    (void)scratch;
    float sum[GM__BLOCK], v[GM__BLOCK];
    ptrdiff_t position = 0;
    for (int n = 0; n < g->n; n++)
        for (int iy = 0; iy < g->h; iy++)
            for (int ix = 0; ix < g->w; ix++, position++) {
                for (int b = 0; b < g->c; b += GM__BLOCK) {
                    int count = gm_min(GM__BLOCK, g->c - b);
                    memset(sum, 0, sizeof sum);
                    for (int i = 0; i < g->r; i++) {
                        int oy = iy + g->pad - i;
                        if (oy < 0 || oy % g->stride || oy / g->stride >= g->ho) continue;
                        for (int j = 0; j < g->s; j++) {
                            int ox = ix + g->pad - j;
                            if (ox < 0 || ox % g->stride || ox / g->stride >= g->wo) continue;
                            ptrdiff_t from = ((ptrdiff_t)n * g->ho + oy / g->stride) * g->wo + ox / g->stride;
                            const float *tap = w + (ptrdiff_t)(i * w_row + j) * w_ld + b;
                            gm__load(t, gm__at(t, dy, from, g->ldy, b), count, v);
                            for (int k = 0; k < count; k++) sum[k] += v[k] * tap[k];
                        }
                    }
                    gm__store_or_add(t, gm__at_mut(t, dx, position, g->ldx, b), count, sum, accumulate);
                }
                gm__zero_tail(t, dx, position, g->ldx, g->c);
            }
}

static void depthwise_wgrad(gm_dtype t, const gm_conv *g, const void *x, const void *dy, float *dw, int w_row,
                            int w_ld, int c0, int c1, void *scratch) {
    (void)scratch;
    float sum[GM__BLOCK], v[GM__BLOCK], d[GM__BLOCK];
    for (int b = c0; b < c1; b += GM__BLOCK) {
        int count = gm_min(GM__BLOCK, c1 - b);
        for (int i = 0; i < g->r; i++)
            for (int j = 0; j < g->s; j++) {
                memset(sum, 0, sizeof sum);
                for (int n = 0; n < g->n; n++)
                    for (int oy = 0; oy < g->ho; oy++) {
                        int iy = oy * g->stride + i - g->pad;
                        if (iy < 0 || iy >= g->h) continue;
                        for (int ox = 0; ox < g->wo; ox++) {
                            int ix = ox * g->stride + j - g->pad;
                            if (ix < 0 || ix >= g->w) continue;
                            ptrdiff_t from = ((ptrdiff_t)n * g->h + iy) * g->w + ix;
                            ptrdiff_t to = ((ptrdiff_t)n * g->ho + oy) * g->wo + ox;
                            gm__load(t, gm__at(t, x, from, g->ldx, b), count, v);
                            gm__load(t, gm__at(t, dy, to, g->ldy, b), count, d);
                            for (int k = 0; k < count; k++) sum[k] += v[k] * d[k];
                        }
                    }
                float *tap = dw + (ptrdiff_t)(i * w_row + j) * w_ld + b;
                for (int k = 0; k < count; k++) tap[k] += sum[k];
            }
    }
}

void gm__depthwise_fill_ref(gm_kernels *table) {
    table->depthwise = depthwise;
    table->depthwise_dgrad = depthwise_dgrad;
    table->depthwise_wgrad = depthwise_wgrad;
}
