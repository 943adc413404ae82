// SPDX-License-Identifier: Apache-2.0
// act: an activation on its own (most are fused into norm).
#include "graph/ops/ops.h"

static void forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    x->kernels->act(x->type, x->graph->node[node].act, (image1 - image0) * gm__positions(in), in->shape.c,
                    gm__data(in, image0), in->ld, gm__data(out, image0), out->ld);
}

static void backward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    if (!in->grad) return;
    x->kernels->act_grad(x->type, x->graph->node[node].act, (image1 - image0) * gm__positions(in), in->shape.c,
                         gm__data(in, image0), in->ld, gm__grad(x, out, image0), out->ld, gm__accumulates(x, node, 0),
                         gm__grad(x, in, image0), in->ld);
}

const gm_op gm__op_act = {.name = "act", .resolve = gm__resolve_same, .forward = forward, .backward = backward, .in_place = true};
