// SPDX-License-Identifier: Apache-2.0
// The loops around a tile kernel, shared by bf16 and int8, AMX and AVX-512. The including file
// defines, before:
//   STORE_INTEGER  0 or 1: accumulators are f32 or int32
//   EVEN_ROWS      0 or 1: the rows of a tile must be one stride apart
//   tile_block     c[m][n] tiles (+)= sum over steps of tile t[m] times b panel n; m, n are 1 or 2;
//                  meanwhile it may store rows of `waiting`. last: the sums are complete. True: it stored their rows itself
// A group of steps that is not the first loads its accumulators again: exact, so the cut changes no
// bits.
#ifndef GAMUT_DENSE_ENGINE_H
#define GAMUT_DENSE_ENGINE_H

#include "dense_fill_avx512.h"
#include "dense_store_avx512.h"

enum { SLOT = GM__TILE * GM__TILE };

// Tile intrinsics of gcc are not ordered with ordinary loads and stores.
static inline void gm__compiler_barrier(void) {
    __asm__ volatile("" ::: "memory");
}

// How the loops of a block are cut. None of this changes a result: accumulators are stored and
// loaded exactly.
typedef struct gm__cut {
    bool small; // all weights fit L1: each pair of tiles meets all of them, and its output rows are
                // written at once
    bool stream; // an input tile is used once while weights stay: keep it from pushing them out of
                 // L1
    int steps;   // of a visit: its weights stay in L1 while up to VISIT_TILES tiles meet them
} gm__cut;

static inline gm__cut engine_cut(const gm__grid *g, const gm__work *w, int panels) {
    gm__cut cut = {.small = (panels + 4) * w->steps <= 40};
    cut.stream = g->direct && !cut.small;
    // measured: 36 KiB of weights when many tiles share them, 16 KiB when they come from L3 for a
    // few
    cut.steps = w->tiles <= 8 ? 8 : 18;
    if (w->steps <= cut.steps + 2) cut.steps = w->steps;
    int visits = (w->steps + cut.steps - 1) / gm_max(1, cut.steps);
    if (visits > 1) cut.steps = (w->steps + visits - 1) / visits;
    return cut;
}

// Panels n and n+1, tiles [m0,m1).
static inline void engine_panels(const gm__grid *g, const gm__work *w, const gm__cut *cut,
                                 const char *a, const char *b, size_t panel_bytes, const gm__out *o,
                                 int n, int panels, int m0, int m1, gm__waiting *waiting) {
    bool spill = cut->steps < w->steps;
    int s0 = 0;
    do {
        int s1 = gm_min(w->steps, s0 + cut->steps);
        for (int t = m0; t < m1; t += 2) {
            int mb = gm_min(2, m1 - t);
            // without visits two places take turns: one waits, one is filled
            float *slot = spill                      ? w->slot + (size_t)(t - m0) * 2 * SLOT
                          : waiting->base == w->slot ? w->slot + 4 * SLOT
                                                     : w->slot;
            gm__compiler_barrier();
            const bool last = s1 == w->steps, stored = tile_block(a, w->tile + t, g->stride, b, b + panel_bytes, w->step + s0,
                                                                  w->step + s1, slot, s0 > 0, last, mb, panels, cut->stream,
                                                                  o, n * 16, waiting);
            store_waiting(o, waiting);
            if (last && !stored)
                *waiting = (gm__waiting){&w->tile[t], slot, slot, mb, n * 16, panels, 0};
        }
        s0 = s1;
    } while (s0 < w->steps);
    gm__compiler_barrier();
    if (spill) store_waiting(o, waiting); // the slots are needed again
}

static inline void prefetch_tile(const gm__work *w, const char *a, const gm__tiles *t) {
    for (int r = 0; r < GM__TILE; r++)
        for (int s = 0; s < w->steps; s++) _mm_prefetch(a + t->a + t->row[r] + w->step[s].a, _MM_HINT_T0);
}

