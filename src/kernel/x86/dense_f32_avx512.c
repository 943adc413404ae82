// SPDX-License-Identifier: Apache-2.0
// kernel: f32 tiles for AVX-512: 12 positions x 32 outputs in 24 accumulators, weights straight from the panels.
#include "kernel/f32_engine.h"
#include "kernel/ref/block.h"
#include <float.h>
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { AHEAD = 16 * 16 }; // elements of B prefetched ahead: 16 steps

// acc[i][j] += sum over one run; rows of A are lda bytes apart. Four base pointers reach 12 rows by [p + {0,1,2}*lda].
INLINE void reduce(const int rows, const int panels, const char *a, ptrdiff_t lda, const float *b, size_t panel_stride,
                   int count, __m512 acc[][GM__F32_PANELS]) {
    const char *a0 = a, *a3 = a + 3 * lda, *a6 = a + 6 * lda, *a9 = a + 9 * lda;
#pragma GCC unroll 4
    for (int step = 0; step < count; step++) {
        const __m512 b0 = _mm512_loadu_ps(b), b1 = panels > 1 ? _mm512_loadu_ps(b + panel_stride) : b0;
        _mm_prefetch((const char *)(b + AHEAD), _MM_HINT_T0);
        if (panels > 1) _mm_prefetch((const char *)(b + panel_stride + AHEAD), _MM_HINT_T0);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            const char *p = i < 3 ? a0 : i < 6 ? a3 : i < 9 ? a6 : a9;
            const __m512 v = _mm512_set1_ps(*(const float *)(const void *)(p + i % 3 * lda));
            acc[i][0] = _mm512_fmadd_ps(v, b0, acc[i][0]);
            if (panels > 1) acc[i][1] = _mm512_fmadd_ps(v, b1, acc[i][1]);
        }
        b += GM__PANEL;
        a0 += sizeof(float);
        a3 += sizeof(float);
        a6 += sizeof(float);
        a9 += sizeof(float);
    }
}

INLINE __mmask16 lanes_of(int lanes) { return lanes >= GM__PANEL ? 0xffff : (__mmask16)((1u << lanes) - 1u); }

INLINE __m512 load_row(gm_dtype type, const void *p, size_t at) {
    if (type == GM_F32) return _mm512_loadu_ps((const float *)p + at);
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)((const gm_bf16 *)p + at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

INLINE void store_row(gm_dtype type, void *p, size_t at, __m512 v) {
    if (type == GM_F32) _mm512_storeu_ps((float *)p + at, v);
    else _mm256_storeu_si256((__m256i *)(void *)((gm_bf16 *)p + at), (__m256i)_mm512_cvtneps_pbh(v));
}

static __m512 activate(gm_act act, __m512 v) {
    const __m512 zero = _mm512_setzero_ps(), three = _mm512_set1_ps(3.0f), six = _mm512_set1_ps(6.0f);
    // max and min return their second operand when one is NaN: a NaN stays
    switch (act) {
    case GM_ACT_NONE: return v;
    case GM_ACT_RELU: return _mm512_max_ps(zero, v);
    case GM_ACT_RELU6: return _mm512_min_ps(six, _mm512_max_ps(zero, v));
    case GM_ACT_HSIGMOID:
    case GM_ACT_HSWISH: {
        const __m512 h = _mm512_min_ps(six, _mm512_max_ps(zero, _mm512_add_ps(v, three)));
        const __m512 s = _mm512_mul_ps(h, _mm512_set1_ps(1.0f / 6));
        return act == GM_ACT_HSIGMOID ? s : _mm512_mul_ps(v, s);
    }
    default: break;
    }
    float lane[GM__PANEL];
    _mm512_storeu_ps(lane, v);
    for (int i = 0; i < GM__PANEL; i++) lane[i] = gm__act_value(act, lane[i]);
    return _mm512_loadu_ps(lane);
}

// Everything that is not the common epilogue: accumulators come through memory.
static void finish_slow(const gm__f32_tile *t, float acc[][GM__F32_PANELS][GM__PANEL]) {
    const gm__f32_out *o = t->out;
    for (int j = 0; j < t->panels; j++) {
        const int k0 = t->k0 + j * GM__PANEL;
        const __mmask16 lanes = lanes_of(o->k - k0);
        const __m512 scale = _mm512_loadu_ps(o->scale + k0), shift = _mm512_loadu_ps(o->shift + k0);
        for (int i = 0; i < t->rows; i++) {
            const size_t q = (size_t)t->position[i], at = q * (size_t)o->ldy + (size_t)k0;
            __m512 v = _mm512_fmadd_ps(_mm512_loadu_ps(acc[i][j]), scale, shift);
            if (o->residual) v = _mm512_add_ps(v, load_row(o->type, o->residual, q * (size_t)o->ldr + (size_t)k0));
            v = activate(o->act, v);
            if (o->accumulate) v = _mm512_add_ps(v, load_row(o->type, o->y, at));
            store_row(o->type, o->y, at, _mm512_maskz_mov_ps(lanes, v));
        }
    }
}

INLINE void tile(const int rows, const int panels, const gm__f32_tile *t) {
    __m512 acc[GM__F32_ROWS][GM__F32_PANELS];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        acc[i][0] = _mm512_setzero_ps();
        if (panels > 1) acc[i][1] = _mm512_setzero_ps();
    }
    for (int r = 0; r < t->runs; r++)
        reduce(rows, panels, (const char *)(t->a + t->run[r].a), t->lda * (ptrdiff_t)sizeof(float), t->b + t->run[r].b,
               t->panel_stride, t->run[r].count, acc);

    const gm__f32_out *o = t->out;
    if (o->type == GM_F32 && !o->accumulate && o->act <= GM_ACT_RELU6) {
        const __m512 low = _mm512_set1_ps(o->act == GM_ACT_NONE ? -INFINITY : 0.0f);
        const __m512 high = _mm512_set1_ps(o->act == GM_ACT_RELU6 ? 6.0f : INFINITY);
#pragma GCC unroll 2
        for (int j = 0; j < panels; j++) {
            const int k0 = t->k0 + j * GM__PANEL;
            const __mmask16 lanes = lanes_of(o->k - k0);
            const __m512 scale = _mm512_loadu_ps(o->scale + k0), shift = _mm512_loadu_ps(o->shift + k0);
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const size_t q = (size_t)t->position[i];
                __m512 v = _mm512_fmadd_ps(acc[i][j], scale, shift);
                if (o->residual)
                    v = _mm512_add_ps(v, _mm512_loadu_ps((const float *)o->residual + q * (size_t)o->ldr + k0));
                v = _mm512_min_ps(high, _mm512_max_ps(low, v));
                _mm512_storeu_ps((float *)o->y + q * (size_t)o->ldy + k0, _mm512_maskz_mov_ps(lanes, v));
            }
        }
        return;
    }
    float buffer[GM__F32_ROWS][GM__F32_PANELS][GM__PANEL];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        _mm512_storeu_ps(buffer[i][0], acc[i][0]);
        if (panels > 1) _mm512_storeu_ps(buffer[i][1], acc[i][1]);
    }
    finish_slow(t, buffer);
}

