// SPDX-License-Identifier: Apache-2.0
// Online correction of the planned times: what runs were observed to take, per (subnet, batch), beside the plan.
#ifndef GAMUT_SERVE_ROUTER_DRIFT_H
#define GAMUT_SERVE_ROUTER_DRIFT_H

#include <gamut/sched.h>

typedef struct gm__drift {
    int64_t *planned, *mean;   // [cells], of the profile
    double *ratio, *applied;   // [cells]
    uint32_t *seen;            // [cells]
    double all;                // ratio over all cells
    int cells, since;          // since: observations after the last refresh
    bool moved;                // an estimate has left what is applied
} gm__drift;
gm_status gm__drift_init(gm__drift *d, const gm_latency *l, gm_error *err);
void gm__drift_fini(gm__drift *d);
// A run of `size` queries took this long. True: gm__drift_apply is worth its while.
bool gm__drift_observe(gm__drift *d, const gm_latency *l, int subnet, int size, int64_t took_ns);
void gm__drift_apply(gm__drift *d, gm_latency *l); // l->ns and mean_ns from the estimates, kept monotone

#endif
