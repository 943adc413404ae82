// SPDX-License-Identifier: Apache-2.0
// gamut search: the best subnets of a model for this machine.
#include "cli.h"
#include "workbench.h"

#include <gamut/search.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, MOST_TABLES = 16 };

typedef struct options {
    const char *objective, *out, *compare;
    double max_latency, max_macs;
    bool no_cache;
    gm__list tables;
} options;

static int apply_options(const gm__command *self, const options *o, gm_search_settings *s) {
    if (o->objective == NULL || (strcmp(o->objective, "macs") != 0 && strcmp(o->objective, "latency") != 0))
        return gm__usage_error(self, "--objective: '%s' is neither latency nor macs",
                               o->objective != NULL ? o->objective : "");
    bool latency = strcmp(o->objective, "latency") == 0;
    s->objective = latency ? GM_OBJECTIVE_LATENCY : GM_OBJECTIVE_MACS;
    if (!latency && o->max_latency > 0)
        return gm__usage_error(self, "--max-latency-ms needs --objective latency");
    if (latency && o->max_macs > 0)
        return gm__usage_error(self, "--max-macs needs --objective macs");
    if (!latency && o->tables.count > 0)
        return gm__usage_error(self, "--latency-table needs --objective latency");
    if (o->tables.count > MOST_TABLES)
        return gm__usage_error(self, "--latency-table: at most %d of them", MOST_TABLES);
    if (o->out == NULL) return gm__usage_error(self, "--out is missing, e.g. --out pareto.json");
    s->max_cost = latency ? o->max_latency : o->max_macs;
    return GM__EXIT_NONE;
}

// The model file may have been extended meanwhile: it is read again, and gets the front's statistics
// only, not those of all candidates.
static gm_status keep_statistics(gm_model *searched, const gm_search_result *r, const char *path,
                                 gm_error *err) {
    gm_model *m = NULL;
    gm_norm_entry *to;
    gm_status status = gm_model_load(path, &m, err);
    if (status == GM_OK && gm_model_hash(m) != gm_model_hash(searched))
        status = gm_fail(err, GM_ERR_STATE, "%.150s: its weights changed during the search", path);
    for (int i = 0; i < r->front_count && status == GM_OK; i++) {
        const gm_norm_entry *from = gm_model_norms(searched, &r->front[i].choice);
        status = gm_model_norms_add(m, &r->front[i].choice, &to, err);
        if (status != GM_OK || from == NULL) continue;
        memcpy(to->mean, from->mean, m->graph->norm_floats * sizeof *to->mean);
        memcpy(to->var, from->var, m->graph->norm_floats * sizeof *to->var);
        to->ranged = from->ranged;
    }
    // Ranges are those of all candidates: a bit wider than the front alone would need.
    for (int i = 0; status == GM_OK && i < m->graph->nodes; i++)
        m->range[i] = fmaxf(m->range[i], searched->range[i]);
    if (status == GM_OK) status = gm_model_save(m, path, err);
    gm_model_destroy(m);
    return status;
}

static gm_status compare(const gm_search_result *r, const gm_model *m, const gm_search_settings *s,
                         const char *truth_path, double *gap, gm_error *err) {
    gm_search_result truth;
    uint64_t model;
    gm_status status = gm_search_load(truth_path, &m->graph->space, &truth, &model, err);
    if (status != GM_OK) return status;
    if (model != gm_model_hash(m))
        status = gm_fail(err, GM_ERR_STATE, "%.150s: it is a search of other weights", truth_path);
    if (status == GM_OK)
        status = gm_search_gap(r, &truth, &m->graph->space, s->objective, s->max_cost, gap, err);
    gm_search_result_fini(&truth);
    return status;
}

static int show_json(const char *path) {
    json_error_t problem;
    json_t *root = json_load_file(path, 0, &problem);
    if (root != NULL) {
        json_object_del(root, "evaluated"); // hundreds: they are in the file
        json_object_set_new(root, "out", json_string(path));
    }
    return gm__json_print(root);
}

