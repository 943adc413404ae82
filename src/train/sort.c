// SPDX-License-Identifier: Apache-2.0
// Channel sort by L1 norm (2.8 of the training specification): the important channels of every elastic inner width move
// to the front, where small subnets look. What is permuted follows from the graph alone: a space of channels is one
// producer (a convolution or linear layer of elastic width) and all nodes its channels pass through unmixed; whoever
// mixes them consumes them. Reordering a space changes no function as long as all its parameters move alike.
#include "train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum role { PASS, MIX, SOURCE, OTHER } role;

// PASS: channel c of the output depends on channel c of all inputs only. MIX: reads one space, writes a new one.
static role role_of(const gm_node *n) {
    static const char *const pass[] = {"depthwise", "norm", "act", "squeeze_excite", "max_pool", "avg_pool",
                                       "global_pool", "dropout", "add", "select", "layer_norm", "rms_norm"};
    if (strcmp(n->op->name, "conv") == 0 || strcmp(n->op->name, "linear") == 0) return MIX;
    if (strcmp(n->op->name, "input") == 0) return SOURCE;
    for (size_t i = 0; i < sizeof pass / sizeof *pass; i++)
        if (strcmp(n->op->name, pass[i]) == 0) return PASS;
    return OTHER; // e.g. attention: its channels belong to heads
}

typedef struct sorter {
    const gm_graph *graph;
    int *space;          // of each node's output: the smallest node number in it
    float *const *buffer;
    int buffers;
    float *copy;         // of the parameter being permuted
    double *importance;
    int *order, *kept;
    int widest;
} sorter;

static int root(int *space, int n) {
    while (space[n] != n) n = space[n] = space[space[n]];
    return n;
}

static void join(int *space, int a, int b) {
    a = root(space, a);
    b = root(space, b);
    space[gm_max(a, b)] = gm_min(a, b);
}

static void find_spaces(sorter *s) {
    const gm_graph *g = s->graph;
    for (int i = 0; i < g->nodes; i++) s->space[i] = i;
    for (int i = 0; i < g->nodes; i++)
        for (int j = 0; j < GM_MAX_INPUTS; j++)
            if (g->node[i].input[j] >= 0 && role_of(&g->node[i]) == PASS) join(s->space, i, g->node[i].input[j]);
    for (int i = 0; i < g->nodes; i++) s->space[i] = root(s->space, i);
}

static int table_size(const gm_graph *g, const gm_size *size) {
    int a = size->knob_a < 0 ? 1 : g->space.knob[size->knob_a].count;
    return a * (size->knob_b < 0 ? 1 : g->space.knob[size->knob_b].count);
}

static bool is_elastic(const gm_graph *g, const gm_size *size) {
    for (int i = 0; i < table_size(g, size); i++)
        if (g->tables[size->offset + i] != size->max) return true;
    return false;
}

// Can the output channels of this node be reordered? Only it produces its space, and every node that reads the space
// is known.
static bool is_sortable(const sorter *s, int producer) {
    const gm_graph *g = s->graph;
    if (role_of(&g->node[producer]) != MIX || !is_elastic(g, &g->node[producer].out)) return false;
    int space = s->space[producer];
    for (int i = 0; i < g->nodes; i++) {
        role r = role_of(&g->node[i]);
        if (i != producer && s->space[i] == space && r != PASS) return false;
        for (int j = 0; j < GM_MAX_INPUTS; j++) {
            int x = g->node[i].input[j];
            if (x >= 0 && s->space[x] == space && r == OTHER) return false;
        }
    }
    return s->space[g->nodes - 1] != space; // the logits stay where the labels are
}

// Index of an element of a parameter within its part of the buffer.
static size_t element(const gm_param *p, const gm_panels *panels, int o, int i, int tap) {
    switch (p->layout) {
    case GM_LAYOUT_PANELS: return gm_panels_index(panels, o, i, tap);
    case GM_LAYOUT_TAPS: return (size_t)tap * (size_t)gm_round_up(p->dims[0], 16) + (size_t)o;
    case GM_LAYOUT_PLAIN: break;
    }
    int taps = p->dims[2] * p->dims[3];
    return ((size_t)o * (size_t)p->dims[1] + (size_t)i) * (size_t)taps + (size_t)tap;
}

