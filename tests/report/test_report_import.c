// SPDX-License-Identifier: Apache-2.0
// Every kind of file: what is read of it comes out again; what is wrong in it is named.
#include "report_test.h"

#include <unistd.h>

static int clean(void **state) {
    (void)state;
    empty_folder();
    return 0;
}

static void a_training_log_and_its_recipe_are_read(void **state) {
    (void)state;
    put("recipe.yaml", recipe_text);
    json_t *run = run_of("log.jsonl", log_text);
    assert_string_equal(json_string_value(json_object_get(run, "kind")), "training");
    assert_true(number_at(run, "epochs", 0, "loss") == 1.5);
    assert_true(number_at(run, "epochs", 0, "macs_spent") == 2e12);
    assert_int_equal(json_array_size(json_object_get(run, "evaluations")), 2);
    assert_string_equal(text_at(run, "evaluations", 1, "choice"), "min");
    assert_true(number_at(run, "evaluations", 1, "top1") == 50.5);
    assert_string_equal(text_at(run, "events", 0, "event"), "rollback");
    assert_string_equal(setting(run, "preset"), "resnet-28");
    assert_string_equal(setting(run, "strategy"), "deps");
    assert_string_equal(setting(run, "model.width"), "0.5");
    assert_string_equal(setting(run, "seed"), "3"); // a section ends where the indentation does
    assert_string_equal(setting(run, "peak_bytes"), "123");
    json_decref(run);
}

static void a_search_is_read(void **state) {
    (void)state;
    json_t *run = run_of("pareto.json", search_text);
    assert_string_equal(json_string_value(json_object_get(run, "kind")), "search");
    assert_int_equal(json_array_size(json_object_get(run, "front")), 2);
    assert_true(number_at(run, "front", 1, "top1") == 85);
    assert_string_equal(text_at(run, "front", 0, "id"), "00000000000000aa");
    assert_true(number_at(run, "evaluated", 0, "predicted") == 78.5);
    assert_true(json_is_null(json_object_get(json_array_get(json_object_get(run, "evaluated"), 0), "latency_ms")));
    assert_string_equal(setting(run, "objective"), "latency");
    assert_string_equal(setting(run, "predictor.tau"), "0.9");
    json_decref(run);
}

static void a_profile_is_read(void **state) {
    (void)state;
    json_t *run = run_of("profile.json", profile_text);
    assert_string_equal(json_string_value(json_object_get(run, "kind")), "profile");
    assert_true(number_at(run, "subnets", 0, "latency_ms") == 0.5); // of one image
    assert_int_equal(json_array_size(json_object_get(run, "latencies")), 2);
    assert_true(number_at(run, "latencies", 1, "batch") == 4);
    assert_true(number_at(run, "latencies", 1, "p99_ms") == 1.9);
    json_decref(run);
}

static void a_replay_is_read_with_the_fates_beside_it(void **state) {
    (void)state;
    put("replay.jsonl", fates_text);
    json_t *run = run_of("replay.json", replay_text);
    assert_string_equal(json_string_value(json_object_get(run, "kind")), "serving");
    assert_true(number_at(run, "policies", 0, "attainment") == 0.5);
    assert_string_equal(text_at(run, "policies", 0, "policy"), "gamut");
    assert_true(number_at(run, "totals", 0, "sent") == 4);
    assert_true(number_at(run, "totals", 0, "met") == 2);
    assert_true(number_at(run, "totals", 0, "accuracy_served") == 82.75);
    assert_true(number_at(run, "totals", 0, "accuracy_measured") == 50); // one right, one wrong; without a label: not counted
    json_t *subnets = json_object_get(run, "subnets");
    assert_int_equal(json_array_size(subnets), 2);
    assert_true(number_at(run, "subnets", 0, "count") == 1); // ascending accuracy
    assert_true(number_at(run, "subnets", 1, "count") == 2);
    json_decref(run);
}

static double sum(const json_t *array) {
    double total = 0;
    for (size_t i = 0; i < json_array_size(array); i++) total += json_number_value(json_array_get(array, i));
    return total;
}

