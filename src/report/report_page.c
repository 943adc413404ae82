// SPDX-License-Identifier: Apache-2.0
// What the page shows: the runs of a scope, newest first, each with what its kind shows; and the page itself.
#include "database.h"

#include <gamut/web.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_SHOWN = 200 };

gm_report_settings gm_report_settings_default(void) { return (gm_report_settings){.most = 12}; }

// Whether a run is in the scope: path is a file of it, or lies below a folder of it.
static bool below(const char *path, const char *folder) {
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/') n--;
    return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/' || n == 1);
}

// The part of the path that a person would say: the folder of the run and the file.
static const char *short_path(const char *path) {
    const char *at = path + strlen(path);
    for (int slashes = 0; at > path; at--)
        if (at[-1] == '/' && ++slashes == 2) break;
    return at;
}

static gm_status show_settings(gm_report_db *db, int64_t run, json_t *out, gm_error *err) {
    json_t *rows = json_array(), *settings = json_object();
    gm_status status = gm__query(db, "SELECT key, value FROM setting WHERE run = ?1 ORDER BY rowid LIMIT 400", run, rows, err);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
        json_object_set(settings, json_string_value(json_object_get(row, "key")), json_object_get(row, "value"));
    json_object_set_new(out, "settings", settings);
    json_decref(rows);
    return status;
}

static gm_status show_run(gm_report_db *db, const json_t *row, json_t *runs, gm_error *err) {
    const char *kind_name = json_string_value(json_object_get(row, "kind"));
    const char *path = json_string_value(json_object_get(row, "path"));
    int64_t run = json_integer_value(json_object_get(row, "id"));
    const gm__kind *kind = gm__kind_named(kind_name);
    if (kind == NULL) return GM_OK; // a kind that this version does not show
    json_t *o = json_pack("{s:s, s:s, s:O}", "kind", kind_name, "name", short_path(path), "made_at",
                          json_object_get(row, "made_at"));
    gm_status status = show_settings(db, run, o, err);
    if (status == GM_OK) status = kind->show(db, run, o, err);
    if (status == GM_OK && json_array_append(runs, o) != 0) status = gm_fail(err, GM_ERR_MEMORY, "out of memory for the page");
    json_decref(o);
    return status;
}

// Scopes as absolute paths; a path that is gone stays as it is.
static gm_status resolve(const gm_report_settings *s, char **out, gm_error *err) {
    for (int i = 0; i < s->scope_count; i++) {
        out[i] = gm_alloc(PATH_MAX, 1);
        if (out[i] == NULL) return gm_fail(err, GM_ERR_MEMORY, "out of memory for the scope of a page");
        if (realpath(s->scope[i], out[i]) == NULL) snprintf(out[i], PATH_MAX, "%s", s->scope[i]);
    }
    return GM_OK;
}

static bool in_scope(const gm_report_settings *s, char *const *scope, const char *path) {
    for (int i = 0; i < s->scope_count; i++)
        if (below(path, scope[i])) return true;
    return s->scope_count == 0;
}

// The newest of each kind; *more counts those that are left out.
static gm_status show_runs(gm_report_db *db, const gm_report_settings *s, char *const *scope, json_t *runs, int *more,
                           gm_error *err) {
    int shown[16] = {0};
    json_t *rows = json_array(), *row;
    size_t i;
    gm_status status = gm__query(db,
                                 "SELECT id, kind, made_at, path FROM run JOIN place ON place.run = run.id"
                                 " ORDER BY made_at DESC, path, id LIMIT 100000", 0, rows, err);
    json_t *seen = json_object(); // a run with several paths is shown once
    json_array_foreach(rows, i, row) {
        char id[32];
        int kind = 0;
        if (status != GM_OK) break;
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(row, "id")));
        if (!in_scope(s, scope, json_string_value(json_object_get(row, "path"))) || json_object_get(seen, id) != NULL) continue;
        json_object_set_new(seen, id, json_true());
        while (gm__kinds[kind] != NULL && gm__kinds[kind] != gm__kind_named(json_string_value(json_object_get(row, "kind")))) kind++;
        if (shown[kind]++ < gm_min(s->most, MOST_SHOWN)) status = show_run(db, row, runs, err);
        else ++*more;
    }
    json_decref(seen);
    json_decref(rows);
    return status;
}

static const char *title_of(const gm_report_settings *s, char *const *scope) {
    if (s->title != NULL) return s->title;
    if (s->scope_count == 0) return "All runs";
    const char *slash = strrchr(scope[0], '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : scope[0];
}

gm_status gm_report_data(gm_report_db *db, const gm_report_settings *s, char **json, int *count, gm_error *err) {
    *json = NULL;
    int more = 0;
    char now[32];
    time_t seconds = time(NULL);
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
    json_t *runs = json_array(), *page = NULL;
    char **scope = gm_alloc((size_t)s->scope_count + 1, sizeof *scope), *text = NULL;
    gm_status status = scope != NULL ? resolve(s, scope, err) : gm_fail(err, GM_ERR_MEMORY, "out of memory for a page");
    if (status == GM_OK) status = show_runs(db, s, scope, runs, &more, err);
    if (status == GM_OK) {
        page = json_pack("{s:s, s:s, s:s, s:i, s:O}", "title", title_of(s, scope), "written_at", now, "version", gm_version(),
                         "more", more, "runs", runs);
        text = json_dumps(page, JSON_COMPACT | JSON_REAL_PRECISION(7));
        size_t bytes = text != NULL ? strlen(text) + 1 : 0;
        *json = text != NULL ? gm_alloc(bytes, 1) : NULL;
        if (*json == NULL) status = gm_fail(err, GM_ERR_MEMORY, "out of memory for a page");
        else memcpy(*json, text, bytes);
    }
    if (count != NULL) *count = (int)json_array_size(runs);
    for (int i = 0; scope != NULL && i < s->scope_count; i++) gm_free(scope[i]);
    gm_free(scope);
    free(text);
    json_decref(page);
    json_decref(runs);
    return status;
}

gm_status gm_report_write(gm_report_db *db, const gm_report_settings *s, const char *path, gm_error *err) {
    char *json = NULL, *page = NULL;
    size_t bytes = 0;
    int runs = 0;
    gm_status status = gm_report_data(db, s, &json, &runs, err);
    if (status == GM_OK && runs == 0)
        status = gm_fail(err, GM_ERR_NOT_FOUND, "there is nothing to show: no training log, search, profile, replay or list of "
                                                "checkpoints was found; `gamut train RECIPE.yaml` makes a first one");
    if (status == GM_OK) status = gm_web_page("report.html", json, &page, &bytes, err);
    if (status == GM_OK) status = gm_file_write(path, page, bytes, err);
    gm_free(json);
    gm_free(page);
    return status;
}
