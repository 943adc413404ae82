// SPDX-License-Identifier: Apache-2.0
// gamut train: a recipe to a trained supernet.
#include "cli.h"
#include "recipe.h"
#include "run_store.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

typedef struct train_options {
    const char *out;
    gm__list set;
    bool resume, force, test, settings;
} train_options;

static int print_settings(bool json) {
    static const char *const titles[] = {"SETTING", "DEFAULT", "ALLOWED", "MEANING"};
    int count = 0;
    const gm__setting *settings = gm__settings(&count);
    gm__recipe recipe = gm__recipe_default();
    json_t *list = json_array();
    gm__table *table = json ? NULL : gm__table_create(4, titles, "llll");
    for (int i = 0; i < count; i++) {
        char name[64], value[1400], allowed[GM__RECIPE_ALLOWED];
        snprintf(name, sizeof name, "%s%s%s", settings[i].section,
                 settings[i].section[0] != '\0' ? "." : "", settings[i].key);
        gm__setting_value(&settings[i], &recipe, value, sizeof value);
        gm__setting_allowed(&settings[i], allowed);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", name, "default",
                                              value, "allowed", allowed, "help", settings[i].help));
        gm__table_cell(table, "%s", name);
        gm__table_cell(table, "%s", value);
        gm__table_cell(table, "%s", allowed);
        gm__table_cell(table, "%s", settings[i].help);
    }
    if (json) return gm__json_print(list);
    json_decref(list);
    return gm__table_print(table);
}

// runs/NAME for .../NAME.yaml
static void default_out(const char *recipe, char out[PATH_BYTES]) {
    const char *slash = strrchr(recipe, '/'), *name = slash != NULL ? slash + 1 : recipe;
    snprintf(out, PATH_BYTES, "runs/%.*s", (int)strcspn(name, "."), name);
}

static bool holds(const char *dir, const char *name) {
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return gm_path_exists(path);
}

// What the folder already holds is never lost by accident. found: there is a state to continue
// from.
static gm_status check_folder(const char *dir, const train_options *o, bool *found, gm_error *err) {
    char state[PATH_BYTES + 64];
    bool finished = holds(dir, "model.safetensors");
    bool saved = holds(dir, "state.safetensors");
    *found = saved || gm__run_store_unfinished(dir);
    if (*found && o->force) {
        snprintf(state, sizeof state, "%s/state.safetensors", dir);
        if (saved && unlink(state) != 0) {
            return gm_fail(err, GM_ERR_IO, "%.180s: cannot remove: %s", state, strerror(errno));
        }
        snprintf(state, sizeof state, "%s/checkpoints", dir);
        gm_status status = gm_checkpoint_clear(state, err);
        snprintf(state, sizeof state, "%s/checkpoints/running", dir);
        if (status == GM_OK && gm_path_exists(state)) status = gm_file_remove(state, err);
        *found = false;
        return status;
    }
    if (*found && !o->resume) {
        return gm_fail(err, GM_ERR_STATE,
                       "%.150s holds an unfinished run: --resume continues it, --force starts anew",
                       dir);
    }
    if (!*found && finished && o->resume) {
        return gm_fail(err, GM_ERR_STATE,
                       "%.150s holds a finished run: there is nothing left to resume", dir);
    }
    if (!*found && finished && !o->force) {
        return gm_fail(
            err, GM_ERR_STATE,
            "%.150s holds a finished run: choose another --out, or --force to replace it", dir);
    }
    return GM_OK;
}

typedef struct watcher {
    gm_progress *progress;
    double start;
} watcher;

// Steps cost more once subnets join in, so the bar goes by the time that training itself expects.
static void on_step(void *self, const gm_train_status *s) {
    enum { WHOLE = 1000000 };
    watcher *w = self;
    char note[128];
    if (w->progress == NULL) {
        w->start = gm_now();
        gm_progress_create("train", WHOLE, &w->progress, NULL);
    }
    double spent = gm_now() - w->start, left = s->seconds_left;
    double part = s->step >= s->steps ? 1 : spent / (spent + left + 1e-3);
    snprintf(note, sizeof note, "epoch %.1f/%.4g, loss %.3f, accuracy %.1f %%, %.0f images/s",
             s->epoch, s->epochs, s->loss, s->accuracy, s->images_per_second);
    gm_progress_update(w->progress, (uint64_t)(part * WHOLE), note);
}