// Rows i and i + 1 of A are neighbours here and a step is step_a elements.
INLINE void outer(const int rows, const int panels, const gm__f32_outer *t) {
    __m512 acc[GM__F32_ROWS][GM__F32_PANELS];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        acc[i][0] = _mm512_setzero_ps();
        if (panels > 1) acc[i][1] = _mm512_setzero_ps();
    }
    for (int r = 0; r < t->runs; r++) {
        const float *a = t->a + t->run[r].a, *b = t->b + t->run[r].b;
#pragma GCC unroll 4
        for (int step = 0; step < t->run[r].count; step++, a += t->step_a, b += GM__PANEL) {
            const __m512 b0 = _mm512_loadu_ps(b), b1 = panels > 1 ? _mm512_loadu_ps(b + t->panel_stride) : b0;
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const __m512 v = _mm512_set1_ps(a[i]);
                acc[i][0] = _mm512_fmadd_ps(v, b0, acc[i][0]);
                if (panels > 1) acc[i][1] = _mm512_fmadd_ps(v, b1, acc[i][1]);
            }
        }
    }
#pragma GCC unroll 2
    for (int j = 0; j < panels; j++) {
        const __mmask16 lanes = lanes_of(j + 1 < panels ? GM__PANEL : t->lanes);
        float *dw = t->dw + (size_t)j * t->dw_panel_stride;
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++, dw += GM__PANEL)
            _mm512_mask_storeu_ps(dw, lanes, _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, dw), acc[i][j]));
    }
}

#define EACH_ROWS(X, f) X(f, 1) X(f, 2) X(f, 3) X(f, 4) X(f, 5) X(f, 6) X(f, 7) X(f, 8) X(f, 9) X(f, 10) X(f, 11) X(f, 12)
#define CASE(f, rows)                                                                              \
    case rows:                                                                                     \
        if (t->panels > 1) f(rows, 2, t);                                                          \
        else f(rows, 1, t);                                                                        \
        break;

static void any_tile(const gm__f32_tile *t) {
    switch (t->rows) { EACH_ROWS(CASE, tile) }
}

static void any_outer(const gm__f32_outer *t) {
    switch (t->rows) { EACH_ROWS(CASE, outer) }
}

static void widen(const gm_bf16 *x, size_t count, float *y) {
    for (size_t i = 0; i < count; i++) y[i] = gm_bf16_to_f32(x[i]);
}

static void widen_panel(const gm_bf16 *pairs, int inputs, float *y) {
    for (int i = 0; i < inputs; i++)
        for (int lane = 0; lane < GM__PANEL; lane++)
            y[i * GM__PANEL + lane] = gm_bf16_to_f32(pairs[i / 2 * 32 + lane * 2 + (i & 1)]);
}

const gm__f32_ops gm__f32_ops_avx512 = {
    .rows = 12, .panels = 2, .outer_rows = 12, .outer_panels = 2,
    .tile = any_tile, .outer = any_outer, .widen = widen, .widen_panel = widen_panel,
};
