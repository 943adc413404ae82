// SPDX-License-Identifier: Apache-2.0
// Encodings, and a predictor that learns a known function.
#include "search_test.h"

#include <math.h>

static void what_is_switched_off_is_all_zero(void **state) {
    (void)state;
    gm_graph *g = graph_of("resnet-28", NULL);
    gm_error err = {0};
    int inputs = 0;
    float x[256];
    assert_ok(gm_encoding_inputs(GM_ENCODING_SPACE, &g->space, &inputs, &err));
    assert_int_equal(inputs, 3 * 2 + 6 * 3);
    gm_choice c = choice_of(&g->space, "d=1,2,1 e=0.25,1,0.5,1,0.5,1");
    assert_ok(gm_encode(GM_ENCODING_SPACE, &g->space, &c, x, &err));
    // d1=1, d2=2, d3=1; blocks 2 and 6 are off
    const float wanted[] = {1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0};
    for (int i = 0; i < inputs; i++) assert_true(x[i] == wanted[i]);
    assert_int_equal(gm_encoding_inputs(GM_ENCODING_OFA_MBV3, &g->space, &inputs, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_encoding_inputs(GM_ENCODING_OFA_RESNET50, &g->space, &inputs, &err), GM_ERR_ARGUMENT);
    gm_graph_destroy(g);
}

static void the_published_layouts_have_their_places(void **state) {
    (void)state;
    gm_graph *g = graph_of("mbv3", NULL);
    gm_error err = {0};
    float x[128];
    int ones = 0;
    gm_choice c = choice_of(&g->space, "d=2,4,4,4,4 e=3 k=7 r=176");
    assert_ok(gm_encode(GM_ENCODING_OFA_MBV3, &g->space, &c, x, &err));
    for (int b = 0; b < 20; b++) {
        bool on = b != 2 && b != 3;
        assert_true(x[3 * b + 2] == (on ? 1 : 0) && x[60 + 3 * b] == (on ? 1 : 0));
    }
    for (int i = 0; i < 128; i++) ones += x[i] != 0;
    assert_int_equal(ones, 2 * 18 + 1);
    assert_true(x[120 + (176 - 112) / 16] == 1);
    gm_graph_destroy(g);

    const gm_model_settings settings = {.resolution = 256};
    g = graph_of("resnet50", &settings);
    c = choice_of(&g->space, "d=0,1,1,1,1 e=0.2 w=0.8 r=256");
    assert_ok(gm_encode(GM_ENCODING_OFA_RESNET50, &g->space, &c, x, &err));
    ones = 0;
    for (int i = 0; i < 82; i++) ones += x[i] != 0;
    assert_int_equal(ones, 1 + 1 + 6 + 3 + 3 + 5 + 3);
    assert_true(x[7] == 1 && x[8] == 1 && x[9] == 0 && x[11] == 1 && x[28] == 1 && x[28 + 3 * 3] == 0);
    gm_graph_destroy(g);
}

// Additive with one interaction, in percent, and as far apart as accuracies are.
static double truth(const gm_space *space, const gm_choice *c) {
    double v = 88;
    for (int k = 0; k < space->knobs; k++) v += 0.1 * (1 + k % 4) * c->index[k];
    return v + 0.2 * c->index[0] * c->index[1];
}

static void an_additive_function_is_learned(void **state) {
    (void)state;
#ifdef GAMUT_SANITIZED
    enum { SAMPLES = 500, EPOCHS = 20 };
#else
    enum { SAMPLES = 500, EPOCHS = 60 };
#endif
    gm_graph *g = graph_of("mbv3-32", NULL);
    gm_error err = {0};
    gm_predictor *p = NULL, *twin = NULL, *loaded = NULL;
    static gm_choice choice[SAMPLES];
    static double target[SAMPLES], out[SAMPLES], again[SAMPLES];
    gm_rng rng = gm_rng_keyed(3, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < SAMPLES; i++) {
        choice[i] = gm_choice_random(&g->space, &rng);
        target[i] = truth(&g->space, &choice[i]);
    }
    gm_predictor_settings s = gm_predictor_settings_default();
    gm_predictor_report report;
    s.epochs = EPOCHS;
    assert_ok(gm_predictor_create(GM_ENCODING_SPACE, &g->space, 1, &p, &err));
    assert_ok(gm_predictor_fit(p, choice, target, SAMPLES, &s, &report, &err));
    assert_int_equal(report.trained + report.held_out, SAMPLES);
    assert_int_equal(report.held_out, SAMPLES / 5);
    if (!(report.tau > 0.9)) fail_msg("tau on held-out samples is %g", report.tau);
    assert_true(report.rmse < 0.6);

    // the same seeds give the same numbers, whatever the number of threads
    int threads = gm_threads();
    gm_threads_set(threads == 1 ? 2 : 1);
    assert_ok(gm_predictor_create(GM_ENCODING_SPACE, &g->space, 1, &twin, &err));
    assert_ok(gm_predictor_fit(twin, choice, target, SAMPLES, &s, NULL, &err));
    gm_threads_set(0);
    assert_ok(gm_predictor_run(p, choice, SAMPLES, out, &err));
    assert_ok(gm_predictor_run(twin, choice, SAMPLES, again, &err));
    assert_memory_equal(out, again, sizeof out);

    // a file gives it back; another space refuses it
    char path[64];
    snprintf(path, sizeof path, "/tmp/gamut-test-predictor-%ld.safetensors", (long)getpid());
    assert_ok(gm_predictor_save(p, path, &err));
    assert_ok(gm_predictor_load(path, &g->space, &loaded, &err));
    assert_ok(gm_predictor_run(loaded, choice, SAMPLES, again, &err));
    for (int i = 0; i < SAMPLES; i++) assert_near(out[i], again[i], 1e-9);
    gm_graph *other = graph_of("resnet-28", NULL);
    gm_predictor *none = NULL;
    assert_int_equal(gm_predictor_load(path, &other->space, &none, &err), GM_ERR_RANGE);
    assert_null(none);
    assert_non_null(strstr(err.text, "inputs"));
    unlink(path);
    gm_graph_destroy(other);
    gm_predictor_destroy(p);
    gm_predictor_destroy(twin);
    gm_predictor_destroy(loaded);
    gm_graph_destroy(g);
}

static void bad_samples_and_layers_are_refused(void **state) {
    (void)state;
    gm_graph *g = graph_of("resnet-28", NULL);
    gm_error err = {0};
    gm_predictor *p = NULL;
    gm_choice choice[2] = {gm_choice_min(&g->space), gm_choice_max(&g->space)};
    double target[2] = {1, NAN};
    gm_predictor_settings s = gm_predictor_settings_default();
    assert_ok(gm_predictor_create(GM_ENCODING_SPACE, &g->space, 1, &p, &err));
    assert_int_equal(gm_predictor_fit(p, choice, target, 2, &s, NULL, &err), GM_ERR_NUMERIC);
    assert_int_equal(gm_predictor_fit(p, choice, target, 1, &s, NULL, &err), GM_ERR_RANGE);
    gm_predictor_destroy(p);
    float weight[24] = {0}, bias[1] = {2};
    gm_predictor_layer layer = {24, 1, weight, bias};
    double value;
    weight[0] = 3; // d1=1
    assert_ok(gm_predictor_create_from_tensors(GM_ENCODING_SPACE, &g->space, 1, &layer, 0.5, &p, &err));
    assert_ok(gm_predictor_run(p, choice, 1, &value, &err));
    assert_near(value, 5.5, 1e-6);
    gm_predictor_destroy(p);
    layer.inputs = 23;
    assert_int_equal(gm_predictor_create_from_tensors(GM_ENCODING_SPACE, &g->space, 1, &layer, 0, &p, &err), GM_ERR_RANGE);
    layer = (gm_predictor_layer){24, 1, weight, NULL};
    weight[5] = INFINITY;
    assert_int_equal(gm_predictor_create_from_tensors(GM_ENCODING_SPACE, &g->space, 1, &layer, 0, &p, &err), GM_ERR_NUMERIC);
    gm_graph_destroy(g);
}

static void a_failed_allocation_is_an_error_without_a_leak(void **state) {
    (void)state;
    gm_graph *g = graph_of("resnet-28", NULL);
    gm_error err = {0};
    size_t live = gm_alloc_live();
    for (long n = 1;; n++) {
        gm_predictor *p = NULL;
        gm_alloc_fail_at(n);
        gm_status status = gm_predictor_create(GM_ENCODING_SPACE, &g->space, 1, &p, &err);
        gm_alloc_fail_at(0);
        if (status == GM_OK) {
            gm_predictor_destroy(p);
            assert_true(n > 5);
            break;
        }
        assert_int_equal(status, GM_ERR_MEMORY);
        assert_int_equal(gm_alloc_live(), live);
    }
    gm_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_switched_off_is_all_zero),
        cmocka_unit_test(the_published_layouts_have_their_places),
        cmocka_unit_test(an_additive_function_is_learned),
        cmocka_unit_test(bad_samples_and_layers_are_refused),
        cmocka_unit_test(a_failed_allocation_is_an_error_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
