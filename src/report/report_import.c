// SPDX-License-Identifier: Apache-2.0
// Files into the database: each one in one transaction, known by the hash of its content.
#include "database.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { MOST_TABLES = 16, MOST_DEPTH = 3, MOST_FILES = 4096 };

// ---------------------------------------------------------------------------------------------
// Rows go through one prepared statement a table.
typedef struct inserter {
    gm_report_db *db;
    int64_t run;
    int tables;
    const gm__report_table *table[MOST_TABLES];
    sqlite3_stmt *statement[MOST_TABLES];
} inserter;

static gm_status prepare_insert(inserter *in, const gm__report_table *table, sqlite3_stmt **out, gm_error *err) {
    char sql[1024];
    int at = snprintf(sql, sizeof sql, "INSERT INTO %s(run", table->name), columns = 0;
    for (; columns < GM__MOST_COLUMNS && table->column[columns].name != NULL; columns++)
        at += snprintf(sql + at, sizeof sql - (size_t)at, ", %s", table->column[columns].name);
    at += snprintf(sql + at, sizeof sql - (size_t)at, ") VALUES(?1");
    for (int i = 0; i < columns; i++) at += snprintf(sql + at, sizeof sql - (size_t)at, ", ?%d", i + 2);
    snprintf(sql + at, sizeof sql - (size_t)at, ")");
    if (in->tables == MOST_TABLES) return gm_fail(err, GM_ERR_STATE, "a run with more than %d tables", MOST_TABLES);
    gm_status status = gm__db_prepare(in->db, sql, out, err);
    if (status != GM_OK) return status;
    in->table[in->tables] = table;
    in->statement[in->tables++] = *out;
    return GM_OK;
}

static gm_status insert_row(void *context, const gm__report_table *table, const gm__cell *cells, gm_error *err) {
    inserter *in = context;
    sqlite3_stmt *statement = NULL;
    for (int i = 0; i < in->tables && statement == NULL; i++)
        if (in->table[i] == table) statement = in->statement[i];
    gm_status status = statement == NULL ? prepare_insert(in, table, &statement, err) : GM_OK;
    if (status != GM_OK) return status;
    sqlite3_bind_int64(statement, 1, in->run);
    for (int i = 0; i < GM__MOST_COLUMNS && table->column[i].name != NULL; i++) {
        if (!cells[i].filled) sqlite3_bind_null(statement, i + 2);
        else if (table->column[i].kind == GM__TEXT) sqlite3_bind_text(statement, i + 2, cells[i].text, -1, SQLITE_STATIC);
        else if (table->column[i].kind == GM__INTEGER) sqlite3_bind_int64(statement, i + 2, (int64_t)cells[i].number);
        else sqlite3_bind_double(statement, i + 2, cells[i].number);
    }
    int code = sqlite3_step(statement);
    if (code != SQLITE_DONE) status = gm__db_failed(in->db, "cannot write to it", err);
    sqlite3_reset(statement);
    return status;
}

// ---------------------------------------------------------------------------------------------
// Statements with a path, a kind, a hash and numbers, in this order: ?1 text, ?2 text, ?3 number, ?4 number.
static gm_status change(gm_report_db *db, const char *sql, const char *a, const char *b, int64_t c, int64_t d, gm_error *err) {
    sqlite3_stmt *statement = NULL;
    gm_status status = gm__db_prepare(db, sql, &statement, err);
    if (status != GM_OK) return status;
    int given = sqlite3_bind_parameter_count(statement);
    if (given >= 1) sqlite3_bind_text(statement, 1, a, -1, SQLITE_STATIC);
    if (given >= 2) sqlite3_bind_text(statement, 2, b, -1, SQLITE_STATIC);
    if (given >= 3) sqlite3_bind_int64(statement, 3, c);
    if (given >= 4) sqlite3_bind_int64(statement, 4, d);
    if (sqlite3_step(statement) != SQLITE_DONE) status = gm__db_failed(db, "cannot write to it", err);
    sqlite3_finalize(statement);
    return status;
}

// *run: 0 when there is none.
static gm_status find(gm_report_db *db, const char *sql, const char *a, const char *b, int64_t *run, gm_error *err) {
    sqlite3_stmt *statement = NULL;
    *run = 0;
    gm_status status = gm__db_prepare(db, sql, &statement, err);
    if (status != GM_OK) return status;
    sqlite3_bind_text(statement, 1, a, -1, SQLITE_STATIC);
    if (sqlite3_bind_parameter_count(statement) >= 2) sqlite3_bind_text(statement, 2, b, -1, SQLITE_STATIC);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) *run = sqlite3_column_int64(statement, 0);
    else if (code != SQLITE_DONE) status = gm__db_failed(db, "cannot read it", err);
    sqlite3_finalize(statement);
    return status;
}

