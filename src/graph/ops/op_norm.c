// SPDX-License-Identifier: Apache-2.0
// norm: y = act(batch_norm(x) + residual). Parameters: 0 gamma, 1 beta (prefix slices). Training and calibration use the
// batch's own mean and biased variance; evaluation uses the subnet's calibrated ones (specs: training 2.5).
#include <math.h>
#include <string.h>

#include "graph/ops/ops.h"

// Per-pass memory. Partial sums are one row pair a group of images, added in order (see gm_image_group).
typedef struct norm_memory {
    float *partial; // [groups][2][ldc]
    float *mean, *rstd, *scale, *shift, *ca, *cb, *cd; // [ldc]
    double *total;  // [2][ldc]
    int ldc;
    size_t bytes;
} norm_memory;

static norm_memory memory(void *base, gm_shape s, int batch) {
    norm_memory m = {.ldc = gm_round_up(s.c, 16)};
    size_t row = sizeof(float) * (size_t)m.ldc;
    m.partial = gm__carve(base, &m.bytes, (size_t)gm__groups(batch, s.h * s.w) * 2 * row);
    m.mean = gm__carve(base, &m.bytes, row);
    m.rstd = gm__carve(base, &m.bytes, row);
    m.scale = gm__carve(base, &m.bytes, row);
    m.shift = gm__carve(base, &m.bytes, row);
    m.ca = gm__carve(base, &m.bytes, row);
    m.cb = gm__carve(base, &m.bytes, row);
    m.cd = gm__carve(base, &m.bytes, row);
    m.total = gm__carve(base, &m.bytes, 2 * sizeof(double) * (size_t)m.ldc);
    return m;
}

static norm_memory memory_of(gm_exec *x, int node) {
    return memory(x->aux[node], gm__out(x, node)->shape, x->batch);
}

static size_t aux(const gm_graph *g, int node, const gm_resolved *r, int batch) {
    (void)g;
    return memory(NULL, r->node[node].out, batch).bytes;
}

static void cost(const gm_graph *g, int node, const gm_resolved *r, gm_cost *add) {
    (void)g;
    add->params += 2 * (uint64_t)r->node[node].out.c;
}

static void fold(gm_exec *x, int node, norm_memory *m, int c, double mean, double var) {
    double rstd = 1.0 / sqrt(var + (double)x->graph->node[node].eps);
    double scale = (double)gm__param(x, node, 0)[c] * rstd;
    m->mean[c] = (float)mean;
    m->rstd[c] = (float)rstd;
    m->scale[c] = (float)scale;
    m->shift[c] = (float)((double)gm__param(x, node, 1)[c] - mean * scale);
}

static void prepare(gm_exec *x, int node) {
    if (x->mode != GM_MODE_EVAL) return;
    norm_memory m = memory_of(x, node);
    size_t at = x->norm_offset[node];
    for (int c = 0; c < gm__out(x, node)->shape.c; c++)
        fold(x, node, &m, c, (double)x->norm_mean[at + (size_t)c], (double)x->norm_var[at + (size_t)c]);
}

static void forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    norm_memory m = memory_of(x, node);
    gm_value *in = gm__in(x, node, 0);
    const int group = gm_image_group(gm__positions(in));
    for (int i = image0; i < image1; i += group) {
        float *sum = m.partial + (size_t)(i / group) * 2 * (size_t)m.ldc;
        x->kernels->norm_stats(x->type, gm_min(group, image1 - i) * gm__positions(in), in->shape.c,
                               gm__data(in, i), in->ld, sum, sum + m.ldc);
    }
}

// total[0..1][c] = sums over the groups, in their order.
static void reduce(gm_exec *x, int node, norm_memory *m) {
    memset(m->total, 0, 2 * sizeof(double) * (size_t)m->ldc);
    const int groups = gm__groups(x->batch, gm__positions(gm__out(x, node)));
    for (int i = 0; i < groups; i++) {
        const float *p = m->partial + (size_t)i * 2 * (size_t)m->ldc;
        for (int c = 0; c < 2 * m->ldc; c++) m->total[c] += (double)p[c];
    }
}

