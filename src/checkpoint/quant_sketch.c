// SPDX-License-Identifier: Apache-2.0
// The paper's quantile sketch: DDSketch (Masson, Rim, Lee, VLDB 2019) without merging of buckets. Bucket i holds the values in
// (gamma^(i-1), gamma^i], gamma = (1 + alpha) / (1 - alpha); any quantile read from it is within alpha of the exact one.
#include "checkpoint/quant_private.h"

#include <float.h>
#include <math.h>

gm_status gm__sketch_init(gm__sketch *s, double alpha, gm_error *err) {
    *s = (gm__sketch){.alpha = alpha};
    if (!(alpha >= 0.001 && alpha <= 0.5))
        return gm_fail(err, GM_ERR_RANGE, "sketch: alpha %g is not between 0.001 and 0.5", alpha);
    s->log_gamma = log((1 + alpha) / (1 - alpha));
    s->lowest = gm__sketch_bucket(s, 0x1p-149);
    s->buckets = gm__sketch_bucket(s, (double)FLT_MAX) - s->lowest + 1;
    s->count = gm_alloc((size_t)s->buckets, sizeof *s->count);
    return s->count ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for a sketch of %d buckets", s->buckets);
}

void gm__sketch_fini(gm__sketch *s) {
    gm_free(s->count);
    *s = (gm__sketch){0};
}

int gm__sketch_bucket(const gm__sketch *s, double x) { return (int)ceil(log(x) / s->log_gamma); }

double gm__sketch_value(const gm__sketch *s, int bucket) {
    return 2 * exp(s->log_gamma * bucket) / (exp(s->log_gamma) + 1);
}

void gm__sketch_add(gm__sketch *s, float x) {
    if (x == 0) s->zeros++;
    else s->count[gm__sketch_bucket(s, (double)x) - s->lowest]++;
}
