// SPDX-License-Identifier: Apache-2.0
// Addresses of rows, and the zero tail, for the *_vec.h kernels.
#ifndef GAMUT_KERNEL_ROWS_VEC_H
#define GAMUT_KERNEL_ROWS_VEC_H

GM__INLINE ptrdiff_t vec_bytes(gm_dtype t) { return t == GM_F32 ? 4 : 2; }

GM__INLINE const char *row_at(gm_dtype t, const void *p, ptrdiff_t row, int ld) {
    return (const char *)p + row * ld * vec_bytes(t);
}
GM__INLINE char *row_at_mut(gm_dtype t, void *p, ptrdiff_t row, int ld) {
    return (char *)p + row * ld * vec_bytes(t);
}

// p = v, or p += v
GM__INLINE void store_or_add(gm_dtype t, void *p, vec v, bool accumulate) {
    if (accumulate) v = v + vec_load(t, p);
    vec_store(t, p, v);
}

// Channels covered by whole vectors: [0, covered) is written with zeros from c on, [covered, ld) is left to this.
GM__INLINE void zero_rest(gm_dtype t, char *row, int c, int ld) {
    for (int b = gm_round_up(c, VEC); b < ld; b += VEC) vec_store(t, row + b * vec_bytes(t), vec_zero());
}

#endif
