// SPDX-License-Identifier: Apache-2.0
// Broken losses, full disks: each is survived or explained, and nothing is lost.
#include "train_test.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

typedef struct breaker {
    uint64_t from, to; // steps whose gradient is infinite
    int planned;
    double beta, lr;   // of the step after `to`
    uint64_t after;    // hash of its gradient
} breaker;

static void break_gradient(void *self, uint64_t step, float *grads, size_t count) {
    breaker *b = self;
    if (step == b->to) b->after = gm_hash64(grads, count * sizeof *grads, 0);
    if (step >= b->from && step < b->to) grads[count / 3] = (float)(1e38 * 1e38);
}

static void look(void *self, uint64_t step, const gm__step_plan *plan) {
    breaker *b = self;
    b->planned++;
    if (step != b->to) return;
    b->lr = plan->lr;
    b->beta = plan->slots > 1 ? plan->slot[1].beta : -1;
}

static gm_status run(const gm_train_settings *s, breaker *self, const char *folder, bool resume, gm_train_result *result,
                     gm_error *err) {
    gm__train_hooks hooks = {.gradients = break_gradient, .planned = look, .self = self};
    gm_dataset *d = make_data(384, 12, 1, 4, 1);
    gm_status status = gm__train_with(s, d, NULL, folder, resume, NULL, &hooks, result, err);
    gm_dataset_destroy(d);
    return status;
}

static void a_spike_is_a_multiple_of_the_median_and_near_chance(void **state) {
    (void)state;
    gm__guard g = {.damp = 1};
    for (int i = 0; i < GM__GUARD_READY - 1; i++) gm__guard_accept(&g, 0.5);
    assert_int_equal(gm__guard_judge(&g, 3, 10, 100, 1), GM__SANE); // too early to know
    gm__guard_accept(&g, 0.5);
    assert_int_equal(gm__guard_judge(&g, 3, 10, 2.3, 1), GM__SPIKE);
    assert_int_equal(gm__guard_judge(&g, 3, 10, 1.1, 1), GM__SANE);  // under three times the median
    assert_int_equal(gm__guard_judge(&g, 0, 10, 2.3, 1), GM__SANE);  // switched off
    assert_int_equal(gm__guard_judge(&g, 0, 10, NAN, 1), GM__NOT_FINITE);
    assert_int_equal(gm__guard_judge(&g, 3, 10, 0.5, INFINITY), GM__NOT_FINITE);
    for (int i = 0; i < GM__GUARD_WINDOW; i++) gm__guard_accept(&g, 0.01);
    assert_int_equal(gm__guard_judge(&g, 3, 10, 0.4, 1), GM__SANE); // one hard batch at the end of training
    gm__guard_rolled_back(&g);
    assert_true(g.damp == 0.5f);
    for (int i = 0; i < GM__GUARD_CALM; i++) gm__guard_accept(&g, 0.01);
    assert_true(g.damp == 1);
    assert_int_equal(g.rollbacks, 1);
}

static void a_broken_step_is_rolled_back_and_subnets_weigh_half(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[256];
    gm_train_result result;
    gm_train_settings s = small_settings(); // deps: 20 steps an epoch, sandwiches from step 24 on
    breaker b = {.from = 50, .to = 51};
    folder_name(folder, sizeof folder, "broken");
    assert_ok(run(&s, &b, folder, false, &result, &err));
    assert_int_equal(result.rollbacks, 1);
    assert_int_equal(result.steps, 60);
    assert_true(b.beta == 0.5);
    assert_true(result.val[0].top1 > 40);
    folder_remove(folder);
    b = (breaker){.from = 10, .to = 11}; // only the full net yet: the learning rate is halved
    assert_ok(run(&s, &b, folder, false, &result, &err));
    breaker calm = {.from = 11, .to = 11};
    folder_remove(folder);
    assert_ok(run(&s, &calm, folder, false, &result, &err));
    assert_true(b.lr == 0.5 * calm.lr);
    folder_remove(folder);
}

