// SPDX-License-Identifier: Apache-2.0
// Interrupted anywhere, by any strategy, a run resumes and ends with the bits of an undisturbed one.
#include "train_test.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { STOPS = 4 };

typedef struct stopper {
    uint64_t at[STOPS];
    int next;
    uint64_t poison; // step whose gradient is broken, 0: none
} stopper;

static bool stop(void *self, uint64_t step) {
    stopper *s = self;
    if (s->next < STOPS && step >= s->at[s->next]) {
        s->next++;
        return true;
    }
    return false;
}

static void poison(void *self, uint64_t step, float *grads, size_t count) {
    const stopper *s = self;
    if (s->poison && step == s->poison) grads[count / 2 + 5] = grads[3] = (float)(1e38 * 1e38);
}

static gm_train_result undisturbed(const gm_train_settings *s, const gm_dataset *d, const char *folder, uint64_t broken) {
    gm_error err = {0};
    gm_train_result result = {0};
    stopper self = {.next = STOPS, .poison = broken};
    gm__train_hooks hooks = {.interrupted = stop, .gradients = poison, .self = &self};
    assert_ok(gm__train_with(s, d, NULL, folder, false, NULL, &hooks, &result, &err));
    return result;
}

// Resumes until the run ends; returns the number of sessions.
static int disturbed(const gm_train_settings *s, const gm_dataset *d, const char *folder, stopper *self,
                     gm_train_result *result) {
    gm_error err = {0};
    gm__train_hooks hooks = {.interrupted = stop, .gradients = poison, .self = self};
    for (int session = 1;; session++) {
        gm_status status = gm__train_with(s, d, NULL, folder, session > 1, NULL, &hooks, result, &err);
        if (status == GM_OK) return session;
        if (status != GM_ERR_INTERRUPTED) fail_msg("session %d: %s", session, err.text);
        assert_non_null(strstr(err.text, "--resume"));
        assert_true(session < 20);
    }
}

static void check(gm_train_settings s, const char *what, uint64_t broken) {
    char plain[256], cut[256];
    folder_name(plain, sizeof plain, "whole");
    folder_name(cut, sizeof cut, "cut");
    gm_dataset *d = make_data(384, 12, 1, 4, 1);
    gm_train_result whole = undisturbed(&s, d, plain, broken), pieces = {0};
    gm_rng rng = gm_rng_keyed(99, (uint64_t)s.strategy, broken, GM_RNG_TEST);
    stopper self = {.poison = broken};
    for (int i = 0; i < STOPS; i++)
        self.at[i] = (i > 0 ? self.at[i - 1] : 0) + 1 + gm_rng_below(&rng, (uint32_t)(whole.steps / STOPS));
    int sessions = disturbed(&s, d, cut, &self, &pieces);
    print_message("%s: %d sessions, %d roll-backs\n", what, sessions, pieces.rollbacks);
    assert_int_equal(sessions, STOPS + 1);
    assert_int_equal(whole.steps, pieces.steps);
    assert_int_equal(whole.rollbacks, pieces.rollbacks);
    assert_int_equal(whole.rollbacks, broken ? 1 : 0);
    assert_true(whole.macs_spent == pieces.macs_spent);
    assert_same_model(plain, cut);
    folder_remove(plain);
    folder_remove(cut);
    gm_dataset_destroy(d);
}

static void every_strategy_resumes_bit_for_bit(void **state) {
    (void)state;
    for (int strategy = GM_STRATEGY_PLAIN; strategy <= GM_STRATEGY_DEPS; strategy++) {
        gm_train_settings s = small_settings();
        s.strategy = (gm_strategy)strategy;
        s.checkpoint_seconds = 0; // every snapshot goes to the disk
        check(s, gm__strategy_find(s.strategy)->name, 0);
    }
}

// Small images first: cuts lie before, at and after the change of size; with a teacher and without.
static void progressive_resizing_resumes_bit_for_bit(void **state) {
    (void)state;
    for (int teacher = 0; teacher < 2; teacher++) {
        gm_train_settings s = small_settings();
        s.strategy = teacher ? GM_STRATEGY_OFA : GM_STRATEGY_DEPS;
        s.early_resolution = 8;
        s.early_part = 0.6f;
        s.checkpoint_seconds = 0;
        check(s, teacher ? "ofa, small images first" : "deps, small images first", 0);
    }
}

