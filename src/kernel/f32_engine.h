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

// sum[panel][i][j] = (add: sum +) sum over steps of A[i*lda + step] * B[step*16 + j], for any number of rows.
typedef struct gm__f32_product {
    int rows, panels, count; // count: steps
    const float *a, *b;
    ptrdiff_t lda;
    size_t panel_stride; // of B
    float *sum;
    size_t sum_stride; // from panel to panel
    bool add;
} gm__f32_product;

typedef struct gm__f32_ops {
    int rows, panels; // largest tile
    void (*tile)(const gm__f32_tile *t);
    void (*row)(const gm__f32_tile *t); // of one row, any number of panels
    void (*outer)(const gm__f32_outer *t);
    // bf16 or int8 -> f32: count elements; a tap of a panel ([inputs/2][16][2] or [inputs/4][16][4] -> [inputs][16])
    void (*widen)(gm_dtype type, const void *x, size_t count, float *y);
    void (*widen_panel)(gm_dtype type, const void *panel, int inputs, float *y);
    void (*product)(const gm__f32_product *p);
    struct { // see x86/winograd_vec.h
        void (*input)(const float *const *pixel, int tiles, int c, float *v, size_t step, size_t lda);
        void (*weights)(const float *const tap[9], int rows, float *u, size_t step);
        void (*output)(const float *m, size_t step, int tiles, const int *position, const gm__f32_out *o, int k0);
        void (*dy)(const float *const *pixel, int tiles, int k0, float *d, size_t step);
        void (*dw)(const float *m, size_t step, int rows, int lanes, float *const tap[9]);
    } winograd;
} gm__f32_ops;

void gm__f32_conv(const gm__f32_ops *ops, gm_dtype type, GM__CONV_ARGS);
void gm__f32_dgrad(const gm__f32_ops *ops, gm_dtype type, GM__DGRAD_ARGS);
void gm__f32_wgrad(const gm__f32_ops *ops, gm_dtype type, GM__WGRAD_ARGS);
size_t gm__f32_conv_scratch(const gm__f32_ops *ops, const gm_conv *g, gm_dtype type); // conv and dgrad
size_t gm__f32_wgrad_scratch(const gm_conv *g, gm_dtype type);

// Winograd's F(2x2, 3x3) (f32_winograd.c, f32_winograd_wgrad.c). c: channels summed over. The choice looks at the taps, the
// whole map and the channels summed over alone: cuts of a batch, a map or the outputs must not change it.
bool gm__f32_winograd(const gm_conv *g, bool flat, gm_dtype type, int c);
void gm__f32_winograd_conv(const gm__f32_ops *ops, GM__CONV_ARGS);
void gm__f32_winograd_dgrad(const gm__f32_ops *ops, GM__DGRAD_ARGS);
void gm__f32_winograd_wgrad(const gm__f32_ops *ops, GM__WGRAD_ARGS);
size_t gm__f32_winograd_scratch(const gm_conv *g, int c, int k);
size_t gm__f32_winograd_wgrad_scratch(const gm_conv *g);

// Tiles of 2x2 outputs of n maps of h x w, or of the output rows [y0, y0 + ho) of one.
typedef struct gm__tile_map {
    int h, w, y0, ho;
    int first, rows, columns; // tile rows [first, first + rows)
    int count;                // tiles of all images
} gm__tile_map;
gm__tile_map gm__tile_map_of(const gm_conv *g);

typedef struct gm__tile_at {
    int image, y, x; // in tiles
} gm__tile_at;
static inline gm__tile_at gm__tile_start(const gm__tile_map *m, int t) {
    return (gm__tile_at){t / (m->rows * m->columns), m->first + t / m->columns % m->rows, t % m->columns};
}
static inline void gm__tile_next(const gm__tile_map *m, gm__tile_at *at) {
    if (++at->x < m->columns) return;
    at->x = 0;
    if (++at->y < m->first + m->rows) return;
    at->y = m->first;
    at->image++;
}
void gm__tile_pixels(const gm__tile_map *m, const float *image, int ld, int y, int x, const float *zero, const float **pixel);

extern const gm__f32_ops gm__f32_ops_avx2, gm__f32_ops_avx512; // x86 only

// scale and shift: room for whole panels, filled here.
gm__f32_out gm__f32_out_of(const gm_epilogue *e, float *scale, float *shift, void *y, int ldy, int k);
// Zeros from the last panel to the end of the rows of y (position < 0: none).
void gm__f32_zero_tails(const int *position, int count, const gm__f32_out *o);

// Row stride of a copy: multiples of 512 bytes would put the rows of a tile into few sets of the cache.
static inline int gm__spread(int elements) {
    const int padded = gm_round_up(elements, 16);
    return padded % 128 == 0 ? padded + 16 : padded;
}

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
