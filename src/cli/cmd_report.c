// SPDX-License-Identifier: Apache-2.0
// gamut report: what runs have left, as one page.
#include "cli.h"

#include <gamut/report.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

typedef struct report_options {
    const char *out, *db, *title;
    int most;
} report_options;

// The folder of a path, "." when it names none.
static void folder_of(const char *path, char folder[PATH_BYTES]) {
    const char *slash = strrchr(path, '/');
    snprintf(folder, PATH_BYTES, "%.*s", slash != NULL ? gm_max((int)(slash - path), 1) : 1, slash != NULL ? path : ".");
}

// Beside the first run; runs/report.html for all.
static void default_out(const gm__args *args, char out[PATH_BYTES]) {
    if (args->count == 0) snprintf(out, PATH_BYTES, "runs/report.html");
    else if (gm_path_is_folder(args->positional[0])) snprintf(out, PATH_BYTES, "%s/report.html", args->positional[0]);
    else {
        folder_of(args->positional[0], out);
        size_t at = strlen(out);
        snprintf(out + at, PATH_BYTES - at, "/report.html");
    }
}

static gm_status import(gm_report_db *db, const gm__args *args, gm_report_imported *counts, gm_error *err) {
    gm_status status = GM_OK;
    if (args->count == 0 && gm_path_is_folder("runs")) return gm_report_import_folder(db, "runs", counts, err);
    for (int i = 0; i < args->count && status == GM_OK; i++) {
        const char *path = args->positional[i];
        status = gm_path_is_folder(path) ? gm_report_import_folder(db, path, counts, err)
                                         : gm_report_import_file(db, path, counts, err);
    }
    return status;
}

static gm_status make(const gm__args *args, const report_options *o, gm_report_imported *counts, gm_error *err) {
    char folder[PATH_BYTES];
    gm_report_db *db = NULL;
    gm_report_settings settings = gm_report_settings_default();
    settings.scope = (const char *const *)args->positional;
    settings.scope_count = args->count;
    settings.title = o->title;
    settings.most = o->most;
    folder_of(o->db, folder);
    gm_status status = strcmp(o->db, ":memory:") == 0 ? GM_OK : gm_folder_create(folder, err);
    if (status == GM_OK) status = gm_report_db_open(o->db, &db, err);
    if (status == GM_OK) status = import(db, args, counts, err);
    if (status == GM_OK) status = gm_report_write(db, &settings, o->out, err);
    gm_report_db_close(db);
    return status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    char out[PATH_BYTES];
    report_options o = {.db = "runs/gamut.db", .most = gm_report_settings_default().most};
    const gm__option options[] = {
        {"out", "FILE", "the page (default: report.html in RUN; runs/report.html for all)", GM__OPTION_TEXT, &o.out, 0, 0},
        {"db", "FILE", "the run database (default runs/gamut.db); :memory: keeps none", GM__OPTION_TEXT, &o.db, 0, 0},
        {"title", "TEXT", "title of the page (default: the name of the run)", GM__OPTION_TEXT, &o.title, 0, 0},
        {"most", "N", "the newest runs of each kind that are shown (default 12)", GM__OPTION_INT, &o.most, 1, 200},
        {0},
    };
    int status = gm__args_parse(self, options, 0, 256, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (o.out == NULL) {
        default_out(&args, out);
        o.out = out;
    }
    gm_report_imported counts = {0};
    if (make(&args, &o, &counts, &err) != GM_OK) return gm__failed(&err);
    if (args.json)
        return gm__json_print(json_pack("{s:s, s:s, s:i, s:i, s:i, s:i}", "path", o.out, "db", o.db, "added", counts.added,
                                        "replaced", counts.replaced, "unchanged", counts.unchanged, "ignored", counts.ignored));
    printf("runs: %d new, %d changed, %d known already\npage: %s (one file; any browser opens it)\n", counts.added,
           counts.replaced, counts.unchanged, o.out);
    return GM__EXIT_DONE;
}

const gm__command gm__cmd_report = {
    .name = "report",
    .arguments = "[RUN]... [--out FILE.html] [--db FILE]",
    .summary = "one page with the pictures of runs",
    .detail = "Reads what runs have left (training logs, searches, profiles, replays, simulations, lists of checkpoints) into\n"
              "the run database, and writes one self-contained HTML page. RUN is a folder or a file; without one, everything\n"
              "under runs/ and in the database. docs/report.md says how to read the page.",
    .example = "  gamut report runs/fashion-mnist\n"
               "  gamut report --out all.html\n"
               "  gamut report a/pareto.json b/pareto.json --db :memory: --out both.html",
    .run = run,
};
