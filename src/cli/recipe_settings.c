// SPDX-License-Identifier: Apache-2.0
// The table of recipe settings: name, type, range, meaning. Reading, writing, --set, the help and
// the page in docs/ all follow from it.
#include "recipe.h"

#define AT(member) offsetof(gm__recipe, member)
#define INT(section, key, member, min, max, help)                                                  \
    { section, key, GM__SETTING_INT, AT(train.member), 0, 0, min, max, NULL, NULL, help }
#define FLOAT(section, key, member, min, max, help)                                                \
    { section, key, GM__SETTING_FLOAT, AT(train.member), 0, 0, min, max, NULL, NULL, help }
#define DOUBLE(section, key, member, min, max, help)                                               \
    { section, key, GM__SETTING_DOUBLE, AT(train.member), 0, 0, min, max, NULL, NULL, help }
#define BOOL(section, key, member, help)                                                           \
    { section, key, GM__SETTING_BOOL, AT(train.member), 0, 0, 0, 0, NULL, NULL, help }
#define NAME(section, key, member, names, values, help)                                            \
    { section, key, GM__SETTING_NAME, AT(train.member), 0, 0, 0, 0, names, values, help }
#define TEXT(section, key, member, least, names, help)                                             \
    {                                                                                              \
        section, key, GM__SETTING_TEXT, AT(train.member), least,                                   \
            (int)sizeof(((gm__recipe *)0)->train.member), 0, 0, names, NULL, help                  \
    }
#define FLOATS(section, key, member, least, min, max, help)                                        \
    {                                                                                              \
        section, key, GM__SETTING_FLOATS, AT(train.member), least,                                 \
            (int)(sizeof(((gm__recipe *)0)->train.member) / sizeof(float)), min, max, NULL, NULL,  \
            help                                                                                   \
    }

// of gm__recipe_checkpoint
#define STORE(key, member, kind, min, max, names, help)                                            \
    { "checkpoint", key, kind, AT(checkpoint.member), 0, 0, min, max, names, NULL, help }

static const char *const strategies[] = {"plain", "ofa", "compofa", "bignas", "deps", NULL};
static const char *const optimizers[] = {"sgd", "adamw", NULL};
static const char *const schedules[] = {"cosine", "linear", "constant", NULL};
static const char *const sorts[] = {"free", "banded", "none", NULL};
static const char *const aggregations[] = {"sum", "avg", "avg_sqrt", NULL};
static const char *const samplers[] = {"random", "compofa", NULL};
static const char *const pad_modes[] = {"zero", "reflect", NULL};
static const char *const flips[] = {"none", "random", "alternate", NULL};
static const char *const kernels[] = {"0", "3", "5", "7", NULL};
static const int kernel_values[] = {0, 3, 5, 7};

static const char *const stores[] = {"none", "lossless", "quantized", NULL};
static const char *const optimizer_states[] = {"keep", "drop", "round", NULL};
static const char *const bounded[] = {"ends", "max", NULL};
static const char *const metrics[] = {"loss", "accuracy", NULL};
static const char *const coders[] = {"rans", "paper", "rle", "huffman", NULL};

const char *const gm__setting_sections[] = {"", "model", "augment", "checkpoint", NULL};

