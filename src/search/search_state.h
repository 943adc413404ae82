// SPDX-License-Identifier: Apache-2.0
// The state of a search, and its stages (search_*.c), in the order in which they run.
#ifndef GAMUT_SEARCH_STATE_H
#define GAMUT_SEARCH_STATE_H

#include "search/evolve.h"
#include "search/sampler.h"

enum {
    GM__SEARCH_ENDS = 2, // samples that are not random: the smallest and the largest subnet
    GM__SEARCH_LEVELS = 1000 // most
};

typedef struct gm__search {
    const gm_search_settings *s;
    gm_model *model;
    const gm_space *space;
    gm__sampler sampler;
    gm_latency_model *latency; // objective latency without published tables
    gm_predictor *predictor;   // NULL when exhaustive
    gm_evolution_problem problem;
    double max_cost, least, most; // the constraint (infinity: none); the costs of the smallest and largest subnet
    gm_choice *sample;
    double *sample_top1; // percent
    int samples;
    double *judged_top1; // of `judges` samples after the smallest and the largest, measured in full
    int judges;
    gm_choice *candidate;
    int candidates, candidates_most;
    gm_search_result *out;
} gm__search;

// search_cost.c: the table of this machine, and the cost of any subnet.
gm_status gm__search_costs(gm__search *q, gm_error *err);
// search_sample.c: the subnets to measure, their accuracies, and how far those can be trusted.
gm_status gm__search_sample(gm__search *q, gm_error *err);
// search_front.c: the predictor and the evolution give candidates; they are measured; the best are the front.
gm_status gm__search_candidates(gm__search *q, gm_error *err);
gm_status gm__search_front(gm__search *q, gm_error *err);

#endif
