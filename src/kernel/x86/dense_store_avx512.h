// SPDX-License-Identifier: Apache-2.0
// From accumulator tiles to output rows: scale, shift, residual, activation, conversion, zero tail.
// The including file defines STORE_INTEGER before: accumulators are f32 (0) or int32 (1).
#ifndef GAMUT_DENSE_STORE_AVX512_H
#define GAMUT_DENSE_STORE_AVX512_H

#include "bf16_avx512.h"
#include "dense_plan.h"

#include <immintrin.h>
#include <math.h>

typedef struct gm__out {
    const float *scale, *shift; // padded to a multiple of 32, zero past k
    const char *residual;
    size_t ldr, ldy, row; // bytes; row: end of what is written of a row
    char *y;
    gm_act act;
    gm_dtype type;
    bool accumulate, fast; // fast: bf16 out and a lower bound or h-swish; or int8 out, a lower bound and nothing to add
    float floor;           // lower bound of fast: 0 for ReLU
    float out_scale;
    int k, mul;
} gm__out;

// exp to about 1 ulp for |x| < 87: 2^n times a Taylor polynomial on [-ln2/2, ln2/2].
static inline __m512 exp_16(__m512 x) {
    x = _mm512_min_ps(_mm512_max_ps(_mm512_set1_ps(-87.0f), x), _mm512_set1_ps(88.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static inline __m512 sigmoid_16(__m512 x) {
    __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exp_16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7.
static inline __m512 erf_16(__m512 x) {
    __m512 one = _mm512_set1_ps(1.0f), a = _mm512_abs_ps(x);
    __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(_mm512_set1_ps(0.3275911f), a, one));
    __m512 p = _mm512_set1_ps(1.061405429f);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-1.453152027f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(1.421413741f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-0.284496736f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.254829592f));
    __m512 e = exp_16(_mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), a), a));
    __m512 r = _mm512_fnmadd_ps(_mm512_mul_ps(p, t), e, one);
    return _mm512_or_ps(r, _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));
}

static inline __m512 act_16(gm_act act, __m512 v) {
    __m512 zero = _mm512_setzero_ps(), six = _mm512_set1_ps(6.0f);
    switch (act) {
    case GM_ACT_NONE: return v;
    case GM_ACT_RELU: return _mm512_max_ps(zero, v); // the second operand is returned for NaN
    case GM_ACT_RELU6: return _mm512_min_ps(six, _mm512_max_ps(zero, v));
    case GM_ACT_HSWISH:
    case GM_ACT_HSIGMOID: {
        __m512 h = _mm512_min_ps(six, _mm512_max_ps(zero, _mm512_add_ps(v, _mm512_set1_ps(3.0f))));
        h = _mm512_mul_ps(h, _mm512_set1_ps(1.0f / 6));
        return act == GM_ACT_HSIGMOID ? h : _mm512_mul_ps(v, h);
    }
    case GM_ACT_GELU: {
        __m512 e = erf_16(_mm512_mul_ps(v, _mm512_set1_ps(0.70710678f)));
        __m512 half = _mm512_mul_ps(v, _mm512_set1_ps(0.5f));
        return _mm512_fmadd_ps(half, e, half);
    }
    case GM_ACT_SILU: return _mm512_mul_ps(v, sigmoid_16(v));
    case GM_ACT_SIGMOID: return sigmoid_16(v);
    }
    return v;
}

static inline __m512 bf16_load_16(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}

static inline __m512 acc_load_16(const float *p, bool integer) {
    return integer ? _mm512_cvtepi32_ps(_mm512_load_si512((const void *)p)) : _mm512_load_ps(p);
}

static inline __m512 stored_load_16(gm_dtype type, const char *p, float scale) {
    if (type == GM_F32) return _mm512_loadu_ps(p);
    if (type == GM_BF16) return bf16_load_16(p);
    __m512 q =
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
    return _mm512_mul_ps(q, _mm512_set1_ps(scale));
}

static inline void zero_tail(char *y, size_t from, size_t end) {
    for (; from < end && from % 64; from += 16)
        _mm_storeu_si128((__m128i *)(void *)(y + from), _mm_setzero_si128());
    for (; from < end; from += 64) _mm512_storeu_si512(y + from, _mm512_setzero_si512());
}

// Symmetric: within 127 either way; NaN becomes 0.
static inline __m128i saturate_16(__m512 v) {
    v = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v);
    v = _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(-127.0f)), _mm512_set1_ps(127.0f));
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
}

static inline __m128i quantize_16(__m512 v, float scale) {
    return saturate_16(_mm512_div_ps(v, _mm512_set1_ps(scale)));
}

