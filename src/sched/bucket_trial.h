// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_SCHED_BUCKET_TRIAL_H
#define GAMUT_SCHED_BUCKET_TRIAL_H

#include <gamut/sched.h>

// How good the policy is, as it is now, on a few short made-up loads: accuracy of those met, less what lost deadlines cost.
// Always the same for the same policy and table.
gm_status gm__bucket_trial(const gm_policy *p, const gm_latency *l, double *value, gm_error *err);

#endif
