// SPDX-License-Identifier: Apache-2.0
// Pooling for any vector width. Gradients are gathered by input position, so that sums are f32 and rounded once.
#ifndef GAMUT_KERNEL_POOL_VEC_H
#define GAMUT_KERNEL_POOL_VEC_H

// The part of a window that lies inside the image, or the outputs whose window covers an input: [begin, end).
typedef struct span {
    int begin, end;
} span;

GM__INLINE span window(int output, int stride, int pad, int taps, int size) {
    int from = output * stride - pad;
    return (span){gm_max(from, 0), gm_min(from + taps, size)};
}

GM__INLINE span covering(int input, int stride, int pad, int taps, int outputs) {
    int first = input + pad - taps + 1;
    return (span){first <= 0 ? 0 : (first + stride - 1) / stride, gm_min((input + pad) / stride + 1, outputs)};
}

// One position of an image of h x w, and the window over the other image.
typedef struct pool_place {
    int n, y, x;
    ptrdiff_t row;
    span ys, xs;
} pool_place;

// Steps to the next position; false after the last.
GM__INLINE bool next_place(pool_place *p, int n, int h, int w) {
    p->row++;
    if (++p->x < w) return true;
    p->x = 0;
    if (++p->y < h) return true;
    p->y = 0;
    return ++p->n < n;
}

GM__INLINE void max_pool_run(const gm_dtype t, const gm_conv *g, const void *x, void *y, uint8_t *argmax) {
    pool_place p = {0};
    do {
        span ys = window(p.y, g->stride, g->pad, g->r, g->h), xs = window(p.x, g->stride, g->pad, g->s, g->w);
        int tap0 = (g->pad - p.y * g->stride) * g->s + g->pad - p.x * g->stride;
        const char *image = row_at(t, x, (ptrdiff_t)p.n * g->h * g->w, g->ldx);
        char *out = row_at_mut(t, y, p.row, g->ldy);
        for (int b = 0; b < g->c; b += VEC) {
            vec best = vec_set(-INFINITY), at = vec_set((float)(tap0 + ys.begin * g->s + xs.begin));
            for (int iy = ys.begin; iy < ys.end; iy++)
                for (int ix = xs.begin; ix < xs.end; ix++) {
                    const ptrdiff_t from = ((ptrdiff_t)iy * g->w + ix) * g->ldx + b;
                    vec v = vec_load(t, image + from * vec_bytes(t));
                    at = vec_where_gt(v, best, vec_set((float)(tap0 + iy * g->s + ix)), at);
                    best = vec_max(best, v);
                    best = vec_or_nan(best, v);
                }
            vec_store(t, out + b * vec_bytes(t), vec_keep(best, g->c - b));
            if (argmax) vec_store_bytes(argmax + p.row * g->ldy + b, vec_keep(at, g->c - b));
        }
        zero_rest(t, out, g->c, g->ldy);
        int covered = gm_round_up(g->c, VEC);
        if (argmax) memset(argmax + p.row * g->ldy + covered, 0, (size_t)(g->ldy - covered));
    } while (next_place(&p, g->n, g->ho, g->wo));
}

static void max_pool(gm_dtype t, const gm_conv *g, const void *x, void *y, uint8_t *argmax) {
    if (g->n * g->ho * g->wo == 0) return;
    GM__FOR_TYPE(t, max_pool_run(T, g, x, y, argmax));
}

GM__INLINE void max_pool_grad_run(const gm_dtype t, const gm_conv *g, const void *dy, const uint8_t *argmax,
                                  bool accumulate, void *dx) {
    pool_place p = {0};
    do {
        span ys = covering(p.y, g->stride, g->pad, g->r, g->ho), xs = covering(p.x, g->stride, g->pad, g->s, g->wo);
        char *out = row_at_mut(t, dx, p.row, g->ldx);
        for (int b = 0; b < g->c; b += VEC) {
            vec sum = vec_zero();
            for (int oy = ys.begin; oy < ys.end; oy++)
                for (int ox = xs.begin; ox < xs.end; ox++) {
                    int tap = (p.y - oy * g->stride + g->pad) * g->s + p.x - ox * g->stride + g->pad;
                    ptrdiff_t from = (((ptrdiff_t)p.n * g->ho + oy) * g->wo + ox) * g->ldy + b;
                    vec d = vec_load(t, (const char *)dy + from * vec_bytes(t));
                    sum = sum + vec_where_byte(argmax + from, tap, d);
                }
            store_or_add(t, out + b * vec_bytes(t), sum, accumulate);
        }
        zero_rest(t, out, g->c, g->ldx);
    } while (next_place(&p, g->n, g->h, g->w));
}

