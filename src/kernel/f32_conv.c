// SPDX-License-Identifier: Apache-2.0
// kernel: forward convolution and gradient of the input in f32 tiles. Both walk a grid of output positions whose
// inputs lie at constant steps: dgrad is one grid per phase of the stride, with mirrored taps.
#include "kernel/f32_engine.h"
#include <string.h>

enum {
    KERNEL_MAX = GM_TAPS_MAX_FLAT, // taps a row or column
    BLOCK_POSITIONS = 1024,
    BLOCK_BYTES = 768 << 10, // inputs of a block: with a pair of panels they share L2
    ROW_MIN = 8,             // shorter tiles read the weights too often: gather positions instead
};

// The rows (or columns) of taps that a grid uses: input row = grid row * step + offset.
typedef struct axis {
    int count, min, max; // of the offsets
    int offset[KERNEL_MAX], tap[KERNEL_MAX];
} axis;

typedef enum mode { DIRECT, STRIP, GATHER } mode;

typedef struct grid {
    const gm__f32_ops *ops;
    gm_dtype type;
    int n, gh, gw;    // images, grid
    int ih, iw, step; // input rows, columns and positions between grid positions
    int c, ldx;       // channels read, row stride of the input
    int oh, ow, mul, add_y, add_x; // grid (y,x) writes output (y*mul + add_y, x*mul + add_x)
    int k;
    axis y, x;
    int taps;
    bool flat;
    const gm_conv *conv;

    mode mode;
    int lds, pitch;             // strip: elements between positions, positions between rows
    int image_rows;             // strip rows of an image or block
    int block_images, block_rows; // STRIP: whole images, else rows of one; other modes: block_rows positions
} grid;

typedef struct block_tile {
    size_t a; // element of the strip (DIRECT: of the input)
    int rows, first; // first: index into positions
} block_tile;

typedef struct work {
    float *scale, *shift, *strip, *weights;
    int *position;
    block_tile *tile;
    int tiles, positions;
    gm__f32_run *run;
    int runs;
} work;

static void add_tap(axis *a, int offset, int tap) {
    a->min = a->count ? gm_min(a->min, offset) : offset;
    a->max = a->count ? gm_max(a->max, offset) : offset;
    a->offset[a->count] = offset;
    a->tap[a->count++] = tap;
}

// Where the weights of the grid's tap t start in a panel.
static size_t tap_weight(const grid *g, const gm_panels *w, int t) {
    return g->flat ? (size_t)(t * g->c) * GM__PANEL
                   : gm__tap_offset(w, g->conv, g->y.tap[t / g->x.count], g->x.tap[t % g->x.count]);
}

static void choose_mode(grid *g) {
    g->taps = g->y.count * g->x.count;
    const bool pointwise = g->taps == 1 && g->step == 1 && g->y.min == 0 && g->x.min == 0 && g->gh == g->ih &&
                           g->gw == g->iw && g->mul == 1;
    const int tiles = (g->gw + g->ops->rows - 1) / g->ops->rows;
    if (pointwise && g->type == GM_F32 && g->ldx % 256) g->mode = DIRECT;
    else if (g->taps <= 1 || g->gw < tiles * gm_min(ROW_MIN, g->ops->rows - 1)) g->mode = GATHER;
    else g->mode = STRIP;

    if (g->mode == STRIP) {
        g->lds = g->flat ? g->c : gm__spread(g->c); // flat: the taps of a row are one stretch
        g->pitch = (g->gw - 1) * g->step + g->x.max - g->x.min + 1;
        const int halo = g->y.max - g->y.min + 1 - g->step; // input rows of y grid rows: y*step + halo
        const int fit = gm_max(1, gm_min(BLOCK_BYTES / 4 / g->lds, BLOCK_POSITIONS * g->step * g->step) / g->pitch);
        g->block_images = gm_min(fit / (g->gh * g->step + halo), BLOCK_POSITIONS / (g->gh * g->gw));
        g->block_rows = gm_max(1, gm_min(gm_min(g->gh, (fit - halo) / g->step), BLOCK_POSITIONS / g->gw));
        g->image_rows = (g->block_images ? g->gh : g->block_rows) * g->step + halo;
    } else {
        g->lds = g->mode == DIRECT ? g->ldx : gm__spread(g->taps * g->c);
        const int fit = gm_min(BLOCK_POSITIONS, BLOCK_BYTES / 4 / gm_max(1, g->taps * g->c));
        g->block_rows = gm_max(1, fit / g->ops->rows) * g->ops->rows;
    }
}

