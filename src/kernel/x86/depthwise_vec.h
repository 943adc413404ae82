// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution for any vector width. A window of the image is widened once to f32, one vector of channels
// wide and with zeros around it; all taps then read it without conversion, without a test for the border, and from L1
// (a row of the window is used by every tap row). One routine serves forward and both strides of the input gradient: a tile
// of outputs in a row, accumulators in registers. The sum of an output has the same order wherever its tile begins.
#ifndef GAMUT_KERNEL_DEPTHWISE_VEC_H
#define GAMUT_KERNEL_DEPTHWISE_VEC_H

enum {
    TILE = VEC_REGISTERS == 32 ? 8 : 4,
    DW_COLUMNS = 64, // outputs a window, along a row
    DW_VECTORS = 32 / VEC, // of channels, that share a strip: two cache lines of f32
    DW_ROOM = 256    // columns of a window at most: (DW_COLUMNS - 1) * 2 + 7 and a tile over the end
};
_Static_assert(7 * DW_ROOM <= GM__DEPTHWISE_POSITIONS, "a window holds the rows of the largest kernel");

// A window of an image: packed rows [y0, y0 + rows) and columns [x0, x0 + columns); both may begin outside.
typedef struct dw_window {
    float *at;
    int y0, rows, x0, columns;
} dw_window;

// One vector of channels of the window; image points at the first of them.
GM__INLINE void dw_pack_rows(const gm_dtype t, const dw_window *p, const char *image, int ld, int h, int w) {
    const ptrdiff_t step = ld * vec_bytes(t);
    const int before = gm_min(gm_max(0, -p->x0), p->columns), end = gm_max(before, gm_min(p->columns, w - p->x0));
    float *to = p->at;
    for (int y = p->y0; y < p->y0 + p->rows; y++, to += p->columns * VEC) {
        int x = 0;
        if (y >= 0 && y < h) {
            for (; x < before; x++) vec_store(GM_F32, to + x * VEC, vec_zero());
            const char *in = image + ((ptrdiff_t)y * w + p->x0 + x) * step;
            for (; x < end; x++, in += step) {
                __builtin_prefetch(in + 64, 0, 2); // of the next channels: rows are too far apart to be guessed
                vec_store(GM_F32, to + x * VEC, vec_load(t, in));
            }
        }
        for (; x < p->columns; x++) vec_store(GM_F32, to + x * VEC, vec_zero());
    }
}

static __attribute__((noinline)) void dw_pack(gm_dtype t, const dw_window *p, const char *image, int ld, int h, int w) {
    GM__FOR_TYPE(t, dw_pack_rows(T, p, image, ld, h, w));
}

// One row of outputs for one vector of channels.
typedef struct dw_line {
    const float *in; // packed, at the first tap row inside the image and tap column 0 of output 0
    ptrdiff_t pitch; // floats between packed rows
    int rows;        // tap rows inside the image
    const float *w;  // [rows][columns][VEC]
    int outputs;
    int b, left;     // first channel, and channels from there on
    char *out;       // of channel b
    ptrdiff_t out_step;
    ptrdiff_t position, position_step; // of output 0 and between outputs, for the residual
    gm_dtype to;
    const gm_epilogue *e;
    bool plain;      // nothing but a store
    bool common;     // scale, shift, and a clamp or h-swish at most
} dw_line;

// Epilogue of a tile whose sums went through memory.
static __attribute__((noinline)) void dw_finish(const dw_line *l, int o0, int count, vec *acc) {
    const gm_epilogue *e = l->e;
    if (e->scale) {
        vec scale = vec_load_part(e->scale + l->b, l->left);
        for (int o = 0; o < count; o++) acc[o] = acc[o] * scale;
    }
    if (e->shift) {
        vec shift = vec_load_part(e->shift + l->b, l->left);
        for (int o = 0; o < count; o++) acc[o] = acc[o] + shift;
    }
    const ptrdiff_t size = vec_bytes(l->to);
    if (e->residual)
        for (int o = 0; o < count; o++) {
            ptrdiff_t at = (l->position + (o0 + o) * l->position_step) * e->ldr + l->b;
            acc[o] = acc[o] + vec_load(l->to, (const char *)e->residual + at * size);
        }
    if (e->act != GM_ACT_NONE) GM__FOR_ACT(e->act, for (int o = 0; o < count; o++) acc[o] = vec_act(A, acc[o]));
    for (int o = 0; o < count; o++)
        store_or_add(l->to, l->out + (o0 + o) * l->out_step * size, vec_keep(acc[o], l->left), e->accumulate);
}

