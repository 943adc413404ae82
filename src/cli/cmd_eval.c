// SPDX-License-Identifier: Apache-2.0
// gamut eval: accuracy of subnets of a trained model.
#include "cli.h"
#include "workbench.h"

#include <string.h>

static const char *const titles[] = {"CHOICE", "ID", "MACS", "TOP-1 %", "LOSS"};

static json_t *result_json(const char *name, const char *text, const char *id,
                           const gm_eval_result *r) {
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:I, s:i}", "choice", text, "asked", name, "id", id,
                     "top1", gm__json_number(r->top1), "loss", gm__json_number(r->loss), "macs",
                     (json_int_t)r->macs, "images", r->images);
}

// Also the one place where an uncalibrated subnet is met: the error names the command that helps.
static gm_status evaluate(gm__workbench *b, const char *model, const char *name,
                          const gm_choice *choice, gm_eval_result *out, gm_error *err) {
    if (gm_model_norms(b->model, choice) == NULL) {
        return gm_fail(err, GM_ERR_STATE,
                       "subnet '%.60s' is not calibrated; run: gamut calibrate %.70s --data %.40s "
                       "--choices '%.60s'",
                       name, model, b->recipe.train.data, name);
    }
    bool test = b->val == NULL;
    return gm_evaluate(b->model, b->walker, b->data, test ? NULL : b->val,
                       test ? b->data->images : b->val_count, choice, out, err);
}

static gm_status evaluate_all(gm__workbench *b, const char *model, const gm__list *names,
                              json_t *rows, gm__table *table, gm_error *err) {
    const gm_space *space = &b->model->graph->space;
    gm_progress *progress = NULL;
    gm_status status = gm_progress_create("eval", (uint64_t)names->count, &progress, err);
    for (int i = 0; i < names->count && status == GM_OK; i++) {
        gm_choice choice;
        gm_eval_result result = {0};
        char text[GM__TEXT_CHOICE], id[GM__TEXT_SHORT], macs[GM__TEXT_SHORT];
        if (gm_interrupted())
            status = gm_fail(err, GM_ERR_INTERRUPTED, "interrupted after %d of %d subnets", i,
                             names->count);
        if (status == GM_OK) status = gm_choice_parse(space, names->item[i], &choice, err);
        if (status == GM_OK) status = gm__choice_text(space, &choice, text, id, err);
        if (status == GM_OK) status = evaluate(b, model, names->item[i], &choice, &result, err);
        if (status != GM_OK) break;
        json_array_append_new(rows, result_json(names->item[i], text, id, &result));
        gm__table_cell(table, "%s", names->item[i]);
        gm__table_cell(table, "%s", id);
        gm__table_cell(table, "%s", gm__text_count((double)result.macs, macs));
        gm__table_cell(table, "%.2f", result.top1);
        gm__table_cell(table, "%.4f", result.loss);
        gm_progress_update(progress, (uint64_t)i + 1, NULL);
    }
    gm_progress_destroy(progress);
    return status;
}

// Without --choice: every calibrated subnet.
static gm_status list_entries(const gm_model *model, gm__list *names, char **texts, gm_error *err) {
    if (model->entries == 0) {
        return gm_fail(
            err, GM_ERR_STATE,
            "no subnet of this model is calibrated; run: gamut calibrate MODEL --choices max min");
    }
    names->item = gm_alloc((size_t)model->entries, sizeof *names->item);
    *texts = gm_alloc((size_t)model->entries, GM__TEXT_CHOICE);
    if (names->item == NULL || *texts == NULL) return gm_fail(err, GM_ERR_MEMORY, "out of memory");
    for (int i = 0; i < model->entries; i++) {
        char *text = *texts + (size_t)i * GM__TEXT_CHOICE;
        gm_status status = gm_choice_print(&model->graph->space, &model->entry[i].choice, text,
                                           GM__TEXT_CHOICE, err);
        if (status != GM_OK) return status;
        names->item[names->count++] = text;
    }
    return GM_OK;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    gm__workbench bench = {0};
    gm__workbench_settings settings = {.held_out = -1};
    gm__list names = {0};
    char *texts = NULL;
    const char *split = "val";
    const gm__option options[] = {
        {"data", "D", "data set by name, or a folder (default: what the model was trained on)",
         GM__OPTION_TEXT, &settings.data, 0, 0},
        {"data-dir", "DIR", "folder that holds the data set", GM__OPTION_TEXT, &settings.data_dir,
         0, 0},
        {"split", "val|test", "validation images of the training part (default), or the test part",
         GM__OPTION_TEXT, &split, 0, 0},
        {"choice", "C", "a subnet; repeat for more (default: every calibrated one)",
         GM__OPTION_LIST, &names, 0, 0},
        {"held-out", "N", "validation images (default: as in recipe.yaml beside MODEL)",
         GM__OPTION_INT, &settings.held_out, 1, 100000000},
        {"type", "T", "auto, f32 or bf16 (default auto)", GM__OPTION_TEXT, &settings.type, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, options, 1, 1, argc, argv, &args);
    if (status == GM__EXIT_NONE && strcmp(split, "val") != 0 && strcmp(split, "test") != 0) {
        status = gm__usage_error(self, "--split: '%s' is neither val nor test", split);
    }
    if (status != GM__EXIT_NONE) {
        gm__list_free(&names);
        return status;
    }
    settings.model = args.positional[0];
    settings.part = strcmp(split, "test") == 0 ? GM_PART_TEST : GM_PART_TRAIN;
    json_t *rows = json_array();
    gm__table *table = args.json ? NULL : gm__table_create(5, titles, "llrrr");
    gm_status result = gm__workbench_open(&settings, &bench, &err);
    if (result == GM_OK && names.count == 0)
        result = list_entries(bench.model, &names, &texts, &err);
    if (result == GM_OK) result = evaluate_all(&bench, settings.model, &names, rows, table, &err);
    if (result != GM_OK) {
        status = gm__failed(&err);
        json_decref(rows);
        gm__table_free(table);
    } else if (args.json) {
        status = gm__json_print(rows);
    } else {
        json_decref(rows);
        status = gm__table_print(table);
        printf("\n%d images of %s (%s)\n", bench.val == NULL ? bench.data->images : bench.val_count,
               bench.recipe.train.data,
               settings.part == GM_PART_TEST ? "test" : "validation, held out of training");
    }
    gm__workbench_close(&bench);
    gm__list_free(&names);
    gm_free(texts);
    return status;
}

const gm__command gm__cmd_eval = {
    .name = "eval",
    .arguments = "MODEL [--data D] [--split val|test] [--choice C]...",
    .summary = "accuracy of subnets of a model",
    .detail = "Evaluates subnets on the images that training held out (val) or on the test part. "
              "The held-out images are\n"
              "those of the recipe.yaml beside MODEL; give --held-out when it is not there. A "
              "subnet that is\n"
              "not calibrated is refused: 'gamut calibrate' gives it statistics of its own.",
    .example = "  gamut eval runs/fashion-mnist/model.safetensors --choice max --choice min\n"
               "  gamut eval model.safetensors --data cifar10 --split test --json",
    .run = run,
};
