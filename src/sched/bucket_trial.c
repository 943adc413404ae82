// SPDX-License-Identifier: Apache-2.0
// A policy on made-up load, in virtual time: one worker, gamma gaps, one SLO for all. With deadlines that agree with arrivals
// the queue is a range of the arrivals, and the run is a few lines.
#include "sched/bucket_trial.h"

#include <string.h>

enum { QUERIES = 4000 };
static const double loads[] = {0.5, 0.7, 0.85};  // of the smallest subnet's capacity
static const double slos[] = {1.2, 2.0};         // times the largest subnet's longest run
static const double variation = 4.0;             // squared, of the gaps

static double run_once(const gm_policy *p, const gm_latency *l, const gm_waiting *w, const int64_t *at) {
    double value = 0.0;
    int64_t now = 0;
    for (int head = 0, tail = 0; head < QUERIES;) {
        if (now < at[head]) now = at[head];
        while (tail < QUERIES && at[tail] <= now) tail++;
        gm_sched_view v = {.now_ns = now, .waiting = tail - head, .shown = gm_min(tail - head, GM_QUEUE_FRONT), .front = w + head,
                           .workers = 1, .idle = 1};
        gm_decision d = gm_policy_decide(p, l, &v);
        head += d.drop;
        if (d.subnet < 0) continue;
        now += gm_latency_ns(l, d.subnet, d.batch);
        for (int end = head + d.batch; head < end; head++)
            if (w[head].deadline_ns >= now) value += l->top1[d.subnet];
    }
    return value / QUERIES;
}

gm_status gm__bucket_trial(const gm_policy *p, const gm_latency *l, double *value, gm_error *err) {
    enum { LOADS = sizeof loads / sizeof loads[0], SLOS = sizeof slos / sizeof slos[0] };
    int64_t *at = gm_alloc(QUERIES, sizeof *at);
    gm_waiting *w = gm_alloc(QUERIES, sizeof *w);
    gm_status status = GM_OK;
    double gap = (double)l->ns[l->batches - 1] / l->largest, longest = (double)l->ns[l->subnets * l->batches - 1];
    *value = 0.0;
    if (at == NULL || w == NULL) status = gm_fail(err, GM_ERR_MEMORY, "slackfit: no memory for its trial");
    for (int i = 0; status == GM_OK && i < LOADS * SLOS; i++) {
        double now = 0.0, mean = gap / loads[i / SLOS];
        gm_rng rng = gm_rng_keyed(1, (uint64_t)(i / SLOS), 0, GM_RNG_SEARCH);
        for (int q = 0; q < QUERIES; q++) {
            now += mean * variation * gm_rng_gamma(&rng, 1.0 / variation);
            at[q] = (int64_t)now;
            w[q] = (gm_waiting){.deadline_ns = (int64_t)(now + slos[i % SLOS] * longest), .order = (uint64_t)q, .ticket = q};
        }
        *value += run_once(p, l, w, at) / (LOADS * SLOS);
    }
    gm_free(at);
    gm_free(w);
    return status;
}
