// SPDX-License-Identifier: Apache-2.0
// Gamut's own policy (docs/policies.md). Serving is the sharing out of worker time among queries; accuracy is a concave function
// of the time that a query gets, so the best plan gives all queries that compete for the same time equally much of it (the
// offline problem is that of the fluid bound in oracle_bound.c). The policy
//  1. surveys the deadlines known and the arrivals to expect, and finds the time a query that can be kept up: the tightest
//     ratio of worker time to work until any moment ahead;
//  2. turns it into a price of worker time, the slope of the hull there, as a mean over how the next arrivals may turn out;
//  3. takes the (subnet, batch) with the largest gain at that price, less what those left behind would lose.
// A run must fit into the slack with its p99; what it costs is its mean.
#include "sched/policy.h"

#include <math.h>

// Found by trial on the workloads of experiments/superserve, at loads 0.5 to 0.9.
static const double recent = 0.2;    // of the rate over 8 units beside that over 1
static const double known = 0.15;    // weight of the present rate; the rest are windows as they came before
static const double weight[GM_ARRIVAL_QUANTILES] = {0.2, 0.2, 0.2, 0.2, 0.14, 0.06};
static const double early = 0.8;     // of its slack within which a query should be done: the rest is for surprises
static const double near = 1.25;    // factor about a subnet's time within which the price changes; in a longer segment it is level
static const double sway = 0.3;     // there: by how much the queue moves it
static const double idle = 0.02;     // price beyond the best subnet's time, as a part of the last segment's: breaks ties
enum { WORKERS = 64, POINTS = 24, FRONT_POINTS = 10, RUNS = 64 };

typedef struct point { // a moment ahead: worker time until then, work that is due
    double time, waiting, soon, later;
} point;
typedef struct outlook {
    const gm_latency *l;
    const gm_waiting *front;
    int64_t now_ns;
    double slo, unit;
    int shown, waiting, workers, points;
    double free_ns[WORKERS]; // from now; the first is the worker that the decision is for
    point point[POINTS];
} outlook;

// The hull starts in the origin: a query that is not served takes no time. Its slopes are joined at the middle of each segment, or
// at both ends of a long one: between two subnets that lie far apart the best is a mixture of them, at one price.
static void refresh(gm_policy *p, const gm_latency *l) {
    gm__hull_point *hull = p->hull;
    p->points = 0;
    for (int n = 0; n < l->subnets; n++) {
        double ns = INFINITY;
        for (int b = 0; b < l->batches; b++) ns = fmin(ns, (double)l->mean_ns[n * l->batches + b] / l->batch[b]);
        for (; p->points > 0; p->points--) {
            gm__hull_point last = hull[p->points - 1], before = p->points > 1 ? hull[p->points - 2] : (gm__hull_point){0};
            if (ns > last.ns && (l->top1[n] - last.top1) * (last.ns - before.ns) < (last.top1 - before.top1) * (ns - last.ns)) break;
        }
        if (p->points == 0 || l->top1[n] > hull[p->points - 1].top1) hull[p->points++] = (gm__hull_point){ns, l->top1[n]};
    }
    p->knots = 0;
    for (int i = 0; i < p->points; i++) {
        gm__hull_point from = i > 0 ? hull[i - 1] : (gm__hull_point){0};
        double low = i > 0 ? near * from.ns : 0.9 * hull[0].ns, high = i > 0 ? hull[i].ns / near : low, middle = (from.ns + hull[i].ns) / 2;
        double slope = (hull[i].top1 - from.top1) / (hull[i].ns - from.ns);
        if (i > 0 && low >= high) low = high = middle; // short: only its middle
        p->knot[p->knots++] = (gm__price_knot){low, slope};
        if (high > low) p->knot[p->knots++] = (gm__price_knot){high, slope};
    }
    p->knot[p->knots] = (gm__price_knot){1.5 * hull[p->points - 1].ns, idle * p->knot[p->knots - 1].price};
    p->knots++;
}

