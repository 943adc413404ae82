// SPDX-License-Identifier: Apache-2.0
// Products of a block with AVX-512 dot products (bf16 and int8): tile_block of dense_engine.h. The including file defines before,
// beside what dense_words_avx512.h asks for: SUMS_ZERO, sums_load, sums_store, sums_float, and sums_first(sum, row, steps, end),
// which may adjust the sum of a row before its products.
#ifndef GAMUT_DENSE_BLOCKS_AVX512_H
#define GAMUT_DENSE_BLOCKS_AVX512_H

#include "dense_words_avx512.h"

#define EVEN_ROWS 0

// Where the sums of half a tile go: rows of y when they are complete and the epilogue is a fast one, else c.
typedef struct gm__half {
    const gm__out *o; // NULL: c
    int n0;
    float *c; // [panel 0, 1: 256 floats apart][row][16]
    bool load;
} gm__half;

// sums (+)= over steps.
static inline __attribute__((always_inline)) void half_block(const int panels, const char *a, const int *offset, const int *to,
                                                             const char *b0, const char *b1, const gm__step *s,
                                                             const gm__step *end, const gm__half *h) {
    const char *row[ROWS];
    sums acc[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        row[r] = a + offset[r];
        acc[r][1] = SUMS_ZERO;
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++)
            acc[r][p] = sums_first(h->load ? sums_load(h->c + p * 256 + r * 16) : SUMS_ZERO, row[r], s, end);
    }
    for (; s < end; s++) words_chunk(panels, row, s->a, b0 + s->b, b1 + s->b, s->words, acc);
    if (h->o) {
        const gm__fast fast = fast_begin(h->o, h->n0);
        const char *residual = h->o->residual;
        const size_t ldr = h->o->ldr, ldy = h->o->ldy;
        char *y = h->o->y;
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
            if (to[r] >= 0)
                fast_row(&fast, sums_float(acc[r][0]), sums_float(acc[r][1]), residual ? residual + (size_t)to[r] * ldr : NULL,
                         y + (size_t)to[r] * ldy);
        return;
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++) sums_store(h->c + p * 256 + r * 16, acc[r][p]);
}

static inline bool half_needed(const int *to) {
    for (int r = 0; r < ROWS; r++)
        if (to[r] >= 0) return true;
    return false;
}

static inline bool tile_block(const char *a, const gm__tiles *t, size_t stride, const char *b0, const char *b1,
                              const gm__step *s, const gm__step *end, float *c, bool load, bool last, int m, int n, bool stream,
                              const gm__out *o, int n0, gm__waiting *waiting) {
    (void)stride; // rows of a tile lie anywhere
    (void)stream;
    (void)waiting; // only what is not fast, which is not worth a place between products
    const bool store = last && o->fast;
    for (int i = 0; i < m; i++)
        for (int half = 0; half < 2; half++) {
            const int *offset = t[i].row + half * ROWS, *to = t[i].to + half * ROWS;
            const gm__half h = {store ? o : NULL, n0, c + i * 512 + half * (ROWS * 16), load};
            if (!half_needed(to)) continue;
            if (n == 2) half_block(2, a + t[i].a, offset, to, b0, b1, s, end, &h);
            else half_block(1, a + t[i].a, offset, to, b0, b0, s, end, &h);
        }
    return store;
}

#endif
