// SPDX-License-Identifier: Apache-2.0
// What the quantizer of checkpoints is compared with, small: bytes of one checkpoint and its squared error, no files.
#ifndef GAMUT_QUANT_BASELINES_H
#define GAMUT_QUANT_BASELINES_H

#include <gamut/base.h>

typedef struct baseline_result {
    double bytes, wrong; // wrong: sum of squared errors
} baseline_result;

baseline_result baseline_bf16(size_t n, const float *w);
// Lossless: zstd level 3 over the floats as they are. bytes < 0: failed.
baseline_result baseline_zstd(size_t n, const float *w);
// After Check-N-Run (NSDI 2022): vectors of 64, each a uniform grid between bounds that are narrowed greedily while the squared
// error falls (25 steps, at most half of the range); bits a weight and two bf16 bounds a vector. No entropy coding. All rows of
// a dense model change between checkpoints, so its other half, writing only what was touched, has nothing to save here.
baseline_result baseline_uniform(size_t n, const float *w, int bits);
// After QD-Compressor (ICCD 2021): one uniform grid of `levels` a tensor over its range, then the ring difference to the
// previous grid's ids, Huffman coded (table included). ids: of the previous checkpoint, replaced; first: there are none.
// Error feedback is left out. bytes < 0: out of memory.
baseline_result baseline_qd(size_t n, const float *w, int levels, uint8_t *ids, bool first);

#endif
