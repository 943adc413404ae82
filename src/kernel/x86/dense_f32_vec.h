// SPDX-License-Identifier: Apache-2.0
// f32 tiles of the dense kernels over the vector interface (include vec_avx512.h or vec_avx2.h and math_vec.h first).
// A row of a tile is two vectors: two panels of 16 with AVX-512 (12 x 32, 24 accumulators), the halves of one panel
// with AVX2 (6 x 16, 12 accumulators). Weights are read straight from the panels, inputs one by one to all lanes.
#ifndef GAMUT_KERNEL_DENSE_F32_VEC_H
#define GAMUT_KERNEL_DENSE_F32_VEC_H

#include "kernel/f32_engine.h"
#include "kernel/x86/winograd_vec.h"
#include <math.h>

enum { ROWS = VEC == 16 ? 12 : 6, PANELS = VEC == 16 ? 2 : 1, HALVES = GM__PANEL / VEC }; // HALVES: vectors of a panel
enum { ROW_PANELS = 6 };         // of one row, as EACH_ROW lists them
enum { AHEAD = 16 * GM__PANEL }; // elements of B prefetched ahead: 16 steps

// Elements of B (or dw) from the first to the second vector of a row.
GM__INLINE size_t second(size_t panel_stride) { return VEC == 16 ? panel_stride : VEC; }
// Channels in vector j of a row, of `channels` from its first on.
GM__INLINE int lanes_of(int channels, int j) { return gm_max(0, gm_min(VEC, channels - j * VEC)); }

// acc += sum over one run; rows of A are lda bytes apart. Four pointers reach 12 rows as [p + {0,1,2} * lda].
GM__INLINE void reduce(const int rows, const int vectors, const char *a, ptrdiff_t lda, const float *b, size_t next,
                       int count, vec acc[][2]) {
    const char *a0 = a, *a3 = a + 3 * lda, *a6 = a + 6 * lda, *a9 = a + 9 * lda;
#pragma GCC unroll 4
    for (int step = 0; step < count; step++) {
        const vec b0 = vec_load(GM_F32, b), b1 = vectors > 1 ? vec_load(GM_F32, b + next) : b0;
        _mm_prefetch((const char *)(b + AHEAD), _MM_HINT_T0);
        if (PANELS > 1 && vectors > 1) _mm_prefetch((const char *)(b + next + AHEAD), _MM_HINT_T0);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            const char *p = i < 3 ? a0 : i < 6 ? a3 : i < 9 ? a6 : a9;
            const vec v = vec_set(*(const float *)(const void *)(p + i % 3 * lda));
            acc[i][0] = vec_fma(v, b0, acc[i][0]);
            if (vectors > 1) acc[i][1] = vec_fma(v, b1, acc[i][1]);
        }
        b += GM__PANEL;
        a0 += sizeof(float);
        a3 += sizeof(float);
        a6 += sizeof(float);
        a9 += sizeof(float);
    }
}

GM__INLINE vec load_any(gm_dtype type, const void *p, float unit) {
    if (type != GM_I8) return vec_load(type, p);
    float v[VEC];
    for (int i = 0; i < VEC; i++) v[i] = ((const int8_t *)p)[i];
    return vec_load(GM_F32, v) * vec_set(unit);
}

GM__INLINE void store_any(gm_dtype type, void *p, vec value, float unit) {
    if (type != GM_I8) {
        vec_store(type, p, value);
        return;
    }
    float v[VEC];
    vec_store(GM_F32, v, vec_at_most(127.0f, vec_at_least(-127.0f, vec_round(value / vec_set(unit)))));
    for (int i = 0; i < VEC; i++) ((int8_t *)p)[i] = (int8_t)(int)v[i];
}

