// SPDX-License-Identifier: Apache-2.0
// Plans: the same outputs as the trainer's evaluation, whatever the threads and the batch; subnets beside each other.
#include "plan_test.h"

static const char *const choices[] = {"max", "min", "random:1", "random:2", "random:3"};
enum { CHOICES = sizeof choices / sizeof choices[0] };

static gm_model_settings small(const char *preset) {
    gm_model_settings s = gm_model_settings_default();
    if (strcmp(preset, "resnet-28") == 0) return s;
    s.classes = 10;
    s.resolution = strncmp(preset, "mbv3-32", 7) == 0 || strcmp(preset, "resnet-32") == 0 ? 32 : 64;
    s.single_resolution = true;
    s.width = strncmp(preset, "resnet", 6) == 0 ? 0.25 : 0.5;
    s.transform = strcmp(preset, "mbv3-32") == 0;
    return s;
}

static void compare(const char *preset, gm_dtype type, double bound) {
    gm_error err = {0};
    gm_model_settings s = small(preset);
    fixture f = fixture_open(preset, &s, choices, CHOICES, 8);
    const gm_graph *g = f.model->graph;
    gm_packed *packed;
    gm_plan *plan;
    assert_int_equal(gm_packed_create(f.model, type, &packed, &err), GM_OK);
    assert_int_equal(gm_plan_create(packed, 8, &plan, &err), GM_OK);
    double worst = 0;
    for (int i = 0; i < gm_packed_subnets(packed); i++) {
        float *ours = plan_logits(&f, plan, g, i, 5), *theirs = walker_logits(&f, gm_packed_choice(packed, i), 5);
        worst = fmax(worst, difference(ours, theirs, 5 * g->classes));
        gm_free(ours);
        gm_free(theirs);
    }
    print_message("%s %s: largest difference %.2g of the largest logit\n", preset, gm_dtype_name(type), worst);
    assert_true(worst < bound);
    gm_plan_destroy(plan);
    gm_packed_destroy(packed);
    fixture_close(&f);
}

static void f32_equals_evaluation_within_rounding(void **state) {
    (void)state;
    const char *presets[] = {"resnet-28", "resnet-32", "mbv3-32", "mbv3", "resnet50", "proxyless"};
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) compare(presets[i], GM_F32, 1e-4);
}

// Maps so large that a product and the depthwise step behind it run together, rows by rows: in one image and in several, cut over
// threads and not, with kernels of all sizes.
static void large_maps_equal_evaluation_and_do_not_depend_on_threads(void **state) {
    (void)state;
    static const char *const large[] = {"uniform:d=2,e=6,k=7", "min"};
    gm_error err = {0};
    gm_model_settings s = gm_model_settings_default();
    s.classes = 10;
    s.resolution = 224;
    s.single_resolution = true;
    fixture f = fixture_open("mbv3", &s, large, 2, 2);
    const int n = 2 * f.model->graph->classes, threads = gm_threads();
    for (gm_dtype type = GM_F32; type <= GM_I8; type++) {
        gm_packed *packed;
        assert_int_equal(gm_packed_create(f.model, type, &packed, &err), GM_OK);
        for (int i = 0; i < 2; i++) {
            float *first = NULL;
            for (int t = 1; t <= 3; t++) { // two images: one after the other, one a thread, each cut over the threads
                gm_plan *plan;
                gm_threads_set(t);
                assert_int_equal(gm_plan_create(packed, 2, &plan, &err), GM_OK);
                float *ours = plan_logits(&f, plan, f.model->graph, i, 2);
                if (!first) first = ours;
                else assert_memory_equal(first, ours, (size_t)n * sizeof *ours);
                if (first != ours) gm_free(ours);
                gm_plan_destroy(plan);
            }
            if (type == GM_F32) {
                float *theirs = walker_logits(&f, gm_packed_choice(packed, i), 2);
                assert_true(difference(first, theirs, n) < 1e-4);
                gm_free(theirs);
            }
            gm_free(first);
        }
        gm_packed_destroy(packed);
    }
    gm_threads_set(threads);
    fixture_close(&f);
}