// Lanes past the channels stay zero: their taps are packed as zeros.
GM__INLINE void dw_store(const gm_dtype t, const int tile, const dw_line *l, int o0, int count, const vec *acc) {
    char *out = l->out + o0 * l->out_step * vec_bytes(t);
#pragma GCC unroll 8
    for (int o = 0; o < tile; o++)
        if (o < count) vec_store(t, out + o * l->out_step * vec_bytes(t), acc[o]);
}

// The epilogue of inference: sums stay in registers. Lanes past the channels: scale and shift are 0 there, and all these activations
// of 0 are 0.
GM__INLINE void dw_finish_common(const gm_dtype t, const int tile, const bool hswish, const dw_line *l, int o0, int count, vec *acc) {
    const float low = act_low(l->e->act), high = act_high(l->e->act);
    const vec scale = vec_load_part(l->e->scale + l->b, l->left), shift = vec_load_part(l->e->shift + l->b, l->left);
#pragma GCC unroll 8
    for (int o = 0; o < tile; o++) {
        const vec v = vec_fma(acc[o], scale, shift);
        acc[o] = hswish ? vec_act(GM_ACT_HSWISH, v) : vec_at_most(high, vec_at_least(low, v));
    }
    dw_store(t, tile, l, o0, count, acc);
}

GM__INLINE void dw_line_run(const int columns, const int stride, const int tile, const dw_line *l) {
    enum { MOST = 2 * (TILE - 1) + 7 };
    const int span = (tile - 1) * stride + columns;
    for (int o0 = 0; o0 < l->outputs; o0 += tile) {
        const int count = gm_min(tile, l->outputs - o0);
        const float *in = l->in + o0 * stride * VEC, *w = l->w;
        vec acc[TILE];
#pragma GCC unroll 8
        for (int o = 0; o < tile; o++) acc[o] = vec_zero();
        for (int i = 0; i < l->rows; i++, in += l->pitch, w += columns * VEC) {
            vec x[MOST];
#pragma GCC unroll 32
            for (int k = 0; k < span; k++) x[k] = vec_load(GM_F32, in + k * VEC);
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++) {
                vec tap = vec_load(GM_F32, w + j * VEC);
#pragma GCC unroll 8
                for (int o = 0; o < tile; o++) acc[o] = vec_fma(x[o * stride + j], tap, acc[o]);
            }
        }
        if (l->plain && l->to == GM_F32) {
            dw_store(GM_F32, tile, l, o0, count, acc);
        } else if (l->plain) {
            dw_store(GM_BF16, tile, l, o0, count, acc);
        } else if (l->common && l->to == GM_F32) {
            if (l->e->act == GM_ACT_HSWISH) dw_finish_common(GM_F32, tile, true, l, o0, count, acc);
            else dw_finish_common(GM_F32, tile, false, l, o0, count, acc);
        } else if (l->common) {
            if (l->e->act == GM_ACT_HSWISH) dw_finish_common(GM_BF16, tile, true, l, o0, count, acc);
            else dw_finish_common(GM_BF16, tile, false, l, o0, count, acc);
        } else {
            vec sums[TILE]; // a copy, so that acc itself never leaves the registers
#pragma GCC unroll 8
            for (int o = 0; o < tile; o++) sums[o] = acc[o];
            dw_finish(l, o0, count, sums);
        }
    }
}

// Short rows take tiles of half the width.
#define DW_LINE(columns, stride)                                                                    \
    static __attribute__((noinline)) void dw_line_##columns##_##stride(const dw_line *l) {          \
        if (l->outputs <= TILE / 2)                                                                \
            dw_line_run(columns, stride, TILE / 2, l);                                             \
        else                                                                                       \
            dw_line_run(columns, stride, TILE, l);                                                 \
    }
DW_LINE(1, 1)
DW_LINE(2, 1)
DW_LINE(3, 1)
DW_LINE(4, 1)
DW_LINE(5, 1)
DW_LINE(7, 1)
DW_LINE(3, 2)
DW_LINE(5, 2)
DW_LINE(7, 2)

