// SPDX-License-Identifier: Apache-2.0
// One model for all: fixed:SUBNET is a fair Clipper+ (specs superserve 3.1, lesson 5: drops what this model cannot meet and
// keeps its batches large), clipper:SUBNET the plain one (runs expired work, shrinks the batch with the slack), infaas the
// cheapest model always (INFaaS without accuracy thresholds; SuperServe section 6.1).
#include "sched/policy.h"

static gm_decision fixed(const gm_policy *p, const gm_latency *l, const gm_sched_view *v, int from) {
    for (; from < v->shown; from++) {
        int subnet = gm_max(p->subnet, v->front[from].least);
        int64_t slack = gm__slack(v, from);
        int column = gm__largest_batch(l, subnet, slack);
        if (column < 0) continue;
        int most = v->shown - from;
        // With more than two full batches waiting, a small batch now means many late ones: the head is given up instead.
        if (l->batch[column] < l->largest && v->waiting - from >= 2 * l->largest &&
            gm_latency_ns(l, subnet, l->largest) > slack)
            continue;
        return gm__settle(l, v, from, subnet, gm_min(l->batch[column], most), false);
    }
    return (gm_decision){.drop = from, .subnet = -1, .wait_ns = v->now_ns};
}

static gm_decision clipper(const gm_policy *p, const gm_latency *l, const gm_sched_view *v, int from) {
    int64_t slack = gm__slack(v, from);
    int subnet = gm_max(p->subnet, v->front[from].least);
    int column = gm__largest_batch(l, subnet, slack);
    if (column >= 0) return gm__settle(l, v, from, subnet, l->batch[column], false);
    int size = gm_min(l->largest, v->shown - from);
    return (gm_decision){.drop = from, .subnet = gm_max(subnet, gm__least_of(v, from, size)), .batch = size, .late = true};
}

const gm__policy_kind gm__policy_fixed = {.name = "fixed", .takes_subnet = true, .decide = fixed};
const gm__policy_kind gm__policy_clipper = {.name = "clipper", .takes_subnet = true, .keeps_late = true, .decide = clipper};
const gm__policy_kind gm__policy_infaas = {.name = "infaas", .decide = fixed};