static void plan_forward(grid *g, const gm__f32_ops *ops, gm_dtype type, const gm_conv *c, bool flat) {
    *g = (grid){.ops = ops, .type = type, .n = c->n, .gh = c->ho, .gw = c->wo, .ih = c->h, .iw = c->w,
                .step = c->stride, .c = c->c, .ldx = c->ldx, .oh = c->ho, .ow = c->wo, .mul = 1, .k = c->k,
                .flat = flat, .conv = c};
    for (int i = 0; i < c->r; i++) add_tap(&g->y, i - c->pad + c->y0 * c->stride, i);
    for (int j = 0; j < c->s; j++) add_tap(&g->x, j - c->pad, j);
    choose_mode(g);
}

// Positions of dx with row % stride == py, column % stride == px. False: there are none.
static bool plan_dgrad(grid *g, const gm__f32_ops *ops, gm_dtype type, const gm_conv *c, int py, int px) {
    const int st = c->stride;
    *g = (grid){.ops = ops, .type = type, .n = c->n, .gh = (c->h - py + st - 1) / st, .gw = (c->w - px + st - 1) / st,
                .ih = c->ho, .iw = c->wo, .step = 1, .c = c->k, .ldx = c->ldy, .oh = c->h, .ow = c->w, .mul = st,
                .add_y = py, .add_x = px, .k = c->c, .conv = c};
    // dx row a*st + py gets dy row b through tap i when b*st = a*st + py + pad - i
    for (int i = 0; i < c->r; i++)
        if ((py + c->pad - i) % st == 0) add_tap(&g->y, (py + c->pad - i) / st, i);
    for (int j = 0; j < c->s; j++)
        if ((px + c->pad - j) % st == 0) add_tap(&g->x, (px + c->pad - j) / st, j);
    if (g->gh <= 0 || g->gw <= 0) return false;
    choose_mode(g);
    return true;
}

static size_t carve(work *w, const grid *g, void *scratch) {
    gm__carver v = {scratch, 0};
    const size_t padded = (size_t)gm_round_up(g->k, GM__PANEL * GM__F32_PANELS);
    const int rows = g->mode == STRIP ? gm_max(1, g->block_images) * g->image_rows : g->block_rows;
    const int positions = g->mode != STRIP    ? g->block_rows
                          : g->block_images ? g->block_images * g->gh * g->gw
                                            : g->block_rows * g->gw;
    *w = (work){0};
    w->scale = gm__carve(&v, padded * sizeof(float));
    w->shift = gm__carve(&v, padded * sizeof(float));
    w->run = gm__carve(&v, (size_t)gm_max(1, g->taps) * sizeof(gm__f32_run));
    w->position = gm__carve(&v, (size_t)positions * sizeof(int));
    w->tile = gm__carve(&v, (size_t)positions * sizeof(block_tile));
    if (g->mode != DIRECT)
        w->strip = gm__carve(&v, ((size_t)rows * (size_t)(g->mode == STRIP ? g->pitch : 1) * (size_t)g->lds + 4) *
                                     sizeof(float));
    if (g->type != GM_F32)
        w->weights = gm__carve(&v, (size_t)(g->taps * g->c) * GM__F32_PANELS * GM__PANEL * sizeof(float));
    return v.used;
}

static void add_run(work *w, ptrdiff_t a, ptrdiff_t b, int count) {
    gm__f32_run *last = w->run + w->runs - 1;
    if (w->runs && last->a + last->count == a && last->b + (ptrdiff_t)last->count * GM__PANEL == b) last->count += count;
    else w->run[w->runs++] = (gm__f32_run){a, b, count};
}

