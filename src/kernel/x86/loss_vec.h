// SPDX-License-Identifier: Apache-2.0
// Softmax and cross entropy over rows of f32 logits, for any vector width.
#ifndef GAMUT_KERNEL_LOSS_VEC_H
#define GAMUT_KERNEL_LOSS_VEC_H

// Largest of a row; NaN when there is one.
static float row_max(int c, const float *x) {
    vec top = vec_set(x[0]);
    int i = 0;
    for (; i + VEC <= c; i += VEC) {
        vec v = vec_load(GM_F32, x + i);
        top = vec_or_nan(vec_max(top, v), v);
    }
    float lanes[VEC], best = x[0];
    vec_store(GM_F32, lanes, top);
    for (int k = 0; k < VEC + c - i; k++) {
        float v = k < VEC ? lanes[k] : x[i + k - VEC];
        if (!(v <= best)) best = best != best ? best : v;
    }
    return best;
}

// Sum of e^((x - top)*cool); y gets the terms when it is not NULL.
static double exp_sum(int c, const float *x, float top, float cool, float *y) {
    const vec high = vec_set(top), factor = vec_set(cool);
    double sum = 0;
    for (int i = 0; i < c; i += VEC) {
        vec e = vec_keep(vec_exp((vec_load_part(x + i, c - i) - high) * factor), c - i);
        if (y) vec_store_part(y + i, c - i, e);
        sum += vec_sum_double(e);
    }
    return sum;
}

static void softmax(int rows, int c, const float *x, int ldx, float *y, int ldy) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        float *out = y + row * ldy;
        const vec share = vec_set((float)(1 / exp_sum(c, x + row * ldx, row_max(c, x + row * ldx), 1, out)));
        for (int i = 0; i < c; i += VEC)
            vec_store(GM_F32, out + i, vec_keep(vec_load_part(out + i, c - i) * share, c - i));
        zero_rest(GM_F32, (char *)out, c, ldy);
    }
}

static void cross_entropy(int rows, int c, const float *x, int ldx, const int *label, const int *label2,
                          const float *lam, float smoothing, float scale, float *loss, float *dlogits, int ldd) {
    const float keep = 1 - smoothing;
    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *in = x + row * ldx, top = row_max(c, in), first = in[label[row]];
        const float second = label2 ? in[label2[row]] : first, part = label2 ? lam[row] : 1;
        const double sum = exp_sum(c, in, top, 1, NULL);
        if (loss) {
            double target = part * (double)(first - top) + (1 - part) * (double)(second - top), total = 0;
            for (int i = 0; i < c; i += VEC)
                total += vec_sum_double(vec_keep(vec_load_part(in + i, c - i) - vec_set(top), c - i));
            loss[row] = (float)(log(sum) - keep * target - smoothing * total / c);
        }
        if (!dlogits) continue;
        float *out = dlogits + row * ldd;
        const vec share = vec_set((float)(scale / sum)), flat = vec_set(scale * smoothing / (float)c);
        for (int i = 0; i < c; i += VEC) {
            vec e = vec_exp(vec_load_part(in + i, c - i) - vec_set(top));
            vec_store(GM_F32, out + i, vec_keep(e * share - flat, c - i));
        }
        zero_rest(GM_F32, (char *)out, c, ldd);
        out[label[row]] -= scale * keep * part;
        if (label2) out[label2[row]] -= scale * keep * (1 - part);
    }
}

static void cross_entropy_soft(int rows, int c, const float *x, int ldx, const float *q, int ldq, float temperature,
                               float scale, float *loss, float *dlogits, int ldd) {
    const float cool = 1 / temperature;
    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *in = x + row * ldx, *target = q + row * ldq, top = row_max(c, in);
        const double sum = exp_sum(c, in, top, cool, NULL);
        double mass = 0, cross = 0;
        for (int i = 0; i < c; i += VEC) {
            vec w = vec_load_part(target + i, c - i);
            mass += vec_sum_double(w);
            cross += vec_sum_double(w * ((vec_load_part(in + i, c - i) - vec_set(top)) * vec_set(cool)));
        }
        if (loss) loss[row] = (float)((double)temperature * temperature * (mass * log(sum) - cross));
        if (!dlogits) continue;
        float *out = dlogits + row * ldd;
        const vec share = vec_set((float)(mass / sum)), factor = vec_set(scale * temperature);
        for (int i = 0; i < c; i += VEC) {
            vec e = vec_exp((vec_load_part(in + i, c - i) - vec_set(top)) * vec_set(cool));
            vec d = (e * share - vec_load_part(target + i, c - i)) * factor;
            vec_store(GM_F32, out + i, vec_keep(d, c - i));
        }
        zero_rest(GM_F32, (char *)out, c, ldd);
    }
}

void GM__VEC_NAME(loss_fill)(gm_kernels *table) {
    table->softmax = softmax;
    table->cross_entropy = cross_entropy;
    table->cross_entropy_soft = cross_entropy_soft;
}

#endif
