// SPDX-License-Identifier: Apache-2.0
// SlackFit (SuperServe, NSDI 2025, section 4.2) with the edge rules of specs superserve 3. Offline: evenly spaced latency
// buckets, each keeps the choice with the largest batch. Online: the bucket whose time is closest to the slack from below.
#include "sched/bucket_trial.h"
#include "sched/policy.h"

#include <math.h>

// Ranges are (lower, upper], the first with its lower edge. Ties on the batch: the higher accuracy, then the lower time.
static void fill(gm_policy *p, const gm_latency *l, int buckets) {
    int64_t low = l->ns[0], width = l->ns[l->subnets * l->batches - 1] - low;
    p->buckets = buckets;
    p->filled = 0;
    for (int i = 0; i < buckets; i++) {
        int64_t lower = low + (int64_t)floor((double)width * i / buckets);
        int64_t upper = i == buckets - 1 ? low + width : low + (int64_t)floor((double)width * (i + 1) / buckets);
        gm__bucket best = {0};
        for (int n = 0; n < l->subnets; n++) {
            for (int b = 0; b < l->batches; b++) {
                int64_t ns = l->ns[n * l->batches + b];
                if (ns > upper || (ns <= lower && !(i == 0 && ns == low))) continue;
                bool better = l->batch[b] > best.batch ||
                              (l->batch[b] == best.batch && (l->top1[n] > l->top1[best.subnet] ||
                                                             (l->top1[n] >= l->top1[best.subnet] && ns < best.ns)));
                if (better) best = (gm__bucket){ns, n, l->batch[b]};
            }
        }
        if (best.batch > 0) p->bucket[p->filled++] = best;
    }
}

static gm_decision decide(const gm_policy *p, const gm_latency *l, const gm_sched_view *v, int from) {
    int64_t slack = gm__slack(v, from);
    int low = 0, high = p->filled;
    while (low < high) { // the last bucket whose choice fits; empty ones resolve downward
        int middle = (low + high) / 2;
        if (p->bucket[middle].ns <= slack)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0) return gm__settle(l, v, from, p->bucket[low - 1].subnet, p->bucket[low - 1].batch, true);
    // Even the first bucket's choice takes too long: as much of its range as fits.
    int column = gm_max(gm__largest_batch(l, 0, slack), 0);
    return gm__settle(l, v, from, 0, l->batch[column], true);
}

// The number of buckets is given nowhere in the paper, and matters (specs 3.1, lessons 1 to 3): it is chosen by trying
// powers of two on made-up load. What loses deadlines is out; among the others the accuracy decides, then the smaller number.
static gm_status prepare(gm_policy *p, const gm_latency *l, gm_error *err) {
    static const int candidates[] = {1, 2, 4, 8, 16, 32, 64, 128};
    enum { CANDIDATES = sizeof candidates / sizeof candidates[0] };
    if (p->settings.buckets < 0 || p->settings.buckets > GM__BUCKETS_MOST)
        return gm_fail(err, GM_ERR_RANGE, "slackfit: %d buckets; give 0 (chosen automatically) to %d", p->settings.buckets,
                       GM__BUCKETS_MOST);
    if (p->settings.buckets > 0) {
        fill(p, l, p->settings.buckets);
        return GM_OK;
    }
    double best = -INFINITY;
    int chosen = candidates[0];
    for (int i = 0; i < CANDIDATES; i++) {
        double value;
        fill(p, l, candidates[i]);
        gm_status status = gm__bucket_trial(p, l, &value, err);
        if (status != GM_OK) return status;
        if (value > best + 1e-9) {
            best = value;
            chosen = candidates[i];
        }
    }
    fill(p, l, chosen);
    return GM_OK;
}

static void refresh(gm_policy *p, const gm_latency *l) {
    fill(p, l, p->buckets);
}

const gm__policy_kind gm__policy_slackfit = {
    .name = "slackfit", .prepare = prepare, .refresh = refresh, .decide = decide};
