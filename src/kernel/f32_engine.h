// SPDX-License-Identifier: Apache-2.0
// kernel: dense products in f32 arithmetic (also for bf16 and int8 where the processor has no dot product for them;
// int8 sums are exact up to 1,040 products of full size, and rounded like f32 beyond).
// The loops are portable (f32_conv.c, f32_wgrad.c); an instruction set brings its tiles as one gm__f32_ops.
//
// Every output element is one chain of fused multiply-adds in the order taps, inputs (or positions): the same bits
// whatever tile it falls into. That is why tiles may be of any height and batches may be cut anywhere.
#ifndef GAMUT_F32_ENGINE_H
#define GAMUT_F32_ENGINE_H

#include "kernel/kernel_private.h"

enum { GM__F32_ROWS = 12, GM__F32_PANELS = 2 }; // the largest tile of any instruction set

// A stretch of the reduction: count steps from element a of A and element b of B. In B a step is 16 elements.
typedef struct gm__f32_run {
    ptrdiff_t a, b;
    int count;
} gm__f32_run;

// What happens to accumulators. scale and shift are padded to whole panels (1 and 0 where the caller has none).
typedef struct gm__f32_out {
    const float *scale, *shift;
    void *y;
    const void *residual;
    int ldy, ldr, row, k; // row strides; where the written part of a row ends; channels of y
    gm_act act;
    bool accumulate;
    gm_dtype type; // of y and of the residual
    float unit;    // GM_I8: what 1 stands for
} gm__f32_out;

// acc[i][j] = sum over runs and steps of A[a + i*lda + step] * B[b + step*16 + j], then gm__f32_out.
typedef struct gm__f32_tile {
    int rows, panels;
    const float *a, *b;
    ptrdiff_t lda;
    size_t panel_stride; // of B
    const gm__f32_run *run;
    int runs;
    const gm__f32_out *out;
    const int *position; // row of y, for each row of the tile
    int k0;              // first channel of y
} gm__f32_tile;

// dw[i*16 + j] += sum over runs and steps of A[a + i + step*step_a] * B[b + step*16 + j] for j < lanes.
typedef struct gm__f32_outer {
    int rows, panels, lanes; // lanes: of the last panel
    const float *a, *b;
    ptrdiff_t step_a;
    size_t panel_stride; // of B
    const gm__f32_run *run;
    int runs;
    float *dw;
    size_t dw_panel_stride;
} gm__f32_outer;

typedef struct gm__f32_ops {
    int rows, panels; // largest tile
    void (*tile)(const gm__f32_tile *t);
    void (*outer)(const gm__f32_outer *t);
    // bf16 or int8 -> f32: count elements; a tap of a panel ([inputs/2][16][2] or [inputs/4][16][4] -> [inputs][16])
    void (*widen)(gm_dtype type, const void *x, size_t count, float *y);
    void (*widen_panel)(gm_dtype type, const void *panel, int inputs, float *y);
} gm__f32_ops;

void gm__f32_conv(const gm__f32_ops *ops, gm_dtype type, GM__CONV_ARGS);
void gm__f32_dgrad(const gm__f32_ops *ops, gm_dtype type, GM__DGRAD_ARGS);
void gm__f32_wgrad(const gm__f32_ops *ops, gm_dtype type, GM__WGRAD_ARGS);
size_t gm__f32_conv_scratch(const gm__f32_ops *ops, const gm_conv *g, gm_dtype type); // conv and dgrad
size_t gm__f32_wgrad_scratch(const gm_conv *g);

extern const gm__f32_ops gm__f32_ops_avx2, gm__f32_ops_avx512; // x86 only

// Carves 64-byte aligned parts of a scratch block; with base NULL it only counts.
typedef struct gm__carver {
    char *base;
    size_t used;
} gm__carver;
static inline void *gm__carve(gm__carver *c, size_t bytes) {
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (bytes + 63) / 64 * 64;
    return p;
}

// Copies count elements from element `at` on into f32.
static inline void gm__f32_copy(const gm__f32_ops *ops, gm_dtype type, const void *rows, size_t at, int count,
                                float *out) {
    if (type == GM_F32) __builtin_memcpy(out, (const float *)rows + at, (size_t)count * sizeof *out);
    else ops->widen(type, (const char *)rows + at * (type == GM_BF16 ? 2 : 1), (size_t)count, out);
}

#endif
