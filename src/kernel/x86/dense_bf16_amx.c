// SPDX-License-Identifier: Apache-2.0
// bf16 convolution and gradient of the input on AMX tiles: 32 positions x 32 outputs in four
// accumulators.
#define TILE_DOT _tile_dpbf16ps
#define STORE_INTEGER 0
#include "dense_tiles_amx.h"

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
