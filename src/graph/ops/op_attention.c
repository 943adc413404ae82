// SPDX-License-Identifier: Apache-2.0
// attention: softmax(q k^T / sqrt(d)) v over the tokens of each sequence; inputs q, k, v of heads*head_dim channels. Fewer
// heads are a prefix of the channels.
#include <math.h>

#include "graph/ops/ops.h"

static gm_status resolve(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    gm_shape q = r->node[r->node[node].from[0]].out;
    for (int j = 1; j < 3; j++) {
        gm_shape s = r->node[r->node[node].from[j]].out;
        if (s.c != q.c || s.h != q.h || s.w != q.w)
            return gm_fail(err, GM_ERR_RANGE, "%s: q, k and v differ in shape", g->node[node].name);
    }
    if (q.c % g->node[node].heads_dim != 0)
        return gm_fail(err, GM_ERR_RANGE, "%s: %d channels are not a multiple of the head width %d", g->node[node].name,
                       q.c, g->node[node].heads_dim);
    return gm__resolve_same(g, node, r, err);
}

static void cost(const gm_graph *g, int node, const gm_resolved *r, gm_cost *add) {
    (void)g;
    gm_shape s = r->node[node].out;
    add->macs += 2 * (uint64_t)(s.h * s.w) * (uint64_t)(s.h * s.w) * (uint64_t)s.c;
}

static int heads(const gm_exec *x, int node) {
    return x->value[node].shape.c / x->graph->node[node].heads_dim;
}

static float *probs(gm_exec *x, int node, int image) {
    gm_value *y = gm__out(x, node);
    size_t tokens = (size_t)gm__positions(y);
    return (float *)x->aux[node] + (size_t)image * (size_t)heads(x, node) * tokens * tokens;
}

static void forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *q = gm__in(x, node, 0), *k = gm__in(x, node, 1), *v = gm__in(x, node, 2), *y = gm__out(x, node);
    int dim = x->graph->node[node].heads_dim;
    for (int i = image0; i < image1; i++)
        x->kernels->attention(x->type, gm__positions(y), heads(x, node), dim, gm__data(q, i), gm__data(k, i),
                              gm__data(v, i), q->ld, 1.0f / sqrtf((float)dim), false, probs(x, node, i), gm__data(y, i),
                              y->ld);
}

static void backward(gm_exec *x, int node, int image0, int image1, int worker) {
    gm_value *q = gm__in(x, node, 0), *k = gm__in(x, node, 1), *v = gm__in(x, node, 2), *y = gm__out(x, node);
    int dim = x->graph->node[node].heads_dim;
    for (int i = image0; i < image1; i++)
        x->kernels->attention_grad(x->type, gm__positions(y), heads(x, node), dim, gm__data(q, i), gm__data(k, i),
                                   gm__data(v, i), q->ld, 1.0f / sqrtf((float)dim), probs(x, node, i),
                                   gm__grad(x, y, i), y->ld, gm__grad(x, q, i), gm__grad(x, k, i), gm__grad(x, v, i),
                                   q->ld, gm_scratch(worker));
}

static size_t aux(const gm_graph *g, int node, const gm_resolved *r, int batch) {
    gm_shape s = r->node[node].out;
    size_t tokens = (size_t)(s.h * s.w), h = (size_t)(s.c / g->node[node].heads_dim);
    return sizeof(float) * (size_t)batch * h * tokens * tokens;
}

static size_t scratch(const gm_graph *g, int node, const gm_resolved *r, int batch, gm_dtype type) {
    (void)g;
    (void)batch;
    (void)type;
    return sizeof(float) * (size_t)(r->node[node].out.h * r->node[node].out.w);
}

const gm_op gm__op_attention = {.name = "attention",
                                .resolve = resolve,
                                .cost = cost,
                                .forward = forward,
                                .backward = backward,
                                .aux = aux,
                                .scratch = scratch};
