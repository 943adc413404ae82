// SPDX-License-Identifier: Apache-2.0
// Gradient of dense weights, shared by AMX and AVX-512 (the scheme is in dense_plan.h). The
// including file defines before: LENGTH, the positions of a group, and wgrad_block, tiles c[m][n] += over groups.
#ifndef GAMUT_DENSE_WGRAD_AVX512_H
#define GAMUT_DENSE_WGRAD_AVX512_H

#include "dense_fill_avx512.h"

// Positions of a run: 32 channels of x, used by every tap, are 32 KiB and stay in L1 while dy streams
// past.
enum { RUN_POSITIONS = 512 };

static inline __m128i load_8(const char *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

// 32 positions x 8 channels: 8 rows of 32. Lane l of row i holds position 8l+i, so three rounds of
// unpacking inside lanes leave every channel's 32 positions in order.
static inline void transpose_8(const char *const *src, size_t at, char *dst, size_t row) {
    __m512i z[8], t[8], u[8];
    for (int i = 0; i < 8; i++) {
        __m512i v = _mm512_castsi128_si512(load_8(src[i] + at));
        v = _mm512_inserti32x4(v, load_8(src[8 + i] + at), 1);
        v = _mm512_inserti32x4(v, load_8(src[16 + i] + at), 2);
        z[i] = _mm512_inserti32x4(v, load_8(src[24 + i] + at), 3);
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
        _mm512_store_si512(dst + (size_t)(2 * i) * row, _mm512_unpacklo_epi64(u[i], u[i + 4]));
        _mm512_store_si512(dst + (size_t)(2 * i + 1) * row, _mm512_unpackhi_epi64(u[i], u[i + 4]));
    }
}

static void transpose_x(const gm__wgrad *p, int c0, int c1) {
    for (int t = 0; t < p->blocks; t++)
        for (int e = c0 / 8; e < (c1 + 7) / 8; e++)
            transpose_8(p->x_row + (size_t)t * 32, (size_t)e * 16,
                        p->xt + (size_t)(e * 8) * p->row + (size_t)t * 64, p->row);
}

// Panels n and, with count 2, n+1 of dy in pairs of positions; with odd beginnings too when taps
// need them.
static void pack_dy(const gm__wgrad *p, int n, int count, bool odd) {
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __mmask32 live = count == 2 ? 0xffffffffu : 0xffffu;
    const size_t at = (size_t)n * 32;
    char *even0 = p->dy, *even1 = count == 2 ? p->dy + p->panel : p->dy, *odd0 = even0 + p->half,
         *odd1 = even1 + p->half;
    __m512i a = _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi16(live, p->dy_row[0] + at));
    for (int d = 0; d < p->around; d += 2) {
        __m512i b =
            _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi16(live, p->dy_row[d + 1] + at));
        size_t to = (size_t)d * 32;
        _mm512_store_si512(even1 + to, _mm512_unpackhi_epi16(a, b));
        _mm512_store_si512(even0 + to, _mm512_unpacklo_epi16(a, b));
        if (d + 2 >= p->around) break;
        a = _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi16(live, p->dy_row[d + 2] + at));
        if (!odd) continue;
        _mm512_store_si512(odd1 + to, _mm512_unpackhi_epi16(b, a));
        _mm512_store_si512(odd0 + to, _mm512_unpacklo_epi16(b, a));
    }
    if (odd) { // the last odd pair has no second position
        memset(odd0 + (size_t)(p->around - 2) * 32, 0, 64);
        memset(odd1 + (size_t)(p->around - 2) * 32, 0, 64);
    }
}

