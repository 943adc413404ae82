// SPDX-License-Identifier: Apache-2.0
// kernel: the layout of packed weights, and packing of the f32 masters into other types and transposed.
#include "kernel_private.h"
#include <math.h>
#include <string.h>

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

// Two rows of 16 inputs as 16 pairs, rounded like gm_bf16_from_f32. Whole words, so that compilers vectorise it.
static uint32_t rounded(float v) {
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return v == v ? u + 0x7fffu + ((u >> 16) & 1u) : u | 0x400000u;
}
static void pair_rows(const float *even, const float *odd, gm_bf16 *out) {
    uint32_t pair[GM__PANEL]; // little-endian: the even input comes first
    for (int lane = 0; lane < GM__PANEL; lane++)
        pair[lane] = rounded(even[lane]) >> 16 | (rounded(odd[lane]) & 0xffff0000u);
    memcpy(out, pair, sizeof pair);
}

// One tap of one panel: rows of 16 f32 -> the layout of dst. inverse: 1/scale a lane (int8 only).
static void pack_tap(gm_dtype type, const float *rows, int count, void *dst, size_t at,
                     const float *inverse) {
    static const float zero[GM__PANEL];
    const int padded = padded_rows(type, count);
    if (type == GM_F32) {
        memcpy((float *)dst + at, rows, (size_t)(count * GM__PANEL) * sizeof *rows);
    } else if (type == GM_BF16) {
        gm_bf16 *out = (gm_bf16 *)dst + at;
        for (int i = 0; i < padded; i += 2, out += 2 * GM__PANEL)
            pair_rows(i < count ? rows + i * GM__PANEL : zero, i + 1 < count ? rows + (i + 1) * GM__PANEL : zero, out);
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

typedef float four __attribute__((vector_size(16), aligned(4)));

// 16 x 16, in blocks of 4 x 4; ld: elements from row to row
static void transpose(const float *from, size_t ld_from, float *to, size_t ld_to) {
    for (size_t i = 0; i < GM__PANEL; i += 4)
        for (size_t j = 0; j < GM__PANEL; j += 4) {
            const float *p = from + i * ld_from + j;
            float *q = to + j * ld_to + i;
            const four a = *(const four *)(const void *)p, b = *(const four *)(const void *)(p + ld_from);
            const four c = *(const four *)(const void *)(p + 2 * ld_from), d = *(const four *)(const void *)(p + 3 * ld_from);
            const four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
            const four ef = __builtin_shufflevector(a, b, 2, 6, 3, 7), gh = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            *(four *)(void *)q = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
            *(four *)(void *)(q + ld_to) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
            *(four *)(void *)(q + 2 * ld_to) = __builtin_shufflevector(ef, gh, 0, 1, 4, 5);
            *(four *)(void *)(q + 3 * ld_to) = __builtin_shufflevector(ef, gh, 2, 3, 6, 7);
        }
}

void gm__pack_t_ref(const gm_panels *master, gm_panels *dst, int p0, int p1) {
    const int taps = master->r * master->s;
    for (int p = p0; p < p1; p++) {
        const int lanes = gm_min(GM__PANEL, master->inputs - p * GM__PANEL);
        for (int t = 0; t < taps; t++) {
            const size_t to = (size_t)p * dst->panel_stride + (size_t)t * dst->tap_stride;
            // a panel of the master: 16 rows of dst
            for (int o = 0; o < padded_rows(dst->type, master->outputs); o += GM__PANEL) {
                float block[GM__PANEL * GM__PANEL] = {0}, rows[GM__PANEL * GM__PANEL] = {0};
                if (o < master->outputs) {
                    memcpy(block, (const float *)master->data + gm_panels_index(master, o, p * GM__PANEL, t),
                           (size_t)(lanes * GM__PANEL) * sizeof *block);
                    transpose(block, GM__PANEL, rows, GM__PANEL);
                }
                if (dst->type == GM_F32)
                    pack_tap(GM_F32, rows, gm_min(GM__PANEL, master->outputs - o), dst->data,
                             to + (size_t)(o * GM__PANEL), NULL);
                else
                    for (int i = 0; i < GM__PANEL; i += 2)
                        pair_rows(rows + i * GM__PANEL, rows + (i + 1) * GM__PANEL,
                                  (gm_bf16 *)dst->data + to + (size_t)((o + i) * GM__PANEL));
            }
        }
    }
}

// Between plain rows and panels, 16 x 16 at a time: outputs of one panel by elements (inputs, each with its taps) of a row. An
// element alone would touch a cache line for every 4 bytes on one of the two sides.
typedef struct block {
    int lanes, elements;      // 16, less at the edges
    size_t row, length;       // where it starts in the rows, and the elements of a row
    size_t line[GM__PANEL];   // where each element's 16 lanes are in the panels
} block;

static block block_at(const gm_panels *p, int output, size_t first) {
    const size_t taps = (size_t)(p->r * p->s), length = (size_t)p->inputs * taps, left = length - first;
    block b = {.lanes = gm_min(GM__PANEL, p->outputs - output), .elements = left < GM__PANEL ? (int)left : GM__PANEL,
               .row = (size_t)output * length + first, .length = length};
    size_t tap = first % taps, input = first / taps;
    for (int e = 0; e < b.elements; e++) {
        b.line[e] = gm_panels_index(p, output, (int)input, (int)tap);
        if (++tap == taps) tap = 0, input++;
    }
    return b;
}

static void block_from_rows(const block *b, const float *rows, float *panels) {
    float lines[GM__PANEL][GM__PANEL] = {{0}};
    const float *from = rows + b->row;
    if (b->lanes == GM__PANEL && b->elements == GM__PANEL) {
        transpose(from, b->length, lines[0], GM__PANEL);
    } else {
        for (int lane = 0; lane < b->lanes; lane++)
            for (int e = 0; e < b->elements; e++) lines[e][lane] = from[(size_t)lane * b->length + (size_t)e];
    }
    for (int e = 0; e < b->elements; e++) memcpy(panels + b->line[e], lines[e], sizeof lines[e]);
}

static void block_to_rows(const block *b, const float *panels, float *rows) {
    float lines[GM__PANEL][GM__PANEL];
    float *to = rows + b->row;
    for (int e = 0; e < b->elements; e++) memcpy(lines[e], panels + b->line[e], sizeof lines[e]);
    if (b->lanes == GM__PANEL && b->elements == GM__PANEL) {
        transpose(lines[0], GM__PANEL, to, b->length);
    } else {
        for (int lane = 0; lane < b->lanes; lane++)
            for (int e = 0; e < b->elements; e++) to[(size_t)lane * b->length + (size_t)e] = lines[e][lane];
    }
}

void gm_panels_from_rows(const gm_panels *p, const float *rows, float *panels) {
    const size_t length = (size_t)p->inputs * (size_t)(p->r * p->s);
    for (int o = 0; o < p->outputs; o += GM__PANEL)
        for (size_t e = 0; e < length; e += GM__PANEL) {
            const block b = block_at(p, o, e);
            block_from_rows(&b, rows, panels);
        }
}

void gm_panels_to_rows(const gm_panels *p, const float *panels, float *rows) {
    const size_t length = (size_t)p->inputs * (size_t)(p->r * p->s);
    for (int o = 0; o < p->outputs; o += GM__PANEL)
        for (size_t e = 0; e < length; e += GM__PANEL) {
            const block b = block_at(p, o, e);
            block_to_rows(&b, panels, rows);
        }
}
