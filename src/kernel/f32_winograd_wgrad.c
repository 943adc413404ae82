// SPDX-License-Identifier: Apache-2.0
// kernel: gradient of 3x3 weights by Winograd: the gradient of the transformed weights of f32_winograd.c, 16 sums over tiles of
// products of a patch of x and four values of dy, transformed back at the end.
//
// Sums of a fixed number of tiles are added in order: any cut of inputs and panels over threads gives the same bits.
#include "kernel/f32_engine.h"
#include <string.h>

enum {
    TILES = 48, // of a chunk
    BLOCK = 64, // inputs transformed at once, at most
};

typedef struct work {
    float *x, *dy, *sum, *zero;
    const float **x_pixel, **dy_pixel;
} work;

// Elements between the 16 parts; not a multiple of 4 KiB, so that they use different sets of L1.
enum { X_STEP = TILES * BLOCK + GM__PANEL, DY_STEP = TILES * GM__PANEL + GM__PANEL, SUM_STEP = BLOCK * GM__PANEL + GM__PANEL };

static size_t zeros(const gm_conv *g) { return (size_t)gm_round_up(gm_max(g->c, g->k), GM__PANEL) * sizeof(float); }

static size_t carve(work *w, const gm_conv *g, void *scratch) {
    gm__carver v = {scratch, 0};
    w->x = gm__carve(&v, 16 * X_STEP * sizeof(float));
    w->dy = gm__carve(&v, 16 * DY_STEP * sizeof(float));
    w->sum = gm__carve(&v, (size_t)gm__panels_of(g->k) * 16 * SUM_STEP * sizeof(float));
    w->zero = gm__carve(&v, zeros(g));
    w->x_pixel = gm__carve(&v, TILES * 16 * sizeof(float *));
    w->dy_pixel = gm__carve(&v, TILES * 4 * sizeof(float *));
    return v.used;
}

static void place(const gm__tile_map *m, const gm_conv *g, work *w, const float *x, const float *dy, int first, int count) {
    gm__tile_at at = gm__tile_start(m, first);
    for (int t = 0; t < count; t++, gm__tile_next(m, &at)) {
        const int y = at.y * 2, column = at.x * 2;
        const size_t image = (size_t)at.image * (size_t)(m->h * m->w);
        gm__tile_pixels(m, x + image * (size_t)g->ldx, g->ldx, y, column, w->zero, w->x_pixel + t * 16);
        for (int i = 0; i < 4; i++) {
            const int oy = y + i / 2, ox = column + i % 2;
            w->dy_pixel[t * 4 + i] = oy < m->h && ox < m->w ? dy + (image + (size_t)(oy * m->w + ox)) * (size_t)g->ldy : w->zero;
        }
    }
}

// Adds one chunk to the sums of one panel.
static void multiply(const gm__f32_ops *ops, const work *w, float *sum, int tiles, int inputs) {
    const gm__f32_run all = {0, 0, tiles};
    gm__f32_outer t = {.panels = 1, .lanes = GM__PANEL, .step_a = BLOCK, .run = &all, .runs = 1};
    const int heights = (inputs + ops->rows - 1) / ops->rows;
    for (int e = 0; e < 16; e++) {
        t.b = w->dy + e * DY_STEP;
        for (int i = 0, done = 0; i < heights; i++, done += t.rows) {
            t.rows = (inputs - done + heights - i - 1) / (heights - i);
            t.a = w->x + e * X_STEP + done;
            t.dw = sum + e * SUM_STEP + done * GM__PANEL;
            ops->outer(&t);
        }
    }
}

static void finish(const gm__f32_ops *ops, const gm_conv *g, const gm_panels *panels, const float *sum, float *dw, int c, int inputs,
                   int panel) {
    float *tap[9], *base = dw + (size_t)panel * panels->panel_stride + (size_t)(c * GM__PANEL);
    for (int t = 0; t < 9; t++) tap[t] = base + gm__tap_offset(panels, g, t / 3, t % 3);
    ops->winograd.dw(sum, SUM_STEP, inputs, gm_min(GM__PANEL, g->k - panel * GM__PANEL), tap);
}

void gm__f32_winograd_wgrad(const gm__f32_ops *ops, GM__WGRAD_ARGS) {
    const gm__tile_map m = gm__tile_map_of(g);
    const size_t sums = 16 * SUM_STEP;
    work v;
    carve(&v, g, scratch);
    memset(v.zero, 0, zeros(g));
    const int blocks = (c1 - c0 + BLOCK - 1) / BLOCK; // of nearly equal size
    const int block = blocks ? gm_round_up((c1 - c0 + blocks - 1) / blocks, GM__PANEL) : BLOCK;
    for (int c = c0; c < c1; c += block) {
        const int inputs = gm_min(block, c1 - c);
        memset(v.sum, 0, (size_t)(p1 - p0) * sums * sizeof(float));
        for (int t = 0; t < m.count; t += TILES) {
            const int tiles = gm_min(TILES, m.count - t);
            place(&m, g, &v, (const float *)x + c, dy, t, tiles);
            ops->winograd.input(v.x_pixel, tiles, gm_round_up(inputs, GM__PANEL), v.x, X_STEP, BLOCK);
            for (int p = p0; p < p1; p++) {
                ops->winograd.dy(v.dy_pixel, tiles, p * GM__PANEL, v.dy, DY_STEP);
                multiply(ops, &v, v.sum + (size_t)(p - p0) * sums, tiles, inputs);
            }
        }
        for (int p = p0; p < p1; p++) finish(ops, g, w, v.sum + (size_t)(p - p0) * sums, dw, c, inputs, p);
    }
}

size_t gm__f32_winograd_wgrad_scratch(const gm_conv *g) {
    work w;
    return carve(&w, g, NULL);
}
