// SPDX-License-Identifier: Apache-2.0
// layer_norm and rms_norm: normalisation of each row (token) by itself. Parameters: 0 gamma, 1 beta (layer_norm only).
// The parameters' gradients are summed one group of images at a time, in order, in the serial phase.
#include <string.h>

#include "graph/ops/ops.h"

typedef struct row_memory {
    float *mean, *rstd;    // [batch*positions]
    float *dgamma, *dbeta; // [groups][ldc]
    int ldc;
    size_t bytes;
} row_memory;

static row_memory memory(void *base, gm_shape s, int batch) {
    row_memory m = {.ldc = gm_round_up(s.c, 16)};
    size_t rows = sizeof(float) * (size_t)batch * (size_t)(s.h * s.w);
    size_t sums = sizeof(float) * (size_t)gm__groups(batch, s.h * s.w) * (size_t)m.ldc;
    m.mean = gm__carve(base, &m.bytes, rows);
    m.rstd = gm__carve(base, &m.bytes, rows);
    m.dgamma = gm__carve(base, &m.bytes, sums);
    m.dbeta = gm__carve(base, &m.bytes, sums);
    return m;
}

static row_memory memory_of(gm_exec *x, int node) { return memory(x->aux[node], gm__out(x, node)->shape, x->batch); }

static size_t aux(const gm_graph *g, int node, const gm_resolved *r, int batch) {
    (void)g;
    return memory(NULL, r->node[node].out, batch).bytes;
}

static void layer_cost(const gm_graph *g, int node, const gm_resolved *r, gm_cost *add) {
    (void)g;
    add->params += 2 * (uint64_t)r->node[node].out.c;
}
static void rms_cost(const gm_graph *g, int node, const gm_resolved *r, gm_cost *add) {
    (void)g;
    add->params += (uint64_t)r->node[node].out.c;
}

static void layer_forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    row_memory m = memory_of(x, node);
    int at = image0 * gm__positions(in);
    x->kernels->layer_norm(x->type, (image1 - image0) * gm__positions(in), in->shape.c, gm__data(in, image0), in->ld,
                           gm__param(x, node, 0), gm__param(x, node, 1), x->graph->node[node].eps,
                           gm__data(out, image0), out->ld, m.mean + at, m.rstd + at);
}

static void rms_forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    row_memory m = memory_of(x, node);
    x->kernels->rms_norm(x->type, (image1 - image0) * gm__positions(in), in->shape.c, gm__data(in, image0), in->ld,
                         gm__param(x, node, 0), x->graph->node[node].eps, gm__data(out, image0), out->ld,
                         m.rstd + image0 * gm__positions(in));
}

static void layer_backward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    row_memory m = memory_of(x, node);
    size_t sums = sizeof(float) * (size_t)m.ldc;
    const int group = gm_image_group(gm__positions(out));
    for (int i = image0; i < image1; i += group) {
        int at = i * gm__positions(in), rows = gm_min(group, image1 - i) * gm__positions(in);
        float *dgamma = m.dgamma + i / group * m.ldc, *dbeta = m.dbeta + i / group * m.ldc;
        memset(dgamma, 0, sums);
        memset(dbeta, 0, sums);
        x->kernels->layer_norm_grad(x->type, rows, in->shape.c, gm__data(in, i), in->ld, gm__param(x, node, 0),
                                    m.mean + at, m.rstd + at, gm__grad(x, out, i), out->ld,
                                    gm__accumulates(x, node, 0), gm__grad(x, in, i), in->ld, dgamma, dbeta);
    }
}

static void rms_backward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    row_memory m = memory_of(x, node);
    const int group = gm_image_group(gm__positions(out));
    for (int i = image0; i < image1; i += group) {
        float *dgamma = m.dgamma + i / group * m.ldc;
        memset(dgamma, 0, sizeof(float) * (size_t)m.ldc);
        x->kernels->rms_norm_grad(x->type, gm_min(group, image1 - i) * gm__positions(in), in->shape.c,
                                  gm__data(in, i), in->ld, gm__param(x, node, 0), m.rstd + i * gm__positions(in),
                                  gm__grad(x, out, i), out->ld, gm__accumulates(x, node, 0), gm__grad(x, in, i),
                                  in->ld, dgamma);
    }
}

static void backward_sync(gm_exec *x, int node) {
    row_memory m = memory_of(x, node);
    for (int j = 0; j < 2; j++) {
        float *grad = gm__param_grad(x, node, j);
        const float *sums = j == 0 ? m.dgamma : m.dbeta;
        for (int i = 0; grad && i < gm__groups(x->batch, gm__positions(gm__out(x, node))); i++)
            for (int c = 0; c < gm__out(x, node)->shape.c; c++) grad[c] += sums[i * m.ldc + c];
    }
}

const gm_op gm__op_layer_norm = {.name = "layer_norm",
                                 .resolve = gm__resolve_same,
                                 .cost = layer_cost,
                                 .slice = gm__slice_channels,
                                 .forward = layer_forward,
                                 .backward = layer_backward,
                                 .backward_sync = backward_sync,
                                 .aux = aux};
const gm_op gm__op_rms_norm = {.name = "rms_norm",
                               .resolve = gm__resolve_same,
                               .cost = rms_cost,
                               .slice = gm__slice_channels,
                               .forward = rms_forward,
                               .backward = rms_backward,
                               .backward_sync = backward_sync,
                               .aux = aux};