// All outputs of a block whose strip and tiles are ready.
static void engine_block(const gm__grid *g, const gm__work *w, const char *a, const gm_panels *p,
                         size_t panel_bytes, const gm__out *o) {
    gm__waiting waiting = {0};
    int panels = (o->k + 15) / 16;
    gm__cut cut = engine_cut(g, w, panels);
    int run = cut.small ? 2 : w->tiles;
    for (int m = 0; m < w->tiles; m += run) {
        int end = gm_min(w->tiles, m + run);
        if (cut.small)
            for (int t = end; t < gm_min(w->tiles, end + 2); t++)
                prefetch_tile(w, a, w->tile + t);
        for (int n = 0; n < panels; n += 2) {
            const char *b = (const char *)p->data + (size_t)n * panel_bytes;
            for (int v = m; v < end; v += GM__VISIT_TILES)
                engine_panels(g, w, &cut, a, b, panel_bytes, o, n, gm_min(2, panels - n), v,
                              gm_min(end, v + GM__VISIT_TILES), &waiting);
        }
    }
    store_waiting(o, &waiting);
}

// One grid from start to end. pad: columns of zeros to the left, for flat grids only.
static void engine_run(const gm__grid *g, const gm__work *w, const char *x, const gm_panels *p,
                       int bytes, const gm__out *o, int pad) {
    size_t panel_bytes = p->panel_stride * (size_t)bytes;
    if (g->direct) {
        int total = g->n * g->gh * g->gw;
        gm__grid local = *g;
        gm__work lw = *w;
        const char *a = x;
        if (total < GM__TILE) { // too few rows for a tile: copy them
            local.stride = (size_t)g->chunks * GM__CHUNK;
            for (int i = 0; i < total; i++)
                memcpy(w->strip + (size_t)i * local.stride, x + (size_t)i * g->row, local.stride);
            a = w->strip;
        }
        for (int q = 0; q < total; q += g->block_rows) {
            gm__work_tiles_flat(&lw, local.stride, q, gm_min(g->block_rows, total - q), q);
            engine_block(&local, &lw, a + (size_t)q * local.stride, p, panel_bytes, o);
        }
        return;
    }
    gm__work lw = *w;
    if (g->flat) {
        for (int i = 0; i < g->n; i++)
            for (int y = 0; y < g->gh; y += g->block_rows) {
                int y1 = gm_min(g->gh, y + g->block_rows);
                fill_flat(g, x, w, i, y, y1, pad);
                gm__work_tiles_flat(&lw, g->stride, (i * g->gh + y) * g->gw, (y1 - y) * g->gw, 0);
                engine_block(g, &lw, w->strip, p, panel_bytes, o);
            }
        return;
    }
    const char *first = w->strip + (size_t)(g->top * g->pitch + g->left) * g->stride;
    int images = gm_max(1, g->block_images), rows = g->block_images ? g->gh : g->block_rows;
    for (int i = 0; i < g->n; i += images)
        for (int y = 0; y < g->gh; y += rows) {
            int i1 = gm_min(g->n, i + images), y1 = gm_min(g->gh, y + rows);
            fill_strip(g, x, w->strip, i, i1, y, y1, 0, g->chunks);
            gm__work_tiles(&lw, g, EVEN_ROWS, i, i1, y, y1);
            engine_block(g, &lw, first, p, panel_bytes, o);
        }
}

static void engine_conv(const gm_conv *c, const void *x, const gm_panels *p, int bytes,
                        const gm_epilogue *e, void *y, void *scratch) {
    gm__grid g;
    gm__work w;
    gm__out o;
    gm__grid_forward(&g, c, p, bytes);
    gm__work_carve(&w, &g, c->k, scratch);
    gm__work_steps(&w, &g, p, bytes);
    out_init(&o, &w, &g, e, c->k, c->ldy, y);
    engine_run(&g, &w, (const char *)x + (size_t)g.skip * (size_t)g.iw * g.row, p, bytes, &o, c->pad);
}

#if !STORE_INTEGER
// Gradient of the input: a convolution of dy with mirrored taps, one grid per phase of the stride.
static void engine_dgrad(const gm_conv *c, const void *dy, const gm_panels *wt, bool accumulate,
                         void *dx, void *scratch) {
    gm_epilogue e = {.accumulate = accumulate, .out = GM_BF16};
    for (int py = 0; py < c->stride; py++)
        for (int px = 0; px < c->stride; px++) {
            gm__grid g;
            gm__work w;
            gm__out o;
            if (!gm__grid_dgrad(&g, c, wt, py, px, 2)) continue;
            if (g.taps == 0 && accumulate) continue;
            gm__work_carve(&w, &g, c->c, scratch);
            gm__work_steps(&w, &g, wt, 2);
            out_init(&o, &w, &g, &e, c->c, c->ldx, dx);
            engine_run(&g, &w, dy, wt, 2, &o, 0);
        }
}
#endif

#endif
