// SPDX-License-Identifier: Apache-2.0
// f32 rows to int8 and back, in plain loops that the compiler vectorises at the level of the including file. Included by the
// portable file and by those of the vector levels; every level gives the same bits.
#ifndef GAMUT_KERNEL_QUANTIZE_ROWS_H
#define GAMUT_KERNEL_QUANTIZE_ROWS_H

#include <gamut/kernel.h>
#include <string.h>

// Adding 1.5 * 2^23 rounds to an even integer and leaves it in the low bits. NaN becomes 0.
static void quantize_rows(int rows, int c, float unit, const float *x, int ldx, int8_t *y, int ldy) {
    const float inverse = 1.0f / unit, magic = 12582912.0f;
    for (int r = 0; r < rows; r++, x += ldx, y += ldy) {
        for (int i = 0; i < c; i++) {
            float v = x[i] * inverse;
            v = v > -127.0f ? v : v == v ? -127.0f : 0.0f;
            v = (v < 127.0f ? v : 127.0f) + magic;
            int32_t q;
            memcpy(&q, &v, sizeof q);
            y[i] = (int8_t)(q - 0x4b400000);
        }
        memset(y + c, 0, (size_t)(ldy - c));
    }
}

static void dequantize_rows(int rows, int c, float unit, const int8_t *x, int ldx, float *y, int ldy) {
    for (int r = 0; r < rows; r++, x += ldx, y += ldy) {
        for (int i = 0; i < c; i++) y[i] = (float)x[i] * unit;
        memset(y + c, 0, (size_t)(ldy - c) * sizeof *y);
    }
}

#endif
