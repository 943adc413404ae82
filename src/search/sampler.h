// SPDX-License-Identifier: Apache-2.0
// Measures subnets for a search: accuracy after a small or full calibration, remembered; latency on noise.
#ifndef GAMUT_SEARCH_SAMPLER_H
#define GAMUT_SEARCH_SAMPLER_H

#include "search/measured.h"

// Samples take turns with several parts. Were it one, what its images are fond of would not be noise that a predictor averages
// out, but what it learns. CIFAR-10 supernet, 300 samples of 600 images: tau 0.69 with one
// part, 0.80 with sixteen.
enum { GM__PARTS_MOST = 16 };

typedef struct gm__sampler {
    const gm_search_settings *s;
    const gm_dataset *data;
    const int32_t *train, *val;
    int train_count, val_count;
    const gm_choice *probe; // choose the part; the caller's, set before the first sample
    int probes;
    int32_t *part;   // [parts][part_count] validation images of a sample: those that tell the probes apart, and some of the others
    double *weight;  // of each: the share of the accuracy on all of val that it stands for; NULL: not chosen yet
    double flattery[GM__PARTS_MOST]; // by how many points a part makes the probes look better than all of val does
    int parts, part_count;
    float *margin;   // [val_count], of one subnet
    gm_model *model; // a copy: statistics of samples come and go
    gm_walker *walker;
    gm__measured_list measured;
    int runs;        // measured, not remembered
    double saved;    // gm_now of the last save
} gm__sampler;

gm_status gm__sampler_init(gm__sampler *p, const gm_model *m, const gm_dataset *d, const int32_t *train, int train_count,
                           const int32_t *val, int val_count, const gm_search_settings *s, gm_error *err);
void gm__sampler_fini(gm__sampler *p);
// Accuracy on all validation images, or an estimate of it by the part, after calibration on so many images. GM_ERR_INTERRUPTED on
// Ctrl-C.
gm_status gm__sampler_accuracy(gm__sampler *p, const gm_choice *choice, bool all, int calibrate, double *top1, gm_error *err);
// Calibrates a subnet in full and adds the statistics to m (the same weights as the copy).
gm_status gm__sampler_calibrate(gm__sampler *p, gm_model *m, const gm_choice *choice, gm_error *err);
// Median milliseconds of `count` subnets at s->latency_batch, timed in turn.
gm_status gm__sampler_latency(gm__sampler *p, const gm_choice *choice, int count, double *ms, gm_error *err);

#endif
