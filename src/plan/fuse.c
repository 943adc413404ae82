// SPDX-License-Identifier: Apache-2.0
// Fusing: a product and the norm, residual add and activation behind it become one step, when nothing else reads what lies
// between them. Read off the graph, so that no model is described twice.
#include <string.h>

#include "plan/plan_private.h"

typedef struct fusing {
    const gm_graph *g;
    int *readers, *reader; // of each node: how many, and the last one
    bool *taken;           // its value is never written: part of an earlier step
} fusing;

static bool is(const gm_node *n, const char *name) { return strcmp(n->op->name, name) == 0; }

static bool same_gate(const gm_node *a, const gm_node *b) {
    return a->gate.knob == b->gate.knob && (a->gate.knob < 0 || a->gate.min == b->gate.min);
}

// The node behind `node`, when it is the only reader, under the same gate and of the given kind.
static int follower(const fusing *f, int node, const char *op) {
    if (f->readers[node] != 1) return -1;
    int next = f->reader[node];
    const gm_node *n = &f->g->node[next];
    return is(n, op) && n->input[0] == node && same_gate(&f->g->node[node], n) ? next : -1;
}

static void extend(const fusing *f, gm__step *s) {
    int norm = follower(f, s->node, "norm");
    if (norm >= 0) {
        s->norm = s->last = norm;
        s->act = f->g->node[norm].act;
    }
    int act = s->act == GM_ACT_NONE ? follower(f, s->last, "act") : -1;
    if (act >= 0) {
        s->last = act;
        s->act = f->g->node[act].act;
    }
}

static bool start(const fusing *f, int node, gm__step *s) {
    static const struct {
        const char *op;
        gm__step_kind kind;
        bool extends;
    } kinds[] = {{"conv", GM__STEP_DENSE, true},          {"linear", GM__STEP_DENSE, true},
                 {"depthwise", GM__STEP_DEPTHWISE, true}, {"norm", GM__STEP_NORM, false},
                 {"act", GM__STEP_ACT, false},            {"add", GM__STEP_ADD, false},
                 {"squeeze_excite", GM__STEP_SQUEEZE, false},
                 {"max_pool", GM__STEP_MAX_POOL, false},  {"avg_pool", GM__STEP_AVG_POOL, false},
                 {"global_pool", GM__STEP_GLOBAL_POOL, false}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const gm_node *n = &f->g->node[node];
        if (!is(n, kinds[i].op)) continue;
        *s = (gm__step){.kind = kinds[i].kind, .node = node, .last = node, .norm = -1, .act = n->act};
        if (s->kind == GM__STEP_NORM) s->norm = node;
        if (kinds[i].extends) extend(f, s);
        return true;
    }
    return false;
}

static gm_status collect(const fusing *f, gm__steps *out, gm_error *err) {
    const gm_graph *g = f->g;
    // A step stands where its last node does: all that it reads is computed by then.
    int *first = gm_alloc((size_t)g->nodes, sizeof *first); // of the step that ends in a node, plus 1
    gm__step *steps = gm_alloc((size_t)g->nodes, sizeof *steps);
    gm_status status = GM_OK;
    if (!first || !steps) status = gm_fail(err, GM_ERR_MEMORY, "no memory to fuse graph %s", g->family);
    for (int i = 1; i < g->nodes && !status; i++) {
        const gm_node *n = &g->node[i];
        if (f->taken[i] || is(n, "select")) continue;
        if (is(n, "dropout")) {
            out->skipped[i] = true;
            continue;
        }
        if (!start(f, i, &steps[i])) {
            status = gm_fail(err, GM_ERR_UNSUPPORTED, "%s: operation %s cannot be planned for inference yet", n->name,
                             n->op->name);
            break;
        }
        first[steps[i].last] = i + 1;
        if (steps[i].norm >= 0) f->taken[steps[i].norm] = true;
        f->taken[steps[i].last] = true;
    }
    for (int i = 0; i < g->nodes && !status; i++)
        if (first[i]) out->at[out->count++] = steps[first[i] - 1];
    gm_free(first);
    gm_free(steps);
    return status;
}

gm_status gm__steps_create(const gm_graph *g, gm__steps *out, gm_error *err) {
    size_t nodes = (size_t)g->nodes;
    *out = (gm__steps){.at = gm_alloc(nodes, sizeof *out->at), .skipped = gm_alloc(nodes, sizeof *out->skipped)};
    fusing f = {.g = g, .readers = gm_alloc(nodes, sizeof *f.readers), .reader = gm_alloc(nodes, sizeof *f.reader),
                .taken = gm_alloc(nodes, sizeof *f.taken)};
    gm_status status = GM_OK;
    if (!out->at || !out->skipped || !f.readers || !f.reader || !f.taken)
        status = gm_fail(err, GM_ERR_MEMORY, "no memory to fuse graph %s", g->family);
    for (int i = 0; i < g->nodes && !status; i++)
        for (int j = 0; j < GM_MAX_INPUTS && g->node[i].input[j] >= 0; j++) {
            f.readers[g->node[i].input[j]]++;
            f.reader[g->node[i].input[j]] = i;
        }
    if (!status) status = collect(&f, out, err);
    gm_free(f.readers);
    gm_free(f.reader);
    gm_free(f.taken);
    if (status) gm__steps_fini(out);
    return status;
}

void gm__steps_fini(gm__steps *s) {
    gm_free(s->at);
    gm_free(s->skipped);
    *s = (gm__steps){0};
}

int gm__source(const gm__steps *s, const gm_resolved *r, int node, int j) {
    int from = r->node[node].from[j];
    while (from > 0 && s->skipped[from]) from = r->node[from].from[0];
    return from;
}