static void adamw_average_mixup_and_clip_resume_bit_for_bit(void **state) {
    (void)state;
    gm_train_settings s = small_settings();
    s.optimizer = GM_OPTIMIZER_ADAMW;
    s.lr = 0.003f;
    s.weight_decay = 0.05f;
    s.ema = 0.99f;
    s.clip = 1;
    s.augment.mixup = 0.2f;
    s.augment.cutout = 3;
    s.augment.flip = 1;
    s.eval_every = 1;
    check(s, "adamw", 0);
}

static void a_roll_back_between_the_cuts_is_repeated(void **state) {
    (void)state;
    gm_train_settings s = small_settings();
    check(s, "deps with a broken step", 31);
}

static void an_unfinished_run_is_not_overwritten(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[256];
    gm_train_settings s = small_settings();
    gm_train_result result;
    stopper self = {.at = {9, 1000, 1000, 1000}};
    gm__train_hooks hooks = {.interrupted = stop, .self = &self};
    folder_name(folder, sizeof folder, "kept");
    gm_dataset *d = make_data(384, 12, 1, 4, 1);
    assert_int_equal(gm__train_with(&s, d, NULL, folder, false, NULL, &hooks, &result, &err), GM_ERR_INTERRUPTED);
    assert_int_equal(gm__train_with(&s, d, NULL, folder, false, NULL, &hooks, &result, &err), GM_ERR_STATE);
    s.lr *= 2; // another run
    assert_int_equal(gm__train_with(&s, d, NULL, folder, true, NULL, &hooks, &result, &err), GM_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "lr="));
    s = small_settings();
    s.epochs = 1;
    assert_int_equal(gm__train_with(&s, d, NULL, folder, true, NULL, &hooks, &result, &err), GM_ERR_ARGUMENT);
    s = small_settings();
    assert_ok(gm__train_with(&s, d, NULL, folder, true, NULL, NULL, &result, &err));
    assert_int_equal(gm__train_with(&s, d, NULL, folder, true, NULL, NULL, &result, &err), GM_ERR_STATE); // finished
    folder_remove(folder);
    gm_dataset_destroy(d);
}

static void a_damaged_state_is_refused(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[256], path[300];
    gm_train_settings s = small_settings();
    gm_train_result result;
    stopper self = {.at = {9, 1000, 1000, 1000}};
    gm__train_hooks hooks = {.interrupted = stop, .self = &self};
    folder_name(folder, sizeof folder, "damaged");
    gm_dataset *d = make_data(384, 12, 1, 4, 1);
    assert_int_equal(gm__train_with(&s, d, NULL, folder, false, NULL, &hooks, &result, &err), GM_ERR_INTERRUPTED);
    gm__state_path(folder, path, sizeof path);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(truncate(path, file.st_size - 100), 0);
    gm_status status = gm__train_with(&s, d, NULL, folder, true, NULL, NULL, &result, &err);
    assert_int_equal(status, GM_ERR_FORMAT);
    assert_non_null(strstr(err.text, "state.safetensors"));
    folder_remove(folder);
    gm_dataset_destroy(d);
}

static void a_folder_that_cannot_be_written_is_an_error(void **state) {
    (void)state;
    gm_error err = {0};
    gm_train_settings s = small_settings();
    gm_train_result result;
    gm_dataset *d = make_data(384, 12, 1, 4, 1);
    assert_int_equal(gm__train_with(&s, d, NULL, "/dev/null/run", false, NULL, NULL, &result, &err), GM_ERR_IO);
    assert_non_null(strstr(err.text, "/dev/null"));
    gm_dataset_destroy(d);
}

static int one_thread(void **state) {
    (void)state;
    gm_threads_set(1); // tiny maps: threads would only wait for each other
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_strategy_resumes_bit_for_bit),
                                       cmocka_unit_test(progressive_resizing_resumes_bit_for_bit),
        cmocka_unit_test(adamw_average_mixup_and_clip_resume_bit_for_bit),
                                       cmocka_unit_test(a_roll_back_between_the_cuts_is_repeated),
                                       cmocka_unit_test(an_unfinished_run_is_not_overwritten),
                                       cmocka_unit_test(a_damaged_state_is_refused),
                                       cmocka_unit_test(a_folder_that_cannot_be_written_is_an_error)};
    return cmocka_run_group_tests(tests, one_thread, NULL);
}
