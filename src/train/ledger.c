// SPDX-License-Identifier: Apache-2.0
// The cost ledger: multiply-accumulates of a plan (2.6 of the training specification), and the length of a run from its
// budget.
#include "train/strategy.h"

#include <math.h>

gm_status gm__step_macs(const gm__context *c, uint64_t step, const gm__step_plan *p, uint64_t *macs, gm_error *err) {
    const gm_graph *g = gm__graph_at(c, step);
    uint64_t images = (uint64_t)c->settings->batch;
    bool teacher = false;
    *macs = 0;
    for (int i = 0; i < p->slots; i++) {
        gm_cost cost = {0};
        gm_status status = gm_count(g, &p->slot[i].choice, &cost, err);
        if (status != GM_OK) return status;
        *macs += cost.macs * 3 * images;
        teacher = teacher || p->slot[i].loss == GM__LOSS_TEACHER;
    }
    if (teacher) {
        gm_choice choice = c->max;
        if (c->resolution_knob >= 0) choice.index[c->resolution_knob] = p->slot[0].choice.index[c->resolution_knob];
        gm_cost cost = {0};
        gm_status status = gm_count(g, &choice, &cost, err);
        if (status != GM_OK) return status;
        *macs += cost.macs * images;
    }
    return GM_OK;
}

gm_status gm__expected_macs(const gm__context *c, uint64_t from, int samples, double *macs, gm_error *err) {
    const gm__strategy *strategy = gm__context_strategy(c);
    *macs = 0;
    for (int i = 0; i < c->phases; i++) {
        uint64_t begin = c->phase[i].begin > from ? c->phase[i].begin : from;
        if (begin >= c->phase[i].end) continue;
        uint64_t length = c->phase[i].end - begin;
        uint64_t n = length < (uint64_t)samples ? length : (uint64_t)samples;
        double sum = 0;
        for (uint64_t j = 0; j < n; j++) {
            gm__step_plan plan;
            uint64_t one;
            uint64_t step = begin + j * length / n;
            strategy->plan(c, step, &plan);
            gm_status status = gm__step_macs(c, step, &plan, &one, err);
            if (status != GM_OK) return status;
            sum += (double)one;
        }
        *macs += sum * (double)length / (double)n;
    }
    return GM_OK;
}

// The schedule ends where the budget does: the number of steps is the largest whose expected cost fits.
static gm_status steps_for_budget(gm__context *c, gm_error *err) {
    double budget = c->settings->max_macs, macs;
    uint64_t low = 1, high = 2;
    gm_status status;
    for (;; high *= 2) {
        if ((status = gm__context_set_steps(c, high, err)) != GM_OK) return status;
        if ((status = gm__expected_macs(c, 0, 64, &macs, err)) != GM_OK) return status;
        if (high == 2 && macs / 2 > budget)
            return gm_fail(err, GM_ERR_RANGE, "max_macs %.3g is less than one step costs (%.3g): raise it", budget,
                           macs / 2);
        if (macs > budget) break;
        if (high > (UINT64_C(1) << 40))
            return gm_fail(err, GM_ERR_RANGE, "max_macs %.3g allows more steps than any run takes: lower it", budget);
        low = high;
    }
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if ((status = gm__context_set_steps(c, middle, err)) != GM_OK) return status;
        if ((status = gm__expected_macs(c, 0, 64, &macs, err)) != GM_OK) return status;
        if (macs > budget) high = middle;
        else low = middle;
    }
    // one correction with a far larger sample: the small one is a few thousandths off
    if ((status = gm__context_set_steps(c, low, err)) != GM_OK) return status;
    if ((status = gm__expected_macs(c, 0, 4096, &macs, err)) != GM_OK) return status;
    return gm__context_set_steps(c, (uint64_t)((double)low * budget / macs), err);
}

gm_status gm__context_plan_length(gm__context *c, gm_error *err) {
    if (c->settings->max_macs > 0) return steps_for_budget(c, err);
    return gm__context_set_steps(c, (uint64_t)llround(c->settings->epochs * (double)c->steps_per_epoch), err);
}
