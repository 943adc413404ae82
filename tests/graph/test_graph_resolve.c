// SPDX-License-Identifier: Apache-2.0
// Building graphs, the layout of parameters, and choices resolved into sizes.
#include "base/base_test.h"

#include <gamut/graph.h>

static const double depths[] = {1, 2, 3}, widths[] = {8, 16, 24, 32};
enum { KNOB_DEPTH, KNOB_WIDTH, KNOB_EXPAND };

static gm_builder start(void) {
    static const double expands[] = {1, 2};
    gm_graph *g = NULL;
    assert_int_equal(gm_graph_create("test", &g, NULL), GM_OK);
    assert_int_equal(gm_space_add(&g->space, "d", "depth", depths, 3, -1, 0, NULL, NULL), GM_OK);
    assert_int_equal(gm_space_add(&g->space, "w", "width", widths, 4, -1, 0, NULL, NULL), GM_OK);
    assert_int_equal(gm_space_add(&g->space, "e", "expand", expands, 2, -1, 0, NULL, NULL), GM_OK);
    return (gm_builder){.graph = g, .gate = {.knob = -1}};
}

static int product(void *ctx, double a, double b) { return *(int *)ctx * (int)(a * (b > 0 ? b : 1)); }

// Stem to the elastic width, up to three residual blocks whose middle depends on two knobs, classifier.
static gm_graph *residual(int image) {
    gm_builder b = start();
    int one = 1;
    gm_size width = gm_size_table(&b, KNOB_WIDTH, -1, product, &one);
    gm_size mid = gm_size_table(&b, KNOB_WIDTH, KNOB_EXPAND, product, &one);
    int x = gm_add_input(&b, gm_size_const(&b, image), 3);
    x = gm_add_conv(&b, "stem", x, width, 3, 2, false, GM_INIT_HE_FANOUT);
    for (int j = 0; j < 3; j++) {
        gm_gate gate = {.knob = (int16_t)(j ? KNOB_DEPTH : -1), .min = (uint8_t)j};
        b.gate = gate;
        snprintf(b.prefix, sizeof b.prefix, "blocks.%d.", j);
        int y = gm_add_conv(&b, "expand", x, mid, 1, 1, false, GM_INIT_HE_FANOUT);
        y = gm_add_depthwise(&b, "depth.conv", y, gm_size_const(&b, 3), 1, true);
        y = gm_add_conv(&b, "project", y, width, 1, 1, true, GM_INIT_HE_FANOUT);
        y = gm_add_norm(&b, "norm", y, x, GM_ACT_RELU, false);
        b.gate = (gm_gate){.knob = -1};
        b.prefix[0] = '\0';
        x = j ? gm_add_select(&b, gate, y, x) : y;
    }
    x = gm_add_global_pool(&b, x);
    gm_add_linear(&b, "classifier", x, gm_size_const(&b, 10), true);
    gm_error err = {0};
    if (gm_graph_finish(&b, &err) != GM_OK) fail_msg("%s", err.text);
    return b.graph;
}

static int node(const gm_graph *g, const char *name) {
    for (int i = 0; i < g->nodes; i++)
        if (strcmp(g->node[i].name, name) == 0) return i;
    fail_msg("no node %s", name);
    return -1;
}

static void expect_shape(gm_shape s, int h, int w, int c) {
    if (s.h != h || s.w != w || s.c != c) fail_msg("%dx%dx%d, not %dx%dx%d", s.h, s.w, s.c, h, w, c);
}

