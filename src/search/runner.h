// SPDX-License-Identifier: Apache-2.0
// A plan with the buffers to time it and to count its right answers.
#ifndef GAMUT_SEARCH_RUNNER_H
#define GAMUT_SEARCH_RUNNER_H

#include <gamut/search.h>

typedef struct gm__runner {
    gm_packed *packed;
    gm_plan *plan;
    const gm_clock *clock;
    gm_dtype input_type; // of the plan's input
    int most;            // images a run
    void *noise;         // `most` images of the largest size, as rows with zero tails
    size_t noise_bytes;
    gm_batch batch;      // images on their way into the plan
} gm__runner;

gm_status gm__runner_init(gm__runner *r, const gm_model *m, gm_dtype type, int most_images, const gm_clock *clock, gm_error *err);
void gm__runner_fini(gm__runner *r);
// The plan's number of a subnet; GM_ERR_STATE says how to calibrate it.
gm_status gm__runner_find(const gm__runner *r, const gm_choice *choice, int *subnet, gm_error *err);
// Seconds of one run on noise, after one that warms the caches.
double gm__runner_time(gm__runner *r, int subnet, int images);
// Percent of images (index NULL: all of d) whose largest logit is that of their label.
gm_status gm__runner_accuracy(gm__runner *r, int subnet, const gm_model *m, const gm_dataset *d, const int32_t *index, int count,
                              double *top1, gm_error *err);

#endif
