// SPDX-License-Identifier: Apache-2.0
// graph: life of a graph, and elastic sizes: tables over at most two knobs.
#include "graph/graph_private.h"

gm_status gm_graph_create(const char *family, gm_graph **out, gm_error *err) {
    gm_graph *g = gm_alloc(1, sizeof *g);
    if (!g) return gm_fail(err, GM_ERR_MEMORY, "out of memory for a graph of family %s", family);
    snprintf(g->family, sizeof g->family, "%s", family);
    gm_space_init(&g->space);
    *out = g;
    return GM_OK;
}

void gm_graph_destroy(gm_graph *graph) {
    if (!graph) return;
    gm_free(graph->node);
    gm_free(graph->param);
    gm_free(graph->tables);
    gm_free(graph);
}

static int knob_values(gm_builder *b, int knob) {
    if (knob == -1) return 1;
    if (knob >= 0 && knob < b->graph->space.knobs) return b->graph->space.knob[knob].count;
    gm_fail(&b->err, GM_ERR_ARGUMENT, "graph %s: an elastic size names knob %d, there are %d", b->graph->family, knob,
            b->graph->space.knobs);
    return 0;
}

gm_size gm_size_table(gm_builder *b, int knob_a, int knob_b, int (*fn)(void *ctx, double a, double bval), void *ctx) {
    gm_size size = {.knob_a = -1, .knob_b = -1};
    if (b->err.status) return size;
    gm_graph *g = b->graph;
    int count_a = knob_values(b, knob_a), count_b = knob_values(b, knob_b), entries = count_a * count_b;
    if (b->err.status) return size;
    if (g->tables_used + entries > g->tables_cap) {
        int cap = g->tables_cap * 2 + entries + 64;
        int32_t *grown = gm_realloc(g->tables, (size_t)g->tables_cap, (size_t)cap, sizeof *grown);
        if (!grown) {
            gm_fail(&b->err, GM_ERR_MEMORY, "out of memory for the sizes of graph %s", g->family);
            return size;
        }
        g->tables = grown;
        g->tables_cap = cap;
    }
    size = (gm_size){.knob_a = (int16_t)knob_a, .knob_b = (int16_t)knob_b, .offset = g->tables_used};
    for (int i = 0; i < entries; i++) {
        double a = knob_a < 0 ? 0 : g->space.knob[knob_a].values[i / count_b];
        double v = knob_b < 0 ? 0 : g->space.knob[knob_b].values[i % count_b];
        int value = fn(ctx, a, v);
        if (value < 1) {
            gm_fail(&b->err, GM_ERR_RANGE, "graph %s: an elastic size is %d for knob values %g, %g", g->family, value,
                    a, v);
            return size;
        }
        g->tables[size.offset + i] = value;
        size.max = gm_max(size.max, value);
    }
    g->tables_used += entries;
    return size;
}

static int constant(void *ctx, double a, double b) {
    (void)a;
    (void)b;
    return *(const int *)ctx;
}

gm_size gm_size_const(gm_builder *b, int value) { return gm_size_table(b, -1, -1, constant, &value); }

int gm_size_value(const gm_graph *g, const gm_size *size, const gm_choice *choice) {
    int a = size->knob_a < 0 ? 0 : choice->index[size->knob_a];
    int count_b = size->knob_b < 0 ? 1 : g->space.knob[size->knob_b].count;
    int b = size->knob_b < 0 ? 0 : choice->index[size->knob_b];
    return g->tables[size->offset + a * count_b + b];
}
