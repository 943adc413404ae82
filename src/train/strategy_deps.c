// SPDX-License-Identifier: Apache-2.0
// deps: Delayed epsilon-Shrinking (ECCV 2024; 2.12 of the training specification). The full net alone up to D - W, then
// sandwiches whose subnets enter with a gradient weight beta that ramps from 0 over the W steps before D.
#include "train/run.h"
#include "train/strategy.h"

#include <math.h>

static gm_status deps_init(gm__context *c, gm_error *err) {
    (void)err;
    const gm_train_settings *s = c->settings;
    c->delay = (uint64_t)llround((double)s->delay * (double)c->steps);
    c->ramp = (uint64_t)llround((double)s->ramp * (double)c->steps);
    if (c->ramp > c->delay) c->ramp = c->delay;
    uint64_t begin = c->delay - c->ramp;
    gm__phase_add(c, "full", 0, begin, (double)s->lr)->lr_end = c->steps;
    gm__phase *shrink = gm__phase_add(c, "shrink", begin, c->steps, (double)s->lr);
    shrink->lr_begin = 0; // one schedule over the whole run
    // Only the full net was trained so far, so every channel may go anywhere: stage 0. The authors' code keeps the
    // bands of smaller ratios that nobody trained yet; `banded` reproduces that.
    if (s->sort == GM_SORT_FREE) shrink->sort_stage = 0;
    if (s->sort == GM_SORT_BANDED) shrink->sort_stage = gm__sort_banded_stage(c->graph);
    return GM_OK;
}

double gm__deps_beta(const gm__context *c, uint64_t step) {
    if (step >= c->delay) return 1;
    const gm__phase *p = &c->phase[1];
    // eta_D is the learning rate at the END of epoch D, one epoch past D. In runs of few epochs that would leave a
    // visible jump at D, so it looks at most 1 % of the run ahead.
    uint64_t ahead = c->steps_per_epoch < c->steps / 100 ? c->steps_per_epoch : c->steps / 100;
    double eta_delay = gm__phase_lr(c, p, c->delay + ahead), eta = gm__phase_lr(c, p, step);
    double fraction = (double)(step - p->begin + 1) / (double)c->ramp;
    return eta_delay * fraction / eta;
}

static void deps_plan(const gm__context *c, uint64_t step, gm__step_plan *out) {
    if (step >= c->phase[1].begin) {
        gm__plan_sandwich(c, step, 1, gm__deps_beta(c, step), out);
        return;
    }
    *out = (gm__step_plan){.lr = gm__phase_lr(c, &c->phase[0], step)};
    gm__slot_add(c, out, step, c->max, GM__LOSS_LABELS, 1, true);
}

const gm__strategy gm__strategy_deps = {.name = "deps", .init = deps_init, .plan = deps_plan};
