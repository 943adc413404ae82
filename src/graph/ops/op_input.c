// SPDX-License-Identifier: Apache-2.0
// input: node 0, the batch itself. Its size is elastic (the resolution knob).
#include "graph/ops/ops.h"

static gm_status resolve(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    (void)err;
    int size = gm_size_value(g, &g->node[node].out, &r->choice);
    r->node[node].in = r->node[node].out = (gm_shape){size, size, g->input_channels};
    return GM_OK;
}

const gm_op gm__op_input = {.name = "input", .resolve = resolve};
