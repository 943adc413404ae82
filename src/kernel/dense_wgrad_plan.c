// SPDX-License-Identifier: Apache-2.0
// Plan of the gradient of dense weights: geometry only, no instruction-set flags (see
// x86/dense_plan.h).
#include "x86/dense_plan.h"

#include <string.h>

enum {
    XT_BYTES = 1 << 20, // transposed x and two panels of dy of a block: half of L2
    SPAN_MIN = 1024,    // shorter blocks visit dw too often
    SPAN_MAX = 4096,
};

void gm__wgrad_plan(gm__wgrad *p, const gm_conv *c, const gm_panels *w, int length) {
    gm__grid *g = &p->grid;
    p->length = length;
    gm__grid_taps(g, c, w, 2);
    // the same whatever part of the gradient a caller computes: the grouping of positions decides
    // the bits
    int span = XT_BYTES / (g->chunks * GM__CHUNK + 4 * GM__CHUNK) / 32 * 32;
    gm__grid_plan(g, c, 2, gm_max(SPAN_MIN, gm_min(SPAN_MAX, span)));
    p->rows = g->flat ? c->r * c->s * c->c : c->c;
    if (g->direct || g->flat) {
        p->base = 0;
        int count = g->direct ? g->block_rows : g->block_rows * g->gw;
        p->blocks_max = (count + 31) / 32;
        p->around_max = p->blocks_max * 32;
    } else {
        int rows = g->block_images ? g->block_images * g->image_rows : g->block_rows + g->below;
        p->base = (g->top + g->below) * g->pitch + g->left + g->right;
        p->blocks_max = ((rows + g->top) * g->pitch / 32 + 2) * gm_max(1, g->phases);
        p->around_max = gm_round_up(p->base + (rows + g->top) * g->pitch + g->left + 32, 2);
    }
    p->row = ((size_t)p->blocks_max * 64) | 64; // an odd number of lines: tile rows spread over L1
    p->half = (size_t)(p->around_max / 2 + 1) * 64;
    p->panel = 2 * p->half;
}

size_t gm__wgrad_carve(gm__wgrad *p, const gm_conv *c, void *scratch) {
    size_t used = gm__work_carve(&p->work, &p->grid, 32, scratch);
    size_t around = (size_t)p->around_max + 2, positions = (size_t)p->blocks_max * 32;
    p->xt = gm__dense_carve(scratch, &used, (size_t)(p->grid.chunks * 32) * p->row);
    p->dy = gm__dense_carve(scratch, &used, 2 * p->panel);
    p->start = (int *)(void *)gm__dense_carve(scratch, &used, positions / (size_t)p->length * sizeof(int));
    p->x_row = (const char **)(void *)gm__dense_carve(scratch, &used, positions * sizeof(char *));
    p->dy_row = (const char **)(void *)gm__dense_carve(scratch, &used, around * sizeof(char *));
    size_t zero = (size_t)(gm_max(gm_max(c->ldx, c->ldy), p->grid.chunks * 32) * 2);
    p->zero = gm__dense_carve(scratch, &used, zero);
    if (scratch) memset(p->zero, 0, zero);
    return used;
}

void gm__wgrad_rows_direct(gm__wgrad *p, const char *x, size_t stride, const char *dy, size_t ldy,
                           int count) {
    p->blocks = (count + 31) / 32;
    p->around = p->blocks * 32;
    p->groups = p->around / p->length;
    p->first_group[0] = 0;
    p->first_group[1] = p->groups;
    for (int i = 0; i < p->groups; i++) p->start[i] = i * p->length;
    for (int i = 0; i < p->around; i++) {
        p->x_row[i] = i < count ? x + (size_t)i * stride : p->zero;
        p->dy_row[i] = i < count ? dy + (size_t)i * ldy : p->zero;
    }
}

// Groups of the real input positions of one phase.
static void group_phase(gm__wgrad *p, const gm__phase *f, const char *x, int i0, int i1, int y0,
                        int y1) {
    const gm__grid *g = &p->grid;
    int from = g->block_images ? 0 : gm_max(0, y0 - g->top);
    int to = g->block_images ? f->rows : gm_min(f->rows, y1 + g->below);
    int cover = INT32_MIN;
    const char **row = p->x_row;
    for (int i = i0; i < i1; i++)
        for (int y = from; y < to; y++) {
            int q = ((i - i0) * g->image_rows + y - y0) * g->pitch + p->base;
            const char *src =
                x + ((size_t)(i * g->ih + y * g->step + f->fy) * (size_t)g->iw + (size_t)f->fx) *
                        g->row;
            for (int c = 0; c < f->cols; c++, src += g->row * (size_t)g->step) {
                if (q + c >= cover) {
                    row = p->x_row + (size_t)(p->groups * p->length);
                    for (int k = 0; k < p->length; k++) row[k] = p->zero;
                    p->start[p->groups++] = q + c;
                    cover = q + c + p->length;
                }
                row[q + c - cover + p->length] = src;
            }
        }
}

void gm__wgrad_rows_strip(gm__wgrad *p, const char *x, const char *dy, size_t ldy, int i0, int i1,
                          int y0, int y1) {
    const gm__grid *g = &p->grid;
    p->groups = 0;
    for (int f = 0; f < g->phases; f++) {
        p->first_group[f] = p->groups;
        group_phase(p, &g->phase[f], x, i0, i1, y0, y1);
    }
    p->first_group[g->phases] = p->groups;
    const int positions = p->groups * p->length;
    p->blocks = (positions + 31) / 32;
    for (int k = positions; k < p->blocks * 32; k++) p->x_row[k] = p->zero;
    int rows = g->block_images ? (i1 - i0) * g->image_rows : y1 - y0 + g->below;
    p->around = gm_round_up(p->base + (rows + g->top) * g->pitch + g->left + 32, 2);
    for (int d = 0; d <= p->around; d++) p->dy_row[d] = p->zero;
    for (int i = i0; i < i1; i++)
        for (int y = y0; y < y1; y++) {
            const char **row = p->dy_row + p->base + ((i - i0) * g->image_rows + y - y0) * g->pitch;
            const char *src = dy + (size_t)((i * g->gh + y) * g->gw) * ldy;
            for (int c = 0; c < g->gw; c++, src += ldy) row[c] = src;
        }
}
