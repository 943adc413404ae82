// SPDX-License-Identifier: Apache-2.0
// squeeze_excite: y = x * hsigmoid(W2 relu(W1 pool(x) + b1) + b2), both products sliced by prefix; the hidden width follows
// the active input (specs: training 2.2). Parameters: 0 reduce weight, 1 its bias, 2 expand weight, 3 its bias.
#include "graph/ops/ops.h"

// Per-pass memory: one row an image. pool -> pre1 -> hid -> pre2 -> gate; d* are gradients.
typedef struct se_memory {
    char *pool, *pre1, *hid, *pre2, *gate, *dgate, *dpre2, *dhid, *dpre1, *dpool;
    float *tmp;
    int c, h, ldc, ldh;
    size_t bytes;
} se_memory;

static se_memory memory(void *base, gm_dtype type, int c, int h, int batch) {
    se_memory m = {.c = c, .h = h, .ldc = gm_channel_stride(type, c), .ldh = gm_channel_stride(type, h)};
    size_t wide = (size_t)batch * (size_t)m.ldc * gm_dtype_size(type);
    size_t narrow = (size_t)batch * (size_t)m.ldh * gm_dtype_size(type);
    char **const w[] = {&m.pool, &m.pre2, &m.gate, &m.dgate, &m.dpre2, &m.dpool};
    char **const n[] = {&m.pre1, &m.hid, &m.dhid, &m.dpre1};
    for (size_t i = 0; i < sizeof w / sizeof w[0]; i++) *w[i] = gm__carve(base, &m.bytes, wide);
    for (size_t i = 0; i < sizeof n / sizeof n[0]; i++) *n[i] = gm__carve(base, &m.bytes, narrow);
    m.tmp = gm__carve(base, &m.bytes, 2 * sizeof(float) * (size_t)gm_round_up(gm_max(c, h), 16));
    return m;
}

static se_memory memory_of(gm_exec *x, int node) {
    const gm_resolved_node *r = &x->resolved->node[node];
    return memory(x->aux[node], x->type, r->out.c, r->hidden, x->batch);
}

static char *row(const gm_exec *x, char *base, int ld, int image) {
    return base + (size_t)image * (size_t)ld * gm_dtype_size(x->type);
}

static gm_status resolve(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    r->node[node].hidden = gm_size_value(g, &g->node[node].out, &r->choice);
    return gm__resolve_same(g, node, r, err);
}

static void cost(const gm_graph *g, int node, const gm_resolved *r, gm_cost *add) {
    (void)g;
    uint64_t c = (uint64_t)r->node[node].out.c, h = (uint64_t)r->node[node].hidden;
    add->macs += 2 * c * h;
    add->params += 2 * c * h + c + h;
    add->layers += 2;
}

static void slice(const gm_graph *g, int node, const gm_resolved *r, int j, int extent[4]) {
    (void)g;
    int c = r->node[node].out.c, h = r->node[node].hidden;
    gm__extent(extent, j < 2 ? h : c, j == 0 ? c : j == 2 ? h : 1, 1, 1);
}

static gm_conv product(int rows, int c, int k, int ldx, int ldy) {
    return (gm_conv){.n = rows, .h = 1, .w = 1, .c = c, .ho = 1, .wo = 1, .k = k, .r = 1, .s = 1, .stride = 1,
                     .ldx = ldx, .ldy = ldy};
}

static void forward(gm_exec *x, int node, int image0, int image1, int worker) {
    const gm_kernels *k = x->kernels;
    const int *p = x->graph->node[node].param;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    se_memory m = memory_of(x, node);
    int rows = image1 - image0;
    char *pool = row(x, m.pool, m.ldc, image0), *pre1 = row(x, m.pre1, m.ldh, image0);
    char *hid = row(x, m.hid, m.ldh, image0), *pre2 = row(x, m.pre2, m.ldc, image0);
    char *gate = row(x, m.gate, m.ldc, image0);
    k->global_pool(x->type, rows, gm__positions(in), m.c, gm__data(in, image0), in->ld, pool, m.ldc);
    gm_conv reduce = product(rows, m.c, m.h, m.ldc, m.ldh), expand = product(rows, m.h, m.c, m.ldh, m.ldc);
    gm_epilogue e1 = {.shift = gm__param(x, node, 1), .out = x->type};
    gm_epilogue e2 = {.shift = gm__param(x, node, 3), .out = x->type};
    k->conv(x->type, &reduce, pool, &x->panels[p[0]], &e1, pre1, gm_scratch(worker));
    k->act(x->type, GM_ACT_RELU, rows, m.h, pre1, m.ldh, hid, m.ldh);
    k->conv(x->type, &expand, hid, &x->panels[p[2]], &e2, pre2, gm_scratch(worker));
    k->act(x->type, GM_ACT_HSIGMOID, rows, m.c, pre2, m.ldc, gate, m.ldc);
    k->channel_scale(x->type, rows, gm__positions(in), m.c, gm__data(in, image0), in->ld, gate, m.ldc,
                     gm__data(out, image0), out->ld);
}

