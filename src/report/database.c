// SPDX-License-Identifier: Apache-2.0
// One SQLite file: opening it with every check, and asking it.
#include "database.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { BUSY_MS = 5000 };

gm_status gm__db_failed(gm_report_db *db, const char *doing, gm_error *err) {
    const char *path = db->path, *text = sqlite3_errmsg(db->handle);
    switch (sqlite3_errcode(db->handle) & 0xff) {
    case SQLITE_NOMEM: return gm_fail(err, GM_ERR_MEMORY, "%.120s: out of memory", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return gm_fail(err, GM_ERR_STATE, "%.120s is locked by another process; try again when that one has ended", path);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return gm_fail(err, GM_ERR_FORMAT,
                       "%.120s is damaged or no database (%.40s): move it away; a new one is made from the run folders", path, text);
    case SQLITE_FULL: return gm_fail(err, GM_ERR_IO, "%.120s: the disk is full; nothing was changed", path);
    case SQLITE_READONLY: return gm_fail(err, GM_ERR_IO, "%.120s cannot be written; name another file with --db", path);
    default: return gm_fail(err, GM_ERR_IO, "%.120s: %s: %.80s", path, doing, text);
    }
}

gm_status gm__db_exec(gm_report_db *db, const char *sql, gm_error *err) {
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK) return GM_OK;
    return gm__db_failed(db, "cannot change it", err);
}

gm_status gm__db_prepare(gm_report_db *db, const char *sql, sqlite3_stmt **out, gm_error *err) {
    if (sqlite3_prepare_v2(db->handle, sql, -1, out, NULL) == SQLITE_OK) return GM_OK;
    return gm__db_failed(db, "cannot ask it", err);
}

static gm_status pragma(gm_report_db *db, const char *sql, int *out, gm_error *err) {
    sqlite3_stmt *statement = NULL;
    gm_status status = gm__db_prepare(db, sql, &statement, err);
    if (status == GM_OK && sqlite3_step(statement) != SQLITE_ROW) status = gm__db_failed(db, "cannot read it", err);
    if (status == GM_OK) *out = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return status;
}

// Under a write lock, so that two processes that open a new file at once make its tables once.
static gm_status check_schema(gm_report_db *db, gm_error *err) {
    int version = 0, application = 0, objects = 0;
    char sql[96];
    gm_status status = gm__db_exec(db, "BEGIN IMMEDIATE", err);
    if (status != GM_OK) return status;
    status = pragma(db, "PRAGMA user_version", &version, err);
    if (status == GM_OK) status = pragma(db, "PRAGMA application_id", &application, err);
    if (status == GM_OK) status = pragma(db, "SELECT count(*) FROM sqlite_master", &objects, err);
    if (status == GM_OK && objects > 0 && application != GM__APPLICATION_ID)
        status = gm_fail(err, GM_ERR_FORMAT, "%.120s is a database of another program; name another file with --db", db->path);
    if (status == GM_OK && objects > 0 && version > GM__SCHEMA_VERSION)
        status = gm_fail(err, GM_ERR_UNSUPPORTED,
                         "%.100s has version %d, this gamut reads up to %d: use a newer gamut, or another file with --db",
                         db->path, version, GM__SCHEMA_VERSION);
    if (status == GM_OK && objects == 0) {
        snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d", GM__APPLICATION_ID, GM__SCHEMA_VERSION);
        status = gm__db_exec(db, gm__schema, err);
        if (status == GM_OK) status = gm__db_exec(db, sql, err);
    }
    if (status == GM_OK) return gm__db_exec(db, "COMMIT", err);
    sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

gm_status gm_report_db_open(const char *path, gm_report_db **out, gm_error *err) {
    *out = NULL;
    gm_report_db *db = gm_alloc(1, sizeof *db);
    if (db == NULL) return gm_fail(err, GM_ERR_MEMORY, "out of memory for the run database");
    gm_status status = GM_OK;
    if (snprintf(db->path, sizeof db->path, "%s", path) >= (int)sizeof db->path)
        status = gm_fail(err, GM_ERR_ARGUMENT, "%.100s...: the path is too long", path);
    if (status == GM_OK && sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) {
        status = db->handle == NULL ? gm_fail(err, GM_ERR_MEMORY, "out of memory for the run database")
                                    : gm_fail(err, GM_ERR_IO, "cannot open or make the run database %.120s: %.80s", path,
                                              sqlite3_errmsg(db->handle));
    }
    // WAL: readers never wait. FULL: what was committed survives a power cut.
    if (status == GM_OK) {
        sqlite3_busy_timeout(db->handle, BUSY_MS);
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        status = gm__db_exec(db, "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA journal_mode = WAL;"
                                 " PRAGMA synchronous = FULL", err);
    }
    if (status == GM_OK) status = check_schema(db, err);
    if (status == GM_OK) *out = db;
    else gm_report_db_close(db);
    return status;
}

void gm_report_db_close(gm_report_db *db) {
    if (db == NULL) return;
    sqlite3_close(db->handle);
    gm_free(db);
}

// ---------------------------------------------------------------------------------------------
static json_t *column_json(sqlite3_stmt *statement, int column) {
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER: return json_integer(sqlite3_column_int64(statement, column));
    case SQLITE_FLOAT: {
        double value = sqlite3_column_double(statement, column);
        return isfinite(value) ? json_real(value) : json_null();
    }
    case SQLITE_TEXT: {
        json_t *text = json_string((const char *)sqlite3_column_text(statement, column));
        return text != NULL ? text : json_string("(not UTF-8)");
    }
    default: return json_null();
    }
}