static void show_judgement(const gm_search_result *r, const gm_search_settings *s) {
    char time[GM__TEXT_SHORT];
    if (!s->exhaustive) {
        printf("\n%d of %d samples measured in full: Kendall tau of the predictor %.2f, RMSE %.2f points; of the samples "
               "themselves %.2f\n",
               r->judged, r->samples, r->predictor.tau, r->predictor.rmse, r->sampling_tau);
    } else {
        printf("\nall %d subnets of the space\n", r->samples);
    }
    if (s->objective == GM_OBJECTIVE_LATENCY && s->tables == 0)
        printf("latency table: %d operations, tau %.2f, error %.1f %% on %d subnets\n",
               r->latency.operations, r->latency.tau, 100 * r->latency.error, r->latency.held_out);
    printf("%d subnets measured, %d predictions, %s\n", r->measured, r->predictions,
           gm__text_time(r->seconds, time));
}

static int show_table(const gm_search_result *r, const gm_model *m, const gm_search_settings *s) {
    static const char *const titles[] = {"SUBNET", "TOP-1 %", "PREDICTED", "MACS", "ms"};
    gm__table *table = gm__table_create(5, titles, "lrrrr");
    for (int i = 0; i < r->front_count; i++) {
        const gm_search_point *p = &r->front[i];
        char text[GM__TEXT_CHOICE] = "", macs[GM__TEXT_SHORT];
        gm_choice_print(&m->graph->space, &p->choice, text, sizeof text, NULL);
        gm__table_cell(table, "%s", text);
        gm__table_cell(table, "%.2f", p->top1);
        gm__table_cell(table, isnan(p->predicted) ? "-" : "%.2f", p->predicted);
        gm__table_cell(table, "%s", gm__text_count((double)p->macs, macs));
        gm__table_cell(table, "%.3f", p->latency_ms);
    }
    int status = gm__table_print(table);
    show_judgement(r, s);
    return status;
}

static gm_status read_tables(const options *o, gm_latency_table **table, int *tables, gm_error *err) {
    gm_status status = GM_OK;
    for (int i = 0; i < o->tables.count && status == GM_OK; i++) {
        status = gm_latency_table_read(o->tables.item[i], &table[i], err);
        if (status == GM_OK) ++*tables;
    }
    return status;
}

