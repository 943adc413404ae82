// SPDX-License-Identifier: Apache-2.0
// Batch norm over rows, for any vector width: one body per pass, made for each type and activation.
// The sums run over blocks of 64 rows in registers, then over blocks in f32: two levels keep the error of a sum of
// 10^5 terms near that of 10^3 and let a block be read from the second-level cache by all groups of channels.
#ifndef GAMUT_KERNEL_NORM_VEC_H
#define GAMUT_KERNEL_NORM_VEC_H

enum { NORM_ROWS = 64, NORM_GROUPS = 4 };

// Two sums of one block of rows for `groups` vectors of channels from b on.
GM__INLINE void stats_block(const gm_dtype t, const int groups, int rows, int left, const char *x, int ldx,
                            float *sum, float *sumsq, bool first) {
    vec s[NORM_GROUPS], q[NORM_GROUPS];
    for (int g = 0; g < groups; g++) {
        s[g] = first ? vec_zero() : vec_load_part(sum + g * VEC, left - g * VEC);
        q[g] = first ? vec_zero() : vec_load_part(sumsq + g * VEC, left - g * VEC);
    }
    vec bs[NORM_GROUPS], bq[NORM_GROUPS];
    for (int g = 0; g < groups; g++) bs[g] = bq[g] = vec_zero();
    for (int row = 0; row < rows; row++, x += ldx * vec_bytes(t))
        for (int g = 0; g < groups; g++) {
            vec v = vec_load(t, x + g * VEC * vec_bytes(t));
            bs[g] = bs[g] + v;
            bq[g] = vec_fma(v, v, bq[g]);
        }
    for (int g = 0; g < groups; g++) {
        vec_store_part(sum + g * VEC, left - g * VEC, s[g] + bs[g]);
        vec_store_part(sumsq + g * VEC, left - g * VEC, q[g] + bq[g]);
    }
}

GM__INLINE void stats(const gm_dtype t, int rows, int c, const void *x, int ldx, float *sum, float *sumsq) {
    int row = 0;
    do {
        int part = gm_min(NORM_ROWS, rows - row);
        const char *from = row_at(t, x, row, ldx);
        for (int b = 0; b < c;) {
            const char *at = from + b * vec_bytes(t);
            bool whole = c - b > (NORM_GROUPS - 1) * VEC;
            if (whole)
                stats_block(t, NORM_GROUPS, part, c - b, at, ldx, sum + b, sumsq + b, row == 0);
            else
                stats_block(t, 1, part, c - b, at, ldx, sum + b, sumsq + b, row == 0);
            b += whole ? NORM_GROUPS * VEC : VEC;
        }
        row += NORM_ROWS;
    } while (row < rows);
}

static void norm_stats(gm_dtype t, int rows, int c, const void *x, int ldx, float *sum, float *sumsq) {
    GM__FOR_TYPE(t, stats(T, rows, c, x, ldx, sum, sumsq));
}

GM__INLINE void apply_group(const gm_dtype t, const gm_act a, int left, const char *x, const float *scale,
                            const float *shift, const char *residual, char *y) {
    vec v = vec_fma(vec_load(t, x), vec_load_part(scale, left), vec_load_part(shift, left));
    if (residual) v = v + vec_load(t, residual);
    vec_store(t, y, vec_keep(vec_act(a, v), left));
}

GM__INLINE void apply(const gm_dtype t, const gm_act a, int rows, int c, const void *x, int ldx, const float *scale,
                      const float *shift, const void *residual, int ldr, void *y, int ldy) {
    const int whole = c / VEC * VEC;
    for (int row = 0; row < rows; row++) {
        const char *in = row_at(t, x, row, ldx);
        const char *res = residual ? row_at(t, residual, row, ldr) : NULL;
        char *out = row_at_mut(t, y, row, ldy);
        if (res)
            for (int b = 0; b < whole; b += VEC) {
                ptrdiff_t at = b * vec_bytes(t);
                apply_group(t, a, VEC, in + at, scale + b, shift + b, res + at, out + at);
            }
        else
            for (int b = 0; b < whole; b += VEC) {
                ptrdiff_t at = b * vec_bytes(t);
                apply_group(t, a, VEC, in + at, scale + b, shift + b, NULL, out + at);
            }
        if (whole < c) {
            ptrdiff_t at = whole * vec_bytes(t);
            apply_group(t, a, c - whole, in + at, scale + whole, shift + whole, res ? res + at : NULL, out + at);
        }
        zero_rest(t, out, c, ldy);
    }
}

