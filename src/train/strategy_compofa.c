// SPDX-License-Identifier: Apache-2.0
// compofa (ICLR 2021; 2.9 of the training specification): the full net, then all subnets whose depth and widths go
// together, taught by the full net: a short phase at a small learning rate and a long one.
#include "train/strategy.h"

#include <math.h>

static gm_status compofa_init(gm__context *c, gm_error *err) {
    static const char *const names[3] = {"full", "compound 1", "compound 2"};
    static const int share[3] = {0, 2, 3}; // of OFA's six phases: full, depth 1, depth 2
    const gm_train_settings *s = c->settings;
    double total = 0, before = 0;
    for (int i = 0; i < 3; i++) total += (double)s->phase_epochs[share[i]];
    if (!(total > 0))
        return gm_fail(err, GM_ERR_RANGE, "phase_epochs: compofa takes its shares from full, depth 1 and depth 2, which "
                       "are all 0");
    for (int i = 0; i < 3; i++) {
        if (!(s->phase_epochs[share[i]] > 0)) continue;
        uint64_t begin = (uint64_t)llround(before / total * (double)c->steps);
        before += (double)s->phase_epochs[share[i]];
        uint64_t end = (uint64_t)llround(before / total * (double)c->steps);
        gm__phase *p = gm__phase_add(c, names[i], begin, end, (double)s->lr * (double)s->phase_lr[share[i]]);
        if (i == 0) continue;
        p->reset_momentum = true;
        p->warmup = s->warmup > 0 ? (end - begin) / 25 : 0;
        if (c->phases == 2) { // the first that shrinks: only the full net was trained, so channels may go anywhere
            p->take_teacher = true;
            p->sort_stage = s->sort == GM_SORT_NONE ? -1 : 0;
        }
    }
    return GM_OK;
}

static void compofa_plan(const gm__context *c, uint64_t step, gm__step_plan *out) {
    int phase = gm__phase_at(c, step);
    const gm__phase *p = &c->phase[phase];
    *out = (gm__step_plan){.phase = phase, .lr = gm__phase_lr(c, p, step)};
    if (phase == 0) {
        gm__slot_add(c, out, step, c->max, GM__LOSS_LABELS, 1, true);
        return;
    }
    for (int slot = 0; slot < p->subnets; slot++)
        gm__slot_add(c, out, step, gm__draw(c, p->low, step, slot),
                     c->settings->kd_ratio > 0 ? GM__LOSS_TEACHER : GM__LOSS_LABELS, 1, true);
}

const gm__strategy gm__strategy_compofa = {.name = "compofa", .init = compofa_init, .plan = compofa_plan};
