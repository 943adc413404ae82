// SPDX-License-Identifier: Apache-2.0
// What the policies share. A policy sees the queue from `from` on: what lies before it has been given up already.
#ifndef GAMUT_SCHED_POLICY_H
#define GAMUT_SCHED_POLICY_H

#include <gamut/sched.h>

enum { GM__BUCKETS_MOST = 512, GM__NAME_BYTES = 64, GM__CANDIDATES_MOST = 64 };

typedef struct gm__bucket { // only those that hold a choice, by rising time
    int64_t ns;
    int32_t subnet, batch;
} gm__bucket;

typedef struct gm__hull_point { // on the upper concave hull of accuracy over time a query
    double ns, top1;
} gm__hull_point;
typedef struct gm__price_knot { // the price of worker time is linear between these, by rising time a query
    double ns, price;           // accuracy (percent) a nanosecond
} gm__price_knot;

typedef struct gm__policy_kind gm__policy_kind;
struct gm__policy_kind {
    const char *name;
    bool takes_subnet, keeps_late;
    gm_status (*prepare)(gm_policy *p, const gm_latency *l, gm_error *err); // may be NULL
    void (*refresh)(gm_policy *p, const gm_latency *l);                     // may be NULL
    gm_decision (*decide)(const gm_policy *p, const gm_latency *l, const gm_sched_view *v, int from);
};
extern const gm__policy_kind gm__policy_slackfit, gm__policy_maxbatch, gm__policy_maxacc, gm__policy_fixed,
    gm__policy_clipper, gm__policy_infaas, gm__policy_gamut;

struct gm_policy {
    char name[GM__NAME_BYTES];
    const gm__policy_kind *kind;
    gm_policy_settings settings;
    int subnet;              // fixed, clipper, infaas
    int buckets, filled;     // slackfit
    gm__bucket bucket[GM__BUCKETS_MOST];
    int points, knots;       // gamut: of hull and knot
    gm__hull_point *hull;    // [subnets], owned
    gm__price_knot *knot;    // [2 * subnets + 1], owned
    int candidates;
    int32_t candidate[GM__CANDIDATES_MOST]; // subnets that are looked at, ascending
};

static inline int64_t gm__slack(const gm_sched_view *v, int at) {
    return v->front[at].deadline_ns - v->now_ns;
}
// The most accurate subnet that runs `size` queries within slack; -1: none.
int gm__most_accurate(const gm_latency *l, int size, int64_t slack_ns);
// The largest profiled batch that the subnet runs within slack, as an index; -1: none.
int gm__largest_batch(const gm_latency *l, int subnet, int64_t slack_ns);
// The least subnet that all of front[from .. from + size) accept.
int gm__least_of(const gm_sched_view *v, int from, int size);
// Makes (subnet, size) legal for the queue from `from` on: no more queries than there are (and then, with repick, the most
// accurate subnet that runs these in time), and no floor violated (a better subnet; where that takes too long, fewer
// queries). front[from] can be met by its own least subnet alone.
gm_decision gm__settle(const gm_latency *l, const gm_sched_view *v, int from, int subnet, int size, bool repick);

#endif
