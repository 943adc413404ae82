// SPDX-License-Identifier: Apache-2.0
// Tile state of a call: eight tiles of 16 rows x 64 bytes. The permission was asked for by CPU
// detection.
#ifndef GAMUT_DENSE_AMX_H
#define GAMUT_DENSE_AMX_H

#include <immintrin.h>
#include <stdint.h>

static inline void gm__amx_begin(void) {
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t columns[16];
        uint8_t rows[16];
    } config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _Static_assert(sizeof config == 64, "layout of LDTILECFG");
    _tile_loadconfig(&config);
}

static inline void gm__amx_end(void) {
    _tile_release();
}

#endif
