// SPDX-License-Identifier: Apache-2.0
// gamut space: the knobs of a family.
#include "cli.h"

#include <gamut/model.h>

#include <stdlib.h>
#include <string.h>

static int list_presets(const gm__args *args) {
    static const char *const titles[] = {"FAMILY", "WHAT IT IS"};
    json_t *list = json_array();
    gm__table *table = args->json ? NULL : gm__table_create(2, titles, "ll");
    for (const char *const *pair = gm_model_presets(); pair[0] != NULL; pair += 2) {
        json_array_append_new(list,
                              json_pack("{s:s, s:s}", "name", pair[0], "description", pair[1]));
        gm__table_cell(table, "%s", pair[0]);
        gm__table_cell(table, "%s", pair[1]);
    }
    if (args->json) return gm__json_print(list);
    json_decref(list);
    return gm__table_print(table);
}

static json_t *knob_json(const gm_space *space, const gm_knob *knob) {
    json_t *values = json_array();
    for (int i = 0; i < knob->count; i++) {
        double value = knob->values[i];
        bool whole = value == (double)(json_int_t)value;
        json_array_append_new(values, whole ? json_integer((json_int_t)value) : json_real(value));
    }
    return json_pack("{s:s, s:s, s:o}", "name", knob->name, "kind", space->group[knob->group].kind,
                     "values", values);
}

static void values_text(const gm_knob *knob, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < knob->count && used < size; i++) {
        int n = snprintf(text + used, size - used, "%s%g", i == 0 ? "" : " ", knob->values[i]);
        if (n > 0) used += (size_t)n;
    }
}

static int print_space(const gm__args *args, const gm_graph *graph, gm_error *err) {
    const gm_space *space = &graph->space;
    char subnets[64], text[512];
    if (gm_space_count(space, subnets, sizeof subnets, err) != GM_OK) return gm__failed(err);
    if (args->json) {
        json_t *knobs = json_array();
        for (int i = 0; i < space->knobs; i++)
            json_array_append_new(knobs, knob_json(space, &space->knob[i]));
        return gm__json_print(json_pack("{s:s, s:o, s:s}", "family", graph->family, "knobs", knobs,
                                        "subnets", subnets));
    }
    static const char *const titles[] = {"KNOB", "KIND", "VALUES", "IN USE"};
    gm__table *table = gm__table_create(4, titles, "llll");
    for (int i = 0; i < space->knobs; i++) {
        const gm_knob *knob = &space->knob[i];
        values_text(knob, text, sizeof text);
        gm__table_cell(table, "%s", knob->name);
        gm__table_cell(table, "%s", space->group[knob->group].kind);
        gm__table_cell(table, "%s", text);
        if (knob->gate_knob >= 0) {
            const gm_knob *gate = &space->knob[knob->gate_knob];
            gm__table_cell(table, "when %s >= %g", gate->name, gate->values[knob->gate_min]);
        } else {
            gm__table_cell(table, "always");
        }
    }
    int status = gm__table_print(table);
    gm_choice largest = gm_choice_max(space);
    if (gm_choice_print(space, &largest, text, sizeof text, err) != GM_OK) return gm__failed(err);
    printf("\n%s subnets; the largest as a choice: %s\n", subnets, text);
    return status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    gm_graph *graph = NULL;
    int resolution = 0;
    const gm__option options[] = {
        {"resolution", "R", "only this input size", GM__OPTION_INT, &resolution, 1, 4096},
        {0},
    };
    int status = gm__args_parse(self, options, 0, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (args.count == 0) return list_presets(&args);
    gm_model_settings settings = gm_model_settings_default();
    settings.resolution = resolution;
    settings.single_resolution = resolution > 0;
    if (gm_model_graph(args.positional[0], &settings, &graph, &err) != GM_OK)
        return gm__failed(&err);
    status = print_space(&args, graph, &err);
    gm_graph_destroy(graph);
    return status;
}

const gm__command gm__cmd_space = {
    .name = "space",
    .arguments = "[FAMILY]",
    .summary = "the knobs of a family, their values, and how many subnets they span",
    .detail = "Lists the knobs of a family with their allowed values and the exact number of "
              "distinct subnets.\n"
              "Without FAMILY: lists the families. With --json the number of subnets is a decimal "
              "text: it is exact,\n"
              "and may exceed what a program's integers hold.",
    .example = "  gamut space resnet-28\n  gamut space mbv3 --json",
    .run = run,
};