// The reduction: taps in order. Widened weights lie tap after tap.
static void make_runs(work *w, const grid *g, const gm_panels *panels) {
    w->runs = 0;
    for (int t = 0; t < g->taps; t++) {
        const int oy = g->y.offset[t / g->x.count] - g->y.min, ox = g->x.offset[t % g->x.count] - g->x.min;
        const ptrdiff_t a = g->mode == STRIP ? (ptrdiff_t)(oy * g->pitch + ox) * g->lds : (ptrdiff_t)(t * g->c);
        const ptrdiff_t b = g->type == GM_F32 ? (ptrdiff_t)tap_weight(g, panels, t) : (ptrdiff_t)(t * g->c) * GM__PANEL;
        add_run(w, a, b, g->c);
    }
}

// Panel p of bf16 or int8 weights, the taps of the grid one after the other, in f32.
static void widen_panel(const grid *g, const gm_panels *panels, int p, float *out) {
    const size_t size = gm_dtype_size(g->type);
    const char *from = (const char *)panels->data + (size_t)p * panels->panel_stride * size;
    if (g->flat) {
        g->ops->widen_panel(g->type, from, g->taps * g->c, out);
        return;
    }
    for (int t = 0; t < g->taps; t++)
        g->ops->widen_panel(g->type, from + tap_weight(g, panels, t) * size, g->c,
                            out + (size_t)(t * g->c) * GM__PANEL);
}

static int output_position(const grid *g, int image, int y, int x) {
    return (image * g->oh + y * g->mul + g->add_y) * g->ow + x * g->mul + g->add_x;
}

// Cuts count consecutive positions into tiles of nearly equal height; a: the first one's element, then every lda.
static void add_tiles(work *w, const grid *g, int count, size_t a, size_t lda) {
    const int tiles = (count + g->ops->rows - 1) / g->ops->rows;
    for (int i = 0, done = 0; i < tiles; i++) {
        const int rows = (count - done + tiles - i - 1) / (tiles - i);
        w->tile[w->tiles++] = (block_tile){a + (size_t)done * lda, rows, w->positions + done};
        done += rows;
    }
    w->positions += count;
}

// Few channels (first layers): four at once, the surplus is overwritten by the next position or ends in the slack.
static inline void copy_position(const grid *g, const void *x, size_t at, float *row) {
    if (g->c <= 4 && g->type == GM_F32) memcpy(row, (const float *)x + at, 4 * sizeof *row);
    else gm__f32_copy(g->ops, g->type, x, at, g->c, row);
}

// Copies the input rows of grid rows [y0,y1) of one image with zeros around them.
static void fill_strip(const grid *g, const void *x, int image, int y0, int y1, float *strip) {
    const int from = y0 * g->step + g->y.min, to = (y1 - 1) * g->step + g->y.max + 1;
    for (int iy = from; iy < to; iy++) {
        float *row = strip + (size_t)(iy - from) * (size_t)g->pitch * (size_t)g->lds;
        if (iy < 0 || iy >= g->ih) {
            memset(row, 0, (size_t)(g->pitch * g->lds) * sizeof *row);
            continue;
        }
        const size_t line = (size_t)(image * g->ih + iy) * (size_t)g->iw;
        for (int p = 0; p < g->pitch; p++, row += g->lds) {
            const int ix = p + g->x.min;
            if (ix < 0 || ix >= g->iw) memset(row, 0, (size_t)g->c * sizeof *row);
            else if (g->flat) copy_position(g, x, (line + (size_t)ix) * (size_t)g->ldx, row);
            else gm__f32_copy(g->ops, g->type, x, (line + (size_t)ix) * (size_t)g->ldx, g->c, row);
        }
    }
}

static void strip_part(work *w, const grid *g, const void *x, int image, int y0, int y1, size_t at) {
    fill_strip(g, x, image, y0, y1, w->strip + at);
    for (int y = y0; y < y1; y++) {
        for (int i = 0; i < g->gw; i++) w->position[w->positions + i] = output_position(g, image, y, i);
        add_tiles(w, g, g->gw, at + (size_t)((y - y0) * g->step * g->pitch) * (size_t)g->lds,
                  (size_t)(g->step * g->lds));
    }
}

