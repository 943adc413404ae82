// SPDX-License-Identifier: Apache-2.0
// graph: adding nodes. A builder stops at its first error, so families can add a whole network and look once.
#include <string.h>

#include "graph/graph_private.h"
#include "graph/ops/ops.h"

enum { MAX_NODES = 4096 };

static gm_status grow(gm_builder *b) {
    gm_graph *g = b->graph;
    if (g->nodes == g->nodes_cap) {
        int cap = g->nodes_cap * 2 + 64;
        gm_node *grown = gm_realloc(g->node, (size_t)g->nodes_cap, (size_t)cap, sizeof *grown);
        if (!grown) return gm_fail(&b->err, GM_ERR_MEMORY, "out of memory for the nodes of graph %s", g->family);
        g->node = grown;
        g->nodes_cap = cap;
    }
    if (g->params + GM_MAX_NODE_PARAMS > g->params_cap) {
        int cap = g->params_cap * 2 + 64;
        gm_param *grown = gm_realloc(g->param, (size_t)g->params_cap, (size_t)cap, sizeof *grown);
        if (!grown) return gm_fail(&b->err, GM_ERR_MEMORY, "out of memory for the parameters of graph %s", g->family);
        g->param = grown;
        g->params_cap = cap;
    }
    return GM_OK;
}

// A new node with up to three inputs (-1 unused; the first `needed` must exist). NULL after an error. Its number is
// graph->nodes - 1. There is room for all its parameters.
static gm_node *add(gm_builder *b, const gm_op *op, const char *name, int needed, int x, int y, int z) {
    if (b->err.status) return NULL;
    gm_graph *g = b->graph;
    if (g->nodes == MAX_NODES) {
        gm_fail(&b->err, GM_ERR_RANGE, "graph %s: more than %d nodes", g->family, MAX_NODES);
        return NULL;
    }
    if (grow(b)) return NULL;
    gm_node *n = &g->node[g->nodes];
    memset(n, 0, sizeof *n);
    n->op = op;
    n->gate = b->gate;
    int input[GM_MAX_INPUTS] = {x, y, z};
    int length = name ? snprintf(n->name, sizeof n->name, "%s%s", b->prefix, name)
                      : snprintf(n->name, sizeof n->name, "%s%s%d", b->prefix, op->name, g->nodes);
    if (length < 0 || (size_t)length >= sizeof n->name) {
        gm_fail(&b->err, GM_ERR_RANGE, "graph %s: node name '%s...' is longer than %zu bytes", g->family, n->name,
                sizeof n->name - 1);
        return NULL;
    }
    for (int j = 0; j < GM_MAX_INPUTS; j++) {
        if (input[j] < -1 || input[j] >= g->nodes || (j < needed && input[j] < 0)) {
            gm_fail(&b->err, GM_ERR_ARGUMENT, "graph %s: node %s reads node %d, which does not exist", g->family,
                    n->name, input[j]);
            return NULL;
        }
        n->input[j] = input[j];
    }
    for (int j = 0; j < GM_MAX_NODE_PARAMS; j++) n->param[j] = -1;
    g->nodes++;
    return n;
}

static int number(const gm_builder *b, const gm_node *n) { return n && !b->err.status ? b->graph->nodes - 1 : -1; }

// A parameter of the newest node in slot j. Dimensions that follow the node's input are 0 here and filled by
// gm_graph_finish, as are offsets.
static gm_param *param(gm_builder *b, gm_node *n, int j, const char *base, const char *suffix, gm_param like) {
    if (!n || b->err.status) return NULL;
    gm_param *p = &b->graph->param[b->graph->params];
    *p = like;
    int length = snprintf(p->name, sizeof p->name, "%s%s", base, suffix);
    if (length < 0 || (size_t)length >= sizeof p->name) {
        gm_fail(&b->err, GM_ERR_RANGE, "graph %s: parameter name '%s...' is too long", b->graph->family, p->name);
        return NULL;
    }
    for (int i = p->rank; i < 4; i++) p->dims[i] = 1;
    n->param[j] = b->graph->params++;
    return p;
}

static void vector_param(gm_builder *b, gm_node *n, int j, const char *suffix, int length, gm_init init) {
    if (n) param(b, n, j, n->name, suffix,
                 (gm_param){.layout = GM_LAYOUT_PLAIN, .init = init, .dims = {length}, .rank = 1});
}

