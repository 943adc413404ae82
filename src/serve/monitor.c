// SPDX-License-Identifier: Apache-2.0
#include "serve/monitor.h"

#include <math.h>
#include <string.h>

const double gm__time_bucket[GM__TIME_BUCKETS] = {25e-6, 50e-6, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01,
                                                  0.02,  0.03,  0.05,   0.1,    0.2,    0.5,   1,     2,     5};
const int gm__size_bucket[GM__SIZE_BUCKETS] = {1, 2, 4, 8, 16, 32, 64, 128};

void gm__histogram_add(gm__histogram *h, double seconds) {
    int i = 0;
    while (i < GM__TIME_BUCKETS && seconds > gm__time_bucket[i]) i++;
    h->count[i]++;
    h->total++;
    h->sum += seconds > 0 ? seconds : 0;
}

enum { FINE = GM__FINE, STEPS = 8 }; // steps an octave: an error of at most 9 %, up to 10 s

static int fine_of(double seconds) {
    if (!(seconds > 1e-5)) return 0;
    double at = log2(seconds / 1e-5) * STEPS;
    return at >= FINE - 1 ? FINE - 1 : (int)at;
}

static double quantile(const uint32_t count[FINE], double q) {
    uint64_t total = 0, below = 0;
    for (int i = 0; i < FINE; i++) total += count[i];
    if (total == 0) return NAN;
    uint64_t rank = (uint64_t)(q * (double)(total - 1));
    for (int i = 0; i < FINE; i++) {
        below += count[i];
        if (below > rank) return 1e-5 * exp2((i + 0.5) / STEPS) * 1e3;
    }
    return NAN;
}

gm_status gm__monitor_init(gm__monitor *m, const gm_profile *profile, int64_t now_ns, gm_error *err) {
    *m = (gm__monitor){.profile = profile, .started_ns = now_ns, .largest = profile->batch[profile->batches - 1]};
    size_t subnets = (size_t)profile->subnets, sizes = (size_t)m->largest + 1;
    m->subnet = gm_alloc(subnets, sizeof *m->subnet);
    m->subnet_ring = gm_alloc(subnets * (GM__SECONDS + 1), sizeof *m->subnet_ring);
    m->batch_count = gm_alloc(sizes, sizeof *m->batch_count);
    m->batch_seconds = gm_alloc(sizes, sizeof *m->batch_seconds);
    if (m->subnet && m->subnet_ring && m->batch_count && m->batch_seconds) return GM_OK;
    gm__monitor_fini(m);
    return gm_fail(err, GM_ERR_MEMORY, "no memory for the statistics of %d subnets", profile->subnets);
}

void gm__monitor_fini(gm__monitor *m) {
    gm_free(m->subnet);
    gm_free(m->subnet_ring);
    gm_free(m->batch_count);
    gm_free(m->batch_seconds);
    *m = (gm__monitor){0};
}

static int place(int64_t second) { return (int)(second % (GM__SECONDS + 1)); }
static gm__second *running(gm__monitor *m) { return &m->ring[place(m->second)]; }

void gm__monitor_tick(gm__monitor *m, int64_t now_ns) {
    int64_t second = (now_ns - m->started_ns) / 1000000000;
    if (second <= m->second) return;
    gm__second *closed = running(m);
    uint32_t queue = 0, workers = closed->workers;
    closed->p50_ms = (float)quantile(m->fine[place(m->second)], 0.5);
    closed->p99_ms = (float)quantile(m->fine[place(m->second)], 0.99);
    int64_t from = second - m->second > GM__SECONDS ? second - GM__SECONDS : m->second + 1;
    for (int64_t s = from; s <= second; s++) {
        int at = place(s);
        m->ring[at] = (gm__second){.queue = queue, .workers = workers, .p50_ms = NAN, .p99_ms = NAN};
        memset(m->fine[at], 0, sizeof m->fine[at]);
        memset(m->subnet_ring + (size_t)at * (size_t)m->profile->subnets, 0,
               (size_t)m->profile->subnets * sizeof *m->subnet_ring);
    }
    m->second = second;
}

void gm__monitor_received(gm__monitor *m, int images) {
    m->requests++;
    m->received += (uint64_t)images;
    running(m)->received += (uint32_t)images;
}

void gm__monitor_dispatch(gm__monitor *m, int images, double slack_seconds) {
    gm__second *s = running(m);
    m->batches++;
    m->images += (uint64_t)images;
    s->batches++;
    s->images += (uint32_t)images;
    int i = 0;
    while (i < GM__SIZE_BUCKETS && images > gm__size_bucket[i]) i++;
    m->size[i]++;
    if (slack_seconds < 1e6) gm__histogram_add(&m->slack, slack_seconds);
}

void gm__monitor_ran(gm__monitor *m, int subnet, int images, double seconds) {
    gm__histogram_add(&m->run, seconds);
    m->subnet[subnet].batches++;
    m->batch_count[images]++;
    m->batch_seconds[images] += seconds;
}

void gm__monitor_outcome(gm__monitor *m, gm_outcome outcome, int subnet, double latency_seconds, double queue_seconds) {
    gm__second *s = running(m);
    m->outcome[outcome]++;
    s->outcome[outcome]++;
    if (subnet < 0 || (outcome != GM_OUTCOME_MET && outcome != GM_OUTCOME_LATE)) return;
    gm__subnet_count *c = &m->subnet[subnet];
    c->answered++;
    m->subnet_ring[(size_t)place(m->second) * (size_t)m->profile->subnets + (size_t)subnet]++;
    gm__histogram_add(&m->latency, latency_seconds);
    gm__histogram_add(&m->queue, queue_seconds);
    m->fine[place(m->second)][fine_of(latency_seconds)]++;
    if (outcome == GM_OUTCOME_MET) {
        c->met++;
        m->accuracy += m->profile->subnet[subnet].top1;
        s->accuracy += m->profile->subnet[subnet].top1;
    } else {
        c->late++;
    }
}

void gm__monitor_levels(gm__monitor *m, int waiting, int workers) {
    gm__second *s = running(m);
    if ((uint32_t)waiting > s->queue) s->queue = (uint32_t)waiting;
    s->workers = (uint32_t)workers;
}

const gm__second *gm__monitor_second(const gm__monitor *m, int64_t second) {
    return second < 0 || second >= m->second || second < m->second - GM__SECONDS ? NULL : &m->ring[place(second)];
}

uint32_t gm__monitor_subnet_second(const gm__monitor *m, int64_t second, int subnet) {
    return m->subnet_ring[(size_t)place(second) * (size_t)m->profile->subnets + (size_t)subnet];
}

gm__window gm__monitor_window(const gm__monitor *m, int seconds) {
    gm__window w = {0};
    uint32_t fine[FINE] = {0};
    for (int64_t s = m->second - seconds; s < m->second; s++) {
        const gm__second *r = gm__monitor_second(m, s);
        if (r == NULL) continue;
        w.received += r->received;
        w.batches += r->batches;
        w.images += r->images;
        w.accuracy += r->accuracy;
        for (int o = 0; o < GM_OUTCOMES; o++) w.outcome[o] += r->outcome[o];
        for (int i = 0; i < FINE; i++) fine[i] += m->fine[place(s)][i];
    }
    w.p50_ms = quantile(fine, 0.5);
    w.p99_ms = quantile(fine, 0.99);
    return w;
}
