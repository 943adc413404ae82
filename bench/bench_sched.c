// SPDX-License-Identifier: Apache-2.0
// Time of one scheduling decision with a full queue, and of the queue's and router's own work.
//   build/release/bench_sched [--json] [--queued N]
// Decisions: 5,000 of each policy on the paper's profile with 1 and 8 workers, each on another queue state; the time of the
// clock itself is measured in the same run and subtracted. Limit: 5 us at p99 with 10,000 queued (issue: must show).
#include "measure.h"
#include <gamut/sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DECISIONS = 5000, CHURN = 50000, RUNS = 7 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double clock_cost(void) {
    double v[1001];
    for (int i = 0; i < 1001; i++) {
        double start = seconds();
        v[i] = seconds() - start;
    }
    return measure_median(v, 1001);
}

static gm_request made_up(gm_rng *rng, uint64_t order, int64_t now, int64_t slo) {
    gm_request r = {.tag = order, .order = order, .arrival_ns = now, .deadline_ns = now + slo + (int64_t)gm_rng_below(rng, 1000000)};
    r.expiry_ns = r.deadline_ns;
    return r;
}

// The queue stays `queued` long: what a decision takes away comes back with later deadlines.
static int decisions(const char *name, const gm_latency *l, int workers, int queued, double *p50, double *p99, double *most) {
    static double took[DECISIONS];
    gm_policy *policy = NULL;
    gm_queue *queue = NULL;
    gm_arrivals arrivals;
    gm_error err;
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_TEST);
    int64_t now = 0, longest = l->ns[l->subnets * l->batches - 1], free_ns[64];
    // Full batches of the fastest subnet just keep up with the deadlines: heads have little slack, some of them none.
    int64_t pace = l->ns[l->batches - 1] / workers, slo = (int64_t)queued / l->largest * pace + longest / 2;
    uint64_t order = 0;
    if (gm_policy_create(name, l, NULL, &policy, &err) != GM_OK || gm_queue_create(queued + l->largest, &queue, &err) != GM_OK) {
        fprintf(stderr, "bench_sched: %s\n", err.text);
        gm_policy_destroy(policy);
        return 1;
    }
    gm_arrivals_init(&arrivals, longest);
    double cost = clock_cost();
    for (int i = 0; i < DECISIONS; i++) {
        while (gm_queue_length(queue) < queued) {
            gm_request r = made_up(&rng, ++order, now, slo);
            gm_queue_push(queue, &r);
            gm_arrivals_add(&arrivals, now, r.deadline_ns);
        }
        for (int w = 0; w + 1 < workers; w++) free_ns[w] = now + (int64_t)gm_rng_below(&rng, (uint32_t)longest);
        gm_sched_view v = {.now_ns = now, .waiting = queued, .workers = workers, .idle = 1, .free_ns = free_ns};
        double start = seconds();
        v.front = gm_queue_front(queue, &v.shown);
        v.arrivals = gm_arrivals_read(&arrivals, now);
        gm_decision d = gm_policy_decide(policy, l, &v);
        took[i] = seconds() - start - cost;
        for (int q = gm_max(d.drop + (d.subnet >= 0 ? d.batch : 0), 1); q > 0; q--) gm_queue_pop(queue, NULL);
        now += (int64_t)gm_rng_below(&rng, (uint32_t)(2 * pace));
    }
    qsort(took, DECISIONS, sizeof *took, compare);
    *p50 = took[DECISIONS / 2] * 1e6;
    *p99 = took[DECISIONS / 100 * 99] * 1e6;
    *most = took[DECISIONS - 1] * 1e6;
    gm_policy_destroy(policy);
    gm_queue_destroy(queue);
    return 0;
}

// One push and one pop, with so many waiting.
static double churn(int queued) {
    gm_queue *queue = NULL;
    double v[RUNS];
    gm_rng rng = gm_rng_keyed(2, 0, 0, GM_RNG_TEST);
    if (gm_queue_create(queued + 1, &queue, NULL) != GM_OK) return 0.0;
    uint64_t order = 0;
    while (gm_queue_length(queue) < queued) {
        order++;
        gm_request r = made_up(&rng, order, (int64_t)order * 1000, 1000000);
        gm_queue_push(queue, &r);
    }
    for (int run = 0; run < RUNS; run++) {
        double start = seconds();
        for (int i = 0; i < CHURN; i++) {
            order++;
            gm_request r = made_up(&rng, order, (int64_t)order * 1000, 1000000);
            gm_queue_push(queue, &r);
            gm_queue_pop(queue, NULL);
        }
        v[run] = (seconds() - start) / CHURN * 1e6;
    }
    gm_queue_destroy(queue);
    return measure_median(v, RUNS);
}

static void row(bool json, bool *first, const char *name, double ours, double limit, double spread) {
    if (json)
        printf("%s{\"name\":\"%s\",\"ours\":%.3f,\"peer\":%.3f,\"ratio\":%.3f,\"unit\":\"us\",\"spread\":%.3f}", *first ? "[" : ",",
               name, ours, limit, limit > 0 ? ours / limit : 0.0, spread);
    else
        printf("%-44s %9.3f us   limit %5.1f us   p50 or slowest %9.3f us\n", name, ours, limit, spread);
    *first = false;
}

static const char usage[] =
    "usage: bench_sched [--json] [--queued N]\n"
    "Time of one decision of every policy with N requests queued, for 1 and 8 workers.\n";

int main(int argc, char **argv) {
    if (measure_help(argc, argv, usage)) return 0;
    static const char *const names[] = {"gamut", "slackfit", "maxbatch", "maxacc", "infaas", "fixed:max"};
    bool json = false, first = true;
    int queued = 10000, status = 0;
    gm_profile p;
    gm_latency *l = NULL;
    gm_error err;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--queued") == 0 && i + 1 < argc)
            queued = gm_max(atoi(argv[++i]), 1);
        else
            return fputs(usage, stderr), 2;
    }
    if (gm_profile_paper(1.0, false, &p, &err) != GM_OK || gm_latency_create(&p, NULL, &l, &err) != GM_OK)
        return fprintf(stderr, "bench_sched: %s\n", err.text), 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && status == 0; i++) {
        for (int workers = 1; workers <= 8; workers *= 8) {
            char title[96];
            double p50, p99, most;
            status = decisions(names[i], l, workers, queued, &p50, &p99, &most);
            if (status != 0) break;
            snprintf(title, sizeof title, "decision p99, %s, %d workers, %d queued", names[i], workers, queued);
            row(json, &first, title, p99, 5.0, p50);
        }
    }
    for (int n = 100; n <= 100000 && status == 0; n *= 10) {
        char title[64];
        snprintf(title, sizeof title, "push and pop, %d queued", n);
        row(json, &first, title, churn(n), 0.0, 0.0);
    }
    if (json) printf("]\n");
    gm_latency_destroy(l);
    gm_profile_fini(&p);
    return status;
}
