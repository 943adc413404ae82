// SPDX-License-Identifier: Apache-2.0
// ofa: progressive shrinking (Once-for-all, ICLR 2020; 2.7 of the training specification). The full net first, then the
// kernel, depth and expand phases, taught by the full net as it was at the end of the first phase.
#include "train/strategy.h"

#include <math.h>
#include <string.h>

enum { FULL, KERNEL, DEPTH_1, DEPTH_2, EXPAND_1, EXPAND_2, PARTS };

typedef enum kind { KIND_KERNEL, KIND_DEPTH, KIND_EXPAND, KIND_FREE } kind;

static kind kind_of(const gm_space *s, int knob) {
    const char *name = s->group[s->knob[knob].group].kind;
    if (strcmp(name, "kernel") == 0) return KIND_KERNEL;
    if (strcmp(name, "depth") == 0) return KIND_DEPTH;
    if (strcmp(name, "resolution") == 0) return KIND_FREE; // elastic from the start
    return KIND_EXPAND; // expand ratios, widths, heads: they shrink last
}

static int most_values(const gm_space *s, kind k) {
    int most = 0;
    for (int i = 0; i < s->knobs; i++)
        if (kind_of(s, i) == k) most = gm_max(most, s->knob[i].count);
    return most;
}

// How many of its smaller values a phase gives each kind: 0, 1 or all.
static void allow(const gm_space *s, int part, uint8_t *low) {
    for (int i = 0; i < s->knobs; i++) {
        int steps = 0, all = s->knob[i].count - 1;
        switch (kind_of(s, i)) {
        case KIND_KERNEL: steps = part >= KERNEL ? all : 0; break;
        case KIND_DEPTH: steps = part >= DEPTH_2 ? all : part == DEPTH_1 ? 1 : 0; break;
        case KIND_EXPAND: steps = part >= EXPAND_2 ? all : part == EXPAND_1 ? 1 : 0; break;
        case KIND_FREE: steps = all; break;
        }
        low[i] = (uint8_t)(all - gm_min(steps, all));
    }
}

static gm_status ofa_init(gm__context *c, gm_error *err) {
    static const char *const names[PARTS] = {"full", "kernel", "depth 1", "depth 2", "expand 1", "expand 2"};
    static const int subnets[PARTS] = {1, 1, 2, 2, 4, 4};
    const gm_train_settings *s = c->settings;
    const gm_space *space = &c->graph->space;
    int depth = most_values(space, KIND_DEPTH), expand = most_values(space, KIND_EXPAND);
    // A phase that adds nothing is skipped, and its share of the epochs goes to the others in proportion. With two
    // values only there is nothing between the first and the second phase of a kind.
    bool used[PARTS] = {true, most_values(space, KIND_KERNEL) > 1, depth > 2, depth > 1, expand > 2, expand > 1};
    double total = 0, before = 0;
    for (int i = 0; i < PARTS; i++) total += used[i] ? (double)s->phase_epochs[i] : 0;
    if (!(total > 0))
        return gm_fail(err, GM_ERR_RANGE, "phase_epochs: the phases that this space needs have no epochs at all");
    for (int i = 0; i < PARTS; i++) {
        if (!used[i] || !(s->phase_epochs[i] > 0)) continue;
        uint64_t begin = (uint64_t)llround(before / total * (double)c->steps);
        before += (double)s->phase_epochs[i];
        uint64_t end = (uint64_t)llround(before / total * (double)c->steps);
        gm__phase *p = gm__phase_add(c, names[i], begin, end, (double)s->lr * (double)s->phase_lr[i]);
        p->subnets = gm_min(subnets[i], s->subnets);
        allow(space, i, p->low);
        if (i > FULL) {
            p->reset_momentum = true;
            p->take_teacher = c->phases == 2;
            p->warmup = s->warmup > 0 ? (end - begin) / 25 : 0; // 5 of 125 epochs
        }
        // Before a width is trained its channels are sorted; the bands protect the widths that already are.
        if (s->sort != GM_SORT_NONE && i == EXPAND_1) p->sort_stage = 0;
        if (s->sort != GM_SORT_NONE && i == EXPAND_2) p->sort_stage = used[EXPAND_1] ? 1 : 0;
    }
    return GM_OK;
}

static void ofa_plan(const gm__context *c, uint64_t step, gm__step_plan *out) {
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

const gm__strategy gm__strategy_ofa = {.name = "ofa", .init = ofa_init, .plan = ofa_plan};
