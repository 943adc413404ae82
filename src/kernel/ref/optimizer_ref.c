// SPDX-License-Identifier: Apache-2.0
// Optimizers and reductions over flat f32 arrays, portable.
#include "kernel/ref/block.h"
#include "kernel/vector_fill.h"

static void sgd(size_t n, float *w, const float *g, float *m, float lr, float mu, float wd, bool nesterov) {
    for (size_t i = 0; i < n; i++) {
        float d = g[i] + wd * w[i];
        float v = mu * m[i] + d;
        m[i] = v;
        w[i] -= lr * (nesterov ? d + mu * v : v);
    }
}

static void adamw(size_t n, float *w, const float *g, float *m, float *v, float lr, float b1, float b2, float eps,
                  float wd, float bias1, float bias2) {
    float step = lr / bias1, root = 1 / sqrtf(bias2), decay = lr * wd;
    for (size_t i = 0; i < n; i++) {
        m[i] = b1 * m[i] + (1 - b1) * g[i];
        v[i] = b2 * v[i] + (1 - b2) * (g[i] * g[i]);
        w[i] = w[i] - decay * w[i] - step * m[i] / (sqrtf(v[i]) * root + eps);
    }
}

static double sumsq(size_t n, const float *x) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}

static void scale(size_t n, float a, float *x) {
    for (size_t i = 0; i < n; i++) x[i] *= a;
}

static void axpy(size_t n, float a, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

void gm__optimizer_fill_ref(gm_kernels *table) {
    table->sgd = sgd;
    table->adamw = adamw;
    table->sumsq = sumsq;
    table->scale = scale;
    table->axpy = axpy;
}
