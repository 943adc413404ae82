// SPDX-License-Identifier: Apache-2.0
// Channel sort: the full net computes the same function, channels move together, and the important ones move to the front.
#include "train_test.h"

#include <math.h>

enum { IMAGES = 4 };

typedef struct fixture {
    gm_model *model;
    gm_walker *walker;
    gm_batch batch;
    gm_norm_sums sums;
    gm_resolved resolved;
} fixture;

static fixture make(const char *preset, const gm_model_settings *settings, int side, int channels) {
    gm_error err = {0};
    fixture f = {0};
    assert_ok(gm_model_create(preset, settings, &f.model, &err));
    gm_model_init_params(f.model, 7);
    // norms that all differ, so that a forgotten one shows
    gm_rng rng = gm_rng_keyed(7, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < f.model->graph->params; i++) {
        const gm_param *p = &f.model->graph->param[i];
        if (p->rank != 1) continue;
        for (int c = 0; c < p->dims[0]; c++) f.model->params[p->offset + (size_t)c] += 0.3f * gm_rng_normal(&rng);
    }
    assert_ok(gm_walker_create(f.model->graph, f.model->norm_offset, GM_F32, IMAGES, true, &f.walker, &err));
    assert_ok(gm_batch_init(&f.batch, IMAGES, side, channels, GM_F32, &err));
    assert_ok(gm_resolved_init(&f.resolved, f.model->graph, &err));
    f.sums.sum = gm_alloc(f.model->graph->norm_floats, sizeof(double));
    f.sums.sumsq = gm_alloc(f.model->graph->norm_floats, sizeof(double));
    f.sums.count = gm_alloc((size_t)f.model->graph->nodes, sizeof(double));
    gm_dataset *d = make_data(IMAGES, side, channels, 4, 3);
    gm_augment a = {.mean = {0.4f, 0.4f, 0.4f}, .std = {0.2f, 0.2f, 0.2f}};
    gm_batch_fill(d, NULL, NULL, IMAGES, &a, 1, 0, 0, &f.batch);
    gm_dataset_destroy(d);
    return f;
}

static void unmake(fixture *f) {
    gm_batch_fini(&f->batch);
    gm_resolved_fini(&f->resolved);
    gm_free(f->sums.sum);
    gm_free(f->sums.sumsq);
    gm_free(f->sums.count);
    gm_walker_destroy(f->walker);
    gm_model_destroy(f->model);
}

static void logits_of(fixture *f, gm_choice choice, float *out) {
    gm_error err = {0};
    gm_pass pass = {.choice = choice, .mode = GM_MODE_CALIBRATE, .sums = &f->sums};
    gm_walker_refresh(f->walker, f->model->params);
    assert_ok(gm_walker_forward(f->walker, &pass, &f->batch, &err));
    int ld;
    const float *x = gm_walker_logits(f->walker, &ld);
    for (int i = 0; i < IMAGES; i++)
        for (int c = 0; c < f->model->graph->classes; c++)
            out[i * f->model->graph->classes + c] = x[(size_t)i * (size_t)ld + (size_t)c];
}

static float difference(const float *a, const float *b, int n) {
    float most = 0;
    for (int i = 0; i < n; i++) most = fmaxf(most, fabsf(a[i] - b[i]));
    return most;
}

static void keeps_the_function(const char *preset, const gm_model_settings *settings, int side, int channels, int stage,
                               float tolerance) {
    gm_error err = {0};
    fixture f = make(preset, settings, side, channels);
    gm_choice max = gm_choice_max(&f.model->graph->space), min = gm_choice_min(&f.model->graph->space);
    int n = IMAGES * f.model->graph->classes;
    float *before = gm_alloc((size_t)n, sizeof *before), *after = gm_alloc((size_t)n, sizeof *after),
          *small = gm_alloc((size_t)n, sizeof *small);
    size_t floats = f.model->graph->floats;
    float *companion = gm_alloc(floats, sizeof *companion);
    memcpy(companion, f.model->params, floats * sizeof *companion);
    logits_of(&f, min, small);
    logits_of(&f, max, before);
    float *const buffers[] = {f.model->params, companion, NULL};
    assert_ok(gm__sort_channels(f.model->graph, stage, buffers, 3, &err));
    logits_of(&f, max, after);
    float largest = 1;
    for (int i = 0; i < n; i++) largest = fmaxf(largest, fabsf(before[i]));
    print_message("%s stage %d: %g of %g\n", preset, stage, (double)difference(before, after, n), (double)largest);
    assert_true(difference(before, after, n) < tolerance * largest);
    logits_of(&f, min, after);
    assert_true(difference(small, after, n) > 1e-3f); // other channels are in front now
    assert_memory_equal(companion, f.model->params, floats * sizeof *companion); // momentum follows
    // sorted is sorted
    assert_ok(gm__sort_channels(f.model->graph, stage, buffers, 3, &err));
    assert_memory_equal(companion, f.model->params, floats * sizeof *companion);
    gm_free(before);
    gm_free(after);
    gm_free(small);
    gm_free(companion);
    unmake(&f);
}

static void the_full_net_computes_the_same(void **state) {
    (void)state;
    gm_model_settings small = {.width = 0.5, .resolution = 16, .classes = 4};
    keeps_the_function("resnet-28", &small, 16, 1, 0, 1e-5f);
    keeps_the_function("resnet-28", &small, 16, 1, 1, 1e-5f);
    small.width = 0.25;
    small.channels = 3;
    keeps_the_function("mbv3-32", &small, 16, 3, 0, 1e-5f);
    keeps_the_function("mbv3-32", &small, 16, 3, 1, 1e-5f);
    small.resolution = 96; // at 32 the last maps are single points, whose statistics blow rounding up
    small.single_resolution = true;
    keeps_the_function("resnet50", &small, 96, 3, 0, 1e-4f); // 53 layers
}

// L1 norm of input channel i of a convolution.
static double column(const gm_model *m, const gm_param *p, int i) {
    float *rows = gm_alloc(gm_param_elements(p), sizeof *rows);
    int taps = p->dims[2] * p->dims[3];
    double sum = 0;
    gm_param_export(p, m->params + p->offset, rows);
    for (int o = 0; o < p->dims[0]; o++)
        for (int t = 0; t < taps; t++) sum += fabs((double)rows[(o * p->dims[1] + i) * taps + t]);
    gm_free(rows);
    return sum;
}

static void channels_are_sorted_within_their_bands(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model_settings settings = {.width = 0.5, .resolution = 16, .classes = 4};
    for (int stage = 0; stage < 2; stage++) {
        fixture f = make("resnet-28", &settings, 16, 1);
        float *const buffers[] = {f.model->params};
        assert_ok(gm__sort_channels(f.model->graph, stage, buffers, 1, &err));
        int seen = 0;
        for (int i = 0; i < f.model->graph->params; i++) {
            const gm_param *p = &f.model->graph->param[i];
            if (!strstr(p->name, "conv2.weight")) continue;
            seen++;
            int half = p->dims[1] / 2; // expand 0.5 of 1: the boundary of stage 1
            for (int c = 1; c < p->dims[1]; c++)
                if (stage == 0 || c != half) assert_true(column(f.model, p, c - 1) >= column(f.model, p, c));
        }
        assert_int_equal(seen, 6);
        unmake(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_full_net_computes_the_same),
                                       cmocka_unit_test(channels_are_sorted_within_their_bands)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