static void sizes_follow_the_choice(void **state) {
    (void)state;
    gm_graph *g = residual(33);
    gm_resolved r;
    assert_int_equal(gm_resolved_init(&r, g, NULL), GM_OK);
    gm_choice c = {{1, 2, 1}}; // two blocks, width 24, expand 2
    gm_alloc_fail_at(1);       // resolving must not allocate
    gm_status status = gm_resolve(g, &c, &r, NULL);
    gm_alloc_fail_at(0);
    assert_int_equal(status, GM_OK);
    expect_shape(r.node[0].out, 33, 33, 3);
    expect_shape(r.node[node(g, "stem")].out, 17, 17, 24);
    expect_shape(r.node[node(g, "blocks.1.expand")].out, 17, 17, 48);
    expect_shape(r.node[node(g, "blocks.1.project")].in, 17, 17, 48);
    expect_shape(r.node[g->nodes - 1].in, 1, 1, 24);
    expect_shape(r.node[g->nodes - 1].out, 1, 1, 10);
    assert_int_equal(r.node[node(g, "blocks.0.depth.conv")].kernel, 3);
    gm_resolved_fini(&r);
    gm_graph_destroy(g);
}

static void a_select_is_an_alias_of_what_it_keeps(void **state) {
    (void)state;
    gm_graph *g = residual(32);
    gm_resolved r;
    assert_int_equal(gm_resolved_init(&r, g, NULL), GM_OK);
    int pool = g->nodes - 2, last = g->node[pool].input[0], before = g->node[last].input[1];
    for (int depth = 0; depth < 3; depth++) {
        gm_choice c = {{(uint8_t)depth}};
        char name[32];
        assert_int_equal(gm_resolve(g, &c, &r, NULL), GM_OK);
        snprintf(name, sizeof name, "blocks.%d.norm", depth);
        int kept = node(g, name);
        assert_int_equal(r.node[last].source, kept);
        assert_int_equal(r.node[pool].from[0], kept);
        assert_int_equal(r.node[pool].source, pool);
        if (depth < 2) assert_int_equal(r.node[before].source, kept);
        for (int j = 0; j < 3; j++) {
            snprintf(name, sizeof name, "blocks.%d.expand", j);
            int n = node(g, name);
            assert_int_equal(r.node[n].active, j <= depth);
            if (j > depth) assert_int_equal(r.node[n].source, -1);
        }
    }
    // the residual of block 2 reads block 1's value through the select between them
    assert_int_equal(r.node[node(g, "blocks.2.norm")].from[1], node(g, "blocks.1.norm"));
    gm_resolved_fini(&r);
    gm_graph_destroy(g);
}

static void costs_count_only_what_is_in_use(void **state) {
    (void)state;
    gm_graph *g = residual(32);
    gm_choice shallow = {{0, 0, 0}}, deep = {{1, 0, 0}};
    gm_cost a, b;
    assert_int_equal(gm_count(g, &shallow, &a, NULL), GM_OK);
    assert_int_equal(gm_count(g, &deep, &b, NULL), GM_OK);
    // width 8, expand 1, 16x16: 8*8 expand, 8*9 depthwise, 8*8 + 8 project, 2*8 norm
    assert_int_equal(a.macs, 16 * 16 * (3 * 8 * 9 + 64 + 72 + 64) + 80);
    assert_int_equal(a.params, 3 * 8 * 9 + 64 + 72 + 72 + 16 + 90);
    assert_int_equal(a.layers, 5);
    assert_int_equal(b.macs - a.macs, 16 * 16 * (64 + 72 + 64));
    assert_int_equal(b.params - a.params, 64 + 72 + 72 + 16);
    gm_graph_destroy(g);
}

static void a_wrong_choice_is_an_error(void **state) {
    (void)state;
    gm_graph *g = residual(32);
    gm_choice c = {{0, 4, 0}}; // four widths: 0 to 3
    gm_cost cost;
    gm_error err = {0};
    assert_int_equal(gm_count(g, &c, &cost, &err), GM_ERR_RANGE);
    assert_non_null(strstr(err.text, "knob w has index 4"));
    gm_graph_destroy(g);
}

static void expect_aligned(const gm_graph *g) {
    size_t end = 0;
    for (int i = 0; i < g->params; i++) {
        const gm_param *p = &g->param[i];
        assert_int_equal(p->offset % 16, 0);
        assert_true(p->offset >= end && p->offset < end + 16);
        assert_true(p->count >= gm_param_elements(p));
        end = p->offset + p->count;
    }
    assert_true(g->floats >= end && g->floats < end + 16);
}

