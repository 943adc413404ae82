// SPDX-License-Identifier: Apache-2.0
// bignas: the sandwich rule with in-place distillation from the first step (2.10 of the training specification).
#include "train/strategy.h"

static gm_status bignas_init(gm__context *c, gm_error *err) {
    (void)err;
    gm__phase_add(c, "sandwich", 0, c->steps, (double)c->settings->lr);
    return GM_OK;
}

static void bignas_plan(const gm__context *c, uint64_t step, gm__step_plan *out) {
    gm__plan_sandwich(c, step, 0, 1, out);
}

const gm__strategy gm__strategy_bignas = {.name = "bignas", .init = bignas_init, .plan = bignas_plan};
