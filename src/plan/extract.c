// SPDX-License-Identifier: Apache-2.0
// A subnet extracted: the same nodes with fixed sizes, and dense copies of the slices that they use.
#include <string.h>

#include "plan/plan_private.h"

typedef struct extraction {
    const gm_model *m;
    const gm_resolved *r;
    gm_builder b;
    int *number; // of a node in the new graph
} extraction;

static bool is(const gm_node *n, const char *op) { return strcmp(n->op->name, op) == 0; }

// Adds node i with the sizes of the subnet; what it is called stays.
static int add(extraction *x, int i) {
    const gm_node *n = &x->m->graph->node[i];
    const gm_resolved_node *r = &x->r->node[i];
    gm_builder *b = &x->b;
    int in[GM_MAX_INPUTS];
    for (int j = 0; j < GM_MAX_INPUTS; j++) in[j] = r->from[j] >= 0 ? x->number[r->from[j]] : -1;
    if (is(n, "input")) return gm_add_input(b, gm_size_const(b, r->out.h), r->out.c);
    if (is(n, "conv")) return gm_add_conv(b, n->name, in[0], gm_size_const(b, r->out.c), n->taps, n->stride, n->param[1] >= 0,
                                          GM_INIT_ZERO);
    if (is(n, "linear")) return gm_add_linear(b, n->name, in[0], gm_size_const(b, r->out.c), n->param[1] >= 0);
    if (is(n, "depthwise")) return gm_add_depthwise(b, n->name, in[0], gm_size_const(b, r->kernel), n->stride, false);
    if (is(n, "norm")) {
        b->norm_eps = n->eps;
        return gm_add_norm(b, n->name, in[0], in[1], n->act, false);
    }
    if (is(n, "act")) return gm_add_act(b, in[0], n->act);
    if (is(n, "squeeze_excite")) return gm_add_squeeze_excite(b, n->name, in[0], gm_size_const(b, r->hidden));
    if (is(n, "max_pool")) return gm_add_max_pool(b, in[0], n->taps, n->stride, n->pad);
    if (is(n, "avg_pool")) return gm_add_avg_pool(b, in[0], n->taps, n->stride, n->ceil_mode);
    if (is(n, "global_pool")) return gm_add_global_pool(b, in[0]);
    if (is(n, "dropout")) return gm_add_dropout(b, in[0], n->rate);
    if (is(n, "add")) return gm_add_add(b, in[0], in[1]);
    gm_fail(&b->err, GM_ERR_UNSUPPORTED, "%s: operation %s cannot be extracted yet", n->name, n->op->name);
    return -1;
}

static gm_status build(extraction *x, gm_graph **out, gm_error *err) {
    const gm_graph *g = x->m->graph;
    gm_status status = gm_graph_create(g->family, out, err);
    if (status) return status;
    x->b = (gm_builder){.graph = *out, .gate = {.knob = -1}};
    for (int i = 0; i < g->nodes && !x->b.err.status; i++)
        if (x->r->node[i].active && x->r->node[i].source == i) x->number[i] = add(x, i);
    return gm_graph_finish(&x->b, err);
}

// Element (o, i, y, x) of the slice lies at o, i and the centre of the stored taps.
static void copy_slice(const gm_param *from, const float *src, const gm_param *to, float *dst) {
    size_t dy = (size_t)(from->dims[2] - to->dims[2]) / 2, dx = (size_t)(from->dims[3] - to->dims[3]) / 2;
    size_t element = 0;
    for (size_t o = 0; o < (size_t)to->dims[0]; o++)
        for (size_t i = 0; i < (size_t)to->dims[1]; i++)
            for (size_t y = 0; y < (size_t)to->dims[2]; y++)
                for (size_t x = 0; x < (size_t)to->dims[3]; x++, element++) {
                    size_t at = ((o * (size_t)from->dims[1] + i) * (size_t)from->dims[2] + y + dy) * (size_t)from->dims[3] + x + dx;
                    dst[gm_param_index(to, element)] = src[gm_param_index(from, at)];
                }
}

// The taps that learned matrices make of the stored ones.
static gm_status copy_transformed(const gm_model *m, const gm_node *n, int kernel, const gm_param *to, float *dst, gm_error *err) {
    const gm_param *from = &m->graph->param[n->param[0]];
    int ld = gm_round_up(from->dims[0], 16), outer = from->dims[2];
    size_t size = (size_t)(outer * outer * ld);
    float *made[2] = {gm_alloc(size, sizeof(float)), gm_alloc(size, sizeof(float))};
    const float *w = m->params + from->offset;
    gm_status status = made[0] && made[1] ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "taps of %s", n->name);
    for (int k = outer - 2, j = 1; k >= kernel && !status; k -= 2, j++) {
        gm_kernels_active()->tap_transform(k, ld, w + (k + 3) * ld, k + 2, ld,
                                           m->params + m->graph->param[n->param[j]].offset, made[j & 1], ld);
        w = made[j & 1];
    }
    int wide = gm_round_up(to->dims[0], 16);
    for (int t = 0; t < kernel * kernel && !status; t++)
        memcpy(dst + t * wide, w + t * ld, (size_t)to->dims[0] * sizeof *dst);
    gm_free(made[0]);
    gm_free(made[1]);
    return status;
}

