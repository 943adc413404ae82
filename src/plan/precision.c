// SPDX-License-Identifier: Apache-2.0
// Which products of an int8 plan are int8, which values stay int8 between them, and their units. A unit is the same for every
// subnet (ranges are those of the subnet where they are largest), so that a switch changes nothing here. Values that a residual
// add joins count in one unit, for the kernels add without a conversion.
#include <math.h>
#include <string.h>

#include "plan/plan_private.h"

typedef struct typing {
    const gm_graph *g;
    const gm__steps *steps;
    gm__precision *p;
    bool *read_narrow, *read_wide; // of each node: by an int8 product; by a step that needs it wide
    int *group;                    // of values that share a unit; union-find
} typing;

static int root(typing *t, int node) {
    while (t->group[node] != node) node = t->group[node] = t->group[t->group[node]];
    return node;
}

// All nodes whose value input j of a node may be: through selects and what passes its input on.
static void visit(typing *t, int node, void (*fn)(typing *t, int source, int context), int context) {
    const gm_node *n = &t->g->node[node];
    if (strcmp(n->op->name, "select") == 0) {
        visit(t, n->input[0], fn, context);
        visit(t, n->input[1], fn, context);
    } else if (t->steps->skipped[node]) {
        visit(t, n->input[0], fn, context);
    } else {
        fn(t, node, context);
    }
}

static void mark_narrow(typing *t, int source, int context) {
    (void)context;
    t->read_narrow[source] = true;
}
static void mark_wide(typing *t, int source, int context) {
    (void)context;
    t->read_wide[source] = true;
}
static void join(typing *t, int source, int context) { t->group[root(t, source)] = root(t, context); }

// Flat weights (the first layer) and the classifier stay as they are.
static bool can_be_narrow(const typing *t, const gm__step *s) {
    return s->kind == GM__STEP_DENSE && s->last != t->g->nodes - 1 && !t->g->param[t->g->node[s->node].param[0]].flat;
}

static bool pools(const gm__step *s) {
    return s->kind == GM__STEP_MAX_POOL || s->kind == GM__STEP_AVG_POOL || s->kind == GM__STEP_GLOBAL_POOL;
}

static void look_at_readers(typing *t) {
    for (int i = 0; i < t->steps->count; i++) {
        const gm__step *s = &t->steps->at[i];
        int first = t->g->node[s->node].input[0];
        t->p->narrow[s->node] = can_be_narrow(t, s);
        if (t->p->narrow[s->node]) visit(t, first, mark_narrow, 0);
        else if (!pools(s)) visit(t, first, mark_wide, 0);
        if (s->kind == GM__STEP_ADD) visit(t, t->g->node[s->node].input[1], mark_wide, 0);
    }
}

static void choose_values(typing *t) {
    for (int i = 0; i < t->g->nodes; i++) t->p->value[i] = t->p->wide;
    for (int i = 0; i < t->steps->count; i++) {
        const gm__step *s = &t->steps->at[i];
        if (t->p->narrow[s->node] && t->read_narrow[s->last] && !t->read_wide[s->last]) t->p->value[s->last] = GM_I8;
    }
    for (int i = 0; i < t->steps->count; i++) {
        const gm__step *s = &t->steps->at[i];
        if (s->norm >= 0 && t->g->node[s->norm].input[1] >= 0) visit(t, t->g->node[s->norm].input[1], join, s->last);
    }
}

static void choose_units(typing *t, const gm_model *m) {
    for (int i = 0; i < t->g->nodes; i++) {
        int r = root(t, i);
        t->p->unit[r] = fmaxf(t->p->unit[r], m->range[i] / 127.0f);
    }
    for (int i = 0; i < t->g->nodes; i++) t->p->unit[i] = fmaxf(t->p->unit[root(t, i)], 1e-20f);
}

static gm_status check_ranges(const gm_model *m, gm_error *err) {
    for (int i = 0; i < m->entries; i++) {
        char text[128];
        if (m->entry[i].ranged) continue;
        if (gm_choice_print(&m->graph->space, &m->entry[i].choice, text, sizeof text, NULL) != GM_OK) text[0] = '\0';
        return gm_fail(err, GM_ERR_STATE,
                       "int8 needs activation ranges, and subnet '%.90s' has none; run: gamut calibrate MODEL --choices again", text);
    }
    return GM_OK;
}

gm_status gm__precision_create(const gm_model *m, gm_dtype type, const gm__steps *steps, gm__precision *out, gm_error *err) {
    size_t nodes = (size_t)m->graph->nodes;
    *out = (gm__precision){.wide = type == GM_I8 ? GM_F32 : type, .value = gm_alloc(nodes, sizeof *out->value),
                           .unit = gm_alloc(nodes, sizeof *out->unit), .narrow = gm_alloc(nodes, sizeof *out->narrow)};
    typing t = {.g = m->graph, .steps = steps, .p = out, .read_narrow = gm_alloc(nodes, sizeof *t.read_narrow),
                .read_wide = gm_alloc(nodes, sizeof *t.read_wide), .group = gm_alloc(nodes, sizeof *t.group)};
    gm_status status = out->value && out->unit && out->narrow && t.read_narrow && t.read_wide && t.group
                           ? GM_OK
                           : gm_fail(err, GM_ERR_MEMORY, "types of a plan");
    if (!status && type == GM_I8) status = check_ranges(m, err);
    for (size_t i = 0; i < nodes && !status; i++) {
        out->value[i] = out->wide;
        out->unit[i] = 0;
        t.group[i] = (int)i;
    }
    if (!status && type == GM_I8) {
        look_at_readers(&t);
        choose_values(&t);
        choose_units(&t, m);
    }
    gm_free(t.read_narrow);
    gm_free(t.read_wide);
    gm_free(t.group);
    if (status) gm__precision_fini(out);
    return status;
}

void gm__precision_fini(gm__precision *p) {
    gm_free(p->value);
    gm_free(p->unit);
    gm_free(p->narrow);
    *p = (gm__precision){0};
}
