// SPDX-License-Identifier: Apache-2.0
// Profiling: accuracy through the plan, and latency in interleaved rounds, so that a machine that becomes slower or faster
// meanwhile does so for all subnets and batches alike.
#include <gamut/search.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search/runner.h"

enum { LEAST_ROUNDS = 5, ACCURACY_BATCH = 64 };

gm_profile_settings gm_profile_settings_default(void) {
    return (gm_profile_settings){.batches = 5, .batch = {1, 2, 4, 8, 16}, .type = GM_F32, .rounds = 40, .most_seconds = 120,
                                 .seed = 1};
}

static gm_status check_settings(const gm_profile_settings *s, int choices, gm_error *err) {
    if (choices < 1 || choices > GM_PROFILE_SUBNETS)
        return gm_fail(err, GM_ERR_RANGE, "a profile of %d subnets: 1 to %d are possible", choices, GM_PROFILE_SUBNETS);
    if (s->batches < 1 || s->batches > GM_PROFILE_BATCHES || s->rounds < 1)
        return gm_fail(err, GM_ERR_RANGE, "a profile of %d batch sizes (1 to %d), %d rounds", s->batches, GM_PROFILE_BATCHES,
                       s->rounds);
    for (int b = 0; b < s->batches; b++)
        if (s->batch[b] < 1 || s->batch[b] > 4096 || (b == 0 ? s->batch[0] != 1 : s->batch[b] <= s->batch[b - 1]))
            return gm_fail(err, GM_ERR_RANGE, "batch sizes must start with 1, ascend, and be at most 4096");
    return GM_OK;
}

static void describe(const gm_model *m, const gm_dataset *d, const gm_profile_settings *s, gm_profile *p) {
    snprintf(p->preset, sizeof p->preset, "%s", m->preset);
    snprintf(p->data, sizeof p->data, "%s", d->name);
    snprintf(p->cpu_model, sizeof p->cpu_model, "%s", gm_cpu_model());
    snprintf(p->level, sizeof p->level, "%s", gm_cpu_level_name(gm_cpu_active()));
    p->type = s->type;
    p->threads = gm_threads();
    p->batches = s->batches;
    memcpy(p->batch, s->batch, sizeof p->batch);
}

static gm_status describe_subnet(const gm_model *m, const gm_choice *choice, gm_profile_subnet *out, gm_error *err) {
    gm_cost cost;
    out->id = gm_choice_id(&m->graph->space, choice);
    gm_status status = gm_choice_print(&m->graph->space, choice, out->choice, sizeof out->choice, err);
    if (!status) status = gm_count(m->graph, choice, &cost, err);
    if (!status) out->macs = cost.macs;
    return status;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// Of sorted numbers, with linear interpolation between neighbours.
static double quantile(const double *sorted, int n, double q) {
    double at = q * (n - 1);
    int low = (int)floor(at), high = gm_min(low + 1, n - 1);
    return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

// seconds: [cells][rounds]
static void summarise(gm_profile *p, double *seconds, int stride, int rounds) {
    for (int i = 0; i < p->subnets; i++)
        for (int b = 0; b < p->batches; b++) {
            double *cell = seconds + (size_t)(i * p->batches + b) * (size_t)stride;
            qsort(cell, (size_t)rounds, sizeof *cell, ascending);
            int64_t p50 = llround(1e9 * quantile(cell, rounds, 0.5)), p99 = llround(1e9 * quantile(cell, rounds, 0.99));
            p->subnet[i].p50_ns[b] = p50 < 1 ? 1 : p50; // a clock may be coarser than a tiny network
            p->subnet[i].p99_ns[b] = p99 < 1 ? 1 : p99;
        }
}

static gm_status measure_latency(gm__runner *r, const int *subnet, const gm_profile_settings *s, gm_profile *p, gm_error *err) {
    int cells = p->subnets * p->batches, rounds = s->rounds, done = 0;
    double *seconds = gm_alloc((size_t)cells, (size_t)s->rounds * sizeof *seconds);
    int32_t *order = gm_alloc((size_t)cells, sizeof *order);
    gm_progress *progress = NULL;
    gm_status status = seconds && order ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for a profile of %d subnets", p->subnets);
    if (!status) status = gm_progress_create("latency", (uint64_t)rounds, &progress, err);
    double start = gm_now();
    for (; done < rounds && !status; done++) {
        gm_shuffle(order, cells, s->seed, done);
        for (int i = 0; i < cells && !status; i++) {
            int cell = order[i];
            if (gm_interrupted()) status = gm_fail(err, GM_ERR_INTERRUPTED, "interrupted while latency was measured");
            else seconds[(size_t)cell * (size_t)s->rounds + (size_t)done] =
                     gm__runner_time(r, subnet[cell / p->batches], p->batch[cell % p->batches]);
        }
        double each = (gm_now() - start) / (done + 1);
        int possible = each > 0 ? (int)fmin(s->rounds, s->most_seconds / each) : s->rounds;
        rounds = gm_min(s->rounds, gm_max(gm_max(possible, LEAST_ROUNDS), done + 1));
        gm_progress_update(progress, (uint64_t)(done + 1), NULL);
    }
    gm_progress_destroy(progress);
    if (!status) summarise(p, seconds, s->rounds, done);
    gm_free(seconds);
    gm_free(order);
    return status;
}

static gm_status measure_accuracy(gm__runner *r, const int *subnet, const gm_model *m, const gm_dataset *d,
                                  const int32_t *index, int count, gm_profile *p, gm_error *err) {
    gm_progress *progress = NULL;
    gm_status status = gm_progress_create("accuracy", (uint64_t)p->subnets, &progress, err);
    for (int i = 0; i < p->subnets && !status; i++) {
        status = gm__runner_accuracy(r, subnet[i], m, d, index, count, &p->subnet[i].top1, err);
        gm_progress_update(progress, (uint64_t)(i + 1), NULL);
    }
    gm_progress_destroy(progress);
    return status;
}

gm_status gm_profile_measure(const gm_model *m, const gm_dataset *d, const int32_t *index, int count, const gm_choice *choice,
                             int choices, const gm_profile_settings *s, gm_profile *out, gm_error *err) {
    *out = (gm_profile){0};
    gm__runner r = {0};
    gm_status status = check_settings(s, choices, err);
    if (status) return status;
    int *subnet = gm_alloc((size_t)choices, sizeof *subnet), largest = gm_max(s->batch[s->batches - 1], ACCURACY_BATCH);
    out->subnet = gm_alloc((size_t)choices, sizeof *out->subnet);
    if (!subnet || !out->subnet) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory for a profile of %d subnets", choices);
        goto done;
    }
    out->subnets = choices;
    describe(m, d, s, out);
    if ((status = gm__runner_init(&r, m, s->type, largest, s->clock, err)) != GM_OK) goto done;
    for (int i = 0; i < choices && !status; i++) {
        status = gm__runner_find(&r, &choice[i], &subnet[i], err);
        if (!status) status = describe_subnet(m, &choice[i], &out->subnet[i], err);
    }
    if (!status) status = measure_accuracy(&r, subnet, m, d, index, count, out, err);
    if (!status) status = measure_latency(&r, subnet, s, out, err);
done:
    gm__runner_fini(&r);
    gm_free(subnet);
    if (status) gm_profile_fini(out);
    return status;
}