static void series_lose_no_request(void **state) {
    (void)state;
    char text[40000] = "";
    size_t at = 0;
    for (int i = 0; i < 300; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "{\"t\":%d.25,\"deadline_ms\":50,\"outcome\":\"%s\",\"subnet\":\"s%d\","
                               "\"latency_ms\":%d,\"accuracy\":%d}\n", i, i % 3 ? "met" : i % 2 ? "late" : "failed", i % 5, 10 + i, 80 + i % 5);
    json_t *run = run_of("fates.jsonl", text), *series = json_object_get(run, "series");
    assert_string_equal(json_string_value(json_object_get(run, "kind")), "fates");
    size_t buckets = json_array_size(json_object_get(series, "arrivals"));
    assert_in_range(buckets, 100, 160);
    assert_true(json_number_value(json_object_get(series, "width")) == 2);
    assert_true(sum(json_object_get(series, "arrivals")) == 300);
    assert_true(sum(json_object_get(series, "met")) == 200);
    assert_true(sum(json_object_get(series, "late")) == 50);
    assert_true(sum(json_object_get(series, "refused")) == 50);
    double answered = 0;
    json_t *subnets = json_object_get(run, "subnets"), *subnet;
    size_t i;
    json_array_foreach(subnets, i, subnet) {
        assert_int_equal(json_array_size(json_object_get(subnet, "counts")), buckets);
        answered += sum(json_object_get(subnet, "counts"));
    }
    assert_true(answered == 250);
    json_t *p99 = json_object_get(series, "p99_ms");
    assert_int_equal(json_array_size(p99), buckets);
    assert_true(json_number_value(json_array_get(p99, 0)) == 11); // of the two in the first bucket, the one that was answered
    json_decref(run);
}

static void a_simulation_is_read_in_each_of_its_forms(void **state) {
    (void)state;
    json_t *run = run_of("simulation.json", simulation_text);
    assert_int_equal(json_array_size(json_object_get(run, "policies")), 2);
    assert_string_equal(text_at(run, "policies", 1, "policy"), "fixed:00000000000000aa");
    assert_string_equal(setting(run, "profile"), "p.json");
    json_decref(run);
    run = run_of("array.json", "[{\"policy\":\"maxacc\",\"attainment\":0.25},{\"policy\":\"oracle\",\"attainment\":1}]");
    assert_string_equal(text_at(run, "policies", 1, "policy"), "oracle");
    json_decref(run);
    run = run_of("list.json", "{\"seed\":1,\"policies\":[{\"policy\":\"maxacc\",\"attainment\":0.25}]}");
    assert_true(number_at(run, "policies", 0, "attainment") == 0.25);
    json_decref(run);
}

static void a_list_of_checkpoints_is_read(void **state) {
    (void)state;
    json_t *run = run_of("checkpoints.json", checkpoints_text);
    assert_int_equal(json_array_size(json_object_get(run, "checkpoints")), 2); // the lost one has no size to show
    assert_string_equal(text_at(run, "checkpoints", 0, "name"), "1");
    assert_true(number_at(run, "checkpoints", 0, "raw_bytes") == 4000);
    assert_true(number_at(run, "checkpoints", 0, "step") == 10);
    assert_true(number_at(run, "checkpoints", 0, "top1_before") == 80.5); // the largest subnet's
    assert_true(number_at(run, "checkpoints", 1, "top1_after") == 79.9);
    json_decref(run);
    run = run_of("saves.jsonl", "{\"number\":1,\"bytes\":10,\"ratio\":2}\n{\"number\":2,\"bytes\":5,\"ratio\":4}\n");
    assert_int_equal(json_array_size(json_object_get(run, "checkpoints")), 2);
    json_decref(run);
    run = run_of("restores.json", "{\"checkpoints\":[{\"name\":\"a\",\"bytes\":10,\"ratio\":2}],\"restores\":[{\"restores\":1,"
                                  "\"step\":5,\"top1\":70,\"undisturbed\":70.5}]}");
    assert_true(number_at(run, "restores", 0, "undisturbed") == 70.5);
    json_decref(run);
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        gm_status status;
        const char *says;
    } bad[] = {
        {"a.jsonl", "{\"event\":\"epoch\",\"epoch\":1,\"step\":1}\nnot json\n", GM_ERR_FORMAT, "line 2"},
        {"b.jsonl", "{\"event\":\"epoch\",\"epoch\":1}\n", GM_ERR_FORMAT, "line 1: 'step' is missing"},
        {"c.jsonl", "{\"event\":\"eval\",\"step\":1,\"epoch\":1,\"split\":\"val\",\"choice\":\"max\",\"top1\":101}\n", GM_ERR_RANGE,
         "'top1' is 101; allowed: 0 to 100"},
        {"d.json", "{\"front\":[{\"id\":7}]}", GM_ERR_FORMAT, "front[0]: 'id' is not a text"},
        {"e.json", "{\"front\":[{\"macs\":-1}]}", GM_ERR_RANGE, "'macs' is -1"},
        {"f.json", "{\"subnets\":[{\"latency_ms\":{\"none\":{\"p50\":1}}}]}", GM_ERR_RANGE, "the batch 'none'"},
        {"g.json", "{\"policy\":\"x\",\"attainment\":1.5}", GM_ERR_RANGE, "'attainment' is 1.5"},
        {"h.json", "[{\"bytes\":1,\"ratio\":\"much\"}]", GM_ERR_FORMAT, "'ratio' is not a number"},
        {"i.json", "{\"something\":\"else\"}", GM_ERR_UNSUPPORTED, "is no training log"},
        {"j.json", "{\"front\":[", GM_ERR_UNSUPPORTED, "is no training log"},
        {"k.json", "", GM_ERR_UNSUPPORTED, "is no training log"},
    };
    gm_report_db *db = open_db(":memory:");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gm_error err = {0};
        put(bad[i].name, bad[i].text);
        assert_int_equal(gm_report_import_file(db, in_folder(bad[i].name), NULL, &err), bad[i].status);
        if (strstr(err.text, bad[i].says) == NULL) fail_msg("%s: not what was wrong: %s", bad[i].name, err.text);
        if (strstr(err.text, bad[i].name) == NULL) fail_msg("%s: not where: %s", bad[i].name, err.text);
    }
    gm_error err = {0};
    assert_int_equal(gm_report_import_file(db, in_folder("absent.json"), NULL, &err), GM_ERR_NOT_FOUND);
    json_t *page = shown(db); // nothing of a refused file stays
    assert_int_equal(json_array_size(json_object_get(page, "runs")), 0);
    json_decref(page);
    gm_report_db_close(db);
}