static void max_pool_grad(gm_dtype t, const gm_conv *g, const void *dy, const uint8_t *argmax, bool accumulate,
                          void *dx) {
    if (g->n * g->h * g->w == 0) return;
    GM__FOR_TYPE(t, max_pool_grad_run(T, g, dy, argmax, accumulate, dx));
}

GM__INLINE float share_of(span ys, span xs) {
    return 1 / (float)((ys.end - ys.begin) * (xs.end - xs.begin));
}

// The common 2x2 window, its four rows walked side by side.
GM__INLINE void avg_pool_square(const gm_dtype t, const gm_conv *g, const char *x, vec share, char *out) {
    const ptrdiff_t right = g->ldx * vec_bytes(t), down = right * g->w;
    for (int b = 0; b < g->c; b += VEC) {
        const char *at = x + b * vec_bytes(t);
        vec sum = vec_load(t, at) + vec_load(t, at + right);
        sum = sum + vec_load(t, at + down);
        sum = sum + vec_load(t, at + down + right);
        vec_store(t, out + b * vec_bytes(t), sum * share);
    }
}

GM__INLINE void avg_pool_run(const gm_dtype t, const gm_conv *g, const void *x, void *y) {
    pool_place p = {0};
    do {
        span ys = window(p.y, g->stride, g->pad, g->r, g->h), xs = window(p.x, g->stride, g->pad, g->s, g->w);
        const vec share = vec_set(share_of(ys, xs));
        const char *image = row_at(t, x, (ptrdiff_t)p.n * g->h * g->w, g->ldx);
        char *out = row_at_mut(t, y, p.row, g->ldy);
        const bool square = ys.end - ys.begin == 2 && xs.end - xs.begin == 2;
        if (square) avg_pool_square(t, g, image + ((ptrdiff_t)ys.begin * g->w + xs.begin) * g->ldx * vec_bytes(t), share, out);
        for (int b = square ? g->c : 0; b < g->c; b += VEC) {
            vec sum = vec_zero();
            for (int iy = ys.begin; iy < ys.end; iy++)
                for (int ix = xs.begin; ix < xs.end; ix++) {
                    const ptrdiff_t from = ((ptrdiff_t)iy * g->w + ix) * g->ldx + b;
                    sum = sum + vec_load(t, image + from * vec_bytes(t));
                }
            vec_store(t, out + b * vec_bytes(t), sum * share);
        }
        zero_rest(t, out, g->c, g->ldy);
    } while (next_place(&p, g->n, g->ho, g->wo));
}

static void avg_pool(gm_dtype t, const gm_conv *g, const void *x, void *y) {
    if (g->n * g->ho * g->wo == 0) return;
    GM__FOR_TYPE(t, avg_pool_run(T, g, x, y));
}

GM__INLINE void avg_pool_grad_run(const gm_dtype t, const gm_conv *g, const void *dy, bool accumulate, void *dx) {
    pool_place p = {0};
    do {
        span ys = covering(p.y, g->stride, g->pad, g->r, g->ho), xs = covering(p.x, g->stride, g->pad, g->s, g->wo);
        char *out = row_at_mut(t, dx, p.row, g->ldx);
        const bool one = ys.end - ys.begin == 1 && xs.end - xs.begin == 1; // windows that do not overlap
        if (one) {
            const vec share = vec_set(share_of(window(ys.begin, g->stride, g->pad, g->r, g->h),
                                               window(xs.begin, g->stride, g->pad, g->s, g->w)));
            const char *from = row_at(t, dy, ((ptrdiff_t)p.n * g->ho + ys.begin) * g->wo + xs.begin, g->ldy);
            for (int b = 0; b < g->c; b += VEC)
                store_or_add(t, out + b * vec_bytes(t), vec_load(t, from + b * vec_bytes(t)) * share, accumulate);
        }
        for (int b = one ? g->c : 0; b < g->c; b += VEC) {
            vec sum = vec_zero();
            for (int oy = ys.begin; oy < ys.end; oy++)
                for (int ox = xs.begin; ox < xs.end; ox++) {
                    float share = share_of(window(oy, g->stride, g->pad, g->r, g->h),
                                           window(ox, g->stride, g->pad, g->s, g->w));
                    ptrdiff_t from = (((ptrdiff_t)p.n * g->ho + oy) * g->wo + ox) * g->ldy + b;
                    sum = vec_fma(vec_load(t, (const char *)dy + from * vec_bytes(t)), vec_set(share), sum);
                }
            store_or_add(t, out + b * vec_bytes(t), sum, accumulate);
        }
        zero_rest(t, out, g->c, g->ldx);
    } while (next_place(&p, g->n, g->h, g->w));
}

