// SPDX-License-Identifier: Apache-2.0
// The loop as a whole: every strategy learns a made-up task, and what must not matter does not.
#include "train_test.h"

#include <math.h>

static gm_train_result run(const gm_train_settings *s, const char *name, const gm__train_hooks *hooks, bool keep) {
    char folder[256];
    gm_error err = {0};
    gm_train_result result = {0};
    gm_dataset *train = make_data(480, 12, 1, 4, 1), *test = make_data(128, 12, 1, 4, 2);
    folder_name(folder, sizeof folder, name);
    assert_ok(gm__train_with(s, train, test, folder, false, NULL, hooks, &result, &err));
    if (!keep) folder_remove(folder);
    gm_dataset_destroy(train);
    gm_dataset_destroy(test);
    return result;
}

static void every_strategy_learns_with_every_subnet(void **state) {
    (void)state;
    for (int strategy = GM_STRATEGY_PLAIN; strategy <= GM_STRATEGY_DEPS; strategy++) {
        gm_train_settings s = small_settings();
        s.strategy = (gm_strategy)strategy;
        s.epochs = 5;
        s.phase_lr[1] = s.phase_lr[2] = s.phase_lr[3] = s.phase_lr[4] = s.phase_lr[5] = 0.3f;
        gm_train_result r = run(&s, "learn", NULL, false);
        assert_int_equal(r.choices, strategy == GM_STRATEGY_PLAIN ? 1 : 2);
        for (int i = 0; i < r.choices; i++) {
            print_message("%s choice %d: val %.1f test %.1f\n", gm__strategy_find(s.strategy)->name, i, r.val[i].top1,
                          r.test[i].top1);
            assert_true(r.val[i].top1 > 80);
            assert_true(r.test[i].top1 > 80);
            assert_int_equal(r.test[i].images, 128);
        }
    }
}

static void subnets_of_no_weight_leave_no_trace(void **state) {
    (void)state;
    gm_train_settings s = small_settings();
    s.sort = GM_SORT_NONE; // sorting moves channels, whatever the subnets weigh
    snprintf(s.eval_choices[0], sizeof s.eval_choices[0], "max");
    s.eval_choice_count = 1;
    char a[256], b[256];
    gm__train_hooks hooks = {.beta_zero = true};
    s.strategy = GM_STRATEGY_DEPS;
    run(&s, "beta-zero", &hooks, true);
    s.strategy = GM_STRATEGY_PLAIN;
    run(&s, "alone", NULL, true);
    folder_name(a, sizeof a, "beta-zero");
    folder_name(b, sizeof b, "alone");
    assert_same_model(a, b);
    folder_remove(a);
    folder_remove(b);
}

typedef struct ledger {
    const gm_graph *graph;
    const gm_train_settings *settings;
    double macs;
    const gm_graph *early; // of the steps before `until`
    uint64_t until;
} ledger;

static void enter(void *self, uint64_t step, const gm__step_plan *plan) {
    ledger *l = self;
    for (int i = 0; i < plan->slots; i++) {
        gm_cost cost;
        gm_error err = {0};
        assert_ok(gm_count(step < l->until ? l->early : l->graph, &plan->slot[i].choice, &cost, &err));
        l->macs += 3.0 * (double)cost.macs * l->settings->batch;
    }
}

static void the_ledger_adds_what_was_trained(void **state) {
    (void)state;
    gm_error err = {0};
    gm_train_settings s = small_settings();
    ledger l = {.settings = &s};
    gm__train_hooks hooks = {.planned = enter, .self = &l};
    gm_graph *g = NULL;
    assert_ok(gm_model_graph(s.preset, &s.model, &g, &err));
    l.graph = g;
    gm_train_result r = run(&s, "ledger", &hooks, false);
    assert_true(r.macs_spent == l.macs);
    // With a budget the run stops at it, never beyond.
    s.max_macs = r.macs_spent / 2;
    gm_train_result half = run(&s, "budget", NULL, false);
    assert_true(half.macs_spent <= s.max_macs && half.macs_spent > 0.9 * s.max_macs);
    gm_graph_destroy(g);
}

