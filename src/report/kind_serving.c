// SPDX-License-Identifier: Apache-2.0
// What became of a load: the result of `gamut replay` or `gamut simulate`, with the fate of every request when there is a
// file of them beside; or such a file alone.
#include "kinds.h"
#include "series.h"

#include <string.h>

enum { POSITION = 0, POLICY = 1 };
static const gm__report_table outcomes = {
    "outcome",
    {{"position", GM__INTEGER, true, 0, 1e6}, {"policy", GM__TEXT, false, 0, 0}, {"trace", GM__TEXT, false, 0, 0},
     {"load", GM__NUMBER, false, 0, 1e6}, {"rate", GM__NUMBER, false, 0, 1e12}, {"slo_ms", GM__NUMBER, false, 0, 1e12},
     {"workers", GM__INTEGER, false, 0, 1e6}, {"seed", GM__NUMBER, false, 0, 1.9e19}, {"seconds", GM__NUMBER, false, 0, 1e12},
     {"sent", GM__INTEGER, false, 0, 1e15}, {"met", GM__INTEGER, false, 0, 1e15}, {"late", GM__INTEGER, false, 0, 1e15},
     {"dropped", GM__INTEGER, false, 0, 1e15}, {"attainment", GM__NUMBER, true, 0, 1},
     {"accuracy_served", GM__NUMBER, false, 0, 100}, {"accuracy_measured", GM__NUMBER, false, 0, 100},
     {"goodput_accuracy", GM__NUMBER, false, 0, 100}, {"p50_ms", GM__NUMBER, false, 0, 1e12},
     {"p99_ms", GM__NUMBER, false, 0, 1e12}}};

static const gm__report_table fates = {
    "fate",
    {{"t", GM__NUMBER, true, -1e9, 1e12}, {"deadline_ms", GM__NUMBER, false, -1e12, 1e12}, {"outcome", GM__TEXT, true, 0, 0},
     {"subnet", GM__TEXT, false, 0, 0}, {"batch", GM__INTEGER, false, -1, 1e6}, {"latency_ms", GM__NUMBER, false, 0, 1e12},
     {"accuracy", GM__NUMBER, false, 0, 100}, {"correct", GM__INTEGER, false, 0, 1}}};
enum { ARRIVED = 0, CORRECT = 7 };

static bool has_outcome(const json_t *value) { return json_is_number(json_object_get(value, "attainment")); }

// One result, an array of them, {policies: [...]}, or {POLICY: {...}, ...}.
static bool recognise_serving(const json_t *value, bool lines) {
    if (lines) return false;
    if (has_outcome(value) || has_outcome(json_array_get(value, 0))) return true;
    if (has_outcome(json_array_get(json_object_get(value, "policies"), 0))) return true;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member) if (has_outcome(member)) return true;
    return false;
}

// The name in "fates", beside the file; else the file's own name with .jsonl in place of .json.
static void fates_beside(const char *path, const json_t *value, char *out, size_t bytes) {
    const char *slash = strrchr(path, '/'), *named = json_string_value(json_object_get(value, "fates"));
    int folder = slash != NULL ? (int)(slash - path) + 1 : 0, written = 0;
    if (named != NULL) {
        const char *base = strrchr(named, '/'); // results that moved took the file along
        written = snprintf(out, bytes, "%.*s%s", folder, path, base != NULL ? base + 1 : named);
    } else {
        const char *dot = strrchr(path + folder, '.');
        int stem = dot != NULL ? (int)(dot - path) : (int)strlen(path);
        written = snprintf(out, bytes, "%.*s.jsonl", stem, path);
    }
    if (written >= (int)bytes) out[0] = '\0';
}

typedef struct reader {
    const gm__sink *sink;
    int position;
} reader;

static gm_status read_outcome(reader *r, const json_t *object, const char *policy, const char *where, gm_error *err) {
    gm__cell fixed[GM__MOST_COLUMNS] = {[POSITION] = {true, r->position++, NULL}};
    if (policy != NULL) fixed[POLICY] = (gm__cell){true, 0, policy};
    return gm__row_of(object, &outcomes, fixed, where, r->sink, err);
}

