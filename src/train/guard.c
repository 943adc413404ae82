// SPDX-License-Identifier: Apache-2.0
// The loss-spike guard. Supernets now and then collapse in mid-epoch (reports: AttentiveNAS issue 5, AlphaNet issue 6):
// then the run goes back to its last good state and continues on other images with half the subnets' weight.
#include "train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

gm__verdict gm__guard_judge(const gm__guard *g, double spike, int classes, double loss, double sumsq) {
    if (!isfinite(loss) || !isfinite(sumsq)) return GM__NOT_FINITE;
    if (spike <= 0 || g->count < GM__GUARD_READY || g->strikes > GM__GUARD_STRIKES) return GM__SANE;
    float sorted[GM__GUARD_WINDOW];
    memcpy(sorted, g->history, (size_t)g->count * sizeof *sorted);
    qsort(sorted, (size_t)g->count, sizeof *sorted, by_value);
    double median = (double)sorted[g->count / 2];
    // A multiple of a small loss is nothing: one hard batch at the end of training. A collapse is a large part of the
    // way to chance, ln(classes).
    return loss > spike * median && loss > median + 0.3 * log(classes > 2 ? classes : 2) ? GM__SPIKE : GM__SANE;
}

void gm__guard_accept(gm__guard *g, double loss) {
    g->history[g->next] = (float)loss;
    g->next = (g->next + 1) % GM__GUARD_WINDOW;
    if (g->count < GM__GUARD_WINDOW) g->count++;
    if (g->calm > 0 && --g->calm == 0) g->damp = 1;
}

void gm__guard_forget(gm__guard *g) {
    g->count = 0;
    g->next = 0;
}

void gm__guard_rolled_back(gm__guard *g) {
    g->rollbacks++;
    g->strikes++;
    g->damp *= 0.5f;
    g->calm = GM__GUARD_CALM;
}
