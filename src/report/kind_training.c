// SPDX-License-Identifier: Apache-2.0
// A training run: log.jsonl (docs/training.md) and the recipe.yaml beside it.
#include "kinds.h"

#include <math.h>
#include <string.h>

static const gm__report_table epochs = {
    "epoch",
    {{"epoch", GM__NUMBER, true, 0, 1e9}, {"step", GM__INTEGER, true, 0, 1e15}, {"loss", GM__NUMBER, false, -1e30, 1e30},
     {"accuracy", GM__NUMBER, false, 0, 100}, {"lr", GM__NUMBER, false, 0, 1e9}, {"macs_spent", GM__NUMBER, false, 0, 1e30},
     {"images_per_second", GM__NUMBER, false, 0, 1e15}, {"seconds", GM__NUMBER, false, 0, 1e12}}};

static const gm__report_table evaluations = {
    "evaluation",
    {{"step", GM__INTEGER, true, 0, 1e15}, {"epoch", GM__NUMBER, true, 0, 1e9}, {"split", GM__TEXT, true, 0, 0},
     {"choice", GM__TEXT, true, 0, 0}, {"top1", GM__NUMBER, true, 0, 100}, {"loss", GM__NUMBER, false, -1e30, 1e30},
     {"macs", GM__INTEGER, false, 0, 1e18}, {"images", GM__INTEGER, false, 0, 1e12}}};

static const gm__report_table events = {
    "event",
    {{"step", GM__INTEGER, true, 0, 1e15}, {"epoch", GM__NUMBER, false, 0, 1e9}, {"event", GM__TEXT, true, 0, 0},
     {"name", GM__TEXT, false, 0, 0}}};

static bool recognise(const json_t *value, bool lines) {
    return lines && json_is_string(json_object_get(value, "event"));
}

static void beside(const char *path, const json_t *value, char *out, size_t bytes) {
    (void)value;
    const char *slash = strrchr(path, '/');
    int folder = slash != NULL ? (int)(slash - path) + 1 : 0;
    if (snprintf(out, bytes, "%.*srecipe.yaml", folder, path) >= (int)bytes) out[0] = '\0';
}

// Each event has its table; "end" says how the run went as a whole. Later versions may log more: that is skipped.
static gm_status read_event(void *context, const json_t *object, const char *where, gm_error *err) {
    const gm__sink *sink = context;
    const char *event = json_string_value(json_object_get(object, "event"));
    if (event == NULL) return gm_fail(err, GM_ERR_FORMAT, "%s: 'event' is missing", where);
    if (strcmp(event, "epoch") == 0) return gm__row_of(object, &epochs, NULL, where, sink, err);
    if (strcmp(event, "eval") == 0) return gm__row_of(object, &evaluations, NULL, where, sink, err);
    if (strcmp(event, "phase") == 0 || strcmp(event, "rollback") == 0 || strcmp(event, "restore") == 0)
        return gm__row_of(object, &events, NULL, where, sink, err);
    if (strcmp(event, "end") == 0) return gm__settings_of(object, "", sink, err);
    return GM_OK;
}

// recipe.yaml as `gamut train` writes it: KEY: VALUE, sections indented, texts in single quotes. Not any YAML: a line that
// reads otherwise is left out.
static gm_status read_recipe(gm__bytes recipe, const gm__sink *sink, gm_error *err) {
    char section[64] = "";
    gm_status status = GM_OK;
    const char *at = recipe.data, *all = recipe.data + recipe.bytes;
    while (at < all && status == GM_OK) {
        const char *end = memchr(at, '\n', (size_t)(all - at));
        char line[GM__MOST_TEXT], key[160];
        snprintf(line, sizeof line, "%.*s", (int)((end != NULL ? end : all) - at), at);
        at = end != NULL ? end + 1 : all;
        bool inside = line[0] == ' ';
        char *name = line + strspn(line, " "), *colon = strchr(name, ':');
        if (name[0] == '#' || colon == NULL) continue;
        *colon = '\0';
        char *value = colon + 1 + strspn(colon + 1, " ");
        size_t length = strlen(value);
        if (!inside) section[0] = '\0';
        if (length == 0) {
            snprintf(section, sizeof section, "%s.", name);
            continue;
        }
        if (length >= 2 && value[0] == '\'' && value[length - 1] == '\'') {
            value[length - 1] = '\0';
            value++;
        }
        snprintf(key, sizeof key, "%s%s", section, name);
        if (value[0] != '\0') status = gm__setting_row(key, value, sink, err);
    }
    return status;
}

static gm_status read_run(const gm__files *files, const gm__sink *sink, gm_error *err) {
    gm__sink mine = *sink;
    gm_status status = gm__each_line(files->main, read_event, &mine, err);
    if (status == GM_OK && files->beside.data != NULL) status = read_recipe(files->beside, sink, err);
    return status;
}

// At most about 400 points a curve are drawn.
static const char epochs_sql[] =
    "SELECT epoch, loss, accuracy, lr, macs_spent, images_per_second, seconds FROM epoch WHERE run = ?1 AND"
    " (rowid % max(1, (SELECT count(*) FROM epoch WHERE run = ?1) / 400) = 0"
    " OR rowid = (SELECT max(rowid) FROM epoch WHERE run = ?1)) ORDER BY step";
static const char evaluations_sql[] =
    "SELECT split, choice, epoch, top1, macs FROM evaluation WHERE run = ?1 ORDER BY split, choice, step LIMIT 20000";

static gm_status show(gm_report_db *db, int64_t run, json_t *out, gm_error *err) {
    gm_status status = gm__query_into(db, epochs_sql, run, out, "epochs", err);
    if (status == GM_OK) status = gm__query_into(db, evaluations_sql, run, out, "evaluations", err);
    if (status == GM_OK)
        status = gm__query_into(db, "SELECT epoch, event, name FROM event WHERE run = ?1 ORDER BY step LIMIT 200", run, out,
                                "events", err);
    return status;
}

const gm__kind gm__kind_training = {"training", recognise, beside, read_run, show};
