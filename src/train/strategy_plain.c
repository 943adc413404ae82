// SPDX-License-Identifier: Apache-2.0
// plain: one subnet alone, the yardstick for every supernet.
#include "train/strategy.h"

static gm_status plain_init(gm__context *c, gm_error *err) {
    (void)err;
    gm__phase_add(c, "plain", 0, c->steps, (double)c->settings->lr);
    return GM_OK;
}

static void plain_plan(const gm__context *c, uint64_t step, gm__step_plan *out) {
    *out = (gm__step_plan){.lr = gm__phase_lr(c, &c->phase[0], step)};
    gm__slot_add(c, out, step, c->fixed, GM__LOSS_LABELS, 1, true);
}

const gm__strategy gm__strategy_plain = {.name = "plain", .init = plain_init, .plan = plain_plan};
