// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_GRAPH_PRIVATE_H
#define GAMUT_GRAPH_PRIVATE_H

#include <gamut/graph.h>

static inline bool gm__gate_holds(const gm_gate *gate, const gm_choice *choice) {
    return gate->knob < 0 || choice->index[gate->knob] >= gate->min;
}

// How many values the table of a size has.
static inline int gm__size_entries(const gm_graph *g, const gm_size *s) {
    return (s->knob_a < 0 ? 1 : g->space.knob[s->knob_a].count) * (s->knob_b < 0 ? 1 : g->space.knob[s->knob_b].count);
}

#endif
