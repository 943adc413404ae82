// SPDX-License-Identifier: Apache-2.0
// AMX tiles in plain C, one set a thread, and a processor that claims to have them (see emulation.h).
#include "emulation.h"

#include <gamut/base.h>
#include <stdlib.h>
#include <string.h>

enum { TILES = 8, ROWS = 16, BYTES = 64 };

typedef struct tile {
    char row[ROWS][BYTES];
} tile;

static _Thread_local tile tiles[TILES];
static _Thread_local int configured;

static tile *tile_at(int i) {
    if (!configured || i < 0 || i >= TILES) abort(); // the processor would raise an exception
    return &tiles[i];
}

void emulated_config(const void *config) {
    const unsigned char *byte = config;
    if (byte[0] != 1 || byte[1] != 0) abort();
    for (int i = 0; i < TILES; i++) {
        unsigned short columns;
        memcpy(&columns, byte + 16 + 2 * i, sizeof columns);
        if (columns != BYTES || byte[48 + i] != ROWS) abort();
    }
    memset(tiles, 0, sizeof tiles);
    configured = 1;
}

void emulated_release(void) { configured = 0; }

void emulated_zero(int t) { memset(tile_at(t), 0, sizeof(tile)); }

void emulated_load(int t, const void *from, size_t stride) {
    tile *to = tile_at(t);
    for (int r = 0; r < ROWS; r++) memcpy(to->row[r], (const char *)from + (size_t)r * stride, BYTES);
}

void emulated_store(int t, void *to, size_t stride) {
    const tile *from = tile_at(t);
    for (int r = 0; r < ROWS; r++) memcpy((char *)to + (size_t)r * stride, from->row[r], BYTES);
}

void emulated_bf16(int c, int a, int b) {
    float sum[ROWS][16], left[32], right[16][32];
    gm_bf16 half[32];
    memcpy(sum, tile_at(c), sizeof sum);
    for (int k = 0; k < 16; k++) {
        memcpy(half, tile_at(b)->row[k], BYTES);
        for (int i = 0; i < 32; i++) right[k][i] = gm_bf16_to_f32(half[i]);
    }
    for (int m = 0; m < ROWS; m++) {
        memcpy(half, tile_at(a)->row[m], BYTES);
        for (int i = 0; i < 32; i++) left[i] = gm_bf16_to_f32(half[i]);
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 16; n++) {
                sum[m][n] += left[2 * k] * right[k][2 * n];
                sum[m][n] += left[2 * k + 1] * right[k][2 * n + 1];
            }
    }
    memcpy(tile_at(c), sum, sizeof sum);
}

void emulated_int8(int c, int a, int b) {
    int sum[ROWS][16];
    memcpy(sum, tile_at(c), sizeof sum);
    for (int m = 0; m < ROWS; m++)
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 16; n++)
                for (int i = 0; i < 4; i++)
                    sum[m][n] += (signed char)tile_at(a)->row[m][4 * k + i] * (signed char)tile_at(b)->row[k][4 * n + i];
    memcpy(tile_at(c), sum, sizeof sum);
}

// The linker sends calls of gm_cpu_detected here. Stores of the AMX kernels need AVX-512 with BF16.
gm_cpu_level __real_gm_cpu_detected(void);
gm_cpu_level __wrap_gm_cpu_detected(void);
gm_cpu_level __wrap_gm_cpu_detected(void) {
    return gm_cpu_bf16(GM_CPU_AVX512) ? GM_CPU_AMX : __real_gm_cpu_detected();
}
