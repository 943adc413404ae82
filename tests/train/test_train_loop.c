// SPDX-License-Identifier: Apache-2.0
// The loop as a whole: every strategy learns a made-up task, and what must not matter does not.
#include "train_test.h"

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
        s.epochs = 8;
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_strategy_learns_with_every_subnet)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
