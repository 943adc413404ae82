// SPDX-License-Identifier: Apache-2.0
// dropout: zeroes elements with probability rate and scales the rest by 1/(1-rate); active only in training passes that
// ask for it. Masks are keyed by (seed, step, node, image): a pure function, so a resumed run repeats them.
#include <string.h>

#include "graph/ops/ops.h"

static float rate_of(const gm_exec *x, int node) {
    return x->mode == GM_MODE_TRAIN ? x->graph->node[node].rate * x->dropout_scale : 0.0f;
}

static uint8_t *mask(gm_exec *x, int node, int image) {
    gm_value *y = gm__out(x, node);
    return (uint8_t *)x->aux[node] + (size_t)image * (size_t)gm__positions(y) * (size_t)y->ld;
}

static void apply(gm_dtype type, size_t count, const uint8_t *keep, float scale, const void *src, void *dst, bool add) {
    for (size_t i = 0; i < count; i++) {
        float v = type == GM_F32 ? ((const float *)src)[i] : gm_bf16_to_f32(((const gm_bf16 *)src)[i]);
        v = keep[i] ? v * scale : 0.0f;
        if (type == GM_F32) {
            float *d = (float *)dst + i;
            *d = add ? *d + v : v;
        } else {
            gm_bf16 *d = (gm_bf16 *)dst + i;
            *d = gm_bf16_from_f32(add ? gm_bf16_to_f32(*d) + v : v);
        }
    }
}

static void forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    float rate = rate_of(x, node);
    size_t count = (size_t)gm__positions(out) * (size_t)out->ld;
    uint32_t threshold = (uint32_t)((double)rate * 4294967296.0);
    for (int i = image0; i < image1; i++) {
        if (rate <= 0) {
            memcpy(gm__data(out, i), gm__data(in, i), count * gm_dtype_size(x->type));
            continue;
        }
        uint8_t *keep = mask(x, node, i);
        gm_rng rng = gm_rng_keyed(x->seed, x->step, ((uint64_t)node << 32) | (uint32_t)i, GM_RNG_DROPOUT);
        for (size_t j = 0; j < count; j++) keep[j] = gm_rng_u32(&rng) >= threshold;
        apply(x->type, count, keep, 1.0f / (1.0f - rate), gm__data(in, i), gm__data(out, i), false);
    }
}

static void backward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    if (!in->grad) return;
    float rate = rate_of(x, node);
    size_t count = (size_t)gm__positions(out) * (size_t)out->ld;
    for (int i = image0; i < image1; i++) {
        if (rate <= 0) memset(mask(x, node, i), 1, count);
        apply(x->type, count, mask(x, node, i), rate > 0 ? 1.0f / (1.0f - rate) : 1.0f, gm__grad(x, out, i),
              gm__grad(x, in, i), gm__accumulates(x, node, 0));
    }
}

static size_t aux(const gm_graph *g, int node, const gm_resolved *r, int batch) {
    (void)g;
    gm_shape s = r->node[node].out;
    return (size_t)batch * (size_t)(s.h * s.w) * (size_t)gm_round_up(s.c, 64);
}

const gm_op gm__op_dropout = {
    .name = "dropout", .resolve = gm__resolve_same, .forward = forward, .backward = backward, .aux = aux};
