// SPDX-License-Identifier: Apache-2.0
// The subnets that a search measures: random ones, or all.
#include <math.h>
#include <string.h>

#include "search/search_state.h"

static bool is_new(const gm__search *q, const gm_choice *c) {
    for (int i = 0; i < q->samples; i++)
        if (memcmp(&q->sample[i], c, sizeof *c) == 0) return false;
    return true;
}

// The smallest, the largest, and random ones, no two alike. A small space may have fewer than are wanted.
static void draw(gm__search *q, int wanted) {
    enum { TRIES = 50 };
    gm_rng rng = gm_rng_keyed(q->s->seed, 2, 0, GM_RNG_SEARCH);
    for (int i = 0; i < wanted * TRIES && q->samples < wanted; i++) {
        gm_choice c = i == 0 ? gm_choice_min(q->space) : i == 1 ? gm_choice_max(q->space) : gm_choice_random(q->space, &rng);
        if (is_new(q, &c)) q->sample[q->samples++] = c;
    }
}

static bool take(void *context, const gm_choice *choice) {
    gm__search *q = context;
    q->sample[q->samples++] = *choice;
    return q->samples < GM_EXHAUSTIVE_LIMIT;
}

// Every subnet that the constraint allows.
static gm_status choose_all(gm__search *q, gm_error *err) {
    gm_status status = gm_space_enumerate(q->space, GM_EXHAUSTIVE_LIMIT, take, q, err);
    int kept = 0;
    for (int i = 0; i < q->samples && !status; i++) {
        double cost;
        status = q->problem.cost(q, &q->sample[i], &cost, err);
        if (!status && cost <= q->max_cost) q->sample[kept++] = q->sample[i];
    }
    q->samples = kept;
    return status;
}

static gm_status choose(gm__search *q, gm_error *err) {
    int wanted = q->s->exhaustive ? GM_EXHAUSTIVE_LIMIT : q->s->samples;
    q->sample = gm_alloc((size_t)wanted, sizeof *q->sample);
    q->sample_top1 = gm_alloc((size_t)wanted, sizeof *q->sample_top1);
    if (!q->sample || !q->sample_top1) return gm_fail(err, GM_ERR_MEMORY, "no memory for %d samples", wanted);
    if (q->s->exhaustive) return choose_all(q, err);
    draw(q, wanted);
    return GM_OK;
}

static gm_status measure(gm__search *q, gm_error *err) {
    bool all = q->s->exhaustive;
    int calibrate = all ? q->s->calibrate_images : q->s->sample_calibrate;
    gm_progress *progress = NULL;
    q->sampler.probe = q->sample;
    q->sampler.probes = q->samples;
    gm_status status = gm_progress_create("measure", (uint64_t)q->samples, &progress, err);
    for (int i = 0; i < q->samples && !status; i++) {
        char note[48];
        status = gm__sampler_accuracy(&q->sampler, &q->sample[i], all, calibrate, &q->sample_top1[i], err);
        snprintf(note, sizeof note, "top-1 %.1f %%", q->sample_top1[i]);
        gm_progress_update(progress, (uint64_t)i + 1, note);
    }
    gm_progress_destroy(progress);
    if (!status) status = gm__measured_save(&q->sampler.measured, err);
    return status;
}

// Some random samples once more, as a front is measured: on all validation images, with statistics from as many images. The
// first, so that a search of more samples has the same ones.
static gm_status judge(gm__search *q, gm_error *err) {
    int count = gm_min(q->s->judges, q->samples / 5);
    const gm_choice *judge = q->sample + GM__SEARCH_ENDS;
    q->out->sampling_tau = NAN;
    if (q->s->exhaustive || count < 3) return GM_OK;
    q->judged_top1 = gm_alloc((size_t)count, sizeof *q->judged_top1);
    gm_progress *progress = NULL;
    gm_status status = q->judged_top1 ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for %d samples", count);
    if (!status) status = gm_progress_create("judge", (uint64_t)count, &progress, err);
    for (int i = 0; i < count && !status; i++) {
        status = gm__sampler_accuracy(&q->sampler, &judge[i], true, q->s->calibrate_images, &q->judged_top1[i], err);
        gm_progress_update(progress, (uint64_t)i + 1, NULL);
    }
    gm_progress_destroy(progress);
    if (status) return status;
    q->judges = q->out->judged = count;
    q->out->sampling_tau = gm_kendall_tau(count, q->judged_top1, q->sample_top1 + GM__SEARCH_ENDS);
    return gm__measured_save(&q->sampler.measured, err);
}

gm_status gm__search_sample(gm__search *q, gm_error *err) {
    gm_status status = choose(q, err);
    if (!status) status = measure(q, err);
    if (!status) status = judge(q, err);
    return status;
}
