// SPDX-License-Identifier: Apache-2.0
// The vector interface of the *_vec.h kernels, 16 channels wide. bf16 is widened on load and rounded to nearest even
// on store.
#ifndef GAMUT_KERNEL_VEC_AVX512_H
#define GAMUT_KERNEL_VEC_AVX512_H

#include "kernel/x86/bf16_avx512.h"

#include <gamut/kernel.h>
#include <immintrin.h>
#include <string.h>

#define GM__INLINE static inline __attribute__((always_inline))
#define GM__VEC_NAME(name) gm__##name##_avx512

typedef __m512 vec;
enum { VEC = 16 };
enum { VEC_REGISTERS = 32 };

GM__INLINE vec vec_zero(void) { return _mm512_setzero_ps(); }
GM__INLINE vec vec_set(float v) { return _mm512_set1_ps(v); }

// lanes [0, count)
GM__INLINE __mmask16 vec_lanes(int count) {
    return (__mmask16)(count >= VEC ? 0xffffu : (1u << (unsigned)count) - 1u);
}

GM__INLINE vec vec_load(gm_dtype t, const void *p) {
    if (t == GM_F32) return _mm512_loadu_ps(p);
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

GM__INLINE void vec_store(gm_dtype t, void *p, vec v) {
    if (t == GM_F32)
        _mm512_storeu_ps(p, v);
    else
        _mm256_storeu_si256(p, bf16_round_16(v));
}

// The first count floats of p, the rest zero; and the converse.
GM__INLINE vec vec_load_part(const float *p, int count) {
    return count >= VEC ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(vec_lanes(count), p);
}
GM__INLINE void vec_store_part(float *p, int count, vec v) {
    if (count >= VEC)
        _mm512_storeu_ps(p, v);
    else
        _mm512_mask_storeu_ps(p, vec_lanes(count), v);
}
// Zero in lanes [count, VEC).
GM__INLINE vec vec_keep(vec v, int count) {
    return count >= VEC ? v : _mm512_maskz_mov_ps(vec_lanes(count), v);
}

GM__INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }   // a*b + c
GM__INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); } // c - a*b
GM__INLINE vec vec_sqrt(vec a) { return _mm512_sqrt_ps(a); }
// A NaN in v is kept.
GM__INLINE vec vec_at_least(float low, vec v) { return _mm512_max_ps(vec_set(low), v); }
GM__INLINE vec vec_at_most(float high, vec v) { return _mm512_min_ps(vec_set(high), v); }
GM__INLINE vec vec_max(vec kept, vec v) { return _mm512_max_ps(v, kept); } // kept when either is NaN
// v where it is NaN, else kept
GM__INLINE vec vec_or_nan(vec kept, vec v) {
    return _mm512_mask_mov_ps(kept, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), v);
}
GM__INLINE vec vec_abs(vec v) { return _mm512_abs_ps(v); }
GM__INLINE vec vec_with_sign(vec v, vec sign) {
    __m512 bit = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(bit, v), _mm512_and_ps(bit, sign));
}
// a > b ? yes : no; NaN: no
GM__INLINE vec vec_where_gt(vec a, vec b, vec yes, vec no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
GM__INLINE vec vec_round(vec v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// v * 2^n, n whole
GM__INLINE vec vec_scale2(vec v, vec n) { return _mm512_scalef_ps(v, n); }

// The sum of all lanes, added as doubles.
GM__INLINE double vec_sum_double(vec v) {
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    return _mm512_reduce_add_pd(_mm512_add_pd(low, high));
}

// Taps of a pooling window: 16 bytes widened, compared with tap; lanes that differ become zero.
GM__INLINE vec vec_where_byte(const uint8_t *p, int tap, vec v) {
    __mmask16 same = _mm_cmpeq_epi8_mask(_mm_loadu_si128((const __m128i *)p), _mm_set1_epi8((char)tap));
    return _mm512_maskz_mov_ps(same, v);
}
GM__INLINE void vec_store_bytes(uint8_t *p, vec whole) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(whole)));
}

#endif
