// SPDX-License-Identifier: Apache-2.0
// Dense convolution, its gradients and packing: every level of this machine against double precision, on random
// geometries. Bits must not depend on how a batch (forward, dgrad) or a weight slice (wgrad) is cut into calls.
// GAMUT_TEST_SEED repeats a run, GAMUT_TEST_CASES makes it longer.
#include <gamut/kernel.h>

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 256 }; // bytes on both sides of every buffer

typedef struct problem {
    gm_dtype type, out;
    gm_conv g;
    gm_panels master, w, wt;
    int cut, row_cut, pieces; // image where the batch is cut; output row where an image is; wgrad partition
    void *x, *dy, *residual, *y0, *dx0;
    float *scale, *shift, *dw0, *w_scale;
    gm_epilogue e;
    bool accumulate_dx;
    double *want_y, *err_y, *want_dx, *err_dx, *want_dw, *err_dw;
} problem;

static uint64_t seed;
static gm_rng rng;

static int below(int n) { return (int)gm_rng_below(&rng, (uint32_t)n); }
static float uniform(void) { return gm_rng_uniform(&rng) * 2 - 1; }

// Buffers with guards: 0xff is NaN in f32 and bf16, so that a read that counts shows in the result.
static void *guarded(size_t bytes) {
    char *block = aligned_alloc(64, (bytes + 2 * GUARD + 63) / 64 * 64);
    assert_non_null(block);
    memset(block, 0xff, bytes + 2 * GUARD);
    return block + GUARD;
}
static void check_guards(const void *p, size_t bytes) {
    const unsigned char *b = p;
    for (int i = 1; i <= GUARD; i++) {
        assert_int_equal(b[-i], 0xff);
        assert_int_equal(b[bytes + (size_t)i - 1], 0xff);
    }
}
static void release(void *p) {
    if (p) free((char *)p - GUARD);
}

static double get(gm_dtype t, const void *p, size_t i) {
    return t == GM_F32 ? ((const float *)p)[i] : t == GM_BF16 ? gm_bf16_to_f32(((const gm_bf16 *)p)[i])
                                                              : ((const int8_t *)p)[i];
}
static void put(gm_dtype t, void *p, size_t i, float v) {
    if (t == GM_F32) ((float *)p)[i] = v;
    else if (t == GM_BF16) ((gm_bf16 *)p)[i] = gm_bf16_from_f32(v);
    else ((int8_t *)p)[i] = (int8_t)lrintf(v * 127);
}

