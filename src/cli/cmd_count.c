// SPDX-License-Identifier: Apache-2.0
// gamut count: multiply-accumulates and parameters of one subnet.
#include "cli.h"

#include <gamut/model.h>

static int print_cost(const gm__args *args, const gm_graph *graph, const gm_choice *choice,
                      gm_error *err) {
    gm_cost cost;
    char text[GM__TEXT_CHOICE], id[GM__TEXT_SHORT], macs[GM__TEXT_SHORT], params[GM__TEXT_SHORT];
    if (gm_count(graph, choice, &cost, err) != GM_OK) return gm__failed(err);
    if (gm__choice_text(&graph->space, choice, text, id, err) != GM_OK) return gm__failed(err);
    if (args->json) {
        return gm__json_print(json_pack("{s:s, s:s, s:s, s:I, s:I, s:i}", "family", graph->family,
                                        "choice", text, "id", id, "macs", (json_int_t)cost.macs,
                                        "params", (json_int_t)cost.params, "layers", cost.layers));
    }
    printf("choice  %s\nid      %s\n", text, id);
    printf("macs    %llu (%s)\n", (unsigned long long)cost.macs,
           gm__text_count((double)cost.macs, macs));
    printf("params  %llu (%s)\n", (unsigned long long)cost.params,
           gm__text_count((double)cost.params, params));
    printf("layers  %d\n", cost.layers);
    return GM__EXIT_DONE;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    gm_graph *graph = NULL;
    gm_choice choice;
    const char *text = NULL;
    gm_model_settings settings = gm_model_settings_default();
    const gm__option options[] = {
        {"choice", "C", "the subnet: max, min, random:SEED, uniform:d=4,e=6, or the full form",
         GM__OPTION_TEXT, &text, 0, 0},
        {"resolution", "R", "input size, also one that the family has no knob value for",
         GM__OPTION_INT, &settings.resolution, 1, 4096},
        {"classes", "N", "classes (default: the preset's)", GM__OPTION_INT, &settings.classes, 1,
         1000000},
        {"channels", "N", "input channels (default: the preset's)", GM__OPTION_INT,
         &settings.channels, 1, 4},
        {"width", "W", "width multiplier (default: the preset's)", GM__OPTION_NUMBER,
         &settings.width, 0.01, 16},
        {0},
    };
    int status = gm__args_parse(self, options, 1, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (text == NULL) return gm__usage_error(self, "--choice is missing, e.g. --choice max");
    settings.single_resolution = settings.resolution > 0;
    if (gm_model_graph(args.positional[0], &settings, &graph, &err) != GM_OK ||
        gm_choice_parse(&graph->space, text, &choice, &err) != GM_OK) {
        status = gm__failed(&err);
    } else {
        status = print_cost(&args, graph, &choice, &err);
    }
    gm_graph_destroy(graph);
    return status;
}

const gm__command gm__cmd_count = {
    .name = "count",
    .arguments = "FAMILY --choice C [--resolution R] [--classes N]",
    .summary = "multiply-accumulates and parameters of a subnet",
    .detail = "Counts one multiply-add as 1, over convolutions, linear layers and squeeze-excite; "
              "parameters with two a\n"
              "channel for each norm.",
    .example = "  gamut count mbv3-w1.0 --choice uniform:d=4,e=6,k=7 --resolution 224\n"
               "  gamut count resnet-28 --choice min --json",
    .run = run,
};
