// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution for any vector width. One routine serves forward and both strides of the input gradient:
// a tile of TILE outputs in a row, one vector of channels, accumulators in registers; each input vector of a tap row
// is loaded (and widened) once and used by all taps that touch it. Columns outside the image read as zero, rows
// outside are left out: the sum of an output has the same order wherever the tile begins.
#ifndef GAMUT_KERNEL_DEPTHWISE_VEC_H
#define GAMUT_KERNEL_DEPTHWISE_VEC_H

enum { TILE = VEC_REGISTERS == 32 ? 8 : 4 };

// What columns outside the image point at: choosing an address costs less than a branch for every load.
static const char dw_zeros[64] __attribute__((aligned(64)));

// One row of outputs. Strides in elements; in and w point at the first tap row that lies inside the image.
typedef struct dw_line {
    const char *in; // (rows, width, ld) with row_stride between tap rows
    ptrdiff_t row_stride;
    int ld, width, rows;
    int first;      // input column of tap column 0 for output 0
    const float *w; // (rows, columns, channels), strides w_row and w_column
    ptrdiff_t w_row, w_column;
    int outputs;
    int c;
    char *out;      // (outputs, out_step)
    ptrdiff_t out_step;
    ptrdiff_t position, position_step; // of output 0 and between outputs, for the residual
    int ld_out;
    gm_dtype to;
    const gm_epilogue *e;
    bool plain;     // nothing but a store, in the type of the input
} dw_line;

// Epilogue of a tile whose sums went through memory.
static __attribute__((noinline)) void dw_finish(const dw_line *l, int o0, int count, int b, vec *acc) {
    const gm_epilogue *e = l->e;
    const int left = l->c - b;
    if (e->scale) {
        vec scale = vec_load_part(e->scale + b, left);
        for (int o = 0; o < TILE; o++) acc[o] = acc[o] * scale;
    }
    if (e->shift) {
        vec shift = vec_load_part(e->shift + b, left);
        for (int o = 0; o < TILE; o++) acc[o] = acc[o] + shift;
    }
    const ptrdiff_t size = vec_bytes(l->to);
    if (e->residual)
        for (int o = 0; o < TILE && o < count; o++) {
            ptrdiff_t at = (l->position + (o0 + o) * l->position_step) * e->ldr + b;
            acc[o] = acc[o] + vec_load(l->to, (const char *)e->residual + at * size);
        }
    if (e->act != GM_ACT_NONE) GM__FOR_ACT(e->act, for (int o = 0; o < TILE; o++) acc[o] = vec_act(A, acc[o]));
    for (int o = 0; o < TILE && o < count; o++) {
        char *out = l->out + ((o0 + o) * l->out_step + b) * size;
        store_or_add(l->to, out, vec_keep(acc[o], left), e->accumulate);
    }
}

// Taps and epilogue of one tile for channels [b, b + VEC). inside: the tile is whole and no column of it lies outside
// the image.
GM__INLINE void dw_tile(const gm_dtype t, const int columns, const int stride, const bool inside, const dw_line *l,
                        int o0, int count, int b) {
    vec acc[TILE];
    enum { MOST = 2 * (TILE - 1) + 7 };
    const int span = (TILE - 1) * stride + columns;
    const ptrdiff_t size = vec_bytes(t), step = l->ld * size;
    const int x0 = l->first + o0 * stride;
    const char *in = l->in + (ptrdiff_t)x0 * step + b * size;
    const float *w = l->w + b;
#pragma GCC unroll 8
    for (int o = 0; o < TILE; o++) acc[o] = vec_zero();
    for (int i = 0; i < l->rows; i++) {
        vec x[MOST];
#pragma GCC unroll 32
        for (int k = 0; k < span; k++)
            x[k] = vec_load(t, inside || (unsigned)(x0 + k) < (unsigned)l->width ? in + k * step : dw_zeros);
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) {
            vec tap = vec_load_part(w + j * l->w_column, l->c - b);
#pragma GCC unroll 8
            for (int o = 0; o < TILE; o++) acc[o] = vec_fma(x[o * stride + j], tap, acc[o]);
        }
        in += l->row_stride * size;
        w += l->w_row;
    }
    if (l->plain && l->c - b >= VEC) {
        char *out = l->out + (o0 * l->out_step + b) * size;
#pragma GCC unroll 8
        for (int o = 0; o < TILE; o++)
            if (inside || o < count) vec_store(t, out + o * l->out_step * size, acc[o]);
    } else {
        vec sums[TILE]; // a copy, so that acc itself never leaves the registers
#pragma GCC unroll 8
        for (int o = 0; o < TILE; o++) sums[o] = acc[o];
        dw_finish(l, o0, count, b, sums);
    }
}