static gm_panels panels_of(const gm_param *p) {
    gm_panels panels = {0};
    if (p->layout == GM_LAYOUT_PANELS)
        gm_panels_layout(&panels, GM_F32, p->dims[0], p->dims[1], p->dims[2], p->dims[3], p->flat);
    return panels;
}

// New slice c of the axis (0: outputs, 1: inputs) = old slice order[c], in every buffer.
static void permute(const sorter *s, int param, int axis) {
    if (param < 0) return;
    const gm_param *p = &s->graph->param[param];
    gm_panels panels = panels_of(p);
    int taps = p->dims[2] * p->dims[3];
    for (int k = 0; k < s->buffers; k++) {
        if (!s->buffer[k]) continue;
        float *at = s->buffer[k] + p->offset;
        memcpy(s->copy, at, p->count * sizeof *at);
        for (int o = 0; o < p->dims[0]; o++)
            for (int i = 0; i < p->dims[1]; i++)
                for (int t = 0; t < taps; t++)
                    at[element(p, &panels, o, i, t)] =
                        s->copy[axis == 0 ? element(p, &panels, s->order[o], i, t)
                                          : element(p, &panels, o, s->order[i], t)];
    }
}

// importance[i] += sum over outputs and taps of |weight[:, i]|
static void add_l1(const sorter *s, int param) {
    const gm_param *p = &s->graph->param[param];
    gm_panels panels = panels_of(p);
    const float *w = s->buffer[0] + p->offset;
    for (int o = 0; o < p->dims[0]; o++)
        for (int i = 0; i < p->dims[1]; i++)
            for (int t = 0; t < p->dims[2] * p->dims[3]; t++)
                s->importance[i] += fabs((double)w[element(p, &panels, o, i, t)]);
}

static int descending(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x < y) - (x > y);
}

// Widths that a subnet has already been trained with at this stage: all whose knobs are among their largest stage + 1
// values. Channels stay within the bands between them, so that those prefixes stay prefixes.
static int boundaries(const sorter *s, const gm_size *size, int stage) {
    const gm_graph *g = s->graph;
    int counts[2] = {size->knob_a < 0 ? 1 : g->space.knob[size->knob_a].count,
                     size->knob_b < 0 ? 1 : g->space.knob[size->knob_b].count};
    int kept = 0;
    for (int a = gm_max(0, counts[0] - 1 - stage); a < counts[0]; a++)
        for (int b = gm_max(0, counts[1] - 1 - stage); b < counts[1]; b++)
            s->kept[kept++] = g->tables[size->offset + a * counts[1] + b];
    qsort(s->kept, (size_t)kept, sizeof *s->kept, descending);
    return kept;
}

typedef struct ranked {
    double importance;
    int band, channel;
} ranked;

static int by_rank(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->band != y->band) return x->band - y->band;
    if (x->importance != y->importance) return x->importance < y->importance ? 1 : -1;
    return x->channel - y->channel; // ties keep their order: the result is one and the same everywhere
}

// order[] of the first `width` channels from importance[].
static gm_status rank_channels(const sorter *s, const gm_size *size, int width, int stage, gm_error *err) {
    ranked *list = gm_alloc((size_t)width, sizeof *list);
    if (!list) return gm_fail(err, GM_ERR_MEMORY, "no memory to sort %d channels", width);
    int kept = boundaries(s, size, stage);
    for (int c = 0; c < width; c++) {
        list[c] = (ranked){.importance = s->importance[c], .channel = c};
        for (int i = 0; i < kept; i++) list[c].band += c >= s->kept[i];
    }
    qsort(list, (size_t)width, sizeof *list, by_rank);
    for (int c = 0; c < width; c++) s->order[c] = list[c].channel;
    gm_free(list);
    return GM_OK;
}