static int search(const options *o, const gm__workbench_settings *where, gm_search_settings *s,
                  const gm__args *args) {
    gm_error err = {0};
    gm__workbench bench = {0};
    gm_search_result r = {0};
    gm_latency_table *table[MOST_TABLES] = {0};
    char cache[PATH_BYTES];
    double gap = 0;
    s->table = table;
    gm_status result = read_tables(o, table, &s->tables, &err);
    if (result == GM_OK) result = gm__workbench_open(where, &bench, &err);
    if (result == GM_OK) {
        snprintf(cache, sizeof cache, "%.4000s.measured.json", where->model);
        s->cache = o->no_cache ? NULL : cache;
        s->type = bench.type;
        s->batch = gm_min(bench.recipe.train.batch, s->batch);
        s->augment = bench.recipe.train.augment;
        // as training calibrates: mixed or masked images have other statistics than those to come
        s->augment.mixup = 0;
        s->augment.cutout = 0;
        memcpy(s->augment.mean, bench.model->input_mean, sizeof s->augment.mean);
        memcpy(s->augment.std, bench.model->input_std, sizeof s->augment.std);
        result = gm_search(bench.model, bench.data, bench.train, bench.train_count, bench.val,
                           bench.val_count, s, &r, &err);
    }
    if (result == GM_OK && o->compare != NULL)
        result = compare(&r, bench.model, s, o->compare, &gap, &err);
    if (result == GM_OK) result = keep_statistics(bench.model, &r, where->model, &err);
    if (result == GM_OK)
        result = gm_search_save(&r, bench.model, s, bench.recipe.train.data, o->compare, gap, o->out,
                                &err);
    int status;
    if (result != GM_OK) {
        status = gm__failed(&err);
    } else if (args->json) {
        status = show_json(o->out);
    } else {
        status = show_table(&r, bench.model, s);
        if (o->compare != NULL) printf("largest gap to %s: %.2f points\n", o->compare, gap);
        printf("written to %s; the front is calibrated in %s\n", o->out, where->model);
    }
    gm_search_result_fini(&r);
    for (int i = 0; i < MOST_TABLES; i++) gm_latency_table_destroy(table[i]);
    gm__workbench_close(&bench);
    return status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_search_settings s = gm_search_settings_default();
    gm__workbench_settings where = {.held_out = -1, .part = GM_PART_TRAIN};
    options o = {.objective = "macs"};
    const gm__option list[] = {
        {"data", "D", "data set by name, or a folder (default: what the model was trained on)",
         GM__OPTION_TEXT, &where.data, 0, 0},
        {"data-dir", "DIR", "folder that holds the data set", GM__OPTION_TEXT, &where.data_dir, 0,
         0},
        {"held-out", "N", "validation images (default: as in recipe.yaml beside MODEL)",
         GM__OPTION_INT, &where.held_out, 1, 100000000},
        {"objective", "O", "latency (of this machine) or macs (default)", GM__OPTION_TEXT,
         &o.objective, 0, 0},
        {"max-latency-ms", "X", "no subnet slower than this", GM__OPTION_NUMBER, &o.max_latency,
         1e-6, 1e9},
        {"max-macs", "X", "no subnet above this, e.g. 20e6", GM__OPTION_NUMBER, &o.max_macs, 1,
         1e18},
        {"latency-batch", "N", "latency is that of N images a run (default 1)", GM__OPTION_INT,
         &s.latency_batch, 1, 4096},
        {"latency-table", "FILE", "published table instead of this machine's; repeat for more",
         GM__OPTION_LIST, &o.tables, 0, 0},
        {"dtype", "T", "auto, f32 or bf16 (default auto)", GM__OPTION_TEXT, &where.type, 0, 0},
        {"samples", "N", "subnets measured for the predictor (default 300)", GM__OPTION_INT,
         &s.samples, 10, 100000},
        {"sample-images", "N", "validation images for each (default 600)", GM__OPTION_INT,
         &s.sample_images, 1, 100000000},
        {"sample-calibrate", "N", "training images for their statistics (default 800)",
         GM__OPTION_INT, &s.sample_calibrate, 1, 100000000},
        {"calibrate-images", "N", "training images for those of the front (default 2000)",
         GM__OPTION_INT, &s.calibrate_images, 1, 100000000},
        {"candidates", "N", "subnets measured at the end (default 240)", GM__OPTION_INT,
         &s.candidates, 1, GM_PROFILE_SUBNETS},
        {"exhaustive", NULL, "measure every subnet (at most 4,000), no predictor", GM__OPTION_FLAG,
         &s.exhaustive, 0, 0},
        {"compare", "FILE", "report how far the front falls behind that of FILE", GM__OPTION_TEXT,
         &o.compare, 0, 0},
        {"no-cache", NULL, "neither read nor write MODEL.measured.json", GM__OPTION_FLAG,
         &o.no_cache, 0, 0},
        {"out", "FILE", "where the result goes", GM__OPTION_TEXT, &o.out, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, list, 1, 1, argc, argv, &args);
    if (status == GM__EXIT_NONE) status = apply_options(self, &o, &s);
    if (status == GM__EXIT_NONE) {
        s.seed = args.seed;
        where.model = args.positional[0];
        status = search(&o, &where, &s, &args);
    }
    gm__list_free(&o.tables);
    return status;
}

const gm__command gm__cmd_search = {
    .name = "search",
    .arguments = "MODEL [--data D] --objective latency|macs [--max-latency-ms X|--max-macs X] --out FILE",
    .summary = "the best subnets of a model for this machine",
    .detail = "Measures sampled subnets, trains a predictor of accuracy on them, evolves subnets at "
              "several costs, and\n"
              "measures what it found. The front of the best goes to FILE, its statistics into "
              "MODEL. Measured\n"
              "subnets are kept in MODEL.measured.json: a search that was interrupted goes on when "
              "it is repeated.\n"
              "Accuracies are those of the images that training held out; the test set is not read.",
    .example = "  gamut search runs/fashion-mnist/model.safetensors --objective latency --out pareto.json\n"
               "  gamut search model.safetensors --objective macs --max-macs 10e6 --out small.json\n"
               "  gamut search model.safetensors --exhaustive --objective macs --out truth.json",
    .run = run,
};
