// SPDX-License-Identifier: Apache-2.0
// Checkpoints: what `gamut checkpoint list --json` or `save --json` prints, one or many; and restores during a run against
// the same run undisturbed, when the file has them.
#include "kinds.h"

enum { POSITION = 0, NAME = 1 };
static const gm__report_table checkpoints = {
    "checkpoint",
    {{"position", GM__INTEGER, true, 0, 1e9}, {"name", GM__TEXT, false, 0, 0}, {"step", GM__INTEGER, false, 0, 1e15},
     {"epoch", GM__NUMBER, false, 0, 1e9}, {"bytes", GM__INTEGER, true, 0, 1e18}, {"raw_bytes", GM__INTEGER, false, 0, 1e18},
     {"ratio", GM__NUMBER, false, 0, 1e9}, {"ratio_weights", GM__NUMBER, false, 0, 1e9},
     {"top1_before", GM__NUMBER, false, 0, 100}, {"top1_after", GM__NUMBER, false, 0, 100},
     {"seconds", GM__NUMBER, false, 0, 1e12}}};

static const gm__report_table restores = {
    "restore",
    {{"position", GM__INTEGER, true, 0, 1e9}, {"restores", GM__INTEGER, false, 0, 1e9}, {"step", GM__INTEGER, false, 0, 1e15},
     {"top1", GM__NUMBER, true, 0, 100}, {"undisturbed", GM__NUMBER, false, 0, 100}}};

// An array of checkpoints, or {checkpoints: [...], restores: [...]}; NULL: neither.
static const json_t *list_of(const json_t *value) {
    return json_is_array(value) ? value : json_object_get(value, "checkpoints");
}

static bool is_checkpoint(const json_t *value) {
    return json_is_number(json_object_get(value, "bytes")) && json_object_get(value, "ratio") != NULL;
}

static bool recognise(const json_t *value, bool lines) {
    if (is_checkpoint(value)) return true;
    return !lines && is_checkpoint(json_array_get(list_of(value), 0));
}

typedef struct reader {
    const gm__sink *sink;
    int position;
} reader;

// What the writer noted of a checkpoint counts as said of it; of accuracies by subnet, the largest subnet's is taken.
static json_t *member(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    if (value == NULL) value = json_object_get(json_object_get(object, "note"), key);
    return json_is_object(value) ? json_object_get(value, "max") : value;
}

static gm_status read_checkpoint(void *context, const json_t *object, const char *where, gm_error *err) {
    static const char *const noted[] = {"step", "epoch", "top1_before", "top1_after", "seconds"};
    reader *r = context;
    char name[32] = "";
    if (!is_checkpoint(object)) return GM_OK; // one that is lost, or cannot be read
    json_t *flat = json_copy((json_t *)(uintptr_t)object);
    for (size_t i = 0; i < sizeof noted / sizeof *noted; i++) {
        json_t *value = member(object, noted[i]);
        if (value != NULL) json_object_set(flat, noted[i], value);
        else json_object_del(flat, noted[i]);
    }
    json_t *raw = json_object_get(object, "image_bytes"), *number = json_object_get(object, "number");
    if (raw != NULL) json_object_set(flat, "raw_bytes", raw);
    gm__cell fixed[GM__MOST_COLUMNS] = {[POSITION] = {true, r->position++, NULL}};
    if (json_is_integer(number) && json_integer_value(number) > 0 && json_object_get(object, "name") == NULL) {
        snprintf(name, sizeof name, "%lld", (long long)json_integer_value(number));
        fixed[NAME] = (gm__cell){true, 0, name};
    }
    gm_status status = flat != NULL ? gm__row_of(flat, &checkpoints, fixed, where, r->sink, err)
                                    : gm_fail(err, GM_ERR_MEMORY, "out of memory for a checkpoint");
    json_decref(flat);
    return status;
}

static gm_status read_restores(const json_t *array, const gm__sink *sink, gm_error *err) {
    gm_status status = GM_OK;
    for (size_t i = 0; i < json_array_size(array) && status == GM_OK; i++) {
        char where[48];
        snprintf(where, sizeof where, "restores[%zu]", i);
        const gm__cell fixed[GM__MOST_COLUMNS] = {[POSITION] = {true, (double)i, NULL}};
        status = gm__row_of(json_array_get(array, i), &restores, fixed, where, sink, err);
    }
    return status;
}

static gm_status read_file(const json_t *file, const gm__sink *sink, gm_error *err) {
    reader r = {sink, 0};
    const json_t *list = list_of(file);
    if (list == NULL) return read_checkpoint(&r, file, "the checkpoint", err);
    gm_status status = json_is_object(file) ? gm__settings_of(file, "", sink, err) : GM_OK;
    for (size_t i = 0; i < json_array_size(list) && status == GM_OK; i++) {
        char where[48];
        snprintf(where, sizeof where, "checkpoints[%zu]", i);
        status = read_checkpoint(&r, json_array_get(list, i), where, err);
    }
    return status == GM_OK ? read_restores(json_object_get(file, "restores"), sink, err) : status;
}

// One JSON text; or lines, one a checkpoint.
static gm_status read_run(const gm__files *files, const gm__sink *sink, gm_error *err) {
    json_t *file = json_loadb(files->main.data, files->main.bytes, JSON_REJECT_DUPLICATES, NULL);
    if (file == NULL) {
        reader r = {sink, 0};
        return gm__each_line(files->main, read_checkpoint, &r, err);
    }
    gm_status status = read_file(file, sink, err);
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