typedef struct import {
    const char *path; // absolute
    const gm__kind *kind;
    gm__files files;
    char hash[17];
    int64_t made_at;
} import;

static gm_status insert_run(gm_report_db *db, const import *i, int64_t *run, gm_error *err) {
    gm_status status = change(db, "INSERT INTO run(kind, hash, made_at, imported_at) VALUES(?1, ?2, ?3, ?4)", i->kind->name,
                              i->hash, i->made_at, (int64_t)time(NULL), err);
    if (status != GM_OK) return status;
    inserter in = {.db = db, .run = sqlite3_last_insert_rowid(db->handle)};
    *run = in.run;
    const gm__sink sink = {insert_row, &in};
    status = i->kind->read(&i->files, &sink, err);
    for (int t = 0; t < in.tables; t++) sqlite3_finalize(in.statement[t]);
    return status;
}

// The run of this content, and the path that leads to it; what the path led to before goes, unless it has another path.
static gm_status store(gm_report_db *db, const import *i, gm_report_imported *counts, gm_error *err) {
    int64_t run = 0, before = 0;
    gm_status status = find(db, "SELECT id FROM run WHERE kind = ?1 AND hash = ?2", i->kind->name, i->hash, &run, err);
    if (status == GM_OK) status = find(db, "SELECT run FROM place WHERE path = ?1", i->path, NULL, &before, err);
    bool known = run != 0;
    if (status == GM_OK && !known) status = insert_run(db, i, &run, err);
    if (status == GM_OK && run != before)
        status = change(db, "INSERT INTO place(path, run) VALUES(?1, ?3) ON CONFLICT(path) DO UPDATE SET run = ?3 WHERE ?2 = ?2",
                        i->path, "", run, 0, err);
    if (status == GM_OK && before != 0 && run != before)
        status = gm__db_exec(db, "DELETE FROM run WHERE id NOT IN (SELECT run FROM place)", err);
    if (status != GM_OK) return status;
    if (known) counts->unchanged++;
    else if (before != 0) counts->replaced++;
    else counts->added++;
    return GM_OK;
}

// ---------------------------------------------------------------------------------------------
static bool ends_with(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    return n > m && strcmp(path + n - m, end) == 0;
}

static gm_status load(const char *path, bool lines, gm__bytes *out, gm_error *err) {
    uint8_t *data = NULL;
    gm_status status = gm_file_read(path, lines ? GM__MOST_LINES : GM__MOST_JSON, &data, &out->bytes, err);
    out->data = (const char *)data;
    return status;
}

static void unload(gm__bytes *file) {
    gm_free((void *)(uintptr_t)file->data);
    *file = (gm__bytes){0};
}

// beside: receives the path of the file that was read along, "" when there was none.
static gm_status import_file(gm_report_db *db, const char *path, gm_report_imported *counts, char beside[PATH_MAX],
                             gm_error *err) {
    char absolute[PATH_MAX];
    gm_error cause = {0};
    struct stat info;
    import i = {.path = absolute};
    bool lines = ends_with(path, ".jsonl");
    beside[0] = '\0';
    if (realpath(path, absolute) == NULL || stat(absolute, &info) != 0)
        return gm_fail(err, GM_ERR_NOT_FOUND, "%.200s: %s", path, strerror(errno));
    i.made_at = (int64_t)info.st_mtime;
    gm_status status = load(absolute, lines, &i.files.main, err);
    if (status != GM_OK) return status;
    json_t *first = gm__first_value(i.files.main, lines);
    i.kind = gm__kind_of(first, lines);
    if (i.kind == NULL) {
        status = gm_fail(err, GM_ERR_UNSUPPORTED,
                         "%.140s is no training log, search, profile, replay, simulation or list of checkpoints", path);
    } else {
        i.kind->beside(absolute, first, beside, PATH_MAX);
        if (strcmp(beside, absolute) == 0 || !gm_path_exists(beside) || gm_path_is_folder(beside)) beside[0] = '\0';
        if (beside[0] != '\0') status = load(beside, true, &i.files.beside, err);
    }
    json_decref(first);
    if (status == GM_OK) {
        uint64_t hash = gm_hash64(i.files.main.data, i.files.main.bytes, 0);
        if (i.files.beside.data != NULL) hash = gm_hash64(i.files.beside.data, i.files.beside.bytes, hash);
        snprintf(i.hash, sizeof i.hash, "%016" PRIx64, hash);
        status = gm__db_exec(db, "BEGIN IMMEDIATE", err);
        if (status == GM_OK) {
            status = store(db, &i, counts, &cause);
            if (status == GM_OK) status = gm__db_exec(db, "COMMIT", &cause);
            if (status != GM_OK) sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
            if (status == GM_ERR_FORMAT || status == GM_ERR_RANGE) gm_fail(err, status, "%.110s: %.140s", path, cause.text);
            else if (status != GM_OK) gm_fail(err, status, "%s", cause.text);
        }
    }
    unload(&i.files.main);
    unload(&i.files.beside);
    return status;
}

