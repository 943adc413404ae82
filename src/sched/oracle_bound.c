// SPDX-License-Identifier: Apache-2.0
// An upper bound for any number of workers. Relaxation: work may be cut at will and spread over all workers, and a query run
// with subnet s costs w(s), its share of the most efficient batch that fits within the longest slack. Every real schedule
// is one of these: a batch on [t, t+l] lies between the arrival and the deadline of each of its queries, and l / size >= w(s).
// What remains is to give each query an amount of work x, of value c(x), where c is the concave hull of (w(s), accuracy): over
// all feasible amounts (a polymatroid) the greedy is optimal (Federgruen and Groenevelt, Operations Research 34, 1986): fill
// the hull's segments from the steepest on. How much work fits when each query may take at most w is what EDF gets done,
// since all queries of one segment are worth the same.
#include <gamut/sched.h>

#include <math.h>

typedef struct point {
    double ns, top1;
} point;

// The concave hull from the origin, by rising work. Returns its number of points.
static int hull_of(const gm_latency *l, double most_ns, point *hull) {
    int n = 0;
    for (int s = 0; s < l->subnets; s++) {
        double ns = INFINITY;
        for (int b = 0; b < l->batches; b++)
            if ((double)l->mean_ns[s * l->batches + b] <= most_ns) ns = fmin(ns, (double)l->mean_ns[s * l->batches + b] / l->batch[b]);
        if (isinf(ns)) continue;
        for (; n > 0; n--) {
            point last = hull[n - 1], before = n > 1 ? hull[n - 2] : (point){0};
            if (ns > last.ns && (l->top1[s] - last.top1) * (last.ns - before.ns) < (last.top1 - before.top1) * (ns - last.ns)) break;
        }
        if (n == 0 || l->top1[s] > hull[n - 1].top1) hull[n++] = (point){ns, l->top1[s]};
    }
    return n;
}

// The work that EDF gets done when every query takes `each`, of a machine `workers` times as fast. Queries are in order of
// arrival and of deadline. done: how many were served whole.
static double work_done(int workers, const int64_t *arrival, const int64_t *deadline, int n, double each, int64_t *done) {
    double now = (double)arrival[0], total = 0.0;
    *done = 0;
    for (int i = 0; i < n; i++) {
        if (now < (double)arrival[i]) now = (double)arrival[i];
        double room = ((double)deadline[i] - now) * workers;
        if (room <= 0.0) continue;
        double work = fmin(room, each);
        if (work >= each) ++*done;
        total += work;
        now += work / workers;
    }
    return total;
}

gm_status gm_oracle_bound(const gm_latency *l, int workers, const int64_t *arrival_ns, const int64_t *deadline_ns, int n,
                          gm_oracle *out, gm_error *err) {
    *out = (gm_oracle){0};
    double longest = 0.0;
    if (workers < 1 || n < 0) return gm_fail(err, GM_ERR_ARGUMENT, "oracle: %d workers, %d queries", workers, n);
    for (int i = 0; i < n; i++) {
        if (i > 0 && (arrival_ns[i] < arrival_ns[i - 1] || deadline_ns[i] < deadline_ns[i - 1]))
            return gm_fail(err, GM_ERR_ARGUMENT, "oracle: query %d arrives or is due before the one ahead of it", i);
        longest = fmax(longest, (double)(deadline_ns[i] - arrival_ns[i]));
    }
    point *hull = gm_alloc((size_t)l->subnets, sizeof *hull);
    if (hull == NULL) return gm_fail(err, GM_ERR_MEMORY, "oracle: out of memory");
    int points = hull_of(l, longest, hull);
    double before = 0.0;
    point last = {0};
    for (int i = 0; i < points && n > 0; i++) {
        int64_t done;
        double work = work_done(workers, arrival_ns, deadline_ns, n, hull[i].ns, &done);
        out->value += (work - before) * (hull[i].top1 - last.top1) / (hull[i].ns - last.ns);
        if (i == 0) out->met = done;
        before = work;
        last = hull[i];
    }
    gm_free(hull);
    return GM_OK;
}
