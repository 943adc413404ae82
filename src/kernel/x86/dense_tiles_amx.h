// SPDX-License-Identifier: Apache-2.0
// Products of a block on AMX tiles: 32 positions x 32 outputs in four accumulators. The including
// file defines before: TILE_DOT(c, a, b), the product of its type, and STORE_INTEGER.
#ifndef GAMUT_DENSE_TILES_AMX_H
#define GAMUT_DENSE_TILES_AMX_H

#include "dense_amx.h"
#include "dense_store_avx512.h"

#define EVEN_ROWS 1

static inline bool tile_block(const char *a, const gm__tiles *t, size_t stride, const char *b0,
                              const char *b1, const gm__step *s, const gm__step *end, float *c,
                              bool load, bool last, int m, int n, bool stream, const gm__out *o, int n0,
                              gm__waiting *waiting) {
    (void)last;
    (void)n0;
    const char *a0 = a + t[0].a, *a1 = m == 2 ? a + t[1].a : a0;
    // The vector units are idle while tiles multiply: as many waiting rows a step as it takes to
    // be done with them at the end.
    const int steps = (int)(end - s), rows = (2 * GM__TILE + steps - 1) / gm_max(1, steps);
    const bool busy = o->fast && waiting->tiles > 0;
    gm__rows fast;
    rows_begin(&fast, o, waiting);
    if (load) {
        _tile_loadd(0, c, 64);
        if (n == 2) _tile_loadd(1, c + 256, 64);
        if (m == 2) _tile_loadd(2, c + 512, 64);
        if (m == 2 && n == 2) _tile_loadd(3, c + 768, 64);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    if (m == 2 && n == 2 && stream) {
        for (; s < end; s++) {
            _tile_loadd(6, b0 + s->b, 64);
            _tile_stream_loadd(4, a0 + s->a, stride);
            TILE_DOT(0, 4, 6);
            _tile_loadd(7, b1 + s->b, 64);
            TILE_DOT(1, 4, 7);
            _tile_stream_loadd(5, a1 + s->a, stride);
            TILE_DOT(2, 5, 6);
            TILE_DOT(3, 5, 7);
            if (busy) rows_store(&fast, o, waiting, rows);
        }
    } else if (m == 2 && n == 2) {
        for (; s < end; s++) {
            _tile_loadd(6, b0 + s->b, 64);
            _tile_loadd(4, a0 + s->a, stride);
            TILE_DOT(0, 4, 6);
            _tile_loadd(7, b1 + s->b, 64);
            TILE_DOT(1, 4, 7);
            _tile_loadd(5, a1 + s->a, stride);
            TILE_DOT(2, 5, 6);
            TILE_DOT(3, 5, 7);
            if (busy) rows_store(&fast, o, waiting, rows);
        }
    } else {
        for (; s < end; s++) {
            _tile_loadd(6, b0 + s->b, 64);
            _tile_loadd(4, a0 + s->a, stride);
            TILE_DOT(0, 4, 6);
            if (n == 2) {
                _tile_loadd(7, b1 + s->b, 64);
                TILE_DOT(1, 4, 7);
            }
            if (m == 2) {
                _tile_loadd(5, a1 + s->a, stride);
                TILE_DOT(2, 5, 6);
            }
        }
    }
    if (busy) rows_store(&fast, o, waiting, 2 * GM__TILE); // with fewer rows a step: none is left
    _tile_stored(0, c, 64);
    if (n == 2) _tile_stored(1, c + 256, 64);
    if (m == 2) _tile_stored(2, c + 512, 64);
    if (m == 2 && n == 2) _tile_stored(3, c + 768, 64);
    return false;
}

#endif