// rows x ld elements, c of them random, the tail zero
static void *random_rows(gm_dtype t, size_t rows, int c, int ld) {
    void *p = guarded(rows * (size_t)ld * gm_dtype_size(t));
    for (size_t r = 0; r < rows; r++)
        for (int i = 0; i < ld; i++) put(t, p, r * (size_t)ld + (size_t)i, i < c ? uniform() : 0);
    return p;
}
static float *random_floats(size_t n) {
    float *p = guarded(n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = uniform();
    return p;
}

static size_t x_rows(const gm_conv *g) { return (size_t)g->n * (size_t)(g->h * g->w); }
static size_t y_rows(const gm_conv *g) { return (size_t)g->n * (size_t)(g->ho * g->wo); }
static size_t panels_size(const gm_panels *p) { return (size_t)((p->outputs + 15) / 16) * p->panel_stride; }

// Weight of a stored tap in the type of w, read by the layout that the header promises.
static double weight(const gm_panels *w, int o, int i, int tap) {
    const size_t row = w->flat ? (size_t)(tap * w->inputs + i) : (size_t)i;
    const size_t group = w->type == GM_F32 ? 1 : w->type == GM_BF16 ? 2 : 4;
    const size_t at = (size_t)(o / 16) * w->panel_stride + (w->flat ? 0 : (size_t)tap * w->tap_stride) +
                      row / group * group * 16 + (size_t)(o % 16) * group + row % group;
    return get(w->type, w->data, at);
}

static int stored_tap(const problem *p, int t) {
    const int y = t / p->g.s + (p->w.r - p->g.r) / 2, x = t % p->g.s + (p->w.s - p->g.s) / 2;
    return y * p->w.s + x;
}

static double activate(gm_act a, double v) {
    const double hs = fmin(fmax(v + 3, 0), 6) / 6;
    switch (a) {
    case GM_ACT_NONE: return v;
    case GM_ACT_RELU: return fmax(v, 0);
    case GM_ACT_RELU6: return fmin(fmax(v, 0), 6);
    case GM_ACT_HSWISH: return v * hs;
    case GM_ACT_HSIGMOID: return hs;
    case GM_ACT_GELU: return 0.5 * v * (1 + erf(v / sqrt(2)));
    case GM_ACT_SILU: return v / (1 + exp(-v));
    case GM_ACT_SIGMOID: return 1 / (1 + exp(-v));
    }
    return v;
}

// Error of a sum of n products in f32: partial sums walk randomly, each addition rounds.
static double sum_error(double squares, int n) { return 0x1p-24 * sqrt(squares) * (8 + 6 * sqrt(n)); }
static double store_error(gm_dtype out, double v, double unit) {
    return out == GM_F32 ? 0x1p-22 * fabs(v) + 1e-35 : out == GM_BF16 ? 0x1.04p-8 * fabs(v) + 1e-35 : 0.501 * unit;
}

static void expect_y(problem *p) {
    const gm_conv *g = &p->g;
    const gm_epilogue *e = &p->e;
    const double unit = p->out == GM_I8 ? e->out_scale : 1;
    for (size_t q = 0; q < y_rows(g); q++)
        for (int k = 0; k < g->k; k++) {
            const int image = (int)q / (g->ho * g->wo), oy = (int)q / g->wo % g->ho, ox = (int)q % g->wo;
            double sum = 0, squares = 0;
            for (int t = 0; t < g->r * g->s; t++) {
                const int iy = oy * g->stride - g->pad + t / g->s, ix = ox * g->stride - g->pad + t % g->s;
                if (iy < 0 || iy >= g->h || ix < 0 || ix >= g->w) continue;
                const size_t row = ((size_t)(image * g->h + iy) * (size_t)g->w + (size_t)ix) * (size_t)g->ldx;
                for (int c = 0; c < g->c; c++) {
                    const double v = get(p->type, p->x, row + (size_t)c) * weight(&p->w, k, c, stored_tap(p, t));
                    sum += v;
                    squares += v * v;
                }
            }
            double err = p->type == GM_I8 ? 0 : sum_error(squares, g->r * g->s * g->c);
            const size_t at = q * (size_t)g->ldy + (size_t)k;
            if (e->scale) sum *= e->scale[k], err *= fabsf(e->scale[k]);
            if (e->shift) sum += e->shift[k];
            if (e->residual) sum += get(p->out, e->residual, q * (size_t)e->ldr + (size_t)k) * unit;
            const double before = sum;
            sum = activate(e->act, sum);
            if (e->accumulate) sum += get(p->out, p->y0, at) * unit;
            if (p->out == GM_I8) sum = fmin(fmax(sum, -127 * unit), 127 * unit);
            p->want_y[q * (size_t)g->k + (size_t)k] = sum;
            p->err_y[q * (size_t)g->k + (size_t)k] =
                1.2 * err + 0x1p-21 * fabs(before) + 1e-6 + store_error(p->out, sum, unit);
        }
}

static void expect_gradients(problem *p) {
    const gm_conv *g = &p->g;
    double *dx2 = calloc(x_rows(g) * (size_t)g->c, sizeof(double));
    const size_t slice = (size_t)(g->r * g->s * g->c * g->k);
    for (size_t q = 0; q < y_rows(g); q++)
        for (int t = 0; t < g->r * g->s; t++) {
            const int image = (int)q / (g->ho * g->wo), oy = (int)q / g->wo % g->ho, ox = (int)q % g->wo;
            const int iy = oy * g->stride - g->pad + t / g->s, ix = ox * g->stride - g->pad + t % g->s;
            if (iy < 0 || iy >= g->h || ix < 0 || ix >= g->w) continue;
            const size_t row = (size_t)(image * g->h + iy) * (size_t)g->w + (size_t)ix;
            for (int c = 0; c < g->c; c++)
                for (int k = 0; k < g->k; k++) {
                    const double d = get(p->type, p->dy, q * (size_t)g->ldy + (size_t)k);
                    const double x = get(p->type, p->x, row * (size_t)g->ldx + (size_t)c);
                    const double v = d * weight(&p->w, k, c, stored_tap(p, t));
                    const size_t i = row * (size_t)g->c + (size_t)c, j = (size_t)((t * g->c + c) * g->k + k);
                    p->want_dx[i] += v;
                    dx2[i] += v * v;
                    p->want_dw[j] += d * x;
                    p->err_dw[j] += d * x * d * x;
                }
        }
    for (size_t i = 0; i < x_rows(g) * (size_t)g->c; i++) {
        if (p->accumulate_dx)
            p->want_dx[i] += get(p->type, p->dx0, i / (size_t)g->c * (size_t)g->ldx + i % (size_t)g->c);
        p->err_dx[i] = sum_error(dx2[i] + 1, g->r * g->s * g->k) + store_error(p->type, p->want_dx[i], 1);
    }
    for (size_t j = 0; j < slice; j++) p->err_dw[j] = sum_error(p->err_dw[j] + 1, (int)y_rows(g));
    free(dx2);
}

static void describe(const problem *p, gm_cpu_level level, const char *what) {
    const gm_conv *g = &p->g;
    print_error("%s %s %s->%s: n%d %dx%dx%d -> %dx%dx%d kernel %dx%d (stored %d) stride %d pad %d O%d I%d flat%d ld %d %d "
                "scale%d shift%d residual%d act%d accumulate%d/%d cut%d\n", gm_cpu_level_name(level), what,
                gm_dtype_name(p->type), gm_dtype_name(p->out), g->n, g->h, g->w, g->c, g->ho, g->wo, g->k, g->r, g->s,
                p->w.r, g->stride, g->pad, p->w.outputs, p->w.inputs, p->w.flat, g->ldx, g->ldy, p->e.scale != NULL,
                p->e.shift != NULL, p->e.residual != NULL, (int)p->e.act, p->e.accumulate, p->accumulate_dx, p->cut);
}

static void check_rows(const problem *p, gm_cpu_level level, const char *what, gm_dtype t, const void *got, size_t rows,
                       int c, int ld, double unit, const double *want, const double *err) {
    check_guards(got, rows * (size_t)ld * gm_dtype_size(t));
    for (size_t q = 0; q < rows; q++)
        for (int i = 0; i < ld; i++) {
            const double v = get(t, got, q * (size_t)ld + (size_t)i) * unit;
            const size_t j = q * (size_t)c + (size_t)i;
            if (i < c ? fabs(v - want[j]) <= err[j] : v == 0) continue;
            describe(p, level, what);
            fail_msg("row %zu channel %d: %.9g, expected %.9g within %.3g", q, i, v, i < c ? want[j] : 0,
                     i < c ? err[j] : 0);
        }
}

static void check_same(const problem *p, gm_cpu_level level, const char *what, const void *a, const void *b, size_t bytes) {
    if (!memcmp(a, b, bytes)) return;
    describe(p, level, what);
    fail_msg("the bits depend on how the work is cut");
}

static void *copy_of(const void *from, size_t bytes) {
    void *p = guarded(bytes);
    if (from) memcpy(p, from, bytes);
    return p;
}

static void run_forward(problem *p, gm_cpu_level level, void *scratch) {
    const gm_kernels *k = gm_kernels_at(level);
    const gm_conv *g = &p->g;
    const size_t size = gm_dtype_size(p->type), out = gm_dtype_size(p->out);
    const size_t bytes = y_rows(g) * (size_t)g->ldy * out;
    void *y = copy_of(p->y0, bytes), *z = copy_of(p->y0, bytes);
    k->conv(p->type, g, p->x, &p->w, &p->e, y, scratch);
    check_rows(p, level, "conv", p->out, y, y_rows(g), g->k, g->ldy, p->out == GM_I8 ? p->e.out_scale : 1, p->want_y,
               p->err_y);
    for (int part = 0; part < 2; part++) {
        gm_conv h = *g;
        gm_epilogue e = p->e;
        const int first = part ? p->cut : 0;
        h.n = part ? g->n - p->cut : p->cut;
        if (e.residual)
            e.residual = (const char *)e.residual + (size_t)(first * g->ho * g->wo * e.ldr) * out;
        if (h.n > 0)
            k->conv(p->type, &h, (const char *)p->x + (size_t)(first * g->h * g->w * g->ldx) * size, &p->w, &e,
                    (char *)z + (size_t)(first * g->ho * g->wo * g->ldy) * out, scratch);
    }
    check_same(p, level, "conv", y, z, bytes);
    release(y);
    release(z);
}

// The first image, its output rows cut in two: what a plan does with one image and two threads.
static void run_rows(problem *p, gm_cpu_level level) {
    const gm_kernels *k = gm_kernels_at(level);
    gm_conv g = p->g;
    g.n = 1;
    const size_t out = gm_dtype_size(p->out), bytes = y_rows(&g) * (size_t)g.ldy * out;
    const int cut = p->row_cut;
    void *y = copy_of(p->y0, bytes), *z = copy_of(p->y0, bytes);
    for (int part = -1; part < 2; part++) { // -1: the whole image, in y
        gm_conv h = g;
        gm_epilogue e = p->e;
        h.y0 = part == 1 ? cut : 0;
        h.ho = part < 0 ? g.ho : part ? g.ho - cut : cut;
        if (h.ho == 0) continue;
        const int first = h.y0 * g.wo;
        if (e.residual) e.residual = (const char *)e.residual + (size_t)(first * e.ldr) * out;
        const size_t need = gm_conv_scratch(&h, p->type);
        void *scratch = guarded(need);
        k->conv(p->type, &h, p->x, &p->w, &e, (char *)(part < 0 ? y : z) + (size_t)(first * g.ldy) * out, scratch);
        check_guards(scratch, need);
        release(scratch);
    }
    check_same(p, level, "conv of rows", y, z, bytes);
    release(y);
    release(z);
}

// The outputs cut into two calls (kernel.h: gm_epilogue.row).
static void run_output_parts(problem *p, gm_cpu_level level, void *scratch) {
    const gm_kernels *k = gm_kernels_at(level);
    const gm_conv *g = &p->g;
    const size_t out = gm_dtype_size(p->out), bytes = y_rows(g) * (size_t)g->ldy * out;
    const int split = 64 * below(g->k / 64 + 1);
    void *y = copy_of(p->y0, bytes), *z = copy_of(p->y0, bytes);
    k->conv(p->type, g, p->x, &p->w, &p->e, y, scratch);
    for (int part = 0; part < 2 && split > 0 && split < g->k; part++) {
        gm_conv h = *g;
        gm_epilogue e = p->e;
        gm_panels w = p->w;
        const size_t first = part ? (size_t)split : 0;
        h.k = part ? g->k - split : split;
        e.row = part ? g->ldy - split : split;
        if (e.scale) e.scale += first;
        if (e.shift) e.shift += first;
        if (e.residual) e.residual = (const char *)e.residual + first * out;
        w.data = (char *)w.data + first / 16 * w.panel_stride * gm_dtype_size(p->type);
        k->conv(p->type, &h, p->x, &w, &e, (char *)z + first * out, scratch);
    }
    if (split > 0 && split < g->k) check_same(p, level, "conv in parts of outputs", y, z, bytes);
    release(y);
    release(z);
}

static void run_dgrad(problem *p, gm_cpu_level level, void *scratch) {
    const gm_kernels *k = gm_kernels_at(level);
    const gm_conv *g = &p->g;
    const size_t size = gm_dtype_size(p->type), bytes = x_rows(g) * (size_t)g->ldx * size;
    void *dx = copy_of(p->accumulate_dx ? p->dx0 : NULL, bytes), *z = copy_of(p->accumulate_dx ? p->dx0 : NULL, bytes);
    k->conv_dgrad(p->type, g, p->dy, &p->wt, p->accumulate_dx, dx, scratch);
    check_rows(p, level, "dgrad", p->type, dx, x_rows(g), g->c, g->ldx, 1, p->want_dx, p->err_dx);
    for (int part = 0; part < 2; part++) {
        gm_conv h = *g;
        const int first = part ? p->cut : 0;
        h.n = part ? g->n - p->cut : p->cut;
        if (h.n > 0)
            k->conv_dgrad(p->type, &h, (const char *)p->dy + (size_t)(first * g->ho * g->wo * g->ldy) * size, &p->wt,
                          p->accumulate_dx, (char *)z + (size_t)(first * g->h * g->w * g->ldx) * size, scratch);
    }
    check_same(p, level, "dgrad", dx, z, bytes);
    release(dx);
    release(z);
}

static void run_wgrad(problem *p, gm_cpu_level level, void *scratch) {
    const gm_kernels *k = gm_kernels_at(level);
    const gm_conv *g = &p->g;
    const size_t bytes = panels_size(&p->master) * sizeof(float);
    float *dw = copy_of(p->dw0, bytes), *z = copy_of(p->dw0, bytes);
    const int panels = (g->k + 15) / 16;
    gm_panels shape = p->master;
    shape.data = NULL;
    k->conv_wgrad(p->type, g, p->x, p->dy, &shape, dw, 0, g->c, 0, panels, scratch);
    check_guards(dw, bytes);
    double *want = malloc(panels_size(&p->master) * sizeof *want), *err = calloc(panels_size(&p->master), sizeof *err);
    for (size_t i = 0; i < panels_size(&p->master); i++) want[i] = p->dw0[i];
    for (int t = 0; t < g->r * g->s; t++)
        for (int c = 0; c < g->c; c++)
            for (int o = 0; o < g->k; o++) {
                const size_t at = gm_panels_index(&p->master, o, c, stored_tap(p, t));
                want[at] += p->want_dw[(t * g->c + c) * g->k + o];
                err[at] = p->err_dw[(t * g->c + c) * g->k + o];
            }
    for (size_t i = 0; i < panels_size(&p->master); i++)
        if (!(fabs(dw[i] - want[i]) <= err[i])) {
            describe(p, level, "wgrad");
            fail_msg("dw element %zu: %.9g, expected %.9g within %.3g", i, (double)dw[i], want[i], err[i]);
        }
    const int c_step = p->w.flat ? g->c : 16 * p->pieces, p_step = p->pieces;
    for (int c = 0; c < g->c; c += c_step)
        for (int o = 0; o < panels; o += p_step)
            k->conv_wgrad(p->type, g, p->x, p->dy, &shape, z, c, gm_min(g->c, c + c_step), o, gm_min(panels, o + p_step),
                          scratch);
    check_same(p, level, "wgrad", dw, z, bytes);
    free(want);
    free(err);
    release(dw);
    release(z);
}

static void check_packing(const problem *p, gm_cpu_level level) {
    const gm_kernels *k = gm_kernels_at(level);
    for (int transposed = 0; transposed <= (p->wt.data != NULL); transposed++) {
        gm_panels d = transposed ? p->wt : p->w;
        const size_t bytes = panels_size(&d) * gm_dtype_size(d.type);
        d.data = guarded(bytes);
        const int panels = (d.outputs + 15) / 16, half = panels / 2;
        void (*pack)(const gm_panels *, gm_panels *, int, int) = transposed ? k->pack_t : k->pack;
        pack(&p->master, &d, half, panels);
        pack(&p->master, &d, 0, half);
        check_guards(d.data, bytes);
        for (int t = 0; t < d.r * d.s; t++)
            for (int o = 0; o < d.outputs; o++)
                for (int i = 0; i < d.inputs; i++) {
                    const float m = ((const float *)p->master.data)[transposed ? gm_panels_index(&p->master, i, o, t)
                                                                               : gm_panels_index(&p->master, o, i, t)];
                    double want = m;
                    if (d.type == GM_BF16) want = gm_bf16_to_f32(gm_bf16_from_f32(m));
                    const double got = weight(&d, o, i, t);
                    if (d.type == GM_I8 ? fabs(got * d.scale[o] - m) <= 0.501 * d.scale[o] : got == want) continue;
                    describe(p, level, transposed ? "pack_t" : "pack");
                    fail_msg("output %d input %d tap %d: %g, expected %g", o, i, t, got, want);
                }
        // all that no weight fills is zero: every element counted once
        size_t filled = 0, nonzero = 0;
        for (size_t i = 0; i < panels_size(&d); i++) nonzero += get(d.type, d.data, i) != 0;
        for (int t = 0; t < d.r * d.s; t++)
            for (int o = 0; o < d.outputs; o++)
                for (int i = 0; i < d.inputs; i++) filled += weight(&d, o, i, t) != 0;
        assert_int_equal(filled, nonzero);
        release(d.data);
    }
}

static void choose(problem *p, gm_dtype type, int shape) {
    static const int kernels[] = {1, 3, 5, 7, 2};
    gm_conv *g = &p->g;
    do {
        const int stored = shape == 1 || shape == 2 ? 1 : kernels[below(5)];
        const int outputs = 1 + below(shape == 2 ? 600 : 150), inputs = shape == 3 ? 1 + below(4) : 1 + below(150);
        const int flat = shape == 3;
        gm_panels_layout(&p->master, GM_F32, outputs, inputs, stored, stored, flat);
        gm_panels_layout(&p->w, type, outputs, inputs, stored, stored, flat);
        gm_panels_layout(&p->wt, type, inputs, outputs, stored, stored, 0);
        g->n = 1 + below(shape == 2 ? 40 : 5);
        g->h = shape == 2 ? 1 : 1 + below(33);
        g->w = shape == 2 ? 1 : below(3) ? g->h : 1 + below(33);
        g->c = flat || !below(3) ? inputs : 1 + below(inputs);
        g->k = !below(3) ? outputs : 1 + below(outputs);
        g->r = flat ? stored : stored - 2 * below((stored + 1) / 2);
        g->s = g->r;
        g->stride = 1 + (shape != 2 && below(3) == 0);
        g->pad = shape == 2 ? 0 : below(4) ? g->r / 2 : below(g->r);
        g->ho = g->h + 2 * g->pad >= g->r ? (g->h + 2 * g->pad - g->r) / g->stride + 1 : 0;
        g->wo = g->w + 2 * g->pad >= g->s ? (g->w + 2 * g->pad - g->s) / g->stride + 1 : 0;
    } while (g->ho < 1 || g->wo < 1 ||
             (double)g->n * g->ho * g->wo * g->k * g->r * g->s * g->c > (below(8) ? 4e5 : 3e6));
    g->ldx = gm_channel_stride(type, g->c + (below(2) ? below(100) : 0));
    p->cut = below(g->n + 1);
    p->pieces = 1 + below(3);
    p->row_cut = below(g->ho + 1);
}

static void fill(problem *p) {
    const gm_kernels *ref = gm_kernels_at(GM_CPU_REF);
    gm_conv *g = &p->g;
    p->master.data = guarded(panels_size(&p->master) * sizeof(float));
    memset(p->master.data, 0, panels_size(&p->master) * sizeof(float));
    for (int t = 0; t < p->master.r * p->master.s; t++)
        for (int o = 0; o < p->master.outputs; o++)
            for (int i = 0; i < p->master.inputs; i++)
                ((float *)p->master.data)[gm_panels_index(&p->master, o, i, t)] = uniform();
    const int panels = (p->w.outputs + 15) / 16;
    p->w_scale = guarded((size_t)panels * 64);
    p->w.scale = p->type == GM_I8 ? p->w_scale : NULL;
    p->w.data = guarded(panels_size(&p->w) * gm_dtype_size(p->type));
    ref->pack(&p->master, &p->w, 0, panels);
    if (!p->w.flat && p->type != GM_I8) {
        p->wt.data = guarded(panels_size(&p->wt) * gm_dtype_size(p->type));
        ref->pack_t(&p->master, &p->wt, 0, (p->wt.outputs + 15) / 16);
    }
    const gm_dtype outs[] = {p->type, p->type, GM_F32, p->type == GM_I8 ? GM_BF16 : p->type};
    p->out = outs[below(4)];
    g->ldy = gm_max(gm_channel_stride(p->type, g->k), gm_channel_stride(p->out, g->k));
    if (below(2)) g->ldy += 64 * below(3);
    p->x = random_rows(p->type, x_rows(g), g->c, g->ldx);
    p->scale = random_floats((size_t)g->k);
    p->shift = random_floats((size_t)g->k);
    p->e = (gm_epilogue){.out = p->out, .out_scale = 0.05f};
    if (below(2) || p->type == GM_I8) p->e.scale = p->scale;
    if (p->type == GM_I8)
        for (int k = 0; k < g->k; k++) p->scale[k] = (1.0f + uniform() / 2) * p->w_scale[k] / 40;
    if (below(2)) p->e.shift = p->shift;
    p->e.accumulate = below(4) == 0;
    if (!p->e.accumulate) p->e.act = (gm_act)below(8);
    p->e.ldr = g->ldy + 64 * below(2);
    p->residual = random_rows(p->out, y_rows(g), g->k, p->e.ldr);
    if (!p->e.accumulate && below(3) == 0) p->e.residual = p->residual;
    if (p->e.accumulate) p->y0 = random_rows(p->out, y_rows(g), g->k, g->ldy);
    p->want_y = calloc(y_rows(g) * (size_t)g->k, sizeof(double));
    p->err_y = calloc(y_rows(g) * (size_t)g->k, sizeof(double));
    if (p->type == GM_I8) return;
    p->dy = random_rows(p->type, y_rows(g), g->k, g->ldy);
    p->accumulate_dx = below(2);
    p->dx0 = random_rows(p->type, x_rows(g), g->c, g->ldx);
    p->dw0 = random_floats(panels_size(&p->master));
    p->want_dx = calloc(x_rows(g) * (size_t)g->c, sizeof(double));
    p->err_dx = calloc(x_rows(g) * (size_t)g->c, sizeof(double));
    p->want_dw = calloc((size_t)(g->r * g->s * g->c * g->k), sizeof(double));
    p->err_dw = calloc((size_t)(g->r * g->s * g->c * g->k), sizeof(double));
}

static void fini(problem *p) {
    void *const guards[] = {p->x, p->dy, p->residual, p->y0, p->dx0, p->scale, p->shift, p->dw0, p->w_scale,
                            p->master.data, p->w.data, p->wt.data};
    for (size_t i = 0; i < sizeof guards / sizeof *guards; i++) release(guards[i]);
    double *const plain[] = {p->want_y, p->err_y, p->want_dx, p->err_dx, p->want_dw, p->err_dw};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) free(plain[i]);
}

