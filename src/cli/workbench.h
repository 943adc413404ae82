// SPDX-License-Identifier: Apache-2.0
// workbench: a model file with its data set, its split and a walker, as eval and calibrate need
// them.
#ifndef GAMUT_WORKBENCH_H
#define GAMUT_WORKBENCH_H

#include "recipe.h"

typedef struct gm__workbench_settings {
    const char *model, *data,
        *data_dir; // data NULL: what the model was trained on; data_dir NULL: search
    int held_out;  // < 0: as the recipe beside the model says
    gm_part part;
    const char *type; // "auto", "f32", "bf16"
} gm__workbench_settings;

typedef struct gm__workbench {
    gm_model *model;
    gm_dataset *data;
    int32_t *train, *val; // the split of the training part; NULL for the test part
    int train_count, val_count;
    gm_walker *walker;
    gm__recipe recipe; // of recipe.yaml beside the model, or the defaults
    gm_dtype type;
} gm__workbench;

gm_status gm__workbench_open(const gm__workbench_settings *settings, gm__workbench *out,
                             gm_error *err);
void gm__workbench_close(gm__workbench *bench);

#endif
