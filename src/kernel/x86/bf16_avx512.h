// SPDX-License-Identifier: Apache-2.0
// f32 to bf16, 16 at a time, to nearest even; NaN stays NaN. Files built for BF16 use its instruction outright. The others
// run on processors without it too, and look: the branch is always predicted.
#ifndef GAMUT_KERNEL_BF16_AVX512_H
#define GAMUT_KERNEL_BF16_AVX512_H

#include "kernel/kernel_private.h"

#include <immintrin.h>

#if !defined(__AVX512BF16__)
// Adds half of the dropped part; where the exponent of a NaN would carry, it is made quiet instead.
static inline __m256i bf16_round_by_hand(__m512 v) {
    const __m512i bits = _mm512_castps_si512(v), top = _mm512_srli_epi32(bits, 16);
    const __m512i half = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), _mm512_and_si512(top, _mm512_set1_epi32(1)));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, top, _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(rounded);
}
#endif

// The instruction flushes denormals (below 1.2e-38) to zero, the other way keeps them.
static inline __m256i bf16_round_16(__m512 v) {
#if defined(__AVX512BF16__)
    return (__m256i)_mm512_cvtneps_pbh(v);
#else
    if (__builtin_expect(gm__bf16_pairs, 1)) {
        __m256i rounded;
        __asm__("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(v));
        return rounded;
    }
    return bf16_round_by_hand(v);
#endif
}

// 32 at a time: low, then high.
static inline __m512i bf16_round_32(__m512 low, __m512 high) {
#if defined(__AVX512BF16__)
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
#else
    return _mm512_inserti64x4(_mm512_castsi256_si512(bf16_round_16(low)), bf16_round_16(high), 1);
#endif
}

#endif
