// SPDX-License-Identifier: Apache-2.0
// select: depth elasticity (LayerSelect). Inputs: 0 inside, 1 shortcut. It has no value of its own: gm_resolve sets its
// source to the input that the choice keeps.
#include "graph/ops/ops.h"

static gm_status resolve(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    (void)g;
    (void)err;
    r->node[node].out = r->node[r->node[node].source].out;
    return GM_OK;
}

const gm_op gm__op_select = {.name = "select", .resolve = resolve};
