// SPDX-License-Identifier: Apache-2.0
// A store of checkpoints, as `gamut checkpoint list --json` shows it; and restores during a run against the same run
// undisturbed, when the file has them.
#include "kinds.h"

static const gm__report_table checkpoints = {
    "checkpoint",
    {{"position", GM__INTEGER, true, 0, 1e9}, {"name", GM__TEXT, false, 0, 0}, {"step", GM__INTEGER, false, 0, 1e15},
     {"epoch", GM__NUMBER, false, 0, 1e9}, {"bytes", GM__INTEGER, true, 0, 1e18}, {"raw_bytes", GM__INTEGER, false, 0, 1e18},
     {"ratio", GM__NUMBER, true, 0, 1e9}, {"ratio_weights", GM__NUMBER, false, 0, 1e9},
     {"top1_before", GM__NUMBER, false, 0, 100}, {"top1_after", GM__NUMBER, false, 0, 100},
     {"seconds", GM__NUMBER, false, 0, 1e12}}};

static const gm__report_table restores = {
    "restore",
    {{"position", GM__INTEGER, true, 0, 1e9}, {"restores", GM__INTEGER, false, 0, 1e9}, {"step", GM__INTEGER, false, 0, 1e15},
     {"top1", GM__NUMBER, true, 0, 100}, {"undisturbed", GM__NUMBER, false, 0, 100}}};

// An array of checkpoints, or {checkpoints: [...], restores: [...]}.
static const json_t *list_of(const json_t *value) {
    return json_is_array(value) ? value : json_object_get(value, "checkpoints");
}

static bool recognise(const json_t *value, bool lines) {
    const json_t *first = json_array_get(list_of(value), 0);
    return !lines && json_is_number(json_object_get(first, "ratio")) && json_is_number(json_object_get(first, "bytes"));
}

static gm_status read_list(const json_t *array, const gm__report_table *table, const char *name, const gm__sink *sink,
                           gm_error *err) {
    gm_status status = GM_OK;
    for (size_t i = 0; i < json_array_size(array) && status == GM_OK; i++) {
        char where[48];
        snprintf(where, sizeof where, "%s[%zu]", name, i);
        const gm__cell fixed[GM__MOST_COLUMNS] = {{true, (double)i, NULL}};
        status = gm__row_of(json_array_get(array, i), table, fixed, where, sink, err);
    }
    return status;
}

static gm_status read_run(const gm__files *files, const gm__sink *sink, gm_error *err) {
    json_t *file = NULL;
    gm_status status = gm__parse_json(files->main, &file, err);
    if (status == GM_OK && json_is_object(file)) status = gm__settings_of(file, sink, err);
    if (status == GM_OK) status = read_list(list_of(file), &checkpoints, "checkpoints", sink, err);
    if (status == GM_OK) status = read_list(json_object_get(file, "restores"), &restores, "restores", sink, err);
    json_decref(file);
    return status;
}

static gm_status show(gm_report_db *db, int64_t run, json_t *out, gm_error *err) {
    gm_status status = gm__query_into(
        db, "SELECT name, step, epoch, bytes, raw_bytes, ratio, ratio_weights, top1_before, top1_after, seconds FROM checkpoint"
            " WHERE run = ?1 ORDER BY position LIMIT 2000", run, out, "checkpoints", err);
    if (status != GM_OK) return status;
    return gm__query_into(db, "SELECT restores, step, top1, undisturbed FROM restore WHERE run = ?1 ORDER BY position LIMIT 2000",
                          run, out, "restores", err);
}

const gm__kind gm__kind_checkpoints = {"checkpoints", recognise, gm__nothing_beside, read_run, show};
