// SPDX-License-Identifier: Apache-2.0
// Fills the strip of a block: the rows that its taps reach, with their zeros (see dense_plan.h).
#ifndef GAMUT_DENSE_FILL_AVX512_H
#define GAMUT_DENSE_FILL_AVX512_H

#include "dense_plan.h"

#include <immintrin.h>
#include <string.h>

// Chunks [j0,j1) of every position of one strip row; src NULL: a row of zeros.
static inline void fill_row(const gm__grid *g, const gm__phase *p, const char *src, char *dst, int j0, int j1) {
    size_t from = g->row * (size_t)g->step;
    int cols = src ? p->cols : 0;
    if (src) src += (size_t)p->fx * g->row;
    for (int x = 0; x < cols; x++, src += from, dst += g->stride)
        for (int j = j0; j < j1; j++)
            _mm512_store_si512(dst + j * GM__CHUNK, _mm512_loadu_si512(src + j * GM__CHUNK));
    for (int x = cols; x < g->pitch; x++, dst += g->stride)
        for (int j = j0; j < j1; j++) _mm512_store_si512(dst + j * GM__CHUNK, _mm512_setzero_si512());
}

// Images [i0,i1) when whole images are blocked, else grid rows [y0,y1) of image i0. Chunks [j0,j1) only.
static inline void fill_strip(const gm__grid *g, const char *x, char *strip, int i0, int i1, int y0, int y1, int j0,
                       int j1) {
    int total = g->block_images ? (i1 - i0) * g->image_rows : y1 - y0 + g->below;
    for (int f = 0; f < g->phases; f++) {
        const gm__phase *p = &g->phase[f];
        char *dst = strip + (size_t)f * g->phase_bytes;
        for (int c = 0; c < g->left; c++)
            for (int j = j0; j < j1; j++)
                _mm512_store_si512(dst + (size_t)c * g->stride + (size_t)j * GM__CHUNK, _mm512_setzero_si512());
        dst += (size_t)g->left * g->stride;
        for (int r = -g->top; r < total; r++, dst += (size_t)g->pitch * g->stride) {
            int image = i0, row = y0 + r;
            if (g->block_images && r >= 0) {
                image = i0 + r / g->image_rows;
                row = r % g->image_rows;
            }
            bool real = row >= 0 && row < p->rows;
            const char *src = x + (((size_t)image * (size_t)g->ih + (size_t)(row * g->step + p->fy)) *
                                   (size_t)g->iw) * g->row;
            fill_row(g, p, real ? src : NULL, dst, j0, j1);
        }
    }
}

// Copies n bytes; may read and write up to 63 bytes past them.
static inline void copy_over(char *dst, const char *src, size_t n) {
    for (size_t i = 0; i < n; i += 64) _mm512_storeu_si512(dst + i, _mm512_loadu_si512(src + i));
}

// First layer: gathers the taps of grid rows [y0,y1) of an image into rows of the strip.
static inline void fill_flat(const gm__grid *g, const char *x, const gm__work *w, int image, int y0, int y1, int pad) {
    size_t px = g->flat_pixel;
    int cols = (int)(g->flat_pitch / px), rows = (y1 - y0 - 1) * g->step + g->flat_r;
    memset(w->compact, 0, (size_t)rows * g->flat_pitch);
    for (int r = 0; r < rows; r++) {
        int iy = y0 * g->step - pad + r;
        if (iy < 0 || iy >= g->ih) continue;
        const char *src = x + (size_t)(image * g->ih + iy) * (size_t)g->iw * g->row;
        char *dst = w->compact + (size_t)r * g->flat_pitch;
        for (int c = gm_max(0, pad); c < gm_min(cols, g->iw + pad); c++)
            memcpy(dst + (size_t)c * px, src + (size_t)(c - pad) * g->row, px);
    }
    char *dst = w->strip;
    size_t used = (size_t)g->flat_r * g->flat_row;
    for (int y = y0; y < y1; y++) {
        for (int c = 0; c < g->gw; c++, dst += g->stride) {
            const char *src = w->compact + (size_t)((y - y0) * g->step) * g->flat_pitch + (size_t)(c * g->step) * px;
            for (int r = 0; r < g->flat_r; r++) {
                memcpy(dst + (size_t)r * g->flat_row, src + (size_t)r * g->flat_pitch, g->flat_row);
            }
            memset(dst + used, 0, g->stride - used);
        }
    }
}

#endif
