// SPDX-License-Identifier: Apache-2.0
// kernel: dense convolution and its gradients in portable C. Simple and right: what the others are tested against.
// One output element at a time in the order taps, inputs (forward), taps, outputs (dgrad), positions (wgrad).
#include "kernel/kernel_private.h"
#include "kernel/ref/block.h"

typedef union sums {
    float f[GM__PANEL];
    int32_t i[GM__PANEL];
} sums;

// acc[lane] += sum over count inputs of x[i] * w[row0 + i][lane]; w is one stored tap of one panel
static void add_products(gm_dtype type, const void *x, int count, const void *w, int row0, sums *acc) {
    if (type == GM_F32) {
        const float *v = x, *q = (const float *)w + row0 * GM__PANEL;
        for (int i = 0; i < count; i++)
            for (int lane = 0; lane < GM__PANEL; lane++) acc->f[lane] += v[i] * q[i * GM__PANEL + lane];
    } else if (type == GM_BF16) {
        const gm_bf16 *v = x, *q = w;
        for (int i = 0; i < count; i++) {
            const gm_bf16 *row = q + (row0 + i) / 2 * 32 + ((row0 + i) & 1);
            const float value = gm_bf16_to_f32(v[i]);
            for (int lane = 0; lane < GM__PANEL; lane++) acc->f[lane] += value * gm_bf16_to_f32(row[lane * 2]);
        }
    } else {
        const int8_t *v = x, *q = w;
        for (int i = 0; i < count; i++) {
            const int8_t *row = q + (row0 + i) / 4 * 64 + ((row0 + i) & 3);
            for (int lane = 0; lane < GM__PANEL; lane++) acc->i[lane] += v[i] * row[lane * 4];
        }
    }
}

static float load(gm_dtype type, const void *p, size_t i) {
    return type == GM_F32    ? ((const float *)p)[i]
           : type == GM_BF16 ? gm_bf16_to_f32(((const gm_bf16 *)p)[i])
                             : (float)((const int8_t *)p)[i];
}

static void store(gm_dtype type, void *p, size_t i, float v) {
    if (type == GM_F32) ((float *)p)[i] = v;
    else if (type == GM_BF16) ((gm_bf16 *)p)[i] = gm_bf16_from_f32(v);
    else {
        const float r = rintf(v); // NaN becomes 0
        ((int8_t *)p)[i] = (int8_t)(r > 127.0f ? 127.0f : r < -127.0f ? -127.0f : r == r ? r : 0.0f);
    }
}

static void finish(const gm_epilogue *e, float v, int k, void *y, size_t at, size_t residual_at) {
    if (e->scale) v *= e->scale[k];
    if (e->shift) v += e->shift[k];
    const float unit = e->out == GM_I8 ? e->out_scale : 1.0f;
    if (e->residual) v += load(e->out, e->residual, residual_at) * unit;
    v = gm__act_value(e->act, v);
    if (e->accumulate) v += load(e->out, y, at) * unit;
    store(e->out, y, at, v / unit);
}

void gm__conv_ref(gm_dtype type, const gm_conv *g, const void *x, const gm_panels *w,
                  const gm_epilogue *e, void *y, void *scratch) {
    (void)scratch;
    const size_t size = gm_dtype_size(type);
    const int positions = g->n * g->ho * g->wo;
    for (int q = 0; q < positions; q++) {
        const int image = q / (g->ho * g->wo), oy = q / g->wo % g->ho, ox = q % g->wo;
        const size_t row = (size_t)q * (size_t)g->ldy;
        for (int k0 = 0; k0 < g->k; k0 += GM__PANEL) {
            const char *panel = (const char *)w->data + (size_t)(k0 / GM__PANEL) * w->panel_stride * size;
            sums acc = {{0}};
            for (int t = 0; t < g->r * g->s; t++) {
                const int iy = (oy + g->y0) * g->stride - g->pad + t / g->s, ix = ox * g->stride - g->pad + t % g->s;
                if (iy < 0 || iy >= g->h || ix < 0 || ix >= g->w) continue;
                const size_t at = ((size_t)(image * g->h + iy) * (size_t)g->w + (size_t)ix) * (size_t)g->ldx;
                const size_t tap = w->flat ? 0 : gm__tap_offset(w, g, t / g->s, t % g->s);
                add_products(type, (const char *)x + at * size, g->c, panel + tap * size,
                             w->flat ? t * w->inputs : 0, &acc);
            }
            for (int lane = 0; lane < GM__PANEL && k0 + lane < g->k; lane++)
                finish(e, type == GM_I8 ? (float)acc.i[lane] : acc.f[lane], k0 + lane, y,
                       row + (size_t)(k0 + lane), (size_t)q * (size_t)e->ldr + (size_t)(k0 + lane));
        }
        const size_t end = (size_t)(e->row ? e->row : g->ldy), out = gm_dtype_size(e->out);
        memset((char *)y + (row + (size_t)g->k) * out, 0, (end - (size_t)g->k) * out);
    }
}

