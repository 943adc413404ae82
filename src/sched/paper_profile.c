// SPDX-License-Identifier: Apache-2.0
// The profile of the published figures (SuperServe, NSDI 2025): accuracies from its plots, latencies made up to fit what its
// text says of them (specs superserve 2.8 and 3.1). For simulations that need no machine.
#include <gamut/sched.h>

#include <math.h>

static const struct {
    double top1, first_ms, last_ms; // at batch 1 and at batch 16
} points[] = {{73.82, 1.41, 7.4}, {76.69, 1.83, 10.2}, {77.64, 2.04, 12.5},
              {78.25, 2.46, 14.5}, {79.44, 3.34, 20.0}, {80.16, 4.64, 30.7}};
enum { POINTS = sizeof points / sizeof points[0], MOST = 16 };

gm_status gm_profile_paper(double scale, bool full_grid, gm_profile *out, gm_error *err) {
    static const int coarse[] = {1, 2, 4, 8, 16};
    if (!(scale >= 1e-3 && scale <= 1e3))
        return gm_fail(err, GM_ERR_RANGE, "paper profile: scale %g is not in 0.001 to 1000", scale);
    *out = (gm_profile){.preset = "paper", .data = "imagenet", .cpu_model = "made-up latencies", .threads = 1,
                        .batches = full_grid ? MOST : 5, .subnets = POINTS};
    out->subnet = gm_alloc(POINTS, sizeof *out->subnet);
    if (out->subnet == NULL) return gm_fail(err, GM_ERR_MEMORY, "paper profile: out of memory");
    for (int b = 0; b < out->batches; b++) out->batch[b] = full_grid ? b + 1 : coarse[b];
    for (int n = 0; n < POINTS; n++) {
        gm_profile_subnet *s = &out->subnet[n];
        s->id = (uint64_t)n + 1;
        s->top1 = points[n].top1;
        for (int b = 0; b < out->batches; b++) {
            double part = (double)(out->batch[b] - 1) / (MOST - 1);
            double ms = points[n].first_ms + (points[n].last_ms - points[n].first_ms) * part;
            s->p50_ns[b] = s->p99_ns[b] = (int64_t)llround(ms * scale * 1e6);
        }
    }
    return GM_OK;
}
