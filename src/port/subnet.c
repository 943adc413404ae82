// SPDX-License-Identifier: Apache-2.0
// port: one subnet taken out of the supernet as dense tensors, by the slice rule of every operation.
#include <string.h>

#include <gamut/port.h>

#include "port/names.h"
#include "port/subnet_list.h"

static bool in_use(const gm_subnet *s, int node) {
    return s->resolved.node[node].active && s->resolved.node[node].source == node;
}

// ---------------------------------------------------------------------------------------------
// Values
// Kernels with learned transforms: the centre of the stored one, times the matrix to that size, again and again
// (specs: training 2.3). rows: (channels, k, k) of the active size, from `stored` (C, 1, K, K).
static void transform_taps(const gm_graph *g, const float *params, const gm_node *n, int kernel, int channels,
                           const float *stored, float *rows) {
    enum { MOST = GM_TAPS_MAX };
    const int largest = g->param[n->param[0]].dims[2];
    for (int c = 0; c < channels; c++) {
        float now[MOST * MOST], next[MOST * MOST];
        int side = largest;
        memcpy(now, stored + (size_t)c * (size_t)(side * side), sizeof(float) * (size_t)(side * side));
        for (int step = 1; side > kernel; step++, side -= 2) {
            const float *matrix = params + g->param[n->param[step]].offset;
            int inner = side - 2, taps = inner * inner;
            for (int i = 0; i < taps; i++) {
                float sum = 0;
                for (int j = 0; j < taps; j++)
                    sum += matrix[i * taps + j] * now[(j / inner + 1) * side + j % inner + 1];
                next[i] = sum;
            }
            memcpy(now, next, sizeof(float) * (size_t)taps);
        }
        memcpy(rows + (size_t)c * (size_t)(kernel * kernel), now, sizeof(float) * (size_t)(kernel * kernel));
    }
}

// Prefix of outputs and inputs, centre of the taps; rows: as PyTorch orders them.
static void copy_slice(const gm_param *p, const float *whole, const uint64_t dims[4], float *rows) {
    const size_t side = (size_t)p->dims[2], width = (size_t)p->dims[3];
    const size_t top = (side - (size_t)dims[2]) / 2, left = (width - (size_t)dims[3]) / 2;
    for (size_t o = 0; o < dims[0]; o++)
        for (size_t i = 0; i < dims[1]; i++)
            for (size_t y = 0; y < dims[2]; y++, rows += dims[3])
                memcpy(rows, whole + ((o * (size_t)p->dims[1] + i) * side + y + top) * width + left,
                       sizeof(float) * (size_t)dims[3]);
}

static void copy_values(const gm_subnet *s, const gm_subnet_tensor *t, const gm_norm_entry *norms, float *whole,
                        float *to) {
    const gm_graph *g = s->model->graph;
    const gm_node *n = &g->node[t->node];
    if (t->slot >= GM_SUBNET_MEAN) {
        const float *from = t->slot == GM_SUBNET_MEAN ? norms->mean : norms->var;
        memcpy(to, from + s->model->norm_offset[t->node], sizeof(float) * t->count);
        return;
    }
    const gm_param *p = &g->param[n->param[t->slot]];
    gm_param_export(p, s->model->params + p->offset, whole);
    if (n->transform && t->slot == 0 && (int)t->dims[2] < p->dims[2])
        transform_taps(g, s->model->params, n, (int)t->dims[2], (int)t->dims[0], whole, to);
    else
        copy_slice(p, whole, t->dims, to);
}

// ---------------------------------------------------------------------------------------------
// Which tensors there are
static void add_tensor(gm_subnet *s, int node, int slot, int rank, const uint64_t dims[4]) {
    gm_subnet_tensor *t = &s->tensor[s->tensors++];
    *t = (gm_subnet_tensor){.node = node, .slot = slot, .rank = rank, .count = 1};
    for (int d = 0; d < 4; d++) {
        t->dims[d] = dims[d];
        t->count *= (size_t)dims[d];
    }
    if (slot < GM_SUBNET_MEAN) s->params += t->count;
}

static void list_node(gm_subnet *s, int node, const gm_op *norm) {
    const gm_graph *g = s->model->graph;
    const gm_node *n = &g->node[node];
    const gm_resolved_node *r = &s->resolved.node[node];
    for (int j = 0; j < GM_MAX_NODE_PARAMS; j++) {
        if (n->param[j] < 0 || !n->op->slice || (n->transform && j > 0)) continue; // matrices are in the kernel already
        const gm_param *p = &g->param[n->param[j]];
        int extent[4];
        n->op->slice(g, node, &s->resolved, j, extent);
        // a transformed kernel's slice is what it is made of: its own size is the active one
        if (n->transform && j == 0) extent[2] = extent[3] = r->kernel;
        uint64_t dims[4];
        for (int d = 0; d < 4; d++) dims[d] = (uint64_t)extent[d];
        if (extent[0] > 0) add_tensor(s, node, j, p->rank, dims);
    }
    if (n->op != norm) return;
    uint64_t dims[4] = {(uint64_t)r->out.c, 1, 1, 1};
    add_tensor(s, node, GM_SUBNET_MEAN, 1, dims);
    add_tensor(s, node, GM_SUBNET_VAR, 1, dims);
}