// Progressive resizing: the first steps see smaller images, cost what those cost, and teach the same weights.
static void small_images_come_first(void **state) {
    (void)state;
    gm_error err = {0};
    gm_train_settings s = small_settings();
    s.strategy = GM_STRATEGY_BIGNAS;
    s.early_resolution = 8;
    s.early_part = 0.5f;
    ledger l = {.settings = &s, .until = 39}; // of 78
    gm_model_settings small = s.model;
    small.resolution = 8;
    gm_graph *g = NULL, *early = NULL;
    assert_ok(gm_model_graph(s.preset, &s.model, &g, &err));
    assert_ok(gm_model_graph(s.preset, &small, &early, &err));
    l.graph = g;
    l.early = early;
    gm__train_hooks hooks = {.planned = enter, .self = &l};
    gm_train_result r = run(&s, "early", &hooks, false);
    assert_int_equal(r.steps, 78);
    assert_true(r.macs_spent == l.macs);
    gm_train_settings full = s;
    full.early_resolution = 0;
    assert_true(r.macs_spent < 0.8 * run(&full, "full", NULL, false).macs_spent);
    // With a budget the number of steps, and with it the end of small images, follows from both costs.
    s.max_macs = r.macs_spent / 2;
    gm_train_result half = run(&s, "budget", NULL, false);
    assert_true(half.macs_spent <= s.max_macs && half.macs_spent > 0.9 * s.max_macs);
    gm_graph_destroy(g);
    gm_graph_destroy(early);
}

static void small_images_must_be_possible(void **state) {
    (void)state;
    gm_train_result result;
    gm_error err = {0};
    char folder[256];
    gm_dataset *data = make_data(128, 12, 1, 4, 1);
    gm_train_settings s = small_settings();
    folder_name(folder, sizeof folder, "refused");
    s.early_resolution = 12;
    assert_int_equal(gm__train_with(&s, data, NULL, folder, false, NULL, NULL, &result, &err), GM_ERR_RANGE);
    assert_non_null(strstr(err.text, "early_resolution: 12"));
    s.early_resolution = 7; // no net takes so small ones
    assert_int_equal(gm__train_with(&s, data, NULL, folder, false, NULL, NULL, &result, &err), GM_ERR_RANGE);
    s.early_resolution = 64;
    snprintf(s.preset, sizeof s.preset, "mbv3");
    s.model.resolution = 160; // elastic: 128 to 160
    assert_int_equal(gm__train_with(&s, data, NULL, folder, false, NULL, NULL, &result, &err), GM_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "elastic"));
    gm_dataset_destroy(data);
    folder_remove(folder);
}

static void threads_change_nothing(void **state) {
    (void)state;
    char a[256], b[256];
    gm_train_settings s = small_settings();
    s.epochs = 0.5;
    s.delay = 0.2f;
    folder_name(a, sizeof a, "one");
    folder_name(b, sizeof b, "two");
    for (int type = GM_F32; type <= GM_BF16; type++) {
        s.type = (gm_dtype)type;
        run(&s, "one", NULL, true);
        gm_threads_set(2);
        run(&s, "two", NULL, true);
        gm_threads_set(1);
        assert_same_model(a, b);
        folder_remove(a);
        folder_remove(b);
    }
}

