// SPDX-License-Identifier: Apache-2.0
// Training settings: defaults, bounds, and the text that says whether two runs are the same.
#include "train/run.h"

#include <string.h>

gm_train_settings gm_train_settings_default(void) {
    gm_train_settings s = {
        .preset = "resnet-28", .model = gm_model_settings_default(), .data = "fashion-mnist", .validation = 5000,
        .augment = gm_augment_default(), .strategy = GM_STRATEGY_DEPS, .choice = "max", .sampler = "random",
        .epochs = 12, .batch = 128, .optimizer = GM_OPTIMIZER_SGD, .lr = 0.1f, .momentum = 0.9f, .nesterov = true,
        .weight_decay = 5e-4f, .beta1 = 0.9f, .beta2 = 0.999f, .adam_eps = 1e-8f, .schedule = GM_SCHEDULE_COSINE,
        .warmup = 0.5f, .label_smoothing = 0.1f, .kd_temperature = 1, .kd_ratio = 1, .subnets = 4, .delay = 0.5f,
        .ramp = 0.02f, .early_part = 0.5f, .sort = GM_SORT_FREE,
        // Once-for-all's own (2.7 of the training specification): epochs of 605, learning rates of 2.6
        .phase_epochs = {180, 125, 25, 125, 25, 125},
        .phase_lr = {1, 0.37f, 0.031f, 0.092f, 0.031f, 0.092f},
        .spike = 3, .calibrate_images = 2000, .type_auto = true, .seed = 1, .checkpoint_seconds = 60};
    return s;
}

typedef struct range {
    const char *name;
    double value, least, most;
} range;

static gm_status check_ranges(const gm_train_settings *s, gm_error *err) {
    const range list[] = {
        {"validation", s->validation, 0, 1e9},
        {"epochs", s->epochs, 0, 1e6},
        {"batch", s->batch, 1, 65536},
        {"lr", (double)s->lr, 0, 1e4},
        {"momentum", (double)s->momentum, 0, 0.99999},
        {"weight_decay", (double)s->weight_decay, 0, 10},
        {"beta1", (double)s->beta1, 0, 0.99999},
        {"beta2", (double)s->beta2, 0, 0.9999999},
        {"adam_eps", (double)s->adam_eps, 0, 1},
        {"warmup", (double)s->warmup, 0, 1e6},
        {"final_lr", (double)s->final_lr, 0, 1},
        {"label_smoothing", (double)s->label_smoothing, 0, 0.999},
        {"kd_temperature", (double)s->kd_temperature, 0.01, 100},
        {"kd_ratio", (double)s->kd_ratio, 0, 100},
        {"subnets", s->subnets, 1, GM__MAX_SLOTS},
        {"delay", (double)s->delay, 0, 1},
        {"ramp", (double)s->ramp, 0, 1},
        {"early_resolution", s->early_resolution, 0, 4096},
        {"early_part", (double)s->early_part, 0, 1},
        {"clip", (double)s->clip, 0, 1e9},
        {"spike", (double)s->spike, 0, 1e6},
        {"ema", (double)s->ema, 0, 0.9999999},
        {"max_macs", s->max_macs, 0, 1e24},
        {"calibrate_images", s->calibrate_images, 1, 1e9},
        {"eval_choices", s->eval_choice_count, 0, 8},
        {"eval_every", s->eval_every, 0, 1e9},
        {"checkpoint_seconds", s->checkpoint_seconds, 0, 1e9},
        {"augment.crop_pad", s->augment.crop_pad, 0, 64},
        {"augment.flip", s->augment.flip, 0, 2},
        {"augment.cutout", s->augment.cutout, 0, 4096},
        {"augment.mixup", (double)s->augment.mixup, 0, 100},
        {"augment.resolution", s->augment.resolution, 0, 4096},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!(list[i].value >= list[i].least && list[i].value <= list[i].most))
            return gm_fail(err, GM_ERR_RANGE, "%s: %.9g is out of range; allowed: %.9g to %.9g", list[i].name,
                           list[i].value, list[i].least, list[i].most);
    for (int i = 0; i < 6; i++) {
        if (!(s->phase_epochs[i] >= 0 && s->phase_epochs[i] <= 1e6f))
            return gm_fail(err, GM_ERR_RANGE, "phase_epochs[%d]: %g is out of range; allowed: 0 to 1000000", i,
                           (double)s->phase_epochs[i]);
        if (!(s->phase_lr[i] >= 0 && s->phase_lr[i] <= 100))
            return gm_fail(err, GM_ERR_RANGE, "phase_lr[%d]: %g is out of range; allowed: 0 to 100", i,
                           (double)s->phase_lr[i]);
    }
    return GM_OK;
}