// Any epilogue; one panel of a row at a time.
static void store_row_any(const gm__out *o, int dst, const float *c, int n0, bool integer) {
    int left = o->k - n0;
    __mmask16 live = (__mmask16)(left >= 16 ? 0xffffu : (1u << gm_max(0, left)) - 1u);
    size_t size = gm_dtype_size(o->type);
    char *y = o->y + (size_t)dst * o->ldy + (size_t)n0 * size;
    __m512 v = _mm512_fmadd_ps(acc_load_16(c, integer), _mm512_load_ps(o->scale + n0),
                               _mm512_load_ps(o->shift + n0));
    if (o->residual)
        v = _mm512_add_ps(v, stored_load_16(o->type,
                                            o->residual + (size_t)dst * o->ldr + (size_t)n0 * size,
                                            o->out_scale));
    v = act_16(o->act, v);
    if (o->accumulate) v = _mm512_add_ps(v, stored_load_16(o->type, y, o->out_scale));
    v = _mm512_maskz_mov_ps(live, v);
    if (o->type == GM_F32)
        _mm512_storeu_ps(y, v);
    else if (o->type == GM_BF16)
        _mm256_storeu_si256((__m256i *)(void *)y, bf16_round_16(v));
    else
        _mm_storeu_si128((__m128i *)(void *)y, quantize_16(v, o->out_scale));
}

// Two tiles whose accumulators wait in scratch: their rows are stored between the products of the
// next ones.
typedef struct gm__waiting {
    const gm__tiles *tile;
    const float *slot; // two accumulators a tile, outputs n0 on
    const float *base; // the first slot
    int tiles, n0, panels;
    int run; // runs of the tile stored already
} gm__waiting;

// A fast epilogue of 32 outputs with all that it needs in registers.
typedef struct gm__fast {
    __m512 s0, s1, t0, t1, low;
    __mmask32 live;
    size_t at, end, row; // bytes of a row: where the outputs begin, where they end, where zeros after them end
    bool narrow, hswish, accumulate;
} gm__fast;

static inline __attribute__((always_inline)) gm__fast fast_begin(const gm__out *o, int n0) {
    const int left = o->k - n0;
    const bool narrow = STORE_INTEGER && o->type == GM_I8;
    const size_t size = narrow ? 1 : 2, at = (size_t)n0 * size, end = at + 32 * size;
    return (gm__fast){.s0 = _mm512_load_ps(o->scale + n0),
                      .s1 = _mm512_load_ps(o->scale + n0 + 16),
                      .t0 = _mm512_load_ps(o->shift + n0),
                      .t1 = _mm512_load_ps(o->shift + n0 + 16),
                      .low = _mm512_set1_ps(o->floor),
                      .live = left >= 32 ? 0xffffffffu : (1u << left) - 1u,
                      .at = at,
                      .end = end,
                      .row = n0 + 32 >= o->k ? o->row : 0,
                      .narrow = narrow,
                      .hswish = !narrow && o->act == GM_ACT_HSWISH,
                      .accumulate = !narrow && o->accumulate};
}

// One row from the sums of its outputs; residual: the row to add, or NULL.
static inline __attribute__((always_inline)) void fast_row(const gm__fast *f, __m512 v0, __m512 v1, const char *residual,
                                                           char *y) {
    v0 = _mm512_fmadd_ps(v0, f->s0, f->t0);
    v1 = _mm512_fmadd_ps(v1, f->s1, f->t1);
    if (residual) {
        v0 = _mm512_add_ps(v0, bf16_load_16(residual + f->at));
        v1 = _mm512_add_ps(v1, bf16_load_16(residual + f->at + 32));
    }
    if (f->hswish) {
        v0 = act_16(GM_ACT_HSWISH, v0);
        v1 = act_16(GM_ACT_HSWISH, v1);
    } else {
        v0 = _mm512_max_ps(f->low, v0);
        v1 = _mm512_max_ps(f->low, v1);
    }
    if (f->accumulate) {
        v0 = _mm512_add_ps(v0, bf16_load_16(y + f->at));
        v1 = _mm512_add_ps(v1, bf16_load_16(y + f->at + 32));
    }
    if (f->narrow) {
        __m256i q = _mm256_set_m128i(saturate_16(v1), saturate_16(v0));
        _mm256_storeu_si256((__m256i *)(void *)(y + f->at), _mm256_maskz_mov_epi8(f->live, q));
    } else {
        __m512i q = bf16_round_32(v0, v1);
        _mm512_storeu_si512(y + f->at, _mm512_maskz_mov_epi16(f->live, q));
    }
    if (f->end < f->row) zero_tail(y, f->end, f->row);
}

// Rows of waiting tiles, one after the other.
typedef struct gm__rows {
    gm__fast fast;
    const float *c; // the next row, and where it goes
    char *y;
    const char *residual;
    int left; // rows of the run
} gm__rows;

