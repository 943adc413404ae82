// SPDX-License-Identifier: Apache-2.0
// The transforms of Winograd's F(2x2, 3x3) over the vector interface (include vec_avx512.h or vec_avx2.h and math_vec.h
// first). Matrices B, G, A: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.1.
#ifndef GAMUT_KERNEL_WINOGRAD_VEC_H
#define GAMUT_KERNEL_WINOGRAD_VEC_H

#include "kernel/f32_engine.h"
#include <math.h>

enum { AHEAD_TILES = 4 }; // tiles whose pixels are prefetched ahead

// B^T of four values: a row or a column of a patch.
GM__INLINE void transform_input(vec d[4]) {
    const vec d1 = d[1];
    d[0] -= d[2];
    d[1] = d1 + d[2];
    d[2] -= d1;
    d[3] = d1 - d[3];
}

// The 16 parts of a transformed patch lie step elements apart: four pointers reach them as [row + {0,1,2,3} * step].
GM__INLINE void store_parts(float *to, ptrdiff_t step, const int row, const vec v[4]) {
    float *p = to + row * 4 * step;
    vec_store(GM_F32, p, v[0]);
    vec_store(GM_F32, p + step, v[1]);
    vec_store(GM_F32, p + 2 * step, v[2]);
    vec_store(GM_F32, p + 3 * step, v[3]);
}
GM__INLINE vec load_part(const float *from, ptrdiff_t step, const int row, const int column) {
    return vec_load(GM_F32, from + row * 4 * step + column * step);
}

// v (16, tiles, c) = B^T d B of each tile's 4x4 pixels
static void winograd_input(const float *const *pixel, int tiles, int c, float *v, size_t parts, size_t lda) {
    const ptrdiff_t step = (ptrdiff_t)parts;
    for (int t = 0; t < tiles; t++, pixel += 16, v += lda) {
        if (t + AHEAD_TILES < tiles)
            for (int i = 0; i < c; i += 16) {
                _mm_prefetch((const char *)(pixel[AHEAD_TILES * 16 + 10] + i), _MM_HINT_T0);
                _mm_prefetch((const char *)(pixel[AHEAD_TILES * 16 + 11] + i), _MM_HINT_T0);
                _mm_prefetch((const char *)(pixel[AHEAD_TILES * 16 + 14] + i), _MM_HINT_T0);
                _mm_prefetch((const char *)(pixel[AHEAD_TILES * 16 + 15] + i), _MM_HINT_T0);
            }
        for (int i = 0; i < c; i += VEC) {
            vec d[4][4]; // [column][row]
#pragma GCC unroll 4
            for (int column = 0; column < 4; column++) {
#pragma GCC unroll 4
                for (int row = 0; row < 4; row++) d[column][row] = vec_load(GM_F32, pixel[row * 4 + column] + i);
                transform_input(d[column]);
            }
#pragma GCC unroll 4
            for (int row = 0; row < 4; row++) {
                vec r[4] = {d[0][row], d[1][row], d[2][row], d[3][row]};
                transform_input(r);
                store_parts(v + i, step, row, r);
            }
        }
    }
}

// G of three values.
GM__INLINE void transform_weights(vec a, vec b, vec c, vec out[4]) {
    const vec half = vec_set(0.5f), outer = (a + c) * half;
    out[0] = a;
    out[1] = vec_fma(half, b, outer);
    out[2] = vec_fnma(half, b, outer);
    out[3] = c;
}

// u (16, rows, 16) = G g G^T; tap[i]: rows of 16 outputs
static void winograd_weights(const float *const tap[9], int rows, float *u, size_t step) {
    for (int i = 0; i < rows * GM__PANEL; i += VEC) {
        vec d[3][4];
#pragma GCC unroll 3
        for (int column = 0; column < 3; column++)
            transform_weights(vec_load(GM_F32, tap[column] + i), vec_load(GM_F32, tap[3 + column] + i),
                              vec_load(GM_F32, tap[6 + column] + i), d[column]);
#pragma GCC unroll 4
        for (int row = 0; row < 4; row++) {
            vec r[4];
            transform_weights(d[0][row], d[1][row], d[2][row], r);
#pragma GCC unroll 4
            for (int column = 0; column < 4; column++)
                vec_store(GM_F32, u + (size_t)(row * 4 + column) * step + i, r[column]);
        }
    }
}

// One vector of y from its accumulator. clamp: an activation that clips.
GM__INLINE void put(const gm__f32_out *o, const bool clamp, float low, float high, int position, int k, vec v, vec scale, vec shift) {
    if (position < 0) return;
    float *y = (float *)o->y + (size_t)position * (size_t)o->ldy + k;
    v = vec_fma(v, scale, shift);
    if (o->residual) v += vec_load(GM_F32, (const float *)o->residual + (size_t)position * (size_t)o->ldr + k);
    v = clamp ? vec_at_most(high, vec_at_least(low, v)) : vec_act(o->act, v);
    if (o->accumulate) v += vec_load(GM_F32, y);
    vec_store(GM_F32, y, vec_keep(v, gm_max(0, gm_min(VEC, o->k - k))));
}

