// SPDX-License-Identifier: Apache-2.0
// A profile: what each subnet costs on one machine, and how good it is.
#include "kinds.h"

#include <stdlib.h>

enum { ROLE = 0 }; // column of gm__table_subnet

static const gm__report_table latencies = {
    "latency",
    {{"id", GM__TEXT, false, 0, 0}, {"batch", GM__INTEGER, true, 1, 1e6}, {"p50_ms", GM__NUMBER, false, 0, 1e9},
     {"p99_ms", GM__NUMBER, false, 0, 1e9}}};
enum { PERCENTILES = 2 };
static const gm__column percentiles[PERCENTILES] = {{"p50", GM__NUMBER, true, 0, 1e9}, {"p99", GM__NUMBER, false, 0, 1e9}};

static bool recognise(const json_t *value, bool lines) {
    const json_t *subnets = json_object_get(value, "subnets");
    return !lines && json_is_object(json_object_get(json_array_get(subnets, 0), "latency_ms"));
}

// latency_ms{BATCH: {p50, p99}}
static gm_status read_latencies(const json_t *subnet, const char *id, const char *where, const gm__sink *sink, gm_error *err) {
    const char *key;
    const json_t *value;
    gm_status status = GM_OK;
    json_t *by_batch = json_object_get(subnet, "latency_ms");
    if (!json_is_object(by_batch)) return gm_fail(err, GM_ERR_FORMAT, "%s: 'latency_ms' is not an object", where);
    json_object_foreach(by_batch, key, value) {
        char *end = NULL;
        long batch = strtol(key, &end, 10);
        if (*end != '\0' || batch < 1 || batch > 1000000)
            return gm_fail(err, GM_ERR_RANGE, "%s: 'latency_ms' has the batch '%.20s'", where, key);
        double both[PERCENTILES];
        for (int i = 0; i < PERCENTILES; i++) {
            const gm__column *column = &percentiles[i];
            const json_t *number = json_object_get(value, column->name);
            both[i] = json_number_value(number);
            if ((column->required && !json_is_number(number)) || !(both[i] >= column->min && both[i] <= column->max))
                return gm_fail(err, GM_ERR_FORMAT, "%s: batch %ld: '%s' is missing or out of range", where, batch,
                               column->name);
        }
        const gm__cell cells[] = {{id != NULL, 0, id}, {true, (double)batch, NULL}, {true, both[0], NULL},
                                  {json_object_get(value, "p99") != NULL, both[1], NULL}};
        status = sink->row(sink->context, &latencies, cells, err);
        if (status != GM_OK) break;
    }
    return status;
}

// Its row holds the latency of one image; the others have a table of their own.
static gm_status read_subnet(const json_t *subnet, const char *where, const gm__sink *sink, gm_error *err) {
    const gm__cell fixed[GM__MOST_COLUMNS] = {[ROLE] = {true, 0, "profile"}};
    json_t *one = json_object_get(json_object_get(json_object_get(subnet, "latency_ms"), "1"), "p50");
    json_t *flat = json_copy((json_t *)(uintptr_t)subnet);
    if (one != NULL) json_object_set(flat, "latency_ms", one);
    else json_object_del(flat, "latency_ms");
    gm_status status = gm__row_of(flat, &gm__table_subnet, fixed, where, sink, err);
    json_decref(flat);
    if (status != GM_OK) return status;
    return read_latencies(subnet, json_string_value(json_object_get(subnet, "id")), where, sink, err);
}

static gm_status read_run(const gm__files *files, const gm__sink *sink, gm_error *err) {
    json_t *file = NULL;
    gm_status status = gm__parse_json(files->main, &file, err);
    if (status == GM_OK) status = gm__settings_of(file, "", sink, err);
    const json_t *subnets = json_object_get(file, "subnets");
    for (size_t i = 0; i < json_array_size(subnets) && status == GM_OK; i++) {
        char where[64];
        snprintf(where, sizeof where, "subnets[%zu]", i);
        status = read_subnet(json_array_get(subnets, i), where, sink, err);
    }
    json_decref(file);
    return status;
}

static gm_status show(gm_report_db *db, int64_t run, json_t *out, gm_error *err) {
    gm_status status = gm__query_into(
        db, "SELECT id, choice, top1, macs, latency_ms FROM subnet WHERE run = ?1 ORDER BY top1 LIMIT 1000", run, out,
        "subnets", err);
    if (status != GM_OK) return status;
    return gm__query_into(db, "SELECT id, batch, p50_ms, p99_ms FROM latency WHERE run = ?1 ORDER BY id, batch LIMIT 20000",
                          run, out, "latencies", err);
}

const gm__kind gm__kind_profile = {"profile", recognise, gm__nothing_beside, read_run, show};
