// SPDX-License-Identifier: Apache-2.0
#include "search/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search/runner.h"
#include "search/strata.h"

enum { SAVE_SECONDS = 10, TIMED_ROUNDS = 11, PROBES = 8 };

// Everything but the weights that a measured accuracy depends on.
static uint64_t settings_hash(const gm__sampler *p) {
    const gm_search_settings *s = p->s;
    const uint64_t numbers[] = {(uint64_t)s->type,          (uint64_t)s->batch,
                                s->seed,                    (uint64_t)p->train_count,
                                (uint64_t)p->val_count,     (uint64_t)p->data->images,
                                (uint64_t)s->sample_images, (uint64_t)s->sample_calibrate,
                                (uint64_t)p->parts};
    uint64_t h = gm_hash64(numbers, sizeof numbers, 0);
    h = gm_hash64(&s->augment, sizeof s->augment, h); // numbers of four bytes: there is no padding
    return gm_hash64(p->data->name, strlen(p->data->name), h);
}

static gm_status copy_model(const gm_model *m, gm_model **out, gm_error *err) {
    gm_status status = gm_model_create(m->preset, &m->settings, out, err);
    if (status) return status;
    memcpy((*out)->params, m->params, m->graph->floats * sizeof *m->params);
    memcpy((*out)->input_mean, m->input_mean, sizeof m->input_mean);
    memcpy((*out)->input_std, m->input_std, sizeof m->input_std);
    return GM_OK;
}

gm_status gm__sampler_init(gm__sampler *p, const gm_model *m, const gm_dataset *d, const int32_t *train, int train_count,
                           const int32_t *val, int val_count, const gm_search_settings *s, gm_error *err) {
    *p = (gm__sampler){.s = s, .data = d, .train = train, .val = val, .train_count = train_count, .val_count = val_count,
                       .part_count = gm_min(s->sample_images, val_count)};
    p->parts = p->part_count < val_count ? GM__PARTS_MOST : 1;
    if (train_count < 1 || val_count < 1)
        return gm_fail(err, GM_ERR_RANGE, "%s: a search needs training and validation images (%d and %d)", d->name, train_count,
                       val_count);
    gm_status status = GM_OK;
    p->part = gm_alloc((size_t)(p->parts * p->part_count), sizeof *p->part);
    p->margin = gm_alloc((size_t)val_count, sizeof *p->margin);
    if (!p->part || !p->margin) status = gm_fail(err, GM_ERR_MEMORY, "no memory for %d validation images", val_count);
    if (!status) status = copy_model(m, &p->model, err);
    if (!status)
        status = gm_walker_create(p->model->graph, p->model->norm_offset, s->type, s->batch, false, &p->walker, err);
    if (!status)
        status = gm__measured_open(&p->measured, s->cache, &p->model->graph->space, gm_model_hash(m), settings_hash(p), err);
    p->saved = gm_now();
    if (status) gm__sampler_fini(p);
    return status;
}

void gm__sampler_fini(gm__sampler *p) {
    gm__measured_fini(&p->measured);
    gm_walker_destroy(p->walker);
    gm_model_destroy(p->model);
    gm_free(p->part);
    gm_free(p->weight);
    gm_free(p->margin);
    *p = (gm__sampler){0};
}

// With the walker of the copy: its graph is that of m.
static gm_status calibrate(gm__sampler *p, gm_model *m, const gm_choice *choice, int images, gm_error *err) {
    const gm_calibrate_settings c = {.images = images, .batch = p->s->batch, .ranges = m != p->model, .seed = p->s->seed};
    return gm_calibrate(m, p->walker, p->data, p->train, p->train_count, &p->s->augment, &c, choice, err);
}

gm_status gm__sampler_calibrate(gm__sampler *p, gm_model *m, const gm_choice *choice, gm_error *err) {
    return calibrate(p, m, choice, p->s->calibrate_images, err);
}

