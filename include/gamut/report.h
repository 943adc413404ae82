// SPDX-License-Identifier: Apache-2.0
// report: the run database (docs/format-database.md) and the page made of it (docs/report.md).
#ifndef GAMUT_REPORT_H
#define GAMUT_REPORT_H

#include <gamut/base.h>

// ---------------------------------------------------------------------------------------------
// The database: one SQLite file. Every write is one transaction; several processes may use the file at once.
typedef struct gm_report_db gm_report_db;
// Makes the file when there is none (the folder must exist); ":memory:" keeps everything in memory.
// Errors: GM_ERR_FORMAT (another kind of file, or a damaged one), GM_ERR_UNSUPPORTED (made by a later version),
// GM_ERR_STATE (locked by another process for more than five seconds), GM_ERR_IO.
GM_API gm_status gm_report_db_open(const char *path, gm_report_db **out, gm_error *err);
GM_API void gm_report_db_close(gm_report_db *db); // NULL allowed

// ---------------------------------------------------------------------------------------------
// Import. What a file is follows from its content, not from its name: a training log with its recipe, a search, a
// profile, a replay or simulation with the fates of its requests, a list of checkpoints. Content that is there already
// is not stored twice; a file that changed since replaces what its path had brought.
typedef struct gm_report_imported {
    int added, replaced, unchanged;
    int ignored; // JSON files of no known kind
} gm_report_imported;
// Counts are added to *counts (may be NULL). Errors: GM_ERR_NOT_FOUND, GM_ERR_FORMAT with file, line and field,
// GM_ERR_UNSUPPORTED for a file of no known kind. A file is imported whole or not at all.
GM_API gm_status gm_report_import_file(gm_report_db *db, const char *path, gm_report_imported *counts, gm_error *err);
// Every file of the folder whose name ends in .json or .jsonl, and those of its subfolders, three levels deep. A file
// that cannot be imported is logged as a warning and counted as ignored; the others are imported all the same.
GM_API gm_status gm_report_import_folder(gm_report_db *db, const char *folder, gm_report_imported *counts, gm_error *err);

// ---------------------------------------------------------------------------------------------
// The page.
typedef struct gm_report_settings {
    const char *const *scope; // files and folders whose runs are shown
    int scope_count;          // 0: every run of the database
    const char *title;        // NULL: made of the scope
    int most;                 // the newest runs of each kind that are shown: 12
} gm_report_settings;
GM_API gm_report_settings gm_report_settings_default(void);
// What the page shows, as one JSON text (docs/report.md); the caller's (gm_free). *runs (may be NULL): how many are shown.
GM_API gm_status gm_report_data(gm_report_db *db, const gm_report_settings *settings, char **json, int *runs, gm_error *err);
// One self-contained HTML file, written whole. Errors: GM_ERR_NOT_FOUND when there is nothing to show.
GM_API gm_status gm_report_write(gm_report_db *db, const gm_report_settings *settings, const char *path, gm_error *err);

#endif
