// SPDX-License-Identifier: Apache-2.0
// bf16 convolution and gradient of the input on AMX tiles: 32 positions x 32 outputs in four
// accumulators.
#include "dense_amx.h"
#include "dense_plan.h"

static inline void tile_block(const char *a0, const char *a1, size_t stride, const char *b0,
                              const char *b1, const gm__step *s, const gm__step *end, float *c,
                              bool load, int m, int n, bool stream) {
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
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b1 + s->b, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_stream_loadd(5, a1 + s->a, stride);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    } else if (m == 2 && n == 2) {
        for (; s < end; s++) {
            _tile_loadd(6, b0 + s->b, 64);
            _tile_loadd(4, a0 + s->a, stride);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b1 + s->b, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, a1 + s->a, stride);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    } else {
        for (; s < end; s++) {
            _tile_loadd(6, b0 + s->b, 64);
            _tile_loadd(4, a0 + s->a, stride);
            _tile_dpbf16ps(0, 4, 6);
            if (n == 2) {
                _tile_loadd(7, b1 + s->b, 64);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (m == 2) {
                _tile_loadd(5, a1 + s->a, stride);
                _tile_dpbf16ps(2, 5, 6);
            }
        }
    }
    _tile_stored(0, c, 64);
    if (n == 2) _tile_stored(1, c + 256, 64);
    if (m == 2) _tile_stored(2, c + 512, 64);
    if (m == 2 && n == 2) _tile_stored(3, c + 768, 64);
}

#define TILE_INTEGER 0
#include "dense_engine.h"

void gm__conv_bf16_amx(const gm_conv *c, const void *x, const gm_panels *w, const gm_epilogue *e,
                       void *y, void *scratch) {
    gm__amx_begin();
    engine_conv(c, x, w, 2, e, y, scratch);
    gm__amx_end();
}

void gm__conv_dgrad_bf16_amx(const gm_conv *c, const void *dy, const gm_panels *wt, bool accumulate,
                             void *dx, void *scratch) {
    gm__amx_begin();
    engine_dgrad(c, dy, wt, accumulate, dx, scratch);
    gm__amx_end();
}