static void parameters_lie_aligned_one_behind_the_other(void **state) {
    (void)state;
    gm_graph *g = residual(32);
    expect_aligned(g);
    // widest: width 32, middle 64
    const gm_param *depthwise = &g->param[g->node[node(g, "blocks.0.depth.conv")].param[0]];
    assert_string_equal(depthwise->name, "blocks.0.depth.conv.weight");
    assert_int_equal(depthwise->dims[0], 64);
    assert_int_equal(depthwise->layout, GM_LAYOUT_TAPS);
    assert_int_equal(g->param[g->node[node(g, "blocks.1.expand")].param[0]].dims[1], 32);
    assert_int_equal(g->param[g->node[node(g, "stem")].param[0]].flat, 1);
    assert_int_equal(g->param[g->node[node(g, "blocks.1.expand")].param[0]].flat, 0);
    assert_int_equal(g->norms, 3);
    assert_int_equal(g->norm_floats, 3 * 32);
    assert_int_equal(g->classes, 10);
    gm_graph_destroy(g);
}

static void rows_and_stored_layout_hold_the_same_values(void **state) {
    (void)state;
    gm_graph *g = residual(32);
    float rows[64 * 64], back[64 * 64];
    for (int i = 0; i < g->params; i++) {
        const gm_param *p = &g->param[i];
        size_t n = gm_param_elements(p), zeros = 0;
        assert_true(n <= sizeof rows / sizeof rows[0]);
        float *stored = gm_alloc(p->count, sizeof *stored);
        for (size_t e = 0; e < n; e++) rows[e] = (float)(e + 1);
        for (size_t e = 0; e < p->count; e++) stored[e] = -1;
        gm_param_import(p, rows, stored);
        for (size_t e = 0; e < p->count; e++) zeros += stored[e] == 0;
        assert_int_equal(zeros, p->count - n); // padding, nothing else
        gm_param_export(p, stored, back);
        assert_memory_equal(rows, back, n * sizeof *rows);
        for (size_t e = 0; e < n; e++) assert_true(stored[gm_param_index(p, e)] == rows[e]);
        gm_free(stored);
    }
    gm_graph_destroy(g);
}

static void kernel_matrices_belong_to_the_module_of_the_convolution(void **state) {
    (void)state;
    static const double kernels[] = {3, 5, 7};
    gm_builder b = start();
    int one = 1, knob = -1;
    gm_space_add(&b.graph->space, "k", "kernel", kernels, 3, -1, 0, &knob, NULL);
    int x = gm_add_input(&b, gm_size_const(&b, 8), 3);
    gm_size kernel = gm_size_table(&b, knob, -1, product, &one);
    x = gm_add_depthwise(&b, "deep.conv", x, kernel, 1, true);
    x = gm_add_depthwise(&b, "plain.conv", x, kernel, 2, false);
    gm_add_linear(&b, "out", gm_add_global_pool(&b, x), gm_size_const(&b, 2), false);
    gm_error err = {0};
    if (gm_graph_finish(&b, &err) != GM_OK) fail_msg("%s", err.text);
    const gm_node *n = &b.graph->node[1];
    const gm_param *p = b.graph->param;
    assert_string_equal(p[n->param[0]].name, "deep.conv.weight");
    assert_string_equal(p[n->param[1]].name, "deep.7to5_matrix");
    assert_string_equal(p[n->param[2]].name, "deep.5to3_matrix");
    assert_int_equal(p[n->param[1]].dims[0], 25);
    assert_int_equal(p[n->param[2]].count, 81);
    assert_int_equal(b.graph->node[2].param[1], -1);
    expect_aligned(b.graph); // 625 and 81 floats
    gm_graph_destroy(b.graph);
}