// Of many subnets only those on the hull are looked at: at a given price one of them is best.
static void choose_candidates(gm_policy *p, const gm_latency *l) {
    p->candidates = 0;
    if (l->subnets <= GM__CANDIDATES_MOST) {
        for (int n = 0; n < l->subnets; n++) p->candidate[p->candidates++] = n;
        return;
    }
    for (int i = 0; i < GM__CANDIDATES_MOST; i++) {
        int at = p->points <= GM__CANDIDATES_MOST ? i : (int)((int64_t)i * (p->points - 1) / (GM__CANDIDATES_MOST - 1));
        if (at < p->points) p->candidate[p->candidates++] = gm_latency_least(l, p->hull[at].top1);
    }
}

static gm_status prepare(gm_policy *p, const gm_latency *l, gm_error *err) {
    p->hull = gm_alloc((size_t)l->subnets, sizeof *p->hull);
    p->knot = gm_alloc(2 * (size_t)l->subnets + 1, sizeof *p->knot);
    if (p->hull == NULL || p->knot == NULL) return gm_fail(err, GM_ERR_MEMORY, "policy gamut: no memory for %d subnets", l->subnets);
    refresh(p, l);
    choose_candidates(p, l);
    return GM_OK;
}

static void renew(gm_policy *p, const gm_latency *l) {
    refresh(p, l);
    choose_candidates(p, l);
}

static double price_at(const gm_policy *p, double ns) {
    int i = 0;
    while (i < p->knots && p->knot[i].ns <= ns) i++;
    if (i == 0) return p->knot[0].price;
    if (i == p->knots) return p->knot[p->knots - 1].price;
    gm__price_knot a = p->knot[i - 1], b = p->knot[i];
    return a.price + (b.price - a.price) * (ns - a.ns) / (b.ns - a.ns);
}

// What a query is worth at this price, net of its time.
static double worth_at(const gm_policy *p, double price) {
    double worth = 0.0;
    for (int i = 0; i < p->points; i++) worth = fmax(worth, p->hull[i].top1 - price * p->hull[i].ns);
    return worth;
}

static double worker_time(const outlook *o, double until) {
    double sum = 0.0;
    for (int i = 0; i < o->workers; i++) sum += fmax(until - o->free_ns[i], 0.0);
    return sum;
}

static void survey(outlook *o) {
    static const double ahead[] = {0.25, 0.5, 1.0, 2.0, 4.0}; // SLOs
    int step = gm_max(o->l->largest, (o->shown + FRONT_POINTS - 1) / FRONT_POINTS);
    for (int i = 0; i < o->shown; i += step) {
        double until = early * (double)(o->front[i].deadline_ns - o->now_ns);
        o->point[o->points++] = (point){worker_time(o, until), gm_min(i + o->l->largest, o->shown), 0.0, 0.0};
    }
    for (int i = 0; i < (int)(sizeof ahead / sizeof ahead[0]); i++) {
        double window = ahead[i] * o->slo, soon = fmin(window, o->unit);
        o->point[o->points++] = (point){worker_time(o, early * o->slo + window), o->waiting, soon, window - soon};
    }
    o->point[o->points++] = (point){o->workers, 0.0, 0.0, 1.0}; // in the long run
}

// Worker time a query that can be kept up when arrivals come at rate `soon` for a unit, and at rate `later` after that.
static double sustainable(const outlook *o, double soon, double later) {
    double least = INFINITY;
    for (int i = 0; i < o->points; i++) {
        const point *p = &o->point[i];
        least = fmin(least, p->time / (p->waiting + soon * p->soon + later * p->later + 1e-12));
    }
    return least;
}

// The first query from `at` on whose deadline is not before `ns` from now.
static int not_before(const outlook *o, int at, double ns) {
    int high = o->shown;
    while (at < high) {
        int middle = (at + high) / 2;
        if ((double)(o->front[middle].deadline_ns - o->now_ns) < ns)
            at = middle + 1;
        else
            high = middle;
    }
    return at;
}

