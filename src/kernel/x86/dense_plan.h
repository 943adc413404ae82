// SPDX-License-Identifier: Apache-2.0
// dense_plan: how a dense convolution is cut into blocks for the tile kernels (bf16 and int8; AMX
// and AVX-512).
//
// Activations carry no halo, yet a tile of 16 positions must have ONE row stride. Three ways to get
// it:
//   direct  1x1, stride 1: tiles lie in the activation itself;
//   strip   rows are copied once into scratch with zero columns and rows shared between neighbours,
//   split by
//           stride into phases, so that every tap of every position is at a constant offset;
//   flat    few inputs (first layer): the taps of a position are gathered into one row.
// Everything is counted in bytes and in chunks of 64 bytes (32 bf16 or 64 int8), so one plan serves
// both types.
#ifndef GAMUT_DENSE_PLAN_H
#define GAMUT_DENSE_PLAN_H

#include <gamut/kernel.h>

enum { GM__TILE = 16, GM__CHUNK = 64, GM__TAPS_MAX = GM_TAPS_MAX * GM_TAPS_MAX, GM__VISIT_TILES = 64 };

typedef struct gm__tap {
    int oy, ox; // input row = grid row * step + oy, input column = grid column * step + ox
    int weight; // tap in the panels
    int phase;  // which phase of the strip holds it (filled by the plan)
    int qy, qx; // offset inside that phase (filled by the plan)
} gm__tap;

typedef struct gm__phase {
    int fy, fx;     // input rows y with y mod step == fy, columns likewise
    int rows, cols; // how many of them are copied
} gm__phase;

// A convolution over a grid of output positions. Forward is one grid; the gradient of the input is
// one grid per phase of the stride.
typedef struct gm__grid {
    int n, gh, gw;    // images, grid rows and columns
    int ih, iw, step; // input rows and columns, input positions per grid position
    int skip, up;     // forward: rows of the image before the grid's input; rows of zeros above it
    int chunks;       // 64-byte groups read of an input row
    int inputs;       // bytes of them that hold inputs; zeros follow
    size_t row;       // bytes between input positions
    int oh, ow;       // output rows and columns; grid (y,x) writes (y*mul+add_y, x*mul+add_x)
    int mul, add_y, add_x;
    int taps;
    gm__tap tap[GM__TAPS_MAX];

    // the plan
    bool direct, flat;
    int phases;
    gm__phase phase[GM__TAPS_MAX];
    int pitch;          // strip columns of one grid row
    int top, left;      // zero rows and columns before the first position
    int below, right;   // rows and columns after the last grid position that taps reach
    int image_rows;     // strip rows of an image
    int block_images;   // images of a block when whole images fit ...
    int block_rows;     // ... else grid rows of one image; direct: positions of a block
    size_t stride;      // bytes between strip positions
    int positions;      // of a strip phase, a multiple of 32
    size_t phase_bytes; // the same in bytes
    int tiles_max;      // of a block
    // flat only: the taps of one row are `flat_row` bytes, consecutive in a compacted input row
    int flat_r;
    size_t flat_pixel, flat_row, flat_pitch;
} gm__grid;

// 16 positions: where they start in the strip, and the runs of them that are real outputs.
typedef struct gm__run {
    int src, count, dst; // dst: output position; the next ones follow at `mul`
} gm__run;
typedef struct gm__tiles {
    ptrdiff_t a;       // bytes from the block's first position
    int row[GM__TILE]; // bytes from there to each position; those that are no outputs repeat another one
    int to[GM__TILE];  // its output position, or -1
    int runs;
    gm__run run[GM__TILE];
} gm__tiles;

// One step of the reduction: a chunk of inputs of one tap. Byte offsets.
typedef struct gm__step {
    ptrdiff_t a;
    size_t b;
    int words; // groups of four bytes with inputs in them, at most 16
} gm__step;

// What a pass needs, carved from the caller's scratch.
typedef struct gm__work {
    gm__step *step;
    int steps;
    gm__tiles *tile;
    int tiles;
    char *strip;
    char *compact; // flat only
    float *slot;   // accumulator tiles
    float *scale, *shift;
} gm__work;

