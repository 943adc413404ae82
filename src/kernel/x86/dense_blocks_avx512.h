// SPDX-License-Identifier: Apache-2.0
// Products of a block with AVX-512 dot products (bf16 and int8): tile_block of dense_engine.h. The including file defines before,
// beside what dense_words_avx512.h asks for: SUMS_ZERO, sums_load, sums_store, and sums_first(sum, row, steps, end), which may
// adjust the sum of a row before its products.
#ifndef GAMUT_DENSE_BLOCKS_AVX512_H
#define GAMUT_DENSE_BLOCKS_AVX512_H

#include "dense_words_avx512.h"

#define EVEN_ROWS 0

// Half a tile: c[panel][row] (+)= sum over steps; accumulators of a panel are 256 floats apart.
static inline __attribute__((always_inline)) void half_block(const int panels, const char *a, const int *offset,
                                                             const char *b0, const char *b1, const gm__step *s,
                                                             const gm__step *end, float *c, bool load) {
    const char *row[ROWS];
    sums acc[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        row[r] = a + offset[r];
        for (int p = 0; p < panels; p++)
            acc[r][p] = sums_first(load ? sums_load(c + p * 256 + r * 16) : SUMS_ZERO, row[r], s, end);
    }
    for (; s < end; s++) words_chunk(panels, row, s->a, b0 + s->b, b1 + s->b, s->words, acc);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        for (int p = 0; p < panels; p++) sums_store(c + p * 256 + r * 16, acc[r][p]);
}

// Halves without an output are left out.
static inline bool half_needed(const gm__tiles *t, int half) {
    for (int i = 0; i < t->runs; i++)
        if (t->run[i].src < (half + 1) * ROWS && t->run[i].src + t->run[i].count > half * ROWS) return true;
    return false;
}

static inline void tile_block(const char *a, const gm__tiles *t, size_t stride, const char *b0, const char *b1,
                              const gm__step *s, const gm__step *end, float *c, bool load, int m, int n, bool stream,
                              const gm__out *o, gm__waiting *waiting) {
    (void)stride; // rows of a tile lie anywhere
    (void)stream; // rows wait until the block is done: the vector units are busy
    (void)o;
    (void)waiting;
    for (int i = 0; i < m; i++)
        for (int half = 0; half < 2; half++) {
            if (!half_needed(t + i, half)) continue;
            const int *offset = t[i].row + half * ROWS;
            float *sum = c + i * 512 + half * (ROWS * 16);
            if (n == 2) half_block(2, a + t[i].a, offset, b0, b1, s, end, sum, load);
            else half_block(1, a + t[i].a, offset, b0, b0, s, end, sum, load);
        }
}

#endif
