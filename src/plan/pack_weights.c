// SPDX-License-Identifier: Apache-2.0
// Weights packed once for the whole supernet: dense ones in panels of the plan's type, the rest in f32. Kernels that learned
// matrices make of larger ones are made here, one for each size, so that a switch of the subnet only picks a pointer.
#include <string.h>

#include "plan/plan_private.h"

static bool is_dense(const gm_param *p) { return p->layout == GM_LAYOUT_PANELS; }

static gm_panels master_of(const gm_model *m, int i) {
    const gm_param *p = &m->graph->param[i];
    gm_panels panels;
    gm_panels_layout(&panels, GM_F32, p->dims[0], p->dims[1], p->dims[2], p->dims[3], p->flat);
    panels.data = m->params + p->offset;
    return panels;
}

// Gamma and beta live in the norm table.
static void mark_norms(const gm_graph *g, bool *of_norm) {
    for (int i = 0; i < g->nodes; i++)
        for (int j = 0; j < 2 && strcmp(g->node[i].op->name, "norm") == 0; j++) of_norm[g->node[i].param[j]] = true;
}

static void mark_narrow(const gm_packed *p, bool *narrow) {
    for (int i = 0; i < p->graph->nodes; i++)
        if (p->precision.narrow[i]) narrow[p->graph->node[i].param[0]] = true;
}

static void *take(gm_packed *p, size_t *used, size_t bytes) {
    void *at = p->weights ? p->weights + *used : NULL;
    *used += gm__align64(bytes);
    return at;
}

static int stored_kernel(const gm_graph *g, const gm_node *n) { return g->param[n->param[0]].dims[2]; }

// The kernels of one depthwise node, from the largest down. Without matrices a smaller one is the centre of the stored one.
static void place_taps(gm_packed *p, const gm_model *m, int node, size_t *used) {
    const gm_node *n = &p->graph->node[node];
    const gm_param *weight = &p->graph->param[n->param[0]];
    int outer = stored_kernel(p->graph, n), ld = gm_round_up(weight->dims[0], 16), row = outer;
    const float *w = p->plain[n->param[0]];
    gm__taps *taps = p->taps + node * GM__KERNELS;
    taps[(outer - 3) / 2] = (gm__taps){w, outer, ld};
    for (int k = outer - 2, j = 1; k >= 3; k -= 2, j++) {
        const float *centre = w ? w + (size_t)(row + 1) * (size_t)ld : NULL; // from k + 2 taps
        if (n->transform && j < GM_MAX_NODE_PARAMS && n->param[j] >= 0) {
            float *made = take(p, used, sizeof(float) * (size_t)(k * k) * (size_t)ld);
            if (made)
                gm_kernels_active()->tap_transform(k, ld, centre, row, ld, m->params + m->graph->param[n->param[j]].offset,
                                                   made, ld);
            w = made;
            row = k;
        } else {
            w = centre; // pitch stays that of what is stored
        }
        taps[(k - 3) / 2] = (gm__taps){w, row, ld};
    }
}

// First counts (no memory yet), then fills.
static size_t place_all(gm_packed *p, const gm_model *m, const bool *of_norm, const bool *narrow) {
    const gm_graph *g = p->graph;
    size_t used = 0;
    for (int i = 0; i < g->params; i++) {
        const gm_param *q = &g->param[i];
        if (of_norm[i]) continue;
        if (!is_dense(q)) {
            float *at = take(p, &used, q->count * sizeof(float));
            p->plain[i] = at;
            if (at) memcpy(at, m->params + q->offset, q->count * sizeof(float));
            continue;
        }
        gm_dtype type = narrow[i] ? GM_I8 : p->precision.wide;
        size_t count = gm_panels_layout(&p->panels[i], type, q->dims[0], q->dims[1], q->dims[2], q->dims[3], q->flat);
        p->panels[i].data = take(p, &used, count * gm_dtype_size(type));
        if (type == GM_I8) p->panels[i].scale = take(p, &used, (size_t)gm_round_up(q->dims[0], 16) * sizeof(float));
    }
    for (int i = 0; i < g->nodes; i++)
        if (strcmp(g->node[i].op->name, "depthwise") == 0) place_taps(p, m, i, &used);
    return used;
}

typedef struct packing {
    gm_packed *p;
    const gm_model *m;
} packing;

static void pack_task(void *context, int begin, int end, int worker) {
    (void)worker;
    packing *k = context;
    for (int i = begin; i < end; i++) {
        if (!is_dense(&k->p->graph->param[i])) continue;
        gm_panels master = master_of(k->m, i);
        gm_kernels_active()->pack(&master, &k->p->panels[i], 0, (master.outputs + 15) / 16);
    }
}

gm_status gm__pack_weights(gm_packed *p, const gm_model *m, gm_error *err) {
    const gm_graph *g = p->graph;
    bool *of_norm = gm_alloc((size_t)g->params + 1, sizeof *of_norm);
    bool *narrow = gm_alloc((size_t)g->params + 1, sizeof *narrow);
    p->panels = gm_alloc((size_t)g->params + 1, sizeof *p->panels);
    p->plain = gm_alloc((size_t)g->params + 1, sizeof *p->plain);
    p->taps = gm_alloc((size_t)g->nodes * GM__KERNELS, sizeof *p->taps);
    gm_status status = GM_OK;
    if (!of_norm || !narrow || !p->panels || !p->plain || !p->taps) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory for packed weights");
    } else {
        mark_norms(g, of_norm);
        mark_narrow(p, narrow);
        p->weight_bytes = place_all(p, m, of_norm, narrow);
        p->weights = gm_alloc(p->weight_bytes + 64, 1);
        if (!p->weights) status = gm_fail(err, GM_ERR_MEMORY, "%zu MiB for packed weights", p->weight_bytes >> 20);
    }
    if (!status) {
        place_all(p, m, of_norm, narrow);
        packing k = {p, m};
        gm_parallel(g->params, pack_task, &k);
    }
    gm_free(of_norm);
    gm_free(narrow);
    return status;
}
