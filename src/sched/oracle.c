// SPDX-License-Identifier: Apache-2.0
// The offline optimum for one worker by dynamic programming (specs superserve 2.7). With deadlines that agree with arrivals
// an exchange argument makes some best plan take contiguous batches in order, with given-up queries between them. A state is
// (next query, time when the worker is free, value so far); for one next query only those count that no other beats in both
// time and value. States are kept by next query, sorted by time; a state reaches at most `largest` queries ahead, so a ring of
// fronts is enough.
#include <gamut/sched.h>

#include <math.h>
#include <string.h>

typedef struct state {
    int64_t free_ns;
    double value;
    int64_t met;
} state;
typedef struct front { // rising in time and in value
    state *at;
    int count, room;
} front;
typedef struct solver {
    const gm_latency *l;
    const int64_t *arrival, *deadline;
    int n, most, span; // span: fronts in the ring
    front *ring;
    bool merged;
    int64_t states;
} solver;

gm_oracle_settings gm_oracle_settings_default(void) {
    return (gm_oracle_settings){.most_states = 2000, .most_total = 4000000};
}

// The first state at or after this time.
static int find(const front *f, int64_t free_ns) {
    int low = 0, high = f->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (f->at[middle].free_ns < free_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Halves a full front: each pair becomes its earlier time with its higher value, which no schedule may reach. The result is a
// bound from then on.
static void merge(solver *s, front *f) {
    int kept = 0;
    for (int i = 0; i + 1 < f->count; i += 2) {
        state both = f->at[i + 1];
        both.free_ns = f->at[i].free_ns;
        f->at[kept++] = both;
    }
    if (f->count % 2 == 1) f->at[kept++] = f->at[f->count - 1];
    f->count = kept;
    s->merged = true;
}

static gm_status insert(solver *s, front *f, state x, gm_error *err) {
    int at = find(f, x.free_ns);
    if (at > 0 && f->at[at - 1].value >= x.value) return GM_OK;
    if (at < f->count && f->at[at].free_ns == x.free_ns && f->at[at].value >= x.value) return GM_OK;
    int beaten = at;
    while (beaten < f->count && f->at[beaten].value <= x.value) beaten++;
    if (beaten > at) { // takes the place of those
        memmove(f->at + at + 1, f->at + beaten, (size_t)(f->count - beaten) * sizeof *f->at);
        f->count -= beaten - at - 1;
        f->at[at] = x;
        return GM_OK;
    }
    if (f->count == s->most) {
        merge(s, f);
        return insert(s, f, x, err);
    }
    if (f->count == f->room) {
        int room = gm_min(gm_max(2 * f->room, 64), s->most);
        state *grown = gm_realloc(f->at, (size_t)f->room, (size_t)room, sizeof *f->at);
        if (grown == NULL) return gm_fail(err, GM_ERR_MEMORY, "oracle: no memory for %d states", room);
        f->at = grown;
        f->room = room;
    }
    memmove(f->at + at + 1, f->at + at, (size_t)(f->count - at) * sizeof *f->at);
    f->at[at] = x;
    f->count++;
    return GM_OK;
}

static front *front_of(solver *s, int next) {
    return &s->ring[next % s->span];
}

// What a run really takes, which the oracle knows.
static int64_t taken(const gm_latency *l, int subnet, int size) {
    return l->mean_ns[subnet * l->batches + l->column[size]];
}

// All that can be done with query i first in line and the worker free at x.free_ns: give it up, or run a batch of it and
// the next ones, begun when the last of them is there.
static gm_status extend(solver *s, int i, state x, gm_error *err) {
    const gm_latency *l = s->l;
    state skipped = x;
    if (i + 1 < s->n && skipped.free_ns < s->arrival[i + 1]) skipped.free_ns = s->arrival[i + 1]; // idle time is all alike
    gm_status status = insert(s, front_of(s, i + 1), skipped, err);
    for (int size = 1; size <= l->largest && i + size <= s->n && status == GM_OK; size++) {
        int64_t start = s->arrival[i + size - 1] > x.free_ns ? s->arrival[i + size - 1] : x.free_ns;
        if (start + taken(l, 0, size) > s->deadline[i]) break;
        for (int n = 0; n < l->subnets && status == GM_OK; n++) {
            int64_t end = start + taken(l, n, size);
            if (end > s->deadline[i]) break;
            int next = i + size;
            if (next < s->n && end < s->arrival[next]) end = s->arrival[next];
            state y = {end, x.value + size * l->top1[n], x.met + size};
            status = insert(s, front_of(s, next), y, err);
        }
    }
    return status;
}

static gm_status solve(solver *s, gm_oracle *out, gm_error *err) {
    gm_status status = insert(s, front_of(s, 0), (state){.free_ns = s->n > 0 ? s->arrival[0] : 0}, err);
    for (int i = 0; i < s->n && status == GM_OK; i++) {
        front *f = front_of(s, i);
        s->states += f->count;
        for (int k = 0; k < f->count && status == GM_OK; k++) status = extend(s, i, f->at[k], err);
        f->count = 0;
    }
    if (status != GM_OK) return status;
    const front *f = front_of(s, s->n);
    const state *best = &f->at[f->count - 1]; // the latest has the highest value
    *out = (gm_oracle){.value = best->value, .met = best->met, .exact = !s->merged, .states = s->states};
    return GM_OK;
}

gm_status gm_oracle_solve(const gm_latency *l, const int64_t *arrival_ns, const int64_t *deadline_ns, int n,
                          const gm_oracle_settings *settings, gm_oracle *out, gm_error *err) {
    gm_oracle_settings defaults = gm_oracle_settings_default();
    solver s = {.l = l, .arrival = arrival_ns, .deadline = deadline_ns, .n = n, .span = l->largest + 1};
    s.most = settings != NULL ? settings->most_states : defaults.most_states;
    *out = (gm_oracle){0};
    if (n < 0 || s.most < 2) return gm_fail(err, GM_ERR_ARGUMENT, "oracle: %d queries, %d states", n, s.most);
    for (int i = 1; i < n; i++)
        if (arrival_ns[i] < arrival_ns[i - 1] || deadline_ns[i] < deadline_ns[i - 1])
            return gm_fail(err, GM_ERR_ARGUMENT,
                           "oracle: query %d arrives or is due before the one ahead of it; the exact optimum needs one SLO for all", i);
    s.ring = gm_alloc((size_t)s.span, sizeof *s.ring);
    if (s.ring == NULL) return gm_fail(err, GM_ERR_MEMORY, "oracle: out of memory");
    gm_status status = solve(&s, out, err);
    for (int i = 0; i < s.span; i++) gm_free(s.ring[i].at);
    gm_free(s.ring);
    return status;
}

gm_status gm_oracle_limit(const gm_latency *l, int workers, const int64_t *arrival_ns, const int64_t *deadline_ns, int n,
                          const gm_oracle_settings *settings, gm_oracle *out, gm_error *err) {
    enum { FEW = 50 }; // merging gives away too much: 100 states already say less than the fluid bound of the Azure code trace (48.1, 46.9)
    gm_oracle_settings use = settings != NULL ? *settings : gm_oracle_settings_default();
    if (use.most_states > use.most_total / gm_max(n, 1)) use.most_states = (int)(use.most_total / gm_max(n, 1));
    gm_oracle bound;
    gm_status status = gm_oracle_bound(l, workers, arrival_ns, deadline_ns, n, &bound, err);
    *out = bound;
    if (status == GM_OK && workers == 1 && use.most_states >= FEW)
        status = gm_oracle_solve(l, arrival_ns, deadline_ns, n, &use, out, err);
    if (status == GM_OK && !out->exact && bound.value < out->value) *out = bound; // of two bounds the lower one says more
    return status;
}
