// SPDX-License-Identifier: Apache-2.0
// depthwise: one kernel a channel, elastic size by centre crop, or by learned transforms chained from the largest kernel
// down (Once-for-all; specs: training 2.3). Parameters: 0 weight [K*K][ld], 1 and 2 matrices largest->next->smallest.
#include <string.h>

#include "graph/ops/ops.h"

enum { MAX_STEPS = 2 }; // 7 -> 5 -> 3

// Per-pass memory with transforms: the kernel after each step, and its gradient. [k*k][ld]
typedef struct kernel_chain {
    int steps, kernel[MAX_STEPS + 1]; // kernel[0] is the stored one
    float *value[MAX_STEPS + 1], *grad[MAX_STEPS + 1];
    int ld;
    size_t bytes;
} kernel_chain;

static int stored_kernel(const gm_graph *g, int node) { return g->param[g->node[node].param[0]].dims[2]; }
static int stored_ld(const gm_graph *g, int node) {
    return gm_round_up(g->param[g->node[node].param[0]].dims[0], 16);
}

static kernel_chain chain(const gm_graph *g, int node, int active, void *base) {
    kernel_chain c = {.ld = stored_ld(g, node), .kernel = {stored_kernel(g, node)}};
    if (!g->node[node].transform) return c;
    for (int k = c.kernel[0] - 2; k >= active && c.steps < MAX_STEPS; k -= 2) {
        size_t bytes = sizeof(float) * (size_t)(k * k) * (size_t)c.ld;
        c.steps++;
        c.kernel[c.steps] = k;
        c.value[c.steps] = gm__carve(base, &c.bytes, bytes);
        c.grad[c.steps] = gm__carve(base, &c.bytes, bytes);
    }
    return c;
}

static gm_status resolve(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    int k = gm_size_value(g, &g->node[node].kernel, &r->choice);
    return gm__resolve_window(g, node, r, k, k / 2, false, err);
}

static void cost(const gm_graph *g, int node, const gm_resolved *r, gm_cost *add) {
    (void)g;
    const gm_resolved_node *n = &r->node[node];
    uint64_t weights = (uint64_t)n->out.c * (uint64_t)(n->kernel * n->kernel);
    add->macs += weights * (uint64_t)(n->out.h * n->out.w);
    add->params += weights;
    add->layers++;
}

// With transforms, every smaller kernel is made of the next smaller crop of the stored one, and of the matrices on its way.
static void slice(const gm_graph *g, int node, const gm_resolved *r, int j, int extent[4]) {
    int k = r->node[node].kernel, stored = stored_kernel(g, node);
    if (j > 0) {
        bool used = k <= stored - 2 * j;
        const int *dims = g->param[g->node[node].param[j]].dims;
        gm__extent(extent, used ? dims[0] : 0, dims[1], 1, 1);
        return;
    }
    if (g->node[node].transform && k < stored) k = stored - 2;
    gm__extent(extent, r->node[node].out.c, 1, k, k);
}

// Row pitch and first tap of the centre crop of `inner` taps in a kernel of `outer` taps.
static const float *crop(const float *w, int outer, int inner, int ld) {
    return w + (size_t)((outer - inner) / 2 * (outer + 1)) * (size_t)ld;
}

typedef struct active_weights {
    const float *w;
    int row, ld;
} active_weights;

static active_weights weights(gm_exec *x, int node) {
    int k = x->resolved->node[node].kernel;
    kernel_chain c = chain(x->graph, node, k, x->aux[node]);
    if (c.steps > 0) return (active_weights){c.value[c.steps], k, c.ld};
    return (active_weights){crop(gm__param(x, node, 0), c.kernel[0], k, c.ld), c.kernel[0], c.ld};
}

static gm_conv geometry(const gm_exec *x, int node, int images) {
    gm_conv g = gm__dense_geometry(x, node, images);
    g.pad = g.r / 2;
    return g;
}

static void prepare(gm_exec *x, int node) {
    kernel_chain c = chain(x->graph, node, x->resolved->node[node].kernel, x->aux[node]);
    const float *w = gm__param(x, node, 0);
    for (int s = 1; s <= c.steps; s++) {
        x->kernels->tap_transform(c.kernel[s], c.ld, crop(w, c.kernel[s - 1], c.kernel[s], c.ld), c.kernel[s - 1], c.ld,
                                  gm__param(x, node, s), c.value[s], c.ld);
        w = c.value[s];
    }
}

