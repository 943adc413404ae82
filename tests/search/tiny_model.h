// SPDX-License-Identifier: Apache-2.0
// A tiny network with drawn weights and a data set made up on the spot, for the tests that run subnets.
#ifndef GAMUT_TESTS_TINY_MODEL_H
#define GAMUT_TESTS_TINY_MODEL_H

#include "search_test.h"

enum { TINY_SIDE = 12, TINY_CLASSES = 4 };

static inline gm_model *tiny_model(uint64_t seed) {
    const gm_model_settings settings = {.classes = TINY_CLASSES, .resolution = TINY_SIDE, .width = 0.25};
    gm_model *m = NULL;
    gm_error err = {0};
    assert_ok(gm_model_create("resnet-28", &settings, &m, &err));
    gm_model_init_params(m, seed);
    return m;
}

// Images of noise with a bright row that tells the class.
static inline gm_dataset *tiny_data(int images) {
    gm_dataset *d = gm_alloc(1, sizeof *d);
    snprintf(d->name, sizeof d->name, "made-up");
    d->images = images;
    d->height = d->width = TINY_SIDE;
    d->channels = 1;
    d->classes = TINY_CLASSES;
    d->pixels = gm_alloc((size_t)images, TINY_SIDE * TINY_SIDE);
    d->labels = gm_alloc((size_t)images, sizeof *d->labels);
    gm_rng rng = gm_rng_keyed(9, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < images; i++) {
        uint8_t *p = d->pixels + (size_t)i * TINY_SIDE * TINY_SIDE;
        d->labels[i] = (int32_t)gm_rng_below(&rng, TINY_CLASSES);
        for (int k = 0; k < TINY_SIDE * TINY_SIDE; k++) p[k] = (uint8_t)gm_rng_below(&rng, 100);
        for (int x = 0; x < TINY_SIDE; x++) p[d->labels[i] * 3 * TINY_SIDE + x] = 250;
    }
    return d;
}

static inline void tiny_calibrate(gm_model *m, const gm_dataset *d, const gm_choice *choice, int count) {
    gm_walker *w = NULL;
    gm_error err = {0};
    const gm_calibrate_settings s = {.images = 32, .batch = 16, .seed = 1};
    gm_augment a = gm_augment_default();
    memcpy(a.mean, m->input_mean, sizeof a.mean);
    memcpy(a.std, m->input_std, sizeof a.std);
    assert_ok(gm_walker_create(m->graph, m->norm_offset, GM_F32, 16, false, &w, &err));
    for (int i = 0; i < count; i++) assert_ok(gm_calibrate(m, w, d, NULL, d->images, &a, &s, &choice[i], &err));
    gm_walker_destroy(w);
}

#endif
