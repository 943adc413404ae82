// SPDX-License-Identifier: Apache-2.0
// bf16 convolution and gradient of the input with AVX-512 dot products of pairs, on the same plans as AMX.
#define STORE_INTEGER 0
#include "dense_store_avx512.h"

typedef __m512 sums;
static inline __m512 dot(__m512 acc, __m512i word, __m512i weights) {
    return _mm512_dpbf16_ps(acc, (__m512bh)word, (__m512bh)weights);
}
static inline __m512 sums_load(const float *c) { return _mm512_load_ps(c); }
static inline void sums_store(float *c, __m512 v) { _mm512_store_ps(c, v); }
static inline __m512 sums_float(__m512 v) { return v; }
static inline __m512 sums_first(__m512 v, const char *row, const gm__step *s, const gm__step *end) {
    (void)row;
    (void)s;
    (void)end;
    return v;
}
#define SUMS_ZERO _mm512_setzero_ps()

#include "dense_blocks_avx512.h"
#include "dense_engine.h"

void gm__conv_bf16_avx512(const gm_conv *c, const void *x, const gm_panels *w, const gm_epilogue *e,
                          void *y, void *scratch) {
    engine_conv(c, x, w, 2, e, y, scratch);
}

void gm__conv_dgrad_bf16_avx512(const gm_conv *c, const void *dy, const gm_panels *wt,
                                bool accumulate, void *dx, void *scratch) {
    engine_dgrad(c, dy, wt, accumulate, dx, scratch);
}
