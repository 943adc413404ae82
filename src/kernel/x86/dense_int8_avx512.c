// SPDX-License-Identifier: Apache-2.0
// int8 convolution with AVX-512 VNNI, on the same plans as AMX. The instruction multiplies unsigned
// by signed bytes: weights are made unsigned by adding 128, and 128 times the sum of a position's
// inputs is taken off first.
#define STORE_INTEGER 1
#include "dense_store_avx512.h"

typedef __m512i sums;
static inline __m512i dot(__m512i acc, __m512i word, __m512i weights) {
    return _mm512_dpbusd_epi32(acc, _mm512_xor_si512(weights, _mm512_set1_epi8((char)0x80)), word);
}
static inline __m512i sums_load(const float *c) { return _mm512_load_si512((const void *)c); }
static inline void sums_store(float *c, __m512i v) { _mm512_store_si512((void *)c, v); }
static inline __m512 sums_float(__m512i v) { return _mm512_cvtepi32_ps(v); }
static inline __m512i sums_first(__m512i v, const char *row, const gm__step *s, const gm__step *end) {
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i sum = _mm512_setzero_si512();
    for (; s < end; s++) sum = _mm512_dpbusd_epi32(sum, ones, _mm512_loadu_si512(row + s->a));
    return _mm512_sub_epi32(v, _mm512_set1_epi32(128 * _mm512_reduce_add_epi32(sum)));
}
#define SUMS_ZERO _mm512_setzero_si512()

#include "dense_blocks_avx512.h"
#include "dense_engine.h"

void gm__conv_i8_avx512(const gm_conv *c, const void *x, const gm_panels *w, const gm_epilogue *e,
                        void *y, void *scratch) {
    engine_conv(c, x, w, 1, e, y, scratch);
}
