// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_SCHED_BUCKET_TRIAL_H
#define GAMUT_SCHED_BUCKET_TRIAL_H

#include <gamut/sched.h>

// Mean goodput accuracy of the policy, as it is now, over a few short made-up loads on one worker; always the same.
gm_status gm__bucket_trial(const gm_policy *p, const gm_latency *l, double *value, gm_error *err);

#endif
