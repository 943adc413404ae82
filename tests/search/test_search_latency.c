// SPDX-License-Identifier: Apache-2.0
// Latency tables: files of strangers, and the table that is estimated from whole runs.
#include "search_test.h"

#include <math.h>

static gm_status parse(const char *text, gm_latency_table **t, gm_error *err) {
    return gm_latency_table_parse(text, strlen(text), "table.yaml", t, err);
}

static void a_table_is_read(void **state) {
    (void)state;
    gm_error err = {0};
    gm_latency_table *t = NULL;
    double ms = 0;
    assert_ok(parse("# a comment\nB-input:1x1x3:\n  count: 2\n  mean: 1.5e-1\n  std: 0\n\nA:\r\n  mean: 2\r\n", &t, &err));
    assert_int_equal(gm_latency_table_rows(t), 2);
    assert_true(gm_latency_table_find(t, "B-input:1x1x3", &ms));
    assert_near(ms, 0.15, 1e-12);
    assert_true(gm_latency_table_find(t, "A", &ms));
    assert_false(gm_latency_table_find(t, "C", &ms));
    gm_latency_table_destroy(t);
}

static void hostile_tables_are_refused_with_the_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {{"", "no operation"},
                 {"  mean: 1\n", ":1:"},
                 {"A:\n  mean: -1\n", ":2:"},
                 {"A:\n  mean: nan\n", ":2:"},
                 {"A:\n  mean: 1e300\n", ":2:"},
                 {"A:\n  mean: 0x10\n", ":2:"},
                 {"A:\n  mean: 1\n  mean: 2\n", ":3:"},
                 {"A:\n  count: 1\nB:\n  mean: 1\n", "no mean"},
                 {"A:\n  mean: 1\nA:\n  mean: 1\n", "twice"},
                 {"A:\n  mean: 1\n  median: 1\n", ":3:"},
                 {"A: {mean: 1}\n", ":1:"},
                 {"A\n  mean: 1\n", ":1:"},
                 {"&a A:\n  mean: 1\n", ":1:"},
                 {":\n  mean: 1\n", ":1:"},
                 {"A:\n  mean:\n", ":2:"},
                 {"A:\n  : 1\n", ":2:"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gm_error err = {0};
        gm_latency_table *t = NULL;
        assert_int_equal(parse(cases[i].text, &t, &err), GM_ERR_FORMAT);
        assert_null(t);
        if (!strstr(err.text, cases[i].says)) fail_msg("case %zu: '%s' does not say '%s'", i, err.text, cases[i].says);
    }
    gm_error err = {0};
    gm_latency_table *t = NULL;
    assert_ok(parse("A:\n  mean: 1\n", &t, &err));
    gm_graph *g = graph_of("resnet-28", NULL);
    gm_choice c = gm_choice_max(&g->space);
    double ms;
    assert_int_equal(gm_latency_table_sum(t, g, &c, &ms, &err), GM_ERR_UNSUPPORTED);
    gm_graph_destroy(g);
    gm_latency_table_destroy(t);
}

// A machine that is not a straight line in MACs: small maps are slower a MAC, every operation costs a bit. Measurements are
// off by a random percentage.
static double machine(const gm_graph *g, gm_resolved *r, const gm_choice *c, gm_rng *rng) {
    gm_error err = {0};
    double ms = 0.02;
    assert_ok(gm_resolve(g, c, r, &err));
    for (int i = 0; i < g->nodes; i++) {
        gm_cost cost = {0};
        if (!r->node[i].active || r->node[i].source != i || !g->node[i].op->cost) continue;
        g->node[i].op->cost(g, i, r, &cost);
        ms += (double)cost.macs * 1e-8 * (1 + 4.0 / r->node[i].out.h + (strcmp(g->node[i].op->name, "depthwise") == 0 ? 6 : 0)) + 0.001;
    }
    return ms * (1 + 0.01 * (double)gm_rng_normal(rng));
}

static void a_table_of_this_machine_is_estimated_from_whole_runs(void **state) {
    (void)state;
    enum { SAMPLES = 150 };
    gm_graph *g = graph_of("mbv3-32", NULL);
    gm_error err = {0};
    gm_resolved r;
    gm_choice choice[SAMPLES];
    double ms[SAMPLES], predicted;
    gm_rng rng = gm_rng_keyed(4, 0, 0, GM_RNG_TEST);
    assert_ok(gm_resolved_init(&r, g, &err));
    for (int i = 0; i < SAMPLES; i++) {
        choice[i] = gm_choice_random(&g->space, &rng);
        ms[i] = machine(g, &r, &choice[i], &rng);
    }
    gm_latency_model *l = NULL;
    gm_latency_report report;
    assert_ok(gm_latency_model_fit(g, choice, ms, SAMPLES, &l, &report, &err));
    assert_int_equal(report.held_out, SAMPLES / 5);
    assert_true(report.operations > 50);
    if (!(report.tau > 0.85 && report.error < 0.03)) fail_msg("tau %g, error %g", report.tau, report.error);
    // The extremes lie outside of what was sampled.
    gm_choice extremes[] = {gm_choice_min(&g->space), gm_choice_max(&g->space)};
    for (int i = 0; i < 2; i++) {
        double wanted = machine(g, &r, &extremes[i], &rng);
        assert_ok(gm_latency_model_run(l, &extremes[i], &predicted, &err));
        assert_true(fabs(predicted / wanted - 1) < 0.15);
    }
    gm_latency_model_destroy(l);
    ms[3] = 0;
    assert_int_equal(gm_latency_model_fit(g, choice, ms, SAMPLES, &l, &report, &err), GM_ERR_RANGE);
    assert_int_equal(gm_latency_model_fit(g, choice, ms, 0, &l, &report, &err), GM_ERR_RANGE);
    size_t live = gm_alloc_live();
    ms[3] = 1;
    for (long n = 1; n < 60; n += 3) {
        gm_alloc_fail_at(n);
        gm_status status = gm_latency_model_fit(g, choice, ms, 5, &l, &report, &err);
        gm_alloc_fail_at(0);
        if (status == GM_OK) gm_latency_model_destroy(l);
        assert_int_equal(gm_alloc_live(), live);
    }
    gm_resolved_fini(&r);
    gm_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_read),
        cmocka_unit_test(hostile_tables_are_refused_with_the_line),
        cmocka_unit_test(a_table_of_this_machine_is_estimated_from_whole_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
