// SPDX-License-Identifier: Apache-2.0
// graph: a choice turned into sizes (nothing is allocated: this is what switching subnets costs), and counting.
#include "graph/graph_private.h"
#include "graph/ops/ops.h"

gm_status gm_resolved_init(gm_resolved *r, const gm_graph *g, gm_error *err) {
    *r = (gm_resolved){.nodes = g->nodes};
    r->node = gm_alloc((size_t)g->nodes, sizeof *r->node);
    if (!r->node) return gm_fail(err, GM_ERR_MEMORY, "out of memory for the sizes of graph %s", g->family);
    return GM_OK;
}

void gm_resolved_fini(gm_resolved *r) {
    gm_free(r->node);
    *r = (gm_resolved){0};
}

static gm_status check_choice(const gm_graph *g, const gm_choice *choice, gm_error *err) {
    for (int k = 0; k < g->space.knobs; k++)
        if (choice->index[k] >= g->space.knob[k].count)
            return gm_fail(err, GM_ERR_RANGE, "choice: knob %s has index %d, it has %d values", g->space.knob[k].name,
                           choice->index[k], g->space.knob[k].count);
    return GM_OK;
}

// Inputs after following aliases. An active node must not read an inactive one.
static gm_status follow_inputs(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    const gm_node *n = &g->node[node];
    for (int j = 0; j < GM_MAX_INPUTS && n->input[j] >= 0; j++) {
        r->node[node].from[j] = r->node[n->input[j]].source;
        if (r->node[node].from[j] < 0)
            return gm_fail(err, GM_ERR_STATE, "graph %s: node %s is in use but reads %s, which is not", g->family,
                           n->name, g->node[n->input[j]].name);
    }
    if (r->node[node].from[0] >= 0) r->node[node].in = r->node[r->node[node].from[0]].out;
    return GM_OK;
}

static gm_status check_shape(const gm_graph *g, int node, const gm_resolved *r, gm_error *err) {
    const gm_resolved_node *n = &r->node[node];
    if (n->out.h < 1 || n->out.w < 1 || n->out.c < 1)
        return gm_fail(err, GM_ERR_RANGE, "%s: nothing is left of a %dx%d input: use a larger image",
                       g->node[node].name, n->in.h, n->in.w);
    if (g->node[node].op == &gm__op_norm && n->from[1] >= 0) {
        gm_shape s = r->node[n->from[1]].out;
        if (s.h != n->out.h || s.w != n->out.w || s.c != n->out.c)
            return gm_fail(err, GM_ERR_RANGE, "%s: the residual is %dx%dx%d, not %dx%dx%d", g->node[node].name, s.h,
                           s.w, s.c, n->out.h, n->out.w, n->out.c);
    }
    return GM_OK;
}

gm_status gm_resolve(const gm_graph *g, const gm_choice *choice, gm_resolved *r, gm_error *err) {
    gm_status status = check_choice(g, choice, err);
    if (status) return status;
    r->choice = gm_choice_canonical(&g->space, *choice);
    for (int i = 0; i < g->nodes; i++) {
        const gm_node *n = &g->node[i];
        gm_resolved_node *out = &r->node[i];
        *out = (gm_resolved_node){.source = -1, .from = {-1, -1, -1}};
        bool holds = gm__gate_holds(&n->gate, &r->choice);
        if (n->op == &gm__op_select) {
            // The value of the chosen input under another number; unused where that input is.
            out->source = r->node[n->input[holds ? 0 : 1]].source;
            if (out->source < 0) continue;
            out->from[0] = out->source;
            out->in = r->node[out->source].out;
        } else {
            if (!holds) continue;
            out->source = i;
            status = follow_inputs(g, i, r, err);
            if (status) return status;
        }
        out->active = true;
        status = n->op->resolve(g, i, r, err);
        if (!status) status = check_shape(g, i, r, err);
        if (status) return status;
    }
    return GM_OK;
}

gm_status gm_count(const gm_graph *g, const gm_choice *choice, gm_cost *out, gm_error *err) {
    *out = (gm_cost){0};
    gm_resolved r;
    gm_status status = gm_resolved_init(&r, g, err);
    if (status) return status;
    status = gm_resolve(g, choice, &r, err);
    for (int i = 0; i < g->nodes && !status; i++)
        if (r.node[i].active && r.node[i].source == i && g->node[i].op->cost) g->node[i].op->cost(g, i, &r, out);
    gm_resolved_fini(&r);
    return status;
}