// Any epilogue; accumulators come through memory.
static void finish(const gm__f32_tile *t, int vectors, float acc[][2][VEC]) {
    const gm__f32_out *o = t->out;
    const size_t size = gm_dtype_size(o->type);
    for (int j = 0; j < vectors; j++) {
        const size_t k0 = (size_t)(t->k0 + j * VEC);
        const int lanes = lanes_of(o->k - t->k0, j);
        const vec scale = vec_load(GM_F32, o->scale + k0), shift = vec_load(GM_F32, o->shift + k0);
        for (int i = 0; i < t->rows; i++) {
            const size_t q = (size_t)t->position[i];
            char *y = (char *)o->y + (q * (size_t)o->ldy + k0) * size;
            vec v = vec_fma(vec_load(GM_F32, acc[i][j]), scale, shift);
            if (o->residual)
                v += load_any(o->type, (const char *)o->residual + (q * (size_t)o->ldr + k0) * size, o->unit);
            v = vec_act(o->act, v);
            if (o->accumulate) v += load_any(o->type, y, o->unit);
            store_any(o->type, y, vec_keep(v, lanes), o->unit);
            if (vectors < HALVES && !o->accumulate) memset(y + VEC * size, 0, VEC * size);
        }
    }
}

// The common epilogues: f32, a clamp at most, or the h-swish of MobileNetV3; accumulators stay in registers. whole: no lane of the
// vectors lies beyond the channels.
GM__INLINE void finish_f32(const int rows, const int vectors, const bool hswish, const bool whole, const gm__f32_tile *t,
                           vec acc[][2]) {
    const gm__f32_out *o = t->out;
    const float low = act_low(o->act), high = act_high(o->act);
    const float *scale = o->scale + t->k0, *shift = o->shift + t->k0;
    const int last = lanes_of(o->k - t->k0, vectors - 1);
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        const size_t q = (size_t)t->position[i];
        float *y = (float *)o->y + q * (size_t)o->ldy + t->k0;
        const float *more = o->residual ? (const float *)o->residual + q * (size_t)o->ldr + t->k0 : NULL;
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            vec v = vec_fma(acc[i][j], vec_load(GM_F32, scale + j * VEC), vec_load(GM_F32, shift + j * VEC));
            if (more) v += vec_load(GM_F32, more + j * VEC);
            v = hswish ? vec_act(GM_ACT_HSWISH, v) : vec_at_most(high, vec_at_least(low, v));
            vec_store(GM_F32, y + j * VEC, !whole && j == vectors - 1 ? vec_keep(v, last) : v);
        }
        if (vectors < HALVES) vec_store(GM_F32, y + VEC, vec_zero());
    }
}

GM__INLINE bool finish_common(const int rows, const int vectors, const gm__f32_tile *t, vec acc[][2]) {
    const gm__f32_out *o = t->out;
    const bool whole = o->k - t->k0 >= vectors * VEC;
    if (o->type != GM_F32 || o->accumulate || o->act > GM_ACT_HSWISH) return false;
    if (o->act == GM_ACT_HSWISH && whole) finish_f32(rows, vectors, true, true, t, acc);
    else if (o->act == GM_ACT_HSWISH) finish_f32(rows, vectors, true, false, t, acc);
    else if (whole) finish_f32(rows, vectors, false, true, t, acc);
    else finish_f32(rows, vectors, false, false, t, acc);
    return true;
}

GM__INLINE void finish_any(const int rows, const int vectors, const gm__f32_tile *t, vec acc[][2]) {
    if (finish_common(rows, vectors, t, acc)) return;
    float buffer[ROWS][2][VEC];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        vec_store(GM_F32, buffer[i][0], acc[i][0]);
        if (vectors > 1) vec_store(GM_F32, buffer[i][1], acc[i][1]);
    }
    finish(t, vectors, buffer);
}

GM__INLINE void clear(const int rows, const int vectors, vec acc[][2]) {
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        acc[i][0] = vec_zero();
        if (vectors > 1) acc[i][1] = vec_zero();
    }
}

GM__INLINE void tile(const int rows, const int vectors, const gm__f32_tile *t) {
    vec acc[ROWS][2];
    clear(rows, vectors, acc);
    for (int r = 0; r < t->runs; r++)
        reduce(rows, vectors, (const char *)(t->a + t->run[r].a), t->lda * (ptrdiff_t)sizeof(float),
               t->b + t->run[r].b, second(t->panel_stride), t->run[r].count, acc);
    finish_any(rows, vectors, t, acc);
}

