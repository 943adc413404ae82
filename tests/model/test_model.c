// SPDX-License-Identifier: Apache-2.0
// Models in memory: initial values, norm statistics of calibrated subnets.
#include "base/base_test.h"

#include <gamut/model.h>
#include <math.h>

static gm_model *create(const char *preset, gm_model_settings settings, uint64_t seed) {
    gm_model *m = NULL;
    gm_error err = {0};
    if (gm_model_create(preset, &settings, &m, &err) != GM_OK) fail_msg("%s", err.text);
    gm_model_init_params(m, seed);
    return m;
}

static const gm_param *param(const gm_model *m, const char *name) {
    for (int i = 0; i < m->graph->params; i++)
        if (strcmp(m->graph->param[i].name, name) == 0) return &m->graph->param[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

// Mean and standard deviation of a parameter, padding left out.
static void moments(const gm_model *m, const char *name, double *mean, double *deviation, size_t *count) {
    const gm_param *p = param(m, name);
    double sum = 0, squares = 0;
    *count = gm_param_elements(p);
    for (size_t e = 0; e < *count; e++) {
        double v = (double)m->params[p->offset + gm_param_index(p, e)];
        sum += v;
        squares += v * v;
    }
    *mean = sum / (double)*count;
    *deviation = sqrt(squares / (double)*count - *mean * *mean);
}

static void convolutions_start_with_he_fan_out(void **state) {
    (void)state;
    gm_model *m = create("mbv3", (gm_model_settings){.transform = true}, 5);
    static const struct {
        const char *name;
        double fan; // kernel area times outputs
    } rows[] = {
        {"first_conv.conv.weight", 9 * 16},
        {"blocks.20.mobile_inverted_conv.inverted_bottleneck.conv.conv.weight", 960},
        {"blocks.20.mobile_inverted_conv.depth_conv.conv.conv.weight", 49 * 960},
        {"blocks.20.mobile_inverted_conv.depth_conv.se.fc.reduce.weight", 240},
        {"feature_mix_layer.conv.weight", 1280},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double mean, deviation, expected = sqrt(2 / rows[i].fan);
        size_t n;
        moments(m, rows[i].name, &mean, &deviation, &n);
        assert_true(fabs(mean) < 5 * expected / sqrt((double)n));
        assert_true(fabs(deviation / expected - 1) < 5 / sqrt(2 * (double)n));
    }
    double mean, deviation;
    size_t n;
    moments(m, "classifier.linear.weight", &mean, &deviation, &n); // uniform: standard deviation 1/sqrt(3 * inputs)
    assert_true(fabs(deviation * sqrt(3 * 1280.0) - 1) < 0.01);
    const gm_param *p = param(m, "classifier.linear.weight");
    for (size_t e = 0; e < n; e++) assert_true(fabsf(m->params[p->offset + gm_param_index(p, e)]) <= 1 / sqrtf(1280));
    moments(m, "classifier.linear.bias", &mean, &deviation, &n);
    assert_true(mean == 0 && deviation == 0);
    moments(m, "first_conv.bn.weight", &mean, &deviation, &n);
    assert_true(mean == 1 && deviation == 0);
    p = param(m, "blocks.3.mobile_inverted_conv.depth_conv.conv.7to5_matrix");
    for (int i = 0; i < 25 * 25; i++) assert_true(m->params[p->offset + (size_t)i] == (i % 26 == 0 ? 1.0f : 0.0f));
    gm_model_destroy(m);
}

static void padding_stays_zero(void **state) {
    (void)state;
    gm_model *m = create("resnet-28", (gm_model_settings){.width = 0.4}, 1); // 16, 24, 48: panels of 16 are padded
    size_t values = 0, nonzero = 0;
    for (int i = 0; i < m->graph->params; i++) {
        const gm_param *p = &m->graph->param[i];
        if (p->layout != GM_LAYOUT_PANELS) continue;
        values += gm_param_elements(p);
        for (size_t j = 0; j < p->count; j++) nonzero += m->params[p->offset + j] != 0;
    }
    assert_true(nonzero <= values && nonzero + 8 > values); // a draw of exactly 0 is rare
    gm_model_destroy(m);
}

static void values_depend_on_seed_and_name_only(void **state) {
    (void)state;
    gm_model *a = create("resnet-28", gm_model_settings_default(), 1), *b = create("resnet-28", gm_model_settings_default(), 1);
    gm_model *other = create("resnet-28", gm_model_settings_default(), 2);
    gm_model *classes = create("resnet-28", (gm_model_settings){.classes = 3, .dropout = 0.2f}, 1);
    assert_memory_equal(a->params, b->params, a->graph->floats * sizeof(float));
    const gm_param *p = param(a, "stages.1.blocks.1.conv1.weight"), *q = param(classes, p->name);
    assert_memory_equal(a->params + p->offset, classes->params + q->offset, p->count * sizeof(float));
    assert_memory_not_equal(a->params + p->offset, other->params + p->offset, p->count * sizeof(float));
    gm_model_destroy(a);
    gm_model_destroy(b);
    gm_model_destroy(other);
    gm_model_destroy(classes);
}

static void norm_statistics_are_kept_by_canonical_choice(void **state) {
    (void)state;
    gm_model *m = create("resnet-28", gm_model_settings_default(), 1);
    gm_error err = {0};
    gm_choice min = gm_choice_min(&m->graph->space), same = min, max = gm_choice_max(&m->graph->space);
    same.index[4] = 2; // a block that min does not use
    assert_null(gm_model_norms(m, &min));
    gm_norm_entry *e = NULL;
    assert_int_equal(gm_model_norms_add(m, &same, &e, &err), GM_OK);
    assert_true(e->mean[0] == 0 && e->var[m->graph->norm_floats - 1] == 1);
    e->mean[0] = 4;
    assert_true(gm_model_norms(m, &min)->mean[0] == 4);
    assert_null(gm_model_norms(m, &max));
    assert_int_equal(gm_model_norms_add(m, &min, &e, &err), GM_OK); // starts over, no second entry
    assert_int_equal(m->entries, 1);
    assert_true(e->mean[0] == 0);
    for (int i = 0; i < 40; i++) {
        gm_rng rng = gm_rng_keyed((uint64_t)i, 0, 0, GM_RNG_TEST);
        gm_choice c = gm_choice_random(&m->graph->space, &rng);
        assert_int_equal(gm_model_norms_add(m, &c, &e, &err), GM_OK);
        assert_ptr_equal(gm_model_norms(m, &c), e);
    }
    gm_model_norms_clear(m);
    assert_null(gm_model_norms(m, &min));
    assert_int_equal(m->entries, 0);
    gm_model_destroy(m);
}

static void norm_offsets_lie_one_behind_the_other(void **state) {
    (void)state;
    gm_model *m = create("resnet50", (gm_model_settings){.width = 0.25}, 1);
    size_t end = 0;
    int norms = 0;
    for (int i = 0; i < m->graph->nodes; i++) {
        if (strcmp(m->graph->node[i].op->name, "norm") != 0) continue;
        assert_int_equal(m->norm_offset[i], end);
        end += (size_t)gm_round_up(m->graph->param[m->graph->node[i].param[0]].dims[0], 16);
        norms++;
    }
    assert_int_equal(end, m->graph->norm_floats);
    assert_int_equal(norms, m->graph->norms);
    gm_model_destroy(m);
}

static gm_status create_and_calibrate(gm_error *err) {
    gm_model *m = NULL;
    gm_norm_entry *e;
    gm_status status = gm_model_create("resnet-28", NULL, &m, err);
    if (status) return status;
    gm_choice c = gm_choice_max(&m->graph->space);
    status = gm_model_norms_add(m, &c, &e, err);
    gm_model_destroy(m);
    return status;
}

static void a_failing_allocation_is_an_error_and_leaks_nothing(void **state) {
    (void)state;
    with_failing_allocations(create_and_calibrate);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions_start_with_he_fan_out),
        cmocka_unit_test(padding_stays_zero),
        cmocka_unit_test(values_depend_on_seed_and_name_only),
        cmocka_unit_test(norm_statistics_are_kept_by_canonical_choice),
        cmocka_unit_test(norm_offsets_lie_one_behind_the_other),
        cmocka_unit_test(a_failing_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
