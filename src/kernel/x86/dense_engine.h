// SPDX-License-Identifier: Apache-2.0
// The loops around a tile kernel, shared by bf16 and int8, AMX and AVX-512. The including file defines, before:
//   TILE_INTEGER  0 or 1: accumulators are f32 or int32
//   tile_block    c[m][n] tiles (+)= sum over steps of a tile m times b panel n; m, n are 1 or 2
// A group of steps that is not the first loads its accumulators again: exact, so the cut changes no bits.
#ifndef GAMUT_DENSE_ENGINE_H
#define GAMUT_DENSE_ENGINE_H

#include "dense_fill_avx512.h"
#include "dense_store_avx512.h"

enum { SLOT = GM__TILE * GM__TILE };

// Tile intrinsics of gcc do not order ordinary stores before tile loads.
static inline void gm__compiler_barrier(void) { __asm__ volatile("" ::: "memory"); }

// All outputs of a block whose strip and tiles are ready.
static void engine_block(const gm__grid *g, const gm__work *w, const char *a, const gm_panels *p, size_t panel_bytes,
                         const gm__out *o) {
    int panels = (o->k + 15) / 16;
    for (int n = 0; n < panels; n += 2) {
        int nb = gm_min(2, panels - n);
        const char *b = (const char *)p->data + (size_t)n * panel_bytes;
        int s0 = 0;
        do {
            int s1 = g->spill ? gm_min(w->steps, s0 + GM__STEPS_GROUP) : w->steps;
            int waiting = -1; // tiles whose accumulators are stored while the next ones multiply
            float *waiting_slot = NULL;
            for (int t = 0; t < w->tiles; t += 2) {
                int mb = gm_min(2, w->tiles - t);
                gm__compiler_barrier();
                float *slot = w->slot + (g->spill ? (size_t)t * 2 : (size_t)(t & 2) * 2) * SLOT;
                const char *a0 = a + w->tile[t].a, *a1 = mb == 2 ? a + w->tile[t + 1].a : a0;
                tile_block(a0, a1, g->stride, b, b + panel_bytes, w->step + s0, w->step + s1, slot, s0 > 0, mb, nb);
                if (waiting >= 0)
                    for (int i = 0; i < 2; i++)
                        store_tile(o, &w->tile[waiting + i], waiting_slot + i * 2 * SLOT, n * 16, nb, TILE_INTEGER);
                if (s1 < w->steps) continue;
                waiting = t;
                waiting_slot = slot;
            }
            if (waiting >= 0)
                for (int i = 0; i < gm_min(2, w->tiles - waiting); i++)
                    store_tile(o, &w->tile[waiting + i], waiting_slot + i * 2 * SLOT, n * 16, nb, TILE_INTEGER);
            s0 = s1;
        } while (s0 < w->steps);
    }
}

// One grid from start to end. pad is used by flat grids only.
static void engine_run(const gm__grid *g, const gm__work *w, const char *x, const gm_panels *p, int bytes,
                       const gm__out *o, int pad) {
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
            gm__work_tiles(&lw, g, GM__TILE, i, i1, y, y1);
            engine_block(g, &lw, first, p, panel_bytes, o);
        }
}

static void engine_conv(const gm_conv *c, const void *x, const gm_panels *p, int bytes, const gm_epilogue *e, void *y,
                        void *scratch) {
    gm__grid g;
    gm__work w;
    gm__out o;
    gm__grid_forward(&g, c, p, bytes);
    gm__work_carve(&w, &g, c->k, scratch);
    gm__work_steps(&w, &g, p, bytes);
    out_init(&o, &w, &g, e, c->k, c->ldy, y);
    engine_run(&g, &w, x, p, bytes, &o, c->pad);
}

#if !TILE_INTEGER
// Gradient of the input: a convolution of dy with mirrored taps, one grid per phase of the stride.
static void engine_dgrad(const gm_conv *c, const void *dy, const gm_panels *wt, bool accumulate, void *dx,
                         void *scratch) {
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
