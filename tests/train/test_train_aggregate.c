// SPDX-License-Identifier: Apache-2.0
// Aggregation of gradients: what each element is divided by.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "train/run.h"

static gm_graph *graph;

static int setup(void **state) {
    (void)state;
    gm_model_settings s = gm_model_settings_default();
    s.width = 0.5;
    s.transform = true;
    return gm_model_graph("mbv3-32", &s, &graph, NULL) != GM_OK;
}

static int teardown(void **state) {
    (void)state;
    gm_graph_destroy(graph);
    return 0;
}

static gm__step_plan plan_of(int slots, const gm_choice *choices, const double *weights) {
    gm__step_plan p = {.slots = slots};
    for (int i = 0; i < slots; i++) p.slot[i] = (gm__slot){.choice = choices[i], .beta = weights[i]};
    return p;
}

// Gradients of one become the inverse divisors.
static float *aggregated(gm_aggregation how, const gm__step_plan *p) {
    float *grads = gm_alloc(graph->floats, sizeof *grads);
    for (size_t i = 0; i < graph->floats; i++) grads[i] = 1;
    assert_int_equal(gm__aggregate(graph, how, p, grads, NULL), GM_OK);
    return grads;
}

static float at(const float *grads, const char *name, int o, int i, int y, int x) {
    for (int p = 0; p < graph->params; p++) {
        const gm_param *q = &graph->param[p];
        if (strcmp(q->name, name) != 0) continue;
        const int *d = q->dims;
        size_t e = (((size_t)o * (size_t)d[1] + (size_t)i) * (size_t)d[2] + (size_t)y) * (size_t)d[3] + (size_t)x;
        return grads[q->offset + gm_param_index(q, e)];
    }
    fail_msg("no parameter %s", name);
    return 0;
}

static void a_sum_stays_as_it_is(void **state) {
    (void)state;
    gm_choice c[2] = {gm_choice_max(&graph->space), gm_choice_min(&graph->space)};
    gm__step_plan p = plan_of(2, c, (double[]){1, 0.25});
    float *g = aggregated(GM_AGGREGATION_SUM, &p);
    for (size_t i = 0; i < graph->floats; i++) assert_true(g[i] == 1.0f);
    gm_free(g);
}

static void an_average_divides_by_the_weights_that_cover_an_element(void **state) {
    (void)state;
    gm_choice c[2] = {gm_choice_max(&graph->space), gm_choice_min(&graph->space)};
    gm__step_plan p = plan_of(2, c, (double[]){1, 0.5});
    float *avg = aggregated(GM_AGGREGATION_AVG, &p), *root = aggregated(GM_AGGREGATION_AVG_SQRT, &p);
    const char *project = "blocks.1.mobile_inverted_conv.point_linear.conv.conv.weight";
    const gm_param *q = NULL;
    for (int i = 0; i < graph->params; i++)
        if (strcmp(graph->param[i].name, project) == 0) q = &graph->param[i];
    assert_non_null(q);
    assert_true(fabsf(at(avg, project, 0, 0, 0, 0) - 1 / 1.5f) < 1e-6f);              // both use it
    assert_true(fabsf(at(root, project, 0, 0, 0, 0) - 1 / sqrtf(1.5f)) < 1e-6f);
    assert_true(fabsf(at(avg, project, 0, q->dims[1] - 1, 0, 0) - 1) < 1e-6f);         // an input of the largest only
    const char *later = "blocks.4.mobile_inverted_conv.point_linear.conv.conv.weight";                 // a block of the largest only
    assert_true(fabsf(at(avg, later, 0, 0, 0, 0) - 1) < 1e-6f);
    const char *depthwise = "blocks.1.mobile_inverted_conv.depth_conv.conv.conv.weight";               // 3 is made of the crop of 5
    assert_true(fabsf(at(avg, depthwise, 0, 0, 3, 3) - 1 / 1.5f) < 1e-6f);
    assert_true(fabsf(at(avg, depthwise, 0, 0, 1, 1) - 1 / 1.5f) < 1e-6f);
    assert_true(fabsf(at(avg, depthwise, 0, 0, 0, 3) - 1) < 1e-6f);
    gm_free(avg);
    gm_free(root);
}

static void an_element_that_no_subnet_uses_is_left_alone(void **state) {
    (void)state;
    gm_choice c = gm_choice_min(&graph->space);
    gm__step_plan p = plan_of(1, &c, (double[]){2});
    float *avg = aggregated(GM_AGGREGATION_AVG, &p);
    assert_true(at(avg, "blocks.4.mobile_inverted_conv.point_linear.conv.conv.weight", 0, 0, 0, 0) == 1.0f);
    assert_true(at(avg, "blocks.1.mobile_inverted_conv.point_linear.conv.conv.weight", 0, 0, 0, 0) == 0.5f);
    gm_free(avg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_stays_as_it_is),
        cmocka_unit_test(an_average_divides_by_the_weights_that_cover_an_element),
        cmocka_unit_test(an_element_that_no_subnet_uses_is_left_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
