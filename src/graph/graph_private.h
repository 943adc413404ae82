// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_GRAPH_PRIVATE_H
#define GAMUT_GRAPH_PRIVATE_H

#include <gamut/graph.h>

static inline bool gm__gate_holds(const gm_gate *gate, const gm_choice *choice) {
    return gate->knob < 0 || choice->index[gate->knob] >= gate->min;
}

#endif
