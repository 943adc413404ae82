// SPDX-License-Identifier: Apache-2.0
// int8 convolution with AVX-512 VNNI, on the same plans as AMX. The instruction multiplies unsigned
// by signed bytes: weights are made unsigned by adding 128, and 128 times the sum of a position's
// inputs is taken off again.
#define STORE_INTEGER 1
#include "dense_store_avx512.h"

#include <immintrin.h>

static inline void panel_block(const char *a, size_t stride, const char *b, const gm__step *s,
                               const gm__step *end, float *c, bool load, const int *excess) {
    const __m512i sign = _mm512_set1_epi8((char)0x80);
    __m512i acc[16];
    for (int r = 0; r < 16; r++) {
        acc[r] = load ? _mm512_load_si512((const void *)(c + r * 16)) : _mm512_setzero_si512();
        acc[r] = _mm512_sub_epi32(acc[r], _mm512_set1_epi32(excess[r]));
    }
    for (; s < end; s++) {
        const char *x = a + s->a, *w = b + s->b;
        for (int i = 0; i < 16; i++) {
            __m512i v = _mm512_xor_si512(_mm512_load_si512(w + i * 64), sign);
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                int quad;
                __builtin_memcpy(&quad, x + (size_t)r * stride + (size_t)i * 4, 4);
                acc[r] = _mm512_dpbusd_epi32(acc[r], v, _mm512_set1_epi32(quad));
            }
        }
    }
    for (int r = 0; r < 16; r++) _mm512_store_si512((void *)(c + r * 16), acc[r]);
}

// 128 times the sum of the inputs of each position.
static inline void excess_of(const char *a, size_t stride, const gm__step *s, const gm__step *end,
                             int *excess) {
    const __m512i ones = _mm512_set1_epi8(1);
    for (int r = 0; r < 16; r++) {
        __m512i sum = _mm512_setzero_si512();
        for (const gm__step *t = s; t < end; t++)
            sum = _mm512_dpbusd_epi32(
                sum, ones, _mm512_loadu_si512(a + t->a + (ptrdiff_t)((size_t)r * stride)));
        excess[r] = 128 * _mm512_reduce_add_epi32(sum);
    }
}

static inline void tile_block(const char *a0, const char *a1, size_t stride, const char *b0,
                              const char *b1, const gm__step *s, const gm__step *end, float *c,
                              bool load, int m, int n, bool stream, const gm__out *o,
                              gm__waiting *waiting) {
    (void)stream; // rows wait until the block is done: the vector units are busy
    (void)o;
    (void)waiting;
    int excess[16];
    for (int i = 0; i < m; i++) {
        const char *a = i ? a1 : a0;
        excess_of(a, stride, s, end, excess);
        panel_block(a, stride, b0, s, end, c + i * 512, load, excess);
        if (n == 2) panel_block(a, stride, b1, s, end, c + i * 512 + 256, load, excess);
    }
}

#include "dense_engine.h"

void gm__conv_i8_avx512(const gm_conv *c, const void *x, const gm_panels *w, const gm_epilogue *e,
                        void *y, void *scratch) {
    engine_conv(c, x, w, 1, e, y, scratch);
}
