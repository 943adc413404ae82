// SPDX-License-Identifier: Apache-2.0
// A small calibrated model with random weights and norms that matter, and pictures of noise, for the tests of plan/.
#ifndef GAMUT_PLAN_TEST_H
#define GAMUT_PLAN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <gamut/plan.h>
#include <gamut/train.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline gm_dataset *noise_set(int images, int side, int channels, int classes) {
    gm_dataset *d = gm_alloc(1, sizeof *d);
    *d = (gm_dataset){.images = images, .height = side, .width = side, .channels = channels, .classes = classes};
    snprintf(d->name, sizeof d->name, "noise");
    size_t pixels = (size_t)images * (size_t)(side * side * channels);
    d->pixels = gm_alloc(pixels, 1);
    d->labels = gm_alloc((size_t)images, sizeof *d->labels);
    gm_rng rng = gm_rng_keyed(5, 0, 0, GM_RNG_TEST);
    for (size_t i = 0; i < pixels; i++) d->pixels[i] = (uint8_t)(gm_rng_u32(&rng) >> 24);
    for (int i = 0; i < images; i++) d->labels[i] = (int32_t)gm_rng_below(&rng, (uint32_t)classes);
    return d;
}

typedef struct fixture {
    gm_model *model;
    gm_walker *walker; // f32
    gm_dataset *data;
    gm_augment augment;
} fixture;

// Gamma, beta and biases away from 1 and 0, so that a mistake in a slice of them shows.
static inline void spread_norms(gm_model *m) {
    gm_rng rng = gm_rng_keyed(9, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < m->graph->params; i++) {
        const gm_param *p = &m->graph->param[i];
        if (p->layout != GM_LAYOUT_PLAIN || p->rank != 1) continue;
        bool weight = strstr(p->name, ".weight") != NULL;
        for (size_t e = 0; e < p->count; e++)
            m->params[p->offset + e] = (weight ? 1.0f : 0.0f) + 0.3f * (gm_rng_uniform(&rng) - 0.5f);
    }
}

static inline fixture fixture_open(const char *preset, const gm_model_settings *settings, const char *const *choices, int count,
                                   int batch) {
    fixture f = {0};
    gm_error err = {0};
    assert_int_equal(gm_model_create(preset, settings, &f.model, &err), GM_OK);
    gm_model_init_params(f.model, 3);
    spread_norms(f.model);
    const gm_graph *g = f.model->graph;
    f.data = noise_set(24, f.model->settings.resolution, g->input_channels, g->classes);
    f.augment = gm_augment_default();
    for (int c = 0; c < 4; c++) {
        f.augment.mean[c] = 0.5f;
        f.augment.std[c] = 0.29f;
    }
    assert_int_equal(gm_walker_create(g, f.model->norm_offset, GM_F32, batch, false, &f.walker, &err), GM_OK);
    gm_walker_refresh(f.walker, f.model->params);
    gm_calibrate_settings s = gm_calibrate_settings_default();
    s.images = 16;
    for (int i = 0; i < count; i++) {
        gm_choice choice;
        assert_int_equal(gm_choice_parse(&g->space, choices[i], &choice, &err), GM_OK);
        assert_int_equal(gm_calibrate(f.model, f.walker, f.data, NULL, 0, &f.augment, &s, &choice, &err), GM_OK);
    }
    return f;
}

static inline void fixture_close(fixture *f) {
    gm_walker_destroy(f->walker);
    gm_dataset_destroy(f->data);
    gm_model_destroy(f->model);
}

// Images [0,images) of the set, as a plan or walker reads them.
static inline void fill_images(const fixture *f, int images, int side, gm_dtype type, void *x, int ld) {
    gm_augment a = f->augment;
    a.resolution = side;
    int *labels = gm_alloc((size_t)images, sizeof *labels);
    gm_batch b = {.height = side, .width = side, .channels = f->data->channels, .ld = ld, .type = type, .x = x, .label = labels};
    gm_batch_fill(f->data, NULL, NULL, images, &a, 1, 0, 0, &b);
    gm_free(labels);
}

// Logits of the walker's EVAL pass, [images][classes]; the caller frees them.
static inline float *walker_logits(fixture *f, const gm_choice *choice, int images) {
    gm_error err = {0};
    const gm_graph *g = f->model->graph;
    int side = gm_size_value(g, &g->node[0].out, choice);
    gm_batch b;
    assert_int_equal(gm_batch_init(&b, images, side, g->input_channels, gm_walker_type(f->walker), &err), GM_OK);
    fill_images(f, images, side, b.type, b.x, b.ld);
    b.images = images;
    b.height = b.width = side;
    gm_pass pass = {.choice = *choice, .mode = GM_MODE_EVAL, .norms = gm_model_norms(f->model, choice)};
    assert_int_equal(gm_walker_forward(f->walker, &pass, &b, &err), GM_OK);
    int ld;
    const float *logits = gm_walker_logits(f->walker, &ld);
    float *out = gm_alloc((size_t)(images * g->classes), sizeof *out);
    for (int i = 0; i < images; i++) memcpy(out + i * g->classes, logits + i * ld, (size_t)g->classes * sizeof *out);
    gm_batch_fini(&b);
    return out;
}

// Logits of a plan, [images][classes]; the caller frees them.
static inline float *plan_logits(const fixture *f, gm_plan *p, const gm_graph *g, int subnet, int images) {
    gm_plan_activate(p, subnet);
    gm_plan_input in = gm_plan_input_of(p);
    fill_images(f, images, in.side, in.type, in.x, in.ld);
    gm_plan_run(p, images);
    int ld;
    const float *logits = gm_plan_logits(p, &ld);
    float *out = gm_alloc((size_t)(images * g->classes), sizeof *out);
    for (int i = 0; i < images; i++) memcpy(out + i * g->classes, logits + i * ld, (size_t)g->classes * sizeof *out);
    return out;
}

// Largest difference as a fraction of the largest value.
static inline double difference(const float *a, const float *b, int count) {
    double most = 0, scale = 1e-30;
    for (int i = 0; i < count; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        scale = fmax(scale, fabs((double)b[i]));
    }
    return most / scale;
}

// Root of the mean square of the difference, as a fraction of that of b.
static inline double distance(const float *a, const float *b, int count) {
    double sum = 0, scale = 1e-30;
    for (int i = 0; i < count; i++) {
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        scale += (double)b[i] * (double)b[i];
    }
    return sqrt(sum / scale);
}

#endif
