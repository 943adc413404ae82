// SPDX-License-Identifier: Apache-2.0
// Learning rate as a function of the step. Fractional epochs are just steps.
#include "train/strategy.h"

#include <math.h>

double gm__schedule_lr(gm_schedule kind, double peak, double floor, uint64_t step, uint64_t span, uint64_t warmup) {
    if (step < warmup) return peak * (double)(step + 1) / (double)warmup;
    if (span <= warmup) return peak;
    double progress = (double)(step - warmup) / (double)(span - warmup);
    if (progress > 1) progress = 1;
    switch (kind) {
    case GM_SCHEDULE_COSINE: // max, not a blend: the published form
        return fmax(peak * floor, 0.5 * peak * (1 + cos(3.14159265358979323846 * progress)));
    case GM_SCHEDULE_LINEAR: return peak * (floor + (1 - floor) * (1 - progress));
    case GM_SCHEDULE_CONSTANT: break;
    }
    return peak;
}
