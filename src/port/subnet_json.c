// SPDX-License-Identifier: Apache-2.0
// port: what a program needs besides the tensors to run a subnet: its operations in order, with their sizes. Every node
// has the same keys; those that mean nothing to an operation are left out.
#include "port/subnet_json.h"

#include <string.h>

#include <jansson.h>

// The module that a node's tensors belong to: their common beginning.
static void module_of(const gm_subnet *s, int node, char *out, size_t size) {
    out[0] = '\0';
    for (int i = 0; i < s->tensors; i++) {
        const gm_subnet_tensor *t = &s->tensor[i];
        if (t->node != node) continue;
        snprintf(out, size, "%s", t->name);
        // "fc.reduce.weight" belongs to fc, as "fc.expand.weight" does
        int parts = strcmp(s->model->graph->node[node].op->name, "squeeze_excite") == 0 ? 2 : 1;
        for (; parts > 0; parts--) {
            char *dot = strrchr(out, '.');
            if (dot) *dot = '\0';
        }
        return;
    }
}

static void put_whole(json_t *o, const char *key, int v) {
    if (v != 0) json_object_set_new(o, key, json_integer(v));
}

static json_t *node_json(const gm_subnet *s, int node) {
    static const char *const acts[] = {NULL, "relu", "relu6", "h_swish", "h_sigmoid", "gelu", "silu", "sigmoid"};
    const gm_node *n = &s->model->graph->node[node];
    const gm_resolved_node *r = &s->resolved.node[node];
    bool depthwise = strcmp(n->op->name, "depthwise") == 0;
    char module[sizeof s->tensor->name];
    json_t *o = json_object(), *inputs = json_array();
    module_of(s, node, module, sizeof module);
    for (int j = 0; j < GM_MAX_INPUTS && r->from[j] >= 0; j++) json_array_append_new(inputs, json_integer(r->from[j]));
    json_object_set_new(o, "id", json_integer(node));
    json_object_set_new(o, "op", json_string(n->op->name));
    json_object_set_new(o, "inputs", inputs);
    if (module[0]) json_object_set_new(o, "module", json_string(module));
    put_whole(o, "in_channels", r->in.c);
    put_whole(o, "out_channels", r->out.c);
    put_whole(o, "kernel_size", r->kernel);
    put_whole(o, "stride", n->stride);
    put_whole(o, "padding", depthwise ? r->kernel / 2 : n->pad);
    put_whole(o, "groups", depthwise ? r->out.c : 0);
    put_whole(o, "mid_channels", r->hidden);
    put_whole(o, "head_dim", n->heads_dim);
    if (n->ceil_mode) json_object_set_new(o, "ceil_mode", json_true());
    if (acts[n->act]) json_object_set_new(o, "act_func", json_string(acts[n->act]));
    if (n->eps > 0) json_object_set_new(o, "eps", json_real((double)n->eps));
    return o;
}

static json_t *floats(const float *v, int count) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, json_real((double)v[i]));
    return list;
}

char *gm__subnet_json(const gm_subnet *s, const gm_export_settings *settings) {
    const gm_model *m = s->model;
    const gm_graph *g = m->graph;
    char choice[1024], id[20];
    if (gm_choice_print(&g->space, &s->choice, choice, sizeof choice, NULL) != GM_OK) choice[0] = '\0';
    snprintf(id, sizeof id, "%016llx", (unsigned long long)gm_choice_id(&g->space, &s->choice));
    json_t *o = json_object(), *nodes = json_array();
    json_object_set_new(o, "name", json_string(m->preset));
    json_object_set_new(o, "choice", json_string(choice));
    json_object_set_new(o, "id", json_string(id));
    json_object_set_new(o, "image_size", json_integer(s->resolved.node[0].out.h));
    json_object_set_new(o, "in_channels", json_integer(g->input_channels));
    json_object_set_new(o, "classes", json_integer(g->classes));
    json_object_set_new(o, "mean", floats(m->input_mean, g->input_channels));
    json_object_set_new(o, "std", floats(m->input_std, g->input_channels));
    if (m->data[0]) json_object_set_new(o, "data", json_string(m->data));
    if (settings->class_names) {
        json_t *names = json_array();
        for (int c = 0; c < g->classes; c++) json_array_append_new(names, json_string(settings->class_names[c]));
        json_object_set_new(o, "class_names", names);
    }
    for (int i = 0; i < g->nodes; i++)
        if (s->resolved.node[i].active && s->resolved.node[i].source == i)
            json_array_append_new(nodes, node_json(s, i));
    json_object_set_new(o, "nodes", nodes);
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(o);
    return text;
}
