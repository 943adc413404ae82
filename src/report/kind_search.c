// SPDX-License-Identifier: Apache-2.0
// A search: pareto.json of `gamut search`.
#include "kinds.h"

enum { ROLE = 0 };
const gm__report_table gm__table_subnet = {
    "subnet",
    {{"role", GM__TEXT, true, 0, 0}, {"id", GM__TEXT, false, 0, 0}, {"choice", GM__TEXT, false, 0, 0},
     {"top1", GM__NUMBER, false, 0, 100}, {"macs", GM__INTEGER, false, 0, 1e18}, {"latency_ms", GM__NUMBER, false, 0, 1e9},
     {"predicted", GM__NUMBER, false, -1e9, 1e9}}};

static bool recognise(const json_t *value, bool lines) {
    return !lines && json_is_array(json_object_get(value, "front"));
}

static gm_status read_run(const gm__files *files, const gm__sink *sink, gm_error *err) {
    json_t *file = NULL;
    gm_status status = gm__parse_json(files->main, &file, err);
    gm__cell role[GM__MOST_COLUMNS] = {[ROLE] = {true, 0, "front"}};
    static const char *const parts[] = {"settings", "predictor", "latency", "gap"};
    if (status == GM_OK) status = gm__settings_of(file, "", sink, err);
    for (size_t i = 0; i < sizeof parts / sizeof *parts && status == GM_OK; i++)
        status = gm__settings_of(json_object_get(file, parts[i]), parts[i], sink, err);
    if (status == GM_OK) status = gm__rows_of(json_object_get(file, "front"), &gm__table_subnet, role, "front", sink, err);
    role[ROLE].text = "evaluated";
    const json_t *evaluated = json_object_get(file, "evaluated");
    if (status == GM_OK && evaluated != NULL)
        status = gm__rows_of(evaluated, &gm__table_subnet, role, "evaluated", sink, err);
    json_decref(file);
    return status;
}

// A search may have looked at a hundred thousand; every n-th of them shows the cloud as well.
static gm_status show(gm_report_db *db, int64_t run, json_t *out, gm_error *err) {
    gm_status status = gm__query_into(
        db, "SELECT id, choice, top1, macs, latency_ms, predicted FROM subnet WHERE run = ?1 AND role = 'front' ORDER BY top1 LIMIT 1000",
        run, out, "front", err);
    if (status != GM_OK) return status;
    return gm__query_into(
        db, "SELECT choice, top1, macs, latency_ms, predicted FROM subnet WHERE run = ?1 AND role = 'evaluated' AND rowid %"
            " max(1, (SELECT count(*) FROM subnet WHERE run = ?1 AND role = 'evaluated') / 1500) = 0 ORDER BY rowid",
        run, out, "evaluated", err);
}

const gm__kind gm__kind_search = {"search", recognise, gm__nothing_beside, read_run, show};