// One row against several panels: one panel alone would wait for each sum before it adds the next product to it.
GM__INLINE void row(const int panels, const gm__f32_tile *t) {
    vec acc[ROW_PANELS][HALVES];
#pragma GCC unroll 12
    for (int p = 0; p < panels; p++)
        for (int j = 0; j < HALVES; j++) acc[p][j] = vec_zero();
    for (int r = 0; r < t->runs; r++) {
        const float *a = t->a + t->run[r].a, *b = t->b + t->run[r].b;
        for (int step = 0; step < t->run[r].count; step++, b += GM__PANEL) {
            const vec v = vec_set(a[step]);
#pragma GCC unroll 12
            for (int p = 0; p < panels; p++)
#pragma GCC unroll 2
                for (int j = 0; j < HALVES; j++)
                    acc[p][j] = vec_fma(v, vec_load(GM_F32, b + (size_t)p * t->panel_stride + j * VEC), acc[p][j]);
        }
    }
    gm__f32_tile one = *t;
#pragma GCC unroll 12
    for (int p = 0; p < panels; p++, one.k0 += GM__PANEL) {
        vec sums[1][2] = {{acc[p][0], acc[p][HALVES - 1]}};
        if (HALVES > 1 && one.out->k - one.k0 > VEC) finish_any(1, 2, &one, sums);
        else finish_any(1, 1, &one, sums);
    }
}

// A product whose sums go to memory.
GM__INLINE void product(const int rows, const int vectors, const gm__f32_product *t) {
    const size_t next = second(t->panel_stride), sum_next = second(t->sum_stride);
    vec acc[ROWS][2];
    clear(rows, vectors, acc);
    if (t->add)
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            acc[i][0] = vec_load(GM_F32, t->sum + i * GM__PANEL);
            if (vectors > 1) acc[i][1] = vec_load(GM_F32, t->sum + i * GM__PANEL + sum_next);
        }
    reduce(rows, vectors, (const char *)t->a, t->lda * (ptrdiff_t)sizeof(float), t->b, next, t->count, acc);
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        vec_store(GM_F32, t->sum + i * GM__PANEL, acc[i][0]);
        if (vectors > 1) vec_store(GM_F32, t->sum + i * GM__PANEL + sum_next, acc[i][1]);
    }
}

// Gradient of the weights: rows of A are neighbours, a step is step_a elements.
GM__INLINE void outer(const int rows, const int vectors, const gm__f32_outer *t) {
    vec acc[ROWS][2];
    clear(rows, vectors, acc);
    const size_t next = second(t->panel_stride);
    for (int r = 0; r < t->runs; r++) {
        const float *a = t->a + t->run[r].a, *b = t->b + t->run[r].b;
#pragma GCC unroll 4
        for (int step = 0; step < t->run[r].count; step++, a += t->step_a, b += GM__PANEL) {
            const vec b0 = vec_load(GM_F32, b), b1 = vectors > 1 ? vec_load(GM_F32, b + next) : b0;
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const vec v = vec_set(a[i]);
                acc[i][0] = vec_fma(v, b0, acc[i][0]);
                if (vectors > 1) acc[i][1] = vec_fma(v, b1, acc[i][1]);
            }
        }
    }
#pragma GCC unroll 2
    for (int j = 0; j < vectors; j++) {
        const int lanes = lanes_of((t->panels - 1) * GM__PANEL + t->lanes, j);
        float *dw = t->dw + (j ? second(t->dw_panel_stride) : 0);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++, dw += GM__PANEL)
            vec_store_part(dw, lanes, vec_load_part(dw, lanes) + acc[i][j]);
    }
}