// One evaluated subnet, into the table and the JSON.
static gm_status describe(const gm_graph *graph, const char *name, const gm_eval_result *val,
                          const gm_eval_result *test, gm__table *table, json_t *choices,
                          json_t *top1, gm_error *err) {
    char text[GM__TEXT_CHOICE], id[GM__TEXT_SHORT], macs[GM__TEXT_SHORT], params[GM__TEXT_SHORT];
    gm_choice choice;
    gm_cost cost;
    gm_status status = gm_choice_parse(&graph->space, name, &choice, err);
    if (status == GM_OK) status = gm_count(graph, &choice, &cost, err);
    if (status == GM_OK) status = gm__choice_text(&graph->space, &choice, text, id, err);
    if (status != GM_OK) return status;
    bool held_out = val->images > 0;
    json_t *row = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "choice", text, "asked", name, "id",
                            id, "macs", (json_int_t)cost.macs, "params", (json_int_t)cost.params,
                            "val", held_out ? gm__json_number(val->top1) : json_null());
    if (test != NULL) json_object_set_new(row, "test", gm__json_number(test->top1));
    json_array_append_new(choices, row);
    json_object_set_new(top1, name, gm__json_number(test != NULL ? test->top1 : val->top1));
    gm__table_cell(table, "%s", name);
    gm__table_cell(table, "%s", gm__text_count((double)cost.macs, macs));
    gm__table_cell(table, "%s", gm__text_count((double)cost.params, params));
    if (held_out) {
        gm__table_cell(table, "%.2f", val->top1);
    } else {
        gm__table_cell(table, "-");
    }
    if (test != NULL) gm__table_cell(table, "%.2f", test->top1);
    return GM_OK;
}

static gm_status describe_all(const gm_train_settings *s, const gm_train_result *r, bool test,
                              const char *dir, gm__table *table, json_t *choices, json_t *top1,
                              gm_error *err) {
    char path[PATH_BYTES + 64];
    gm_model *model = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    gm_status status = gm_model_load(path, &model, err);
    for (int i = 0; i < r->choices && status == GM_OK; i++) {
        status = describe(model->graph, i < s->eval_choice_count ? s->eval_choices[i] : s->choice,
                          &r->val[i], test ? &r->test[i] : NULL, table, choices, top1, err);
    }
    gm_model_destroy(model);
    return status;
}

static int report(const gm__args *args, const gm_train_settings *s, const gm_train_result *r,
                  bool test, const char *dir) {
    static const char *const titles[] = {"SUBNET", "MACS", "PARAMS", "VAL %", "TEST %"};
    gm_error err = {0};
    json_t *choices = json_array(), *top1 = json_object();
    gm__table *table = args->json ? NULL : gm__table_create(test ? 5 : 4, titles, "lrrrr");
    if (describe_all(s, r, test, dir, table, choices, top1, &err) != GM_OK) {
        json_decref(choices);
        json_decref(top1);
        gm__table_free(table);
        return gm__failed(&err);
    }
    if (args->json) {
        return gm__json_print(json_pack(
            "{s:o, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:i, s:s}", "top1", top1, "split",
            test ? "test" : "val", "choices", choices, "macs_spent", gm__json_number(r->macs_spent),
            "seconds", gm__json_number(r->seconds), "images_per_second",
            gm__json_number(r->images_per_second), "peak_bytes", (json_int_t)r->peak_bytes, "steps",
            (json_int_t)r->steps, "rollbacks", r->rollbacks, "out", dir));
    }
    json_decref(choices);
    json_decref(top1);
    char time[GM__TEXT_SHORT], macs[GM__TEXT_SHORT], memory[GM__TEXT_SHORT];
    int status = gm__table_print(table);
    printf(
        "\n%s, %.0f images/s, %s multiply-accumulates spent, %sB of memory at most; model in %s\n",
        gm__text_time(r->seconds, time), r->images_per_second, gm__text_count(r->macs_spent, macs),
        gm__text_count((double)r->peak_bytes, memory), dir);
    return status;
}

static gm_status load_recipe(const char *path, const char *dir, const train_options *o,
                             const gm__args *args, gm__recipe *recipe, gm_error *err) {
    char kept[PATH_BYTES + 64];
    *recipe = gm__recipe_default();
    if (path == NULL) { // --resume --out DIR: the recipe is the one kept there
        snprintf(kept, sizeof kept, "%s/recipe.yaml", dir);
        path = kept;
    }
    gm_status status = gm__recipe_read(path, recipe, err);
    for (int i = 0; i < o->set.count && status == GM_OK; i++)
        status = gm__recipe_set(o->set.item[i], recipe, err);
    if (args->seed_given) recipe->train.seed = args->seed;
    if (o->test) recipe->test = true;
    gm__recipe_resolve(recipe);
    return status;
}