static void check_problem(problem *p) {
    expect_y(p);
    if (p->type != GM_I8) expect_gradients(p);
    const size_t bytes = gm_conv_scratch(&p->g, p->type);
    void *scratch = guarded(bytes);
    for (gm_cpu_level level = GM_CPU_REF; level <= gm_cpu_detected(); level++) {
        check_packing(p, level);
        run_forward(p, level, scratch);
        check_guards(scratch, bytes);
        run_rows(p, level);
        run_output_parts(p, level, scratch);
        check_guards(scratch, bytes);
        if (p->wt.data) run_dgrad(p, level, scratch);
        check_guards(scratch, bytes);
        if (p->type != GM_I8) run_wgrad(p, level, scratch);
        check_guards(scratch, bytes);
    }
    release(scratch);
}

#ifdef GAMUT_SANITIZED
enum { CASES = 8, TYPES = 1 };
#else
enum { CASES = 40, TYPES = 3 }; // TYPES: of each large shape
#endif

static int cases(void) {
    const char *text = getenv("GAMUT_TEST_CASES");
    return text ? atoi(text) : CASES;
}

static void random_geometries(gm_dtype type) {
    for (int shape = 0; shape < 4; shape++) // general, 1x1, linear, flat first layer
        for (int i = 0; i < cases() * (shape == 0 ? 2 : 1); i++) {
            rng = gm_rng_keyed(seed, (uint64_t)type * 4 + (uint64_t)shape, (uint64_t)i, GM_RNG_TEST);
            problem p = {.type = type};
            choose(&p, type, shape);
            fill(&p);
            check_problem(&p);
            fini(&p);
        }
}

