// SPDX-License-Identifier: Apache-2.0
// int8 convolution on AMX tiles: as dense_bf16_amx.c with 64 inputs to a step and int32
// accumulators.
#define TILE_DOT _tile_dpbssd
#define STORE_INTEGER 1
#include "dense_tiles_amx.h"

#include "dense_engine.h"

void gm__conv_i8_amx(const gm_conv *c, const void *x, const gm_panels *w, const gm_epilogue *e,
                     void *y, void *scratch) {
    gm__amx_begin();
    engine_conv(c, x, w, 1, e, y, scratch);
    gm__amx_end();
}
