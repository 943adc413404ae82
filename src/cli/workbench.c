// SPDX-License-Identifier: Apache-2.0
#include "workbench.h"

#include <gamut/kernel.h>

#include <string.h>

enum { MOST_BATCH = 200, PATH_BYTES = 4096 };

// The recipe that training left beside the model tells how the validation images were held out.
static gm_status read_recipe(const char *model, gm__recipe *recipe, gm_error *err) {
    char path[PATH_BYTES];
    const char *slash = strrchr(model, '/');
    int folder = slash != NULL ? (int)(slash - model) + 1 : 0;
    *recipe = gm__recipe_default();
    if (folder > PATH_BYTES - 32) return GM_OK;
    snprintf(path, sizeof path, "%.*srecipe.yaml", folder, model);
    return gm_path_exists(path) ? gm__recipe_read(path, recipe, err) : GM_OK;
}

static gm_status find_data(const gm__workbench_settings *settings, gm__workbench *b,
                           gm_error *err) {
    gm_train_settings *train = &b->recipe.train;
    if (settings->data != NULL) {
        const char *kind = gm_path_is_folder(settings->data) ? "folder:" : "";
        int n = snprintf(train->data, sizeof train->data, "%s%s", kind, settings->data);
        if (n < 0 || (size_t)n >= sizeof train->data)
            return gm_fail(err, GM_ERR_ARGUMENT, "--data: the path is too long");
        train->data_dir[0] = '\0';
    }
    if (settings->data_dir != NULL)
        snprintf(train->data_dir, sizeof train->data_dir, "%s", settings->data_dir);
    const char *dir = train->data_dir[0] != '\0' ? train->data_dir : NULL;
    gm_status status =
        gm_dataset_load(train->data, dir, settings->part, train->augment.resolution, &b->data, err);
    if (status != GM_OK) return status;
    if (b->data->channels != b->model->graph->input_channels) {
        return gm_fail(err, GM_ERR_ARGUMENT,
                       "%s: images have %d channels, the model reads %d; choose the set it was "
                       "trained on (%s)",
                       train->data, b->data->channels, b->model->graph->input_channels,
                       b->model->data);
    }
    if (b->data->classes != b->model->graph->classes) {
        return gm_fail(err, GM_ERR_ARGUMENT,
                       "%s has %d classes, the model %d; choose the set it was trained on (%s)",
                       train->data, b->data->classes, b->model->graph->classes, b->model->data);
    }
    return GM_OK;
}

static gm_status choose_type(const char *name, gm_dtype *type, gm_error *err) {
    if (name == NULL || strcmp(name, "auto") == 0) {
        *type = gm_cpu_bf16(gm_cpu_active()) ? GM_BF16 : GM_F32;
    } else if (strcmp(name, "f32") == 0) {
        *type = GM_F32;
    } else if (strcmp(name, "bf16") == 0) {
        *type = GM_BF16;
    } else {
        return gm_fail(err, GM_ERR_ARGUMENT, "--type: '%.40s' is not auto, f32 or bf16", name);
    }
    return GM_OK;
}

gm_status gm__workbench_open(const gm__workbench_settings *settings, gm__workbench *out,
                             gm_error *err) {
    *out = (gm__workbench){0};
    gm_status status = choose_type(settings->type, &out->type, err);
    if (status != GM_OK) goto done;
    status = gm_model_load(settings->model, &out->model, err);
    if (status != GM_OK) goto done;
    status = read_recipe(settings->model, &out->recipe, err);
    if (status != GM_OK) goto done;
    status = find_data(settings, out, err);
    if (status != GM_OK) goto done;
    if (settings->part == GM_PART_TRAIN) {
        int held_out = settings->held_out >= 0 ? settings->held_out : out->recipe.train.validation;
        status = gm_dataset_split(out->data, held_out, GM_SPLIT_SEED, &out->train,
                                  &out->train_count, &out->val, &out->val_count, err);
        if (status != GM_OK) goto done;
    }
    gm_model *m = out->model;
    // Calibration depends on the batch: that of training gives the statistics that training gave.
    int batch = gm_min(out->recipe.train.batch, MOST_BATCH);
    status = gm_walker_create(m->graph, m->norm_offset, out->type, batch, false, &out->walker, err);
    if (status != GM_OK) goto done;
    gm_walker_refresh(out->walker, m->params);
done:
    if (status != GM_OK) gm__workbench_close(out);
    return status;
}

void gm__workbench_close(gm__workbench *bench) {
    gm_walker_destroy(bench->walker);
    gm_free(bench->train);
    gm_free(bench->val);
    gm_dataset_destroy(bench->data);
    gm_model_destroy(bench->model);
    *bench = (gm__workbench){0};
}
