// SPDX-License-Identifier: Apache-2.0
// kernel: the layout of packed weights, and packing of the f32 masters into other types and transposed.
#include "kernel_private.h"
#include <math.h>

// Inputs of one stored tap, padded to what a kernel of this type reads at once.
static int padded_rows(gm_dtype type, int rows) {
    return type == GM_BF16 ? gm_round_up(rows, 32) : type == GM_I8 ? gm_round_up(rows, 64) : rows;
}

size_t gm_panels_layout(gm_panels *p, gm_dtype type, int outputs, int inputs, int r, int s, int flat) {
    const int rows = flat ? r * s * inputs : inputs;
    p->type = type;
    p->outputs = outputs;
    p->inputs = inputs;
    p->r = r;
    p->s = s;
    p->flat = flat;
    p->tap_stride = (size_t)padded_rows(type, rows) * GM__PANEL;
    p->panel_stride = p->tap_stride * (size_t)(flat ? 1 : r * s);
    if (type != GM_I8) p->scale = NULL;
    return (size_t)gm__panels_of(outputs) * p->panel_stride;
}

size_t gm_panels_index(const gm_panels *p, int o, int i, int tap) {
    // flat or not, f32 taps follow each other without padding
    const size_t row = (size_t)tap * (size_t)p->inputs + (size_t)i;
    return (size_t)(o / GM__PANEL) * p->panel_stride + row * GM__PANEL + (size_t)(o % GM__PANEL);
}

// One tap of one panel: rows of 16 f32 -> the layout of dst. inverse: 1/scale a lane (int8 only).
static void pack_tap(gm_dtype type, const float *rows, int count, void *dst, size_t at,
                     const float *inverse) {
    const int padded = padded_rows(type, count);
    if (type == GM_F32) {
        float *out = (float *)dst + at;
        for (int i = 0; i < count * GM__PANEL; i++) out[i] = rows[i];
    } else if (type == GM_BF16) {
        gm_bf16 *out = (gm_bf16 *)dst + at;
        for (int i = 0; i < padded; i++)
            for (int lane = 0; lane < GM__PANEL; lane++)
                out[(i / 2) * 32 + lane * 2 + (i & 1)] =
                    i < count ? gm_bf16_from_f32(rows[i * GM__PANEL + lane]) : 0;
    } else {
        int8_t *out = (int8_t *)dst + at;
        for (int i = 0; i < padded; i++)
            for (int lane = 0; lane < GM__PANEL; lane++)
                out[(i / 4) * 64 + lane * 4 + (i & 3)] =
                    i < count ? (int8_t)lrintf(rows[i * GM__PANEL + lane] * inverse[lane]) : 0;
    }
}

void gm__pack_ref(const gm_panels *master, gm_panels *dst, int p0, int p1) {
    const int taps = master->flat ? 1 : master->r * master->s;
    const int rows = (int)(master->tap_stride / GM__PANEL);
    for (int p = p0; p < p1; p++) {
        const float *from = (const float *)master->data + (size_t)p * master->panel_stride;
        float inverse[GM__PANEL] = {0};
        if (dst->type == GM_I8) {
            float *scale = (float *)(uintptr_t)dst->scale + p * GM__PANEL;
            for (int lane = 0; lane < GM__PANEL; lane++) {
                float largest = 0.0f;
                for (size_t i = (size_t)lane; i < master->panel_stride; i += GM__PANEL)
                    largest = fmaxf(largest, fabsf(from[i]));
                scale[lane] = largest / 127.0f;
                inverse[lane] = largest > 0.0f ? 127.0f / largest : 0.0f;
            }
        }
        for (int t = 0; t < taps; t++)
            pack_tap(dst->type, from + (size_t)t * master->tap_stride, rows, dst->data,
                     (size_t)p * dst->panel_stride + (size_t)t * dst->tap_stride, inverse);
    }
}

void gm__pack_t_ref(const gm_panels *master, gm_panels *dst, int p0, int p1) {
    const int taps = master->r * master->s;
    const float *from = master->data;
    for (int p = p0; p < p1; p++) {
        const int lanes = gm_min(GM__PANEL, master->inputs - p * GM__PANEL);
        for (int t = 0; t < taps; t++) {
            const size_t to = (size_t)p * dst->panel_stride + (size_t)t * dst->tap_stride;
            // block of 16 outputs of the master: 16 rows of dst
            for (int o0 = 0; o0 < padded_rows(dst->type, master->outputs); o0 += GM__PANEL) {
                float rows[GM__PANEL * GM__PANEL] = {0};
                const int outputs = gm_max(0, gm_min(GM__PANEL, master->outputs - o0));
                for (int lane = 0; lane < lanes && outputs > 0; lane++) {
                    const float *w = from + gm_panels_index(master, o0, p * GM__PANEL + lane, t);
                    for (int o = 0; o < outputs; o++) rows[o * GM__PANEL + lane] = w[o];
                }
                if (dst->type == GM_F32)
                    pack_tap(GM_F32, rows, outputs, dst->data, to + (size_t)o0 * GM__PANEL, NULL);
                else
                    for (int i = 0; i < GM__PANEL * GM__PANEL; i++)
                        ((gm_bf16 *)dst->data)[to + (size_t)(o0 + i / 32 * 2) * GM__PANEL +
                                               (size_t)(i % 32)] =
                            gm_bf16_from_f32(rows[(i / 32 * 2 + (i & 1)) * GM__PANEL + i % 32 / 2]);
            }
        }
    }
}
