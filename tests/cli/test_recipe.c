// SPDX-License-Identifier: Apache-2.0
// Recipes: values arrive, and everything wrong is refused with file, line and what is allowed.
#include "cli/recipe.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static gm_status parse(const char *text, gm__recipe *recipe, gm_error *err) {
    *recipe = gm__recipe_default();
    *err = (gm_error){0};
    return gm__recipe_parse(text, strlen(text), "r.yaml", recipe, err);
}

static void expect_error(const char *text, const char *part, const char *part2) {
    gm__recipe recipe, untouched = gm__recipe_default();
    gm_error err;
    assert_int_not_equal(parse(text, &recipe, &err), GM_OK);
    if (strstr(err.text, part) == NULL || strstr(err.text, part2) == NULL) {
        fail_msg("for <%s>\n got: %s\nwant: %s ... %s", text, err.text, part, part2);
    }
    assert_memory_equal(&recipe, &untouched, sizeof recipe);
}

static void test_values_arrive(void **state) {
    (void)state;
    gm__recipe r;
    gm_error err;
    const char *text =
        "# comment\npreset: mbv3-32\nlr: 0.5\nbatch: 96\nnesterov: no\nstrategy: deps\n"
        "model:\n  width: 0.5\n  kernel_fixed: 7\naugment:\n  flip: alternate\n  mean: [0.5, "
        "0.25]\n"
        "eval_choices: [max, 'uniform:d=2,e=3']\nseed: 18446744073709551615\ntype: bf16\ntest: "
        "true\n"
        "phase_epochs: [1, 2, 3, 4, 5, 6]\ndata: folder:/a b/c\n";
    assert_int_equal(parse(text, &r, &err), GM_OK);
    assert_string_equal(r.train.preset, "mbv3-32");
    assert_string_equal(r.train.data, "folder:/a b/c");
    assert_true(r.train.lr == 0.5f && r.train.batch == 96 && !r.train.nesterov && r.test);
    assert_int_equal(r.train.strategy, GM_STRATEGY_DEPS);
    assert_true(r.train.model.width == 0.5 && r.train.model.kernel_fixed == 7);
    assert_int_equal(r.train.augment.flip, 2);
    assert_true(r.train.augment.mean[0] == 0.5f && r.train.augment.mean[1] == 0.25f &&
                r.train.augment.mean[2] == 0);
    assert_int_equal(r.train.eval_choice_count, 2);
    assert_string_equal(r.train.eval_choices[1], "uniform:d=2,e=3");
    assert_true(r.train.seed == UINT64_MAX && r.train.type == GM_BF16 && !r.train.type_auto);
    assert_true(r.train.phase_epochs[5] == 6.0f);
    assert_int_equal(parse("", &r, &err), GM_OK);
    gm__recipe defaults = gm__recipe_default();
    assert_memory_equal(&r, &defaults, sizeof r);
}

static void test_errors_name_file_line_and_allowed(void **state) {
    (void)state;
    expect_error("preset: resnet-28\n\nbach: 3\n", "r.yaml:3: unknown setting 'bach'",
                 "did you mean 'batch'");
    expect_error("model:\n  width: 1\n  widht: 1\n", "r.yaml:3: unknown setting 'model.widht'",
                 "'width'");
    expect_error("model:\n  width: 1\nlr: x\n", "r.yaml:3: lr: 'x' is not allowed",
                 "number 0 to 1000");
    expect_error("batch: 12abc", "r.yaml:1: batch: '12abc'", "whole number 1 to 65536");
    expect_error("batch: 1.5", "r.yaml:1: batch: '1.5'", "whole number");
    expect_error("epochs: 1\nbatch: 0\n", "r.yaml:2: batch: '0'", "1 to 65536");
    expect_error("lr: nan", "lr: 'nan'", "number");
    expect_error("lr: 1e400", "lr: '1e400'", "number");
    expect_error("seed: -1", "seed: '-1'", "0 to 18446744073709551615");
    expect_error("nesterov: maybe", "nesterov: 'maybe'", "true or false");
    expect_error("strategy: depz", "strategy: 'depz'", "plain, ofa, compofa, bignas, deps");
    expect_error("model:\n  width: 1\n  kernel_fixed: 4\n", "r.yaml:3: model.kernel_fixed: '4'",
                 "0, 3, 5, 7");
    expect_error("lr: [1]", "r.yaml:1: 'lr' has the wrong form", "number");
    expect_error("eval_choices: max", "r.yaml:1: 'eval_choices' has the wrong form",
                 "list of 1 to 8");
    expect_error("eval_choices: [a, b, c, d, e, f, g, h, i]", "eval_choices: not allowed",
                 "list of 1 to 8");
    expect_error("phase_lr: [1, 2]", "phase_lr: not allowed", "list of 6 numbers");
    expect_error("model: 3", "r.yaml:1: 'model' is a section", "");
    expect_error("lr: 1\nlr: 2", "'lr' is given twice", "");
    expect_error("- a\n", "lines of 'setting: value'", "");
    expect_error("lr: 1\nbatch: 3\ndata: \"abc\nseed: 1\n", "r.yaml:3: not YAML", "");
    expect_error("lr: 1\n\tbatch: 3\n", "r.yaml:2: not YAML", "");
    expect_error("seed: 1\npreset: resnet-29\n", "r.yaml:2: preset: 'resnet-29' is not known",
                 "resnet-28");
    expect_error("data_dir: *x\n", "aliases", "");
    expect_error("data: \"a\\nb\"\n", "data: 'a", "text of");
}