static void gather_position(const grid *g, const void *x, int image, int y, int column, float *row) {
    for (int i = 0; i < g->y.count; i++) {
        const int iy = y * g->step + g->y.offset[i];
        const size_t line = (size_t)(image * g->ih + iy) * (size_t)g->iw;
        for (int j = 0; j < g->x.count; j++, row += g->c) {
            const int ix = column * g->step + g->x.offset[j];
            if (iy < 0 || iy >= g->ih || ix < 0 || ix >= g->iw) memset(row, 0, (size_t)g->c * sizeof *row);
            else copy_position(g, x, (line + (size_t)ix) * (size_t)g->ldx, row);
        }
    }
}

static void gather_part(work *w, const grid *g, const void *x, int first, int count) {
    int image = first / (g->gh * g->gw), y = first / g->gw % g->gh, column = first % g->gw;
    for (int i = 0; i < count && g->mode == DIRECT; i++) w->position[i] = first + i; // the grid is the map
    for (int i = 0; i < count && g->mode == GATHER; i++) {
        w->position[i] = output_position(g, image, y, column);
        gather_position(g, x, image, y, column, w->strip + (size_t)i * (size_t)g->lds);
        if (++column == g->gw) {
            column = 0;
            if (++y == g->gh) {
                y = 0;
                image++;
            }
        }
    }
    add_tiles(w, g, count, g->mode == DIRECT ? (size_t)first * (size_t)g->ldx : 0, (size_t)g->lds);
}

void gm__f32_zero_tails(const int *position, int count, const gm__f32_out *o) {
    const int done = gm_round_up(o->k, GM__PANEL);
    const size_t size = gm_dtype_size(o->type);
    if (o->row <= done) return;
    for (int i = 0; i < count; i++)
        if (position[i] >= 0)
            memset((char *)o->y + ((size_t)position[i] * (size_t)o->ldy + (size_t)done) * size, 0,
                   (size_t)(o->row - done) * size);
}

gm__f32_out gm__f32_out_of(const gm_epilogue *e, float *scale, float *shift, void *y, int ldy, int k) {
    for (int i = 0; i < gm_round_up(k, GM__PANEL); i++) {
        scale[i] = e->scale && i < k ? e->scale[i] : 1.0f;
        shift[i] = e->shift && i < k ? e->shift[i] : 0.0f;
    }
    return (gm__f32_out){.scale = scale, .shift = shift, .y = y, .residual = e->residual, .ldy = ldy, .ldr = e->ldr,
                         .row = e->row ? e->row : ldy, .k = k, .act = e->act, .accumulate = e->accumulate, .type = e->out,
                         .unit = e->out_scale};
}

// All outputs of the positions of one block: a group of panels at a time, so that it stays in the cache.
static void multiply(work *w, const grid *g, const float *a, const gm_panels *panels, const gm__f32_out *o) {
    const int all = gm__panels_of(g->k);
    gm__f32_tile t = {.lda = g->mode == STRIP ? (ptrdiff_t)(g->step * g->lds) : (ptrdiff_t)g->lds,
                      .run = w->run, .runs = w->runs, .out = o, .panel_stride = panels->panel_stride};
    if (w->positions == 1 && g->type == GM_F32) { // vectors: of a gate, a classifier
        t.rows = 1;
        t.panels = all;
        t.a = a + w->tile[0].a;
        t.b = panels->data;
        t.position = w->position;
        g->ops->row(&t);
        gm__f32_zero_tails(w->position, 1, o);
        return;
    }
    for (int p = 0; p < all; p += t.panels) {
        t.panels = gm_min(g->ops->panels, all - p);
        t.k0 = p * GM__PANEL;
        if (g->type == GM_F32) {
            t.b = (const float *)panels->data + (size_t)p * panels->panel_stride;
        } else {
            t.b = w->weights;
            t.panel_stride = (size_t)(g->taps * g->c) * GM__PANEL;
            for (int j = 0; j < t.panels; j++) widen_panel(g, panels, p + j, w->weights + (size_t)j * t.panel_stride);
        }
        for (int i = 0; i < w->tiles; i++) {
            t.rows = w->tile[i].rows;
            t.a = a + w->tile[i].a;
            t.position = w->position + w->tile[i].first;
            g->ops->tile(&t);
        }
    }
    gm__f32_zero_tails(w->position, w->positions, o);
}

