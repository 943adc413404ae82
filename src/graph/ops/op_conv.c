// SPDX-License-Identifier: Apache-2.0
// conv and linear: dense products. conv: 2-D convolution. Parameters: 0 weight (panels), 1 bias or none. A slice reads the first output panels and
// the first input rows of every tap.
#include "graph/ops/ops.h"

static gm_status resolve(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    const gm_node *n = &g->node[node];
    gm_status status = gm__resolve_window(g, node, r, n->taps, n->pad, false, err);
    r->node[node].out.c = gm_size_value(g, &n->out, &r->choice);
    return status;
}

static void cost(const gm_graph *g, int node, const gm_resolved *r, gm_cost *add) {
    const gm_resolved_node *n = &r->node[node];
    uint64_t weights = (uint64_t)n->in.c * (uint64_t)n->out.c * (uint64_t)(n->kernel * n->kernel);
    add->macs += weights * (uint64_t)(n->out.h * n->out.w);
    add->params += weights + (g->node[node].param[1] >= 0 ? (uint64_t)n->out.c : 0);
    add->layers++;
}

static void slice(const gm_graph *g, int node, const gm_resolved *r, int j, int extent[4]) {
    (void)g;
    const gm_resolved_node *n = &r->node[node];
    if (j == 0) gm__extent(extent, n->out.c, n->in.c, n->kernel, n->kernel);
    else gm__extent(extent, n->out.c, 1, 1, 1);
}

static void forward(gm_exec *x, int node, int image0, int image1, int worker) {
    gm_conv g = gm__dense_geometry(x, node, image1 - image0);
    gm_value *y = gm__out(x, node);
    gm_epilogue e = {.shift = gm__param(x, node, 1), .out = y->type};
    x->kernels->conv(x->type, &g, gm__data(gm__in(x, node, 0), image0), &x->panels[x->graph->node[node].param[0]],
                     &e, gm__data(y, image0), gm_scratch(worker));
}

static void backward(gm_exec *x, int node, int image0, int image1, int worker) {
    gm_value *in = gm__in(x, node, 0);
    if (!in->grad) return;
    gm_conv g = gm__dense_geometry(x, node, image1 - image0);
    x->kernels->conv_dgrad(x->type, &g, gm__grad(x, gm__out(x, node), image0),
                           &x->panels_t[x->graph->node[node].param[0]], gm__accumulates(x, node, 0),
                           gm__grad(x, in, image0), gm_scratch(worker));
}

static int weight_units(gm_exec *x, int node) {
    gm_conv g = gm__dense_geometry(x, node, x->batch);
    return gm__split_weights(&g, x->panels[x->graph->node[node].param[0]].flat != 0).units;
}

static void backward_weights(gm_exec *x, int node, int unit0, int unit1, int worker) {
    gm_conv g = gm__dense_geometry(x, node, x->batch);
    gm_value *y = gm__out(x, node);
    gm__dense_wgrad(x, &g, gm__in(x, node, 0)->data, y->grad, x->graph->node[node].param[0], unit0, unit1, worker);
    if (unit0 == 0 && gm__param(x, node, 1))
        gm__bias_grad(x, x->batch * gm__positions(y), g.k, y->grad, y->ld, gm__param_grad(x, node, 1), x->aux[node]);
}

static size_t aux(const gm_graph *g, int node, const gm_resolved *r, int batch) {
    (void)batch; // sums for the bias gradient
    return g->node[node].param[1] < 0 ? 0 : 2 * sizeof(float) * (size_t)gm_round_up(r->node[node].out.c, 16);
}

static size_t scratch(const gm_graph *g, int node, const gm_resolved *r, int batch, gm_dtype type) {
    const gm_resolved_node *n = &r->node[node];
    gm_conv conv = {.n = batch, .h = n->in.h, .w = n->in.w, .c = n->in.c, .ho = n->out.h, .wo = n->out.w,
                    .k = n->out.c, .r = gm_max(n->kernel, 1), .s = gm_max(n->kernel, 1),
                    .stride = gm_max(g->node[node].stride, 1), .pad = g->node[node].pad,
                    .ldx = gm_channel_stride(type, n->in.c), .ldy = gm_channel_stride(type, n->out.c)};
    return gm_conv_scratch(&conv, type);
}

const gm_op gm__op_conv = {.name = "conv",
                           .resolve = resolve,
                           .cost = cost,
                           .slice = slice,
                           .forward = forward,
                           .backward = backward,
                           .weight_units = weight_units,
                           .backward_weights = backward_weights,
                           .aux = aux,
                           .scratch = scratch};

// linear: the same product over single positions (a row is an image's vector, or a token).
static gm_status resolve_linear(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    (void)err;
    gm_resolved_node *n = &r->node[node];
    n->kernel = 1;
    n->out = (gm_shape){n->in.h, n->in.w, gm_size_value(g, &g->node[node].out, &r->choice)};
    return GM_OK;
}

const gm_op gm__op_linear = {.name = "linear",
                             .resolve = resolve_linear,
                             .cost = cost,
                             .slice = slice,
                             .forward = forward,
                             .backward = backward,
                             .weight_units = weight_units,
                             .backward_weights = backward_weights,
                             .aux = aux,
                             .scratch = scratch};
