// SPDX-License-Identifier: Apache-2.0
// A profile made fit for schedulers: latency grows with the batch and along the front (P1 and P2 of SuperServe, NSDI 2025,
// section 4.2; specs: superserve 2.8). Measured numbers are noisy and break both, and a scheduler that searches by bisection
// would then miss the best subnet.
#include <gamut/sched.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sched/isotonic.h"

static const double longest_ns = 1e15; // 11 days

void gm_profile_fini(gm_profile *p) {
    gm_free(p->subnet);
    p->subnet = NULL;
    p->subnets = 0;
}

static gm_status check_row(const gm_profile *p, int i, gm_error *err) {
    const gm_profile_subnet *s = &p->subnet[i];
    if (!(s->top1 >= 0 && s->top1 <= 100))
        return gm_fail(err, GM_ERR_RANGE, "profile: subnet %d has an accuracy of %g percent", i, s->top1);
    for (int b = 0; b < p->batches; b++)
        if (s->p50_ns[b] < 1 || s->p99_ns[b] < 1 || (double)s->p50_ns[b] > longest_ns || (double)s->p99_ns[b] > longest_ns)
            return gm_fail(err, GM_ERR_RANGE, "profile: subnet %d, batch %d: a latency of %lld or %lld ns is not possible", i,
                           p->batch[b], (long long)s->p50_ns[b], (long long)s->p99_ns[b]);
    return GM_OK;
}

static gm_status check(const gm_profile *p, gm_error *err) {
    if (p->batches < 1 || p->batches > GM_PROFILE_BATCHES)
        return gm_fail(err, GM_ERR_RANGE, "profile: %d batch sizes, allowed are 1 to %d", p->batches, GM_PROFILE_BATCHES);
    if (p->subnets < 1 || p->subnets > GM_PROFILE_SUBNETS || !p->subnet)
        return gm_fail(err, GM_ERR_RANGE, "profile: %d subnets, allowed are 1 to %d", p->subnets, GM_PROFILE_SUBNETS);
    for (int b = 0; b < p->batches; b++)
        if (p->batch[b] < 1 || p->batch[b] > 65536 || (b == 0 ? p->batch[0] != 1 : p->batch[b] <= p->batch[b - 1]))
            return gm_fail(err, GM_ERR_RANGE, "profile: batch sizes must start with 1 and ascend (%d is number %d)",
                           p->batch[b], b + 1);
    gm_status status = GM_OK;
    for (int i = 0; i < p->subnets && !status; i++) status = check_row(p, i, err);
    return status;
}

// One number for the cost of a subnet: the mean of the logarithms over all batches. Dominance batch by batch would keep
// subnets that the noise of a single batch made look good.
static double cost_of(const gm_profile *p, const gm_profile_subnet *s) {
    double sum = 0;
    for (int b = 0; b < p->batches; b++) sum += log((double)s->p50_ns[b]);
    return sum / p->batches;
}

typedef struct ranked {
    double top1, cost;
    uint64_t id;
    int row;
} ranked;

// The most accurate first, of equal ones the cheapest; ids make the order the same everywhere.
static int by_accuracy(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->top1 != y->top1) return x->top1 > y->top1 ? -1 : 1;
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return x->row - y->row;
}

static gm_status keep_front(gm_profile *p, gm_error *err) {
    ranked *order = gm_alloc((size_t)p->subnets, sizeof *order);
    gm_profile_subnet *kept = gm_alloc((size_t)p->subnets, sizeof *kept);
    if (!order || !kept) {
        gm_free(order);
        gm_free(kept);
        return gm_fail(err, GM_ERR_MEMORY, "no memory for a profile of %d subnets", p->subnets);
    }
    for (int i = 0; i < p->subnets; i++)
        order[i] = (ranked){p->subnet[i].top1, cost_of(p, &p->subnet[i]), p->subnet[i].id, i};
    qsort(order, (size_t)p->subnets, sizeof *order, by_accuracy);
    int count = 0;
    double best = INFINITY;
    for (int i = 0; i < p->subnets; i++) {
        if (order[i].cost >= best) continue; // one as accurate costs no more
        best = order[i].cost;
        order[count++] = order[i];
    }
    for (int i = 0; i < count; i++) kept[i] = p->subnet[order[count - 1 - i].row];
    gm_free(order);
    gm_free(p->subnet);
    p->subnet = kept;
    p->subnets = count;
    return GM_OK;
}

// Errors of a latency are proportional to it, so the fit is one of logarithms.
static gm_status smooth(gm_profile *p, gm_error *err) {
    size_t columns = (size_t)p->batches, size = (size_t)p->subnets * columns;
    double *table = gm_alloc(size, sizeof *table);
    if (!table) return gm_fail(err, GM_ERR_MEMORY, "no memory for a profile of %d subnets", p->subnets);
    gm_status status = GM_OK;
    for (int quantile = 0; quantile < 2 && !status; quantile++) {
        for (size_t i = 0; i < size; i++) {
            const gm_profile_subnet *s = &p->subnet[i / columns];
            table[i] = log((double)(quantile ? s->p99_ns : s->p50_ns)[i % columns]);
        }
        status = gm__isotonic_table(table, p->subnets, p->batches, err);
        for (size_t i = 0; i < size && !status; i++) {
            gm_profile_subnet *s = &p->subnet[i / columns];
            (quantile ? s->p99_ns : s->p50_ns)[i % columns] = llround(exp(table[i]));
        }
    }
    // The larger of two tables that ascend ascends too.
    for (size_t i = 0; i < size && !status; i++) {
        gm_profile_subnet *s = &p->subnet[i / columns];
        size_t b = i % columns;
        if (s->p99_ns[b] < s->p50_ns[b]) s->p99_ns[b] = s->p50_ns[b];
    }
    gm_free(table);
    return status;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double gm_profile_tail(const gm_profile *p) {
    double ratio[GM_PROFILE_BATCHES * 64]; // of more subnets, every so-manieth
    int stride = (p->subnets + 63) / 64, n = 0;
    for (int i = 0; i < p->subnets; i += stride)
        for (int b = 0; b < p->batches; b++) ratio[n++] = (double)p->subnet[i].p99_ns[b] / (double)p->subnet[i].p50_ns[b];
    if (n == 0) return 1;
    qsort(ratio, (size_t)n, sizeof *ratio, by_value);
    return ratio[n / 2];
}

gm_status gm_profile_regularise(gm_profile *p, gm_error *err) {
    gm_status status = check(p, err);
    if (!status) status = keep_front(p, err);
    if (!status) status = smooth(p, err);
    if (!status) status = keep_front(p, err); // those whose latencies became equal: the more accurate one
    return status;
}
