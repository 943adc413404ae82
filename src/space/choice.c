// SPDX-License-Identifier: Apache-2.0
// space: choices as values: extremes, draws, identity, mutation, crossover, distance.
#include <stdlib.h>
#include <string.h>

#include "space/space_private.h"

gm_choice gm_choice_max(const gm_space *space) {
    gm_choice c = {{0}};
    for (int k = 0; k < space->knobs; k++) c.index[k] = (uint8_t)(space->knob[k].count - 1);
    return gm_choice_canonical(space, c);
}

gm_choice gm_choice_min(const gm_space *space) {
    (void)space; // index 0 is the smallest value of every knob
    return (gm_choice){{0}};
}

static uint8_t draw(const gm_knob *knob, gm_rng *rng) { return (uint8_t)gm_rng_below(rng, knob->count); }

gm_choice gm_choice_random(const gm_space *space, gm_rng *rng) {
    gm_choice c = {{0}};
    // Gated-off knobs are drawn too, so that the numbers a knob gets do not depend on the knobs before it.
    for (int k = 0; k < space->knobs; k++) c.index[k] = draw(&space->knob[k], rng);
    return gm_choice_canonical(space, c);
}

gm_choice gm_choice_canonical(const gm_space *space, gm_choice choice) {
    for (int k = 0; k < space->knobs; k++)
        if (!gm__knob_in_use(space, &choice, k)) choice.index[k] = 0;
    memset(choice.index + space->knobs, 0, sizeof choice.index - (size_t)space->knobs);
    return choice;
}

bool gm_choice_equal(const gm_space *space, const gm_choice *a, const gm_choice *b) {
    gm_choice x = gm_choice_canonical(space, *a), y = gm_choice_canonical(space, *b);
    return memcmp(&x, &y, sizeof x) == 0;
}

uint64_t gm_choice_id(const gm_space *space, const gm_choice *choice) {
    gm_choice c = gm_choice_canonical(space, *choice);
    return gm_hash64(c.index, (size_t)space->knobs, 0);
}

gm_choice gm_choice_mutate(const gm_space *space, const gm_choice *choice, double p, gm_rng *rng) {
    gm_choice old = gm_choice_canonical(space, *choice), c = old;
    for (int k = 0; k < space->knobs; k++) {
        bool redraw = (double)gm_rng_uniform(rng) < p;
        uint8_t value = draw(&space->knob[k], rng);
        // A knob that this mutation switches on had no value to keep (canonical choices hold 0 there, which would
        // favour the smallest): it is drawn in any case.
        if (redraw || !gm__knob_in_use(space, &old, k)) c.index[k] = value;
    }
    return gm_choice_canonical(space, c);
}

gm_choice gm_choice_crossover(const gm_space *space, const gm_choice *a, const gm_choice *b, gm_rng *rng) {
    gm_choice c = {{0}};
    for (int k = 0; k < space->knobs; k++) {
        bool from_b = gm_rng_below(rng, 2) == 1;
        bool in_a = gm__knob_in_use(space, a, k), in_b = gm__knob_in_use(space, b, k);
        if (in_a != in_b) from_b = in_b; // only one parent has a value
        c.index[k] = from_b ? b->index[k] : a->index[k];
    }
    return gm_choice_canonical(space, c);
}

double gm_choice_distance(const gm_space *space, const gm_choice *a, const gm_choice *b) {
    double sum = 0;
    for (int k = 0; k < space->knobs; k++) {
        bool in_a = gm__knob_in_use(space, a, k), in_b = gm__knob_in_use(space, b, k);
        if (in_a != in_b) sum += 1;
        else if (in_a && space->knob[k].count > 1)
            sum += (double)abs(a->index[k] - b->index[k]) / (double)(space->knob[k].count - 1);
    }
    return sum;
}
