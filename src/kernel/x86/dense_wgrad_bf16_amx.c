// SPDX-License-Identifier: Apache-2.0
// bf16 gradient of dense weights on AMX tiles: 32 inputs x 32 outputs in four accumulators.
#include "dense_amx.h"
#include "dense_plan.h"

// c0: tiles of panel n (inputs 0-15, 16-31), c1: the same of panel n+1.
static inline void wgrad_block(const gm__wgrad *p, const char *a, const char *b0, const char *b1, float *c0,
                               float *c1, int m, int n) {
    const gm__tiles *tile = p->work.tile, *end = tile + p->work.tiles;
    size_t row = p->row;
    const char *a1 = a + 16 * row;
    __asm__ volatile("" ::: "memory"); // tile loads are not ordered after the stores that packed their data
    _tile_loadd(0, c0, 64);
    if (n == 2) _tile_loadd(1, c1, 64);
    if (m == 2) _tile_loadd(2, c0 + 256, 64);
    if (m == 2 && n == 2) _tile_loadd(3, c1 + 256, 64);
    if (m == 2 && n == 2) {
        for (; tile < end; tile++, b0 += 1024, b1 += 1024) {
            _tile_loadd(6, b0, 64);
            _tile_loadd(4, a + tile->a, row);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b1, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, a1 + tile->a, row);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    } else {
        for (; tile < end; tile++, b0 += 1024, b1 += 1024) {
            _tile_loadd(6, b0, 64);
            _tile_loadd(4, a + tile->a, row);
            _tile_dpbf16ps(0, 4, 6);
            if (n == 2) {
                _tile_loadd(7, b1, 64);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (m == 2) {
                _tile_loadd(5, a1 + tile->a, row);
                _tile_dpbf16ps(2, 5, 6);
            }
        }
    }
    _tile_stored(0, c0, 64);
    if (n == 2) _tile_stored(1, c1, 64);
    if (m == 2) _tile_stored(2, c0 + 256, 64);
    if (m == 2 && n == 2) _tile_stored(3, c1 + 256, 64);
}

#include "dense_wgrad_avx512.h"

void gm__conv_wgrad_bf16_amx(const gm_conv *c, const void *x, const void *dy, const gm_panels *w, float *dw, int c0,
                             int c1, int p0, int p1, void *scratch) {
    gm__amx_begin();
    wgrad_run(c, x, dy, w, dw, c0, c1, p0, p1, scratch);
    gm__amx_end();
}