// The taps of a forward convolution; then its blocks of about `span` positions; both at once.
void gm__grid_taps(gm__grid *g, const gm_conv *c, const gm_panels *w, int bytes);
void gm__grid_plan(gm__grid *g, const gm_conv *c, int bytes, int span);
void gm__grid_forward(gm__grid *g, const gm_conv *c, const gm_panels *w, int bytes);
// The part of dx with row mod stride = py, column mod stride = px. False: no such positions.
bool gm__grid_dgrad(gm__grid *g, const gm_conv *c, const gm_panels *wt, int py, int px, int bytes);
// The next piece of scratch (NULL: only counts), 64-byte aligned.
char *gm__dense_carve(char *base, size_t *used, size_t bytes);
// Carves scratch (NULL: only counts) and returns the bytes needed.
size_t gm__work_carve(gm__work *w, const gm__grid *g, int outputs, void *scratch);
// The steps of the reduction: groups of chunks ascending, in a group taps in order.
void gm__work_steps(gm__work *w, const gm__grid *g, const gm_panels *p, int bytes);
// Tiles of a block: images [i0,i1) when whole images are blocked, else grid rows [y0,y1) of image
// i0. even: rows of a tile are one stride apart, and some of them may be no outputs.
void gm__work_tiles(gm__work *w, const gm__grid *g, bool even, int i0, int i1, int y0, int y1);
// Tiles over `count` consecutive positions, input and output alike; the first writes output
// position `first`. `before`: positions ahead of the block that may be read.
void gm__work_tiles_flat(gm__work *w, size_t stride, int first, int count, int before);

// --- gradient of the weights: positions are the reduction, 32 to a step (AMX) or 2. For tap offset o (in
// strip positions)
//     dw[tap][input][output] += sum over input positions q of x[q][input] * dy[q - o][output].
// x is transposed; its positions are those of groups of `length` neighbours in the strip that begin at
// a real one, so that the zeros around images are mostly left out. dy is laid out with zeros around it, in
// pairs of positions, once with even and once with odd beginnings, so that every group begins at a multiple
// of 64 bytes.
typedef struct gm__wgrad {
    gm__grid grid;
    gm__work work;          // flat: strip and compacted rows; slot: bounce of partial tiles
    int rows;               // rows of a panel tap: inputs, or all taps of all inputs when flat
    int length;         // positions of a group
    int blocks_max;     // of 32 positions of a block
    int groups, blocks; // blocks: of 32 positions, zeros at the end
    int first_group[GM__TAPS_MAX + 1]; // of each phase
    int base, around_max, around; // dy positions: where the first is, how many are laid out (even)
    size_t row;                   // bytes of a channel in xt
    size_t half, panel;           // bytes of the even copy, of both copies of a panel
    char *xt;                     // [channels][blocks][32]
    char *dy;                     // [2 panels][even, odd][pairs][16][2]
    int *start;                   // of a group: strip position + base
    const char **x_row, **dy_row; // of each position; zero where there is none
    char *zero;
} gm__wgrad;
// length: 2 to 32, even; what is carved for 2 is enough for more.
void gm__wgrad_plan(gm__wgrad *p, const gm_conv *c, const gm_panels *w, int length);
size_t gm__wgrad_carve(gm__wgrad *p, const gm_conv *c, void *scratch);
// Rows of a block: positions [q, q+count) alike in x and dy ...
void gm__wgrad_rows_direct(gm__wgrad *p, const char *x, size_t stride, const char *dy, size_t ldy,
                           int count);
// ... or images [i0,i1) when whole images are blocked, else grid rows [y0,y1) of image i0.
void gm__wgrad_rows_strip(gm__wgrad *p, const char *x, const char *dy, size_t ldy, int i0, int i1,
                          int y0, int y1);

size_t gm__conv_scratch_bf16(const gm_conv *g);
size_t gm__conv_scratch_i8(const gm_conv *g);

#endif