// States are kept at steps 40, 48, 56: a break at 50 goes back to the weights of 48, as one break after another from 48 on does.
static void a_roll_back_gives_the_weights_of_the_last_good_state(void **state) {
    (void)state;
    breaker one = {.from = 50, .to = 51}, all = {.from = 48, .to = 51}, none = {.from = 51, .to = 51}, *const each[] = {&one, &all, &none};
    gm_train_settings s = small_settings();
    s.strategy = GM_STRATEGY_PLAIN;
    for (int i = 0; i < 3; i++) {
        gm_error err = {0};
        gm_train_result result;
        char folder[256];
        folder_name(folder, sizeof folder, "back");
        assert_ok(run(&s, each[i], folder, false, &result, &err));
        folder_remove(folder);
    }
    assert_true(one.after == all.after);
    assert_true(one.after != none.after);
}

static void a_loss_that_stays_broken_is_explained(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[256];
    gm_train_result result;
    gm_train_settings s = small_settings();
    breaker b = {.from = 30, .to = 1000}, none = {0};
    folder_name(folder, sizeof folder, "nan");
    assert_int_equal(run(&s, &b, folder, false, &result, &err), GM_ERR_NUMERIC);
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "epoch 1."));
    assert_non_null(strstr(err.text, "lower lr"));
    assert_ok(run(&s, &none, folder, true, &result, &err)); // the last good state is there
    assert_int_equal(result.steps, 60);
    folder_remove(folder);
}

static void a_full_disk_is_an_error_and_the_state_stays(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[256], path[300];
    gm_train_result result;
    gm_train_settings s = small_settings();
    breaker b = {.from = 30, .to = 1000}, none = {0};
    folder_name(folder, sizeof folder, "full");
    gm__state_path(folder, path, sizeof path);
    assert_int_equal(run(&s, &b, folder, false, &result, &err), GM_ERR_NUMERIC); // leaves a state
    struct rlimit before, little;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN); // writing past the limit fails, as on a full disk
    little = before;
    little.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    s.checkpoint_seconds = 0;
    gm_status status = run(&s, &none, folder, true, &result, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    print_message("%s\n", err.text);
    assert_int_equal(status, GM_ERR_IO);
    assert_non_null(strstr(err.text, "--resume"));
    assert_true(gm_path_exists(path));
    assert_ok(run(&s, &none, folder, true, &result, &err));
    assert_int_equal(result.steps, 60);
    folder_remove(folder);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    char folder[256];
    gm_train_settings s = small_settings();
    folder_name(folder, sizeof folder, "memory");
    s.strategy = GM_STRATEGY_OFA; // a teacher too
    s.epochs = 0.3;
    s.calibrate_images = 16;
    s.validation = 16;
    gm_dataset *d = make_data(64, 12, 1, 4, 1);
    size_t live = gm_alloc_live();
    long n = 1, failures = 0;
    for (;; n += 1 + n / 20) {
        gm_error err = {0};
        gm_train_result result;
        gm_alloc_fail_at(n);
        gm_status status = gm__train_with(&s, d, NULL, folder, false, NULL, NULL, &result, &err);
        gm_alloc_fail_at(0);
        if (live != gm_alloc_live()) fail_msg("allocation %ld: %zu blocks are left", n, gm_alloc_live() - live);
        folder_remove(folder);
        if (status == GM_OK) break;
        if (status != GM_ERR_MEMORY) fail_msg("allocation %ld: status %d, %s", n, (int)status, err.text);
        if (!err.text[0]) fail_msg("allocation %ld: no text", n);
        failures++;
    }
    print_message("%ld failures, the last of %ld allocations\n", failures, n);
    assert_true(failures > 30);
    gm_dataset_destroy(d);
}

static int one_thread(void **state) {
    (void)state;
    gm_threads_set(1);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_spike_is_a_multiple_of_the_median_and_near_chance),
                                       cmocka_unit_test(a_broken_step_is_rolled_back_and_subnets_weigh_half),
                                       cmocka_unit_test(a_roll_back_gives_the_weights_of_the_last_good_state),
                                       cmocka_unit_test(a_loss_that_stays_broken_is_explained),
                                       cmocka_unit_test(a_full_disk_is_an_error_and_the_state_stays),
                                       cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, one_thread, NULL);
}