int gm_add_input(gm_builder *b, gm_size resolution, int channels) {
    gm_node *n = add(b, &gm__op_input, "input", 0, -1, -1, -1);
    if (!n) return -1;
    if (b->graph->nodes != 1 || channels < 1) {
        gm_fail(&b->err, GM_ERR_ARGUMENT, "graph %s: the input must be the first node and have channels (node %d, %d)",
                b->graph->family, b->graph->nodes - 1, channels);
        return -1;
    }
    n->out = resolution;
    n->gate = (gm_gate){.knob = -1};
    b->graph->input_channels = channels;
    return number(b, n);
}

int gm_add_conv(gm_builder *b, const char *name, int x, gm_size out, int taps, int stride, bool bias, gm_init init) {
    gm_node *n = add(b, &gm__op_conv, name, 1, x, -1, -1);
    if (!n) return -1;
    n->out = out;
    n->taps = taps;
    n->stride = stride;
    n->pad = taps / 2;
    param(b, n, 0, n->name, ".weight",
          (gm_param){.layout = GM_LAYOUT_PANELS, .init = init, .decay = true, .dims = {out.max, 0, taps, taps}, .rank = 4});
    if (bias) vector_param(b, n, 1, ".bias", out.max, GM_INIT_ZERO);
    return number(b, n);
}

// The smallest and largest value of an elastic size.
static int size_min(const gm_graph *g, const gm_size *s) {
    int least = s->max;
    for (int i = 0; i < gm__size_entries(g, s); i++) least = gm_min(least, g->tables[s->offset + i]);
    return least;
}

int gm_add_depthwise(gm_builder *b, const char *name, int x, gm_size kernel, int stride, bool transform) {
    gm_node *n = add(b, &gm__op_depthwise, name, 1, x, -1, -1);
    if (!n) return -1;
    int largest = kernel.max, least = size_min(b->graph, &kernel);
    n->kernel = kernel;
    n->taps = largest;
    n->stride = stride;
    n->pad = largest / 2;
    n->transform = transform && least < largest;
    param(b, n, 0, n->name, ".weight",
          (gm_param){.layout = GM_LAYOUT_TAPS, .init = GM_INIT_HE_FANOUT, .decay = true, .dims = {0, 1, largest, largest},
                     .rank = 4});
    // Matrices belong to the module that holds the convolution: "...conv.conv" has "...conv.7to5_matrix".
    char parent[sizeof n->name];
    snprintf(parent, sizeof parent, "%s", n->name);
    char *dot = strrchr(parent, '.');
    if (dot) dot[1] = '\0';
    else parent[0] = '\0';
    for (int j = 1, k = largest; n->transform && k - 2 >= least; j++, k -= 2) {
        char suffix[24];
        int side = (k - 2) * (k - 2);
        snprintf(suffix, sizeof suffix, "%dto%d_matrix", k, k - 2);
        if (j >= GM_MAX_NODE_PARAMS) {
            gm_fail(&b->err, GM_ERR_RANGE, "graph %s: node %s has too many kernel sizes", b->graph->family, n->name);
            return -1;
        }
        param(b, n, j, parent, suffix,
              (gm_param){.layout = GM_LAYOUT_PLAIN, .init = GM_INIT_IDENTITY, .decay = true, .dims = {side, side}, .rank = 2});
    }
    return number(b, n);
}

int gm_add_norm(gm_builder *b, const char *name, int x, int residual, gm_act act, bool zero_gamma) {
    gm_node *n = add(b, &gm__op_norm, name, 1, x, residual, -1);
    if (!n) return -1;
    n->act = act;
    n->eps = b->norm_eps > 0 ? b->norm_eps : 1e-5f;
    vector_param(b, n, 0, ".weight", 0, zero_gamma ? GM_INIT_ZERO : GM_INIT_ONE);
    vector_param(b, n, 1, ".bias", 0, GM_INIT_ZERO);
    return number(b, n);
}

int gm_add_act(gm_builder *b, int x, gm_act act) {
    gm_node *n = add(b, &gm__op_act, NULL, 1, x, -1, -1);
    if (n) n->act = act;
    return number(b, n);
}