static void test_assignments(void **state) {
    (void)state;
    gm__recipe r = gm__recipe_default();
    gm_error err = {0};
    assert_int_equal(gm__recipe_set("model.width=0.75", &r, &err), GM_OK);
    assert_true(r.train.model.width == 0.75);
    assert_int_equal(gm__recipe_set("eval_choices=[min]", &r, &err), GM_OK);
    assert_string_equal(r.train.eval_choices[0], "min");
    assert_int_equal(gm__recipe_set("choice=d=1,2 e=3", &r, &err), GM_OK);
    assert_string_equal(r.train.choice, "d=1,2 e=3");
    assert_int_not_equal(gm__recipe_set("lr", &r, &err), GM_OK);
    assert_non_null(strstr(err.text, "--set lr"));
    assert_int_not_equal(gm__recipe_set("lr=-1", &r, &err), GM_OK);
    assert_non_null(strstr(err.text, "--set lr=-1: lr: '-1' is not allowed"));
    assert_int_not_equal(gm__recipe_set("model.depth=3", &r, &err), GM_OK);
    assert_int_not_equal(gm__recipe_set("a\nb=3", &r, &err), GM_OK);
    assert_int_not_equal(gm__recipe_set("lr=1\nbatch: 3", &r, &err), GM_OK);
}

static void test_written_recipe_reads_back_the_same(void **state) {
    (void)state;
    char path[] = "/tmp/gamut-test-recipe-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    gm__recipe r = gm__recipe_default(), back = gm__recipe_default();
    gm_error err = {0};
    assert_int_equal(gm__recipe_set("data=it's 100% \"odd\": #x", &r, &err) == GM_OK,
                     false); // ": " needs quotes
    assert_int_equal(gm__recipe_set("data='it''s 100% \"odd\": #x'", &r, &err), GM_OK);
    assert_string_equal(r.train.data, "it's 100% \"odd\": #x");
    assert_int_equal(gm__recipe_set("preset=resnet-32", &r, &err), GM_OK);
    r.train.lr = 0.1f;
    r.train.epochs = 1.0 / 3.0;
    r.train.model.width = 0.1;
    r.train.model.kernel_fixed = 5;
    r.train.seed = UINT64_MAX - 1;
    r.train.augment.std[0] = 0.24705882f;
    r.test = true;
    assert_int_equal(gm__recipe_write(&r, path, &err), GM_OK);
    gm_status status = gm__recipe_read(path, &back, &err);
    assert_int_equal(status, GM_OK);
    assert_memory_equal(&r, &back, sizeof r);
    unlink(path);
}

static void test_every_setting_states_default_within_range(void **state) {
    (void)state;
    int count = 0;
    const gm__setting *settings = gm__settings(&count);
    gm__recipe r = gm__recipe_default();
    for (int i = 0; i < count; i++) {
        char value[1400], line[1600];
        gm__setting_value(&settings[i], &r, value, sizeof value);
        snprintf(line, sizeof line, "%s%s%s=%s", settings[i].section,
                 settings[i].section[0] ? "." : "", settings[i].key, value);
        gm_error err = {0};
        if (gm__recipe_set(line, &r, &err) != GM_OK) fail_msg("%s", err.text);
    }
    gm__recipe defaults = gm__recipe_default();
    assert_memory_equal(&r, &defaults, sizeof r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_arrive),
        cmocka_unit_test(test_errors_name_file_line_and_allowed),
        cmocka_unit_test(test_assignments),
        cmocka_unit_test(test_written_recipe_reads_back_the_same),
        cmocka_unit_test(test_every_setting_states_default_within_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