static void calibration_repeats_itself(void **state) {
    (void)state;
    char folder[256], path[300];
    gm_error err = {0};
    gm_train_settings s = small_settings();
    s.epochs = 1;
    run(&s, "calibrate", NULL, true);
    folder_name(folder, sizeof folder, "calibrate");
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    gm_model *m = NULL;
    gm_walker *w = NULL;
    gm_dataset *d = make_data(480, 12, 1, 4, 1);
    assert_ok(gm_model_load(path, &m, &err));
    assert_ok(gm_walker_create(m->graph, m->norm_offset, GM_F32, 32, false, &w, &err));
    gm_choice choice, other = gm_choice_min(&m->graph->space);
    assert_ok(gm_choice_parse(&m->graph->space, "random:5", &choice, &err));
    gm_eval_result before, after;
    assert_int_equal(gm_evaluate(m, w, d, NULL, 0, &choice, &before, &err), GM_ERR_STATE); // calibrated or refused
    assert_non_null(strstr(err.text, "calibrate"));
    gm_calibrate_settings cs = gm_calibrate_settings_default();
    cs.images = 100;
    gm_augment a = s.augment;
    memcpy(a.mean, m->input_mean, sizeof a.mean);
    memcpy(a.std, m->input_std, sizeof a.std);
    assert_ok(gm_calibrate(m, w, d, NULL, 0, &a, &cs, &choice, &err));
    size_t floats = m->graph->norm_floats;
    float *mean = gm_alloc(floats, sizeof *mean), *var = gm_alloc(floats, sizeof *var);
    memcpy(mean, gm_model_norms(m, &choice)->mean, floats * sizeof *mean);
    memcpy(var, gm_model_norms(m, &choice)->var, floats * sizeof *var);
    assert_ok(gm_evaluate(m, w, d, NULL, 0, &choice, &before, &err));
    assert_ok(gm_calibrate(m, w, d, NULL, 0, &a, &cs, &other, &err)); // something else in between
    assert_ok(gm_calibrate(m, w, d, NULL, 0, &a, &cs, &choice, &err));
    assert_memory_equal(mean, gm_model_norms(m, &choice)->mean, floats * sizeof *mean);
    assert_memory_equal(var, gm_model_norms(m, &choice)->var, floats * sizeof *var);
    assert_ok(gm_evaluate(m, w, d, NULL, 0, &choice, &after, &err));
    assert_true(before.top1 == after.top1 && before.loss == after.loss);
    gm_free(mean);
    gm_free(var);
    gm_walker_destroy(w);
    gm_model_destroy(m);
    gm_dataset_destroy(d);
    folder_remove(folder);
}

// Behind the first layer nothing depends on how the images were cut into batches: pooled is pooled.
static void statistics_are_those_of_all_images_together(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m = NULL;
    gm_train_settings s = small_settings();
    gm_dataset *d = make_data(90, 12, 1, 4, 1);
    assert_ok(gm_model_create(s.preset, &s.model, &m, &err));
    gm_model_init_params(m, 1);
    gm_choice choice = gm_choice_max(&m->graph->space);
    gm_calibrate_settings cs = {.images = 90, .seed = 1};
    gm_augment a = {.mean = {0.3f}, .std = {0.2f}};
    float mean[2][8], var[2][8];
    for (int i = 0; i < 2; i++) {
        gm_walker *w = NULL;
        cs.batch = i ? 7 : 90; // the last of 7 is short
        assert_ok(gm_walker_create(m->graph, m->norm_offset, GM_F32, cs.batch, false, &w, &err));
        assert_ok(gm_calibrate(m, w, d, NULL, 0, &a, &cs, &choice, &err));
        memcpy(mean[i], gm_model_norms(m, &choice)->mean, sizeof mean[i]);
        memcpy(var[i], gm_model_norms(m, &choice)->var, sizeof var[i]);
        gm_walker_destroy(w);
    }
    for (int c = 0; c < 8; c++) {
        assert_true(fabsf(mean[0][c] - mean[1][c]) < 1e-5f);
        assert_true(fabsf(var[0][c] / var[1][c] - 1) < 1e-5f);
    }
    gm_model_destroy(m);
    gm_dataset_destroy(d);
}

static int count_lines(const char *text, const char *a, const char *b) {
    int count = 0;
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        const char *x = strstr(text, a), *y = strstr(text, b);
        count += x && x < end && y && y < end;
    }
    return count;
}

