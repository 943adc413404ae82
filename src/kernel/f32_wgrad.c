// SPDX-License-Identifier: Apache-2.0
// kernel: gradient of the weights in f32 tiles: for each tap an outer product summed over positions.
//
// Positions are cut into chunks that depend on the geometry alone; a chunk's sums are added to dw in order, so any
// cut of inputs and panels over threads gives the same bits. Inside a chunk dy is laid in panels and the inputs in
// blocks of channels with zeros around the image, so that every tap is a constant offset.
#include "kernel/f32_engine.h"
#include <string.h>

enum {
    CHUNK_MAX = 256,         // positions: a pair of panels of dy is 32 KiB
    BLOCK = 48,              // channels packed at once: four tiles of 12
};

typedef struct plan {
    const gm__f32_ops *ops;
    gm_dtype type;
    const gm_conv *g;
    bool gather;             // one tap, or flat: positions are copied one by one, a single run
    bool flat;
    int block, lda;          // channels of an input block, elements between positions
    int images, rows;        // of a chunk: whole images, else output rows of one
    int positions;           // at most
    int image_rows, pitch;   // strip of one image or part of it
} plan;

typedef struct work {
    float *dy, *x;
    gm__f32_run *run;
    int runs, positions;
} work;

static void make_plan(plan *p, const gm__f32_ops *ops, gm_dtype type, const gm_conv *g, bool flat) {
    *p = (plan){.ops = ops, .type = type, .g = g, .flat = flat, .gather = flat || g->r * g->s == 1};
    p->block = flat ? g->r * g->s * g->c : BLOCK;
    p->lda = gm_round_up(p->block, GM__PANEL);
    if (p->gather) {
        p->positions = CHUNK_MAX;
        return;
    }
    p->images = CHUNK_MAX / (g->ho * g->wo);
    p->rows = p->images ? g->ho : gm_max(1, CHUNK_MAX / g->wo);
    p->positions = gm_max(1, p->images) * p->rows * g->wo;
    p->pitch = (g->wo - 1) * g->stride + g->s;
    p->image_rows = (p->rows - 1) * g->stride + g->r;
}

static size_t carve(work *w, const plan *p, void *scratch) {
    gm__carver v = {scratch, 0};
    const int strip = p->gather ? p->positions : gm_max(1, p->images) * p->image_rows * p->pitch;
    *w = (work){0};
    w->run = gm__carve(&v, (size_t)gm_max(1, p->images) * (size_t)gm_max(1, p->rows) * sizeof(gm__f32_run));
    w->x = gm__carve(&v, ((size_t)strip * (size_t)p->lda + 4) * sizeof(float));
    w->dy = gm__carve(&v, (size_t)p->positions * (size_t)gm__panels_of(p->g->k) * GM__PANEL * sizeof(float));
    return v.used;
}

// dy of output positions [first, first + count) in panels [p0,p1): [panel][position][16]
static void pack_dy(const plan *p, work *w, const void *dy, int first, int count, int p0, int p1) {
    for (int panel = p0; panel < p1; panel++) {
        float *out = w->dy + (size_t)(panel - p0) * (size_t)p->positions * GM__PANEL;
        size_t at = (size_t)first * (size_t)p->g->ldy + (size_t)(panel * GM__PANEL);
        for (int i = 0; i < count; i++, out += GM__PANEL, at += (size_t)p->g->ldy)
            gm__f32_copy(p->ops, p->type, dy, at, GM__PANEL, out);
    }
    w->positions = count;
}

// Channels [c, c + count) of input position (iy, ix), zeros outside of the image. Few channels (first
// layers): four at once, the surplus is overwritten by the next position or ends in the slack.
static inline void copy_position(const plan *p, const void *x, int image, int iy, int ix, int c, int count, float *out) {
    const gm_conv *g = p->g;
    if (iy < 0 || iy >= g->h || ix < 0 || ix >= g->w) {
        memset(out, 0, (size_t)count * sizeof *out);
        return;
    }
    const size_t at = ((size_t)(image * g->h + iy) * (size_t)g->w + (size_t)ix) * (size_t)g->ldx + (size_t)c;
    if (p->flat && count <= 4 && p->type == GM_F32) memcpy(out, (const float *)x + at, 4 * sizeof *out);
    else gm__f32_copy(p->ops, p->type, x, at, count, out);
}

static void pack_gather(const plan *p, work *w, const void *x, int first, int c, int count) {
    const gm_conv *g = p->g;
    int image = first / (g->ho * g->wo), y = first / g->wo % g->ho, column = first % g->wo;
    for (int i = 0; i < w->positions; i++) {
        const int iy = y * g->stride - g->pad, ix = column * g->stride - g->pad;
        float *out = w->x + (size_t)i * (size_t)p->lda;
        if (!p->flat) copy_position(p, x, image, iy, ix, c, count, out);
        else
            for (int r = 0; r < g->r; r++)
                for (int s = 0; s < g->s; s++, out += g->c)
                    copy_position(p, x, image, iy + r, ix + s, 0, g->c, out);
        if (++column == g->wo) {
            column = 0;
            if (++y == g->ho) {
                y = 0;
                image++;
            }
        }
    }
    w->run[0] = (gm__f32_run){0, 0, w->positions};
    w->runs = 1;
}

