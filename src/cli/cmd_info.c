// SPDX-License-Identifier: Apache-2.0
// gamut info: this build and machine, or what a model file holds.
#include "cli.h"

#include <gamut/data.h>
#include <gamut/model.h>

#include <string.h>
#include <sys/stat.h>

enum { MAX_DATASETS = 16 };

static int machine_info(const gm__args *args) {
    gm_dataset_status sets[MAX_DATASETS];
    int count = gm_min(gm_dataset_known(sets, MAX_DATASETS), MAX_DATASETS);
    if (args->json) {
        json_t *found = json_array();
        for (int i = 0; i < count; i++) {
            if (sets[i].found) json_array_append_new(found, json_string(sets[i].name));
        }
        return gm__json_print(json_pack("{s:s, s:s, s:s, s:s, s:i, s:o}", "version", gm_version(),
                                        "cpu", gm_cpu_level_name(gm_cpu_active()), "cpu_detected",
                                        gm_cpu_level_name(gm_cpu_detected()), "cpu_model",
                                        gm_cpu_model(), "threads", gm_threads(), "data", found));
    }
    printf("gamut      %s\n", gm_version());
    printf("processor  %s\n", gm_cpu_model());
    printf("level      %s", gm_cpu_level_name(gm_cpu_active()));
    if (gm_cpu_active() != gm_cpu_detected()) {
        printf(" (the machine offers %s)", gm_cpu_level_name(gm_cpu_detected()));
    }
    printf("\nthreads    %d\ndata sets ", gm_threads());
    int found = 0;
    for (int i = 0; i < count; i++) {
        if (sets[i].found) printf(" %s", sets[i].name);
        found += sets[i].found;
    }
    printf("%s\n", found > 0 ? "" : " none found; 'gamut data' tells how to get one");
    return GM__EXIT_DONE;
}

static json_t *entries_json(const gm_model *model) {
    json_t *list = json_array();
    char text[GM__TEXT_CHOICE], id[GM__TEXT_SHORT];
    for (int i = 0; i < model->entries; i++) {
        if (gm__choice_text(&model->graph->space, &model->entry[i].choice, text, id, NULL) != GM_OK)
            continue;
        json_array_append_new(list, json_pack("{s:s, s:s}", "id", id, "choice", text));
    }
    return list;
}

static int print_model(const gm__args *args, const gm_model *model, const char *path,
                       const char *subnets, const gm_cost *largest) {
    struct stat file;
    long long bytes = stat(path, &file) == 0 ? (long long)file.st_size : 0;
    const gm_graph *graph = model->graph;
    if (args->json) {
        return gm__json_print(json_pack(
            "{s:s, s:s, s:s, s:I, s:i, s:I, s:s, s:i, s:i, s:I, s:o}", "family", graph->family,
            "preset", model->preset, "space_size", subnets, "params", (json_int_t)largest->params,
            "norm_entries", model->entries, "bytes", (json_int_t)bytes, "data", model->data,
            "classes", graph->classes, "channels", graph->input_channels, "macs",
            (json_int_t)largest->macs, "calibrated", entries_json(model)));
    }
    char a[GM__TEXT_SHORT], b[GM__TEXT_SHORT];
    printf("family      %s (preset %s)\n", graph->family, model->preset);
    printf("subnets     %s\n", subnets);
    printf("largest     %s multiply-accumulates, %s parameters\n",
           gm__text_count((double)largest->macs, a), gm__text_count((double)largest->params, b));
    printf("trained on  %s, %d classes, %d input channels\n",
           model->data[0] != '\0' ? model->data : "(not said)", graph->classes,
           graph->input_channels);
    printf("file        %sB\n", gm__text_count((double)bytes, a));
    printf("calibrated  %d subnets\n", model->entries);
    enum { SHOWN = 20 };
    for (int i = 0; i < gm_min(model->entries, SHOWN); i++) {
        char text[GM__TEXT_CHOICE], id[GM__TEXT_SHORT];
        if (gm__choice_text(&graph->space, &model->entry[i].choice, text, id, NULL) != GM_OK)
            continue;
        printf("  %s  %s\n", id, text);
    }
    if (model->entries > SHOWN)
        printf("  and %d more (--json lists all)\n", model->entries - SHOWN);
    return GM__EXIT_DONE;
}

static int model_info(const gm__args *args, const char *path) {
    gm_error err = {0};
    gm_model *model = NULL;
    char subnets[64];
    gm_cost largest;
    int result = GM__EXIT_FAILED;
    if (gm_model_load(path, &model, &err) != GM_OK) return gm__failed(&err);
    gm_choice choice = gm_choice_max(&model->graph->space);
    if (gm_space_count(&model->graph->space, subnets, sizeof subnets, &err) != GM_OK ||
        gm_count(model->graph, &choice, &largest, &err) != GM_OK) {
        result = gm__failed(&err);
    } else {
        result = print_model(args, model, path, subnets, &largest);
    }
    gm_model_destroy(model);
    return result;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    int status = gm__args_parse(self, NULL, 0, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    return args.count == 0 ? machine_info(&args) : model_info(&args, args.positional[0]);
}

const gm__command gm__cmd_info = {
    .name = "info",
    .arguments = "[MODEL]",
    .summary = "this build, the processor and the data sets found; or what a model file holds",
    .detail = "Without MODEL: version, processor, threads, and which data sets were found.\n"
              "With MODEL: its family, its subnets, and which of them are calibrated.",
    .example = "  gamut info\n  gamut info runs/fashion-mnist/model.safetensors",
    .run = run,
};