static gm_status interrupted(gm__sampler *p, gm_error *err) {
    gm_status status = gm__measured_save(&p->measured, err);
    return status ? status
                  : gm_fail(err, GM_ERR_INTERRUPTED, "interrupted: %d subnets are measured%s", p->measured.rows,
                            p->measured.path ? " and kept; repeat the command to go on" : "");
}

// The margins of a subnet in `count` images, in p->margin; its statistics are not kept.
static gm_status run(gm__sampler *p, const gm_choice *choice, const int32_t *index, int count, int calibrated_on, double *top1,
                     gm_error *err) {
    gm_eval_result result = {0};
    if (gm_interrupted()) return interrupted(p, err);
    gm_status status = calibrate(p, p->model, choice, calibrated_on, err);
    if (!status) status = gm_evaluate_each(p->model, p->walker, p->data, index, count, choice, p->margin, NULL, &result, err);
    gm_model_norms_clear(p->model);
    *top1 = result.top1;
    return status;
}

// Percent, of a part, of a subnet with p->margin or of a probe: right in image k of val where right[k] is positive.
static double estimate(const gm__sampler *p, int part, const float *right) {
    const size_t first = (size_t)(part * p->part_count);
    double sum = 0;
    for (int i = 0; i < p->part_count; i++) sum += right[i] > 0 ? p->weight[first + (size_t)i] : 0;
    return 100 * sum;
}

// What the probes look better by in a part than in all images, on average: all subnets do, nearly.
static void measure_flattery(gm__sampler *p, const float *margins, const double *top1, int probes, float *room) {
    for (int v = 0; v < p->parts; v++)
        for (int i = 0; i < probes; i++) {
            for (int k = 0; k < p->part_count; k++)
                room[k] = margins[(size_t)i * (size_t)p->val_count + (size_t)p->part[v * p->part_count + k]];
            p->flattery[v] += (estimate(p, v, room) - top1[i]) / probes;
        }
}

// The probes see all images, once; their margins say which of them the samples get. With few images, all of them.
static gm_status choose_parts(gm__sampler *p, gm_error *err) {
    const int probes = p->parts == 1 ? 0 : gm_min(PROBES, p->probes), images = p->val_count, n = p->part_count;
    float *mean = gm_alloc((size_t)images, sizeof *mean), *deviation = gm_alloc((size_t)images, sizeof *deviation);
    float *margins = gm_alloc((size_t)(probes * images), sizeof *margins);
    double *weight = gm_alloc((size_t)(p->parts * n), sizeof *weight), top1[PROBES];
    gm_status status = mean && deviation && weight && margins ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for %d validation images", images);
    if (probes)
        gm_log(GM_LOG_INFO, "%d of %d validation images are chosen by what %d subnets make of them", n, images, probes);
    for (int i = 0; i < probes && !status; i++) {
        status = run(p, &p->probe[i], p->val, images, p->s->sample_calibrate, &top1[i], err);
        memcpy(margins + (size_t)i * (size_t)images, p->margin, (size_t)images * sizeof *margins);
        for (int k = 0; k < images && !status; k++) { // Welford's way to both moments
            const float step = p->margin[k] - mean[k];
            mean[k] += step / (float)(i + 1);
            deviation[k] += step * (p->margin[k] - mean[k]);
        }
    }
    for (int k = 0; k < images && probes > 1 && !status; k++) deviation[k] = sqrtf(deviation[k] / (float)(probes - 1));
    for (int v = 0; v < p->parts && !status; v++)
        status = gm__strata_choose(mean, deviation, images, n, p->s->seed + (uint64_t)v, p->part + v * n, weight + v * n, err);
    if (!status) {
        p->weight = weight;
        measure_flattery(p, margins, top1, probes, p->margin);
        for (int i = 0; i < p->parts * n; i++) p->part[i] = p->val[p->part[i]];
    }
    gm_free(mean);
    gm_free(deviation);
    gm_free(margins);
    if (status) gm_free(weight);
    return status;
}

