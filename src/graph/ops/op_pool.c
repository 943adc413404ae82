// SPDX-License-Identifier: Apache-2.0
// max_pool, avg_pool, global_pool: one family, one gradient pattern, so one file.
#include "graph/ops/ops.h"

static gm_status resolve_window(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    const gm_node *n = &g->node[node];
    return gm__resolve_window(g, node, r, n->taps, n->pad, n->ceil_mode, err);
}

// --- max
static uint8_t *argmax(gm_exec *x, int node, int image) {
    gm_value *y = gm__out(x, node);
    return (uint8_t *)x->aux[node] + (size_t)image * (size_t)gm__positions(y) * (size_t)y->ld;
}

static void max_forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_conv g = gm__dense_geometry(x, node, image1 - image0);
    x->kernels->max_pool(x->type, &g, gm__data(gm__in(x, node, 0), image0), gm__data(gm__out(x, node), image0),
                         argmax(x, node, image0));
}

static void max_backward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0);
    if (!in->grad) return;
    gm_conv g = gm__dense_geometry(x, node, image1 - image0);
    x->kernels->max_pool_grad(x->type, &g, gm__grad(x, gm__out(x, node), image0), argmax(x, node, image0),
                              gm__accumulates(x, node, 0), gm__grad(x, in, image0));
}

static size_t max_aux(const gm_graph *g, int node, const gm_resolved *r, int batch) {
    (void)g;
    gm_shape s = r->node[node].out;
    return (size_t)batch * (size_t)(s.h * s.w) * (size_t)gm_round_up(s.c, 64);
}

const gm_op gm__op_max_pool = {.name = "max_pool",
                               .resolve = resolve_window,
                               .forward = max_forward,
                               .backward = max_backward,
                               .aux = max_aux};

// --- average
static void avg_forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_conv g = gm__dense_geometry(x, node, image1 - image0);
    x->kernels->avg_pool(x->type, &g, gm__data(gm__in(x, node, 0), image0), gm__data(gm__out(x, node), image0));
}

static void avg_backward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0);
    if (!in->grad) return;
    gm_conv g = gm__dense_geometry(x, node, image1 - image0);
    x->kernels->avg_pool_grad(x->type, &g, gm__grad(x, gm__out(x, node), image0), gm__accumulates(x, node, 0),
                              gm__grad(x, in, image0));
}

const gm_op gm__op_avg_pool = {.name = "avg_pool",
                               .resolve = resolve_window,
                               .forward = avg_forward,
                               .backward = avg_backward};

// --- global average
static gm_status resolve_global(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    (void)g;
    (void)err;
    r->node[node].out = (gm_shape){1, 1, r->node[node].in.c};
    return GM_OK;
}

static void global_forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    x->kernels->global_pool(x->type, image1 - image0, gm__positions(in), in->shape.c, gm__data(in, image0), in->ld,
                            gm__data(out, image0), out->ld);
}

static void global_backward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    if (!in->grad) return;
    x->kernels->global_pool_grad(x->type, image1 - image0, gm__positions(in), in->shape.c, gm__grad(x, out, image0),
                                 out->ld, gm__accumulates(x, node, 0), gm__grad(x, in, image0), in->ld);
}

const gm_op gm__op_global_pool = {.name = "global_pool",
                                  .resolve = resolve_global,
                                  .forward = global_forward,
                                  .backward = global_backward};
