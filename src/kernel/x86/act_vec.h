// SPDX-License-Identifier: Apache-2.0
// Elementwise kernels over rows, for any vector width.
#ifndef GAMUT_KERNEL_ACT_VEC_H
#define GAMUT_KERNEL_ACT_VEC_H

GM__INLINE void act_rows(const gm_dtype t, const gm_act a, int rows, int c, const void *x, int ldx, void *y,
                         int ldy) {
    const int whole = c / VEC * VEC;
    for (int row = 0; row < rows; row++) {
        const char *in = row_at(t, x, row, ldx);
        char *out = row_at_mut(t, y, row, ldy);
        for (int b = 0; b < whole; b += VEC)
            vec_store(t, out + b * vec_bytes(t), vec_act(a, vec_load(t, in + b * vec_bytes(t))));
        if (whole < c) {
            ptrdiff_t at = whole * vec_bytes(t);
            vec_store(t, out + at, vec_keep(vec_act(a, vec_load(t, in + at)), c - whole));
        }
        zero_rest(t, out, c, ldy);
    }
}

static void act_forward(gm_dtype t, gm_act a, int rows, int c, const void *x, int ldx, void *y, int ldy) {
    GM__FOR_TYPE(t, GM__FOR_ACT(a, act_rows(T, A, rows, c, x, ldx, y, ldy)));
}

// Tails need no mask: dy is zero there.
GM__INLINE void act_grad_rows(const gm_dtype t, const gm_act a, int rows, int c, const void *x, int ldx,
                              const void *dy, int ldy, bool accumulate, void *dx, int lddx) {
    for (int row = 0; row < rows; row++) {
        const char *in = row_at(t, x, row, ldx), *d = row_at(t, dy, row, ldy);
        char *out = row_at_mut(t, dx, row, lddx);
        for (int b = 0; b < c; b += VEC) {
            ptrdiff_t at = b * vec_bytes(t);
            vec v = vec_act_grad(a, vec_load(t, in + at), vec_load(t, d + at));
            store_or_add(t, out + at, v, accumulate);
        }
        zero_rest(t, out, c, lddx);
    }
}

static void act_grad(gm_dtype t, gm_act a, int rows, int c, const void *x, int ldx, const void *dy, int ldy,
                     bool accumulate, void *dx, int lddx) {
    GM__FOR_TYPE(t, GM__FOR_ACT(a, act_grad_rows(T, A, rows, c, x, ldx, dy, ldy, accumulate, dx, lddx)));
}

GM__INLINE void add_rows(const gm_dtype t, int rows, int c, const void *a, int lda, const void *b, int ldb, void *y,
                         int ldy) {
    for (int row = 0; row < rows; row++) {
        const char *left = row_at(t, a, row, lda), *right = row_at(t, b, row, ldb);
        char *out = row_at_mut(t, y, row, ldy);
        for (int k = 0; k < c; k += VEC) {
            ptrdiff_t at = k * vec_bytes(t);
            vec_store(t, out + at, vec_load(t, left + at) + vec_load(t, right + at));
        }
        zero_rest(t, out, c, ldy);
    }
}

static void add(gm_dtype t, int rows, int c, const void *a, int lda, const void *b, int ldb, void *y, int ldy) {
    GM__FOR_TYPE(t, add_rows(T, rows, c, a, lda, b, ldb, y, ldy));
}

GM__INLINE void convert_flat(const gm_dtype from, const gm_dtype to, size_t count, const char *x, char *y) {
    size_t whole = count / VEC * VEC, i = 0;
    const size_t in = (size_t)vec_bytes(from), out = (size_t)vec_bytes(to);
    for (; i < whole; i += VEC) vec_store(to, y + i * out, vec_load(from, x + i * in));
    if (i == count) return;
    char rest_in[VEC * 4] = {0}, rest_out[VEC * 4];
    memcpy(rest_in, x + i * in, (count - i) * in);
    vec_store(to, rest_out, vec_load(from, rest_in));
    memcpy(y + i * out, rest_out, (count - i) * out);
}

static void convert(gm_dtype from, gm_dtype to, size_t count, const void *x, void *y) {
    if (from == to)
        memmove(y, x, count * gm_dtype_size(from));
    else if (to == GM_BF16)
        convert_flat(GM_F32, GM_BF16, count, x, y);
    else
        convert_flat(GM_BF16, GM_F32, count, x, y);
}

