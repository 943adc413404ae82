// SPDX-License-Identifier: Apache-2.0
#include "quant_baselines.h"
#include "checkpoint/quant_huffman.h"

#include <math.h>
#include <zstd.h>

baseline_result baseline_bf16(size_t n, const float *w) {
    baseline_result r = {.bytes = 2 * (double)n};
    for (size_t i = 0; i < n; i++) {
        double d = (double)(w[i] - gm_bf16_to_f32(gm_bf16_from_f32(w[i])));
        r.wrong += d * d;
    }
    return r;
}

baseline_result baseline_zstd(size_t n, const float *w) {
    size_t room = ZSTD_compressBound(4 * n);
    void *to = gm_alloc(room, 1);
    size_t used = to ? ZSTD_compress(to, room, w, 4 * n, 3) : 0;
    baseline_result r = {.bytes = !to || ZSTD_isError(used) ? -1 : (double)used};
    gm_free(to);
    return r;
}

static double grid_error(size_t n, const float *w, float low, float high, int levels) {
    float step = (high - low) / (float)(levels - 1);
    double wrong = 0;
    for (size_t i = 0; i < n; i++) {
        float k = step > 0 ? roundf((w[i] - low) / step) : 0;
        k = fminf(fmaxf(k, 0), (float)(levels - 1));
        double d = (double)(w[i] - (low + k * step));
        wrong += d * d;
    }
    return wrong;
}

baseline_result baseline_uniform(size_t n, const float *w, int bits) {
    enum { VECTOR = 64, STEPS = 25 };
    baseline_result r = {0};
    for (size_t at = 0; at < n; at += VECTOR) {
        size_t count = n - at < VECTOR ? n - at : VECTOR;
        float low = w[at], high = w[at];
        for (size_t i = 1; i < count; i++) {
            low = fminf(low, w[at + i]);
            high = fmaxf(high, w[at + i]);
        }
        float move = (high - low) / (2 * STEPS);
        double best = grid_error(count, w + at, low, high, 1 << bits);
        for (int s = 0; s < STEPS; s++) {
            double up = grid_error(count, w + at, low + move, high, 1 << bits);
            double down = grid_error(count, w + at, low, high - move, 1 << bits);
            if (fmin(up, down) >= best) break;
            if (up < down) low += move;
            else high -= move;
            best = fmin(up, down);
        }
        // the bounds are stored as bf16
        low = gm_bf16_to_f32(gm_bf16_from_f32(low));
        high = gm_bf16_to_f32(gm_bf16_from_f32(high));
        r.wrong += grid_error(count, w + at, low, high, 1 << bits);
        r.bytes += (double)(count * (size_t)bits) / 8 + 4;
    }
    return r;
}

baseline_result baseline_qd(size_t n, const float *w, int levels, uint8_t *ids, bool first) {
    baseline_result r = {.bytes = -1};
    uint32_t *count = gm_alloc(GM__HUFFMAN_KEYS, sizeof *count);
    gm__huffman h = {0};
    if (!count || n == 0) goto done;
    float low = w[0], high = w[0];
    for (size_t i = 1; i < n; i++) {
        low = fminf(low, w[i]);
        high = fmaxf(high, w[i]);
    }
    float step = (high - low) / (float)(levels - 1);
    for (size_t i = 0; i < n; i++) {
        int k = step > 0 ? (int)lrintf((w[i] - low) / step) : 0, before = first ? 0 : ids[i];
        double d = (double)(w[i] - (low + (float)k * step));
        r.wrong += d * d;
        count[(before - k + levels) % levels]++;
        ids[i] = (uint8_t)k;
    }
    if (gm__huffman_build(&h, count, NULL) == GM_OK) r.bytes = (double)gm__huffman_bits(&h, count) / 8 + 8;
    gm__huffman_fini(&h);
done:
    gm_free(count);
    return r;
}
