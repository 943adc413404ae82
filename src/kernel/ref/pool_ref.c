// SPDX-License-Identifier: Apache-2.0
// Pooling, portable. Gradients are gathered by input position, so that sums are f32 and rounded once.
#include "kernel/ref/block.h"
#include "kernel/vector_fill.h"

// The part of a window that lies inside the image: [begin, end) along one axis.
typedef struct span {
    int begin, end;
} span;

static span window(int output, int stride, int pad, int taps, int size) {
    int from = output * stride - pad;
    return (span){gm_max(from, 0), gm_min(from + taps, size)};
}

// The outputs whose window covers an input coordinate.
static span covering(int input, int stride, int pad, int taps, int outputs) {
    int last = (input + pad) / stride;
    int first = input + pad - taps + 1;
    return (span){first <= 0 ? 0 : (first + stride - 1) / stride, gm_min(last + 1, outputs)};
}

static void max_pool(gm_dtype t, const gm_conv *g, const void *x, void *y, uint8_t *argmax) {
    float best[GM__BLOCK], v[GM__BLOCK];
    uint8_t at[GM__BLOCK];
    for (ptrdiff_t row = 0; row < (ptrdiff_t)g->n * g->ho * g->wo; row++) {
        int ox = (int)(row % g->wo), oy = (int)(row / g->wo % g->ho), n = (int)(row / g->wo / g->ho);
        span ys = window(oy, g->stride, g->pad, g->r, g->h), xs = window(ox, g->stride, g->pad, g->s, g->w);
        for (int b = 0; b < g->c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, g->c - b);
            for (int i = 0; i < count; i++) best[i] = -INFINITY;
            memset(at, 0, sizeof at);
            for (int iy = ys.begin; iy < ys.end; iy++)
                for (int ix = xs.begin; ix < xs.end; ix++) {
                    uint8_t tap = (uint8_t)((iy - oy * g->stride + g->pad) * g->s + ix - ox * g->stride + g->pad);
                    bool first = iy == ys.begin && ix == xs.begin;
                    gm__load(t, gm__at(t, x, ((ptrdiff_t)n * g->h + iy) * g->w + ix, g->ldx, b), count, v);
                    for (int i = 0; i < count; i++) {
                        if (!first && !(v[i] > best[i]) && v[i] == v[i]) continue;
                        best[i] = v[i];
                        at[i] = tap;
                    }
                }
            gm__store(t, gm__at_mut(t, y, row, g->ldy, b), count, best);
            if (argmax) memcpy(argmax + row * g->ldy + b, at, (size_t)count);
        }
        gm__zero_tail(t, y, row, g->ldy, g->c);
        if (argmax) memset(argmax + row * g->ldy + g->c, 0, (size_t)(g->ldy - g->c));
    }
}

static void max_pool_grad(gm_dtype t, const gm_conv *g, const void *dy, const uint8_t *argmax, bool accumulate,
                          void *dx) {
    float sum[GM__BLOCK], d[GM__BLOCK];
    for (ptrdiff_t row = 0; row < (ptrdiff_t)g->n * g->h * g->w; row++) {
        int ix = (int)(row % g->w), iy = (int)(row / g->w % g->h), n = (int)(row / g->w / g->h);
        span ys = covering(iy, g->stride, g->pad, g->r, g->ho), xs = covering(ix, g->stride, g->pad, g->s, g->wo);
        for (int b = 0; b < g->c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, g->c - b);
            memset(sum, 0, sizeof sum);
            for (int oy = ys.begin; oy < ys.end; oy++)
                for (int ox = xs.begin; ox < xs.end; ox++) {
                    int tap = (iy - oy * g->stride + g->pad) * g->s + ix - ox * g->stride + g->pad;
                    ptrdiff_t from = ((ptrdiff_t)n * g->ho + oy) * g->wo + ox;
                    gm__load(t, gm__at(t, dy, from, g->ldy, b), count, d);
                    const uint8_t *at = argmax + from * g->ldy + b;
                    for (int i = 0; i < count; i++) sum[i] += at[i] == tap ? d[i] : 0;
                }
            gm__store_or_add(t, gm__at_mut(t, dx, row, g->ldx, b), count, sum, accumulate);
        }
        gm__zero_tail(t, dx, row, g->ldx, g->c);
    }
}

