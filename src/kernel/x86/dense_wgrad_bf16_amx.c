// SPDX-License-Identifier: Apache-2.0
// bf16 gradient of dense weights on AMX tiles: 32 inputs x 32 outputs in four accumulators.
#include "dense_amx.h"
#include "dense_plan.h"

enum { LENGTH = 32 }; // positions of a group: one step of a tile

// c0: tiles of panel n (inputs 0-15, 16-31), c1: the same of panel n+1. dy is read past L1: x is
// what stays there.
static inline void wgrad_block(const gm__wgrad *p, const char *a, const int *start, int groups,
                               int shift, float *c0, float *c1, const float *next0,
                               const float *next1, int m, int n) {
    size_t row = p->row;
    const char *a1 = a + 16 * row, *b0 = p->dy, *b1 = p->dy + p->panel;
    __asm__ volatile(
        "" ::
            : "memory"); // tile loads are not ordered after the stores that packed their data
    _tile_loadd(0, c0, 64);
    if (n == 2) _tile_loadd(1, c1, 64);
    if (m == 2) _tile_loadd(2, c0 + 256, 64);
    if (m == 2 && n == 2) _tile_loadd(3, c1 + 256, 64);
    for (int i = 0; i < groups; i++) {
        int d = start[i] - shift;
        size_t at = (size_t)(d >> 1) * 64 + (d & 1 ? p->half : 0);
        _tile_stream_loadd(6, b0 + at, 64);
        _tile_loadd(4, a + (size_t)i * 64, row);
        _mm_prefetch((const char *)next0 + i * 128, _MM_HINT_T0); // the next tap's gradient
        _mm_prefetch((const char *)next0 + i * 128 + 64, _MM_HINT_T0);
        _mm_prefetch((const char *)next1 + i * 128, _MM_HINT_T0);
        _mm_prefetch((const char *)next1 + i * 128 + 64, _MM_HINT_T0);
        _tile_dpbf16ps(0, 4, 6);
        if (n == 2) {
            _tile_stream_loadd(7, b1 + at, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (m == 2) {
            _tile_loadd(5, a1 + (size_t)i * 64, row);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (m == 2 && n == 2) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c0, 64);
    if (n == 2) _tile_stored(1, c1, 64);
    if (m == 2) _tile_stored(2, c0 + 256, 64);
    if (m == 2 && n == 2) _tile_stored(3, c1 + 256, 64);
}

#include "dense_wgrad_avx512.h"

void gm__conv_wgrad_bf16_amx(const gm_conv *c, const void *x, const void *dy, const gm_panels *w,
                             float *dw, int c0, int c1, int p0, int p1, void *scratch) {
    gm__amx_begin();
    wgrad_run(c, x, dy, w, dw, c0, c1, p0, p1, scratch);
    gm__amx_end();
}
