// SPDX-License-Identifier: Apache-2.0
// int8 convolution on AMX tiles: as dense_bf16_amx.c with 64 inputs to a step and int32
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
            _tile_dpbssd(0, 4, 6);
            _tile_loadd(7, b1 + s->b, 64);
            _tile_dpbssd(1, 4, 7);
            _tile_stream_loadd(5, a1 + s->a, stride);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
    } else if (m == 2 && n == 2) {
        for (; s < end; s++) {
            _tile_loadd(6, b0 + s->b, 64);
            _tile_loadd(4, a0 + s->a, stride);
            _tile_dpbssd(0, 4, 6);
            _tile_loadd(7, b1 + s->b, 64);
            _tile_dpbssd(1, 4, 7);
            _tile_loadd(5, a1 + s->a, stride);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
    } else {
        for (; s < end; s++) {
            _tile_loadd(6, b0 + s->b, 64);
            _tile_loadd(4, a0 + s->a, stride);
            _tile_dpbssd(0, 4, 6);
            if (n == 2) {
                _tile_loadd(7, b1 + s->b, 64);
                _tile_dpbssd(1, 4, 7);
            }
            if (m == 2) {
                _tile_loadd(5, a1 + s->a, stride);
                _tile_dpbssd(2, 5, 6);
            }
        }
    }
    _tile_stored(0, c, 64);
    if (n == 2) _tile_stored(1, c + 256, 64);
    if (m == 2) _tile_stored(2, c + 512, 64);
    if (m == 2 && n == 2) _tile_stored(3, c + 768, 64);
}

#define TILE_INTEGER 1
#include "dense_engine.h"

void gm__conv_i8_amx(const gm_conv *c, const void *x, const gm_panels *w, const gm_epilogue *e,
                     void *y, void *scratch) {
    gm__amx_begin();
    engine_conv(c, x, w, 1, e, y, scratch);
    gm__amx_end();
}