static gm_status train(const gm__args *args, const train_options *o, const char *dir,
                       gm__recipe *recipe, gm_train_result *result, gm_error *err) {
    char path[PATH_BYTES + 64];
    bool found = false;
    const char *given = args->count > 0 ? args->positional[0] : NULL;
    gm_status status = load_recipe(given, dir, o, args, recipe, err);
    if (status == GM_OK) status = check_folder(dir, o, &found, err);
    if (status == GM_OK) status = gm_folder_create(dir, err);
    snprintf(path, sizeof path, "%s/recipe.yaml", dir);
    // A continued run keeps its recipe until training has agreed that this one is the same.
    if (status == GM_OK && !found) status = gm__recipe_write(recipe, path, err);
    if (status != GM_OK) return status;
    watcher w = {0};
    gm_train_observer observer = {on_step, &w};
    gm__run_store store;
    if ((status = gm__run_store_init(&store, recipe, dir, err)) != GM_OK) return status;
    if (store.hooks.self != NULL) recipe->train.store = &store.hooks;
    status = gm_train(&recipe->train, dir, o->resume, recipe->test, &observer, result, err);
    gm_progress_destroy(w.progress);
    gm__run_store_fini(&store);
    recipe->train.store = NULL;
    if (status == GM_OK && found) status = gm__recipe_write(recipe, path, err);
    return status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    train_options o = {0};
    char dir[PATH_BYTES];
    const gm__option options[] = {
        {"out", "DIR", "folder of the run (default: runs/NAME for NAME.yaml)", GM__OPTION_TEXT,
         &o.out, 0, 0},
        {"resume", NULL, "continue the run in DIR, bit for bit; starts one when there is none",
         GM__OPTION_FLAG, &o.resume, 0, 0},
        {"force", NULL, "start anew although DIR holds a run", GM__OPTION_FLAG, &o.force, 0, 0},
        {"set", "KEY=VALUE",
         "override a setting, e.g. epochs=20 or model.width=0.5; repeat for more", GM__OPTION_LIST,
         &o.set, 0, 0},
        {"test", NULL, "evaluate on the test set too, once, at the end", GM__OPTION_FLAG, &o.test,
         0, 0},
        {"settings", NULL, "list every setting with default and range, and do nothing else",
         GM__OPTION_FLAG, &o.settings, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, options, 0, 1, argc, argv, &args);
    if (status == GM__EXIT_NONE && o.settings) status = print_settings(args.json);
    if (status == GM__EXIT_NONE && args.count == 0 && (!o.resume || o.out == NULL)) {
        status =
            gm__usage_error(self, "the recipe is missing (only --resume --out DIR can do without)");
    }
    if (status == GM__EXIT_NONE && o.resume && o.force)
        status = gm__usage_error(self, "--resume and --force exclude each other");
    if (status == GM__EXIT_NONE) {
        gm__recipe recipe;
        gm_train_result result = {0};
        if (o.out != NULL) {
            snprintf(dir, sizeof dir, "%s", o.out);
        } else {
            default_out(args.positional[0], dir);
        }
        gm_status trained = train(&args, &o, dir, &recipe, &result, &err);
        status = trained == GM_OK ? report(&args, &recipe.train, &result, recipe.test, dir)
                                  : gm__failed(&err);
        if (trained == GM_ERR_INTERRUPTED)
            fprintf(stderr, "gamut: continue with: gamut train --resume --out %s\n", dir);
    }
    gm__list_free(&o.set);
    return status;
}

const gm__command gm__cmd_train = {
    .name = "train",
    .arguments = "RECIPE.yaml [--out DIR] [--resume] [--set KEY=VALUE]... [--test]",
    .summary = "trains a supernet as a recipe says",
    .detail = "Trains, calibrates and evaluates. DIR receives model.safetensors, recipe.yaml "
              "(every setting, resolved) and\n"
              "log.jsonl. Accuracy is measured on images held out of training; on the test set "
              "only when asked to, once.\n"
              "docs/recipes.md describes every setting.",
    .example = "  gamut train examples/fashion-mnist.yaml --test\n"
               "  gamut train examples/cifar10.yaml --out runs/narrow --set model.width=0.5 --set "
               "epochs=20\n"
               "  gamut train --resume --out runs/narrow",
    .run = run,
};