static void avg_pool(gm_dtype t, const gm_conv *g, const void *x, void *y) {
    float sum[GM__BLOCK], v[GM__BLOCK];
    for (ptrdiff_t row = 0; row < (ptrdiff_t)g->n * g->ho * g->wo; row++) {
        int ox = (int)(row % g->wo), oy = (int)(row / g->wo % g->ho), n = (int)(row / g->wo / g->ho);
        span ys = window(oy, g->stride, g->pad, g->r, g->h), xs = window(ox, g->stride, g->pad, g->s, g->w);
        float inside = (float)((ys.end - ys.begin) * (xs.end - xs.begin));
        for (int b = 0; b < g->c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, g->c - b);
            memset(sum, 0, sizeof sum);
            for (int iy = ys.begin; iy < ys.end; iy++)
                for (int ix = xs.begin; ix < xs.end; ix++) {
                    gm__load(t, gm__at(t, x, ((ptrdiff_t)n * g->h + iy) * g->w + ix, g->ldx, b), count, v);
                    for (int i = 0; i < count; i++) sum[i] += v[i];
                }
            for (int i = 0; i < count; i++) sum[i] /= inside;
            gm__store(t, gm__at_mut(t, y, row, g->ldy, b), count, sum);
        }
        gm__zero_tail(t, y, row, g->ldy, g->c);
    }
}

static void avg_pool_grad(gm_dtype t, const gm_conv *g, const void *dy, bool accumulate, void *dx) {
    float sum[GM__BLOCK], d[GM__BLOCK];
    for (ptrdiff_t row = 0; row < (ptrdiff_t)g->n * g->h * g->w; row++) {
        int ix = (int)(row % g->w), iy = (int)(row / g->w % g->h), n = (int)(row / g->w / g->h);
        span ys = covering(iy, g->stride, g->pad, g->r, g->ho), xs = covering(ix, g->stride, g->pad, g->s, g->wo);
        for (int b = 0; b < g->c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, g->c - b);
            memset(sum, 0, sizeof sum);
            for (int oy = ys.begin; oy < ys.end; oy++)
                for (int ox = xs.begin; ox < xs.end; ox++) {
                    span wy = window(oy, g->stride, g->pad, g->r, g->h);
                    span wx = window(ox, g->stride, g->pad, g->s, g->w);
                    float share = 1 / (float)((wy.end - wy.begin) * (wx.end - wx.begin));
                    gm__load(t, gm__at(t, dy, ((ptrdiff_t)n * g->ho + oy) * g->wo + ox, g->ldy, b), count, d);
                    for (int i = 0; i < count; i++) sum[i] += d[i] * share;
                }
            gm__store_or_add(t, gm__at_mut(t, dx, row, g->ldx, b), count, sum, accumulate);
        }
        gm__zero_tail(t, dx, row, g->ldx, g->c);
    }
}

static void global_pool(gm_dtype t, int n, int positions, int c, const void *x, int ldx, void *y, int ldy) {
    float sum[GM__BLOCK], v[GM__BLOCK];
    for (int image = 0; image < n; image++) {
        for (int b = 0; b < c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - b);
            memset(sum, 0, sizeof sum);
            for (int p = 0; p < positions; p++) {
                gm__load(t, gm__at(t, x, (ptrdiff_t)image * positions + p, ldx, b), count, v);
                for (int i = 0; i < count; i++) sum[i] += v[i];
            }
            for (int i = 0; i < count; i++) sum[i] /= (float)positions;
            gm__store(t, gm__at_mut(t, y, image, ldy, b), count, sum);
        }
        gm__zero_tail(t, y, image, ldy, c);
    }
}

static void global_pool_grad(gm_dtype t, int n, int positions, int c, const void *dy, int ldy, bool accumulate,
                             void *dx, int ldx) {
    float d[GM__BLOCK];
    for (ptrdiff_t row = 0; row < (ptrdiff_t)n * positions; row++) {
        for (int b = 0; b < c; b += GM__BLOCK) {
            int count = gm_min(GM__BLOCK, c - b);
            gm__load(t, gm__at(t, dy, row / positions, ldy, b), count, d);
            for (int i = 0; i < count; i++) d[i] /= (float)positions;
            gm__store_or_add(t, gm__at_mut(t, dx, row, ldx, b), count, d, accumulate);
        }
        gm__zero_tail(t, dx, row, ldx, c);
    }
}

void gm__pool_fill_ref(gm_kernels *table) {
    table->max_pool = max_pool;
    table->max_pool_grad = max_pool_grad;
    table->avg_pool = avg_pool;
    table->avg_pool_grad = avg_pool_grad;
    table->global_pool = global_pool;
    table->global_pool_grad = global_pool_grad;
}
