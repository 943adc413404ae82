// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011, section 3.3. A pure function of (key, counter): any stream starts anywhere, at no cost.
#include "base/philox.h"
#include <gamut/base.h>
#include <math.h>

void gm__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * x0;
        uint64_t b = (uint64_t)0xCD9E8D57u * x2;
        x0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)b;
        x2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)a;
        k0 += 0x9E3779B9u; // the golden ratio
        k1 += 0xBB67AE85u; // the square root of 3, less 1
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

// The finisher of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection that spreads small numbers.
static uint64_t spread(uint64_t v) {
    v += 0x9E3779B97F4A7C15u;
    v = (v ^ (v >> 30)) * 0xBF58476D1CE4E5B9u;
    v = (v ^ (v >> 27)) * 0x94D049BB133111EBu;
    return v ^ (v >> 31);
}

gm_rng gm_rng_keyed(uint64_t seed, uint64_t a, uint64_t b, uint32_t purpose) {
    gm_rng rng = {.key = {spread(spread(seed) + purpose), spread(spread(a) + b)}};
    return rng;
}

uint32_t gm_rng_u32(gm_rng *rng) {
    if (rng->left == 0) {
        // Philox has a 64-bit key and a 128-bit counter; the counter's upper half is our second key.
        const uint32_t counter[4] = {(uint32_t)rng->counter, (uint32_t)(rng->counter >> 32),
                                     (uint32_t)rng->key[1], (uint32_t)(rng->key[1] >> 32)};
        const uint32_t key[2] = {(uint32_t)rng->key[0], (uint32_t)(rng->key[0] >> 32)};
        gm__philox(counter, key, rng->block);
        rng->counter++;
        rng->left = 4;
    }
    return rng->block[4 - rng->left--];
}

uint64_t gm_rng_u64(gm_rng *rng) {
    uint64_t low = gm_rng_u32(rng);
    return low | (uint64_t)gm_rng_u32(rng) << 32;
}

// Lemire, "Fast random integer generation in an interval", ACM TOMACS 2019, algorithm 5.
uint32_t gm_rng_below(gm_rng *rng, uint32_t n) {
    uint64_t product = (uint64_t)gm_rng_u32(rng) * n;
    if ((uint32_t)product < n) {
        uint32_t threshold = (0u - n) % n;
        while ((uint32_t)product < threshold) product = (uint64_t)gm_rng_u32(rng) * n;
    }
    return (uint32_t)(product >> 32);
}

float gm_rng_uniform(gm_rng *rng) {
    return (float)(gm_rng_u32(rng) >> 8) * 0x1p-24f;
}

// Box and Muller's transform in double, so that float rounding leaves the tails alone. The second
// value is dropped: keeping it would be state outside (key, counter).
float gm_rng_normal(gm_rng *rng) {
    double u = ((double)gm_rng_u32(rng) + 1.0) * 0x1p-32;
    double v = (double)gm_rng_u32(rng) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}