typedef void dw_line_function(const dw_line *l);

static dw_line_function *dw_line_for(int columns, int stride) {
    static dw_line_function *const lines[2][8] = {
        {NULL, dw_line_1_1, dw_line_2_1, dw_line_3_1, dw_line_4_1, dw_line_5_1, NULL, dw_line_7_1},
        {NULL, NULL, NULL, dw_line_3_2, NULL, dw_line_5_2, NULL, dw_line_7_2}};
    return lines[stride - 1][columns];
}

// Taps row0, row0 + row_step, ... by column0, column0 + column_step, ... of channels [b, b + VEC).
static void dw_pack_taps(const float *w, int w_row, int w_ld, int left, int row0, int rows, int column0, int columns,
                         int step, float *to) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++, to += VEC) {
            const float *from = w + ((ptrdiff_t)(row0 + i * step) * w_row + column0 + j * step) * w_ld;
            vec_store(GM_F32, to, vec_load_part(from, left));
        }
}

// Rows of outputs whose windows fit the packed block.
GM__INLINE int dw_strip(int columns, int kernel, int stride) {
    return gm_max(1, (GM__DEPTHWISE_POSITIONS / columns - kernel) / stride + 1);
}

// Images that share one packing of the taps: several when they are small.
GM__INLINE int dw_images(const gm_conv *g) { return g->h * g->w >= 128 ? 1 : 4; }

static void dw_zero_tails(gm_dtype t, ptrdiff_t rows, int c, void *y, int ld) {
    if (gm_round_up(c, VEC) < ld)
        for (ptrdiff_t row = 0; row < rows; row++) zero_rest(t, row_at_mut(t, y, row, ld), c, ld);
}

// Forward of `vectors` vectors of channels of one image; taps are packed, 49 a vector at most. A cache line holds more than one
// vector, and rows of a strip are still near when it is the next one's turn.
static void dw_image(gm_dtype t, const gm_conv *g, const char *x, dw_line l, int vectors, float taps[][49 * VEC], char *y,
                     float *block) {
    dw_line_function *run = dw_line_for(g->s, g->stride);
    const ptrdiff_t position = l.position;
    const int first = l.b;
    for (int ox = 0; ox < g->wo; ox += DW_COLUMNS) {
        l.outputs = gm_min(DW_COLUMNS, g->wo - ox);
        const int columns = (gm_round_up(l.outputs, TILE) - 1) * g->stride + g->s;
        const int strip = dw_strip(columns, g->r, g->stride);
        for (int i = 0; i < (g->ho + strip - 1) / strip * vectors; i++) {
            const int oy0 = i / vectors * strip, v = i % vectors, rows = gm_min(strip, g->ho - oy0);
            dw_window p = {block, (oy0 + g->y0) * g->stride - g->pad, (rows - 1) * g->stride + g->r, ox * g->stride - g->pad, columns};
            dw_pack(t, &p, x + v * VEC * vec_bytes(t), g->ldx, g->h, g->w);
            l.pitch = columns * VEC;
            l.b = first + v * VEC;
            l.left = g->c - l.b;
            for (int oy = oy0; oy < oy0 + rows; oy++) {
                const int y0 = (oy + g->y0) * g->stride - g->pad, skip = gm_max(0, -y0);
                l.rows = gm_min(g->r, g->h - y0) - skip;
                l.in = block + (y0 + skip - p.y0) * l.pitch;
                l.w = taps[v] + skip * g->s * VEC;
                l.out = row_at_mut(l.to, y, (ptrdiff_t)oy * g->wo + ox, g->ldy) + v * VEC * vec_bytes(l.to);
                l.position = position + (ptrdiff_t)oy * g->wo + ox;
                run(&l);
            }
        }
    }
}