static void what_follows_a_select_is_as_wide_as_its_wider_side(void **state) {
    (void)state;
    gm_builder b = start();
    int x = gm_add_input(&b, gm_size_const(&b, 8), 3);
    x = gm_add_conv(&b, "narrow", x, gm_size_const(&b, 8), 1, 1, false, GM_INIT_ZERO);
    gm_gate gate = b.gate = (gm_gate){.knob = KNOB_DEPTH, .min = 1};
    int y = gm_add_conv(&b, "wide", x, gm_size_const(&b, 24), 1, 1, false, GM_INIT_ZERO);
    b.gate = (gm_gate){.knob = -1};
    x = gm_add_select(&b, gate, y, x);
    gm_add_linear(&b, "out", gm_add_global_pool(&b, x), gm_size_const(&b, 2), false);
    assert_int_equal(gm_graph_finish(&b, NULL), GM_OK);
    gm_choice shallow = {{0}}, deep = {{1}};
    gm_cost a, c;
    assert_int_equal(b.graph->param[b.graph->params - 1].dims[1], 24);
    assert_int_equal(gm_count(b.graph, &shallow, &a, NULL), GM_OK);
    assert_int_equal(gm_count(b.graph, &deep, &c, NULL), GM_OK);
    assert_int_equal(a.params, 3 * 8 + 8 * 2);
    assert_int_equal(c.params, 3 * 8 + 8 * 24 + 24 * 2);
    gm_graph_destroy(b.graph);
}

// Builds, expects finish to refuse, and that the text says why.
static void refuse(gm_builder b, gm_status status, const char *says) {
    gm_error err = {0};
    assert_int_equal(gm_graph_finish(&b, &err), status);
    if (!strstr(err.text, says)) fail_msg("%s", err.text);
    gm_graph_destroy(b.graph);
}

static void graphs_that_cannot_work_are_refused(void **state) {
    (void)state;
    gm_builder b = start();
    refuse(b, GM_ERR_ARGUMENT, "first node");

    b = start(); // the first error is kept, later calls do nothing
    int x = gm_add_input(&b, gm_size_const(&b, 8), 3);
    assert_int_equal(gm_add_global_pool(&b, 7), -1);
    assert_int_equal(gm_add_linear(&b, "out", x, gm_size_const(&b, 2), true), -1);
    refuse(b, GM_ERR_ARGUMENT, "reads node 7");

    b = start();
    gm_add_global_pool(&b, gm_add_input(&b, gm_size_const(&b, 8), 3));
    refuse(b, GM_ERR_ARGUMENT, "last node must be a linear layer");

    b = start();
    gm_size_const(&b, 0);
    refuse(b, GM_ERR_RANGE, "size is 0");

    b = start();
    int one = 1;
    gm_size_table(&b, 9, -1, product, &one);
    refuse(b, GM_ERR_ARGUMENT, "knob 9");

    b = start();
    x = gm_add_input(&b, gm_size_const(&b, 8), 3);
    for (int i = 0; i < 2; i++) x = gm_add_conv(&b, "same", x, gm_size_const(&b, 8), 1, 1, false, GM_INIT_ZERO);
    gm_add_linear(&b, "out", gm_add_global_pool(&b, x), gm_size_const(&b, 2), true);
    refuse(b, GM_ERR_ARGUMENT, "two parameters are named same.weight");

    b = start();
    x = gm_add_input(&b, gm_size_const(&b, 8), 3);
    char name[80];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    gm_add_conv(&b, name, x, gm_size_const(&b, 8), 1, 1, false, GM_INIT_ZERO);
    refuse(b, GM_ERR_RANGE, "longer than");
}