gm_status gm_report_import_file(gm_report_db *db, const char *path, gm_report_imported *counts, gm_error *err) {
    char beside[PATH_MAX];
    gm_report_imported none = {0};
    return import_file(db, path, counts != NULL ? counts : &none, beside, err);
}

// ---------------------------------------------------------------------------------------------
// The files of a folder, sorted, so that the same folder is always read alike.
typedef struct listing {
    char **path;
    int count;
} listing;

static gm_status list_add(listing *l, const char *path, gm_error *err) {
    if (l->count == MOST_FILES) return gm_fail(err, GM_ERR_RANGE, "more than %d JSON files; name a smaller folder", MOST_FILES);
    if (l->path == NULL) l->path = gm_alloc(MOST_FILES, sizeof *l->path);
    size_t bytes = strlen(path) + 1;
    char *copy = l->path != NULL ? gm_alloc(bytes, 1) : NULL;
    if (copy == NULL) return gm_fail(err, GM_ERR_MEMORY, "out of memory for a list of files");
    memcpy(copy, path, bytes);
    l->path[l->count++] = copy;
    return GM_OK;
}

static gm_status list_folder(listing *l, const char *folder, int depth, gm_error *err) {
    struct dirent **entry = NULL;
    gm_status status = GM_OK;
    int n = scandir(folder, &entry, NULL, alphasort);
    if (n < 0) return gm_fail(err, GM_ERR_NOT_FOUND, "%.200s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        bool fits = snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name) < (int)sizeof path;
        if (status == GM_OK && fits && entry[i]->d_name[0] != '.') {
            if (gm_path_is_folder(path)) status = depth < MOST_DEPTH ? list_folder(l, path, depth + 1, err) : GM_OK;
            else if (ends_with(path, ".json") || ends_with(path, ".jsonl")) status = list_add(l, path, err);
        }
        free(entry[i]);
    }
    free(entry);
    return status;
}

// Results before lines: the fates that belong to a result are not a run of their own.
static gm_status import_listed(gm_report_db *db, const listing *l, bool lines, listing *taken, gm_report_imported *counts,
                               gm_error *err) {
    gm_status status = GM_OK;
    for (int i = 0; i < l->count && status == GM_OK; i++) {
        char beside[PATH_MAX], absolute[PATH_MAX];
        gm_error cause = {0};
        if (ends_with(l->path[i], ".jsonl") != lines) continue;
        bool belongs = false;
        if (lines && realpath(l->path[i], absolute) != NULL)
            for (int t = 0; t < taken->count; t++) belongs |= strcmp(taken->path[t], absolute) == 0;
        if (belongs) continue;
        gm_status one = import_file(db, l->path[i], counts, beside, &cause);
        if (one == GM_ERR_UNSUPPORTED || one == GM_ERR_FORMAT || one == GM_ERR_RANGE || one == GM_ERR_NOT_FOUND) {
            counts->ignored++;
            if (one != GM_ERR_UNSUPPORTED) gm_log(GM_LOG_WARN, "left out: %s", cause.text);
        } else if (one != GM_OK) {
            status = gm_fail(err, one, "%s", cause.text);
        } else if (!lines && beside[0] != '\0') {
            status = list_add(taken, beside, err);
        }
    }
    return status;
}

static void list_free(listing *l) {
    for (int i = 0; i < l->count; i++) gm_free(l->path[i]);
    gm_free(l->path);
}

gm_status gm_report_import_folder(gm_report_db *db, const char *folder, gm_report_imported *counts, gm_error *err) {
    listing l = {0}, taken = {0};
    gm_report_imported none = {0};
    if (counts == NULL) counts = &none;
    gm_status status = list_folder(&l, folder, 0, err);
    if (status == GM_OK) status = import_listed(db, &l, false, &taken, counts, err);
    if (status == GM_OK) status = import_listed(db, &l, true, &taken, counts, err);
    list_free(&l);
    list_free(&taken);
    return status;
}
