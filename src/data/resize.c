// SPDX-License-Identifier: Apache-2.0
// Pictures to squares: a triangle filter as wide as one output pixel (bilinear when enlarging,
// antialiased when shrinking; the same filter as "bilinear" of the common imaging libraries).
#include "data/readers.h"

#include <math.h>
#include <string.h>

// Source samples that output `at` of `size` reads: [*low, *high), and the scale of the filter.
static float window(int at, int size, int side, int *low, int *high, float *centre) {
    float scale = (float)side / (float)size, reach = scale > 1 ? scale : 1;
    *centre = ((float)at + 0.5f) * scale;
    *low = gm_max((int)floorf(*centre - reach), 0);
    *high = gm_min((int)ceilf(*centre + reach), side);
    return reach;
}

static float triangle(int sample, float centre, float reach) {
    float w = 1 - fabsf((float)sample + 0.5f - centre) / reach;
    return w > 0 ? w : 0;
}

gm_status gm__picture_resize(const gm__picture *p, gm__rect from, int size, uint8_t *out,
                             gm_error *err) {
    size_t line_bytes = (size_t)from.width * 3;
    float *line = gm_alloc(line_bytes, sizeof *line);
    if (!line) return gm_fail(err, GM_ERR_MEMORY, "out of memory to resize a picture");
    for (int oy = 0; oy < size; oy++) {
        int low, high;
        float centre, sum = 0, reach = window(oy, size, from.height, &low, &high, &centre);
        memset(line, 0, line_bytes * sizeof *line);
        for (int y = low; y < high; y++) {
            float w = triangle(y, centre, reach);
            const uint8_t *src =
                p->rgb + ((size_t)(from.y + y) * (size_t)p->width + (size_t)from.x) * 3;
            sum += w;
            for (size_t k = 0; k < line_bytes; k++) line[k] += w * (float)src[k];
        }
        float down = 1 / sum;
        for (int ox = 0; ox < size; ox++, out += 3) {
            float total[3] = {0, 0, 0};
            sum = 0;
            reach = window(ox, size, from.width, &low, &high, &centre);
            for (int x = low; x < high; x++) {
                float w = triangle(x, centre, reach);
                sum += w;
                for (int c = 0; c < 3; c++) total[c] += w * line[3 * x + c];
            }
            for (int c = 0; c < 3; c++) out[c] = (uint8_t)fminf(total[c] * down / sum + 0.5f, 255);
        }
    }
    gm_free(line);
    return GM_OK;
}