static inline __attribute__((always_inline)) void rows_begin(gm__rows *f, const gm__out *o, const gm__waiting *v) {
    f->fast = fast_begin(o, v->n0);
    f->left = 0;
}

// The next run of the waiting tiles; false: there is none.
static inline __attribute__((always_inline)) bool rows_run(gm__rows *f, const gm__out *o, gm__waiting *v) {
    if (v->tiles == 0) return false;
    const gm__run *run = &v->tile->run[v->run];
    f->c = v->slot + run->src * 16;
    f->y = o->y + (size_t)run->dst * o->ldy;
    f->residual = o->residual ? o->residual + (size_t)run->dst * o->ldr : NULL;
    f->left = run->count;
    if (++v->run == v->tile->runs) {
        v->run = 0;
        v->tile++;
        v->slot += 2 * GM__TILE * GM__TILE;
        v->tiles--;
    }
    return true;
}

static inline __attribute__((always_inline)) void rows_store(gm__rows *f, const gm__out *o, gm__waiting *v, int rows) {
    const size_t pitch = o->ldy * (size_t)o->mul, step = o->ldr * (size_t)o->mul;
    for (int r = 0; r < rows; r++) {
        if (f->left == 0 && !rows_run(f, o, v)) return;
        fast_row(&f->fast, acc_load_16(f->c, STORE_INTEGER), acc_load_16(f->c + 256, STORE_INTEGER), f->residual, f->y);
        if (f->residual) f->residual += step;
        f->c += 16;
        f->y += pitch;
        f->left--;
    }
}

static void store_rows_any(const gm__out *o, const float *c, int dst, int n0, int panels,
                           int count) {
    const size_t end = (size_t)(n0 + 16 * panels) * gm_dtype_size(o->type);
    const bool last = n0 + 16 * panels >= o->k;
    for (int r = 0; r < count; r++, c += 16, dst += o->mul) {
        for (int p = 0; p < panels; p++)
            store_row_any(o, dst, c + p * 256, n0 + 16 * p, STORE_INTEGER);
        if (last) zero_tail(o->y + (size_t)dst * o->ldy, end, o->row);
    }
}

// Any epilogue, all rows.
static void store_waiting_any(const gm__out *o, gm__waiting *v) {
    for (; v->tiles > 0; v->tiles--, v->tile++, v->slot += 2 * GM__TILE * GM__TILE)
        for (int i = 0; i < v->tile->runs; i++) {
            const gm__run *run = &v->tile->run[i];
            store_rows_any(o, v->slot + run->src * 16, run->dst, v->n0, v->panels, run->count);
        }
}

// What still waits.
static inline void store_waiting(const gm__out *o, gm__waiting *v) {
    if (v->tiles == 0) return;
    if (!o->fast) {
        store_waiting_any(o, v);
        return;
    }
    gm__rows f;
    rows_begin(&f, o, v);
    rows_store(&f, o, v, 2 * GM__TILE);
}

// Fills o from the caller's epilogue; scale and shift get padded copies in scratch.
static inline void out_init(gm__out *o, const gm__work *w, const gm__grid *g, const gm_epilogue *e,
                            int k, int ldy, void *y) {
    size_t size = gm_dtype_size(e->out);
    int padded = gm_round_up(k, 32);
    const bool narrow = STORE_INTEGER && e->out == GM_I8;
    const bool bound = e->act == GM_ACT_NONE || e->act == GM_ACT_RELU,
               fast = narrow ? bound && !e->residual && !e->accumulate
                             : e->out == GM_BF16 && (bound || e->act == GM_ACT_HSWISH);
    for (int i = 0; i < padded; i++) {
        w->scale[i] = i >= k ? 0.0f : e->scale ? e->scale[i] : 1.0f;
        w->shift[i] = i >= k || !e->shift ? 0.0f : e->shift[i];
        if (fast && narrow) { // a lower bound of 0 or none commutes with a positive scale
            w->scale[i] /= e->out_scale;
            w->shift[i] /= e->out_scale;
        }
    }
    *o = (gm__out){.scale = w->scale,
                   .shift = w->shift,
                   .residual = e->residual,
                   .ldr = (size_t)e->ldr * size,
                   .ldy = (size_t)ldy * size,
                   .row = (size_t)(e->row ? e->row : ldy) * size,
                   .y = y,
                   .act = e->act,
                   .type = e->out,
                   .accumulate = e->accumulate,
                   .out_scale = e->out_scale,
                   .k = k,
                   .mul = g->mul};
    o->fast = fast;
    o->floor = e->act == GM_ACT_RELU ? 0.0f : -INFINITY;
}

#endif