gm_status gm__settings_check(const gm_train_settings *s, gm_error *err) {
    gm_status status = check_ranges(s, err);
    if (status != GM_OK) return status;
    if (!s->preset[0]) return gm_fail(err, GM_ERR_ARGUMENT, "preset: empty; name a network, e.g. resnet-28");
    if (!gm__strategy_find(s->strategy))
        return gm_fail(err, GM_ERR_RANGE, "strategy: %d is unknown; allowed: plain, ofa, compofa, bignas, deps",
                       (int)s->strategy);
    if (strcmp(s->sampler, "random") != 0 && strcmp(s->sampler, "compofa") != 0)
        return gm_fail(err, GM_ERR_ARGUMENT, "sampler: '%.15s' is unknown; allowed: random, compofa", s->sampler);
    if (s->optimizer != GM_OPTIMIZER_SGD && s->optimizer != GM_OPTIMIZER_ADAMW)
        return gm_fail(err, GM_ERR_RANGE, "optimizer: %d is unknown; allowed: sgd, adamw", (int)s->optimizer);
    if (s->schedule != GM_SCHEDULE_COSINE && s->schedule != GM_SCHEDULE_LINEAR && s->schedule != GM_SCHEDULE_CONSTANT)
        return gm_fail(err, GM_ERR_RANGE, "schedule: %d is unknown; allowed: cosine, linear, constant", (int)s->schedule);
    if (s->sort != GM_SORT_FREE && s->sort != GM_SORT_BANDED && s->sort != GM_SORT_NONE)
        return gm_fail(err, GM_ERR_RANGE, "sort: %d is unknown; allowed: free, banded, none", (int)s->sort);
    if ((int)s->aggregation < GM_AGGREGATION_SUM || s->aggregation > GM_AGGREGATION_AVG_SQRT)
        return gm_fail(err, GM_ERR_RANGE, "aggregation: %d is unknown; allowed: sum, avg, avg_sqrt", (int)s->aggregation);
    if (s->type != GM_F32 && s->type != GM_BF16)
        return gm_fail(err, GM_ERR_RANGE, "type: %s cannot be trained in; allowed: auto, f32, bf16",
                       gm_dtype_name(s->type));
    if (!(s->epochs > 0) && !(s->max_macs > 0))
        return gm_fail(err, GM_ERR_RANGE, "epochs: 0 and no max_macs either; set one of them");
    if ((s->strategy == GM_STRATEGY_OFA || s->strategy == GM_STRATEGY_COMPOFA) && !(s->phase_epochs[0] > 0))
        return gm_fail(err, GM_ERR_RANGE, "phase_epochs[0]: the full net is the teacher and needs a share above 0");
    return GM_OK;
}

gm_status gm__settings_text(const gm_train_settings *s, gm_dtype type, char *text, size_t size, gm_error *err) {
    const gm_augment *a = &s->augment;
    int n = snprintf(
        text, size,
        "preset=%s\nclasses=%d\nchannels=%d\nresolution=%d\nwidth=%.17g\ntransform=%d\nsingle_resolution=%d\n"
        "kernel_fixed=%d\ndropout=%.9g\nzero_gamma=%d\ndata=%s\nvalidation=%d\ncrop_pad=%d\npad_mode=%d\nflip=%d\n"
        "cutout=%d\nmixup=%.9g\nimage_size=%d\nmean=%.9g,%.9g,%.9g,%.9g\nstd=%.9g,%.9g,%.9g,%.9g\nstrategy=%s\n"
        "choice=%s\nsampler=%s\nepochs=%.17g\nbatch=%d\noptimizer=%d\nlr=%.9g\nmomentum=%.9g\nweight_decay=%.9g\n"
        "beta1=%.9g\nbeta2=%.9g\nadam_eps=%.9g\nnesterov=%d\nschedule=%d\nwarmup=%.9g\nfinal_lr=%.9g\n"
        "label_smoothing=%.9g\nkd_temperature=%.9g\nkd_ratio=%.9g\nsubnets=%d\ndelay=%.9g\nramp=%.9g\nsort=%d\naggregation=%d\n"
        "phase_epochs=%.9g,%.9g,%.9g,%.9g,%.9g,%.9g\nphase_lr=%.9g,%.9g,%.9g,%.9g,%.9g,%.9g\nclip=%.9g\nspike=%.9g\n"
        "ema=%.9g\nmax_macs=%.17g\ntype=%s\nseed=%llu\ninit=%s\n",
        s->preset, s->model.classes, s->model.channels, s->model.resolution, s->model.width, s->model.transform,
        s->model.single_resolution, s->model.kernel_fixed, (double)s->model.dropout, s->model.zero_gamma, s->data,
        s->validation, a->crop_pad, (int)a->pad_mode, a->flip, a->cutout, (double)a->mixup, a->resolution,
        (double)a->mean[0], (double)a->mean[1], (double)a->mean[2], (double)a->mean[3], (double)a->std[0],
        (double)a->std[1], (double)a->std[2], (double)a->std[3], gm__strategy_find(s->strategy)->name, s->choice,
        s->sampler, s->epochs, s->batch, (int)s->optimizer, (double)s->lr, (double)s->momentum, (double)s->weight_decay,
        (double)s->beta1, (double)s->beta2, (double)s->adam_eps, s->nesterov, (int)s->schedule, (double)s->warmup,
        (double)s->final_lr, (double)s->label_smoothing, (double)s->kd_temperature, (double)s->kd_ratio, s->subnets,
        (double)s->delay, (double)s->ramp, (int)s->sort, (int)s->aggregation, (double)s->phase_epochs[0], (double)s->phase_epochs[1],
        (double)s->phase_epochs[2], (double)s->phase_epochs[3], (double)s->phase_epochs[4], (double)s->phase_epochs[5],
        (double)s->phase_lr[0], (double)s->phase_lr[1], (double)s->phase_lr[2], (double)s->phase_lr[3],
        (double)s->phase_lr[4], (double)s->phase_lr[5], (double)s->clip, (double)s->spike, (double)s->ema, s->max_macs,
        gm_dtype_name(type), (unsigned long long)s->seed, s->init);
    // said only when set, so that states from before these settings fit
    if (n >= 0 && (size_t)n < size && s->early_resolution > 0)
        n += snprintf(text + n, size - (size_t)n, "early=%d,%.9g\n", s->early_resolution, (double)s->early_part);
    if (n >= 0 && (size_t)n < size && s->model.norm_eps > 0)
        n += snprintf(text + n, size - (size_t)n, "norm_eps=%.9g\n", (double)s->model.norm_eps);
    if (n < 0 || (size_t)n >= size)
        return gm_fail(err, GM_ERR_RANGE, "the settings are too long to be saved: shorten the data set's path");
    return GM_OK;
}