static gm_status read_outcomes(reader *r, const json_t *array, gm_error *err) {
    gm_status status = GM_OK;
    for (size_t i = 0; i < json_array_size(array) && status == GM_OK; i++) {
        char where[32];
        snprintf(where, sizeof where, "policies[%zu]", i);
        status = read_outcome(r, json_array_get(array, i), NULL, where, err);
    }
    return status;
}

// A replay calls the arrival due_s, and gives the answer and the label in place of whether they agree.
static gm_status read_fate(void *context, const json_t *object, const char *where, gm_error *err) {
    gm__cell fixed[GM__MOST_COLUMNS] = {0};
    const json_t *due = json_object_get(object, "due_s"), *answer = json_object_get(object, "answer"),
                 *label = json_object_get(object, "label");
    if (json_is_number(due) && json_object_get(object, "t") == NULL) {
        const gm__column *t = &fates.column[ARRIVED];
        fixed[ARRIVED] = (gm__cell){true, json_number_value(due), NULL};
        if (!(fixed[ARRIVED].number >= t->min && fixed[ARRIVED].number <= t->max))
            return gm_fail(err, GM_ERR_RANGE, "%.60s: 'due_s' is out of range", where);
    }
    if (json_is_integer(answer) && json_is_integer(label) && json_integer_value(label) >= 0)
        fixed[CORRECT] = (gm__cell){true, json_integer_value(answer) == json_integer_value(label) ? 1 : 0, NULL};
    return gm__row_of(object, &fates, fixed, where, context, err);
}

static gm_status read_summary(const json_t *file, const gm__sink *sink, gm_error *err) {
    reader r = {sink, 0};
    if (json_is_array(file)) return read_outcomes(&r, file, err);
    gm_status status = gm__settings_of(file, "", sink, err);
    if (status != GM_OK) return status;
    if (has_outcome(file)) return read_outcome(&r, file, NULL, "the result", err);
    const json_t *policies = json_object_get(file, "policies");
    if (json_is_array(policies)) return read_outcomes(&r, policies, err);
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)file, key, member) {
        if (!has_outcome(member)) continue;
        status = read_outcome(&r, member, key, key, err);
        if (status != GM_OK) break;
    }
    return status;
}

static gm_status read_serving(const gm__files *files, const gm__sink *sink, gm_error *err) {
    json_t *file = NULL;
    gm_status status = gm__parse_json(files->main, &file, err);
    if (status == GM_OK) status = read_summary(file, sink, err);
    json_decref(file);
    gm__sink mine = *sink;
    if (status == GM_OK && files->beside.data != NULL) status = gm__each_line(files->beside, read_fate, &mine, err);
    return status;
}

static gm_status show_serving(gm_report_db *db, int64_t run, json_t *out, gm_error *err) {
    gm_status status = gm__query_into(
        db, "SELECT policy, trace, load, rate, slo_ms, workers, seed, seconds, sent, met, late, dropped, attainment,"
            " accuracy_served, accuracy_measured, goodput_accuracy, p50_ms, p99_ms FROM outcome WHERE run = ?1"
            " ORDER BY position LIMIT 1000", run, out, "policies", err);
    if (status == GM_OK) status = gm__series_show(db, run, out, err);
    return status;
}

const gm__kind gm__kind_serving = {"serving", recognise_serving, fates_beside, read_serving, show_serving};

// ---------------------------------------------------------------------------------------------
static bool recognise_fates(const json_t *value, bool lines) {
    bool timed = json_is_number(json_object_get(value, "t")) || json_is_number(json_object_get(value, "due_s"));
    return lines && timed && json_is_string(json_object_get(value, "outcome"));
}

static gm_status read_fates(const gm__files *files, const gm__sink *sink, gm_error *err) {
    gm__sink mine = *sink;
    return gm__each_line(files->main, read_fate, &mine, err);
}

const gm__kind gm__kind_fates = {"fates", recognise_fates, gm__nothing_beside, read_fates, gm__series_show};