static void norm_apply(gm_dtype t, int rows, int c, const void *x, int ldx, const float *scale,
                       const float *shift, const void *residual, int ldr, gm_act a, void *y, int ldy) {
    GM__FOR_TYPE(t, GM__FOR_ACT(a, apply(T, A, rows, c, x, ldx, scale, shift, residual, ldr, y, ldy)));
}

// dz = dy * act'(pre) of one group; slope from out when it is given (relu, relu6), else from x*scale + shift.
GM__INLINE vec gradient_before_act(const gm_dtype t, const gm_act a, vec v, vec scale, vec shift, const char *out,
                                   const char *dy) {
    vec d = vec_load(t, dy);
    if (a == GM_ACT_NONE) return d;
    return vec_act_grad(a, out ? vec_load(t, out) : vec_fma(v, scale, shift), d);
}

typedef struct norm_in {
    const char *x, *out, *dy;
    int ldx, ldo, ldy;
    const float *scale, *shift;
} norm_in;

// Rows [row, row + rows) for `count` channels from b on, added to the sums of their block. All channels of a few rows at
// a time: x comes from memory, and only reading in order lets the processor fetch ahead.
GM__INLINE void grad_rows(const gm_dtype t, const gm_act a, const bool with_out, const int rows, ptrdiff_t row, int b,
                          int count, const norm_in *in, const float *mean, float *sum, float *dot) {
    const ptrdiff_t size = vec_bytes(t);
    const char *x = in->x + (row * in->ldx + b) * size, *dy = in->dy + (row * in->ldy + b) * size;
    const char *out = with_out ? in->out + (row * in->ldo + b) * size : x;
    for (int k = 0; k < count; k += VEC) {
        const int left = count - k;
        const vec scale = vec_load_part(in->scale + b + k, left), shift = vec_load_part(in->shift + b + k, left);
        const vec m = vec_load_part(mean + b + k, left);
        vec s = vec_load(GM_F32, sum + k), q = vec_load(GM_F32, dot + k);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            vec v = vec_load(t, x + (r * in->ldx + k) * size);
            vec d = gradient_before_act(t, a, v, scale, shift, with_out ? out + (r * in->ldo + k) * size : NULL,
                                        dy + (r * in->ldy + k) * size);
            s = s + d;
            q = vec_fma(d, v - m, q);
        }
        vec_store(GM_F32, sum + k, s);
        vec_store(GM_F32, dot + k, q);
    }
}

GM__INLINE void grad_stats(const gm_dtype t, const gm_act a, const bool with_out, int rows, int c, const norm_in *in,
                           const float *mean, const float *rstd, float *sum, float *dot) {
    enum { CHANNELS = 512, FEW = 2 };
    for (int b = 0; b < c; b += CHANNELS) {
        const int count = gm_min(CHANNELS, c - b);
        for (int i = b; i < b + count; i++) sum[i] = dot[i] = 0;
        for (int row = 0; row < rows; row += NORM_ROWS) {
            float block[2][CHANNELS] __attribute__((aligned(64)));
            for (int k = 0; k < count; k += VEC) {
                vec_store(GM_F32, block[0] + k, vec_zero());
                vec_store(GM_F32, block[1] + k, vec_zero());
            }
            const int end = gm_min(row + NORM_ROWS, rows);
            int r = row;
            for (; r + FEW <= end; r += FEW) grad_rows(t, a, with_out, FEW, r, b, count, in, mean, block[0], block[1]);
            for (; r < end; r++) grad_rows(t, a, with_out, 1, r, b, count, in, mean, block[0], block[1]);
            for (int k = 0; k < count; k += VEC) {
                const int left = count - k;
                float *to = sum + b + k, *to_dot = dot + b + k;
                vec_store_part(to, left, vec_load_part(to, left) + vec_load(GM_F32, block[0] + k));
                vec_store_part(to_dot, left, vec_load_part(to_dot, left) + vec_load(GM_F32, block[1] + k));
            }
        }
        for (int i = b; i < b + count; i++) dot[i] *= rstd[i];
    }
}

// The slope of relu and relu6 can be read off their output; other activations ignore out.
GM__INLINE bool slope_from_out(gm_act a, const void *out) { return out && (a == GM_ACT_RELU || a == GM_ACT_RELU6); }