static gm_status end_query(gm_report_db *db, sqlite3_stmt *statement, int code, gm_error *err) {
    gm_status status = code == SQLITE_DONE ? GM_OK : gm__db_failed(db, "cannot read it", err);
    sqlite3_finalize(statement);
    return status;
}

gm_status gm__query(gm_report_db *db, const char *sql, int64_t run, json_t *array, gm_error *err) {
    sqlite3_stmt *statement = NULL;
    gm_status status = gm__db_prepare(db, sql, &statement, err);
    if (status != GM_OK) return status;
    if (sqlite3_bind_parameter_count(statement) > 0) sqlite3_bind_int64(statement, 1, run);
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        json_t *row = json_object();
        for (int i = 0; i < sqlite3_column_count(statement); i++)
            json_object_set_new(row, sqlite3_column_name(statement, i), column_json(statement, i));
        if (json_array_append_new(array, row) != 0) {
            sqlite3_finalize(statement);
            return gm_fail(err, GM_ERR_MEMORY, "out of memory for what %.120s holds", db->path);
        }
    }
    return end_query(db, statement, code, err);
}

gm_status gm__query_into(gm_report_db *db, const char *sql, int64_t run, json_t *out, const char *key, gm_error *err) {
    json_t *array = json_array();
    gm_status status = gm__query(db, sql, run, array, err);
    if (status == GM_OK && json_array_size(array) > 0) json_object_set(out, key, array);
    json_decref(array);
    return status;
}

gm_status gm__query_each(gm_report_db *db, const char *sql, int64_t run, double a, double b, gm__row_visit *visit,
                         void *context, gm_error *err) {
    enum { MOST = 8 };
    double number[MOST];
    const char *text[MOST];
    sqlite3_stmt *statement = NULL;
    gm_status status = gm__db_prepare(db, sql, &statement, err);
    if (status != GM_OK) return status;
    int given = sqlite3_bind_parameter_count(statement), code;
    if (given >= 1) sqlite3_bind_int64(statement, 1, run);
    if (given >= 2) sqlite3_bind_double(statement, 2, a);
    if (given >= 3) sqlite3_bind_double(statement, 3, b);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        int columns = gm_min(sqlite3_column_count(statement), MOST);
        for (int i = 0; i < columns; i++) {
            int type = sqlite3_column_type(statement, i);
            bool numeric = type == SQLITE_INTEGER || type == SQLITE_FLOAT;
            number[i] = numeric ? sqlite3_column_double(statement, i) : NAN;
            text[i] = type == SQLITE_TEXT ? (const char *)sqlite3_column_text(statement, i) : NULL;
        }
        visit(context, columns, number, text);
    }
    return end_query(db, statement, code, err);
}