static void validations_are_of_the_two_ends_or_of_all_choices(void **state) {
    (void)state;
    char folder[256];
    gm_train_settings s = small_settings();
    s.epochs = 2;
    s.eval_every = 1;
    s.eval_choice_count = 3;
    snprintf(s.eval_choices[0], sizeof s.eval_choices[0], "max");
    snprintf(s.eval_choices[1], sizeof s.eval_choices[1], "uniform:d=1,e=0.5");
    snprintf(s.eval_choices[2], sizeof s.eval_choices[2], "min");
    for (int all = 0; all < 2; all++) {
        size_t bytes;
        s.eval_all = all;
        run(&s, "validations", NULL, true);
        folder_name(folder, sizeof folder, "validations");
        char *log = (char *)read_file(folder, "log.jsonl", &bytes);
        assert_int_equal(count_lines(log, "\"epoch\":1.0", "\"split\":\"val\""), all ? 3 : 2);
        assert_int_equal(count_lines(log, "\"epoch\":2.0", "\"split\":\"val\""), 3);
        assert_int_equal(count_lines(log, "\"event\":\"end\"", "\"seconds\":"), 1);
        gm_free(log);
        folder_remove(folder);
    }
}

typedef struct diary { // of a store that keeps nothing
    double epoch[256];
    int count;
} diary;

static bool nothing_unfinished(void *self) {
    (void)self;
    return false;
}

static gm_status nothing_to_do(void *self, gm_error *err) {
    (void)self;
    (void)err;
    return GM_OK;
}

static gm_status note_epoch(void *self, gm_tensor_image *state, const gm_train_mark *mark, bool wait, gm_error *err) {
    diary *d = self;
    (void)state, (void)wait, (void)err;
    assert_true(d->count < (int)(sizeof d->epoch / sizeof *d->epoch));
    d->epoch[d->count++] = mark->epoch;
    return GM_OK;
}

// Whatever the distance: the step nearest to each multiple, of 88 an epoch, and every step when that is asked for.
static void a_store_gets_states_at_even_distances(void **state) {
    (void)state;
    char folder[256];
    static const double every[] = {0.15, 0.5, 1.0 / 21, 0.001};
    static const int states[] = {14, 4, 42, 176};
    for (int n = 0; n < 4; n++) {
        diary d = {0};
        gm_error err = {0};
        gm_train_store store = {.every = every[n], .unfinished = nothing_unfinished, .begin = nothing_to_do,
                                .save = note_epoch, .finish = nothing_to_do, .self = &d};
        gm_train_settings s = small_settings();
        s.strategy = GM_STRATEGY_PLAIN;
        s.epochs = 2;
        s.batch = 4;
        s.store = &store;
        gm_dataset *data = make_data(352 + 64, 12, 1, 4, 1);
        gm_train_result result;
        folder_name(folder, sizeof folder, "even");
        assert_ok(gm__train_with(&s, data, NULL, folder, false, NULL, NULL, &result, &err));
        assert_int_equal(result.steps, 176);
        assert_int_equal(d.count, states[n]);
        for (int i = 0; i + 1 < d.count; i++) { // the last one is the end of the run
            double due = (i + 1) * fmax(store.every, 1.0 / 88);
            assert_true(fabs(d.epoch[i] - due) <= 0.5001 / 88);
        }
        assert_true(fabs(d.epoch[d.count - 1] - 2) < 1e-9);
        gm_dataset_destroy(data);
        folder_remove(folder);
    }
}

static int one_thread(void **state) {
    (void)state;
    gm_threads_set(1); // tiny maps: threads would only wait for each other
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_strategy_learns_with_every_subnet),
                                       cmocka_unit_test(small_images_come_first),
                                       cmocka_unit_test(small_images_must_be_possible),
                                       cmocka_unit_test(subnets_of_no_weight_leave_no_trace),
                                       cmocka_unit_test(the_ledger_adds_what_was_trained),
                                       cmocka_unit_test(threads_change_nothing),
                                       cmocka_unit_test(calibration_repeats_itself),
                                       cmocka_unit_test(statistics_are_those_of_all_images_together),
                                       cmocka_unit_test(validations_are_of_the_two_ends_or_of_all_choices),
                                       cmocka_unit_test(a_store_gets_states_at_even_distances)};
    return cmocka_run_group_tests(tests, one_thread, NULL);
}
