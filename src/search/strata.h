// SPDX-License-Identifier: Apache-2.0
// Which images tell subnets apart: those that some of them get right and others do not. Accuracy over all images is estimated
// from a stratified sample of them, without bias and with far less noise than from as many images at random.
#ifndef GAMUT_SEARCH_STRATA_H
#define GAMUT_SEARCH_STRATA_H

#include <gamut/base.h>

// mean[images], deviation[images]: of the margin (logit of the class minus the largest other) over a few subnets; all zero: not
// known. Chooses `wanted` (1 to `images`) images; an estimate is the sum of weight[j] over the chosen images that are right.
// Weights add up to 1. The same seed chooses the same.
gm_status gm__strata_choose(const float *mean, const float *deviation, int images, int wanted, uint64_t seed, int32_t *chosen,
                            double *weight, gm_error *err);

#endif
