// SPDX-License-Identifier: Apache-2.0
// Exponential and gamma draws.
#include <gamut/base.h>

#include <math.h>

// (0,1], 32 bits
static double open_uniform(gm_rng *rng) {
    return ((double)gm_rng_u32(rng) + 1.0) * 0x1p-32;
}

// Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 2000; below 1 by their section 6.
double gm_rng_gamma(gm_rng *rng, double shape) {
    if (shape < 1.0) return gm_rng_gamma(rng, shape + 1.0) * pow(open_uniform(rng), 1.0 / shape);
    double d = shape - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = gm_rng_normal(rng), v = 1.0 + c * x;
        if (v <= 0.0) continue;
        v = v * v * v;
        if (log(open_uniform(rng)) < 0.5 * x * x + d * (1.0 - v + log(v))) return d * v;
    }
}
