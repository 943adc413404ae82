// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of report: small files of each kind in a scratch folder.
#ifndef GAMUT_TESTS_REPORT_TEST_H
#define GAMUT_TESTS_REPORT_TEST_H

#include "base/base_test.h"

#include <gamut/report.h>
#include <jansson.h>
#include <sqlite3.h>

static const char log_text[] =
    "{\"event\":\"epoch\",\"epoch\":1.0,\"step\":10,\"loss\":1.5,\"accuracy\":40.0,\"lr\":0.1,\"macs_spent\":2e12,"
    "\"images_per_second\":100.0,\"seconds\":10.0,\"rollbacks\":0}\n"
    "{\"event\":\"eval\",\"step\":10,\"epoch\":1.0,\"split\":\"val\",\"choice\":\"max\",\"top1\":70.0,\"loss\":0.5,"
    "\"macs\":31500000,\"images\":100}\n"
    "{\"event\":\"eval\",\"step\":10,\"epoch\":1.0,\"split\":\"val\",\"choice\":\"min\",\"top1\":50.5,\"macs\":8000000}\n"
    "{\"event\":\"rollback\",\"step\":12,\"epoch\":1.2,\"to\":10,\"spike\":true}\n"
    "{\"event\":\"something later\",\"x\":[1]}\n"
    "{\"event\":\"end\",\"steps\":20,\"macs_spent\":4e12,\"seconds\":20.5,\"peak_bytes\":123}\n";
static const char recipe_text[] = "# gamut\npreset: 'resnet-28'\nstrategy: deps\nmodel:\n  width: 0.5\nseed: 3\n";
static const char search_text[] =
    "{\"format\":\"gamut-pareto\",\"objective\":\"latency\",\"seconds\":3.5,\"evaluations\":3,\"predictor\":{\"tau\":0.9},"
    "\"front\":[{\"id\":\"00000000000000aa\",\"choice\":\"d=1\",\"top1\":80.5,\"macs\":1000,\"latency_ms\":0.5,\"timed\":true},"
    "{\"id\":\"00000000000000bb\",\"choice\":\"d=2\",\"top1\":85,\"macs\":2000,\"latency_ms\":0.9}],"
    "\"evaluated\":[{\"choice\":\"d=1\",\"top1\":79,\"macs\":1000,\"latency_ms\":null,\"predicted\":78.5}]}";
static const char profile_text[] =
    "{\"format\":\"gamut-profile\",\"dtype\":\"f32\",\"threads\":1,\"subnets\":[{\"id\":\"00000000000000aa\",\"choice\":\"d=1\","
    "\"top1\":80.5,\"macs\":1000,\"latency_ms\":{\"1\":{\"p50\":0.5,\"p99\":0.7},\"4\":{\"p50\":1.5,\"p99\":1.9}}}]}";
static const char replay_text[] =
    "{\"policy\":\"gamut\",\"trace\":\"poisson:2\",\"slo_ms\":36,\"sent\":4,\"met\":2,\"late\":1,\"dropped\":1,"
    "\"attainment\":0.5,\"accuracy_served\":82.75,\"accuracy_measured\":null,\"goodput_accuracy\":41.375,\"p50_ms\":10,"
    "\"p99_ms\":40}";
static const char fates_text[] = // one written by the simulator's words, the others by the replay's
    "{\"t\":0.0,\"deadline_ms\":36,\"outcome\":\"met\",\"subnet\":\"00000000000000aa\",\"batch\":1,\"latency_ms\":10.0,"
    "\"accuracy\":80.5,\"correct\":true}\n"
    "{\"due_s\":0.5,\"outcome\":\"met\",\"subnet\":\"00000000000000bb\",\"batch\":2,\"latency_ms\":20.0,\"accuracy\":85,"
    "\"answer\":3,\"label\":4}\n"
    "{\"due_s\":0.6,\"outcome\":\"late\",\"subnet\":\"00000000000000bb\",\"batch\":2,\"latency_ms\":40.0,\"accuracy\":85,"
    "\"answer\":-1,\"label\":-1}\n"
    "{\"due_s\":1.0,\"outcome\":\"dropped\",\"subnet\":null,\"batch\":-1,\"latency_ms\":null,\"accuracy\":null}\n"
    "{\"due_s\":9.0,\"outc"; // cut: it was being written
static const char simulation_text[] =
    "{\"profile\":\"p.json\",\"gamut\":{\"attainment\":1.0,\"goodput_accuracy\":84},\"fixed:00000000000000aa\":{\"attainment\":1,"
    "\"goodput_accuracy\":80.5}}";
static const char checkpoints_text[] =
    "[{\"number\":1,\"parent\":0,\"bytes\":1000,\"image_bytes\":4000,\"ratio\":4.0,\"ratio_weights\":5.5,"
    "\"note\":{\"step\":10,\"top1_before\":{\"max\":80.5,\"min\":70}}},"
    "{\"number\":2,\"bytes\":100,\"ratio\":40.0,\"ratio_weights\":null,\"top1_before\":80,\"top1_after\":79.9,\"note\":null},"
    "{\"number\":3,\"whole\":false,\"problem\":\"not there\"}]";

__attribute__((unused)) static void put(const char *name, const char *text) {
    gm_error err;
    if (gm_file_write(in_folder(name), text, strlen(text), &err) != GM_OK) fail_msg("%s", err.text);
}

__attribute__((unused)) static gm_report_db *open_db(const char *path) {
    gm_report_db *db = NULL;
    gm_error err;
    if (gm_report_db_open(path, &db, &err) != GM_OK) fail_msg("%s", err.text);
    return db;
}

// What a page of everything in the database would show.
__attribute__((unused)) static json_t *shown(gm_report_db *db) {
    char *text = NULL;
    gm_error err;
    gm_report_settings settings = gm_report_settings_default();
    if (gm_report_data(db, &settings, &text, NULL, &err) != GM_OK) fail_msg("%s", err.text);
    json_t *page = json_loads(text, 0, NULL);
    assert_non_null(page);
    gm_free(text);
    return page;
}

__attribute__((unused)) static gm_report_imported import_file(gm_report_db *db, const char *name) {
    gm_report_imported counts = {0};
    gm_error err;
    if (gm_report_import_file(db, in_folder(name), &counts, &err) != GM_OK) fail_msg("%s", err.text);
    return counts;
}

// The only run of a fresh database that this text was imported into.
__attribute__((unused)) static json_t *run_of(const char *name, const char *text) {
    gm_report_db *db = open_db(":memory:");
    put(name, text);
    assert_int_equal(import_file(db, name).added, 1);
    json_t *page = shown(db), *run = json_incref(json_array_get(json_object_get(page, "runs"), 0));
    assert_int_equal(json_array_size(json_object_get(page, "runs")), 1);
    json_decref(page);
    gm_report_db_close(db);
    return run;
}

__attribute__((unused)) static double number_at(const json_t *run, const char *array, size_t i, const char *key) {
    const json_t *value = json_object_get(json_array_get(json_object_get(run, array), i), key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}
__attribute__((unused)) static const char *text_at(const json_t *run, const char *array, size_t i, const char *key) {
    const char *text = json_string_value(json_object_get(json_array_get(json_object_get(run, array), i), key));
    return text != NULL ? text : "";
}
__attribute__((unused)) static const char *setting(const json_t *run, const char *key) {
    const char *text = json_string_value(json_object_get(json_object_get(run, "settings"), key));
    return text != NULL ? text : "";
}

#endif