void gm__conv_dgrad_ref(gm_dtype type, const gm_conv *g, const void *dy, const gm_panels *wt,
                        bool accumulate, void *dx, void *scratch) {
    (void)scratch;
    const size_t size = gm_dtype_size(type);
    const gm_epilogue e = {.accumulate = accumulate, .out = type};
    for (int q = 0; q < g->n * g->h * g->w; q++) {
        const int image = q / (g->h * g->w), iy = q / g->w % g->h, ix = q % g->w;
        const size_t row = (size_t)q * (size_t)g->ldx;
        for (int c0 = 0; c0 < g->c; c0 += GM__PANEL) {
            const char *panel = (const char *)wt->data + (size_t)(c0 / GM__PANEL) * wt->panel_stride * size;
            sums acc = {{0}};
            for (int t = 0; t < g->r * g->s; t++) {
                const int vy = iy + g->pad - t / g->s, vx = ix + g->pad - t % g->s; // stride * output
                if (vy < 0 || vx < 0 || vy % g->stride || vx % g->stride) continue;
                const int oy = vy / g->stride, ox = vx / g->stride;
                if (oy >= g->ho || ox >= g->wo) continue;
                const size_t at = ((size_t)(image * g->ho + oy) * (size_t)g->wo + (size_t)ox) * (size_t)g->ldy;
                add_products(type, (const char *)dy + at * size, g->k,
                             panel + gm__tap_offset(wt, g, t / g->s, t % g->s) * size, 0, &acc);
            }
            for (int lane = 0; lane < GM__PANEL && c0 + lane < g->c; lane++)
                finish(&e, acc.f[lane], 0, dx, row + (size_t)(c0 + lane), 0);
        }
        gm__zero_tail(type, dx, q, g->ldx, g->c);
    }
}

// dw[c][lane] += sum over positions, for up to 16 inputs from c on, one tap, one panel
static void wgrad_block(gm_dtype type, const gm_conv *g, const void *x, const void *dy, int tap, int c,
                        int inputs, int k, float *dw) {
    float acc[GM__PANEL][GM__PANEL] = {{0}};
    const int lanes = gm_min(GM__PANEL, g->k - k);
    for (int q = 0; q < g->n * g->ho * g->wo; q++) {
        const int image = q / (g->ho * g->wo), oy = q / g->wo % g->ho, ox = q % g->wo;
        const int iy = oy * g->stride - g->pad + tap / g->s, ix = ox * g->stride - g->pad + tap % g->s;
        if (iy < 0 || iy >= g->h || ix < 0 || ix >= g->w) continue;
        const size_t at = ((size_t)(image * g->h + iy) * (size_t)g->w + (size_t)ix) * (size_t)g->ldx;
        float d[GM__PANEL];
        for (int lane = 0; lane < GM__PANEL; lane++)
            d[lane] = load(type, dy, (size_t)q * (size_t)g->ldy + (size_t)(k + lane));
        for (int i = 0; i < inputs; i++) {
            const float v = load(type, x, at + (size_t)(c + i));
            for (int lane = 0; lane < GM__PANEL; lane++) acc[i][lane] += v * d[lane];
        }
    }
    for (int i = 0; i < inputs; i++)
        for (int lane = 0; lane < lanes; lane++) dw[i * GM__PANEL + lane] += acc[i][lane];
}

void gm__conv_wgrad_ref(gm_dtype type, const gm_conv *g, const void *x, const void *dy,
                        const gm_panels *w, float *dw, int c0, int c1, int p0, int p1, void *scratch) {
    (void)scratch;
    for (int p = p0; p < p1; p++)
        for (int t = 0; t < g->r * g->s; t++) {
            const size_t tap = w->flat ? (size_t)(t * w->inputs * GM__PANEL)
                                       : gm__tap_offset(w, g, t / g->s, t % g->s);
            for (int c = c0; c < c1; c += GM__PANEL)
                wgrad_block(type, g, x, dy, t, c, gm_min(GM__PANEL, c1 - c), p * GM__PANEL,
                            dw + (size_t)p * w->panel_stride + tap + (size_t)(c * GM__PANEL));
        }
}
