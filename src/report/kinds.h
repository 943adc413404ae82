// SPDX-License-Identifier: Apache-2.0
// What a run can be: how its files are recognised, read into rows, and shown. One file a kind; none of them knows where
// rows go, so that the same readers fill the database and are fuzzed without one.
#ifndef GAMUT_REPORT_KINDS_H
#define GAMUT_REPORT_KINDS_H

#include <gamut/report.h>

#include <jansson.h>

// ---------------------------------------------------------------------------------------------
// Rows: a table of the database with its columns, and cells to fill one row.
enum { GM__MOST_COLUMNS = 24, GM__MOST_TEXT = 1024 };
typedef enum gm__cell_kind { GM__NUMBER, GM__INTEGER, GM__TEXT } gm__cell_kind;
typedef struct gm__column {
    const char *name; // in the table and in the JSON object that is read
    gm__cell_kind kind;
    bool required;   // of the JSON object; otherwise absent or null is an empty cell
    double min, max; // of numbers
} gm__column;
typedef struct gm__report_table {
    const char *name;
    gm__column column[GM__MOST_COLUMNS]; // ends with a NULL name
} gm__report_table;
typedef struct gm__cell {
    bool filled;
    double number;
    const char *text; // lives as long as the call that hands the row over
} gm__cell;

// Takes the rows of one run.
typedef struct gm__sink {
    gm_status (*row)(void *context, const gm__report_table *table, const gm__cell *cells, gm_error *err);
    void *context;
} gm__sink;

// A row of an object's members, checked column by column; `where` ("front[3]", "line 7") goes into errors.
// fixed: cells that do not come from the object, by column; may be NULL.
gm_status gm__row_of(const json_t *object, const gm__report_table *table, const gm__cell *fixed, const char *where,
                     const gm__sink *sink, gm_error *err);
// The rows of an array, NAME[0], NAME[1] and so on.
gm_status gm__rows_of(const json_t *array, const gm__report_table *table, const gm__cell *fixed, const char *name,
                      const gm__sink *sink, gm_error *err);
// A row of table `setting`: what else is known of a run.
gm_status gm__setting_row(const char *key, const char *value, const gm__sink *sink, gm_error *err);
// Every member of the object (NULL: none) that is a text, a number or a truth value, as a setting PREFIX.KEY; prefix may be "".
gm_status gm__settings_of(const json_t *object, const char *prefix, const gm__sink *sink, gm_error *err);

// ---------------------------------------------------------------------------------------------
// Files: the main one, and one that belongs to it (recipe.yaml of a log, the fates of a replay); absent: NULL.
enum { GM__MOST_JSON = 256 << 20, GM__MOST_LINES = 512 << 20, GM__MOST_LINE = 64 << 10 };
typedef struct gm__bytes {
    const char *data; // ends with a NUL byte that is not counted
    size_t bytes;
} gm__bytes;
typedef struct gm__files {
    gm__bytes main, beside;
} gm__files;
gm_status gm__parse_json(gm__bytes file, json_t **out, gm_error *err);
void gm__nothing_beside(const char *path, const json_t *value, char *out, size_t bytes);
// Calls visit with each line's JSON object. What follows the last line feed is skipped: it was being written.
gm_status gm__each_line(gm__bytes lines, gm_status (*visit)(void *context, const json_t *object, const char *where, gm_error *err),
                        void *context, gm_error *err);

typedef struct gm__kind {
    const char *name;
    // Whether the object (of a .jsonl: that of its first line) belongs to this kind.
    bool (*recognise)(const json_t *value, bool lines);
    // The file beside that belongs to `path`; "": none.
    void (*beside)(const char *path, const json_t *value, char *out, size_t bytes);
    gm_status (*read)(const gm__files *files, const gm__sink *sink, gm_error *err);
    // Adds what the page shows of a run to the object.
    gm_status (*show)(gm_report_db *db, int64_t run, json_t *out, gm_error *err);
} gm__kind;
extern const gm__kind gm__kind_training, gm__kind_search, gm__kind_profile, gm__kind_serving, gm__kind_fates,
    gm__kind_checkpoints;
extern const gm__kind *const gm__kinds[]; // ends with NULL; the first that recognises a file has it
// The value that tells the kind: of the file, or of its first line; NULL: there is none.
json_t *gm__first_value(gm__bytes file, bool lines);
const gm__kind *gm__kind_of(const json_t *value, bool lines); // NULL: none of ours
const gm__kind *gm__kind_named(const char *name);

// Tables that several kinds fill.
extern const gm__report_table gm__table_setting, gm__table_subnet;

// ---------------------------------------------------------------------------------------------
// What the page is made of (database.c).
// Each row of the statement, whose one parameter is the run, as an object of its columns, at the end of the array.
gm_status gm__query(gm_report_db *db, const char *sql, int64_t run, json_t *array, gm_error *err);
// Adds the rows to `out` as the array `key`, if there are any.
gm_status gm__query_into(gm_report_db *db, const char *sql, int64_t run, json_t *out, const char *key, gm_error *err);
// The first column of the first row; fallback when there is none or it is null.
double gm__query_number(gm_report_db *db, const char *sql, int64_t run, double fallback);
// Numbers of a statement with the parameters run, a and b; visit gets each row.
typedef void gm__row_visit(void *context, int columns, const double *number, const char *const *text);
gm_status gm__query_each(gm_report_db *db, const char *sql, int64_t run, double a, double b, gm__row_visit *visit,
                         void *context, gm_error *err);

#endif