static void run_grid(const grid *g, const void *x, const gm_panels *panels, const gm_epilogue *e, void *y, int ldy,
                     void *scratch) {
    work w;
    carve(&w, g, scratch);
    const gm__f32_out o = gm__f32_out_of(e, w.scale, w.shift, y, ldy, g->k);
    make_runs(&w, g, panels);
    if (g->mode != STRIP) {
        const int all = g->n * g->gh * g->gw;
        for (int q = 0; q < all; q += g->block_rows) {
            w.tiles = w.positions = 0;
            gather_part(&w, g, x, q, gm_min(g->block_rows, all - q));
            multiply(&w, g, g->mode == DIRECT ? x : w.strip, panels, &o);
        }
        return;
    }
    const int images = gm_max(1, g->block_images), rows = g->block_images ? g->gh : g->block_rows;
    const size_t image_size = (size_t)(g->image_rows * g->pitch) * (size_t)g->lds;
    for (int i = 0; i < g->n; i += images)
        for (int y0 = 0; y0 < g->gh; y0 += rows) {
            w.tiles = w.positions = 0;
            for (int j = 0; j < images && i + j < g->n; j++)
                strip_part(&w, g, x, i + j, y0, gm_min(g->gh, y0 + rows), (size_t)j * image_size);
            multiply(&w, g, w.strip, panels, &o);
        }
}

void gm__f32_conv(const gm__f32_ops *ops, gm_dtype type, const gm_conv *g, const void *x, const gm_panels *w,
                  const gm_epilogue *e, void *y, void *scratch) {
    grid plan;
    if (gm__f32_winograd(g, w->flat != 0, type, g->c)) {
        gm__f32_winograd_conv(ops, g, x, w, e, y, scratch);
        return;
    }
    plan_forward(&plan, ops, type, g, w->flat != 0);
    run_grid(&plan, x, w, e, y, g->ldy, scratch);
}

void gm__f32_dgrad(const gm__f32_ops *ops, gm_dtype type, const gm_conv *g, const void *dy, const gm_panels *wt,
                   bool accumulate, void *dx, void *scratch) {
    const gm_epilogue e = {.accumulate = accumulate, .out = type};
    grid plan;
    if (gm__f32_winograd(g, false, type, g->k)) {
        gm__f32_winograd_dgrad(ops, g, dy, wt, accumulate, dx, scratch);
        return;
    }
    for (int py = 0; py < g->stride; py++)
        for (int px = 0; px < g->stride; px++)
            if (plan_dgrad(&plan, ops, type, g, py, px)) run_grid(&plan, dy, wt, &e, dx, g->ldx, scratch);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static size_t forward_scratch(const gm__f32_ops *ops, const gm_conv *g, gm_dtype type, bool flat) {
    grid plan;
    work w;
    if (gm__f32_winograd(g, flat, type, g->c)) return gm__f32_winograd_scratch(g, g->c, g->k);
    plan_forward(&plan, ops, type, g, flat);
    return carve(&w, &plan, NULL);
}

static size_t dgrad_scratch(const gm__f32_ops *ops, const gm_conv *g, gm_dtype type) {
    grid plan;
    work w;
    size_t most = 0;
    if (gm__f32_winograd(g, false, type, g->k)) return gm__f32_winograd_scratch(g, g->k, g->c);
    for (int py = 0; py < g->stride; py++)
        for (int px = 0; px < g->stride; px++)
            if (plan_dgrad(&plan, ops, type, g, py, px)) most = larger(most, carve(&w, &plan, NULL));
    return most;
}

size_t gm__f32_conv_scratch(const gm__f32_ops *ops, const gm_conv *g, gm_dtype type) {
    size_t most = larger(forward_scratch(ops, g, type, false), dgrad_scratch(ops, g, type));
    return g->c <= GM__FLAT_INPUTS ? larger(most, forward_scratch(ops, g, type, true)) : most;
}
