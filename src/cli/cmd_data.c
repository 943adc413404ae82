// SPDX-License-Identifier: Apache-2.0
// gamut data: which data sets are known, where they are, and how to get them.
#include "cli.h"

#include <gamut/data.h>

#include <string.h>

enum { MAX_DATASETS = 16 };

static json_t *status_json(const gm_dataset_status *s) {
    json_t *object = json_pack("{s:s, s:b, s:i, s:i, s:s}", "name", s->name, "found", s->found,
                               "train", s->train, "test", s->test, "how_to_get", s->how_to_get);
    json_object_set_new(object, "path", s->path[0] != '\0' ? json_string(s->path) : json_null());
    if (s->problem[0] != '\0') json_object_set_new(object, "problem", json_string(s->problem));
    return object;
}

static bool print_folder(void *context, const char *folder) {
    bool *first = context;
    printf("%s%s", *first ? "looked in: " : ", ", folder);
    *first = false;
    return false;
}

static int print_sets(const gm_dataset_status *sets, int count) {
    static const char *const titles[] = {"NAME", "TRAIN", "TEST", "WHERE, OR HOW TO GET IT"};
    gm__table *table = gm__table_create(4, titles, "lrrl");
    for (int i = 0; i < count; i++) {
        gm__table_cell(table, "%s", sets[i].name);
        if (sets[i].found) {
            gm__table_cell(table, "%d", sets[i].train);
            gm__table_cell(table, "%d", sets[i].test);
            gm__table_cell(table, "%s", sets[i].path);
        } else {
            gm__table_cell(table, "-");
            gm__table_cell(table, "-");
            gm__table_cell(table, "not found: %s",
                           sets[i].problem[0] != '\0' ? sets[i].problem : sets[i].how_to_get);
        }
    }
    int status = gm__table_print(table);
    bool first = true;
    printf("\n");
    gm_data_folders(print_folder, &first);
    printf("%s (set GAMUT_DATA to look elsewhere)\nA folder of class folders with PNG or JPEG "
           "images works too: "
           "folder:PATH\n",
           first ? "looked nowhere" : "");
    return status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_dataset_status sets[MAX_DATASETS], wanted[MAX_DATASETS];
    const char *names[MAX_DATASETS + 1] = {0};
    int status = gm__args_parse(self, NULL, 0, 1, argc, argv, &args), shown = 0;
    if (status != GM__EXIT_NONE) return status;
    int count = gm_min(gm_dataset_known(sets, MAX_DATASETS), MAX_DATASETS);
    for (int i = 0; i < count; i++) {
        names[i] = sets[i].name;
        if (args.count == 0 || strcmp(args.positional[0], sets[i].name) == 0)
            wanted[shown++] = sets[i];
    }
    if (shown == 0) {
        const char *near = args.count > 0 ? gm__nearest(args.positional[0], names) : NULL;
        fprintf(stderr, "gamut: no data set is named '%s'%s%s%s; 'gamut data' lists them\n",
                args.count > 0 ? args.positional[0] : "", near ? ", did you mean '" : "",
                near ? near : "", near ? "'?" : "");
        return GM__EXIT_FAILED;
    }
    if (args.json) {
        json_t *list = json_array();
        for (int i = 0; i < shown; i++) json_array_append_new(list, status_json(&wanted[i]));
        status = gm__json_print(list);
    } else {
        status = print_sets(wanted, shown);
    }
    // Asked for one set: the exit status tells a script whether it is there.
    return status == GM__EXIT_DONE && args.count > 0 && !wanted[0].found ? GM__EXIT_FAILED : status;
}

const gm__command gm__cmd_data = {
    .name = "data",
    .arguments = "[NAME]",
    .summary = "the data sets that are known, where they were found, how to get them",
    .detail = "Lists the known data sets, where they were looked for and whether they are whole.\n"
              "With NAME: only that one; exit status 1 when it is not there.",
    .example = "  gamut data\n  GAMUT_DATA=/srv/data gamut data cifar10",
    .run = run,
};