static void sizes_that_vanish_or_differ_are_refused(void **state) {
    (void)state;
    gm_builder b = start(); // an image smaller than the strides allow
    int x = gm_add_input(&b, gm_size_const(&b, 4), 3);
    x = gm_add_max_pool(&b, x, 5, 2, 0);
    gm_add_linear(&b, "out", gm_add_global_pool(&b, x), gm_size_const(&b, 2), true);
    refuse(b, GM_ERR_RANGE, "larger image");

    b = start(); // a residual of another shape
    x = gm_add_input(&b, gm_size_const(&b, 8), 3);
    int y = gm_add_conv(&b, "c", x, gm_size_const(&b, 8), 3, 2, false, GM_INIT_ZERO);
    y = gm_add_norm(&b, "n", y, x, GM_ACT_NONE, false);
    gm_add_linear(&b, "out", gm_add_global_pool(&b, y), gm_size_const(&b, 2), true);
    refuse(b, GM_ERR_RANGE, "residual");

    b = start(); // a node in use that reads one that is not
    x = gm_add_input(&b, gm_size_const(&b, 8), 3);
    b.gate = (gm_gate){.knob = KNOB_DEPTH, .min = 1};
    y = gm_add_conv(&b, "gated", x, gm_size_const(&b, 8), 3, 1, false, GM_INIT_ZERO);
    b.gate = (gm_gate){.knob = -1};
    gm_add_linear(&b, "out", gm_add_global_pool(&b, y), gm_size_const(&b, 2), true);
    refuse(b, GM_ERR_STATE, "reads gated, which is not");
}

// One node between an input of `channels` and the classifier.
static gm_builder window(int channels, int taps, char kind) {
    gm_builder b = start();
    int x = gm_add_input(&b, gm_size_const(&b, 64), channels);
    if (kind == 'c') x = gm_add_conv(&b, "op", x, gm_size_const(&b, 8), taps, 1, false, GM_INIT_ZERO);
    if (kind == 'd') x = gm_add_depthwise(&b, "op", x, gm_size_const(&b, taps), 1, false);
    if (kind == 'm') x = gm_add_max_pool(&b, x, taps, 1, 0);
    if (kind == 'a') x = gm_add_avg_pool(&b, x, taps, 1, false);
    gm_add_linear(&b, "out", gm_add_global_pool(&b, x), gm_size_const(&b, 2), true);
    return b;
}

static void windows_beyond_what_kernels_take_are_refused(void **state) {
    (void)state;
    static const struct {
        char kind;
        int channels, taps;
        const char *allowed; // NULL: this window is
    } cases[] = {
        {'c', 5, 16, NULL}, {'c', 5, 17, "1 to 16"}, {'c', 4, 32, NULL}, {'c', 4, 33, "1 to 32"}, {'c', 3, 0, "1 to 32"},
        {'m', 3, 16, NULL}, {'m', 3, 17, "1 to 16"}, {'a', 8, 16, NULL}, {'a', 8, 17, "1 to 16"}, {'a', 8, 0, "1 to 16"},
        {'d', 8, 7, NULL},  {'d', 8, 4, "3, 5 and 7"}, {'d', 8, 9, "3, 5 and 7"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gm_builder b = window(cases[i].channels, cases[i].taps, cases[i].kind);
        gm_error err = {0};
        if (cases[i].allowed) {
            refuse(b, GM_ERR_RANGE, cases[i].allowed);
            continue;
        }
        if (gm_graph_finish(&b, &err) != GM_OK) fail_msg("%c, %d taps: %s", cases[i].kind, cases[i].taps, err.text);
        gm_graph_destroy(b.graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_follow_the_choice),
        cmocka_unit_test(a_select_is_an_alias_of_what_it_keeps),
        cmocka_unit_test(costs_count_only_what_is_in_use),
        cmocka_unit_test(a_wrong_choice_is_an_error),
        cmocka_unit_test(parameters_lie_aligned_one_behind_the_other),
        cmocka_unit_test(rows_and_stored_layout_hold_the_same_values),
        cmocka_unit_test(kernel_matrices_belong_to_the_module_of_the_convolution),
        cmocka_unit_test(what_follows_a_select_is_as_wide_as_its_wider_side),
        cmocka_unit_test(graphs_that_cannot_work_are_refused),
        cmocka_unit_test(sizes_that_vanish_or_differ_are_refused),
        cmocka_unit_test(windows_beyond_what_kernels_take_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
