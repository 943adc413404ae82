// SPDX-License-Identifier: Apache-2.0
// AMX tiles in plain C, so that the AMX kernels can be tested where the processor has none. Forced into their sources by the build
// (tests/kernel/amx.cmake): it takes the place of the intrinsics that they use.
#ifndef GAMUT_TEST_AMX_EMULATION_H
#define GAMUT_TEST_AMX_EMULATION_H

#include <immintrin.h>
#include <stddef.h>

void emulated_load(int tile, const void *from, size_t stride);
void emulated_store(int tile, void *to, size_t stride);
void emulated_zero(int tile);
void emulated_bf16(int c, int a, int b); // c[m][n] += a[m][2k] * b[k][2n] + a[m][2k+1] * b[k][2n+1], f32
void emulated_int8(int c, int a, int b); // c[m][n] += sum of a[m][4k+i] * b[k][4n+i], int32
void emulated_config(const void *config); // aborts unless eight tiles of 16 rows x 64 bytes are asked for
void emulated_release(void);

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig emulated_config
#define _tile_release emulated_release
#define _tile_loadd emulated_load
#define _tile_stream_loadd emulated_load
#define _tile_stored emulated_store
#define _tile_zero emulated_zero
#define _tile_dpbf16ps emulated_bf16
#define _tile_dpbssd emulated_int8

#endif
