// SPDX-License-Identifier: Apache-2.0
#include "sched/policy.h"
static gm_decision decide(const gm_policy *p, const gm_latency *l, const gm_sched_view *v, int from) {
    (void)p;
    int64_t slack = gm__slack(v, from);
    int column = gm_max(gm__largest_batch(l, 0, slack), 0);
    int subnet = gm_max(gm__most_accurate(l, l->batch[column], slack), 0);
    return gm__settle(l, v, from, subnet, l->batch[column], true);
}
const gm__policy_kind gm__policy_gamut = {.name = "gamut", .decide = decide};