static void backward(gm_exec *x, int node, int image0, int image1, int worker) {
    const gm_kernels *k = x->kernels;
    const int *p = x->graph->node[node].param;
    gm_value *in = gm__in(x, node, 0), *out = gm__out(x, node);
    se_memory m = memory_of(x, node);
    int rows = image1 - image0, positions = gm__positions(in);
    char *dgate = row(x, m.dgate, m.ldc, image0), *dpre2 = row(x, m.dpre2, m.ldc, image0);
    char *dhid = row(x, m.dhid, m.ldh, image0), *dpre1 = row(x, m.dpre1, m.ldh, image0);
    char *dpool = row(x, m.dpool, m.ldc, image0);
    k->channel_scale_grad(x->type, rows, positions, m.c, gm__data(in, image0), in->ld, row(x, m.gate, m.ldc, image0),
                          m.ldc, gm__grad(x, out, image0), out->ld, gm__accumulates(x, node, 0),
                          gm__grad(x, in, image0), in->ld, dgate, m.ldc);
    k->act_grad(x->type, GM_ACT_HSIGMOID, rows, m.c, row(x, m.pre2, m.ldc, image0), m.ldc, dgate, m.ldc, false, dpre2,
                m.ldc);
    gm_conv reduce = product(rows, m.c, m.h, m.ldc, m.ldh), expand = product(rows, m.h, m.c, m.ldh, m.ldc);
    k->conv_dgrad(x->type, &expand, dpre2, &x->panels_t[p[2]], false, dhid, gm_scratch(worker));
    k->act_grad(x->type, GM_ACT_RELU, rows, m.h, row(x, m.pre1, m.ldh, image0), m.ldh, dhid, m.ldh, false, dpre1,
                m.ldh);
    k->conv_dgrad(x->type, &reduce, dpre1, &x->panels_t[p[0]], false, dpool, gm_scratch(worker));
    k->global_pool_grad(x->type, rows, positions, m.c, dpool, m.ldc, true, gm__grad(x, in, image0), in->ld);
}

static gm_conv reduce_geometry(gm_exec *x, const se_memory *m) { return product(x->batch, m->c, m->h, m->ldc, m->ldh); }
static gm_conv expand_geometry(gm_exec *x, const se_memory *m) { return product(x->batch, m->h, m->c, m->ldh, m->ldc); }

// Units: first those of the reduce product, then those of the expand product.
static int weight_units(gm_exec *x, int node) {
    se_memory m = memory_of(x, node);
    gm_conv a = reduce_geometry(x, &m), b = expand_geometry(x, &m);
    return gm__split_weights(&a, false).units + gm__split_weights(&b, false).units;
}

static void backward_weights(gm_exec *x, int node, int unit0, int unit1, int worker) {
    const int *p = x->graph->node[node].param;
    se_memory m = memory_of(x, node);
    gm_conv a = reduce_geometry(x, &m), b = expand_geometry(x, &m);
    int first = gm__split_weights(&a, false).units;
    if (unit0 < first) gm__dense_wgrad(x, &a, m.pool, m.dpre1, p[0], unit0, gm_min(unit1, first), worker);
    if (unit1 > first)
        gm__dense_wgrad(x, &b, m.hid, m.dpre2, p[2], gm_max(unit0, first) - first, unit1 - first, worker);
    if (unit0 == 0) {
        gm__bias_grad(x, x->batch, m.h, m.dpre1, m.ldh, gm__param_grad(x, node, 1), m.tmp);
        gm__bias_grad(x, x->batch, m.c, m.dpre2, m.ldc, gm__param_grad(x, node, 3), m.tmp);
    }
}

static size_t aux(const gm_graph *g, int node, const gm_resolved *r, int batch) {
    (void)g; // sized for f32, the widest type
    return memory(NULL, GM_F32, gm_round_up(r->node[node].out.c, 32), gm_round_up(r->node[node].hidden, 32), batch).bytes;
}

static size_t scratch(const gm_graph *g, int node, const gm_resolved *r, int batch, gm_dtype type) {
    (void)g;
    int c = r->node[node].out.c, h = r->node[node].hidden;
    int ldc = gm_channel_stride(type, c), ldh = gm_channel_stride(type, h);
    gm_conv a = product(batch, c, h, ldc, ldh), b = product(batch, h, c, ldh, ldc);
    size_t sa = gm_conv_scratch(&a, type), sb = gm_conv_scratch(&b, type);
    return sa > sb ? sa : sb;
}

const gm_op gm__op_squeeze_excite = {.name = "squeeze_excite",
                                     .resolve = resolve,
                                     .cost = cost,
                                     .slice = slice,
                                     .forward = forward,
                                     .backward = backward,
                                     .weight_units = weight_units,
                                     .backward_weights = backward_weights,
                                     .aux = aux,
                                     .scratch = scratch,
                                     .in_place = true};