// The walker's bf16 evaluation says what this type can do on this network (of random weights, which forgive little).
static float *walker_bf16_logits(fixture *f, const gm_choice *choice, int images) {
    gm_error err = {0};
    gm_walker *w = f->walker;
    assert_int_equal(gm_walker_create(f->model->graph, f->model->norm_offset, GM_BF16, images, false, &f->walker, &err), GM_OK);
    gm_walker_refresh(f->walker, f->model->params);
    float *logits = walker_logits(f, choice, images);
    gm_walker_destroy(f->walker);
    f->walker = w;
    return logits;
}

static void bf16_is_as_near_as_evaluation_in_bf16(void **state) {
    (void)state;
    gm_error err = {0};
    const char *presets[] = {"resnet-28", "mbv3-32", "resnet50"};
    for (size_t k = 0; k < sizeof presets / sizeof presets[0]; k++) {
        gm_model_settings s = small(presets[k]);
        fixture f = fixture_open(presets[k], &s, choices, 3, 8);
        int n = 8 * f.model->graph->classes;
        gm_packed *packed;
        gm_plan *plan;
        assert_int_equal(gm_packed_create(f.model, GM_BF16, &packed, &err), GM_OK);
        assert_int_equal(gm_plan_create(packed, 8, &plan, &err), GM_OK);
        for (int i = 0; i < 3; i++) {
            const gm_choice *c = gm_packed_choice(packed, i);
            float *plain = walker_logits(&f, c, 8), *theirs = walker_bf16_logits(&f, c, 8);
            float *ours = plan_logits(&f, plan, f.model->graph, i, 8);
            double error = distance(ours, plain, n), reference = distance(theirs, plain, n);
            print_message("%s bf16: %.3f of the logits' size, the trainer's evaluation %.3f\n", presets[k], error, reference);
            assert_true(error < 1.3 * reference + 0.002);
            gm_free(plain);
            gm_free(theirs);
            gm_free(ours);
        }
        gm_plan_destroy(plan);
        gm_packed_destroy(packed);
        fixture_close(&f);
    }
}

// Random weights and noise: nothing pulls logits apart, so the error is that of every layer added up.
static void int8_stays_near_f32(void **state) {
    (void)state;
    gm_error err = {0};
    const struct { const char *preset; double bound; } cases[] = {{"resnet-28", 0.1}, {"resnet-32", 0.1}, {"mbv3-32", 0.8}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        gm_model_settings s = small(cases[k].preset);
        fixture f = fixture_open(cases[k].preset, &s, choices, CHOICES, 8);
        int n = 8 * f.model->graph->classes;
        gm_packed *packed;
        gm_plan *plan;
        assert_int_equal(gm_packed_create(f.model, GM_I8, &packed, &err), GM_OK);
        assert_int_equal(gm_plan_create(packed, 8, &plan, &err), GM_OK);
        for (int i = 0; i < gm_packed_subnets(packed); i++) {
            float *plain = walker_logits(&f, gm_packed_choice(packed, i), 8), *ours = plan_logits(&f, plan, f.model->graph, i, 8);
            double error = distance(ours, plain, n);
            print_message("%s int8: %.3f of the logits' size\n", cases[k].preset, error);
            assert_true(error < cases[k].bound);
            gm_free(plain);
            gm_free(ours);
        }
        gm_plan_destroy(plan);
        gm_packed_destroy(packed);
        fixture_close(&f);
    }
}

static void int8_without_ranges_is_refused(void **state) {
    (void)state;
    gm_error err = {0};
    fixture f = fixture_open("resnet-28", NULL, choices, 2, 8);
    gm_packed *packed;
    f.model->entry[1].ranged = false;
    assert_int_equal(gm_packed_create(f.model, GM_I8, &packed, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "gamut calibrate"));
    assert_int_equal(gm_packed_create(f.model, GM_F32, &packed, &err), GM_OK);
    gm_packed_destroy(packed);
    fixture_close(&f);
}

