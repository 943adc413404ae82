// SPDX-License-Identifier: Apache-2.0
// gamut profile: latency and accuracy of subnets on this machine, as a file for the server.
#include "choice_list.h"
#include "cli.h"
#include "workbench.h"

#include <gamut/search.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, MOST_BATCH = 4096 };

typedef struct options {
    const char *batches, *dtype, *out;
    int rounds, seconds;
    gm__list words;
} options;

// "1,2,4": ascending, starts with 1.
static int parse_batches(const gm__command *self, const char *text, gm_profile_settings *settings) {
    char copy[256], *rest = copy;
    settings->batches = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strsep(&rest, ","); word != NULL; word = strsep(&rest, ",")) {
        int64_t value;
        int64_t least = settings->batches > 0 ? settings->batch[settings->batches - 1] + 1 : 1;
        bool first = settings->batches == 0;
        if (settings->batches == GM_PROFILE_BATCHES || strlen(text) >= sizeof copy ||
            !gm__parse_integer(word, least, first ? 1 : MOST_BATCH, &value)) {
            return gm__usage_error(self,
                                   "--batches: '%s' is not a list of ascending batch sizes that "
                                   "starts with 1, e.g. 1,2,4,8,16",
                                   text);
        }
        settings->batch[settings->batches++] = (int)value;
    }
    return GM__EXIT_NONE;
}

static int parse_type(const gm__command *self, const char *text, gm_dtype *type) {
    static const struct {
        const char *name;
        gm_dtype type;
    } types[] = {{"f32", GM_F32}, {"bf16", GM_BF16}, {"int8", GM_I8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, text) == 0) {
            *type = types[i].type;
            return GM__EXIT_NONE;
        }
    }
    return gm__usage_error(self, "--dtype: '%s' is not f32, bf16 or int8", text);
}

static gm_status collect(const gm__workbench *b, const options *o, const gm__args *args,
                         gm__choice_list *choices, gm_error *err) {
    const gm_space *space = &b->model->graph->space;
    gm_status status = GM_OK;
    for (int i = 0; i < o->words.count && status == GM_OK; i++)
        status = gm__choice_list_add(choices, space, o->words.item[i], err);
    for (int i = 1; i < args->count && status == GM_OK; i++)
        status = gm__choice_list_add(choices, space, args->positional[i], err);
    if (status != GM_OK || choices->count > 0) return status;
    // None named: every calibrated one.
    for (int i = 0; i < b->model->entries && status == GM_OK; i++) {
        char text[GM__TEXT_CHOICE];
        status = gm_choice_print(space, &b->model->entry[i].choice, text, sizeof text, err);
        if (status == GM_OK) status = gm__choice_list_add(choices, space, text, err);
    }
    if (status == GM_OK && choices->count == 0)
        status = gm_fail(
            err, GM_ERR_STATE,
            "no subnet of this model is calibrated; run: gamut calibrate MODEL --choices max min");
    return status;
}

static void place_of(const char *model, const char *out, char path[PATH_BYTES]) {
    const char *slash = strrchr(model, '/');
    int folder = slash != NULL ? (int)(slash - model) + 1 : 0;
    if (out != NULL) snprintf(path, PATH_BYTES, "%s", out);
    else snprintf(path, PATH_BYTES, "%.*sprofile.json", folder, model);
}

static int show_json(const char *path) {
    json_error_t problem;
    json_t *root = json_load_file(path, 0, &problem);
    if (root != NULL) json_object_set_new(root, "out", json_string(path));
    return gm__json_print(root);
}

static int show_table(const gm_profile *p, int measured, const char *path) {
    static const char *const titles[] = {"SUBNET", "TOP-1 %", "MACS", "BATCH 1 ms", "p99", "LARGEST ms", "p99"};
    gm__table *table = gm__table_create(7, titles, "lrrrrrr");
    int last = p->batches - 1;
    for (int i = 0; i < p->subnets; i++) {
        const gm_profile_subnet *s = &p->subnet[i];
        char macs[GM__TEXT_SHORT];
        gm__table_cell(table, "%s", s->choice);
        gm__table_cell(table, "%.2f", s->top1);
        gm__table_cell(table, "%s", gm__text_count((double)s->macs, macs));
        gm__table_cell(table, "%.3f", (double)s->p50_ns[0] / 1e6);
        gm__table_cell(table, "%.3f", (double)s->p99_ns[0] / 1e6);
        gm__table_cell(table, "%.3f", (double)s->p50_ns[last] / 1e6);
        gm__table_cell(table, "%.3f", (double)s->p99_ns[last] / 1e6);
    }
    int status = gm__table_print(table);
    printf("\n%d of %d subnets (the others are no more accurate than a faster one); largest batch "
           "%d; %s, %s, %d threads\nwritten to %s\n",
           p->subnets, measured, p->batch[last], p->cpu_model, p->level, p->threads, path);
    return status;
}