static void forward_sync(gm_exec *x, int node) {
    norm_memory m = memory_of(x, node);
    gm_value *in = gm__in(x, node, 0);
    double count = (double)x->batch * gm__positions(in);
    reduce(x, node, &m);
    for (int c = 0; c < in->shape.c; c++) {
        double mean = m.total[c] / count, var = m.total[m.ldc + c] / count - mean * mean;
        fold(x, node, &m, c, mean, var > 0 ? var : 0);
    }
    if (x->mode == GM_MODE_CALIBRATE) {
        size_t at = x->norm_offset[node];
        for (int c = 0; c < in->shape.c; c++) {
            x->norm_sum[at + (size_t)c] += m.total[c];
            x->norm_sumsq[at + (size_t)c] += m.total[m.ldc + c];
        }
    }
}

static void forward2(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    norm_memory m = memory_of(x, node);
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    bool residual = x->resolved->node[node].from[1] >= 0;
    gm_value *res = residual ? gm__in(x, node, 1) : NULL;
    x->kernels->norm_apply(x->type, (image1 - image0) * gm__positions(in), in->shape.c, gm__data(in, image0), in->ld,
                           m.scale, m.shift, res ? gm__data(res, image0) : NULL, res ? res->ld : 0,
                           x->graph->node[node].act, gm__data(out, image0), out->ld);
}

static void backward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    norm_memory m = memory_of(x, node);
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    bool residual = x->resolved->node[node].from[1] >= 0;
    const int group = gm_image_group(gm__positions(in));
    for (int i = image0; i < image1; i += group) {
        float *sum = m.partial + (size_t)(i / group) * 2 * (size_t)m.ldc;
        x->kernels->norm_grad_stats(x->type, gm_min(group, image1 - i) * gm__positions(in), in->shape.c,
                                    gm__data(in, i), in->ld, m.scale, m.shift, residual ? gm__data(out, i) : NULL,
                                    out->ld, x->graph->node[node].act, gm__grad(x, out, i), out->ld, m.mean, m.rstd,
                                    sum, sum + m.ldc);
    }
}

// dx = gamma*rstd*(dz - mean(dz) - xhat*mean(dz*xhat)) as ca*dz + cb*x + cd.
static void backward_sync(gm_exec *x, int node) {
    norm_memory m = memory_of(x, node);
    gm_value *in = gm__in(x, node, 0);
    double count = (double)x->batch * gm__positions(in);
    reduce(x, node, &m);
    float *dgamma = gm__param_grad(x, node, 0), *dbeta = gm__param_grad(x, node, 1);
    for (int c = 0; c < in->shape.c; c++) {
        double dz = m.total[c], dzx = m.total[m.ldc + c], a = (double)m.scale[c];
        double b = -a * (double)m.rstd[c] * dzx / count;
        dgamma[c] += (float)dzx;
        dbeta[c] += (float)dz;
        m.ca[c] = (float)a;
        m.cb[c] = (float)b;
        m.cd[c] = (float)(-a * dz / count - b * (double)m.mean[c]);
    }
}

static void backward2(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    norm_memory m = memory_of(x, node);
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    gm_value *res = x->resolved->node[node].from[1] >= 0 ? gm__in(x, node, 1) : NULL;
    void *dres = res && res->grad ? gm__grad(x, res, image0) : NULL;
    x->kernels->norm_grad_apply(x->type, (image1 - image0) * gm__positions(in), in->shape.c, gm__data(in, image0),
                                in->ld, m.scale, m.shift, res ? gm__data(out, image0) : NULL, out->ld,
                                x->graph->node[node].act, gm__grad(x, out, image0), out->ld, m.ca, m.cb, m.cd,
                                gm__grad(x, in, image0), in->ld, dres, res ? res->ld : 0,
                                gm__accumulates(x, node, 1));
}

const gm_op gm__op_norm = {.name = "norm",
                           .resolve = gm__resolve_same,
                           .cost = cost,
                           .slice = gm__slice_channels,
                           .prepare = prepare,
                           .forward = forward,
                           .forward_sync = forward_sync,
                           .forward2 = forward2,
                           .backward = backward,
                           .backward_sync = backward_sync,
                           .backward2 = backward2,
                           .aux = aux,
                           .in_place = true};
