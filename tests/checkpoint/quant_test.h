// SPDX-License-Identifier: Apache-2.0
// Made-up checkpoints: tensors of several kinds and shapes of distribution, and what a few steps of training do to them.
#ifndef GAMUT_QUANT_TEST_H
#define GAMUT_QUANT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checkpoint/quant_private.h"

#include <math.h>
#include <stdlib.h>

enum { TENSORS = 7 };
static const struct {
    const char *name;
    gm__quant_kind kind;
    size_t count;
} test_shapes[TENSORS] = {{"stem.weight", GM__QUANT_CONV, 432}, {"a.conv.weight", GM__QUANT_CONV, 5000},
                          {"a.depthwise.weight", GM__QUANT_DEPTHWISE, 1000}, {"empty", GM__QUANT_LINEAR, 0},
                          {"tokens.weight", GM__QUANT_EMBEDDING, 3001}, {"head.weight", GM__QUANT_LINEAR, 2570},
                          {"head.bias", GM__QUANT_SMALL, 90}};

typedef struct checkpoint {
    gm__quant_tensor tensor[TENSORS];
    gm__quant_shape shape[TENSORS];
    float *weights[TENSORS], *importance[TENSORS];
} checkpoint;

static inline float test_weight(gm_rng *rng, int tensor) {
    float v = gm_rng_normal(rng);
    if (tensor == 2) v = v * v * v;                  // heavy tails
    if (tensor == 4) v = fabsf(v) + 1;               // one-sided
    if (gm_rng_below(rng, 50) == 0) v = 0;           // padding
    return v * 0.05f;
}

static inline void checkpoint_make(checkpoint *c, uint64_t seed) {
    memset(c, 0, sizeof *c);
    for (int i = 0; i < TENSORS; i++) {
        gm_rng rng = gm_rng_keyed(seed, (uint64_t)i, 0, GM_RNG_TEST);
        size_t n = test_shapes[i].count;
        c->weights[i] = malloc((n + 1) * sizeof(float));
        c->importance[i] = malloc((n + 1) * sizeof(float));
        assert_true(c->weights[i] && c->importance[i]);
        for (size_t j = 0; j < n; j++) {
            c->weights[i][j] = test_weight(&rng, i);
            c->importance[i][j] = gm_rng_normal(&rng) * 0.01f;
        }
        c->shape[i] = (gm__quant_shape){test_shapes[i].name, test_shapes[i].kind, n};
        c->tensor[i] = (gm__quant_tensor){c->shape[i], c->weights[i], c->importance[i], GM__QUANT_AVERAGE};
    }
}

// Some training: every weight that is not padding moves by a share of the spread.
static inline void checkpoint_train(checkpoint *c, uint64_t seed, float share) {
    for (int i = 0; i < TENSORS; i++) {
        gm_rng rng = gm_rng_keyed(seed, (uint64_t)i, 1, GM_RNG_TEST);
        for (size_t j = 0; j < test_shapes[i].count; j++) {
            float step = gm_rng_normal(&rng) * share * 0.05f;
            if (c->weights[i][j] != 0) c->weights[i][j] += step;
            c->importance[i][j] = 0.5f * c->importance[i][j] + 0.005f * gm_rng_normal(&rng);
        }
    }
}

static inline void checkpoint_free(checkpoint *c) {
    for (int i = 0; i < TENSORS; i++) {
        free(c->weights[i]);
        free(c->importance[i]);
    }
}

static inline gm__quant_settings test_settings(void) {
    gm__quant_settings s = gm__quant_settings_default();
    s.parallel = false;
    return s;
}

// A blob and the state it stands for.
typedef struct coded {
    uint8_t *blob;
    size_t bytes;
    gm__quant_state *state;
    gm__quant_report report;
} coded;

static inline coded encode_ok(const checkpoint *c, const gm__quant_settings *s, const gm__quant_state *previous) {
    coded out = {0};
    gm_error err = {0};
    if (gm__quant_encode(c->tensor, TENSORS, s, previous, &out.blob, &out.bytes, &out.state, &out.report, &err) != GM_OK)
        fail_msg("%s", err.text);
    return out;
}

static inline gm__quant_state *decode_ok(const checkpoint *c, const coded *from, const gm__quant_state *previous) {
    gm__quant_state *state = NULL;
    gm_error err = {0};
    if (gm__quant_decode(from->blob, from->bytes, "test", c->shape, TENSORS, previous, false, &state, &err) != GM_OK)
        fail_msg("%s", err.text);
    return state;
}

static inline void assert_same_state(const gm__quant_state *a, const gm__quant_state *b) {
    assert_int_equal(a->weights, b->weights);
    assert_memory_equal(a->ids, b->ids, a->weights);
    assert_int_equal(a->kept_count, b->kept_count);
    if (a->kept_count) assert_memory_equal(a->kept, b->kept, a->kept_count * sizeof *a->kept);
    for (int i = 0; i < a->tensors; i++) {
        assert_int_equal(a->part[i].bins, b->part[i].bins);
        assert_memory_equal(a->part[i].centre, b->part[i].centre, sizeof a->part[i].centre);
    }
    assert_int_equal(a->hash, b->hash);
}

static inline void coded_free(coded *c) {
    gm_free(c->blob);
    gm__quant_state_destroy(c->state);
    *c = (coded){0};
}

#endif
