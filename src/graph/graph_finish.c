// SPDX-License-Identifier: Apache-2.0
// graph: the last step of building: widths that follow inputs, layout of the parameters, checks.
#include <stdlib.h>
#include <string.h>

#include "graph/graph_private.h"
#include "graph/ops/ops.h"

// Floats of 64 bytes; bound of every dimension; inputs up to which weights are stored flat (kernel.h)
enum { ALIGN = 16, MAX_SIDE = 65536, FLAT_INPUTS = 4 };
static const size_t max_floats = (size_t)1 << 31; // 8 GiB of parameters

// Widest channel count of every node, into max_c.
static void widths(const gm_graph *g, int *max_c) {
    for (int i = 0; i < g->nodes; i++) {
        const gm_node *n = &g->node[i];
        if (n->op == &gm__op_input) max_c[i] = g->input_channels;
        else if (n->op == &gm__op_conv || n->op == &gm__op_linear) max_c[i] = n->out.max;
        else max_c[i] = max_c[n->input[0]];
        if (n->op == &gm__op_select) max_c[i] = gm_max(max_c[i], max_c[n->input[1]]);
    }
}

// Dimensions left 0 by the builder are the widest input.
static void fill_dims(gm_graph *g, const int *max_c) {
    for (int i = 0; i < g->nodes; i++) {
        const gm_node *n = &g->node[i];
        for (int j = 0; j < GM_MAX_NODE_PARAMS; j++) {
            gm_param *p = n->param[j] < 0 ? NULL : &g->param[n->param[j]];
            for (int d = 0; p && d < p->rank; d++)
                if (p->dims[d] == 0) p->dims[d] = max_c[n->input[0]];
        }
    }
}

// The windows that the kernels are made for (kernel.h).
static gm_status check_windows(const gm_graph *g, gm_error *err) {
    for (int i = 0; i < g->nodes; i++) {
        const gm_node *n = &g->node[i];
        if (n->op == &gm__op_conv || n->op == &gm__op_max_pool || n->op == &gm__op_avg_pool) {
            const bool folded = n->op == &gm__op_conv && g->param[n->param[0]].dims[1] <= FLAT_INPUTS;
            const int most = folded ? GM_TAPS_MAX_FLAT : GM_TAPS_MAX;
            if (n->taps < 1 || n->taps > most)
                return gm_fail(err, GM_ERR_RANGE, "graph %s: the window of %s is %d taps wide, allowed are 1 to %d",
                               g->family, n->name, n->taps, most);
        }
        if (n->op != &gm__op_depthwise) continue;
        for (int j = 0; j < gm__size_entries(g, &n->kernel); j++) {
            const int taps = g->tables[n->kernel.offset + j];
            if (taps != 3 && taps != 5 && taps != 7)
                return gm_fail(err, GM_ERR_RANGE, "graph %s: the window of %s is %d taps wide, allowed are 3, 5 and 7",
                               g->family, n->name, taps);
        }
    }
    return GM_OK;
}

static size_t stored_floats(gm_param *p) {
    if (p->layout == GM_LAYOUT_PANELS) {
        gm_panels panels;
        p->flat = p->dims[1] <= FLAT_INPUTS && p->dims[2] * p->dims[3] > 1;
        return gm_panels_layout(&panels, GM_F32, p->dims[0], p->dims[1], p->dims[2], p->dims[3], p->flat);
    }
    if (p->layout == GM_LAYOUT_TAPS)
        return (size_t)(p->dims[2] * p->dims[3]) * (size_t)gm_round_up(p->dims[0], ALIGN);
    size_t count = 1;
    for (int d = 0; d < p->rank; d++) count *= (size_t)p->dims[d];
    return count;
}