static void forward(gm_exec *x, int node, int image0, int image1, int worker) {
    gm_conv g = geometry(x, node, image1 - image0);
    gm_value *y = gm__out(x, node);
    active_weights w = weights(x, node);
    gm_epilogue e = {.out = y->type};
    x->kernels->depthwise(x->type, &g, gm__data(gm__in(x, node, 0), image0), w.w, w.row, w.ld, &e, gm__data(y, image0),
                          gm_scratch(worker));
}

static void backward(gm_exec *x, int node, int image0, int image1, int worker) {
    gm_value *in = gm__in(x, node, 0);
    if (!in->grad) return;
    gm_conv g = geometry(x, node, image1 - image0);
    active_weights w = weights(x, node);
    x->kernels->depthwise_dgrad(x->type, &g, gm__grad(x, gm__out(x, node), image0), w.w, w.row, w.ld,
                                gm__accumulates(x, node, 0), gm__grad(x, in, image0), gm_scratch(worker));
}

static int weight_units(gm_exec *x, int node) { return (x->resolved->node[node].out.c + 31) / 32; }

static void backward_weights(gm_exec *x, int node, int unit0, int unit1, int worker) {
    gm_conv g = geometry(x, node, x->batch);
    int k = g.r, c0 = unit0 * 32, c1 = gm_min(unit1 * 32, g.c);
    kernel_chain c = chain(x->graph, node, k, x->aux[node]);
    float *dw = (float *)(uintptr_t)crop(gm__param_grad(x, node, 0), c.kernel[0], k, c.ld);
    int row = c.kernel[0];
    if (c.steps > 0) {
        dw = c.grad[c.steps];
        row = k;
        for (int t = 0; t < k * k; t++)
            memset(dw + (size_t)t * (size_t)c.ld + c0, 0, sizeof(float) * (size_t)(c1 - c0));
    }
    x->kernels->depthwise_wgrad(x->type, &g, gm__in(x, node, 0)->data, gm__out(x, node)->grad, dw, row, c.ld, c0, c1,
                                gm_scratch(worker));
}

// Back through the chain of transforms, smallest kernel first.
static void weights_sync(gm_exec *x, int node) {
    const gm_resolved_node *n = &x->resolved->node[node];
    kernel_chain c = chain(x->graph, node, n->kernel, x->aux[node]);
    for (int s = c.steps; s >= 1; s--) {
        const float *w = s == 1 ? gm__param(x, node, 0) : c.value[s - 1];
        float *dw = s == 1 ? gm__param_grad(x, node, 0) : c.grad[s - 1];
        int outer = c.kernel[s - 1];
        if (s > 1) memset(dw, 0, sizeof(float) * (size_t)(outer * outer) * (size_t)c.ld);
        x->kernels->tap_transform_grad(c.kernel[s], n->out.c, crop(w, outer, c.kernel[s], c.ld), outer, c.ld,
                                       gm__param(x, node, s), c.grad[s], c.ld, gm__param_grad(x, node, s),
                                       (float *)(uintptr_t)crop(dw, outer, c.kernel[s], c.ld), outer, c.ld);
    }
}

static size_t aux(const gm_graph *g, int node, const gm_resolved *r, int batch) {
    (void)batch;
    return chain(g, node, r->node[node].kernel, NULL).bytes;
}

static size_t scratch(const gm_graph *g, int node, const gm_resolved *r, int batch, gm_dtype type) {
    const gm_resolved_node *n = &r->node[node];
    int ld = gm_channel_stride(type, n->in.c);
    gm_conv conv = {.n = batch, .h = n->in.h, .w = n->in.w, .c = n->in.c, .ho = n->out.h, .wo = n->out.w,
                    .k = n->out.c, .r = gm_max(n->kernel, 1), .s = gm_max(n->kernel, 1),
                    .stride = gm_max(g->node[node].stride, 1), .pad = n->kernel / 2, .ldx = ld, .ldy = ld};
    return gm_conv_scratch(&conv, type);
}

const gm_op gm__op_depthwise = {.name = "depthwise",
                                .resolve = resolve,
                                .cost = cost,
                                .slice = slice,
                                .prepare = prepare,
                                .forward = forward,
                                .backward = backward,
                                .weight_units = weight_units,
                                .backward_weights = backward_weights,
                                .weights_sync = weights_sync,
                                .aux = aux,
                                .scratch = scratch};