static void a_subnet_in_place_equals_the_same_subnet_alone(void **state) {
    (void)state;
    gm_error err = {0};
    const char *presets[] = {"resnet-28", "mbv3-32", "mbv3", "resnet50", "proxyless"};
    for (size_t k = 0; k < sizeof presets / sizeof presets[0]; k++) {
        gm_model_settings s = small(presets[k]);
        fixture f = fixture_open(presets[k], &s, choices, CHOICES, 8);
        const gm_graph *g = f.model->graph;
        gm_packed *packed;
        gm_plan *plan;
        assert_int_equal(gm_packed_create(f.model, GM_F32, &packed, &err), GM_OK);
        assert_int_equal(gm_plan_create(packed, 4, &plan, &err), GM_OK);
        for (int i = 0; i < gm_packed_subnets(packed); i++) {
            gm_model *alone;
            gm_packed *alone_packed;
            gm_plan *alone_plan;
            assert_int_equal(gm_model_extract(f.model, gm_packed_choice(packed, i), &alone, &err), GM_OK);
            assert_int_equal(gm_packed_create(alone, GM_F32, &alone_packed, &err), GM_OK);
            assert_int_equal(gm_plan_create(alone_packed, 4, &alone_plan, &err), GM_OK);
            float *ours = plan_logits(&f, plan, g, i, 4), *theirs = plan_logits(&f, alone_plan, g, 0, 4);
            assert_memory_equal(ours, theirs, (size_t)(4 * g->classes) * sizeof *ours);
            gm_free(ours);
            gm_free(theirs);
            gm_plan_destroy(alone_plan);
            gm_packed_destroy(alone_packed);
            gm_model_destroy(alone);
        }
        gm_plan_destroy(plan);
        gm_packed_destroy(packed);
        fixture_close(&f);
    }
}

static void same_bits_for_any_threads_and_batch(void **state) {
    (void)state;
    gm_error err = {0};
    const char *presets[] = {"resnet-28", "mbv3-32", "resnet50"};
    const gm_dtype types[] = {GM_F32, GM_BF16, GM_I8};
    for (size_t k = 0; k < sizeof presets / sizeof presets[0]; k++)
        for (size_t t = 0; t < 3; t++) {
            gm_model_settings s = small(presets[k]);
            fixture f = fixture_open(presets[k], &s, choices, 3, 8);
            const gm_graph *g = f.model->graph;
            gm_packed *packed;
            assert_int_equal(gm_packed_create(f.model, types[t], &packed, &err), GM_OK);
            float *first[3] = {0};
            const int threads[] = {1, 2, 3}, batches[] = {9, 2, 1, 5};
            for (int n = 0; n < 3; n++) {
                gm_threads_set(threads[n]);
                for (int b = 0; b < 4; b++) {
                    gm_plan *plan;
                    assert_int_equal(gm_plan_create(packed, batches[b], &plan, &err), GM_OK);
                    for (int i = 0; i < 3; i++) {
                        float *logits = plan_logits(&f, plan, g, i, batches[b]);
                        if (!first[i]) first[i] = logits;
                        assert_memory_equal(first[i], logits, (size_t)(batches[b] * g->classes) * sizeof(float));
                        if (first[i] != logits) gm_free(logits);
                    }
                    gm_plan_destroy(plan);
                }
            }
            gm_threads_set(0);
            for (int i = 0; i < 3; i++) gm_free(first[i]);
            gm_packed_destroy(packed);
            fixture_close(&f);
        }
}

static void a_model_without_calibrated_subnets_is_refused(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m;
    gm_packed *packed;
    assert_int_equal(gm_model_create("resnet-28", NULL, &m, &err), GM_OK);
    assert_int_equal(gm_packed_create(m, GM_F32, &packed, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "gamut calibrate"));
    gm_model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_equals_evaluation_within_rounding),
        cmocka_unit_test(large_maps_equal_evaluation_and_do_not_depend_on_threads),
        cmocka_unit_test(bf16_is_as_near_as_evaluation_in_bf16),
        cmocka_unit_test(int8_stays_near_f32),
        cmocka_unit_test(int8_without_ranges_is_refused),
        cmocka_unit_test(a_subnet_in_place_equals_the_same_subnet_alone),
        cmocka_unit_test(same_bits_for_any_threads_and_batch),
        cmocka_unit_test(a_model_without_calibrated_subnets_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
