// SPDX-License-Identifier: Apache-2.0
// SuperServe profiles latencies once and then trusts them (specs superserve 7.1). Here each observed run moves an estimate of
// observed over planned time: quickly up, slowly down, by a bounded step, so that it settles near the slow end of what is
// seen, and one hiccup moves it little. Cells that are seen seldom lean on the mean over all.
#include "serve/router_drift.h"

#include <math.h>
#include <string.h>

static const double up = 0.25, down = 0.01;      // gains
static const double most_step = 0.3;             // of the estimate
static const double least_ratio = 0.25, most_ratio = 32.0;
static const double lean = 16.0;                 // observations that the overall estimate counts for
static const double worth = 0.02;                // change that is worth a refresh
enum { REFRESH_EVERY = 16 };                     // observations, at most that often

gm_status gm__drift_init(gm__drift *d, const gm_latency *l, gm_error *err) {
    *d = (gm__drift){.cells = l->subnets * l->batches, .all = 1.0};
    size_t n = (size_t)d->cells;
    d->planned = gm_alloc(n, sizeof *d->planned);
    d->mean = gm_alloc(n, sizeof *d->mean);
    d->ratio = gm_alloc(n, sizeof *d->ratio);
    d->applied = gm_alloc(n, sizeof *d->applied);
    d->seen = gm_alloc(n, sizeof *d->seen);
    if (!d->planned || !d->mean || !d->ratio || !d->applied || !d->seen) {
        gm__drift_fini(d);
        return gm_fail(err, GM_ERR_MEMORY, "router: no memory for the latencies of %d subnets", l->subnets);
    }
    memcpy(d->planned, l->ns, n * sizeof *d->planned);
    memcpy(d->mean, l->mean_ns, n * sizeof *d->mean);
    for (int i = 0; i < d->cells; i++) d->ratio[i] = d->applied[i] = 1.0;
    return GM_OK;
}

void gm__drift_fini(gm__drift *d) {
    gm_free(d->planned);
    gm_free(d->mean);
    gm_free(d->ratio);
    gm_free(d->applied);
    gm_free(d->seen);
    *d = (gm__drift){0};
}

static double step(double estimate, double observed) {
    double error = observed - estimate, most = most_step * estimate;
    double next = estimate + (error > 0.0 ? up : down) * fmin(fmax(error, -most), most);
    return fmin(fmax(next, least_ratio), most_ratio);
}

static double blended(const gm__drift *d, int cell) {
    double n = (double)d->seen[cell];
    return (n * d->ratio[cell] + lean * d->all) / (n + lean);
}

bool gm__drift_observe(gm__drift *d, const gm_latency *l, int subnet, int size, int64_t took_ns) {
    int cell = subnet * l->batches + l->column[size];
    // A size between two profiled ones is planned as the larger: what it takes says little when it is less.
    bool partial = size != l->batch[l->column[size]];
    double observed = (double)took_ns / (double)d->planned[cell];
    if (!partial || observed > d->ratio[cell]) {
        d->ratio[cell] = step(d->ratio[cell], observed);
        d->all = step(d->all, observed);
        if (d->seen[cell] < 1000) d->seen[cell]++;
    }
    if (fabs(blended(d, cell) - d->applied[cell]) > worth * d->applied[cell]) d->moved = true;
    d->since++;
    return d->moved && d->since >= REFRESH_EVERY;
}

static void set(const gm_latency *l, int64_t *table, int n, int b, double ns) {
    int64_t *t = &table[n * l->batches + b];
    *t = ns >= 1.0 ? (int64_t)llround(ns) : 1;
    if (b > 0 && *t < t[-1]) *t = t[-1];
    if (n > 0 && *t < t[-l->batches]) *t = t[-l->batches];
}

// Runs that keep within the plan move its slow end alone: the mean of the profile stays. Slower ones raise both.
void gm__drift_apply(gm__drift *d, gm_latency *l) {
    for (int n = 0; n < l->subnets; n++) {
        for (int b = 0; b < l->batches; b++) {
            int cell = n * l->batches + b;
            d->applied[cell] = blended(d, cell);
            set(l, l->ns, n, b, (double)d->planned[cell] * d->applied[cell]);
            set(l, l->mean_ns, n, b, (double)d->mean[cell] * fmax(d->applied[cell], 1.0));
            if (l->mean_ns[cell] > l->ns[cell]) l->mean_ns[cell] = l->ns[cell];
        }
    }
    d->since = 0;
    d->moved = false;
}