static void depthwise(gm_dtype t, const gm_conv *g, const void *x, const float *w, int w_row, int w_ld,
                      const gm_epilogue *e, void *y, void *scratch) {
    const gm_dtype to = e->out == GM_F32 ? GM_F32 : t;
    float taps[DW_VECTORS][49 * VEC] __attribute__((aligned(64)));
    dw_line l = {.out_step = g->ldy, .position_step = 1, .to = to, .e = e};
    const int images = dw_images(g);
    l.plain = !e->scale && !e->shift && !e->residual && e->act == GM_ACT_NONE && !e->accumulate;
    l.common = e->scale && e->shift && !e->residual && !e->accumulate && e->act <= GM_ACT_HSWISH;
    for (int n0 = 0; n0 < g->n; n0 += images)
        for (l.b = 0; l.b < g->c; l.b += DW_VECTORS * VEC) {
            const int vectors = gm_min(DW_VECTORS, (g->c - l.b + VEC - 1) / VEC);
            for (int v = 0; v < vectors; v++)
                dw_pack_taps(w + l.b + v * VEC, w_row, w_ld, g->c - l.b - v * VEC, 0, g->r, 0, g->s, 1, taps[v]);
            for (int n = n0; n < gm_min(n0 + images, g->n); n++) {
                l.position = (ptrdiff_t)n * g->ho * g->wo;
                dw_image(t, g, row_at(t, x, (ptrdiff_t)n * g->h * g->w, g->ldx) + l.b * vec_bytes(t), l, vectors, taps,
                         row_at_mut(to, y, l.position, g->ldy) + l.b * vec_bytes(to), scratch);
            }
        }
    dw_zero_tails(to, (ptrdiff_t)g->n * g->ho * g->wo, g->c, y, g->ldy);
}

// Input gradient: for each parity of row and column of dx a stride-1 convolution of dy with every stride-th tap,
// mirrored. first: dy row (or column) that the first of them meets, at the first dx row of the parity.
typedef struct dw_parity {
    int last, taps, first;
} dw_parity;

GM__INLINE dw_parity dw_parity_of(int q, int kernel, int pad, int s) {
    int rest = (q + pad) % s, last = rest + (kernel - 1 - rest) / s * s;
    return (dw_parity){last, last / s + 1, (q + pad - last) / s};
}

static void dw_image_grad(gm_dtype t, const gm_conv *g, const char *dy, dw_line l, float *taps[2][2], char *dx,
                          float *block) {
    const int s = g->stride;
    for (int ix0 = 0; ix0 < g->w; ix0 += DW_COLUMNS * s) {
        const int wide = gm_min(DW_COLUMNS * s, g->w - ix0);
        const int columns = gm_round_up((wide + s - 1) / s, TILE) + g->s; // a margin of one for the parities
        const int strip = dw_strip(columns, g->r, 1) * s;
        for (int iy0 = 0; iy0 < g->h; iy0 += strip) {
            const int tall = gm_min(strip, g->h - iy0);
            // first of parity 0 is the lowest or one above it: begin below both
            const dw_parity low = dw_parity_of(0, g->r, g->pad, s);
            const int lead = s == 1 ? 0 : gm_max(0, low.first - dw_parity_of(1, g->r, g->pad, s).first);
            dw_window p = {block, low.first - lead + iy0 / s, 0, low.first - lead + ix0 / s, columns};
            p.rows = (tall + s - 1) / s + g->r - 1;
            dw_pack(t, &p, dy, g->ldy, g->ho, g->wo);
            l.pitch = columns * VEC;
            for (int q = 0; q < s * s; q++) {
                const dw_parity py = dw_parity_of(q / s, g->r, g->pad, s), px = dw_parity_of(q % s, g->s, g->pad, s);
                dw_line_function *run = dw_line_for(px.taps, 1);
                l.outputs = (wide - q % s + s - 1) / s;
                for (int iy = iy0 + q / s; iy < iy0 + tall && l.outputs > 0; iy += s) {
                    const int o0 = py.first + iy / s, skip = gm_max(0, -o0);
                    l.rows = gm_max(0, gm_min(py.taps, g->ho - o0) - skip);
                    l.in = block + (o0 + skip - p.y0) * l.pitch + (px.first + ix0 / s - p.x0) * VEC;
                    l.w = taps[q / s][q % s] + skip * px.taps * VEC;
                    l.out = row_at_mut(t, dx, (ptrdiff_t)iy * g->w + ix0 + q % s, g->ldx);
                    run(&l);
                }
            }
        }
    }
}