GM__INLINE void dw_line_run(const gm_dtype t, const int columns, const int stride, const dw_line *l) {
    for (int o0 = 0; o0 < l->outputs; o0 += TILE) {
        int x0 = l->first + o0 * stride, count = gm_min(TILE, l->outputs - o0);
        bool inside = count == TILE && x0 >= 0 && x0 + (TILE - 1) * stride + columns <= l->width;
        for (int b = 0; b < l->c; b += VEC) {
            if (inside)
                dw_tile(t, columns, stride, true, l, o0, count, b);
            else
                dw_tile(t, columns, stride, false, l, o0, count, b);
        }
        for (int o = o0; o < o0 + count; o++)
            zero_rest(l->to, l->out + o * l->out_step * vec_bytes(l->to), l->c, l->ld_out);
    }
}

#define DW_LINE(columns, stride)                                                                    \
    static __attribute__((noinline)) void dw_line_f32_##columns##_##stride(const dw_line *l) {      \
        dw_line_run(GM_F32, columns, stride, l);                                                   \
    }                                                                                              \
    static __attribute__((noinline)) void dw_line_bf16_##columns##_##stride(const dw_line *l) {     \
        dw_line_run(GM_BF16, columns, stride, l);                                                  \
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

static dw_line_function *dw_line_for(gm_dtype t, int columns, int stride) {
    static dw_line_function *const lines[2][2][8] = {
        {{NULL, dw_line_f32_1_1, dw_line_f32_2_1, dw_line_f32_3_1, dw_line_f32_4_1, dw_line_f32_5_1, NULL,
          dw_line_f32_7_1},
         {NULL, NULL, NULL, dw_line_f32_3_2, NULL, dw_line_f32_5_2, NULL, dw_line_f32_7_2}},
        {{NULL, dw_line_bf16_1_1, dw_line_bf16_2_1, dw_line_bf16_3_1, dw_line_bf16_4_1, dw_line_bf16_5_1, NULL,
          dw_line_bf16_7_1},
         {NULL, NULL, NULL, dw_line_bf16_3_2, NULL, dw_line_bf16_5_2, NULL, dw_line_bf16_7_2}}};
    return lines[t == GM_F32 ? 0 : 1][stride - 1][columns];
}

static void depthwise(gm_dtype t, const gm_conv *g, const void *x, const float *w, int w_row, int w_ld,
                      const gm_epilogue *e, void *y, void *scratch) {
    (void)scratch;
    dw_line_function *run = dw_line_for(t, g->s, g->stride);
    const gm_dtype to = e->out == GM_F32 ? GM_F32 : t;
    dw_line l = {.row_stride = (ptrdiff_t)g->w * g->ldx, .ld = g->ldx, .width = g->w, .first = -g->pad,
                 .w_row = (ptrdiff_t)w_row * w_ld, .w_column = w_ld, .outputs = g->wo, .c = g->c,
                 .out_step = g->ldy, .position_step = 1, .ld_out = g->ldy, .to = to, .e = e};
    l.plain = to == t && !e->scale && !e->shift && !e->residual && e->act == GM_ACT_NONE && !e->accumulate;
    for (int n = 0; n < g->n; n++)
        for (int oy = 0; oy < g->ho; oy++) {
            int y0 = oy * g->stride - g->pad, i0 = gm_max(0, -y0);
            l.rows = gm_min(g->r, g->h - y0) - i0;
            l.in = row_at(t, x, ((ptrdiff_t)n * g->h + y0 + i0) * g->w, g->ldx);
            l.w = w + i0 * l.w_row;
            l.position = ((ptrdiff_t)n * g->ho + oy) * g->wo;
            l.out = row_at_mut(to, y, l.position, g->ldy);
            run(&l);
        }
}

// Input gradient: for each parity of row and column of dx a stride-1 convolution of dy with every stride-th tap,
// mirrored. A parity without taps (none for kernels of 3 and more) would have an all-zero gradient.
static void depthwise_dgrad(gm_dtype t, const gm_conv *g, const void *dy, const float *w, int w_row, int w_ld,
                            bool accumulate, void *dx, void *scratch) {
    (void)scratch;
    const gm_epilogue e = {.accumulate = accumulate, .out = t};
    const int s = g->stride;
    dw_line l = {.row_stride = (ptrdiff_t)g->wo * g->ldy, .ld = g->ldy, .width = g->wo,
                 .w_row = -(ptrdiff_t)s * w_row * w_ld, .w_column = -(ptrdiff_t)s * w_ld, .c = g->c,
                 .out_step = (ptrdiff_t)s * g->ldx, .ld_out = g->ldx, .to = t, .e = &e,
                 .plain = !accumulate};
    for (int n = 0; n < g->n; n++)
        for (int iy = 0; iy < g->h; iy++) {
            // tap rows i = i_last, i_last - s, ... meet dy rows o_first, o_first + 1, ...
            int i_last = (iy + g->pad) % s + (g->r - 1 - (iy + g->pad) % s) / s * s;
            int o_first = (iy + g->pad - i_last) / s, taps = i_last / s + 1;
            int skip = gm_max(0, -o_first);
            l.rows = gm_max(0, gm_min(taps, g->ho - o_first) - skip);
            l.in = row_at(t, dy, ((ptrdiff_t)n * g->ho + o_first + skip) * g->wo, g->ldy);
            for (int q = 0; q < s && q < g->w; q++) {
                int j_last = (q + g->pad) % s + (g->s - 1 - (q + g->pad) % s) / s * s;
                l.first = (q + g->pad - j_last) / s;
                l.w = w + ((ptrdiff_t)(i_last - skip * s) * w_row + j_last) * w_ld;
                l.outputs = (g->w - q + s - 1) / s;
                l.out = row_at_mut(t, dx, ((ptrdiff_t)n * g->h + iy) * g->w + q, g->ldx);
                dw_line_for(t, j_last / s + 1, 1)(&l);
            }
        }
}

