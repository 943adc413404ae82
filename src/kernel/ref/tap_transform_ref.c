// SPDX-License-Identifier: Apache-2.0
// The learned kernel transform of Once-for-all (Cai et al. 2020, section 3.3): a smaller depthwise kernel is a
// matrix times the centre crop of the larger one, the same matrix for all channels. Small work: no faster twin.
#include "kernel/ref/block.h"
#include "kernel/vector_fill.h"

static ptrdiff_t crop_offset(int kernel, int tap, int row, int ld) {
    return (ptrdiff_t)(tap / kernel * row + tap % kernel) * ld;
}

static void tap_transform(int kernel, int c, const float *x, int x_row, int x_ld, const float *m, float *y,
                          int y_ld) {
    int taps = kernel * kernel;
    for (int i = 0; i < taps; i++) {
        float *out = y + (ptrdiff_t)i * y_ld;
        memset(out, 0, (size_t)y_ld * sizeof(float));
        for (int j = 0; j < taps; j++) {
            const float *in = x + crop_offset(kernel, j, x_row, x_ld);
            float f = m[i * taps + j];
            for (int k = 0; k < c; k++) out[k] += f * in[k];
        }
    }
}

static void tap_transform_grad(int kernel, int c, const float *x, int x_row, int x_ld, const float *m,
                               const float *dy, int y_ld, float *dm, float *dx, int dx_row, int dx_ld) {
    int taps = kernel * kernel;
    for (int i = 0; i < taps; i++) {
        const float *d = dy + (ptrdiff_t)i * y_ld;
        for (int j = 0; j < taps; j++) {
            const float *in = x + crop_offset(kernel, j, x_row, x_ld);
            float *to = dx + crop_offset(kernel, j, dx_row, dx_ld);
            float f = m[i * taps + j], sum = 0;
            for (int k = 0; k < c; k++) {
                sum += d[k] * in[k];
                to[k] += f * d[k];
            }
            dm[i * taps + j] += sum;
        }
    }
}

void gm__tap_transform_fill_ref(gm_kernels *table) {
    table->tap_transform = tap_transform;
    table->tap_transform_grad = tap_transform_grad;
}
