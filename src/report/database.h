// SPDX-License-Identifier: Apache-2.0
// The database from inside: its handle, and how errors of SQLite become ours.
#ifndef GAMUT_REPORT_DATABASE_H
#define GAMUT_REPORT_DATABASE_H

#include "kinds.h"

#include <sqlite3.h>

enum { GM__SCHEMA_VERSION = 1, GM__APPLICATION_ID = 0x47414d54 }; // "GAMT"

struct gm_report_db {
    sqlite3 *handle;
    char path[1024]; // as it was given
};

// The status and text of the last error of the handle.
gm_status gm__db_failed(gm_report_db *db, const char *doing, gm_error *err);
gm_status gm__db_exec(gm_report_db *db, const char *sql, gm_error *err);
gm_status gm__db_prepare(gm_report_db *db, const char *sql, sqlite3_stmt **out, gm_error *err);
extern const char gm__schema[]; // what makes the tables of GM__SCHEMA_VERSION

#endif
