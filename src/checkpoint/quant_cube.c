// SPDX-License-Identifier: Apache-2.0
// The paper names GetDiagonal, ParallelSearch and GetFeasibleSubCubes without their bodies; how the two discarded boxes leave
// up to nine is ours.
#include "checkpoint/quant_cube.h"

#include <math.h>
#include <string.h>

const int gm__cube_size[GM__CUBE_AXES] = {12, 6, 5};

int gm__cell_number(const gm__cell *c) { return (c->at[0] * gm__cube_size[1] + c->at[1]) * gm__cube_size[2] + c->at[2]; }

gm__cell gm__cell_at(int number) {
    gm__cell c = {{number / (gm__cube_size[1] * gm__cube_size[2]), number / gm__cube_size[2] % gm__cube_size[1],
                   number % gm__cube_size[2]}};
    return c;
}

typedef struct box {
    gm__cell low, high; // both included
} box;

typedef enum answer { UNKNOWN, NO, YES } answer;
typedef struct search {
    const gm__cube_questions *q;
    answer known[GM__CUBE_CELLS];
    gm__cell best;
    double bits;
    bool found, stop;
    gm_error *err;
} search;

static bool at_most(const gm__cell *a, const gm__cell *b) {
    for (int i = 0; i < GM__CUBE_AXES; i++)
        if (a->at[i] > b->at[i]) return false;
    return true;
}

static gm_status ask(search *s, const gm__cell *c, bool *yes) {
    answer *known = &s->known[gm__cell_number(c)];
    *yes = *known == YES;
    if (*known != UNKNOWN || s->stop) return GM_OK;
    gm_status status = s->q->feasible(s->q->self, c, yes, &s->stop, s->err);
    if (status != GM_OK || s->stop) {
        *yes = false;
        return status;
    }
    *known = *yes ? YES : NO;
    double bits;
    if (!*yes || (status = s->q->cost(s->q->self, c, &bits, s->err)) != GM_OK || bits >= s->bits) return status;
    s->bits = bits;
    s->best = *c;
    s->found = true;
    return GM_OK;
}

// Point `step` of `steps` on the way from low to high.
static gm__cell on_diagonal(const box *b, int step, int steps) {
    gm__cell c;
    for (int i = 0; i < GM__CUBE_AXES; i++) {
        int span = b->high.at[i] - b->low.at[i];
        c.at[i] = b->low.at[i] + (steps > 0 ? (2 * span * step + steps) / (2 * steps) : 0);
    }
    return c;
}

static bool empty(const box *b) { return !at_most(&b->low, &b->high); }

// The part of b that is not at or below u: three boxes that do not overlap.
static int without_below(const box *b, const gm__cell *u, box *out) {
    int n = 0;
    box rest = *b;
    for (int i = 0; i < GM__CUBE_AXES; i++) {
        box part = rest;
        if (part.low.at[i] <= u->at[i]) part.low.at[i] = u->at[i] + 1;
        if (!empty(&part)) out[n++] = part;
        if (rest.high.at[i] > u->at[i]) rest.high.at[i] = u->at[i];
    }
    return n;
}

static int without_above(const box *b, const gm__cell *f, box *out) {
    int n = 0;
    box rest = *b;
    for (int i = 0; i < GM__CUBE_AXES; i++) {
        box part = rest;
        if (part.high.at[i] >= f->at[i]) part.high.at[i] = f->at[i] - 1;
        if (!empty(&part)) out[n++] = part;
        if (rest.low.at[i] < f->at[i]) rest.low.at[i] = f->at[i];
    }
    return n;
}

static gm_status explore(search *s, box b) {
    double cheapest;
    bool yes;
    if (s->stop || empty(&b)) return GM_OK;
    gm_status status = s->q->cost(s->q->self, &b.low, &cheapest, s->err);
    if (status != GM_OK || cheapest >= s->bits) return status; // nothing in it can be better
    int steps = 0;
    for (int i = 0; i < GM__CUBE_AXES; i++) steps = gm_max(steps, b.high.at[i] - b.low.at[i]);
    if ((status = ask(s, &b.high, &yes)) != GM_OK || !yes) return status; // the most precise is not enough
    int bad = -1, good = steps;
    while (good - bad > 1 && !s->stop) {
        int mid = bad + (good - bad) / 2;
        gm__cell c = on_diagonal(&b, mid, steps);
        if ((status = ask(s, &c, &yes)) != GM_OK) return status;
        if (yes) good = mid;
        else bad = mid;
    }
    gm__cell feasible = on_diagonal(&b, good, steps);
    box kept[3], part[3];
    int n = without_above(&b, &feasible, kept);
    for (int i = 0; i < n; i++) {
        int m = 1;
        part[0] = kept[i];
        if (bad >= 0) {
            gm__cell infeasible = on_diagonal(&b, bad, steps);
            m = without_below(&kept[i], &infeasible, part);
        }
        for (int j = 0; j < m; j++)
            if ((status = explore(s, part[j])) != GM_OK) return status;
    }
    return GM_OK;
}

static void begin(search *s, const gm__cube_questions *q, double bits, gm_error *err) {
    memset(s, 0, sizeof *s);
    s->q = q;
    s->bits = bits;
    s->err = err;
}

static void end(const search *s, gm__cell *best, double *bits, bool *found) {
    *found = s->found;
    if (!s->found) return;
    *best = s->best;
    *bits = s->bits;
}

gm_status gm__cube_guided(const gm__cube_questions *q, gm__cell *best, double *best_bits, bool *found, gm_error *err) {
    search s;
    box all = {.high = {{gm__cube_size[0] - 1, gm__cube_size[1] - 1, gm__cube_size[2] - 1}}};
    begin(&s, q, *best_bits, err);
    gm_status status = explore(&s, all);
    end(&s, best, best_bits, found);
    return status;
}

gm_status gm__cube_brute(const gm__cube_questions *q, gm__cell *best, double *best_bits, bool *found, gm_error *err) {
    search s;
    gm_status status = GM_OK;
    bool yes;
    begin(&s, q, *best_bits, err);
    for (int i = 0; i < GM__CUBE_CELLS && status == GM_OK; i++) {
        gm__cell c = gm__cell_at(i);
        status = ask(&s, &c, &yes);
    }
    end(&s, best, best_bits, found);
    return status;
}
