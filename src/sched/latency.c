// SPDX-License-Identifier: Apache-2.0
// The table of planned times that a policy looks at. Margin and overhead are worked in here, once, so that a policy only
// ever compares a time with the slack.
#include <gamut/sched.h>

#include <math.h>
#include <string.h>

gm_latency_settings gm_latency_settings_default(void) {
    return (gm_latency_settings){.margin = 1.0};
}

static gm_status check(const gm_profile *p, const gm_latency_settings *s, gm_error *err) {
    if (p->subnets < 1 || p->subnets > GM_PROFILE_SUBNETS || p->batches < 1 || p->batches > GM_PROFILE_BATCHES)
        return gm_fail(err, GM_ERR_RANGE, "profile: %d subnets and %d batch sizes; at least one of each is needed", p->subnets,
                       p->batches);
    if (!(s->margin > 0.0 && s->margin <= 1.0) || s->overhead_ns < 0 || s->overhead_ns > GM_NO_DEADLINE / 1000)
        return gm_fail(err, GM_ERR_RANGE, "margin %g is not in (0,1], or overhead %lld ns is out of range", s->margin,
                       (long long)s->overhead_ns);
    for (int b = 0; b < p->batches; b++)
        if (p->batch[b] < 1 || p->batch[b] > GM_BATCH_MOST || (b == 0 ? p->batch[b] != 1 : p->batch[b] <= p->batch[b - 1]))
            return gm_fail(err, GM_ERR_ARGUMENT, "profile: batch sizes must start with 1 and ascend to at most %d",
                           GM_BATCH_MOST);
    for (int s2 = 0; s2 < p->subnets; s2++) {
        const gm_profile_subnet *n = &p->subnet[s2];
        if (!isfinite(n->top1) || n->top1 < 0.0 || n->top1 > 100.0 || (s2 > 0 && n->top1 < p->subnet[s2 - 1].top1))
            return gm_fail(err, GM_ERR_ARGUMENT, "profile: subnets must ascend by accuracy within 0 to 100, but number %d has %g",
                           s2, n->top1);
        for (int b = 0; b < p->batches; b++) {
            int64_t most = n->p99_ns[b] > n->p50_ns[b] ? n->p99_ns[b] : n->p50_ns[b];
            if (n->p50_ns[b] < 1 || n->p99_ns[b] < 1 || most > GM_NO_DEADLINE / 1000)
                return gm_fail(err, GM_ERR_RANGE, "profile: subnet %d at batch %d takes %lld to %lld ns", s2, p->batch[b],
                               (long long)n->p50_ns[b], (long long)n->p99_ns[b]);
        }
    }
    return GM_OK;
}

// Fills a table of times: margin and overhead worked in, not falling along either side.
static void plan(const gm_profile *p, const gm_latency_settings *s, bool mean, int64_t *table) {
    const int batches = p->batches;
    for (int n = 0; n < p->subnets; n++) {
        for (int b = 0; b < batches; b++) {
            int64_t ns = mean ? p->subnet[n].p50_ns[b] : p->subnet[n].p99_ns[b], *t = &table[n * batches + b];
            double planned = (double)(ns + s->overhead_ns) / s->margin;
            *t = s->margin < 1.0 ? (int64_t)ceil(planned) : ns + s->overhead_ns;
            if (b > 0 && *t < t[-1]) *t = t[-1];
            if (n > 0 && *t < t[-batches]) *t = t[-batches];
        }
    }
}

gm_status gm_latency_create(const gm_profile *p, const gm_latency_settings *settings, gm_latency **out, gm_error *err) {
    gm_latency_settings defaults = gm_latency_settings_default();
    const gm_latency_settings *s = settings != NULL ? settings : &defaults;
    *out = NULL;
    gm_status status = check(p, s, err);
    if (status != GM_OK) return status;
    gm_latency *l = gm_alloc(1, sizeof *l);
    if (l == NULL) return gm_fail(err, GM_ERR_MEMORY, "latency table: out of memory");
    l->subnets = p->subnets;
    l->batches = p->batches;
    l->largest = p->batch[p->batches - 1];
    memcpy(l->batch, p->batch, sizeof l->batch);
    l->top1 = gm_alloc((size_t)l->subnets, sizeof *l->top1);
    l->id = gm_alloc((size_t)l->subnets, sizeof *l->id);
    l->ns = gm_alloc((size_t)(l->subnets * l->batches), sizeof *l->ns);
    l->mean_ns = gm_alloc((size_t)(l->subnets * l->batches), sizeof *l->mean_ns);
    l->column = gm_alloc((size_t)l->largest + 1, sizeof *l->column);
    if (!l->top1 || !l->id || !l->ns || !l->mean_ns || !l->column) {
        gm_latency_destroy(l);
        return gm_fail(err, GM_ERR_MEMORY, "latency table: no memory for %d subnets", p->subnets);
    }
    for (int size = 1, column = 0; size <= l->largest; size++) {
        if (size > l->batch[column]) column++;
        l->column[size] = (uint8_t)column;
    }
    for (int n = 0; n < l->subnets; n++) {
        l->top1[n] = p->subnet[n].top1;
        l->id[n] = p->subnet[n].id;
    }
    plan(p, s, s->mean, l->ns);
    plan(p, s, true, l->mean_ns);
    for (int i = 0; i < l->subnets * l->batches; i++)
        if (l->mean_ns[i] > l->ns[i]) l->mean_ns[i] = l->ns[i];
    *out = l;
    return GM_OK;
}

void gm_latency_destroy(gm_latency *l) {
    if (l == NULL) return;
    gm_free(l->top1);
    gm_free(l->id);
    gm_free(l->ns);
    gm_free(l->mean_ns);
    gm_free(l->column);
    gm_free(l);
}

int gm_latency_least(const gm_latency *l, double top1) {
    int low = 0, high = l->subnets;
    while (low < high) {
        int middle = (low + high) / 2;
        if (l->top1[middle] < top1)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