static const gm__setting settings[] = {
    TEXT("", "preset", preset, 1, NULL, "network family and size; `gamut space` lists them"),
    INT("model", "classes", model.classes, 0, 100000, "classes; 0: as many as the data set has"),
    INT("model", "channels", model.channels, 0, 4, "input channels; 0: as the data set's"),
    INT("model", "resolution", model.resolution, 0, 1024, "largest input size; 0: the preset's"),
    DOUBLE("model", "width", model.width, 0, 16, "width multiplier; 0: the preset's"),
    BOOL("model", "transform", model.transform,
         "elastic kernels through learned matrices instead of a plain crop"),
    BOOL("model", "single_resolution", model.single_resolution,
         "no resolution knob: only `resolution`"),
    NAME("model", "kernel_fixed", model.kernel_fixed, kernels, kernel_values,
         "kernel size without a knob; 0: elastic"),
    FLOAT("model", "dropout", model.dropout, -1, 0.95,
          "before the classifier; 0: the preset's, negative: none"),
    BOOL("model", "zero_gamma", model.zero_gamma,
         "the last norm of each residual block starts at 0"),
    FLOAT("model", "norm_eps", model.norm_eps, 0, 1, "what batch norms add to variances; 0: the preset's"),
    TEXT("", "data", data, 1, NULL, "data set by name (`gamut data` lists them), or folder:PATH"),
    TEXT("", "data_dir", data_dir, 0, NULL,
         "folder that holds the data set; empty: search the usual places"),
    INT("", "validation", validation, 0, 10000000,
        "training images held out, for choices between models"),
    INT("augment", "crop_pad", augment.crop_pad, 0, 64,
        "random crop after padding by so many pixels; 0: none"),
    NAME("augment", "pad_mode", augment.pad_mode, pad_modes, NULL, "what the padding holds"),
    NAME("augment", "flip", augment.flip, flips, NULL,
         "mirror images: never, at random, or every other epoch"),
    INT("augment", "cutout", augment.cutout, 0, 1024, "side of a zeroed square; 0: none"),
    FLOAT("augment", "mixup", augment.mixup, 0, 10, "parameter of the Beta distribution; 0: none"),
    INT("augment", "resolution", augment.resolution, 0, 1024,
        "resize images to this size; 0: as stored"),
    FLOATS("augment", "mean", augment.mean, 1, 0, 1,
           "per channel, of pixels / 255; all 0: measured"),
    FLOATS("augment", "std", augment.std, 1, 0, 1, "per channel, of pixels / 255; all 0: measured"),
    NAME("", "strategy", strategy, strategies, NULL,
         "how subnets are trained together (docs/recipes.md)"),
    TEXT("", "choice", choice, 1, NULL, "strategy plain: the subnet to train alone"),
    TEXT("", "sampler", sampler, 1, samplers,
         "how random subnets are drawn: knobs alone, or depth and width coupled"),
    DOUBLE("", "epochs", epochs, 0.001, 100000,
           "passes over the training images; may be fractional"),
    INT("", "batch", batch, 1, 65536, "images a step"),
    NAME("", "optimizer", optimizer, optimizers, NULL, "SGD with momentum, or AdamW"),
    FLOAT("", "lr", lr, 0, 1000, "peak learning rate, on the mean loss of a batch"),
    FLOAT("", "momentum", momentum, 0, 0.9999, "sgd"),
    BOOL("", "nesterov", nesterov, "sgd: Nesterov's form of momentum"),
    FLOAT("", "weight_decay", weight_decay, 0, 10, "not applied to norms and biases"),
    FLOAT("", "beta1", beta1, 0, 0.99999, "adamw"),
    FLOAT("", "beta2", beta2, 0, 0.999999, "adamw"),
    FLOAT("", "adam_eps", adam_eps, 0, 1, "adamw"),
    NAME("", "schedule", schedule, schedules, NULL, "of the learning rate after the warm-up"),
    FLOAT("", "warmup", warmup, 0, 100000, "epochs of linear warm-up"),
    FLOAT("", "final_lr", final_lr, 0, 1,
          "the learning rate never falls below this fraction of lr"),
    FLOAT("", "label_smoothing", label_smoothing, 0, 0.999, "of the largest subnet's loss"),
    FLOAT("", "kd_temperature", kd_temperature, 0.01, 100,
          "softens the teacher's and the student's outputs"),
    FLOAT("", "kd_ratio", kd_ratio, 0, 100,
          "ofa, compofa: weight of the teacher beside the labels"),
    INT("", "subnets", subnets, 1, 64, "trained in one step once shrinking began"),
    FLOAT("", "delay", delay, 0, 1,
          "deps: fraction of the epochs at which subnets have their full weight"),
    FLOAT("", "ramp", ramp, 0, 1,
          "deps: fraction of the epochs, before `delay`, over which they ease in"),
    INT("", "early_resolution", early_resolution, 0, 4096,
        "progressive resizing: side of the images at first; 0: as later"),
    FLOAT("", "early_part", early_part, 0, 1,
          "fraction of the epochs with images of early_resolution"),
    NAME("", "sort", sort, sorts, NULL,
         "deps, ofa: channels sorted by importance when shrinking begins"),
    NAME("", "aggregation", aggregation, aggregations, NULL,
         "gradients of a step's subnets: their sum, or divided by the weights that cover each element"),
    FLOATS("", "phase_epochs", phase_epochs, 6, 0, 100000,
           "ofa: share of the epochs of each phase (full, kernel, depth 1, depth 2, expand 1, "
           "expand 2)"),
    FLOATS("", "phase_lr", phase_lr, 6, 0, 100,
           "ofa: learning rate of each phase as a fraction of lr"),
    FLOAT("", "clip", clip, 0, 1000000, "largest global norm of a gradient; 0: no limit"),
    FLOAT("", "spike", spike, 0, 1000,
          "roll back when the loss exceeds this times its running median; 0: never"),
    FLOAT("", "ema", ema, 0, 0.999999,
          "keep an average of the weights with this decay a step, and save that; 0: off"),
    DOUBLE("", "max_macs", max_macs, 0, 1e24,
           "length of the run in multiply-accumulates, instead of epochs; 0: epochs count"),
    INT("", "calibrate_images", calibrate_images, 1, 10000000,
        "training images behind the norm statistics of a subnet"),
    {"", "eval_choices", GM__SETTING_CHOICES, AT(train.eval_choices), 1, 8, 0, 0, NULL, NULL,
     "subnets calibrated, evaluated and reported at the end; none given: max and min"},
    INT("", "eval_every", eval_every, 0, 100000,
        "epochs between validations of max and min; 0: only at the end"),
    BOOL("", "eval_all", eval_all, "those validations measure all of eval_choices"),
    {"", "test", GM__SETTING_BOOL, AT(test), 0, 0, 0, 0, NULL, NULL,
     "evaluate on the test set too, once, at the end (as --test)"},
    {"", "type", GM__SETTING_TYPE, AT(train.type), 0, 0, 0, 0, NULL, NULL,
     "of activations; auto: bf16 where the processor multiplies it, else f32"},
    {"", "seed", GM__SETTING_SEED, AT(train.seed), 0, 0, 0, 0, NULL, NULL,
     "of every random draw (as --seed)"},
    DOUBLE("", "checkpoint_seconds", checkpoint_seconds, 0, 1000000,
           "between training states on disk"),
    TEXT("", "init", init, 0, NULL, "start from the weights of this model file, of the same network; empty: at random"),
    STORE("store", store, GM__SETTING_NAME, 0, 0, stores,
          "keep a history of training states in DIR/checkpoints (docs/checkpoints.md)"),
    STORE("every", every, GM__SETTING_DOUBLE, 0, 100000, NULL, "epochs between checkpoints; 0: by checkpoint_seconds"),
    STORE("keep", keep, GM__SETTING_INT, 0, 1000000, NULL, "the newest so many stay; 0: all"),
    STORE("keep_every", keep_every, GM__SETTING_INT, 0, 1000000, NULL, "every so-manieth stays besides; 0: none"),
    STORE("full_every", full_every, GM__SETTING_INT, 1, 10000, NULL,
          "one that stands alone after so many differences; 1: all stand alone"),
    STORE("optimizer", optimizer, GM__SETTING_NAME, 0, 0, optimizer_states,
          "quantized: the optimizer's state exact, left out, or rounded"),
    STORE("max_drop", max_drop, GM__SETTING_DOUBLE, 0, 10, NULL,
          "quantized: largest relative rise of the loss, of the subnets that are bounded; 0: not measured"),
    STORE("early_drop", early_drop, GM__SETTING_DOUBLE, 0, 10, NULL,
          "quantized: what the bound is while the learning rate is at its peak; it falls with the square of the rate to max_drop"),
    STORE("distortion", distortion, GM__SETTING_DOUBLE, 0, 1000, NULL,
          "quantized: squared error of the weights, in squared movements of theirs since the last checkpoint; 0: not bounded"),
    STORE("stick", stick, GM__SETTING_DOUBLE, 0, 0.5, NULL,
          "quantized: how far into a neighbouring bin a weight keeps its centre, in widths of the bin; 0: nearest always"),
    STORE("metric", metric, GM__SETTING_NAME, 0, 0, metrics, "quantized: what max_drop bounds"),
    STORE("subnets", subnets, GM__SETTING_NAME, 0, 0, bounded, "quantized: which the bound is for"),
    STORE("images", images, GM__SETTING_INT, 1, 1000000, NULL, "quantized: held-out images it is measured on"),
    STORE("trials", trials, GM__SETTING_INT, 0, 10000, NULL,
          "quantized: configurations measured for one checkpoint; 0: as many as the search asks for"),
    STORE("restores", restores, GM__SETTING_INT, 0, 1000, NULL,
          "for experiments: go on from what was just saved, so many times, evenly spaced"),
    STORE("coder", coder, GM__SETTING_NAME, 0, 0, coders, "quantized: of the ids; paper: as published"),
};

const gm__setting *gm__settings(int *count) {
    *count = (int)(sizeof settings / sizeof *settings);
    return settings;
}