static void avg_pool_grad(gm_dtype t, const gm_conv *g, const void *dy, bool accumulate, void *dx) {
    if (g->n * g->h * g->w == 0) return;
    GM__FOR_TYPE(t, avg_pool_grad_run(T, g, dy, accumulate, dx));
}

// Up to four vectors of channels at a time, positions inside.
GM__INLINE void global_pool_group(const gm_dtype t, const int groups, int positions, const char *x, int ldx, char *y) {
    vec sum[4];
    for (int g = 0; g < groups; g++) sum[g] = vec_zero();
    for (int p = 0; p < positions; p++, x += ldx * vec_bytes(t))
        for (int g = 0; g < groups; g++) sum[g] = sum[g] + vec_load(t, x + g * VEC * vec_bytes(t));
    const vec share = vec_set(1 / (float)positions);
    for (int g = 0; g < groups; g++) vec_store(t, y + g * VEC * vec_bytes(t), sum[g] * share);
}

GM__INLINE void global_pool_run(const gm_dtype t, int n, int positions, int c, const void *x, int ldx, void *y,
                                int ldy) {
    for (int image = 0; image < n; image++) {
        const char *in = row_at(t, x, (ptrdiff_t)image * positions, ldx);
        char *out = row_at_mut(t, y, image, ldy);
        int b = 0;
        for (; c - b > 3 * VEC; b += 4 * VEC)
            global_pool_group(t, 4, positions, in + b * vec_bytes(t), ldx, out + b * vec_bytes(t));
        for (; b < c; b += VEC)
            global_pool_group(t, 1, positions, in + b * vec_bytes(t), ldx, out + b * vec_bytes(t));
        zero_rest(t, out, c, ldy);
    }
}

static void global_pool(gm_dtype t, int n, int positions, int c, const void *x, int ldx, void *y, int ldy) {
    GM__FOR_TYPE(t, global_pool_run(T, n, positions, c, x, ldx, y, ldy));
}

GM__INLINE void global_pool_grad_run(const gm_dtype t, int n, int positions, int c, const void *dy, int ldy,
                                     bool accumulate, void *dx, int ldx) {
    const vec share = vec_set(1 / (float)positions);
    for (int image = 0; image < n; image++) {
        const char *d = row_at(t, dy, image, ldy);
        for (int p = 0; p < positions; p++) {
            char *out = row_at_mut(t, dx, (ptrdiff_t)image * positions + p, ldx);
            for (int b = 0; b < c; b += VEC)
                store_or_add(t, out + b * vec_bytes(t), vec_load(t, d + b * vec_bytes(t)) * share, accumulate);
            zero_rest(t, out, c, ldx);
        }
    }
}

static void global_pool_grad(gm_dtype t, int n, int positions, int c, const void *dy, int ldy, bool accumulate,
                             void *dx, int ldx) {
    GM__FOR_TYPE(t, global_pool_grad_run(T, n, positions, c, dy, ldy, accumulate, dx, ldx));
}

void GM__VEC_NAME(pool_fill)(gm_kernels *table) {
    table->max_pool = max_pool;
    table->max_pool_grad = max_pool_grad;
    table->avg_pool = avg_pool;
    table->avg_pool_grad = avg_pool_grad;
    table->global_pool = global_pool;
    table->global_pool_grad = global_pool_grad;
}

#endif
