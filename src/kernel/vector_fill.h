// SPDX-License-Identifier: Apache-2.0
// Fillers of the table for everything that is not a dense product: depthwise, norms, activations, pooling, losses,
// transformer parts, optimizers. Each level overwrites only the members that it does better than the level below.
#ifndef GAMUT_KERNEL_VECTOR_FILL_H
#define GAMUT_KERNEL_VECTOR_FILL_H

#include <gamut/kernel.h>

// Depthwise kernels widen windows of an image into two blocks of so many positions, up to 16 channels each.
enum { GM__DEPTHWISE_POSITIONS = 2048, GM__DEPTHWISE_SCRATCH = 2 * GM__DEPTHWISE_POSITIONS * 16 * 4 };

void gm__vector_fill_ref(gm_kernels *table);
void gm__vector_fill_avx2(gm_kernels *table);   // x86-64 only
void gm__vector_fill_avx512(gm_kernels *table); // x86-64 only

// The parts that the fillers above call, one a file.
void gm__depthwise_fill_ref(gm_kernels *table);
void gm__tap_transform_fill_ref(gm_kernels *table);
void gm__act_fill_ref(gm_kernels *table);
void gm__norm_fill_ref(gm_kernels *table);
void gm__pool_fill_ref(gm_kernels *table);
void gm__loss_fill_ref(gm_kernels *table);
void gm__transformer_fill_ref(gm_kernels *table);
void gm__attention_fill_ref(gm_kernels *table);
void gm__optimizer_fill_ref(gm_kernels *table);

// Vector levels (x86/*_vec.h).
void gm__depthwise_fill_avx2(gm_kernels *table);
void gm__act_fill_avx2(gm_kernels *table);
void gm__norm_fill_avx2(gm_kernels *table);
void gm__pool_fill_avx2(gm_kernels *table);
void gm__loss_fill_avx2(gm_kernels *table);
void gm__optimizer_fill_avx2(gm_kernels *table);
void gm__depthwise_fill_avx512(gm_kernels *table);
void gm__act_fill_avx512(gm_kernels *table);
void gm__norm_fill_avx512(gm_kernels *table);
void gm__pool_fill_avx512(gm_kernels *table);
void gm__loss_fill_avx512(gm_kernels *table);
void gm__optimizer_fill_avx512(gm_kernels *table);

#endif