static void norm_grad_stats(gm_dtype t, int rows, int c, const void *x, int ldx, const float *scale,
                            const float *shift, const void *out, int ldo, gm_act a, const void *dy, int ldy,
                            const float *mean, const float *rstd, float *sum_dz, float *sum_dzx) {
    const norm_in in = {x, out, dy, ldx, ldo, ldy, scale, shift};
    if (slope_from_out(a, out) && a == GM_ACT_RELU)
        GM__FOR_TYPE(t, grad_stats(T, GM_ACT_RELU, true, rows, c, &in, mean, rstd, sum_dz, sum_dzx));
    else if (slope_from_out(a, out))
        GM__FOR_TYPE(t, grad_stats(T, GM_ACT_RELU6, true, rows, c, &in, mean, rstd, sum_dz, sum_dzx));
    else
        GM__FOR_TYPE(t, GM__FOR_ACT(a, grad_stats(T, A, false, rows, c, &in, mean, rstd, sum_dz, sum_dzx)));
}

typedef struct norm_out {
    const float *ca, *cb, *cd;
    char *dx, *dres;
    int lddx, lddres;
    bool accumulate;
} norm_out;

GM__INLINE void grad_group(const gm_dtype t, const gm_act a, const bool with_out, const bool with_res, int left, int b,
                           const char *x, const char *out, const char *dy, const norm_in *in, const norm_out *to,
                           char *dx, char *dres) {
    vec v = vec_load(t, x);
    vec d = gradient_before_act(t, a, v, vec_load_part(in->scale + b, left), vec_load_part(in->shift + b, left),
                                with_out ? out : NULL, dy);
    if (with_res) store_or_add(t, dres, vec_keep(d, left), to->accumulate);
    vec base = vec_fma(vec_load_part(to->cb + b, left), v, vec_load_part(to->cd + b, left));
    vec_store(t, dx, vec_fma(vec_load_part(to->ca + b, left), d, base));
}

GM__INLINE void grad_apply(const gm_dtype t, const gm_act a, const bool with_out, const bool with_res, int rows,
                           int c, const norm_in *in, const norm_out *to) {
    const int whole = c / VEC * VEC;
    for (int row = 0; row < rows; row++) {
        const char *x = row_at(t, in->x, row, in->ldx), *dy = row_at(t, in->dy, row, in->ldy);
        const char *out = with_out ? row_at(t, in->out, row, in->ldo) : x;
        char *dx = row_at_mut(t, to->dx, row, to->lddx);
        char *dres = with_res ? row_at_mut(t, to->dres, row, to->lddres) : dx;
        for (int b = 0; b < whole; b += VEC) {
            ptrdiff_t at = b * vec_bytes(t);
            grad_group(t, a, with_out, with_res, VEC, b, x + at, out + at, dy + at, in, to, dx + at, dres + at);
        }
        if (whole < c) {
            ptrdiff_t at = whole * vec_bytes(t);
            grad_group(t, a, with_out, with_res, c - whole, whole, x + at, out + at, dy + at, in, to, dx + at,
                       dres + at);
        }
        zero_rest(t, dx, c, to->lddx);
        if (with_res) zero_rest(t, dres, c, to->lddres);
    }
}

static void norm_grad_apply(gm_dtype t, int rows, int c, const void *x, int ldx, const float *scale,
                            const float *shift, const void *out, int ldo, gm_act a, const void *dy, int ldy,
                            const float *ca, const float *cb, const float *cd, void *dx, int lddx, void *dres,
                            int lddres, bool accumulate_res) {
    const norm_in in = {x, out, dy, ldx, ldo, ldy, scale, shift};
    const norm_out to = {ca, cb, cd, dx, dres, lddx, lddres, accumulate_res};
    if (slope_from_out(a, out)) {
        if (a == GM_ACT_RELU && dres)
            GM__FOR_TYPE(t, grad_apply(T, GM_ACT_RELU, true, true, rows, c, &in, &to));
        else if (a == GM_ACT_RELU)
            GM__FOR_TYPE(t, grad_apply(T, GM_ACT_RELU, true, false, rows, c, &in, &to));
        else if (dres)
            GM__FOR_TYPE(t, grad_apply(T, GM_ACT_RELU6, true, true, rows, c, &in, &to));
        else
            GM__FOR_TYPE(t, grad_apply(T, GM_ACT_RELU6, true, false, rows, c, &in, &to));
    } else if (dres) {
        GM__FOR_TYPE(t, GM__FOR_ACT(a, grad_apply(T, A, false, true, rows, c, &in, &to)));
    } else {
        GM__FOR_TYPE(t, GM__FOR_ACT(a, grad_apply(T, A, false, false, rows, c, &in, &to)));
    }
}

void GM__VEC_NAME(norm_fill)(gm_kernels *table) {
    table->norm_stats = norm_stats;
    table->norm_apply = norm_apply;
    table->norm_grad_stats = norm_grad_stats;
    table->norm_grad_apply = norm_grad_apply;
}

#endif
