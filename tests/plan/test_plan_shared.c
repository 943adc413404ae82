// SPDX-License-Identifier: Apache-2.0
// One set of packed weights, many plans: at once on several threads, switched without allocating, and short of memory.
#include <pthread.h>

#include "plan_test.h"

static const char *const choices[] = {"max", "min", "random:1", "random:2"};
enum { CHOICES = sizeof choices / sizeof choices[0], THREADS = 3, IMAGES = 3 };

static void tiny(fixture *f) {
    gm_model_settings s = gm_model_settings_default();
    s.width = 0.25;
    *f = fixture_open("resnet-28", &s, choices, CHOICES, 8);
}

typedef struct caller {
    pthread_t thread;
    const fixture *f;
    gm_plan *plan;
    float *const *expected;
    int seed, wrong;
} caller;

static void *call(void *argument) {
    caller *c = argument;
    const gm_graph *g = c->f->model->graph;
    gm_rng rng = gm_rng_keyed((uint64_t)c->seed, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < 12; i++) {
        int subnet = (int)gm_rng_below(&rng, CHOICES), images = 1 + (int)gm_rng_below(&rng, IMAGES);
        float *logits = plan_logits(c->f, c->plan, g, subnet, images);
        c->wrong += memcmp(logits, c->expected[subnet], (size_t)(images * g->classes) * sizeof *logits) != 0;
        gm_free(logits);
    }
    return NULL;
}

static void plans_run_at_once_and_give_the_bits_of_one(void **state) {
    (void)state;
    fixture f;
    gm_error err = {0};
    tiny(&f);
    const gm_dtype types[] = {GM_F32, GM_I8};
    for (size_t t = 0; t < 2; t++) {
        gm_packed *packed;
        gm_plan *plan;
        float *expected[CHOICES];
        caller callers[THREADS] = {0};
        assert_int_equal(gm_packed_create(f.model, types[t], &packed, &err), GM_OK);
        assert_int_equal(gm_plan_create(packed, IMAGES, &plan, &err), GM_OK);
        for (int i = 0; i < CHOICES; i++) expected[i] = plan_logits(&f, plan, f.model->graph, i, IMAGES);
        gm_plan_destroy(plan);
        for (int i = 0; i < THREADS; i++) {
            callers[i] = (caller){.f = &f, .expected = expected, .seed = i + 1};
            assert_int_equal(gm_plan_create(packed, IMAGES, &callers[i].plan, &err), GM_OK);
        }
        for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(callers[i].thread, NULL);
            assert_int_equal(callers[i].wrong, 0);
            gm_plan_destroy(callers[i].plan);
        }
        for (int i = 0; i < CHOICES; i++) gm_free(expected[i]);
        gm_packed_destroy(packed);
    }
    fixture_close(&f);
}

static void a_switch_and_a_run_allocate_nothing(void **state) {
    (void)state;
    fixture f;
    gm_error err = {0};
    gm_packed *packed;
    gm_plan *plan;
    tiny(&f);
    assert_int_equal(gm_packed_create(f.model, GM_F32, &packed, &err), GM_OK);
    assert_int_equal(gm_plan_create(packed, 2, &plan, &err), GM_OK);
    assert_int_equal(gm_plan_active(plan), -1);
    gm_plan_run(plan, 1); // nothing is active: nothing happens
    gm_alloc_fail_at(1);  // the next allocation would fail, and stay asked for
    for (int i = 0; i < 2 * CHOICES; i++) {
        gm_plan_activate(plan, i % CHOICES);
        assert_int_equal(gm_plan_active(plan), i % CHOICES);
        gm_plan_run(plan, 2);
    }
    assert_null(gm_alloc(1, 1)); // it was still to come
    gm_plan_activate(plan, CHOICES); // no such subnet: the active one stays
    assert_int_equal(gm_plan_active(plan), CHOICES - 1);
    gm_plan_destroy(plan);
    gm_packed_destroy(packed);
    fixture_close(&f);
}

static void choices_are_found_and_memory_is_counted(void **state) {
    (void)state;
    fixture f;
    gm_error err = {0};
    gm_packed *packed;
    tiny(&f);
    gm_choice uncalibrated;
    const gm_space *space = &f.model->graph->space;
    assert_int_equal(gm_choice_parse(space, "d=2,1,2 e=0.25", &uncalibrated, &err), GM_OK);
    assert_int_equal(gm_packed_create(f.model, GM_F32, &packed, &err), GM_OK);
    assert_int_equal(gm_packed_subnets(packed), CHOICES);
    for (int i = 0; i < CHOICES; i++) assert_int_equal(gm_packed_find(packed, gm_packed_choice(packed, i)), i);
    assert_int_equal(gm_packed_find(packed, &uncalibrated), -1);
    gm_packed_bytes bytes = gm_packed_memory(packed);
    assert_true(bytes.weights > 0 && bytes.norms > 0);
    assert_true(bytes.norms < bytes.norms_unshared); // all read the same stem
    gm_packed_destroy(packed);
    for (gm_dtype type = GM_F32; type <= GM_I8; type++) { // norms that are read in bf16 or int8 take 4 bytes a channel instead of 7
        if (type != GM_BF16 && type != GM_I8) continue;
        assert_int_equal(gm_packed_create(f.model, type, &packed, &err), GM_OK);
        gm_packed_bytes narrow = gm_packed_memory(packed);
        assert_true(narrow.weights < bytes.weights && 3 * narrow.norms < 2 * bytes.norms);
        gm_packed_destroy(packed);
    }
    fixture_close(&f);
}

static void failing_allocations_are_errors_and_leak_nothing(void **state) {
    (void)state;
    fixture f;
    tiny(&f);
    size_t live = gm_alloc_live();
    gm_status status = GM_ERR_MEMORY;
    for (long n = 1; status != GM_OK; n++) {
        gm_error err = {0};
        gm_packed *packed = NULL;
        gm_plan *plan = NULL;
        gm_model *alone = NULL;
        gm_alloc_fail_at(n);
        status = gm_packed_create(f.model, GM_I8, &packed, &err);
        if (status == GM_OK) status = gm_plan_create(packed, 2, &plan, &err);
        if (status == GM_OK) status = gm_model_extract(f.model, &f.model->entry[1].choice, &alone, &err);
        gm_alloc_fail_at(0);
        if (status != GM_OK) assert_int_equal(status, GM_ERR_MEMORY);
        gm_plan_destroy(plan);
        gm_packed_destroy(packed);
        gm_model_destroy(alone);
        assert_int_equal(gm_alloc_live(), live);
    }
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_run_at_once_and_give_the_bits_of_one),
        cmocka_unit_test(a_switch_and_a_run_allocate_nothing),
        cmocka_unit_test(choices_are_found_and_memory_is_counted),
        cmocka_unit_test(failing_allocations_are_errors_and_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
