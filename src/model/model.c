// SPDX-License-Identifier: Apache-2.0
// model: a supernet in memory: graph, parameters, and the statistics of calibrated subnets.
#include <math.h>
#include <string.h>

#include "model/family.h"

gm_status gm_model_create(const char *preset, const gm_model_settings *settings, gm_model **out, gm_error *err) {
    *out = NULL;
    const gm__preset *p = gm__preset_find(preset, err);
    if (!p) return GM_ERR_NOT_FOUND;
    gm_model *m = gm_alloc(1, sizeof *m);
    if (!m) return gm_fail(err, GM_ERR_MEMORY, "no memory for model %s", preset);
    snprintf(m->preset, sizeof m->preset, "%s", p->name);
    for (int c = 0; c < 4; c++) m->input_std[c] = 1;
    gm_status status = gm__settings_complete(p, settings, &m->settings, err);
    if (!status) status = gm_model_graph(p->name, &m->settings, &m->graph, err);
    if (!status) {
        m->params = gm_alloc(m->graph->floats, sizeof *m->params);
        m->norm_offset = gm_alloc((size_t)m->graph->nodes, sizeof *m->norm_offset);
        m->range = gm_alloc((size_t)m->graph->nodes, sizeof *m->range);
        if (!m->params || !m->norm_offset || !m->range)
            status = gm_fail(err, GM_ERR_MEMORY, "no memory for the %zu parameters of model %s", m->graph->floats,
                             preset);
    }
    const gm_op *norm = gm_op_find("norm");
    size_t offset = 0;
    for (int i = 0; !status && i < m->graph->nodes; i++) {
        const gm_node *n = &m->graph->node[i];
        if (n->op != norm) continue;
        m->norm_offset[i] = offset;
        offset += (size_t)gm_round_up(m->graph->param[n->param[0]].dims[0], 16);
    }
    if (status) gm_model_destroy(m);
    else *out = m;
    return status;
}

void gm_model_destroy(gm_model *m) {
    if (!m) return;
    gm_model_norms_clear(m);
    gm_free(m->entry);
    gm_free(m->norm_offset);
    gm_free(m->params);
    gm_free(m->range);
    gm_graph_destroy(m->graph);
    gm_free(m);
}

static float draw(const gm_param *p, size_t element, gm_rng *rng) {
    double taps = (double)p->dims[2] * p->dims[3];
    switch (p->init) {
    case GM_INIT_ZERO: return 0;
    case GM_INIT_ONE: return 1;
    case GM_INIT_IDENTITY: return element / (size_t)p->dims[1] == element % (size_t)p->dims[1] ? 1 : 0;
    case GM_INIT_HE_FANOUT: return (float)sqrt(2 / (taps * p->dims[0])) * gm_rng_normal(rng);
    case GM_INIT_HE_FANIN: return (float)sqrt(2 / (taps * p->dims[1])) * gm_rng_normal(rng);
    case GM_INIT_LINEAR: return (2 * gm_rng_uniform(rng) - 1) / sqrtf((float)p->dims[1]);
    case GM_INIT_NORMAL: return 0.02f * gm_rng_normal(rng);
    }
    return 0;
}

void gm_model_init_params(gm_model *m, uint64_t seed) {
    // A stream a parameter, named by the parameter, drawn in row order: the same numbers whatever the stored layout,
    // and whatever other layers the network has.
    for (int i = 0; i < m->graph->params; i++) {
        const gm_param *p = &m->graph->param[i];
        float *stored = m->params + p->offset;
        gm_rng rng = gm_rng_keyed(seed, gm_hash64(p->name, strlen(p->name), 0), 0, GM_RNG_INIT);
        memset(stored, 0, p->count * sizeof *stored);
        for (size_t e = 0, n = gm_param_elements(p); e < n; e++) stored[gm_param_index(p, e)] = draw(p, e, &rng);
    }
    gm_model_norms_clear(m);
}

gm_norm_entry *gm_model_norms(gm_model *m, const gm_choice *choice) {
    gm_choice c = gm_choice_canonical(&m->graph->space, *choice);
    for (int i = 0; i < m->entries; i++)
        if (memcmp(&m->entry[i].choice, &c, sizeof c) == 0) return &m->entry[i];
    return NULL;
}

gm_status gm__model_norms_append(gm_model *m, const gm_choice *choice, gm_norm_entry **out, gm_error *err) {
    if (m->entries == m->entries_cap) {
        int cap = m->entries_cap * 2 + 16;
        gm_norm_entry *grown = gm_realloc(m->entry, (size_t)m->entries_cap, (size_t)cap, sizeof *grown);
        if (!grown) return gm_fail(err, GM_ERR_MEMORY, "no memory for norm statistics");
        m->entry = grown;
        m->entries_cap = cap;
    }
    gm_norm_entry e = {.choice = gm_choice_canonical(&m->graph->space, *choice),
                       .mean = gm_alloc(m->graph->norm_floats, sizeof *e.mean),
                       .var = gm_alloc(m->graph->norm_floats, sizeof *e.var)};
    if (!e.mean || !e.var) {
        gm_free(e.mean);
        gm_free(e.var);
        return gm_fail(err, GM_ERR_MEMORY, "no memory for norm statistics");
    }
    m->entry[m->entries] = e;
    *out = &m->entry[m->entries++];
    return GM_OK;
}

gm_status gm_model_norms_add(gm_model *m, const gm_choice *choice, gm_norm_entry **out, gm_error *err) {
    gm_norm_entry *e = gm_model_norms(m, choice);
    gm_status status = e ? GM_OK : gm__model_norms_append(m, choice, &e, err);
    if (status) return status;
    e->ranged = false;
    for (size_t i = 0; i < m->graph->norm_floats; i++) {
        e->mean[i] = 0;
        e->var[i] = 1;
    }
    *out = e;
    return GM_OK;
}

void gm_model_norms_clear(gm_model *m) {
    for (int i = 0; i < m->entries; i++) {
        gm_free(m->entry[i].mean);
        gm_free(m->entry[i].var);
    }
    m->entries = 0;
    for (int i = 0; m->range && i < m->graph->nodes; i++) m->range[i] = 0;
}
