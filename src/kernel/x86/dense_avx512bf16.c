// SPDX-License-Identifier: Apache-2.0
// bf16 convolution and gradient of the input with AVX-512 dot products of pairs: 16 positions x 16
// outputs at a time, on the same plans as AMX.
#define STORE_INTEGER 0
#include "dense_store_avx512.h"

#include <immintrin.h>

// acc[r] += pair i of row r times weight rows; one chunk of 32 inputs is 16 pairs.
static inline void panel_block(const char *a, size_t stride, const char *b, const gm__step *s,
                               const gm__step *end, float *c, bool load) {
    __m512 acc[16];
    for (int r = 0; r < 16; r++) acc[r] = load ? _mm512_load_ps(c + r * 16) : _mm512_setzero_ps();
    for (; s < end; s++) {
        const char *x = a + s->a, *w = b + s->b;
        for (int i = 0; i < 16; i++) {
            __m512bh v = (__m512bh)_mm512_load_si512(w + i * 64);
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                int pair;
                __builtin_memcpy(&pair, x + (size_t)r * stride + (size_t)i * 4, 4);
                acc[r] = _mm512_dpbf16_ps(acc[r], (__m512bh)_mm512_set1_epi32(pair), v);
            }
        }
    }
    for (int r = 0; r < 16; r++) _mm512_store_ps(c + r * 16, acc[r]);
}

static inline void tile_block(const char *a0, const char *a1, size_t stride, const char *b0,
                              const char *b1, const gm__step *s, const gm__step *end, float *c,
                              bool load, int m, int n, bool stream, const gm__out *o,
                              gm__waiting *waiting) {
    (void)stream; // rows wait until the block is done: the vector units are busy
    (void)o;
    (void)waiting;
    panel_block(a0, stride, b0, s, end, c, load);
    if (n == 2) panel_block(a0, stride, b1, s, end, c + 256, load);
    if (m == 2) panel_block(a1, stride, b0, s, end, c + 512, load);
    if (m == 2 && n == 2) panel_block(a1, stride, b1, s, end, c + 768, load);
}

#include "dense_engine.h"

void gm__conv_bf16_avx512(const gm_conv *c, const void *x, const gm_panels *w, const gm_epilogue *e,
                          void *y, void *scratch) {
    engine_conv(c, x, w, 2, e, y, scratch);
}

void gm__conv_dgrad_bf16_avx512(const gm_conv *c, const void *dy, const gm_panels *wt,
                                bool accumulate, void *dx, void *scratch) {
    engine_dgrad(c, dy, wt, accumulate, dx, scratch);
}
