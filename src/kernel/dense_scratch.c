// SPDX-License-Identifier: Apache-2.0
// Plans of the dense tile kernels: geometry only, no instruction-set flags (see x86/dense_plan.h).
#include "x86/dense_plan.h"

#include <string.h>

enum {
    STRIP_BYTES = 512 << 10, // a quarter of L2: the strip is read once per pair of panels
    SPAN_MAX = 4096,         // positions of a block
    SPAN_FLAT = 1024,        // of a block of gathered rows
    GROUP_STEPS = 36,        // two visits: inputs stay in L1 from tap to tap
};

static int floor_div(int a, int b) {
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static size_t round64(size_t v) {
    return (v + 63) / 64 * 64;
}

// Finds or adds the phase (fy,fx).
static int phase_of(gm__grid *g, int fy, int fx) {
    for (int i = 0; i < g->phases; i++)
        if (g->phase[i].fy == fy && g->phase[i].fx == fx) return i;
    g->phase[g->phases] = (gm__phase){.fy = fy, .fx = fx};
    return g->phases++;
}

static void plan_direct(gm__grid *g, int span) {
    g->stride = g->row;
    int rows = (int)(STRIP_BYTES / ((size_t)g->chunks * GM__CHUNK)) / 32 * 32;
    g->block_rows = gm_max(32, gm_min(rows, span));
    g->tiles_max = g->block_rows / GM__TILE;
}

// Columns: a strip row holds the input columns that taps reach, then enough zeros for the right
// edge and for the left edge of the next row. Rows of neighbouring images share their zeros in the
// same way.
static void plan_strip(gm__grid *g, int span) {
    int min_y = 0, min_x = 0, max_y = 0, max_x = 0;
    for (int t = 0; t < g->taps; t++) {
        gm__tap *tap = &g->tap[t];
        tap->qy = floor_div(tap->oy, g->step);
        tap->qx = floor_div(tap->ox, g->step);
        tap->phase = phase_of(g, tap->oy - tap->qy * g->step, tap->ox - tap->qx * g->step);
        min_y = gm_min(min_y, tap->qy);
        min_x = gm_min(min_x, tap->qx);
        max_y = gm_max(max_y, tap->qy);
        max_x = gm_max(max_x, tap->qx);
    }
    g->top = -min_y;
    g->left = -min_x;
    g->below = max_y;
    g->right = max_x;
    g->pitch = g->gw;
    g->image_rows = g->gh;
    for (int i = 0; i < g->phases; i++) {
        gm__phase *p = &g->phase[i];
        int cols = (g->iw - p->fx + g->step - 1) / g->step,
            rows = (g->ih - p->fy + g->step - 1) / g->step;
        p->cols = gm_max(0, gm_min(cols, g->gw + max_x));
        p->rows = gm_max(0, gm_min(rows, g->gh + max_y));
        g->pitch = gm_max(g->pitch, p->cols + gm_max(g->left, g->gw + max_x - p->cols));
        g->image_rows = gm_max(g->image_rows, p->rows + gm_max(g->top, g->gh + max_y - p->rows));
    }
    g->stride = (size_t)g->chunks * GM__CHUNK;
    if (g->stride % 1024 == 0)
        g->stride += GM__CHUNK; // spreads the 16 rows of a tile over the sets of L1

    size_t row_bytes = g->stride * (size_t)(g->pitch * gm_max(1, g->phases));
    int rows_max = gm_max(1, gm_min(span / g->pitch, (int)(STRIP_BYTES / row_bytes)));
    g->block_images = rows_max / g->image_rows;
    g->block_rows = gm_min(g->gh, gm_max(1, rows_max - g->top - g->below));
    int rows = g->block_images ? g->block_images * g->image_rows : g->block_rows + g->below;
    int used = (rows + g->top) * g->pitch + g->left;
    g->positions =
        gm_round_up(used + 2 * GM__TILE, 2 * GM__TILE); // a tile may begin at the last one
    g->phase_bytes = (size_t)g->positions * g->stride;
    g->tiles_max = rows * g->pitch / GM__TILE + 2;
}

static void plan_flat(gm__grid *g, const gm_conv *c, int bytes) {
    g->flat_r = c->r;
    g->flat_pixel = (size_t)(c->c * bytes);
    g->flat_row = (size_t)c->s * g->flat_pixel;
    g->flat_pitch = (size_t)((c->wo - 1) * c->stride + c->s) * g->flat_pixel;
    g->stride = (size_t)g->chunks * GM__CHUNK;
    int rows = (int)((STRIP_BYTES / 4) / (g->stride * (size_t)c->wo));
    g->block_rows = gm_min(c->ho, gm_max(1, gm_min(rows, SPAN_FLAT / c->wo)));
    g->positions = gm_round_up(g->block_rows * c->wo, 2 * GM__TILE);
    g->phase_bytes = (size_t)g->positions * g->stride;
    g->tiles_max = g->block_rows * c->wo / GM__TILE + 2;
}

void gm__grid_plan(gm__grid *g, const gm_conv *c, int bytes, int span) {
    if (g->flat) {
        plan_flat(g, c, bytes);
        return;
    }
    g->phases = 0;
    g->direct = g->taps == 1 && g->step == 1 && g->tap[0].oy == 0 && g->tap[0].ox == 0 &&
                g->gh == g->ih && g->gw == g->iw && g->mul == 1 && g->gh == g->oh && g->gw == g->ow;
    if (g->direct)
        plan_direct(g, span);
    else
        plan_strip(g, span);
}

void gm__grid_taps(gm__grid *g, const gm_conv *c, const gm_panels *w, int bytes) {
    int start = c->y0 * c->stride - c->pad; // input row of the first tap; the input begins there
    int skip = gm_max(0, start);
    *g = (gm__grid){.n = c->n,
                    .gh = c->ho,
                    .gw = c->wo,
                    .ih = gm_max(0, c->h - skip),
                    .iw = c->w,
                    .step = c->stride,
                    .skip = skip,
                    .up = skip - start,
                    .row = (size_t)(c->ldx * bytes),
                    .oh = c->ho,
                    .ow = c->wo,
                    .mul = 1,
                    .flat = w->flat != 0};
    g->inputs = (g->flat ? c->r * c->s * c->c : c->c) * bytes;
    g->chunks = (g->inputs + GM__CHUNK - 1) / GM__CHUNK;
    if (g->flat) {
        g->taps = 1;
        return;
    }
    int top = (w->r - c->r) / 2,
        left = (w->s - c->s) / 2; // a smaller kernel is the centre of the stored one
    for (int i = 0; i < c->r; i++)
        for (int j = 0; j < c->s; j++)
            g->tap[g->taps++] = (gm__tap){
                .oy = i - g->up, .ox = j - c->pad, .weight = (top + i) * w->s + left + j};
}

void gm__grid_forward(gm__grid *g, const gm_conv *c, const gm_panels *w, int bytes) {
    gm__grid_taps(g, c, w, bytes);
    gm__grid_plan(g, c, bytes, SPAN_MAX);
}

bool gm__grid_dgrad(gm__grid *g, const gm_conv *c, const gm_panels *wt, int py, int px, int bytes) {
    int st = c->stride;
    *g = (gm__grid){.n = c->n,
                    .gh = (c->h - py + st - 1) / st,
                    .gw = (c->w - px + st - 1) / st,
                    .ih = c->ho,
                    .iw = c->wo,
                    .step = 1,
                    .row = (size_t)(c->ldy * bytes),
                    .oh = c->h,
                    .ow = c->w,
                    .mul = st,
                    .add_y = py,
                    .add_x = px,
                    .inputs = c->k * bytes};
    g->chunks = (g->inputs + GM__CHUNK - 1) / GM__CHUNK;
    if (g->gh <= 0 || g->gw <= 0) return false;
    int top = (wt->r - c->r) / 2, left = (wt->s - c->s) / 2;
    // dx at row a*st + py gets dy at row b from tap i when b*st = a*st + py + pad - i
    for (int i = c->r - 1; i >= 0; i--) {
        if ((py + c->pad - i) % st) continue;
        for (int j = c->s - 1; j >= 0; j--) {
            if ((px + c->pad - j) % st) continue;
            g->tap[g->taps++] = (gm__tap){.oy = (py + c->pad - i) / st,
                                          .ox = (px + c->pad - j) / st,
                                          .weight = (top + i) * wt->s + left + j};
        }
    }
    gm__grid_plan(g, c, bytes, SPAN_MAX);
    return true;
}

char *gm__dense_carve(char *base, size_t *used, size_t bytes) {
    char *p = base ? base + *used : NULL;
    *used += round64(bytes);
    return p;
}

size_t gm__work_carve(gm__work *w, const gm__grid *g, int outputs, void *scratch) {
    size_t used = 0, padded = (size_t)gm_round_up(outputs, 32);
    *w = (gm__work){0};
    w->step = (gm__step *)(void *)gm__dense_carve(scratch, &used,
                                                  (size_t)(g->taps * g->chunks) * sizeof(gm__step));
    w->tile = (gm__tiles *)(void *)gm__dense_carve(scratch, &used,
                                                   (size_t)(g->tiles_max + 1) * sizeof(gm__tiles));
    w->scale = (float *)(void *)gm__dense_carve(scratch, &used, padded * sizeof(float));
    w->shift = (float *)(void *)gm__dense_carve(scratch, &used, padded * sizeof(float));
    w->slot = (float *)(void *)gm__dense_carve(
        scratch, &used, (size_t)GM__VISIT_TILES * 2 * GM__TILE * GM__TILE * sizeof(float));
    if (g->flat) {
        size_t rows = (size_t)((g->block_rows - 1) * g->step + g->flat_r);
        w->compact = gm__dense_carve(scratch, &used, rows * g->flat_pitch + 2 * GM__CHUNK);
        w->strip = gm__dense_carve(scratch, &used, g->phase_bytes);
    } else if (!g->direct) {
        w->strip = gm__dense_carve(scratch, &used, g->phase_bytes * (size_t)gm_max(1, g->phases));
    } else {
        w->strip = gm__dense_carve(
            scratch, &used, (size_t)(GM__TILE * g->chunks * GM__CHUNK)); // fewer than 16 positions
    }
    return used;
}

void gm__work_steps(gm__work *w, const gm__grid *g, const gm_panels *p, int bytes) {
    const int group = gm_max(1, GROUP_STEPS / gm_max(1, g->taps));
    w->steps = 0;
    for (int j0 = 0; j0 < g->chunks; j0 += group)
        for (int t = 0; t < g->taps; t++) {
            const gm__tap *tap = &g->tap[t];
            ptrdiff_t a = 0;
            if (!g->direct && !g->flat)
                a = (ptrdiff_t)((size_t)tap->phase * g->phase_bytes) +
                    (ptrdiff_t)(tap->qy * g->pitch + tap->qx) * (ptrdiff_t)g->stride;
            size_t b = (size_t)tap->weight * p->tap_stride * (size_t)bytes;
            for (int j = j0; j < gm_min(g->chunks, j0 + group); j++)
                w->step[w->steps++] = (gm__step){a + j * GM__CHUNK, b + (size_t)j * 1024,
                                                 gm_min(GM__CHUNK, g->inputs - j * GM__CHUNK + 3) / 4};
        }
}

// A tile that begins at byte a of the block; rows and runs are filled in later.
static gm__tiles *add_tile(gm__work *w, ptrdiff_t a) {
    gm__tiles *t = &w->tile[w->tiles++];
    t->a = a;
    t->runs = 0;
    for (int r = 0; r < GM__TILE; r++) t->to[r] = -1;
    return t;
}

// Positions src, src + 1, ... of the tile are outputs dst, dst + mul, ...
static void add_run(gm__tiles *t, int src, int count, int dst, int mul) {
    t->run[t->runs++] = (gm__run){src, count, dst};
    for (int i = 0; i < count; i++) t->to[src + i] = dst + i * mul;
}

static void even_rows(gm__tiles *t, size_t stride) {
    for (int r = 0; r < GM__TILE; r++) t->row[r] = r * (int)stride;
}

void gm__work_tiles(gm__work *w, const gm__grid *g, bool even, int i0, int i1, int y0, int y1) {
    gm__tiles *t = NULL;
    int start = 0, cover = -1; // even: positions before it belong to tiles already made
    int rows = GM__TILE;       // else: rows of the last tile
    w->tiles = 0;
    for (int i = i0; i < i1; i++) {
        for (int y = y0; y < y1; y++) {
            int q = ((i - i0) * g->image_rows + y - y0) * g->pitch;
            int dst = (i * g->oh + y * g->mul + g->add_y) * g->ow + g->add_x;
            for (int x = 0; x < g->gw;) {
                if (even ? q + x >= cover : rows == GM__TILE) {
                    start = q + x;
                    cover = start + GM__TILE;
                    rows = 0;
                    t = add_tile(w, (ptrdiff_t)start * (ptrdiff_t)g->stride);
                    if (even) even_rows(t, g->stride);
                }
                int count = gm_min(g->gw - x, even ? cover - q - x : GM__TILE - rows);
                add_run(t, even ? q + x - start : rows, count, dst + x * g->mul, g->mul);
                for (int c = 0; c < count && !even; c++) t->row[rows++] = (q + x + c - start) * (int)g->stride;
                x += count;
            }
        }
    }
    for (; !even && rows < GM__TILE; rows++) t->row[rows] = t->row[rows - 1];
}

void gm__work_tiles_flat(gm__work *w, size_t stride, int first, int count, int before) {
    w->tiles = 0;
    for (int q = 0; q < count; q += GM__TILE) {
        // the last tile begins earlier rather than reading past the end; its first rows are not
        // stored again
        int skip = gm_max(0, q + GM__TILE - count);
        if (skip > q + before) skip = 0;
        gm__tiles *t = add_tile(w, (ptrdiff_t)(q - skip) * (ptrdiff_t)stride);
        even_rows(t, stride);
        add_run(t, skip, gm_min(GM__TILE - skip, count - q), first + q, 1);
    }
}

// Enough for a kernel stored larger than the active one, folded (flat) or not: only sizes of g
// matter. Kernels of more than GM__TAPS_MAX taps exist folded only.
static size_t dense_scratch(const gm_conv *c, int bytes) {
    gm__grid g;
    gm__work w;
    gm__wgrad wg;
    gm_panels p = {.r = c->r, .s = c->s};
    const bool foldable = c->c <= 4, many = c->r * c->s > GM__TAPS_MAX;
    size_t most = 0, need;
    for (p.flat = many; p.flat <= foldable; p.flat++) {
        gm__grid_forward(&g, c, &p, bytes);
        need = gm__work_carve(&w, &g, c->k, NULL);
        most = need > most ? need : most;
        if (bytes != 2) continue; // int8 has no gradients
        gm__wgrad_plan(&wg, c, &p, 2);
        need = gm__wgrad_carve(&wg, c, NULL);
        most = need > most ? need : most;
    }
    if (bytes != 2 || many) return most;
    for (int py = 0; py < c->stride; py++)
        for (int px = 0; px < c->stride; px++) {
            if (!gm__grid_dgrad(&g, c, &p, py, px, bytes)) continue;
            need = gm__work_carve(&w, &g, c->c, NULL);
            most = need > most ? need : most;
        }
    return most;
}

size_t gm__conv_scratch_bf16(const gm_conv *c) {
    return dense_scratch(c, 2);
}

size_t gm__conv_scratch_i8(const gm_conv *c) {
    return dense_scratch(c, 1);
}