// y = A^T m A of the 16 sums of each tile, m (16, tiles, 16), for the 16 channels from k0 on; position[4]: where the tile's
// outputs go, negative: nowhere.
GM__INLINE void output(const bool clamp, const float *m, ptrdiff_t step, int tiles, const int *position, const gm__f32_out *out, int k0) {
    const gm__f32_out o = *out; // not an alias of what is written
    const float low = act_low(o.act), high = act_high(o.act);
    for (int t = 0; t < tiles; t++, position += 4)
        for (int i = 0; i < GM__PANEL; i += VEC, m += VEC) {
            const vec scale = vec_load(GM_F32, o.scale + k0 + i), shift = vec_load(GM_F32, o.shift + k0 + i);
            vec upper[4], lower[4];
#pragma GCC unroll 4
            for (int column = 0; column < 4; column++) {
                const vec s1 = load_part(m, step, 1, column), s2 = load_part(m, step, 2, column);
                upper[column] = load_part(m, step, 0, column) + (s1 + s2);
                lower[column] = (s1 - s2) - load_part(m, step, 3, column);
            }
            put(&o, clamp, low, high, position[0], k0 + i, upper[0] + (upper[1] + upper[2]), scale, shift);
            put(&o, clamp, low, high, position[1], k0 + i, (upper[1] - upper[2]) - upper[3], scale, shift);
            put(&o, clamp, low, high, position[2], k0 + i, lower[0] + (lower[1] + lower[2]), scale, shift);
            put(&o, clamp, low, high, position[3], k0 + i, (lower[1] - lower[2]) - lower[3], scale, shift);
        }
}

static void winograd_output(const float *m, size_t step, int tiles, const int *position, const gm__f32_out *o, int k0) {
    if (o->act <= GM_ACT_RELU6) output(true, m, (ptrdiff_t)step, tiles, position, o, k0);
    else output(false, m, (ptrdiff_t)step, tiles, position, o, k0);
}

// d (16, tiles, 16) = A dy A^T; pixel[4]: dy of each tile's outputs, from the panel's first channel on
static void winograd_dy(const float *const *pixel, int tiles, int k0, float *d, size_t parts) {
    const ptrdiff_t step = (ptrdiff_t)parts;
    for (int t = 0; t < tiles; t++, pixel += 4) {
        if (t + AHEAD_TILES < tiles)
            for (int i = 0; i < 4; i++) _mm_prefetch((const char *)(pixel[AHEAD_TILES * 4 + i] + k0), _MM_HINT_T0);
#pragma GCC unroll 2
        for (int i = 0; i < GM__PANEL; i += VEC, d += VEC) {
            vec row[4][2];
#pragma GCC unroll 2
            for (int column = 0; column < 2; column++) {
                const vec a = vec_load(GM_F32, pixel[column] + k0 + i), b = vec_load(GM_F32, pixel[2 + column] + k0 + i);
                row[0][column] = a;
                row[1][column] = a + b;
                row[2][column] = a - b;
                row[3][column] = vec_zero() - b;
            }
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                const vec r[4] = {row[j][0], row[j][0] + row[j][1], row[j][0] - row[j][1], vec_zero() - row[j][1]};
                store_parts(d, step, j, r);
            }
        }
    }
}

// G^T of four values.
GM__INLINE void transform_grad(const vec m[4], vec out[3]) {
    const vec half = vec_set(0.5f), even = (m[1] + m[2]) * half;
    out[0] = m[0] + even;
    out[1] = (m[1] - m[2]) * half;
    out[2] = even + m[3];
}

// tap[i] += G^T m G, m (16, rows, 16); lanes of the 16 outputs are written
static void winograd_dw(const float *m, size_t step, int rows, int lanes, float *const tap[9]) {
    for (int i = 0; i < rows * GM__PANEL; i += VEC) {
        const int count = lanes - i % GM__PANEL;
        vec d[4][3];
#pragma GCC unroll 4
        for (int column = 0; column < 4; column++) {
            vec s[4];
#pragma GCC unroll 4
            for (int row = 0; row < 4; row++) s[row] = vec_load(GM_F32, m + (size_t)(row * 4 + column) * step + i);
            transform_grad(s, d[column]);
        }
        if (count <= 0) continue;
#pragma GCC unroll 3
        for (int row = 0; row < 3; row++) {
            const vec s[4] = {d[0][row], d[1][row], d[2][row], d[3][row]};
            vec g[3];
            transform_grad(s, g);
#pragma GCC unroll 3
            for (int column = 0; column < 3; column++) {
                float *to = tap[row * 3 + column] + i;
                vec_store_part(to, count, vec_load_part(to, count) + g[column]);
            }
        }
    }
}

#endif