gm_status gm__sampler_accuracy(gm__sampler *p, const gm_choice *choice, bool all, int calibrated_on, double *top1, gm_error *err) {
    gm_choice canonical = gm_choice_canonical(&p->model->graph->space, *choice);
    int images = all ? p->val_count : p->part_count;
    const gm__measured *known = gm__measured_find(&p->measured, &canonical, images, calibrated_on);
    if (known) {
        *top1 = known->top1;
        return GM_OK;
    }
    const int part = (int)(gm_choice_id(&p->model->graph->space, &canonical) % (uint64_t)p->parts);
    gm_status status = all || p->weight ? GM_OK : choose_parts(p, err);
    if (!status) status = run(p, &canonical, all ? p->val : p->part + part * images, images, calibrated_on, top1, err);
    if (status) return status;
    if (!all) *top1 = fmax(0, fmin(estimate(p, part, p->margin) - p->flattery[part], 100));
    p->runs++;
    const gm__measured m = {canonical, images, calibrated_on, *top1};
    status = gm__measured_add(&p->measured, &m, err);
    if (!status && gm_now() - p->saved > SAVE_SECONDS) {
        status = gm__measured_save(&p->measured, err);
        p->saved = gm_now();
    }
    return status;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static gm_status time_all(gm__sampler *p, gm__runner *r, const int *subnet, int count, double *ms, gm_error *err) {
    double *seconds = gm_alloc((size_t)count, TIMED_ROUNDS * sizeof *seconds);
    int32_t *order = gm_alloc((size_t)count, sizeof *order);
    gm_progress *progress = NULL;
    gm_status status = seconds && order ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to time %d subnets", count);
    if (!status) status = gm_progress_create("latency", (uint64_t)TIMED_ROUNDS, &progress, err);
    for (int round = 0; round < TIMED_ROUNDS && !status; round++) {
        gm_shuffle(order, count, p->s->seed, round);
        for (int i = 0; i < count && !status; i++) {
            if (gm_interrupted()) status = gm_fail(err, GM_ERR_INTERRUPTED, "interrupted while latency was measured");
            else seconds[order[i] * TIMED_ROUNDS + round] = gm__runner_time(r, subnet[order[i]], p->s->latency_batch);
        }
        gm_progress_update(progress, (uint64_t)round + 1, NULL);
    }
    gm_progress_destroy(progress);
    for (int i = 0; i < count && !status; i++) {
        qsort(seconds + (size_t)i * TIMED_ROUNDS, TIMED_ROUNDS, sizeof *seconds, ascending);
        ms[i] = 1e3 * seconds[(size_t)i * TIMED_ROUNDS + TIMED_ROUNDS / 2];
        if (!(ms[i] > 0)) ms[i] = 1e-6;
    }
    gm_free(seconds);
    gm_free(order);
    return status;
}

// How long a subnet runs does not depend on its statistics: the timed ones have mean 0 and variance 1.
gm_status gm__sampler_latency(gm__sampler *p, const gm_choice *choice, int count, double *ms, gm_error *err) {
    gm__runner r = {0};
    gm_norm_entry *entry;
    int *subnet = gm_alloc((size_t)gm_max(count, 1), sizeof *subnet);
    gm_status status = subnet ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to time %d subnets", count);
    for (int i = 0; i < count && !status; i++) status = gm_model_norms_add(p->model, &choice[i], &entry, err);
    if (!status) status = gm__runner_init(&r, p->model, p->s->type, p->s->latency_batch, NULL, err);
    gm_model_norms_clear(p->model);
    for (int i = 0; i < count && !status; i++) status = gm__runner_find(&r, &choice[i], &subnet[i], err);
    if (!status) status = time_all(p, &r, subnet, count, ms, err);
    gm__runner_fini(&r);
    gm_free(subnet);
    return status;
}