static void test_f32(void **state) { (void)state, random_geometries(GM_F32); }
static void test_bf16(void **state) { (void)state, random_geometries(GM_BF16); }
static void test_int8(void **state) { (void)state, random_geometries(GM_I8); }

// Sizes at which blocked kernels take other paths than on small ones: long sums, many panels, large planes.
static void test_large(void **state) {
    (void)state;
    static const gm_conv shapes[] = {
        {.n = 130, .h = 1, .w = 1, .c = 1100, .ho = 1, .wo = 1, .k = 272, .r = 1, .s = 1, .stride = 1},
        {.n = 1, .h = 31, .w = 29, .c = 520, .ho = 31, .wo = 29, .k = 40, .r = 1, .s = 1, .stride = 1},
        {.n = 2, .h = 14, .w = 14, .c = 160, .ho = 14, .wo = 14, .k = 96, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.n = 2, .h = 13, .w = 10, .c = 136, .ho = 13, .wo = 10, .k = 144, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.n = 1, .h = 7, .w = 7, .c = 300, .ho = 7, .wo = 7, .k = 176, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.n = 3, .h = 7, .w = 7, .c = 512, .ho = 4, .wo = 4, .k = 64, .r = 3, .s = 3, .stride = 2, .pad = 1},
        {.n = 1, .h = 112, .w = 112, .c = 3, .ho = 56, .wo = 56, .k = 32, .r = 7, .s = 7, .stride = 2, .pad = 3},
        {.n = 2, .h = 18, .w = 17, .c = 20, .ho = 3, .wo = 2, .k = 40, .r = 16, .s = 16, .stride = 1}, // GM_TAPS_MAX
        {.n = 2, .h = 48, .w = 48, .c = 4, .ho = 2, .wo = 2, .k = 40, .r = 32, .s = 32, .stride = 16}, // GM_TAPS_MAX_FLAT
        {.n = 2, .h = 56, .w = 56, .c = 32, .ho = 56, .wo = 56, .k = 48, .r = 3, .s = 3, .stride = 1, .pad = 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t turn = 0; turn < TYPES; turn++) {
            const gm_dtype type = (gm_dtype)((i + turn) % 3);
            rng = gm_rng_keyed(seed, 100 + (uint64_t)type, i, GM_RNG_TEST);
            problem p = {.type = type, .g = shapes[i], .cut = shapes[i].n / 2, .row_cut = shapes[i].ho / 2, .pieces = 2};
            const gm_conv *g = &p.g;
            const int flat = g->c <= 4;
            gm_panels_layout(&p.master, GM_F32, g->k, g->c, g->r, g->s, flat);
            gm_panels_layout(&p.w, type, g->k, g->c, g->r, g->s, flat);
            gm_panels_layout(&p.wt, type, g->c, g->k, g->r, g->s, 0);
            p.g.ldx = gm_channel_stride(type, g->c);
            fill(&p);
            check_problem(&p);
            fini(&p);
        }
}

int main(void) {
    const char *text = getenv("GAMUT_TEST_SEED");
    seed = text ? strtoull(text, NULL, 10) : (uint64_t)(gm_now() * 1e6);
    print_message("seed %llu, levels up to %s\n", (unsigned long long)seed, gm_cpu_level_name(gm_cpu_detected()));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
