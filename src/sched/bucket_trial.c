// SPDX-License-Identifier: Apache-2.0
// A policy on made-up load, in virtual time: gamma gaps, one SLO for all. With deadlines that agree with arrivals the queue is
// a range of the arrivals, and the run is a few lines.
#include "sched/bucket_trial.h"
#include "sched/policy.h"

#include <math.h>

enum { QUERIES = 24000, WORKERS = 64 };
static const double loads[] = {0.5, 0.8};       // of the smallest subnet's capacity; 0.8 is SuperServe's on its largest trace
static const double variations[] = {2.0, 8.0};  // squared, of the gaps
static const double slo = 1.2;                  // times the largest subnet's longest run
static const double wanted = 0.999;             // attainment
static const double penalty = 500.0;            // accuracy points that missing all of it would cost

typedef struct trial { // of one load
    double accuracy, missing; // of those met; of the attainment wanted
} trial;

static trial run_once(const gm_policy *p, const gm_latency *l, int workers, const gm_waiting *w, const int64_t *at) {
    double value = 0.0;
    int64_t free_ns[WORKERS] = {0};
    int met = 0;
    for (int head = 0, tail = 0; head < QUERIES;) {
        int next = 0;
        for (int i = 1; i < workers; i++)
            if (free_ns[i] < free_ns[next]) next = i;
        int64_t now = free_ns[next] > at[head] ? free_ns[next] : at[head];
        while (tail < QUERIES && at[tail] <= now) tail++;
        gm_sched_view v = {.now_ns = now, .waiting = tail - head, .shown = gm_min(tail - head, GM_QUEUE_FRONT), .front = w + head,
                           .workers = 1, .idle = 1};
        gm_decision d = gm_policy_decide(p, l, &v);
        head += d.drop;
        if (d.subnet < 0) continue;
        free_ns[next] = now + gm_latency_ns(l, d.subnet, d.batch);
        for (int end = head + d.batch; head < end; head++) {
            if (w[head].deadline_ns < free_ns[next]) continue;
            value += l->top1[d.subnet];
            met++;
        }
    }
    return (trial){met > 0 ? value / met : 0.0, fmax(wanted - (double)met / QUERIES, 0.0)};
}

gm_status gm__bucket_trial(const gm_policy *p, const gm_latency *l, double *value, gm_error *err) {
    enum { LOADS = sizeof loads / sizeof loads[0], CASES = LOADS * (int)(sizeof variations / sizeof variations[0]) };
    int workers = gm_max(gm_min(p->settings.workers, WORKERS), 1);
    int64_t *at = gm_alloc(QUERIES, sizeof *at);
    gm_waiting *w = gm_alloc(QUERIES, sizeof *w);
    gm_status status = GM_OK;
    double gap = (double)l->ns[l->batches - 1] / l->largest, longest = (double)l->ns[l->subnets * l->batches - 1];
    double accuracy = 0.0, missing = 0.0;
    if (at == NULL || w == NULL) status = gm_fail(err, GM_ERR_MEMORY, "slackfit: no memory for its trial");
    for (int i = 0; status == GM_OK && i < CASES; i++) {
        double now = 0.0, variation = variations[i / LOADS], mean = gap / loads[i % LOADS] / workers;
        gm_rng rng = gm_rng_keyed(1, (uint64_t)i, 0, GM_RNG_SEARCH);
        for (int q = 0; q < QUERIES; q++) {
            now += mean * variation * gm_rng_gamma(&rng, 1.0 / variation);
            at[q] = (int64_t)now;
            w[q] = (gm_waiting){.deadline_ns = (int64_t)(now + slo * longest), .order = (uint64_t)q, .ticket = q};
        }
        trial t = run_once(p, l, workers, w, at);
        accuracy += t.accuracy / CASES;
        missing = fmax(missing, t.missing); // a number of buckets must hold in all of them
    }
    *value = accuracy - penalty * missing;
    gm_free(at);
    gm_free(w);
    return status;
}
