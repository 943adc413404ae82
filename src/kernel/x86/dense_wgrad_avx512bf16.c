// SPDX-License-Identifier: Apache-2.0
// bf16 gradient of dense weights with AVX-512 dot products of pairs, on the same plan as AMX.
#include "dense_plan.h"

#include <immintrin.h>

typedef __m512 sums;
static inline __m512 dot(__m512 acc, __m512i word, __m512i weights) {
    return _mm512_dpbf16_ps(acc, (__m512bh)word, (__m512bh)weights);
}

#include "dense_words_avx512.h"

enum { LENGTH = 2 };

// acc[r] += pairs of positions of input r times pairs of dy.
static inline __attribute__((always_inline)) void half_block(const int panels, const gm__wgrad *p, const char *a,
                                                             const int *start, int groups, int shift, float *c0,
                                                             float *c1) {
    const char *row[ROWS];
    __m512 acc[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        row[r] = a + (size_t)r * p->row;
        acc[r][0] = _mm512_loadu_ps(c0 + r * 16);
        if (panels > 1) acc[r][1] = _mm512_loadu_ps(c1 + r * 16);
    }
#pragma GCC unroll 2
    for (int g = 0; g < groups; g++) {
        const int d = start[g] - shift;
        const char *b = p->dy + (size_t)(d >> 1) * 64 + (d & 1 ? p->half : 0);
        words_product(panels, row, (ptrdiff_t)g * (LENGTH * 2), b, b + p->panel, acc);
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        _mm512_storeu_ps(c0 + r * 16, acc[r][0]);
        if (panels > 1) _mm512_storeu_ps(c1 + r * 16, acc[r][1]);
    }
}

static inline void wgrad_block(const gm__wgrad *p, const char *a, const int *start, int groups,
                               int shift, float *c0, float *c1, const float *next0,
                               const float *next1, int m, int n) {
    (void)next0;
    (void)next1;
    for (int i = 0; i < 2 * m; i++, a += ROWS * p->row, c0 += ROWS * 16, c1 += ROWS * 16) {
        if (n == 2) half_block(2, p, a, start, groups, shift, c0, c1);
        else half_block(1, p, a, start, groups, shift, c0, c0);
    }
}

#include "dense_wgrad_avx512.h"

void gm__conv_wgrad_bf16_avx512(const gm_conv *c, const void *x, const void *dy, const gm_panels *w,
                                float *dw, int c0, int c1, int p0, int p1, void *scratch) {
    wgrad_run(c, x, dy, w, dw, c0, c1, p0, p1, scratch);
}