#if defined(__AVX512F__)
#define EACH_ROWS(X, f) X(f, 1) X(f, 2) X(f, 3) X(f, 4) X(f, 5) X(f, 6) X(f, 7) X(f, 8) X(f, 9) X(f, 10) X(f, 11) X(f, 12)
#define ONE_PANEL 1 // vectors of a single panel
#else
#define EACH_ROWS(X, f) X(f, 1) X(f, 2) X(f, 3) X(f, 4) X(f, 5) X(f, 6)
#define ONE_PANEL 2
#endif
#define CASE(f, rows)                                                                              \
    case rows:                                                                                     \
        if (t->panels == PANELS) f(rows, 2, t);                                                    \
        else f(rows, ONE_PANEL, t);                                                                \
        break;

#define EACH_ROW(X, f) X(f, 1) X(f, 2) X(f, 3) X(f, 4) X(f, 5) X(f, 6)
#define ROW_CASE(f, panels)                                                                        \
    case panels:                                                                                   \
        f(panels, t);                                                                              \
        break;

// Where one vector of the row is all that has channels, the other one is left out.
#define TILE_CASE(f, rows)                                                                         \
    case rows:                                                                                     \
        if (t->out->k - t->k0 > VEC) f(rows, 2, t);                                                \
        else f(rows, 1, t);                                                                        \
        break;

static void any_tile(const gm__f32_tile *t) {
    switch (t->rows) { EACH_ROWS(TILE_CASE, tile) }
}

static void any_row(const gm__f32_tile *all) {
    gm__f32_tile part = *all, *t = &part;
    for (int left = all->panels; left > 0; left -= ROW_PANELS) {
        switch (gm_min(left, ROW_PANELS)) { EACH_ROW(ROW_CASE, row) }
        t->b += ROW_PANELS * t->panel_stride;
        t->k0 += ROW_PANELS * GM__PANEL;
    }
}

static void one_product(int rows, const gm__f32_product *t) {
    switch (rows) { EACH_ROWS(CASE, product) }
}

// Rows in tiles of nearly equal height.
static void any_product(const gm__f32_product *all) {
    gm__f32_product part = *all, *t = &part;
    for (int tiles = (all->rows + ROWS - 1) / ROWS, left = all->rows; tiles > 0; tiles--) {
        const int rows = (left + tiles - 1) / tiles;
        one_product(rows, t);
        left -= rows;
        t->a += rows * t->lda;
        t->sum += rows * GM__PANEL;
    }
}

static void any_outer(const gm__f32_outer *t) {
    switch (t->rows) { EACH_ROWS(CASE, outer) }
}

static void widen(gm_dtype type, const void *x, size_t count, float *y) {
    if (type == GM_I8) {
        for (size_t i = 0; i < count; i++) y[i] = ((const int8_t *)x)[i];
        return;
    }
    const gm_bf16 *v = x;
    size_t i = 0;
    for (; i + VEC <= count; i += VEC) vec_store(GM_F32, y + i, vec_load(GM_BF16, v + i));
    for (; i < count; i++) y[i] = gm_bf16_to_f32(v[i]);
}

// 16 words hold a pair of bf16 inputs or four int8 inputs a lane, the first one lowest.
static void widen_panel(gm_dtype type, const void *panel, int inputs, float *y) {
    const int group = type == GM_BF16 ? 2 : 4, bits = 32 / group;
    uint32_t word[GM__PANEL];
    for (int i = 0; i < inputs; i++, y += GM__PANEL) {
        const int left = 32 - bits * (i % group + 1);
        memcpy(word, (const char *)panel + i / group * 64, sizeof word);
        if (type == GM_BF16)
            for (int lane = 0; lane < GM__PANEL; lane++) word[lane] = word[lane] << left & 0xffff0000u;
        else
            for (int lane = 0; lane < GM__PANEL; lane++) {
                const float v = (float)((int32_t)(word[lane] << left) >> 24);
                memcpy(&word[lane], &v, sizeof v);
            }
        memcpy(y, word, sizeof word);
    }
}

const gm__f32_ops GM__VEC_NAME(f32_ops) = {
    .rows = ROWS, .panels = PANELS, .tile = any_tile, .row = any_row, .outer = any_outer, .product = any_product, .widen = widen, .widen_panel = widen_panel,
    .winograd = {winograd_input, winograd_weights, winograd_output, winograd_dy, winograd_dw},
};

#endif