// How many of the shown queries from `next` on miss their deadline when this worker is busy until `done` and everybody
// then runs the fastest subnet: full batches when more wait than fit two of them, else as many as the head's slack allows.
static int missed(const outlook *o, int next, double done) {
    const gm_latency *l = o->l;
    double free_ns[WORKERS], quick = (double)l->ns[0], full = (double)l->ns[l->batches - 1];
    int lost = 0;
    free_ns[0] = done;
    for (int i = 1; i < o->workers; i++) free_ns[i] = o->free_ns[i];
    for (int run = 0; run < RUNS && next < o->shown; run++) {
        int w = 0;
        for (int i = 1; i < o->workers; i++)
            if (free_ns[i] < free_ns[w]) w = i;
        int saved = not_before(o, next, free_ns[w] + (o->waiting - next >= 2 * l->largest ? full : quick));
        lost += saved - next;
        next = saved;
        if (next >= o->shown) break;
        int column = l->column[gm_min(l->largest, o->shown - next)];
        double slack = (double)(o->front[next].deadline_ns - o->now_ns) - free_ns[w];
        while (column > 0 && (double)l->ns[column] > slack) column--;
        free_ns[w] += (double)l->mean_ns[column];
        next += l->batch[column];
    }
    return lost;
}

// In a level part of the price both subnets at its ends are as good, and only the queue says whose turn it is: the accurate one's while
// less time a query is enough for those that wait, the fast one's when they need as much as can be kept up.
static double swayed(const gm_policy *p, const outlook *o, double price, double long_run) {
    double waiting = INFINITY;
    for (int i = 0; i < o->points && o->point[i].soon + o->point[i].later == 0.0; i++)
        waiting = fmin(waiting, o->point[i].time / o->point[i].waiting);
    for (int i = 0; i + 1 < p->knots; i++) {
        double level = p->knot[i].price;
        if (p->knot[i + 1].price != level || fabs(price - level) > sway * level) continue;
        return level * (1 + sway * (2 * fmin(long_run / waiting, 1) - 1));
    }
    return price;
}

static double expected_price(const gm_policy *p, const outlook *o, const gm_arrival_stats *a) {
    double rate = (1.0 - recent) * a->rate[0] + recent * a->rate[1];
    double price = known * price_at(p, sustainable(o, a->latest, rate));
    for (int i = 0; i < GM_ARRIVAL_QUANTILES; i++)
        price += (1.0 - known) * weight[i] * price_at(p, sustainable(o, a->quantile[i], rate));
    return swayed(p, o, price, o->workers / fmax(rate, 1e-12));
}

static gm_decision decide(const gm_policy *p, const gm_latency *l, const gm_sched_view *v, int from) {
    const gm_arrival_stats *a = &v->arrivals;
    outlook o = {.l = l, .front = v->front + from, .now_ns = v->now_ns, .shown = v->shown - from, .waiting = v->waiting - from};
    o.slo = a->slo_ns > 0.0 ? a->slo_ns : (double)gm__slack(v, from);
    o.unit = (double)l->ns[l->subnets * l->batches - 1];
    o.workers = gm_min(v->workers, WORKERS);
    for (int i = v->idle; i < o.workers; i++) o.free_ns[i] = fmax((double)(v->free_ns[i - v->idle] - v->now_ns), 0.0);
    survey(&o);
    double price = expected_price(p, &o, a), worth = worth_at(p, price), best = -INFINITY;
    double loss = fmax(l->top1[0] - price * p->hull[0].ns, 0.0); // who is lost takes no time either
    gm_decision d = gm__settle(l, v, from, 0, 1, false);
    int column = l->column[gm_min(l->largest, o.shown)];
    for (; column >= 0; column--) {
        int size = gm_min(l->batch[column], o.shown);
        for (int c = 0; c < p->candidates; c++) {
            int n = p->candidate[c], skip = 0;
            double ns = (double)l->ns[n * l->batches + column], cost = (double)l->mean_ns[n * l->batches + column];
            if ((double)gm__slack(v, from) < ns) {
                // Heads may be given up for a larger batch only when far more wait than can be served at once.
                if (o.waiting < 2 * l->largest || (skip = not_before(&o, 0, ns)) + size > o.shown) break;
            }
            double gain = size * (l->top1[n] - worth) - price * cost - loss * skip;
            if (gain <= best || n < gm__least_of(v, from + skip, size)) continue;
            gain -= loss * missed(&o, skip + size, cost);
            if (gain <= best) continue;
            best = gain;
            d = (gm_decision){.drop = from + skip, .subnet = n, .batch = size};
        }
    }
    return d;
}

const gm__policy_kind gm__policy_gamut = {.name = "gamut", .prepare = prepare, .refresh = renew, .decide = decide};
