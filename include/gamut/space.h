// SPDX-License-Identifier: Apache-2.0
// space: the knobs of a supernet, and choices: one value per knob, a small plain value type.
#ifndef GAMUT_SPACE_H
#define GAMUT_SPACE_H

#include <gamut/base.h>

enum { GM_MAX_KNOBS = 64, GM_MAX_VALUES = 32, GM_MAX_GROUPS = 8 };

// Canonical order of value indices is ASCENDING by value: index 0 is the smallest, the last the largest.
typedef struct gm_knob {
    char name[24];                 // "d1", "e7", "k20", "r": group letter(s) + number within the group
    uint8_t group;                 // index into gm_space.groups
    uint8_t count;                 // number of allowed values, >= 1
    double values[GM_MAX_VALUES];  // ascending
    int16_t gate_knob;             // -1, or the depth knob that can switch this one off
    uint8_t gate_min;              // in use only when choice[gate_knob] >= gate_min (an index)
} gm_knob;

// A group of the text form: letter(s) before '=': d depth, e expand, k kernel, w width, r resolution.
typedef struct gm_knob_group {
    char name[8];
    char kind[16]; // "depth", "expand", "kernel", "width", "resolution"
} gm_knob_group;

typedef struct gm_space {
    int knobs, groups;
    gm_knob knob[GM_MAX_KNOBS]; // knobs of one group are consecutive
    gm_knob_group group[GM_MAX_GROUPS];
} gm_space;

// Value indices; entries past space->knobs are 0. Plain value: copy and compare freely.
typedef struct gm_choice {
    uint8_t index[GM_MAX_KNOBS];
} gm_choice;

// Adding to a space (families do this). Values ascending; errors on too many or unsorted. *out_knob may be NULL.
GM_API void gm_space_init(gm_space *space);
GM_API gm_status gm_space_add(gm_space *space, const char *group, const char *kind, const double *values, int count,
                              int gate_knob, int gate_min, int *out_knob, gm_error *err);

GM_API gm_choice gm_choice_max(const gm_space *space);
GM_API gm_choice gm_choice_min(const gm_space *space);
// Every knob in use drawn uniformly and independently (the published "random" sampler).
GM_API gm_choice gm_choice_random(const gm_space *space, gm_rng *rng);
// Knobs that are gated off are set to index 0, so that equal subnets are equal values.
GM_API gm_choice gm_choice_canonical(const gm_space *space, gm_choice choice);
GM_API bool gm_choice_equal(const gm_space *space, const gm_choice *a, const gm_choice *b); // canonical forms
GM_API uint64_t gm_choice_id(const gm_space *space, const gm_choice *choice);                // 64-bit identity
// Each knob redrawn with probability p (Once-for-all's mutation; 2.15 of specs: training).
GM_API gm_choice gm_choice_mutate(const gm_space *space, const gm_choice *choice, double p, gm_rng *rng);
GM_API gm_choice gm_choice_crossover(const gm_space *space, const gm_choice *a, const gm_choice *b, gm_rng *rng);
// Sum over knobs in use in either of |index difference| / (count-1); gated-off against in-use counts 1.
GM_API double gm_choice_distance(const gm_space *space, const gm_choice *a, const gm_choice *b);
// Number of distinct subnets as a decimal string (exact, 128 bit).
GM_API gm_status gm_space_count(const gm_space *space, char *text, size_t size, gm_error *err);
// Visits every distinct subnet; refuses (GM_ERR_RANGE) above limit subnets.
GM_API gm_status gm_space_enumerate(const gm_space *space, uint64_t limit,
                                    bool (*visit)(void *context, const gm_choice *choice), void *context, gm_error *err);
// Text form, e.g. "d=2,3,4 e=0.25,0.35 r=224": all knobs of each group in order; canonical.
GM_API gm_status gm_choice_print(const gm_space *space, const gm_choice *choice, char *text, size_t size, gm_error *err);
// Parses "max", "min", "random:SEED", "uniform:d=4,e=6,k=7" and the full text form (CLI.md). A wrong group, count or
// value is an error that lists the allowed ones. A group left out of the full form keeps its largest value; a single
// value for a group of several knobs applies to all of them.
GM_API gm_status gm_choice_parse(const gm_space *space, const char *text, gm_choice *out, gm_error *err);

#endif