static gm_status name_tensors(gm_subnet *s, gm_error *err) {
    const gm_graph *g = s->model->graph;
    size_t size = sizeof s->tensor->name, n = (size_t)s->tensors;
    char *raw = gm_alloc(n + 1, size), *numbered = gm_alloc(n + 1, size);
    const char **rows = gm_alloc(n + 1, sizeof *rows);
    gm_status status = GM_OK;
    if (!raw || !numbered || !rows) status = gm_fail(err, GM_ERR_MEMORY, "no memory for the names of a subnet");
    for (size_t i = 0; i < n && !status; i++) {
        const gm_subnet_tensor *t = &s->tensor[i];
        const gm_node *node = &g->node[t->node];
        char *row = raw + i * size;
        if (t->slot < GM_SUBNET_MEAN)
            snprintf(row, size, "%s", g->param[node->param[t->slot]].name);
        else
            snprintf(row, size, "%s.running_%s", node->name, t->slot == GM_SUBNET_MEAN ? "mean" : "var");
        rows[i] = row;
    }
    if (!status) gm__names_renumber(rows, s->tensors, numbered, size);
    for (size_t i = 0; i < n && !status; i++) gm__name_plain(numbered + i * size, s->tensor[i].name, size);
    gm_free(raw);
    gm_free(numbered);
    gm_free(rows);
    return status;
}

static gm_status fill(gm_subnet *s, const gm_norm_entry *norms, gm_error *err) {
    const gm_graph *g = s->model->graph;
    size_t total = 0, largest = 0;
    for (int i = 0; i < s->tensors; i++) total += (s->tensor[i].count + 15) / 16 * 16;
    for (int i = 0; i < g->params; i++)
        if (gm_param_elements(&g->param[i]) > largest) largest = gm_param_elements(&g->param[i]);
    float *whole = gm_alloc(largest, sizeof *whole), *to = s->data = gm_alloc(total, sizeof *s->data);
    gm_status status =
        whole && to ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for the %zu values of a subnet", total);
    for (int i = 0; i < s->tensors && !status; i++) {
        copy_values(s, &s->tensor[i], norms, whole, to);
        s->tensor[i].data = to;
        to += (s->tensor[i].count + 15) / 16 * 16;
    }
    gm_free(whole);
    return status;
}

gm_status gm__subnet_list(const gm_model *m, const gm_choice *choice, gm_subnet **out, gm_error *err) {
    const gm_graph *g = m->graph;
    const gm_op *norm = gm_op_find("norm");
    *out = NULL;
    gm_subnet *s = gm_alloc(1, sizeof *s);
    if (!s) return gm_fail(err, GM_ERR_MEMORY, "no memory for a subnet");
    s->model = m;
    gm_status status = gm_resolved_init(&s->resolved, g, err);
    if (!status) status = gm_resolve(g, choice, &s->resolved, err);
    if (!status) {
        s->choice = s->resolved.choice;
        s->tensor = gm_alloc((size_t)g->nodes * GM_SUBNET_SLOTS, sizeof *s->tensor);
        if (!s->tensor) status = gm_fail(err, GM_ERR_MEMORY, "no memory for a subnet");
    }
    for (int i = 0; i < g->nodes && !status; i++)
        if (in_use(s, i)) list_node(s, i, norm);
    if (!status) status = name_tensors(s, err);
    if (status)
        gm_subnet_destroy(s);
    else
        *out = s;
    return status;
}

gm_status gm_subnet_create(gm_model *m, const gm_choice *choice, gm_subnet **out, gm_error *err) {
    const gm_graph *g = m->graph;
    gm_subnet *s = NULL;
    *out = NULL;
    gm_status status = gm__subnet_list(m, choice, &s, err);
    if (status) return status;
    const gm_norm_entry *norms = gm_model_norms(m, &s->choice);
    if (!norms && g->norms > 0) {
        char text[512];
        if (gm_choice_print(&g->space, &s->choice, text, sizeof text, NULL) != GM_OK) text[0] = '\0';
        status = gm_fail(err, GM_ERR_STATE, "subnet '%.150s' is not calibrated: run `gamut calibrate` for it first", text);
    }
    if (!status) status = fill(s, norms, err);
    if (status)
        gm_subnet_destroy(s);
    else
        *out = s;
    return status;
}

void gm_subnet_destroy(gm_subnet *s) {
    if (!s) return;
    gm_resolved_fini(&s->resolved);
    gm_free(s->tensor);
    gm_free(s->data);
    gm_free(s);
}

const gm_subnet_tensor *gm_subnet_find(const gm_subnet *s, int node, int slot) {
    for (int i = 0; i < s->tensors; i++)
        if (s->tensor[i].node == node && s->tensor[i].slot == slot) return &s->tensor[i];
    return NULL;
}

gm_export_settings gm_export_settings_default(void) {
    return (gm_export_settings){.fold = true};
}
