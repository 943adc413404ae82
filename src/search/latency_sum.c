// SPDX-License-Identifier: Apache-2.0
// The latency of a subnet from a published table: its operations under the names that the tables use (specs: training
// 2.14). A block is one row; what the table calls idskip is the residual connection.
#include <gamut/search.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct block {
    int number;           // -1: none open
    gm_shape in, out;
    int middle, kernel, stride;
    bool skip, squeeze_excite, hswish;
} block;

typedef struct sum {
    const gm_latency_table *table;
    const gm_graph *graph;
    const gm_resolved *resolved;
    bool v3; // MobileNetV3: block names end with se and hs, middle channels as the expand ratio
    block open;
    gm_shape pooled_from; // what the global pool read
    double ms;
} sum;

static bool is_op(const sum *s, int node, const char *name) { return strcmp(s->graph->node[node].op->name, name) == 0; }

static gm_status add(sum *s, const char *key, gm_error *err) {
    double ms;
    if (!gm_latency_table_find(s->table, key, &ms))
        return gm_fail(err, GM_ERR_NOT_FOUND,
                       "the latency table has no row '%s': it is of another width, resolution or network", key);
    s->ms += ms;
    return GM_OK;
}

static gm_status close_block(sum *s, gm_error *err) {
    const block *b = &s->open;
    char key[160];
    if (b->number < 0) return GM_OK;
    int expand = s->v3 ? b->middle : (int)lround((double)b->middle / b->in.c);
    int n = snprintf(key, sizeof key,
                     "expanded_conv-input:%dx%dx%d-output:%dx%dx%d-expand:%d-kernel:%d-stride:%d-idskip:%d", b->in.h, b->in.w,
                     b->in.c, b->out.h, b->out.w, b->out.c, expand, b->kernel, b->stride, b->skip);
    if (s->v3) snprintf(key + n, sizeof key - (size_t)n, "-se:%d-hs:%d", b->squeeze_excite, b->hswish);
    s->open.number = -1;
    return add(s, key, err);
}

static void see_in_block(sum *s, int node) {
    const gm_node *n = &s->graph->node[node];
    const gm_resolved_node *r = &s->resolved->node[node];
    block *b = &s->open;
    b->out = r->out;
    if (is_op(s, node, "depthwise")) {
        b->middle = r->out.c;
        b->kernel = r->kernel;
        b->stride = n->stride;
    } else if (is_op(s, node, "squeeze_excite")) {
        b->squeeze_excite = true;
    } else if (is_op(s, node, "norm")) {
        b->skip = r->from[1] >= 0;
        if (n->act == GM_ACT_HSWISH) b->hswish = true;
    }
}

static gm_status see_outside(sum *s, int node, gm_error *err) {
    const gm_node *n = &s->graph->node[node];
    const gm_resolved_node *r = &s->resolved->node[node];
    gm_shape in = r->in;
    char key[160];
    if (is_op(s, node, "global_pool")) {
        s->pooled_from = in;
        if (!s->v3) return GM_OK; // part of the row of the classifier
        snprintf(key, sizeof key, "AvgPool2D-input:%dx%dx%d-output:1x1x%d", in.h, in.w, in.c, in.c);
        return add(s, key, err);
    }
    if (is_op(s, node, "linear")) {
        if (!s->v3) in = s->pooled_from;
        snprintf(key, sizeof key, "Logits-input:%dx%dx%d-output:%d", in.h, in.w, in.c, r->out.c);
        return add(s, key, err);
    }
    if (!is_op(s, node, "conv")) return GM_OK;
    const char *name = "Conv_1"; // the last convolution before the pool
    if (strcmp(n->name, "first_conv.conv") == 0) name = "Conv";
    else if (s->v3 && strcmp(n->name, "feature_mix_layer.conv") == 0) name = "Conv_2";
    snprintf(key, sizeof key, "%s-input:%dx%dx%d-output:%dx%dx%d", name, in.h, in.w, in.c, r->out.h, r->out.w, r->out.c);
    return add(s, key, err);
}

static gm_status see(sum *s, int node, gm_error *err) {
    const gm_node *n = &s->graph->node[node];
    const gm_resolved_node *r = &s->resolved->node[node];
    if (!r->active || r->source != node) return GM_OK;
    int number = -1;
    if (strncmp(n->name, "blocks.", 7) == 0) number = atoi(n->name + 7);
    if (number != s->open.number) {
        gm_status status = close_block(s, err);
        if (status) return status;
        s->open = (block){.number = number, .in = r->in};
    }
    if (number < 0) return see_outside(s, node, err);
    see_in_block(s, node);
    return GM_OK;
}

static bool has_node(const gm_graph *g, const char *name) {
    for (int i = 0; i < g->nodes; i++)
        if (strcmp(g->node[i].name, name) == 0) return true;
    return false;
}

gm_status gm_latency_table_sum(const gm_latency_table *t, const gm_graph *g, const gm_choice *choice, double *ms,
                               gm_error *err) {
    gm_resolved resolved;
    *ms = 0;
    if (!has_node(g, "first_conv.conv") || !has_node(g, "feature_mix_layer.conv"))
        return gm_fail(err, GM_ERR_UNSUPPORTED, "the published latency tables are for mbv3 and proxyless, not for %s", g->family);
    gm_status status = gm_resolved_init(&resolved, g, err);
    if (status) return status;
    sum s = {.table = t, .graph = g, .resolved = &resolved, .v3 = has_node(g, "final_expand_layer.conv"), .open = {.number = -1}};
    status = gm_resolve(g, choice, &resolved, err);
    for (int i = 0; i < g->nodes && !status; i++) status = see(&s, i, err);
    if (!status) status = close_block(&s, err);
    if (!status) *ms = s.ms;
    gm_resolved_fini(&resolved);
    return status;
}
