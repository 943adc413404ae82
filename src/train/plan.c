// SPDX-License-Identifier: Apache-2.0
// The parts that strategies share: phases, draws and sandwiches.
#include "train/strategy.h"

#include <math.h>
#include <string.h>

// Slots of the counter RNG beyond those of subnets.
enum { SLOT_RESOLUTION = 1000 };

const gm__strategy *gm__strategy_find(gm_strategy s) {
    switch (s) {
    case GM_STRATEGY_PLAIN: return &gm__strategy_plain;
    case GM_STRATEGY_OFA: return &gm__strategy_ofa;
    case GM_STRATEGY_COMPOFA: return &gm__strategy_compofa;
    case GM_STRATEGY_BIGNAS: return &gm__strategy_bignas;
    case GM_STRATEGY_DEPS: return &gm__strategy_deps;
    }
    return NULL;
}

const gm__strategy *gm__context_strategy(const gm__context *c) { return gm__strategy_find(c->settings->strategy); }

gm_status gm__context_init(gm__context *c, const gm_train_settings *s, const gm_graph *g, uint64_t steps_per_epoch,
                           gm_error *err) {
    *c = (gm__context){.settings = s, .graph = g, .steps_per_epoch = steps_per_epoch, .resolution_knob = -1,
                       .beta_scale = 1};
    const gm_space *space = &g->space;
    c->max = gm_choice_max(space);
    c->min = gm_choice_min(space);
    c->fixed = c->max;
    for (int k = 0; k < space->knobs; k++)
        if (strcmp(space->group[space->knob[k].group].kind, "resolution") == 0 && space->knob[k].count > 1)
            c->resolution_knob = k;
    if (s->strategy == GM_STRATEGY_PLAIN && s->choice[0])
        return gm_choice_parse(space, s->choice, &c->fixed, err);
    return GM_OK;
}

const gm_graph *gm__graph_at(const gm__context *c, uint64_t step) { return step < c->early ? c->early_graph : c->graph; }

gm_status gm__context_set_steps(gm__context *c, uint64_t steps, gm_error *err) {
    c->steps = steps > 0 ? steps : 1;
    c->early = c->early_graph ? (uint64_t)llround((double)c->settings->early_part * (double)c->steps) : 0;
    c->phases = 0;
    return gm__context_strategy(c)->init(c, err);
}

gm__phase *gm__phase_add(gm__context *c, const char *name, uint64_t begin, uint64_t end, double lr) {
    gm__phase *p = &c->phase[c->phases++];
    *p = (gm__phase){.name = name, .begin = begin, .end = end, .lr_begin = begin, .lr_end = end, .lr = lr,
                     .sort_stage = -1, .subnets = c->settings->subnets};
    p->warmup = (uint64_t)llround((double)c->settings->warmup * (double)c->steps_per_epoch);
    return p;
}

int gm__phase_at(const gm__context *c, uint64_t step) {
    int p = 0;
    while (p + 1 < c->phases && step >= c->phase[p + 1].begin) p++;
    return p;
}

double gm__phase_lr(const gm__context *c, const gm__phase *p, uint64_t step) {
    return gm__schedule_lr(c->settings->schedule, p->lr, (double)c->settings->final_lr, step - p->lr_begin,
                           p->lr_end - p->lr_begin, p->warmup);
}

int gm__step_resolution_index(const gm__context *c, uint64_t step) {
    if (c->resolution_knob < 0) return -1;
    if (c->settings->strategy == GM_STRATEGY_PLAIN) return c->fixed.index[c->resolution_knob];
    gm_rng rng = gm_rng_keyed(c->settings->seed, step, SLOT_RESOLUTION, GM_RNG_SUBNET);
    return (int)gm_rng_below(&rng, c->graph->space.knob[c->resolution_knob].count);
}

int gm__step_resolution(const gm__context *c, uint64_t step) {
    gm_choice choice = c->settings->strategy == GM_STRATEGY_PLAIN ? c->fixed : c->max;
    if (c->resolution_knob >= 0) choice.index[c->resolution_knob] = (uint8_t)gm__step_resolution_index(c, step);
    const gm_graph *g = gm__graph_at(c, step);
    return gm_size_value(g, &g->node[0].out, &choice);
}

static bool is_kind(const gm_space *s, int knob, const char *kind) {
    return strcmp(s->group[s->knob[knob].group].kind, kind) == 0;
}

// The depth knob of a block's knob. The first blocks of a stage are never switched off and so name no depth knob:
// theirs is that of the next block in order that has one.
static int stage_of(const gm_space *s, int knob) {
    for (int k = knob; k < s->knobs && s->knob[k].group == s->knob[knob].group; k++)
        if (s->knob[k].gate_knob >= 0) return s->knob[k].gate_knob;
    return -1;
}

// CompOFA: the expand ratios of a stage follow its depth, position by position (2.9 of the training specification).
static void couple(const gm_space *s, const uint8_t *low, gm_choice *choice) {
    for (int k = 0; k < s->knobs; k++) {
        int depth = is_kind(s, k, "expand") ? stage_of(s, k) : -1;
        if (depth < 0) continue;
        int from = s->knob[depth].count - 1, to = s->knob[k].count - 1;
        int i = from > 0 ? (2 * choice->index[depth] * to + from) / (2 * from) : to;
        choice->index[k] = (uint8_t)gm_max(i, low[k]);
    }
}

gm_choice gm__draw(const gm__context *c, const uint8_t *low, uint64_t step, int slot) {
    const gm_space *s = &c->graph->space;
    gm_rng rng = gm_rng_keyed(c->settings->seed, step, (uint64_t)slot, GM_RNG_SUBNET);
    gm_choice choice = {0};
    for (int k = 0; k < s->knobs; k++) {
        int count = s->knob[k].count - low[k];
        choice.index[k] = (uint8_t)(low[k] + (int)gm_rng_below(&rng, (uint32_t)count));
    }
    if (c->settings->strategy == GM_STRATEGY_COMPOFA || strcmp(c->settings->sampler, "compofa") == 0)
        couple(s, low, &choice);
    return choice;
}

void gm__slot_add(const gm__context *c, gm__step_plan *p, uint64_t step, gm_choice choice, gm__loss loss, double beta,
                  bool dropout) {
    if (c->resolution_knob >= 0) choice.index[c->resolution_knob] = (uint8_t)gm__step_resolution_index(c, step);
    p->slot[p->slots++] = (gm__slot){.choice = gm_choice_canonical(&c->graph->space, choice), .loss = loss,
                                     .beta = beta, .dropout = dropout};
}

void gm__plan_sandwich(const gm__context *c, uint64_t step, int phase, double beta, gm__step_plan *out) {
    const gm__phase *p = &c->phase[phase];
    *out = (gm__step_plan){.phase = phase, .lr = gm__phase_lr(c, p, step)};
    gm__slot_add(c, out, step, c->max, GM__LOSS_LABELS, 1, true);
    // The order is the published one: the smallest second, then the draws.
    for (int slot = 1; slot < p->subnets; slot++)
        gm__slot_add(c, out, step, slot == 1 ? c->min : gm__draw(c, p->low, step, slot), GM__LOSS_IN_PLACE,
                     beta * c->beta_scale, false);
}
