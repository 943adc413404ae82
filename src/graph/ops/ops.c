// SPDX-License-Identifier: Apache-2.0
// The list of operations and the helpers that several of them share.
#include "graph/ops/ops.h"

#include <string.h>

static const gm_op *const ops[] = {
#define GM_OP_ROW(name) &gm__op_##name,
    GM_OP_LIST(GM_OP_ROW)
#undef GM_OP_ROW
};

const gm_op *const *gm_ops(int *count) {
    if (count) *count = (int)(sizeof ops / sizeof ops[0]);
    return ops;
}

const gm_op *gm_op_find(const char *name) {
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(ops[i]->name, name) == 0) return ops[i];
    return NULL;
}

gm_status gm__resolve_same(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    (void)g;
    (void)err;
    r->node[node].out = r->node[node].in;
    return GM_OK;
}

gm_status gm__resolve_window(const gm_graph *g, int node, gm_resolved *r, int taps, int pad,
                             bool ceil_mode, gm_error *err) {
    gm_resolved_node *n = &r->node[node];
    int stride = g->node[node].stride > 0 ? g->node[node].stride : 1;
    int extra = ceil_mode ? stride - 1 : 0;
    if (n->in.h + 2 * pad < taps || n->in.w + 2 * pad < taps)
        return gm_fail(err, GM_ERR_RANGE, "%s: a %dx%d input is smaller than the %dx%d window: use a larger image",
                       g->node[node].name, n->in.h, n->in.w, taps, taps);
    n->out.h = (n->in.h + 2 * pad - taps + extra) / stride + 1;
    n->out.w = (n->in.w + 2 * pad - taps + extra) / stride + 1;
    n->out.c = n->in.c;
    n->kernel = taps;
    return GM_OK;
}

void gm__slice_channels(const gm_graph *g, int node, const gm_resolved *r, int j, int extent[4]) {
    (void)g;
    (void)j;
    gm__extent(extent, r->node[node].out.c, 1, 1, 1);
}

void gm__bias_grad(gm_exec *x, int rows, int c, const void *dy, int ld, float *grad, float *tmp) {
    x->kernels->norm_stats(x->type, rows, c, dy, ld, tmp, tmp + gm_round_up(c, 16));
    for (int i = 0; i < c; i++) grad[i] += tmp[i];
}

gm_conv gm__dense_geometry(const gm_exec *x, int node, int images) {
    const gm_resolved_node *r = &x->resolved->node[node];
    const gm_node *n = &x->graph->node[node];
    int taps = r->kernel > 0 ? r->kernel : 1;
    return (gm_conv){.n = images,
                     .h = r->in.h,
                     .w = r->in.w,
                     .c = r->in.c,
                     .ho = r->out.h,
                     .wo = r->out.w,
                     .k = r->out.c,
                     .r = taps,
                     .s = taps,
                     .stride = n->stride > 0 ? n->stride : 1,
                     .pad = n->pad,
                     .ldx = x->value[r->from[0]].ld,
                     .ldy = x->value[node].ld};
}

gm__weight_split gm__split_weights(const gm_conv *g, bool flat) {
    gm__weight_split s = {.by_input = !flat && g->c >= 64, .step = 16};
    s.units = s.by_input ? (g->c + s.step - 1) / s.step : (g->k + 15) / 16;
    return s;
}

void gm__dense_wgrad(gm_exec *x, const gm_conv *g, const void *in, const void *dy, int param, int unit0,
                     int unit1, int worker) {
    const gm_panels *w = &x->panels[param];
    gm_panels master; // the gradient has the layout of the f32 masters
    gm_panels_layout(&master, GM_F32, w->outputs, w->inputs, w->r, w->s, w->flat);
    gm__weight_split split = gm__split_weights(g, w->flat != 0);
    int c0 = 0, c1 = g->c, p0 = 0, p1 = (g->k + 15) / 16;
    if (split.by_input) {
        c0 = unit0 * split.step;
        c1 = gm_min(unit1 * split.step, g->c);
    } else {
        p0 = unit0;
        p1 = unit1;
    }
    x->kernels->conv_wgrad(x->type, g, in, dy, &master, x->grads + x->graph->param[param].offset, c0, c1, p0, p1,
                           gm_scratch(worker));
}
