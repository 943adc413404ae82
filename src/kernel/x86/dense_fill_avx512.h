// SPDX-License-Identifier: Apache-2.0
// Fills the strip of a block: the rows that its taps reach, with their zeros (see dense_plan.h).
#ifndef GAMUT_DENSE_FILL_AVX512_H
#define GAMUT_DENSE_FILL_AVX512_H

#include "dense_plan.h"

#include <immintrin.h>
#include <string.h>

// Chunks [j0,j1) of every position of one strip row; src NULL: a row of zeros.
static inline void fill_row(const gm__grid *g, const gm__phase *p, const char *src, char *dst,
                            int j0, int j1) {
    size_t from = g->row * (size_t)g->step;
    int cols = src ? p->cols : 0;
    if (src) src += (size_t)p->fx * g->row;
    for (int x = 0; x < cols; x++, src += from, dst += g->stride)
        for (int j = j0; j < j1; j++)
            _mm512_store_si512(dst + j * GM__CHUNK, _mm512_loadu_si512(src + j * GM__CHUNK));
    for (int x = cols; x < g->pitch; x++, dst += g->stride)
        for (int j = j0; j < j1; j++)
            _mm512_store_si512(dst + j * GM__CHUNK, _mm512_setzero_si512());
}

// Images [i0,i1) when whole images are blocked, else grid rows [y0,y1) of image i0. Chunks [j0,j1)
// only.
static inline void fill_strip(const gm__grid *g, const char *x, char *strip, int i0, int i1, int y0,
                              int y1, int j0, int j1) {
    int total = g->block_images ? (i1 - i0) * g->image_rows : y1 - y0 + g->below;
    for (int f = 0; f < g->phases; f++) {
        const gm__phase *p = &g->phase[f];
        char *dst = strip + (size_t)f * g->phase_bytes;
        for (int c = 0; c < g->left; c++)
            for (int j = j0; j < j1; j++)
                _mm512_store_si512(dst + (size_t)c * g->stride + (size_t)j * GM__CHUNK,
                                   _mm512_setzero_si512());
        dst += (size_t)g->left * g->stride;
        for (int r = -g->top; r < total; r++, dst += (size_t)g->pitch * g->stride) {
            int image = i0, row = y0 + r;
            if (g->block_images && r >= 0) {
                image = i0 + r / g->image_rows;
                row = r % g->image_rows;
            }
            bool real = row >= 0 && row < p->rows;
            const char *src =
                x + (((size_t)image * (size_t)g->ih + (size_t)(row * g->step + p->fy)) *
                     (size_t)g->iw) *
                        g->row;
            fill_row(g, p, real ? src : NULL, dst, j0, j1);
        }
    }
}

// Which bytes of a gathered row come from where: masked loads of whole vectors, one a tap row and
// 64 bytes.
typedef struct gm__gather {
    __mmask64 mask;
    ptrdiff_t from; // from the first tap's pixel to what would be byte 0 of the vector
    int chunk;
} gm__gather;

static inline int gather_plan(const gm__grid *g, gm__gather *list) {
    int count = 0;
    for (int chunk = 0; chunk < g->chunks; chunk++)
        for (int r = 0; r < g->flat_r; r++) {
            ptrdiff_t begin = (ptrdiff_t)((size_t)r * g->flat_row) - chunk * 64,
                      end = begin + (ptrdiff_t)g->flat_row;
            ptrdiff_t low = begin < 0 ? 0 : begin, high = end > 64 ? 64 : end;
            if (low >= high) continue;
            __mmask64 mask = (high == 64 ? ~0ull : (1ull << high) - 1u) & ~((1ull << low) - 1u);
            list[count++] =
                (gm__gather){mask, (ptrdiff_t)((size_t)r * g->flat_pitch) - begin, chunk};
        }
    return count;
}

// Pixels of `size` bytes from input positions into consecutive ones. Eight bytes are written for
// each: the next pixel covers the excess, and after the last one it is zeroed by the caller's next
// row or is behind the end.
static inline void compact_pixels(char *dst, const char *src, size_t stride, size_t size,
                                  int count) {
    for (int c = 0; c < count; c++) memcpy(dst + (size_t)c * size, src + (size_t)c * stride, 8);
    memset(dst + (size_t)count * size, 0, 8);
}

// First layer: gathers the taps of grid rows [y0,y1) of an image into rows of the strip.
static inline void fill_flat(const gm__grid *g, const char *x, const gm__work *w, int image, int y0,
                             int y1, int pad) {
    size_t px = g->flat_pixel, left = (size_t)pad * px;
    int cols = (int)(g->flat_pitch / px), rows = (y1 - y0 - 1) * g->step + g->flat_r;
    int real = gm_max(0, gm_min(cols - pad, g->iw));
    for (int r = 0; r < rows; r++) {
        int iy = y0 * g->step - g->up + r;
        char *dst = w->compact + (size_t)r * g->flat_pitch;
        if (iy < 0 || iy >= g->ih) {
            memset(dst, 0, g->flat_pitch);
            continue;
        }
        memset(dst, 0, left);
        compact_pixels(dst + left, x + (size_t)(image * g->ih + iy) * (size_t)g->iw * g->row,
                       g->row, px, real);
        size_t end = left + (size_t)real * px;
        if (end < g->flat_pitch) memset(dst + end, 0, g->flat_pitch - end);
    }
    gm__gather list[GM__TAPS_MAX + 64];
    int entries = gather_plan(g, list);
    char *dst = w->strip;
    for (int y = y0; y < y1; y++) {
        const char *src = w->compact + (size_t)((y - y0) * g->step) * g->flat_pitch;
        for (int c = 0; c < g->gw; c++, dst += g->stride, src += (size_t)g->step * px)
            for (int e = 0; e < entries;) {
                int chunk = list[e].chunk;
                __m512i v = _mm512_setzero_si512();
                for (; e < entries && list[e].chunk == chunk; e++)
                    v = _mm512_mask_loadu_epi8(v, list[e].mask, src + list[e].from);
                _mm512_store_si512(dst + chunk * 64, v);
            }
    }
}

#endif
