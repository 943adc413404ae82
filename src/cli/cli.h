// SPDX-License-Identifier: Apache-2.0
// cli: what the subcommands share: options, tables, JSON, failing.
#ifndef GAMUT_CLI_H
#define GAMUT_CLI_H

#include <gamut/base.h>
#include <gamut/space.h>

#include <jansson.h>

// Exit statuses of the command (CLI contract).
enum { GM__EXIT_DONE = 0, GM__EXIT_FAILED = 1, GM__EXIT_USAGE = 2, GM__EXIT_NONE = -1 };

typedef struct gm__command gm__command;
struct gm__command {
    const char *name;
    const char *arguments; // as the usage line shows them, e.g. "MODEL --data D"
    const char *summary;   // one line, for the list of commands
    const char *detail;    // a paragraph for --help
    const char *example;   // command lines for --help
    int (*run)(const gm__command *self, int argc, char **argv); // argv[0] is the command's name
};
extern const gm__command gm__cmd_train, gm__cmd_eval, gm__cmd_calibrate, gm__cmd_profile,
    gm__cmd_search, gm__cmd_export, gm__cmd_import, gm__cmd_serve, gm__cmd_replay,
    gm__cmd_simulate, gm__cmd_checkpoint, gm__cmd_report, gm__cmd_info, gm__cmd_space, gm__cmd_count, gm__cmd_data,
    gm__cmd_bench;

// --- args.c
typedef struct gm__list { // of an option that may be repeated; items belong to argv, the array to
                          // the list
    const char **item;
    int count;
} gm__list;
typedef enum gm__option_kind {
    GM__OPTION_FLAG,   // bool
    GM__OPTION_TEXT,   // const char *
    GM__OPTION_INT,    // int within [min, max]
    GM__OPTION_NUMBER, // double within [min, max]
    GM__OPTION_LIST    // gm__list
} gm__option_kind;
typedef struct gm__option {
    const char *name;  // without the dashes; NULL ends a table
    const char *value; // name of the value in the help; NULL for flags
    const char *help;
    gm__option_kind kind;
    void *target;
    double min, max;
} gm__option;
typedef struct gm__args {
    bool json, quiet, verbose, seed_given;
    uint64_t seed; // default 1
    int count;     // positional arguments
    char **positional;
} gm__args;
// Parses options anywhere on the line and applies --threads, --quiet and --verbose. Returns
// GM__EXIT_NONE to go on, or the status to exit with (help was shown, or the usage was wrong and
// explained). options may be NULL.
int gm__args_parse(const gm__command *command, const gm__option *options, int min_positional,
                   int max_positional, int argc, char **argv, gm__args *out);
void gm__list_free(gm__list *list);
// A message about wrong usage; returns GM__EXIT_USAGE.
int gm__usage_error(const gm__command *command, const char *format, ...) GM_PRINTF(2, 3);
// Two names of one existing file: what is read must not be written over.
bool gm__same_file(const char *a, const char *b);
// Prints err to standard error; returns GM__EXIT_FAILED.
int gm__failed(const gm_error *err);
// The candidate nearest to word by edit distance, or NULL when none is near. Candidates end with
// NULL.
const char *gm__nearest(const char *word, const char *const *candidates);
// Whole text as a number within [min, max].
bool gm__parse_number(const char *text, double min, double max, double *out);
bool gm__parse_integer(const char *text, int64_t min, int64_t max, int64_t *out);
bool gm__parse_unsigned(const char *text, uint64_t *out);

// --- print.c
typedef struct gm__table gm__table;
gm__table *gm__table_create(int columns, const char *const *titles,
                            const char *align); // align: 'l' or 'r' a column
void gm__table_cell(gm__table *table, const char *format, ...) GM_PRINTF(2, 3); // row by row
int gm__table_print(gm__table *table); // to standard output, and frees it; exit status
void gm__table_free(gm__table *table); // NULL allowed
enum { GM__TEXT_SHORT = 32, GM__TEXT_CHOICE = 1024 };
const char *gm__text_count(double value, char text[GM__TEXT_SHORT]);  // "45.1 M"
const char *gm__text_time(double seconds, char text[GM__TEXT_SHORT]); // "1 h 02 min"
int gm__json_print(json_t *value); // one line to standard output; drops the reference; exit status
json_t *gm__json_number(double value); // null when not finite
// Text form and identity of a choice (16 hex digits).
gm_status gm__choice_text(const gm_space *space, const gm_choice *choice,
                          char text[GM__TEXT_CHOICE], char id[GM__TEXT_SHORT], gm_error *err);

#endif