static void a_line_that_is_too_long_is_refused(void **state) {
    (void)state;
    size_t bytes = 70000;
    char *text = gm_alloc(bytes, 1);
    memset(text, ' ', bytes - 1);
    const char *head = "{\"event\":\"end\"}\n{\"event\":";
    memcpy(text, head, strlen(head));
    text[bytes - 2] = '\n';
    put("log.jsonl", text);
    gm_free(text);
    gm_report_db *db = open_db(":memory:");
    gm_error err = {0};
    assert_int_equal(gm_report_import_file(db, in_folder("log.jsonl"), NULL, &err), GM_ERR_RANGE);
    assert_non_null(strstr(err.text, "line 2 is longer than"));
    gm_report_db_close(db);
}

static void a_folder_is_imported_and_the_rest_left_out(void **state) {
    (void)state;
    put("log.jsonl", log_text);
    put("recipe.yaml", recipe_text);
    put("pareto.json", search_text);
    put("replay.json", replay_text);
    put("replay.jsonl", fates_text); // belongs to replay.json: not a run of its own
    put("alone.jsonl", fates_text);
    put("else.json", "{\"a\":1}");
    put("broken.json", "{\"front\":[{\"macs\":-1}]}");
    put(".hidden.json", search_text);
    gm_report_db *db = open_db(":memory:");
    gm_report_imported counts = {0};
    gm_error err;
    gm_log_set(GM_LOG_ERROR);
    if (gm_report_import_folder(db, test_folder, &counts, &err) != GM_OK) fail_msg("%s", err.text);
    assert_int_equal(counts.added, 4);
    assert_int_equal(counts.ignored, 2);
    gm_log_set(GM_LOG_INFO);
    counts = (gm_report_imported){0};
    assert_int_equal(gm_report_import_folder(db, test_folder, &counts, NULL), GM_OK);
    assert_int_equal(counts.unchanged, 4);
    assert_int_equal(counts.added + counts.replaced, 0);
    assert_int_equal(gm_report_import_folder(db, in_folder("absent"), &counts, &err), GM_ERR_NOT_FOUND);
    gm_report_db_close(db);
}

int main(void) {
    gm_log_set(GM_LOG_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_training_log_and_its_recipe_are_read, clean),
        cmocka_unit_test_teardown(a_search_is_read, clean),
        cmocka_unit_test_teardown(a_profile_is_read, clean),
        cmocka_unit_test_teardown(a_replay_is_read_with_the_fates_beside_it, clean),
        cmocka_unit_test_teardown(series_lose_no_request, clean),
        cmocka_unit_test_teardown(a_simulation_is_read_in_each_of_its_forms, clean),
        cmocka_unit_test_teardown(a_list_of_checkpoints_is_read, clean),
        cmocka_unit_test_teardown(what_is_wrong_is_named, clean),
        cmocka_unit_test_teardown(a_line_that_is_too_long_is_refused, clean),
        cmocka_unit_test_teardown(a_folder_is_imported_and_the_rest_left_out, clean),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
