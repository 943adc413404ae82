// SPDX-License-Identifier: Apache-2.0
// Gradient of dense weights, shared by AMX and AVX-512: dw[tap][input][output] += sum over positions of
// x[position + tap][input] * dy[position][output]. x is transposed once per block, with its halo along the
// positions, so that a tap is an offset of two bytes a position; dy is packed in pairs of positions.
// The including file defines wgrad_block before: c[m][n] tiles += over groups of 32 positions.
#ifndef GAMUT_DENSE_WGRAD_AVX512_H
#define GAMUT_DENSE_WGRAD_AVX512_H

#include "dense_fill_avx512.h"

// 32 positions x 8 channels: 8 rows of 32. Lane l of row i holds position 8l+i, so three rounds of unpacking inside
// lanes leave every channel's 32 positions in order.
static inline void transpose_8(const char *src, size_t stride, char *dst, size_t row) {
    __m512i z[8], t[8], u[8];
    for (int i = 0; i < 8; i++) {
        const char *s = src + (size_t)i * stride;
        __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)s));
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(s + 8 * stride)), 1);
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(s + 16 * stride)), 2);
        z[i] = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(s + 24 * stride)), 3);
    }
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm512_unpacklo_epi16(z[2 * i], z[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi16(z[2 * i], z[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            u[4 * i + 2 * j] = _mm512_unpacklo_epi32(t[4 * i + j], t[4 * i + 2 + j]);
            u[4 * i + 2 * j + 1] = _mm512_unpackhi_epi32(t[4 * i + j], t[4 * i + 2 + j]);
        }
    for (int i = 0; i < 4; i++) {
        _mm512_storeu_si512(dst + (size_t)(2 * i) * row, _mm512_unpacklo_epi64(u[i], u[i + 4]));
        _mm512_storeu_si512(dst + (size_t)(2 * i + 1) * row, _mm512_unpackhi_epi64(u[i], u[i + 4]));
    }
}

// Positions (a multiple of 32) x channels [8*e0, 8*e1).
static void transpose_positions(const char *src, size_t stride, int positions, int e0, int e1, char *dst,
                                size_t row) {
    for (int q = 0; q < positions; q += 32)
        for (int e = e0; e < e1; e++)
            transpose_8(src + (size_t)q * stride + (size_t)e * 16, stride,
                        dst + (size_t)(e * 8) * row + (size_t)q * 2, row);
}

// Groups of dy: rows of the group's positions, zero between them; panels [p0,p1).
static void pack_pairs(const gm__wgrad *p, const char *dy, size_t ldy, int p0, int p1) {
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    size_t panel_bytes = (size_t)p->groups_max * 1024;
    for (int t = 0; t < p->work.tiles; t++) {
        const gm__tiles *tile = &p->work.tile[t];
        const char *row[32];
        __mmask32 live[32] = {0};
        for (int i = 0; i < 32; i++) row[i] = dy;
        for (int i = 0; i < tile->runs; i++)
            for (int r = 0; r < tile->run[i].count; r++) {
                row[tile->run[i].src + r] = dy + (size_t)(tile->run[i].dst + r) * ldy;
                live[tile->run[i].src + r] = 0xffffffffu;
            }
        for (int n = p0; n < p1; n += 2) {
            size_t from = (size_t)n * 32;
            __mmask32 width = n + 1 < p1 ? 0xffffffffu : 0xffffu;
            char *out = p->dy + (size_t)(n - p0) * panel_bytes + (size_t)t * 1024;
            char *next = n + 1 < p1 ? out + panel_bytes : out;
            for (int i = 0; i < 16; i++) {
                __m512i a = _mm512_maskz_loadu_epi16(live[2 * i] & width, row[2 * i] + from);
                __m512i b = _mm512_maskz_loadu_epi16(live[2 * i + 1] & width, row[2 * i + 1] + from);
                a = _mm512_permutexvar_epi64(order, a);
                b = _mm512_permutexvar_epi64(order, b);
                _mm512_store_si512(next + i * 64, _mm512_unpackhi_epi16(a, b));
                _mm512_store_si512(out + i * 64, _mm512_unpacklo_epi16(a, b));
            }
        }
    }
}

// c tiles at dw when whole, else through a bounce buffer of the rows that exist.
static void wgrad_taps(const gm__wgrad *p, const gm_panels *w, float *dw, int c0, int c1, int p0, int p1,
                       size_t first) {
    const gm__grid *g = &p->grid;
    size_t panel_bytes = (size_t)p->groups_max * 1024;
    for (int n = p0; n < p1; n += 2) {
        int nb = gm_min(2, p1 - n);
        const char *b = p->dy + (size_t)(n - p0) * panel_bytes;
        for (int ch = c0; ch < c1; ch += 32) {
            int live = gm_min(32, c1 - ch), mb = live > 16 ? 2 : 1;
            const char *a = p->xt + (size_t)ch * p->row + first * 2;
            for (int t = 0; t < g->taps; t++) {
                const gm__tap *tap = &g->tap[t];
                ptrdiff_t shift = g->direct || g->flat ? 0 : tap->phase * g->positions + tap->qy * g->pitch + tap->qx;
                float *c = dw + (size_t)n * w->panel_stride + (size_t)tap->weight * w->tap_stride + (size_t)ch * 16;
                float *slot = p->work.slot;
                if (live % 16 == 0) {
                    wgrad_block(p, a + shift * 2, b, b + panel_bytes, c, c + w->panel_stride, mb, nb);
                    continue;
                }
                size_t bytes = (size_t)live * 64;
                for (int i = 0; i < nb; i++) {
                    memset(slot + i * 512, 0, 2048);
                    memcpy(slot + i * 512, c + (size_t)i * w->panel_stride, bytes);
                }
                wgrad_block(p, a + shift * 2, b, b + panel_bytes, slot, slot + 512, mb, nb);
                for (int i = 0; i < nb; i++) memcpy(c + (size_t)i * w->panel_stride, slot + i * 512, bytes);
            }
        }
    }
}

static void wgrad_direct(gm__wgrad *p, const char *x, const char *dy, size_t ldy, const gm_panels *w, float *dw,
                         int c0, int c1, int p0, int p1) {
    const gm__grid *g = &p->grid;
    int total = g->n * g->gh * g->gw;
    for (int q = 0; q < total; q += g->block_rows) {
        int count = gm_min(g->block_rows, total - q), whole = count / 32 * 32;
        gm__work_groups(&p->work, q, count);
        transpose_positions(x + (size_t)q * g->row, g->row, whole, c0 / 8, (c1 + 7) / 8, p->xt, p->row);
        if (whole < count) {
            memset(p->rest, 0, 32 * g->row);
            memcpy(p->rest, x + (size_t)(q + whole) * g->row,
                   (size_t)(count - whole - 1) * g->row + (size_t)g->chunks * GM__CHUNK);
            transpose_positions(p->rest, g->row, 32, c0 / 8, (c1 + 7) / 8, p->xt + (size_t)whole * 2, p->row);
        }
        pack_pairs(p, dy, ldy, p0, p1);
        wgrad_taps(p, w, dw, c0, c1, p0, p1, 0);
    }
}

static void wgrad_flat(gm__wgrad *p, const char *x, const char *dy, size_t ldy, const gm_panels *w, float *dw,
                       int p0, int p1, int pad) {
    const gm__grid *g = &p->grid;
    for (int i = 0; i < g->n; i++)
        for (int y = 0; y < g->gh; y += g->block_rows) {
            int y1 = gm_min(g->gh, y + g->block_rows), count = (y1 - y) * g->gw;
            int padded = gm_round_up(count, 32);
            fill_flat(g, x, &p->work, i, y, y1, pad);
            memset(p->work.strip + (size_t)count * g->stride, 0, (size_t)(padded - count) * g->stride);
            gm__work_groups(&p->work, (i * g->gh + y) * g->gw, count);
            transpose_positions(p->work.strip, g->stride, padded, 0, (p->rows + 7) / 8, p->xt, p->row);
            pack_pairs(p, dy, ldy, p0, p1);
            wgrad_taps(p, w, dw, 0, p->rows, p0, p1, 0);
        }
}

static void wgrad_strip(gm__wgrad *p, const char *x, const char *dy, size_t ldy, const gm_panels *w, float *dw,
                        int c0, int c1, int p0, int p1) {
    const gm__grid *g = &p->grid;
    int images = gm_max(1, g->block_images), rows = g->block_images ? g->gh : g->block_rows;
    int j0 = c0 / 32, j1 = (c1 + 31) / 32;
    size_t first = (size_t)(g->top * g->pitch + g->left);
    for (int i = 0; i < g->n; i += images)
        for (int y = 0; y < g->gh; y += rows) {
            int i1 = gm_min(g->n, i + images), y1 = gm_min(g->gh, y + rows);
            int filled = (g->block_images ? (i1 - i) * g->image_rows : y1 - y + g->below) * g->pitch + (int)first;
            int padded = gm_round_up(filled + 32, 32);
            fill_strip(g, x, p->work.strip, i, i1, y, y1, j0, j1);
            for (int f = 0; f < g->phases; f++) {
                char *phase = p->work.strip + (size_t)f * g->phase_bytes;
                memset(phase + (size_t)filled * g->stride, 0, (size_t)(padded - filled) * g->stride);
                transpose_positions(phase, g->stride, padded, c0 / 8, (c1 + 7) / 8,
                                    p->xt + (size_t)(f * g->positions) * 2, p->row);
            }
            gm__work_tiles(&p->work, g, 32, i, i1, y, y1);
            for (int t = 0; t < p->work.tiles; t++) p->work.tile[t].a /= (ptrdiff_t)(g->stride / 2);
            pack_pairs(p, dy, ldy, p0, p1);
            wgrad_taps(p, w, dw, c0, c1, p0, p1, first);
        }
}

static void wgrad_run(const gm_conv *c, const void *x, const void *dy, const gm_panels *w, float *dw, int c0, int c1,
                      int p0, int p1, void *scratch) {
    gm__wgrad p;
    gm__wgrad_plan(&p, c, w);
    gm__wgrad_carve(&p, p1 - p0, scratch);
    size_t ldy = (size_t)c->ldy * 2;
    if (p.grid.flat) wgrad_flat(&p, x, dy, ldy, w, dw, p0, p1, c->pad);
    else if (p.grid.direct) wgrad_direct(&p, x, dy, ldy, w, dw, c0, c1, p0, p1);
    else wgrad_strip(&p, x, dy, ldy, w, dw, c0, c1, p0, p1);
}

#endif
