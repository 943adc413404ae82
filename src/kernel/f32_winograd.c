// SPDX-License-Identifier: Apache-2.0
// kernel: 3x3 convolution of stride 1 and its gradient of the input by Winograd's F(2x2, 3x3) (x86/winograd_vec.h): 16
// multiplications for four outputs instead of 36. The inputs of a block of tiles are transformed, and the weights of a few panels;
// 16 products of the two follow, one for each element of a transformed patch, and their sums become outputs.
//
// Tiles start at even rows and columns of the map, and a sum is one chain over the inputs: the same bits however a batch, a map
// or the outputs are cut into calls. Weights are transformed in scratch: a second copy of them all would cost memory.
#include "kernel/f32_engine.h"
#include <string.h>

enum {
    RESIDENT_BYTES = 1 << 20, // transformed weights up to this size are made once a call, others again for each block of tiles
    RESIDENT_TILES = 36,      // of a block then: what one step writes the next finds in L1 or L2
    TILES_MIN = 12, TILES_MAX = 96, // of a block else: more tiles, fewer transforms of the weights
    INPUT_BYTES = 2 << 20,    // transformed inputs of a block, about
    ROWS = 128,               // inputs whose weights are transformed at once
    PANELS = 2,               // panels multiplied with a part of the inputs while it is in L1
    INPUTS_MIN = 8, POSITIONS_MIN = 16, // fewer do not pay
};

typedef struct plan {
    gm__tile_map map;
    const gm_conv *g;
    const gm_panels *panels;
    bool mirrored;                 // the taps, for the gradient
    int c, k;                      // channels summed over, channels of the result
    int block, lda;                // tiles of a block, elements from tile to tile
    int rows, held;                // inputs and panels of weights transformed at once
    bool resident;                 // these are all
    size_t v_step, u_step, m_step; // elements between the 16 parts of inputs, weights, sums
} plan;

typedef struct work {
    float *scale, *shift, *v, *u, *m, *zero;
    const float **pixel;
    int *position;
} work;

// Neither the number of images nor that of outputs may count here (f32_engine.h). A map of odd sides computes more than it needs.
bool gm__f32_winograd(const gm_conv *g, bool flat, gm_dtype type, int c) {
    const int tiles = ((g->h + 1) / 2) * ((g->w + 1) / 2);
    return type == GM_F32 && g->r == 3 && g->s == 3 && g->stride == 1 && g->pad == 1 && !flat && c >= INPUTS_MIN &&
           g->h * g->w >= POSITIONS_MIN && g->h * g->w * 9 >= tiles * 16 * 3 / 2;
}

gm__tile_map gm__tile_map_of(const gm_conv *g) {
    const int first = g->y0 / 2, last = (g->y0 + g->ho + 1) / 2;
    return (gm__tile_map){.h = g->h, .w = g->w, .first = first, .rows = last - first, .columns = (g->w + 1) / 2,
                          .y0 = g->y0, .ho = g->ho, .count = g->n * (last - first) * ((g->w + 1) / 2)};
}

// Not a multiple of 4 KiB: the 16 parts use different sets of L1.
static size_t step_of(int elements) { return (size_t)elements + GM__PANEL; }

// Of the transformed weights of one panel.
static int weight_bytes(int c) { return c * GM__PANEL * 16 * (int)sizeof(float); }

static void make_plan(plan *p, const gm_conv *g, const gm_panels *panels, int c, int k) {
    *p = (plan){.map = gm__tile_map_of(g), .g = g, .panels = panels, .c = c, .k = k, .lda = gm__spread(c)};
    p->resident = gm__panels_of(k) <= RESIDENT_BYTES / weight_bytes(c);
    p->rows = p->resident ? c : gm_min(c, ROWS);
    p->held = p->resident ? gm_round_up(gm__panels_of(k), GM__F32_PANELS) : PANELS;
    const int fit = INPUT_BYTES / (16 * (int)sizeof(float)) / p->lda / GM__F32_ROWS * GM__F32_ROWS;
    p->block = p->resident ? RESIDENT_TILES : gm_max(TILES_MIN, gm_min(TILES_MAX, fit));
    p->v_step = step_of(p->block * p->lda);
    p->u_step = step_of(p->rows * GM__PANEL);
    p->m_step = step_of(p->block * GM__PANEL);
}

static size_t carve(work *w, const plan *p, void *scratch) {
    gm__carver v = {scratch, 0};
    const size_t padded = (size_t)gm_round_up(p->k, GM__PANEL * GM__F32_PANELS);
    w->scale = gm__carve(&v, padded * sizeof(float));
    w->shift = gm__carve(&v, padded * sizeof(float));
    w->zero = gm__carve(&v, (size_t)gm_round_up(p->c, GM__PANEL) * sizeof(float));
    w->pixel = gm__carve(&v, (size_t)p->block * 16 * sizeof(float *));
    w->position = gm__carve(&v, (size_t)p->block * 4 * sizeof(int));
    w->v = gm__carve(&v, 16 * p->v_step * sizeof(float));
    w->u = gm__carve(&v, (size_t)p->held * 16 * p->u_step * sizeof(float));
    w->m = gm__carve(&v, PANELS * 16 * p->m_step * sizeof(float));
    return v.used;
}

// The 16 pixels of a tile that starts at (y, x).
void gm__tile_pixels(const gm__tile_map *m, const float *image, int ld, int y, int x, const float *zero, const float **pixel) {
    for (int i = 0; i < 4; i++) {
        const int iy = y - 1 + i;
        const bool inside = iy >= 0 && iy < m->h;
        const float *row = image + (ptrdiff_t)(iy * m->w + x - 1) * ld;
        for (int j = 0; j < 4; j++) pixel[i * 4 + j] = inside && x - 1 + j >= 0 && x - 1 + j < m->w ? row + j * ld : zero;
    }
}