static void depthwise_dgrad(gm_dtype t, const gm_conv *g, const void *dy, const float *w, int w_row, int w_ld,
                            bool accumulate, void *dx, void *scratch) {
    const gm_epilogue e = {.accumulate = accumulate, .out = t};
    const int s = g->stride;
    const int images = dw_images(g);
    float store[49 * VEC] __attribute__((aligned(64)));
    dw_line l = {.out_step = (ptrdiff_t)s * g->ldx, .to = t, .e = &e, .plain = !accumulate};
    for (int n0 = 0; n0 < g->n; n0 += images)
        for (int b = 0; b < g->c; b += VEC) {
            float *taps[2][2], *to = store;
            l.b = b;
            l.left = g->c - b;
            for (int q = 0; q < s * s; q++) {
                const dw_parity py = dw_parity_of(q / s, g->r, g->pad, s), px = dw_parity_of(q % s, g->s, g->pad, s);
                dw_pack_taps(w + b, w_row, w_ld, l.left, py.last, py.taps, px.last, px.taps, -s, to);
                taps[q / s][q % s] = to;
                to += py.taps * px.taps * VEC;
            }
            for (int n = n0; n < gm_min(n0 + images, g->n); n++)
                dw_image_grad(t, g, row_at(t, dy, (ptrdiff_t)n * g->ho * g->wo, g->ldy) + b * vec_bytes(t), l, taps,
                              row_at_mut(t, dx, (ptrdiff_t)n * g->h * g->w, g->ldx) + b * vec_bytes(t), scratch);
        }
    dw_zero_tails(t, (ptrdiff_t)g->n * g->h * g->w, g->c, dx, g->ldx);
}

// --- gradient of the taps: sums of one window in registers, windows and images added in order ---

// One row of taps against all rows of a window; several accumulators a tap hide the latency of the multiply-add.
GM__INLINE void dw_wgrad_taps(const int columns, const int stride, const int step, int rows, int outputs,
                              const float *x, ptrdiff_t x_pitch, const float *dy, ptrdiff_t dy_pitch, vec *sum) {
    enum { SETS = VEC_REGISTERS == 32 ? 2 : 1, MOST = (TILE - 1) * 2 + 7 };
    const int span = (step - 1) * stride + columns;
    vec acc[SETS][7];
#pragma GCC unroll 8
    for (int j = 0; j < columns; j++)
        for (int k = 0; k < SETS; k++) acc[k][j] = vec_zero();
    for (int row = 0; row < rows; row++, x += x_pitch * stride, dy += dy_pitch)
        for (int ox = 0; ox < outputs; ox += step) {
            vec v[MOST];
#pragma GCC unroll 32
            for (int k = 0; k < span; k++) v[k] = vec_load(GM_F32, x + (ox * stride + k) * VEC);
#pragma GCC unroll 8
            for (int o = 0; o < step; o++) {
                vec d = vec_load(GM_F32, dy + (ox + o) * VEC);
#pragma GCC unroll 8
                for (int j = 0; j < columns; j++) acc[o % SETS][j] = vec_fma(v[o * stride + j], d, acc[o % SETS][j]);
            }
        }
#pragma GCC unroll 8
    for (int j = 0; j < columns; j++) {
        for (int k = 1; k < SETS; k++) acc[0][j] = acc[0][j] + acc[k][j];
        sum[j] = sum[j] + acc[0][j];
    }
}

// All taps for one vector of channels of one image, added to sums. block: two packed windows.
GM__INLINE void dw_wgrad_image(const gm_dtype t, const int kernel, const int stride, const int step, const gm_conv *g,
                               const char *x, const char *dy, float *block, vec *sums) {
    float *dy_block = block + GM__DEPTHWISE_POSITIONS * VEC;
    for (int ox = 0; ox < g->wo; ox += DW_COLUMNS) {
        const int outputs = gm_round_up(gm_min(DW_COLUMNS, g->wo - ox), step);
        const int columns = (outputs - 1) * stride + kernel, strip = dw_strip(columns, kernel, stride);
        for (int oy0 = 0; oy0 < g->ho; oy0 += strip) {
            const int rows = gm_min(strip, g->ho - oy0);
            dw_window px = {block, oy0 * stride - g->pad, (rows - 1) * stride + kernel, ox * stride - g->pad, columns};
            dw_window py = {dy_block, oy0, rows, ox, outputs};
            dw_pack(t, &px, x, g->ldx, g->h, g->w);
            dw_pack(t, &py, dy, g->ldy, g->ho, g->wo);
            for (int i = 0; i < kernel; i++) {
                // output rows whose tap row i lies inside the image
                const int low = gm_max(oy0, (gm_max(0, g->pad - i) + stride - 1) / stride);
                const int high = gm_min(oy0 + rows, (g->h - 1 + g->pad - i + stride) / stride);
                if (low >= high) continue;
                dw_wgrad_taps(kernel, stride, step, high - low, outputs,
                              block + (low * stride - g->pad + i - px.y0) * (ptrdiff_t)columns * VEC,
                              (ptrdiff_t)columns * VEC, dy_block + (low - oy0) * (ptrdiff_t)outputs * VEC,
                              (ptrdiff_t)outputs * VEC, sums + i * kernel);
            }
        }
    }
}