static gm_status copy_weights(const extraction *x, gm_model *to, gm_error *err) {
    const gm_graph *g = x->m->graph;
    gm_status status = GM_OK;
    for (int i = 0; i < g->nodes && !status; i++) {
        const gm_node *n = &g->node[i];
        if (!x->r->node[i].active || x->r->node[i].source != i) continue;
        const gm_node *twin = &to->graph->node[x->number[i]];
        for (int j = 0; j < GM_MAX_NODE_PARAMS && !status; j++) {
            if (twin->param[j] < 0) continue;
            const gm_param *from = &g->param[n->param[j]], *p = &to->graph->param[twin->param[j]];
            float *dst = to->params + p->offset;
            if (is(n, "depthwise") && n->transform && x->r->node[i].kernel < from->dims[2])
                status = copy_transformed(x->m, n, x->r->node[i].kernel, p, dst, err);
            else copy_slice(from, x->m->params + from->offset, p, dst);
        }
    }
    return status;
}

static void copy_norms(const extraction *x, const gm_norm_entry *from, gm_model *to, gm_norm_entry *entry) {
    const gm_graph *g = x->m->graph;
    for (int i = 0; i < g->nodes; i++) {
        if (!is(&g->node[i], "norm") || !x->r->node[i].active) continue;
        size_t at = x->m->norm_offset[i], twin = to->norm_offset[x->number[i]];
        size_t bytes = (size_t)x->r->node[i].out.c * sizeof(float);
        memcpy(entry->mean + twin, from->mean + at, bytes);
        memcpy(entry->var + twin, from->var + at, bytes);
    }
}

static gm_status lay_out(gm_model *to, gm_error *err) {
    const gm_graph *g = to->graph;
    to->params = gm_alloc(g->floats, sizeof *to->params);
    to->norm_offset = gm_alloc((size_t)g->nodes, sizeof *to->norm_offset);
    to->range = gm_alloc((size_t)g->nodes, sizeof *to->range);
    if (!to->params || !to->norm_offset || !to->range) return gm_fail(err, GM_ERR_MEMORY, "%zu parameters", g->floats);
    size_t offset = 0;
    for (int i = 0; i < g->nodes; i++) {
        if (!is(&g->node[i], "norm")) continue;
        to->norm_offset[i] = offset;
        offset += (size_t)gm_round_up(g->param[g->node[i].param[0]].dims[0], 16);
    }
    return GM_OK;
}

gm_status gm_model_extract(gm_model *m, const gm_choice *choice, gm_model **out, gm_error *err) {
    *out = NULL;
    gm_resolved r = {0};
    extraction x = {.m = m, .r = &r, .number = gm_alloc((size_t)m->graph->nodes, sizeof *x.number)};
    gm_model *to = gm_alloc(1, sizeof *to);
    gm_norm_entry *entry = NULL;
    const gm_norm_entry *norms = gm_model_norms(m, choice);
    gm_status status = to && x.number ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "a subnet");
    if (!status && !norms && m->graph->norms > 0)
        status = gm_fail(err, GM_ERR_STATE, "the subnet is not calibrated; run: gamut calibrate MODEL --choices CHOICE");
    if (!status) status = gm_resolved_init(&r, m->graph, err);
    if (!status) status = gm_resolve(m->graph, choice, &r, err);
    if (!status) {
        *to = (gm_model){.settings = m->settings};
        snprintf(to->preset, sizeof to->preset, "extracted");
        snprintf(to->data, sizeof to->data, "%s", m->data);
        memcpy(to->input_mean, m->input_mean, sizeof to->input_mean);
        memcpy(to->input_std, m->input_std, sizeof to->input_std);
        status = build(&x, &to->graph, err);
    }
    if (!status) status = lay_out(to, err);
    if (!status) status = copy_weights(&x, to, err);
    gm_choice only = {{0}};
    if (!status) status = gm_model_norms_add(to, &only, &entry, err);
    if (!status && norms) copy_norms(&x, norms, to, entry);
    gm_resolved_fini(&r);
    gm_free(x.number);
    if (status) gm_model_destroy(to);
    else *out = to;
    return status;
}
