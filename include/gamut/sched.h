// SPDX-License-Identifier: Apache-2.0
// sched: decisions only, in virtual time. A policy is a pure function of a view of the queue, a profile and the time; the server,
// the simulator and the tests call the very same function.
#ifndef GAMUT_SCHED_H
#define GAMUT_SCHED_H

#include <gamut/base.h>

// ---------------------------------------------------------------------------------------------
// A profile: what each subnet costs on one machine, and how good it is.
enum { GM_PROFILE_BATCHES = 32, GM_PROFILE_SUBNETS = 4096 };
typedef struct gm_profile_subnet {
    uint64_t id;       // gm_choice_id; any number where there is no space (a published table)
    char choice[512];  // its text form; may be empty
    double top1;       // percent, on the validation split
    uint64_t macs;
    int64_t p50_ns[GM_PROFILE_BATCHES], p99_ns[GM_PROFILE_BATCHES]; // of one run, by index of gm_profile.batch
} gm_profile_subnet;
typedef struct gm_profile {
    char preset[32], data[32], cpu_model[96], level[16]; // level: gm_cpu_level_name
    gm_dtype type;
    int threads;
    int batches, batch[GM_PROFILE_BATCHES]; // ascending, starts with 1
    int subnets;
    gm_profile_subnet *subnet; // owned; ascending by accuracy
} gm_profile;
GM_API void gm_profile_fini(gm_profile *p);
// Makes latency monotone in batch and along the front (isotonic fit), drops dominated subnets (specs: superserve 2.8),
// sorts by accuracy. Errors on an empty profile or values out of range.
GM_API gm_status gm_profile_regularise(gm_profile *p, gm_error *err);

#endif