#define DW_WGRAD(kernel, stride)                                                                    \
    static __attribute__((noinline)) void dw_wgrad_##kernel##_##stride(                             \
        gm_dtype t, const gm_conv *g, const char *x, const char *dy, float *block, vec *sums) {     \
        if (g->wo <= TILE / 2)                                                                     \
            dw_wgrad_image(t, kernel, stride, TILE / 2, g, x, dy, block, sums);                    \
        else                                                                                       \
            dw_wgrad_image(t, kernel, stride, TILE, g, x, dy, block, sums);                        \
    }
DW_WGRAD(3, 1)
DW_WGRAD(3, 2)
DW_WGRAD(5, 1)
DW_WGRAD(5, 2)
DW_WGRAD(7, 1)
DW_WGRAD(7, 2)

typedef void dw_wgrad_function(gm_dtype t, const gm_conv *g, const char *x, const char *dy, float *block, vec *sums);

// Asks for the next images, one share a turn and in the order of addresses, while this one is worked on: channel by
// channel the reads are too far apart for the processor to run ahead.
static void dw_fetch(gm_dtype t, int image, int images, int positions, int turn, int turns, const void *x, int ld, int c0,
                     int c1) {
    if (images <= 0) return;
    const ptrdiff_t all = (ptrdiff_t)images * positions, first = (ptrdiff_t)image * positions;
    const ptrdiff_t bytes = (c1 - c0) * vec_bytes(t);
    for (ptrdiff_t row = first + all * turn / turns; row < first + all * (turn + 1) / turns; row++) {
        const char *at = row_at(t, x, row, ld) + c0 * vec_bytes(t);
        for (ptrdiff_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
    }
}

static void depthwise_wgrad(gm_dtype t, const gm_conv *g, const void *x, const void *dy, float *dw, int w_row,
                            int w_ld, int c0, int c1, void *scratch) {
    static dw_wgrad_function *const functions[3][2] = {
        {dw_wgrad_3_1, dw_wgrad_3_2}, {dw_wgrad_5_1, dw_wgrad_5_2}, {dw_wgrad_7_1, dw_wgrad_7_2}};
    dw_wgrad_function *run = functions[g->s / 2 - 1][g->stride - 1];
    const int taps = g->s * g->s, images = dw_images(g), turns = (c1 - c0 + VEC - 1) / VEC;
    for (int n0 = 0; n0 < g->n; n0 += images)
        for (int b = c0; b < c1; b += VEC) {
            const int turn = (b - c0) / VEC, next = gm_min(images, g->n - n0 - images);
            dw_fetch(t, n0 + images, next, g->h * g->w, turn, turns, x, g->ldx, c0, c1);
            dw_fetch(t, n0 + images, next, g->ho * g->wo, turn, turns, dy, g->ldy, c0, c1);
            vec sums[49];
            for (int i = 0; i < taps; i++) sums[i] = vec_zero();
            for (int n = n0; n < gm_min(n0 + images, g->n); n++)
                run(t, g, row_at(t, x, (ptrdiff_t)n * g->h * g->w, g->ldx) + b * vec_bytes(t),
                    row_at(t, dy, (ptrdiff_t)n * g->ho * g->wo, g->ldy) + b * vec_bytes(t), scratch, sums);
            for (int i = 0; i < taps; i++) {
                float *to = dw + (ptrdiff_t)(i / g->s * w_row + i % g->s) * w_ld + b;
                vec_store_part(to, c1 - b, vec_load_part(to, c1 - b) + sums[i]);
            }
        }
}

void GM__VEC_NAME(depthwise_fill)(gm_kernels *table) {
    table->depthwise = depthwise;
    table->depthwise_dgrad = depthwise_dgrad;
    table->depthwise_wgrad = depthwise_wgrad;
}

#endif
