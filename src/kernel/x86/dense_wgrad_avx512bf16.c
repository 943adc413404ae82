// SPDX-License-Identifier: Apache-2.0
// bf16 gradient of dense weights with AVX-512 dot products of pairs, on the same plan as AMX.
#include "dense_plan.h"

#include <immintrin.h>

// 16 inputs x 16 outputs: acc[r] += pairs of positions of input r times pairs of dy.
static inline void panel_block(const gm__wgrad *p, const char *a, const char *b, const int *start,
                               int groups, int shift, float *c) {
    __m512 acc[16];
    for (int r = 0; r < 16; r++) acc[r] = _mm512_loadu_ps(c + r * 16);
    for (int g = 0; g < groups; g++) {
        int d = start[g] - shift;
        const char *x = a + (size_t)g * 64, *w = b + (size_t)(d >> 1) * 64 + (d & 1 ? p->half : 0);
        for (int i = 0; i < 16; i++) {
            __m512bh v = (__m512bh)_mm512_load_si512(w + i * 64);
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                int pair;
                __builtin_memcpy(&pair, x + (size_t)r * p->row + (size_t)i * 4, 4);
                acc[r] = _mm512_dpbf16_ps(acc[r], (__m512bh)_mm512_set1_epi32(pair), v);
            }
        }
    }
    for (int r = 0; r < 16; r++) _mm512_storeu_ps(c + r * 16, acc[r]);
}

static inline void wgrad_block(const gm__wgrad *p, const char *a, const int *start, int groups,
                               int shift, float *c0, float *c1, const float *next0,
                               const float *next1, int m, int n) {
    (void)next0;
    (void)next1;
    for (int i = 0; i < m; i++) {
        panel_block(p, a + (size_t)(16 * i) * p->row, p->dy, start, groups, shift, c0 + i * 256);
        if (n == 2)
            panel_block(p, a + (size_t)(16 * i) * p->row, p->dy + p->panel, start, groups, shift,
                        c1 + i * 256);
    }
}

#include "dense_wgrad_avx512.h"

void gm__conv_wgrad_bf16_avx512(const gm_conv *c, const void *x, const void *dy, const gm_panels *w,
                                float *dw, int c0, int c1, int p0, int p1, void *scratch) {
    wgrad_run(c, x, dy, w, dw, c0, c1, p0, p1, scratch);
}
