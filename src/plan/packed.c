// SPDX-License-Identifier: Apache-2.0
// What all plans over a model share: its graph, fused; its weights, packed; its norm table.
#include <string.h>

#include "plan/plan_private.h"

static gm_status copy_choices(gm_packed *p, const gm_model *m, gm_error *err) {
    p->subnets = m->entries;
    p->choice = gm_alloc((size_t)m->entries, sizeof *p->choice);
    if (!p->choice) return gm_fail(err, GM_ERR_MEMORY, "no memory for %d subnets", m->entries);
    for (int i = 0; i < m->entries; i++) p->choice[i] = m->entry[i].choice;
    return GM_OK;
}

static void *copy(const void *from, size_t count, size_t size) {
    void *to = gm_alloc(count + 1, size);
    if (to && count) memcpy(to, from, count * size);
    return to;
}

static gm_status copy_graph(const gm_graph *from, gm_graph **out, gm_error *err) {
    gm_graph *g = copy(from, 1, sizeof *g);
    if (!g) return gm_fail(err, GM_ERR_MEMORY, "a graph");
    g->node = copy(from->node, (size_t)from->nodes, sizeof *g->node);
    g->param = copy(from->param, (size_t)from->params, sizeof *g->param);
    g->tables = copy(from->tables, (size_t)from->tables_used, sizeof *g->tables);
    *out = g;
    return g->node && g->param && g->tables ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "a graph");
}

gm_status gm_packed_create(const gm_model *m, gm_dtype type, gm_packed **out, gm_error *err) {
    *out = NULL;
    if (type != GM_F32 && type != GM_BF16 && type != GM_I8)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "plans of type %s: use f32, bf16 or int8", gm_dtype_name(type));
    if (m->entries < 1)
        return gm_fail(err, GM_ERR_STATE, "no subnet of this model is calibrated; run: gamut calibrate MODEL --choices max min");
    gm_packed *p = gm_alloc(1, sizeof *p);
    if (!p) return gm_fail(err, GM_ERR_MEMORY, "packed weights");
    p->type = type;
    gm_status status = copy_graph(m->graph, &p->graph, err);
    if (!status) status = gm__steps_create(p->graph, &p->steps, err);
    if (!status) status = copy_choices(p, m, err);
    if (!status) status = gm__norm_table_create(m, &p->steps, type != GM_F32, &p->norms, err);
    if (!status) status = gm__precision_create(m, type, &p->steps, &p->precision, err);
    if (!status) status = gm__pack_weights(p, m, err);
    if (status) gm_packed_destroy(p);
    else *out = p;
    return status;
}

void gm_packed_destroy(gm_packed *p) {
    if (!p) return;
    gm__norm_table_fini(&p->norms);
    gm__precision_fini(&p->precision);
    gm__steps_fini(&p->steps);
    gm_free(p->choice);
    gm_free(p->panels);
    gm_free(p->plain);
    gm_free(p->taps);
    gm_free(p->weights);
    gm_graph_destroy(p->graph);
    gm_free(p);
}

gm_dtype gm_packed_type(const gm_packed *p) { return p->type; }
const gm_graph *gm_packed_graph(const gm_packed *p) { return p->graph; }
int gm_packed_subnets(const gm_packed *p) { return p->subnets; }
const gm_choice *gm_packed_choice(const gm_packed *p, int subnet) {
    return subnet >= 0 && subnet < p->subnets ? &p->choice[subnet] : NULL;
}

int gm_packed_find(const gm_packed *p, const gm_choice *choice) {
    gm_choice c = gm_choice_canonical(&p->graph->space, *choice);
    for (int i = 0; i < p->subnets; i++)
        if (memcmp(&p->choice[i], &c, sizeof c) == 0) return i;
    return -1;
}

gm_packed_bytes gm_packed_memory(const gm_packed *p) {
    size_t tables = (size_t)p->subnets * (sizeof(gm_choice) + (size_t)p->norms.norms * sizeof *p->norms.entry);
    return (gm_packed_bytes){p->weight_bytes, p->norms.bytes + tables, p->norms.unshared + tables};
}
