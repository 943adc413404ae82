// SPDX-License-Identifier: Apache-2.0
// Softmax and cross entropy over rows of f32 logits, portable. Sums are double: a row is short and the loss is
// compared between runs.
#include "kernel/ref/block.h"
#include "kernel/vector_fill.h"

// NaN in x gives NaN.
static float row_max(int c, const float *x) {
    float top = x[0];
    for (int i = 1; i < c; i++)
        if (!(x[i] <= top)) top = top != top ? top : x[i];
    return top;
}

static void softmax(int rows, int c, const float *x, int ldx, float *y, int ldy) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *in = x + row * ldx;
        float *out = y + row * ldy, top = row_max(c, in);
        double sum = 0;
        for (int i = 0; i < c; i++) {
            out[i] = expf(in[i] - top);
            sum += out[i];
        }
        float share = (float)(1 / sum);
        for (int i = 0; i < c; i++) out[i] *= share;
        gm__zero_tail(GM_F32, y, row, ldy, c);
    }
}

static void cross_entropy(int rows, int c, const float *x, int ldx, const int *label, const int *label2,
                          const float *lam, float smoothing, float scale, float *loss, float *dlogits, int ldd) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *in = x + row * ldx;
        float top = row_max(c, in);
        double sum = 0, total = 0;
        for (int i = 0; i < c; i++) {
            sum += expf(in[i] - top);
            total += in[i] - top;
        }
        int first = label[row], second = label2 ? label2[row] : first;
        float share = label2 ? lam[row] : 1, keep = 1 - smoothing;
        if (loss) {
            double target = share * (double)(in[first] - top) + (1 - share) * (double)(in[second] - top);
            loss[row] = (float)(log(sum) - keep * target - smoothing * total / c);
        }
        if (!dlogits) continue;
        float *out = dlogits + row * ldd, inverse = (float)(1 / sum);
        for (int i = 0; i < c; i++) out[i] = scale * (expf(in[i] - top) * inverse - smoothing / (float)c);
        out[first] -= scale * keep * share;
        out[second] -= scale * keep * (1 - share);
        gm__zero_tail(GM_F32, dlogits, row, ldd, c);
    }
}

static void cross_entropy_soft(int rows, int c, const float *x, int ldx, const float *q, int ldq, float temperature,
                               float scale, float *loss, float *dlogits, int ldd) {
    float cool = 1 / temperature;
    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *in = x + row * ldx, *target = q + row * ldq;
        float top = row_max(c, in);
        double sum = 0, mass = 0, cross = 0;
        for (int i = 0; i < c; i++) {
            float z = (in[i] - top) * cool;
            sum += expf(z);
            mass += target[i];
            cross += (double)target[i] * z;
        }
        if (loss) loss[row] = (float)((double)temperature * temperature * (mass * log(sum) - cross));
        if (!dlogits) continue;
        float *out = dlogits + row * ldd, share = (float)(mass / sum);
        for (int i = 0; i < c; i++)
            out[i] = scale * temperature * (expf((in[i] - top) * cool) * share - target[i]);
        gm__zero_tail(GM_F32, dlogits, row, ldd, c);
    }
}

void gm__loss_fill_ref(gm_kernels *table) {
    table->softmax = softmax;
    table->cross_entropy = cross_entropy;
    table->cross_entropy_soft = cross_entropy_soft;
}