// Input rows of output rows [y0,y1) of images [i0,i1), channels [c, c + count), with the taps' zeros around.
static void pack_strip(const plan *p, work *w, const void *x, int i0, int i1, int y0, int y1, int c, int count) {
    const gm_conv *g = p->g;
    const int rows = (y1 - y0 - 1) * g->stride + g->r;
    w->runs = 0;
    for (int i = i0; i < i1; i++) {
        const size_t at = (size_t)(i - i0) * (size_t)(p->image_rows * p->pitch) * (size_t)p->lda;
        float *out = w->x + at;
        for (int y = 0; y < rows; y++)
            for (int column = 0; column < p->pitch; column++, out += p->lda)
                copy_position(p, x, i, y0 * g->stride - g->pad + y, column - g->pad, c, count, out);
        for (int y = 0; y < y1 - y0; y++, w->runs++)
            w->run[w->runs] = (gm__f32_run){(ptrdiff_t)at + (ptrdiff_t)(y * g->stride * p->pitch) * p->lda,
                                            (ptrdiff_t)(w->runs * g->wo) * GM__PANEL, g->wo};
    }
}

// dw of one packed block of inputs starting at channel c
static void multiply(const plan *p, const work *w, const gm_panels *panels, float *dw, int c, int count, int p0, int p1) {
    const gm_conv *g = p->g;
    const int tiles = (count + p->ops->rows - 1) / p->ops->rows;
    gm__f32_outer t = {.step_a = p->gather ? p->lda : p->lda * g->stride, .run = w->run, .runs = w->runs,
                       .panel_stride = (size_t)p->positions * GM__PANEL, .dw_panel_stride = panels->panel_stride};
    for (int panel = p0; panel < p1; panel += t.panels) {
        t.panels = gm_min(p->ops->panels, p1 - panel);
        t.lanes = gm_min(GM__PANEL, g->k - (panel + t.panels - 1) * GM__PANEL);
        t.b = w->dy + (size_t)(panel - p0) * t.panel_stride;
        for (int tap = 0; tap < (p->gather ? 1 : g->r * g->s); tap++) {
            const size_t to = (size_t)panel * panels->panel_stride + (size_t)(c * GM__PANEL) +
                              (p->flat ? 0 : gm__tap_offset(panels, g, tap / g->s, tap % g->s));
            const float *a = w->x + (size_t)(tap / g->s * p->pitch + tap % g->s) * (size_t)p->lda;
            for (int i = 0, done = 0; i < tiles; i++, done += t.rows) {
                t.rows = (count - done + tiles - i - 1) / (tiles - i);
                t.a = a + done;
                t.dw = dw + to + (size_t)(done * GM__PANEL);
                p->ops->outer(&t);
            }
        }
    }
}

void gm__f32_wgrad(const gm__f32_ops *ops, gm_dtype type, const gm_conv *g, const void *x, const void *dy,
                   const gm_panels *panels, float *dw, int c0, int c1, int p0, int p1, void *scratch) {
    plan p;
    work w;
    if (gm__f32_winograd(g, panels->flat != 0, type, g->c)) {
        gm__f32_winograd_wgrad(ops, g, x, dy, panels, dw, c0, c1, p0, p1, scratch);
        return;
    }
    make_plan(&p, ops, type, g, panels->flat != 0);
    carve(&w, &p, scratch);
    if (p.flat) c1 = p.block;
    else { // blocks of nearly equal size
        const int blocks = gm_max(1, (c1 - c0 + BLOCK - 1) / BLOCK);
        p.block = gm_round_up((c1 - c0 + blocks - 1) / blocks, GM__PANEL);
    }
    if (p.gather) {
        for (int q = 0, all = g->n * g->ho * g->wo; q < all; q += p.positions) {
            pack_dy(&p, &w, dy, q, gm_min(p.positions, all - q), p0, p1);
            for (int c = c0; c < c1; c += p.block) {
                const int count = gm_min(p.block, c1 - c);
                pack_gather(&p, &w, x, q, c, count);
                multiply(&p, &w, panels, dw, c, count, p0, p1);
            }
        }
        return;
    }
    const int images = gm_max(1, p.images);
    for (int i = 0; i < g->n; i += images)
        for (int y = 0; y < g->ho; y += p.rows) {
            const int i1 = gm_min(g->n, i + images), y1 = gm_min(g->ho, y + p.rows);
            pack_dy(&p, &w, dy, (i * g->ho + y) * g->wo, (i1 - i) * (y1 - y) * g->wo, p0, p1);
            for (int c = c0; c < c1; c += p.block) {
                const int count = gm_min(p.block, c1 - c);
                pack_strip(&p, &w, x, i, i1, y, y1, c, count);
                multiply(&p, &w, panels, dw, c, count, p0, p1);
            }
        }
}

size_t gm__f32_wgrad_scratch(const gm_conv *g, gm_dtype type) {
    plan p;
    work w;
    size_t most = 0;
    for (int flat = 0; flat <= (g->c <= GM__FLAT_INPUTS); flat++) {
        make_plan(&p, NULL, GM_F32, g, flat);
        const size_t bytes = gm__f32_winograd(g, flat, type, g->c) ? gm__f32_winograd_wgrad_scratch(g) : carve(&w, &p, NULL);
        if (bytes > most) most = bytes;
    }
    return most;
}
