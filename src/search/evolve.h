// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_SEARCH_EVOLVE_H
#define GAMUT_SEARCH_EVOLVE_H

#include <gamut/search.h>

// The cost of the smallest subnet; GM_ERR_RANGE when it is above max_cost.
gm_status gm__evolve_check(const gm_evolution_problem *problem, double max_cost, double *least, gm_error *err);

#endif
