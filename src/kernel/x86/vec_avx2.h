// SPDX-License-Identifier: Apache-2.0
// The vector interface of the *_vec.h kernels, 8 channels wide.
#ifndef GAMUT_KERNEL_VEC_AVX2_H
#define GAMUT_KERNEL_VEC_AVX2_H

#include <gamut/kernel.h>
#include <immintrin.h>
#include <string.h>

#define GM__INLINE static inline __attribute__((always_inline))
#define GM__VEC_NAME(name) gm__##name##_avx2

typedef __m256 vec;
enum { VEC = 8 };
enum { VEC_REGISTERS = 16 };

GM__INLINE vec vec_zero(void) { return _mm256_setzero_ps(); }
GM__INLINE vec vec_set(float v) { return _mm256_set1_ps(v); }

// lanes [0, count)
GM__INLINE __m256i vec_lanes(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

GM__INLINE vec vec_load(gm_dtype t, const void *p) {
    if (t == GM_F32) return _mm256_loadu_ps(p);
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

// Round to nearest even by adding half of the dropped part; NaN (exponent would carry) is made quiet instead.
GM__INLINE __m128i vec_to_bf16(vec v) {
    __m256i bits = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    __m256i top = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
}

GM__INLINE void vec_store(gm_dtype t, void *p, vec v) {
    if (t == GM_F32)
        _mm256_storeu_ps(p, v);
    else
        _mm_storeu_si128(p, vec_to_bf16(v));
}

// The first count floats of p, the rest zero; and the converse.
GM__INLINE vec vec_load_part(const float *p, int count) {
    return count >= VEC ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, vec_lanes(count));
}
GM__INLINE void vec_store_part(float *p, int count, vec v) {
    if (count >= VEC)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, vec_lanes(count), v);
}
// Zero in lanes [count, VEC).
GM__INLINE vec vec_keep(vec v, int count) {
    return count >= VEC ? v : _mm256_and_ps(v, _mm256_castsi256_ps(vec_lanes(count)));
}

GM__INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }   // a*b + c
GM__INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); } // c - a*b
GM__INLINE vec vec_sqrt(vec a) { return _mm256_sqrt_ps(a); }
// A NaN in v is kept.
GM__INLINE vec vec_at_least(float low, vec v) { return _mm256_max_ps(vec_set(low), v); }
GM__INLINE vec vec_at_most(float high, vec v) { return _mm256_min_ps(vec_set(high), v); }
GM__INLINE vec vec_max(vec kept, vec v) { return _mm256_max_ps(v, kept); } // kept when either is NaN
// v where it is NaN, else kept
GM__INLINE vec vec_or_nan(vec kept, vec v) {
    return _mm256_blendv_ps(kept, v, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
}
GM__INLINE vec vec_abs(vec v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
GM__INLINE vec vec_with_sign(vec v, vec sign) {
    return _mm256_or_ps(vec_abs(v), _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}
// a > b ? yes : no; NaN: no
GM__INLINE vec vec_where_gt(vec a, vec b, vec yes, vec no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
GM__INLINE vec vec_round(vec v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// v * 2^n, n whole, -252 <= n <= 254: in two factors, so that neither leaves the range of exponents
GM__INLINE vec vec_scale2(vec v, vec n) {
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
    __m256 first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    __m256 second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(v, first), second);
}
// The sum of all lanes, added as doubles.
GM__INLINE double vec_sum_double(vec v) {
    __m256d s = _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(v)),
                              _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
    __m128d h = _mm_add_pd(_mm256_castpd256_pd128(s), _mm256_extractf128_pd(s, 1));
    return _mm_cvtsd_f64(_mm_add_sd(h, _mm_unpackhi_pd(h, h)));
}

// Taps of a pooling window: 8 bytes widened, compared with tap; lanes that differ become zero.
GM__INLINE vec vec_where_byte(const uint8_t *p, int tap, vec v) {
    __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(at, _mm256_set1_epi32(tap))));
}
GM__INLINE void vec_store_bytes(uint8_t *p, vec whole) {
    __m256i v = _mm256_cvtps_epi32(whole);
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(words, words));
}

#endif
