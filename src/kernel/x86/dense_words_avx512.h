// SPDX-License-Identifier: Apache-2.0
// Dot products of words (pairs of bf16, fours of int8) in registers: 8 rows x 2 panels of outputs, anywhere in memory. Each row of
// weights meets 8 rows, each word of a row 2 panels: 10 loads for 16 products, where 16 rows x 1 panel need 17 and reach three
// quarters of the unit on a Zen 4. The including file defines before: sums (its accumulator), dot(acc, word, weights).
#ifndef GAMUT_DENSE_WORDS_AVX512_H
#define GAMUT_DENSE_WORDS_AVX512_H

#include "dense_plan.h"

#include <immintrin.h>

enum { ROWS = 8 };

// acc += the word at `at` of each row times a row of weights.
static inline __attribute__((always_inline)) void words_product(const int panels, const char *const row[ROWS], ptrdiff_t at,
                                                                const char *b0, const char *b1, sums acc[ROWS][2]) {
    const __m512i w0 = _mm512_load_si512(b0), w1 = panels > 1 ? _mm512_load_si512(b1) : w0;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        int word;
        __builtin_memcpy(&word, row[r] + at, sizeof word);
        const __m512i v = _mm512_set1_epi32(word);
        acc[r][0] = dot(acc[r][0], v, w0);
        if (panels > 1) acc[r][1] = dot(acc[r][1], v, w1);
    }
}

// acc += `words` words of each row times as many rows of weights.
static inline __attribute__((always_inline)) void words_chunk(const int panels, const char *const row[ROWS], ptrdiff_t at,
                                                              const char *b0, const char *b1, int words,
                                                              sums acc[ROWS][2]) {
#pragma GCC unroll 4
    for (int i = 0; i < words; i++) words_product(panels, row, at + i * 4, b0 + i * 64, b1 + i * 64, acc);
}

#endif