static void permute_node(const sorter *s, const gm_node *n) {
    bool excite = strcmp(n->op->name, "squeeze_excite") == 0, taps = strcmp(n->op->name, "depthwise") == 0;
    if (excite) {
        permute(s, n->param[0], 1); // reduce reads the channels
        permute(s, n->param[2], 0); // expand writes them
        permute(s, n->param[3], 0);
        return;
    }
    permute(s, n->param[0], 0);
    if (!taps) permute(s, n->param[1], 0); // those of a depthwise node are kernel transforms, shared by all channels
}

static gm_status sort_space(const sorter *s, int producer, int stage, gm_error *err) {
    const gm_graph *g = s->graph;
    int space = s->space[producer], width = g->node[producer].out.max;
    memset(s->importance, 0, (size_t)s->widest * sizeof *s->importance);
    bool read = false;
    for (int i = 0; i < g->nodes; i++)
        if (role_of(&g->node[i]) == MIX && s->space[g->node[i].input[0]] == space) {
            add_l1(s, g->node[i].param[0]);
            read = true;
        }
    if (!read) return GM_OK;
    gm_status status = rank_channels(s, &g->node[producer].out, width, stage, err);
    if (status != GM_OK) return status;
    for (int i = 0; i < g->nodes; i++) {
        const gm_node *n = &g->node[i];
        if (s->space[i] == space) permute_node(s, n);
        if (role_of(n) == MIX && s->space[n->input[0]] == space) permute(s, n->param[0], 1);
    }
    return GM_OK;
}

// Hidden units of a squeeze-and-excite, by the columns of its second layer.
static gm_status sort_hidden(const sorter *s, const gm_node *n, int stage, gm_error *err) {
    if (!is_elastic(s->graph, &n->out)) return GM_OK;
    memset(s->importance, 0, (size_t)s->widest * sizeof *s->importance);
    add_l1(s, n->param[2]);
    gm_status status = rank_channels(s, &n->out, n->out.max, stage, err);
    if (status != GM_OK) return status;
    permute(s, n->param[0], 0);
    permute(s, n->param[1], 0);
    permute(s, n->param[2], 1);
    return GM_OK;
}

int gm__sort_banded_stage(const gm_graph *g) {
    int most = 2;
    for (int i = 0; i < g->nodes; i++) {
        const gm_size *size = &g->node[i].out;
        if (role_of(&g->node[i]) != MIX || !is_elastic(g, size)) continue;
        if (size->knob_a >= 0) most = gm_max(most, g->space.knob[size->knob_a].count);
        if (size->knob_b >= 0) most = gm_max(most, g->space.knob[size->knob_b].count);
    }
    return most - 2;
}

gm_status gm__sort_channels(const gm_graph *g, int stage, float *const *buffers, int count, gm_error *err) {
    gm_status status = GM_OK;
    size_t largest = 1;
    sorter s = {.graph = g, .buffer = buffers, .buffers = count, .widest = 1};
    for (int i = 0; i < g->params; i++) {
        if (g->param[i].count > largest) largest = g->param[i].count;
        s.widest = gm_max(s.widest, gm_max(g->param[i].dims[0], g->param[i].dims[1]));
    }
    s.space = gm_alloc((size_t)g->nodes, sizeof *s.space);
    s.copy = gm_alloc(largest, sizeof *s.copy);
    s.importance = gm_alloc((size_t)s.widest, sizeof *s.importance);
    s.order = gm_alloc((size_t)s.widest, sizeof *s.order);
    s.kept = gm_alloc(GM_MAX_VALUES * GM_MAX_VALUES, sizeof *s.kept);
    if (!s.space || !s.copy || !s.importance || !s.order || !s.kept) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory to sort the channels of %s", g->family);
        goto done;
    }
    find_spaces(&s);
    for (int i = 0; i < g->nodes && status == GM_OK; i++)
        if (is_sortable(&s, i)) status = sort_space(&s, i, stage, err);
    for (int i = 0; i < g->nodes && status == GM_OK; i++)
        if (strcmp(g->node[i].op->name, "squeeze_excite") == 0) status = sort_hidden(&s, &g->node[i], stage, err);
done:
    gm_free(s.space);
    gm_free(s.copy);
    gm_free(s.importance);
    gm_free(s.order);
    gm_free(s.kept);
    return status;
}