// --- squeeze-and-excite ---

GM__INLINE void channel_scale_rows(const gm_dtype t, int n, int positions, int c, const void *x, int ldx,
                                   const void *s, int lds, void *y, int ldy) {
    for (int image = 0; image < n; image++) {
        const char *factor = row_at(t, s, image, lds);
        for (int p = 0; p < positions; p++) {
            ptrdiff_t row = (ptrdiff_t)image * positions + p;
            const char *in = row_at(t, x, row, ldx);
            char *out = row_at_mut(t, y, row, ldy);
            for (int b = 0; b < c; b += VEC) {
                ptrdiff_t at = b * vec_bytes(t);
                vec_store(t, out + at, vec_load(t, in + at) * vec_load(t, factor + at));
            }
            zero_rest(t, out, c, ldy);
        }
    }
}

static void channel_scale(gm_dtype t, int n, int positions, int c, const void *x, int ldx, const void *s, int lds,
                          void *y, int ldy) {
    GM__FOR_TYPE(t, channel_scale_rows(T, n, positions, c, x, ldx, s, lds, y, ldy));
}

// Two vectors of channels (64 bytes of bf16) at a time, positions inside: the sums stay in registers.
GM__INLINE void channel_scale_grad_group(const gm_dtype t, const int groups, int positions, const char *x, int ldx,
                                         const char *s, const char *dy, int ldy, bool accumulate, char *dx, int lddx,
                                         char *ds) {
    const ptrdiff_t size = vec_bytes(t);
    vec factor[2], sum[2];
    for (int g = 0; g < groups; g++) {
        factor[g] = vec_load(t, s + g * VEC * size);
        sum[g] = vec_zero();
    }
    for (int p = 0; p < positions; p++)
        for (int g = 0; g < groups; g++) {
            ptrdiff_t at = g * VEC * size;
            vec d = vec_load(t, dy + p * ldy * size + at);
            char *out = dx + p * lddx * size + at;
            sum[g] = vec_fma(d, vec_load(t, x + p * ldx * size + at), sum[g]);
            store_or_add(t, out, d * factor[g], accumulate);
        }
    for (int g = 0; g < groups; g++) vec_store(t, ds + g * VEC * size, sum[g]);
}

GM__INLINE void channel_scale_grad_rows(const gm_dtype t, int n, int positions, int c, const void *x, int ldx,
                                        const void *s, int lds, const void *dy, int ldy, bool accumulate, void *dx,
                                        int lddx, void *ds, int ldds) {
    for (int image = 0; image < n; image++) {
        ptrdiff_t row = (ptrdiff_t)image * positions;
        const char *in = row_at(t, x, row, ldx), *factor = row_at(t, s, image, lds), *d = row_at(t, dy, row, ldy);
        char *out = row_at_mut(t, dx, row, lddx), *sum = row_at_mut(t, ds, image, ldds);
        for (int b = 0; b < c;) {
            ptrdiff_t at = b * vec_bytes(t);
            bool pair = c - b > VEC;
            if (pair)
                channel_scale_grad_group(t, 2, positions, in + at, ldx, factor + at, d + at, ldy, accumulate,
                                         out + at, lddx, sum + at);
            else
                channel_scale_grad_group(t, 1, positions, in + at, ldx, factor + at, d + at, ldy, accumulate,
                                         out + at, lddx, sum + at);
            b += pair ? 2 * VEC : VEC;
        }
        for (int p = 0; p < positions; p++) zero_rest(t, out + (ptrdiff_t)p * lddx * vec_bytes(t), c, lddx);
        zero_rest(t, sum, c, ldds);
    }
}

static void channel_scale_grad(gm_dtype t, int n, int positions, int c, const void *x, int ldx, const void *s,
                               int lds, const void *dy, int ldy, bool accumulate, void *dx, int lddx, void *ds,
                               int ldds) {
    GM__FOR_TYPE(t, channel_scale_grad_rows(T, n, positions, c, x, ldx, s, lds, dy, ldy, accumulate, dx, lddx, ds,
                                            ldds));
}

void GM__VEC_NAME(act_fill)(gm_kernels *table) {
    table->act = act_forward;
    table->act_grad = act_grad;
    table->add = add;
    table->convert = convert;
    table->channel_scale = channel_scale;
    table->channel_scale_grad = channel_scale_grad;
    table->quantize = quantize_rows;
    table->dequantize = dequantize_rows;
}

#endif