static void place(const plan *p, const work *w, const float *x, int ldx, int first, int count) {
    const gm__tile_map *m = &p->map;
    gm__tile_at at = gm__tile_start(m, first);
    for (int t = 0; t < count; t++, gm__tile_next(m, &at)) {
        const int y = at.y * 2, column = at.x * 2;
        gm__tile_pixels(m, x + (size_t)at.image * (size_t)(m->h * m->w) * (size_t)ldx, ldx, y, column, w->zero, w->pixel + t * 16);
        for (int i = 0; i < 4; i++) {
            const int oy = y + i / 2 - m->y0, ox = column + i % 2;
            w->position[t * 4 + i] = oy >= 0 && oy < m->ho && ox < m->w ? (at.image * m->ho + oy) * m->w + ox : -1;
        }
    }
}

// The weights of panels [first, first + count) for inputs [c, c + rows), to u: [panel][16][rows][16].
static void transform(const plan *p, const gm__f32_ops *ops, float *u, int first, int count, int c, int rows) {
    for (int j = 0; j < count; j++, u += 16 * p->u_step) {
        const float *tap[9];
        const float *panel = (const float *)p->panels->data + (size_t)(first + j) * p->panels->panel_stride + (size_t)(c * GM__PANEL);
        for (int t = 0; t < 9; t++) tap[p->mirrored ? 8 - t : t] = panel + gm__tap_offset(p->panels, p->g, t / 3, t % 3);
        ops->winograd.weights(tap, rows, u, p->u_step);
    }
}

// Sums of `count` panels over inputs [c, c + rows), to m: [panel][16][tiles][16].
static void multiply(const plan *p, const gm__f32_ops *ops, const work *w, const float *u, int count, int c, int rows, int tiles) {
    gm__f32_product f = {.rows = tiles, .count = rows, .lda = p->lda, .panel_stride = 16 * p->u_step,
                         .sum_stride = 16 * p->m_step, .add = c > 0};
    for (int e = 0; e < 16; e++) {
        f.a = w->v + (size_t)e * p->v_step + c;
        for (int j = 0; j < count; j += f.panels) {
            f.panels = gm_min(ops->panels, count - j);
            f.b = u + (size_t)(j * 16 + e) * p->u_step;
            f.sum = w->m + (size_t)(j * 16 + e) * p->m_step;
            ops->product(&f);
        }
    }
}

static void run_block(const plan *p, const gm__f32_ops *ops, const work *w, const gm__f32_out *o, int tiles) {
    const int all = gm__panels_of(p->k);
    for (int q = 0; q < all; q += PANELS) {
        const int count = gm_min(PANELS, all - q);
        const float *u = p->resident ? w->u + (size_t)(q * 16) * p->u_step : w->u;
        for (int c = 0; c < p->c; c += p->rows) {
            const int rows = gm_min(p->rows, p->c - c);
            if (!p->resident) transform(p, ops, w->u, q, count, c, rows);
            multiply(p, ops, w, u, count, c, rows, tiles);
        }
        for (int j = 0; j < count; j++)
            ops->winograd.output(w->m + (size_t)(j * 16) * p->m_step, p->m_step, tiles, w->position, o, (q + j) * GM__PANEL);
    }
    gm__f32_zero_tails(w->position, tiles * 4, o);
}

static void run(const plan *p, const gm__f32_ops *ops, const float *x, int ldx, const gm_epilogue *e, float *y, int ldy,
                void *scratch) {
    work w;
    carve(&w, p, scratch);
    memset(w.zero, 0, (size_t)gm_round_up(p->c, GM__PANEL) * sizeof(float));
    const gm__f32_out o = gm__f32_out_of(e, w.scale, w.shift, y, ldy, p->k);
    if (p->resident) transform(p, ops, w.u, 0, gm__panels_of(p->k), 0, p->c);
    for (int t = 0; t < p->map.count; t += p->block) {
        const int tiles = gm_min(p->block, p->map.count - t);
        place(p, &w, x, ldx, t, tiles);
        ops->winograd.input(w.pixel, tiles, gm_round_up(p->c, GM__PANEL), w.v, p->v_step, (size_t)p->lda);
        run_block(p, ops, &w, &o, tiles);
    }
}

void gm__f32_winograd_conv(const gm__f32_ops *ops, GM__CONV_ARGS) {
    plan p;
    make_plan(&p, g, w, g->c, g->k);
    run(&p, ops, x, g->ldx, e, y, g->ldy, scratch);
}

void gm__f32_winograd_dgrad(const gm__f32_ops *ops, GM__DGRAD_ARGS) {
    const gm_epilogue e = {.accumulate = accumulate, .out = GM_F32};
    plan p;
    make_plan(&p, g, wt, g->k, g->c);
    p.mirrored = true;
    run(&p, ops, dy, g->ldy, &e, dx, g->ldx, scratch);
}

// A call may compute fewer outputs than the scratch was made for: the most outputs whose weights are resident count too.
size_t gm__f32_winograd_scratch(const gm_conv *g, int c, int k) {
    const int most = RESIDENT_BYTES / weight_bytes(c) * GM__PANEL;
    plan p;
    work w;
    make_plan(&p, g, NULL, c, k);
    const size_t all = carve(&w, &p, NULL);
    make_plan(&p, g, NULL, c, gm_min(k, most));
    const size_t part = carve(&w, &p, NULL);
    return all > part ? all : part;
}
