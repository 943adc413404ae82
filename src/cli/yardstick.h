// SPDX-License-Identifier: Apache-2.0
// yardstick: how good a network's weights are, on a few held-out images, for its largest and its smallest subnet. What bounds
// the loss of a quantized checkpoint.
#ifndef GAMUT_YARDSTICK_H
#define GAMUT_YARDSTICK_H

#include <gamut/checkpoint.h>

#include "recipe.h"

enum { GM__YARDSTICK_CHOICES = 2, GM__YARDSTICK_CALIBRATE = 64 };

typedef struct gm__yardstick {
    char what[512]; // the data set's name, for errors
    gm_model *model;
    gm_walker *walker; // made by the thread that measures
    gm_dataset *val, *train; // small ones, of their own; train: for calibration
    int choices;
    gm_choice choice[GM__YARDSTICK_CHOICES];
    gm_dtype type;
    bool accuracy; // figures are minus accuracies instead of losses
    bool stored;   // the model's own norm statistics are used
    float *base[GM__YARDSTICK_CHOICES], *now; // of each image, its part of the figure: of the first measurement of a checkpoint, and of the last
    bool based;    // base is filled
    double top1[GM__YARDSTICK_CHOICES], loss[GM__YARDSTICK_CHOICES]; // of the last measurement, the largest first
} gm__yardstick;

// The network of a recipe, on `images` of its held-out images. data NULL: what the recipe names.
gm_status gm__yardstick_init(gm__yardstick *y, const gm__recipe *recipe, int images, gm_error *err);
// The network of a model file in memory; recipe: of the run that made it.
gm_status gm__yardstick_init_model(gm__yardstick *y, const gm_tensor_file *file, const char *what, const gm__recipe *recipe,
                                   int images, gm_error *err);
void gm__yardstick_fini(gm__yardstick *y);
// The weights of an image (params/NAME of a training state, NAME of a model file); then top1 and loss as they are.
gm_status gm__yardstick_measure(gm__yardstick *y, const gm_tensor_file *image, gm_error *err);
// The mean of n numbers, less the standard error of its rise over the mean of those before, but not below that one; a mean that
// falls is what it is.
double gm__beyond_doubt(const float *before, const float *now, int n);
// To be put into checkpoint settings; y must live as long. A rise over the first measurement of a checkpoint counts as far as it
// exceeds its standard error over the images: a bound cannot be finer than what it is measured with.
gm_checkpoint_quality gm__yardstick_quality(gm__yardstick *y);

#endif
