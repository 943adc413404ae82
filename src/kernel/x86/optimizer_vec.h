// SPDX-License-Identifier: Apache-2.0
// Optimizers and reductions over flat f32 arrays, for any vector width. The last vector is masked.
#ifndef GAMUT_KERNEL_OPTIMIZER_VEC_H
#define GAMUT_KERNEL_OPTIMIZER_VEC_H

GM__INLINE int left_of(size_t n, size_t i) { return n - i >= VEC ? VEC : (int)(n - i); }

GM__INLINE void sgd_all(size_t n, float *w, const float *g, float *m, float lr, float mu, float wd,
                        const bool nesterov) {
    const vec rate = vec_set(lr), momentum = vec_set(mu), decay = vec_set(wd);
    for (size_t i = 0; i < n; i += VEC) {
        int left = left_of(n, i);
        vec x = vec_load_part(w + i, left);
        vec d = vec_fma(decay, x, vec_load_part(g + i, left));
        vec v = vec_fma(momentum, vec_load_part(m + i, left), d);
        vec_store_part(m + i, left, v);
        vec_store_part(w + i, left, vec_fnma(rate, nesterov ? vec_fma(momentum, v, d) : v, x));
    }
}

static void sgd(size_t n, float *w, const float *g, float *m, float lr, float mu, float wd, bool nesterov) {
    if (nesterov)
        sgd_all(n, w, g, m, lr, mu, wd, true);
    else
        sgd_all(n, w, g, m, lr, mu, wd, false);
}

static void adamw(size_t n, float *w, const float *g, float *m, float *v, float lr, float b1, float b2, float eps,
                  float wd, float bias1, float bias2) {
    const vec keep1 = vec_set(b1), add1 = vec_set(1 - b1), keep2 = vec_set(b2), add2 = vec_set(1 - b2);
    const vec step = vec_set(lr / bias1), small = vec_set(eps), decay = vec_set(lr * wd);
    const vec root = vec_set(1) / vec_sqrt(vec_set(bias2));
    for (size_t i = 0; i < n; i += VEC) {
        int left = left_of(n, i);
        vec x = vec_load_part(w + i, left), d = vec_load_part(g + i, left);
        vec first = vec_fma(keep1, vec_load_part(m + i, left), add1 * d);
        vec second = vec_fma(keep2, vec_load_part(v + i, left), add2 * (d * d));
        vec_store_part(m + i, left, first);
        vec_store_part(v + i, left, second);
        vec move = step * first / vec_fma(vec_sqrt(second), root, small);
        vec_store_part(w + i, left, vec_fnma(decay, x, x) - move);
    }
}

// Blocks of 4,096 in four f32 vectors, then doubles: the error stays near 1e-6 of the sum.
static double sumsq(size_t n, const float *x) {
    enum { BLOCK = 4096 };
    double sum = 0;
    for (size_t b = 0; b < n; b += BLOCK) {
        size_t end = n - b > BLOCK ? b + BLOCK : n;
        vec s[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
        size_t i = b;
        for (; i + 4 * VEC <= end; i += 4 * VEC)
            for (int k = 0; k < 4; k++) {
                vec v = vec_load(GM_F32, x + i + k * VEC);
                s[k] = vec_fma(v, v, s[k]);
            }
        for (; i < end; i += VEC) {
            vec v = vec_load_part(x + i, left_of(end, i));
            s[0] = vec_fma(v, v, s[0]);
        }
        sum += vec_sum_double(s[0]) + vec_sum_double(s[1]) + (vec_sum_double(s[2]) + vec_sum_double(s[3]));
    }
    return sum;
}

static void scale(size_t n, float a, float *x) {
    const vec f = vec_set(a);
    for (size_t i = 0; i < n; i += VEC) {
        int left = left_of(n, i);
        vec_store_part(x + i, left, vec_load_part(x + i, left) * f);
    }
}

static void axpy(size_t n, float a, const float *x, float *y) {
    const vec f = vec_set(a);
    for (size_t i = 0; i < n; i += VEC) {
        int left = left_of(n, i);
        vec_store_part(y + i, left, vec_fma(f, vec_load_part(x + i, left), vec_load_part(y + i, left)));
    }
}

void GM__VEC_NAME(optimizer_fill)(gm_kernels *table) {
    table->sgd = sgd;
    table->adamw = adamw;
    table->sumsq = sumsq;
    table->scale = scale;
    table->axpy = axpy;
}

#endif