static void warn_of_tail(const gm_profile *p) {
    const double calm = 1.5;
    double tail = gm_profile_tail(p);
    if (tail > calm)
        gm_log(GM_LOG_WARN, "the 99th percentile is %.1f times the median: the machine was busy. Policies plan with it and will take smaller "
               "subnets than they need to: profile again when nothing else runs", tail);
}

static int measure(const options *o, const gm__workbench_settings *where, const gm__args *args,
                   const gm_profile_settings *settings) {
    gm_error err = {0};
    gm__workbench bench = {0};
    gm__choice_list choices = {0};
    gm_profile profile = {0};
    char path[PATH_BYTES];
    place_of(where->model, o->out, path);
    gm_status result = gm__workbench_open(where, &bench, &err);
    if (result == GM_OK) result = collect(&bench, o, args, &choices, &err);
    if (result == GM_OK)
        result = gm_profile_measure(bench.model, bench.data, bench.val, bench.val_count,
                                    choices.choice, choices.count, settings, &profile, &err);
    if (result == GM_OK) {
        // the name that the user gave, e.g. folder:PATH, may be longer than what a profile keeps
        snprintf(profile.data, sizeof profile.data, "%.31s", bench.recipe.train.data);
        result = gm_profile_regularise(&profile, &err);
        if (result == GM_OK) warn_of_tail(&profile);
    }
    if (result == GM_OK)
        result = gm_profile_save(&profile, gm_model_hash(bench.model), path, &err);
    int status = result != GM_OK ? gm__failed(&err)
                 : args->json    ? show_json(path)
                                 : show_table(&profile, choices.count, path);
    gm_profile_fini(&profile);
    gm__choice_list_free(&choices);
    gm__workbench_close(&bench);
    return status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_profile_settings settings = gm_profile_settings_default();
    gm__workbench_settings where = {.held_out = -1, .part = GM_PART_TRAIN, .type = "f32"};
    options o = {.batches = "1,2,4,8,16", .dtype = "f32", .rounds = settings.rounds,
                 .seconds = settings.most_seconds};
    const gm__option list[] = {
        {"choices", "C...", "subnets, 'all', a file of them, or a front.json (default: every calibrated one)",
         GM__OPTION_LIST, &o.words, 0, 0},
        {"batches", "LIST", "batch sizes (default 1,2,4,8,16)", GM__OPTION_TEXT, &o.batches, 0, 0},
        {"dtype", "T", "f32, bf16 or int8 (default f32)", GM__OPTION_TEXT, &o.dtype, 0, 0},
        {"data", "D", "data set by name, or a folder (default: what the model was trained on)",
         GM__OPTION_TEXT, &where.data, 0, 0},
        {"data-dir", "DIR", "folder that holds the data set", GM__OPTION_TEXT, &where.data_dir, 0,
         0},
        {"held-out", "N", "validation images (default: as in recipe.yaml beside MODEL)",
         GM__OPTION_INT, &where.held_out, 1, 100000000},
        {"rounds", "N", "timed runs of each subnet and batch (default 40)", GM__OPTION_INT,
         &o.rounds, 1, 100000},
        {"seconds", "S", "fewer runs, but at least 5, to end in about S (default 120)",
         GM__OPTION_INT, &o.seconds, 1, 86400},
        {"out", "FILE", "where to write (default: profile.json beside MODEL)", GM__OPTION_TEXT,
         &o.out, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, list, 1, 1 << 20, argc, argv, &args);
    if (status == GM__EXIT_NONE) status = parse_batches(self, o.batches, &settings);
    if (status == GM__EXIT_NONE) status = parse_type(self, o.dtype, &settings.type);
    if (status == GM__EXIT_NONE) {
        settings.rounds = o.rounds;
        settings.most_seconds = o.seconds;
        settings.seed = args.seed;
        where.model = args.positional[0];
        status = measure(&o, &where, &args, &settings);
    }
    gm__list_free(&o.words);
    return status;
}

const gm__command gm__cmd_profile = {
    .name = "profile",
    .arguments = "MODEL [--choices FILE|all|C...] [--batches LIST] [--dtype T]",
    .summary = "latency and accuracy of subnets on this machine",
    .detail = "Measures calibrated subnets: accuracy on the images that training held out, and the "
              "latency of each batch\n"
              "size. Subnets that are no more accurate than a faster one are dropped, and latencies "
              "are made to grow\n"
              "with the batch and with accuracy, as schedulers need them. The file is for this "
              "processor, these\n"
              "instructions and this number of threads (docs/format-profile.md).",
    .example = "  gamut profile runs/fashion-mnist/model.safetensors --choices pareto.json\n"
               "  gamut profile model.safetensors --choices max min --dtype bf16 --batches 1,4,16 --threads 1",
    .run = run,
};