// --- gradient of the taps: sums of one image in registers, images added in order to dw ---

// One row of x against one row of dy: adds to the sums of one row of taps for one vector of channels.
GM__INLINE void dw_wgrad_row(const gm_dtype t, const int columns, const int stride, const gm_conv *g, const char *x,
                             const char *dy, vec *sum) {
    enum { STEP = VEC_REGISTERS == 32 ? 8 : 4, MOST = (STEP - 1) * 2 + 7 };
    const int span = (STEP - 1) * stride + columns;
    const ptrdiff_t ldx = g->ldx * vec_bytes(t), ldy = g->ldy * vec_bytes(t);
    vec acc[7];
#pragma GCC unroll 8
    for (int j = 0; j < columns; j++) acc[j] = sum[j];
    for (int ox = 0; ox < g->wo; ox += STEP) {
        const int x0 = ox * stride - g->pad;
        const bool inside = x0 >= 0 && x0 + span <= g->w && ox + STEP <= g->wo;
        vec v[MOST];
#pragma GCC unroll 32
        for (int k = 0; k < span; k++)
            v[k] = vec_load(t, inside || (unsigned)(x0 + k) < (unsigned)g->w ? x + (x0 + k) * ldx : dw_zeros);
#pragma GCC unroll 8
        for (int o = 0; o < STEP; o++) {
            vec d = vec_load(t, inside || ox + o < g->wo ? dy + (ox + o) * ldy : dw_zeros);
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++) acc[j] = vec_fma(v[o * stride + j], d, acc[j]);
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < columns; j++) sum[j] = acc[j];
}

GM__INLINE void dw_wgrad(const gm_dtype t, const int kernel, const int stride, const gm_conv *g, const void *x,
                         const void *dy, float *dw, int w_row, int w_ld, int c0, int c1) {
    const ptrdiff_t x_row = (ptrdiff_t)g->w * g->ldx * vec_bytes(t), dy_row = (ptrdiff_t)g->wo * g->ldy * vec_bytes(t);
    for (int n = 0; n < g->n; n++)
        for (int b = c0; b < c1; b += VEC) {
            vec sums[49];
            for (int i = 0; i < kernel * kernel; i++) sums[i] = vec_zero();
            const char *in = (const char *)x + n * g->h * x_row + b * vec_bytes(t);
            const char *out = (const char *)dy + n * g->ho * dy_row + b * vec_bytes(t);
            for (int oy = 0; oy < g->ho; oy++)
                for (int i = 0; i < kernel; i++) {
                    const int iy = oy * stride + i - g->pad;
                    if (iy < 0 || iy >= g->h) continue;
                    dw_wgrad_row(t, kernel, stride, g, in + iy * x_row, out + oy * dy_row, sums + i * kernel);
                }
            for (int i = 0; i < kernel * kernel; i++) {
                float *to = dw + (ptrdiff_t)(i / kernel * w_row + i % kernel) * w_ld + b;
                vec_store_part(to, c1 - b, vec_load_part(to, c1 - b) + sums[i]);
            }
        }
}

static void depthwise_wgrad(gm_dtype t, const gm_conv *g, const void *x, const void *dy, float *dw, int w_row,
                            int w_ld, int c0, int c1, void *scratch) {
    (void)scratch;
#define DW_WGRAD(columns, stride)                                                                   \
    GM__FOR_TYPE(t, dw_wgrad(T, columns, stride, g, x, dy, dw, w_row, w_ld, c0, c1))
    if (g->s == 3 && g->stride == 1) DW_WGRAD(3, 1);
    if (g->s == 3 && g->stride == 2) DW_WGRAD(3, 2);
    if (g->s == 5 && g->stride == 1) DW_WGRAD(5, 1);
    if (g->s == 5 && g->stride == 2) DW_WGRAD(5, 2);
    if (g->s == 7 && g->stride == 1) DW_WGRAD(7, 1);
    if (g->s == 7 && g->stride == 2) DW_WGRAD(7, 2);
#undef DW_WGRAD
}

void GM__VEC_NAME(depthwise_fill)(gm_kernels *table) {
    table->depthwise = depthwise;
    table->depthwise_dgrad = depthwise_dgrad;
    table->depthwise_wgrad = depthwise_wgrad;
}

#endif