int gm_add_squeeze_excite(gm_builder *b, const char *name, int x, gm_size hidden) {
    gm_node *n = add(b, &gm__op_squeeze_excite, name, 1, x, -1, -1);
    if (!n) return -1;
    n->out = hidden;
    gm_param weight = {.layout = GM_LAYOUT_PANELS, .init = GM_INIT_HE_FANOUT, .decay = true, .rank = 4};
    weight.dims[0] = hidden.max;
    weight.dims[2] = weight.dims[3] = 1;
    param(b, n, 0, n->name, ".reduce.weight", weight);
    vector_param(b, n, 1, ".reduce.bias", hidden.max, GM_INIT_ZERO);
    weight.dims[0] = 0;
    weight.dims[1] = hidden.max;
    param(b, n, 2, n->name, ".expand.weight", weight);
    vector_param(b, n, 3, ".expand.bias", 0, GM_INIT_ZERO);
    return number(b, n);
}

static int add_pool(gm_builder *b, const gm_op *op, int x, int taps, int stride, int pad, bool ceil_mode) {
    gm_node *n = add(b, op, NULL, 1, x, -1, -1);
    if (!n) return -1;
    n->taps = taps;
    n->stride = stride;
    n->pad = pad;
    n->ceil_mode = ceil_mode;
    return number(b, n);
}

int gm_add_max_pool(gm_builder *b, int x, int taps, int stride, int pad) {
    return add_pool(b, &gm__op_max_pool, x, taps, stride, pad, false);
}

int gm_add_avg_pool(gm_builder *b, int x, int taps, int stride, bool ceil_mode) {
    return add_pool(b, &gm__op_avg_pool, x, taps, stride, 0, ceil_mode);
}

int gm_add_global_pool(gm_builder *b, int x) { return number(b, add(b, &gm__op_global_pool, NULL, 1, x, -1, -1)); }

int gm_add_dropout(gm_builder *b, int x, float rate) {
    gm_node *n = add(b, &gm__op_dropout, NULL, 1, x, -1, -1);
    if (n) n->rate = rate;
    return number(b, n);
}

int gm_add_linear(gm_builder *b, const char *name, int x, gm_size out, bool bias) {
    gm_node *n = add(b, &gm__op_linear, name, 1, x, -1, -1);
    if (!n) return -1;
    n->out = out;
    n->taps = n->stride = 1;
    param(b, n, 0, n->name, ".weight",
          (gm_param){.layout = GM_LAYOUT_PANELS, .init = GM_INIT_LINEAR, .decay = true, .dims = {out.max, 0}, .rank = 2});
    if (bias) vector_param(b, n, 1, ".bias", out.max, GM_INIT_ZERO);
    return number(b, n);
}

int gm_add_add(gm_builder *b, int x, int y) { return number(b, add(b, &gm__op_add, NULL, 2, x, y, -1)); }

int gm_add_select(gm_builder *b, gm_gate gate, int inside, int shortcut) {
    gm_node *n = add(b, &gm__op_select, NULL, 2, inside, shortcut, -1);
    if (n) n->gate = gate; // what it decides by; whether it is in use follows from what it picks
    return number(b, n);
}

int gm_add_layer_norm(gm_builder *b, const char *name, int x) {
    gm_node *n = add(b, &gm__op_layer_norm, name, 1, x, -1, -1);
    if (!n) return -1;
    n->eps = 1e-5f;
    vector_param(b, n, 0, ".weight", 0, GM_INIT_ONE);
    vector_param(b, n, 1, ".bias", 0, GM_INIT_ZERO);
    return number(b, n);
}

int gm_add_rms_norm(gm_builder *b, const char *name, int x) {
    gm_node *n = add(b, &gm__op_rms_norm, name, 1, x, -1, -1);
    if (!n) return -1;
    n->eps = 1e-5f;
    vector_param(b, n, 0, ".weight", 0, GM_INIT_ONE);
    return number(b, n);
}

int gm_add_attention(gm_builder *b, int q, int k, int v, int head_dim) {
    gm_node *n = add(b, &gm__op_attention, NULL, 3, q, k, v);
    if (n) n->heads_dim = head_dim;
    return number(b, n);
}