static gm_status lay_out(gm_graph *g, gm_error *err) {
    g->floats = 0;
    for (int i = 0; i < g->params; i++) {
        gm_param *p = &g->param[i];
        size_t bound = 1;
        for (int d = 0; d < 4; d++) {
            if (p->dims[d] < 1 || p->dims[d] > MAX_SIDE || !gm_mul_size(bound, (size_t)p->dims[d], &bound) ||
                bound > max_floats)
                return gm_fail(err, GM_ERR_RANGE, "graph %s: parameter %s (%d, %d, %d, %d) is too large", g->family,
                               p->name, p->dims[0], p->dims[1], p->dims[2], p->dims[3]);
        }
        p->offset = g->floats;
        p->count = stored_floats(p);
        g->floats += (p->count + ALIGN - 1) / ALIGN * ALIGN;
        if (g->floats > max_floats)
            return gm_fail(err, GM_ERR_RANGE, "graph %s: more than %zu parameters", g->family, max_floats);
    }
    return GM_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const gm_param *const *)a)->name, (*(const gm_param *const *)b)->name);
}

static gm_status check_names(const gm_graph *g, gm_error *err) {
    const gm_param **sorted = gm_alloc((size_t)g->params + 1, sizeof *sorted);
    if (!sorted) return gm_fail(err, GM_ERR_MEMORY, "out of memory while checking graph %s", g->family);
    gm_status status = GM_OK;
    for (int i = 0; i < g->params; i++) sorted[i] = &g->param[i];
    if (g->params) qsort(sorted, (size_t)g->params, sizeof *sorted, by_name);
    for (int i = 1; i < g->params && !status; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            status = gm_fail(err, GM_ERR_ARGUMENT, "graph %s: two parameters are named %s", g->family, sorted[i]->name);
    gm_free(sorted);
    return status;
}

static gm_status check_nodes(const gm_graph *g, gm_error *err) {
    if (g->nodes < 2 || g->node[0].op != &gm__op_input)
        return gm_fail(err, GM_ERR_ARGUMENT, "graph %s: the first node must be an input and others follow", g->family);
    for (int i = 0; i < g->nodes; i++) {
        const gm_gate *gate = &g->node[i].gate;
        if (gate->knob < -1 || gate->knob >= g->space.knobs)
            return gm_fail(err, GM_ERR_ARGUMENT, "graph %s: node %s is gated by knob %d, there are %d", g->family,
                           g->node[i].name, gate->knob, g->space.knobs);
    }
    const gm_node *last = &g->node[g->nodes - 1];
    if (last->op != &gm__op_linear || last->gate.knob >= 0 || last->out.knob_a >= 0 || last->out.knob_b >= 0)
        return gm_fail(err, GM_ERR_ARGUMENT, "graph %s: the last node must be a linear layer of fixed size (the logits)",
                       g->family);
    return GM_OK;
}

// Both extremes must have sizes; what lies between is checked when it is asked for.
static gm_status check_extremes(const gm_graph *g, gm_error *err) {
    gm_choice choices[2] = {gm_choice_min(&g->space), gm_choice_max(&g->space)};
    gm_resolved r;
    gm_status status = gm_resolved_init(&r, g, err);
    if (status) return status;
    for (int i = 0; i < 2 && !status; i++) status = gm_resolve(g, &choices[i], &r, err);
    gm_resolved_fini(&r);
    return status;
}

gm_status gm_graph_finish(gm_builder *b, gm_error *err) {
    gm_graph *g = b->graph;
    if (b->err.status) return gm_fail(err, b->err.status, "%s", b->err.text);
    gm_status status = check_nodes(g, err);
    if (status) return status;
    int *max_c = gm_alloc((size_t)g->nodes, sizeof *max_c);
    if (!max_c) return gm_fail(err, GM_ERR_MEMORY, "out of memory while finishing graph %s", g->family);
    widths(g, max_c);
    fill_dims(g, max_c);
    g->classes = max_c[g->nodes - 1];
    g->norms = 0;
    g->norm_floats = 0;
    for (int i = 0; i < g->nodes; i++)
        if (g->node[i].op == &gm__op_norm) {
            g->norms++;
            g->norm_floats += (size_t)gm_round_up(max_c[i], ALIGN);
        }
    gm_free(max_c);
    status = check_windows(g, err);
    if (!status) status = lay_out(g, err);
    if (!status) status = check_names(g, err);
    if (!status) status = check_extremes(g, err);
    return status;
}