// Groups [t0,t1) of one tap: 32 inputs from ch (rows of them real), panels n on.
static inline void wgrad_tile(const gm__wgrad *p, const gm_panels *w, float *dw, const gm__tap *tap,
                              int n, int panels, int ch, int rows, int t0, int t1) {
    const gm__grid *g = &p->grid;
    int shift = g->direct || g->flat ? 0 : tap->qy * g->pitch + tap->qx;
    const char *a = p->xt + (size_t)ch * p->row + (size_t)(t0 * LENGTH) * 2;
    float *c =
        dw + (size_t)n * w->panel_stride + (size_t)tap->weight * w->tap_stride + (size_t)ch * 16;
    const float *next = c + w->tap_stride;
    if (rows % 16 == 0) {
        wgrad_block(p, a, p->start + t0, t1 - t0, shift, c, c + w->panel_stride, next,
                    next + w->panel_stride, rows / 16, panels);
        return;
    }
    float *slot = p->work.slot; // rows past the last input belong to another tap
    size_t bytes = (size_t)rows * 64;
    for (int i = 0; i < panels; i++) {
        memset(slot + i * 512, 0, 2048);
        memcpy(slot + i * 512, c + (size_t)i * w->panel_stride, bytes);
    }
    wgrad_block(p, a, p->start + t0, t1 - t0, shift, slot, slot + 512, next, next + w->panel_stride,
                rows > 16 ? 2 : 1, panels);
    for (int i = 0; i < panels; i++) memcpy(c + (size_t)i * w->panel_stride, slot + i * 512, bytes);
}

// A block whose rows are known.
static void wgrad_rows(const gm__wgrad *p, const gm_panels *w, float *dw, int c0, int c1, int p0,
                       int p1) {
    const gm__grid *g = &p->grid;
    int phases = g->direct || g->flat ? 1 : g->phases,
        run = g->taps > 1 ? RUN_POSITIONS / LENGTH : p->groups;
    transpose_x(p, c0, c1);
    for (int n = p0; n < p1; n += 2) {
        int panels = gm_min(2, p1 - n);
        pack_dy(p, n, panels, g->taps > 1 || !(g->direct || g->flat));
        for (int f = 0; f < phases; f++)
            for (int t = p->first_group[f]; t < p->first_group[f + 1]; t += run)
                for (int ch = c0; ch < c1; ch += 32)
                    for (int k = 0; k < g->taps; k++)
                        if (phases == 1 || g->tap[k].phase == f)
                            wgrad_tile(p, w, dw, &g->tap[k], n, panels, ch, gm_min(32, c1 - ch), t,
                                       gm_min(t + run, p->first_group[f + 1]));
    }
}

static void wgrad_run(const gm_conv *c, const void *x, const void *dy, const gm_panels *w,
                      float *dw, int c0, int c1, int p0, int p1, void *scratch) {
    gm__wgrad p;
    const gm__grid *g = &p.grid;
    gm__wgrad_plan(&p, c, w, LENGTH);
    gm__wgrad_carve(&p, c, scratch);
    const char *xs = x, *dys = dy;
    size_t ldy = (size_t)c->ldy * 2;
    if (g->direct) {
        int total = g->n * g->gh * g->gw;
        for (int q = 0; q < total; q += g->block_rows) {
            gm__wgrad_rows_direct(&p, xs + (size_t)q * g->row, g->row, dys + (size_t)q * ldy, ldy,
                                  gm_min(g->block_rows, total - q));
            wgrad_rows(&p, w, dw, c0, c1, p0, p1);
        }
        return;
    }
    int images = g->flat ? 1 : gm_max(1, g->block_images),
        rows = !g->flat && g->block_images ? g->gh : g->block_rows;
    for (int i = 0; i < g->n; i += images)
        for (int y = 0; y < g->gh; y += rows) {
            int i1 = gm_min(g->n, i + images), y1 = gm_min(g->gh, y + rows);
            if (g->flat) {
                fill_flat(g, xs, &p.work, i, y, y1, c->pad);
                gm__wgrad_rows_direct(&p, p.work.strip, g->stride,
                                      dys + (size_t)((i * g->gh + y) * g->gw) * ldy, ldy,
                                      (y1 - y) * g->gw);
                wgrad_rows(&p, w, dw, 0, p.rows, p0, p1);
            } else {
                gm__wgrad_rows_strip(&p, xs, dys, ldy, i, i1, y, y1);
                wgrad_rows(&p, w, dw, c0, c1, p0, p1);
            }
        }
}

#endif
