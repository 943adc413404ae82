// SPDX-License-Identifier: Apache-2.0
// Families against published and golden figures (specs: training 2.2, 2.4, 6.2, 9.2), and settings.
#include "base/base_test.h"

#include <gamut/model.h>
#include <math.h>

static gm_graph *graph(const char *preset, gm_model_settings settings) {
    gm_graph *g = NULL;
    gm_error err = {0};
    if (gm_model_graph(preset, &settings, &g, &err) != GM_OK) fail_msg("%s: %s", preset, err.text);
    return g;
}

static gm_cost count(const gm_graph *g, const char *text) {
    gm_choice c;
    gm_cost cost;
    gm_error err = {0};
    if (gm_choice_parse(&g->space, text, &c, &err) != GM_OK || gm_count(g, &c, &cost, &err) != GM_OK)
        fail_msg("%s: %s", text, err.text);
    return cost;
}

static const char *subnets(const gm_graph *g) {
    static char text[128];
    assert_int_equal(gm_space_count(&g->space, text, sizeof text, NULL), GM_OK);
    return text;
}

static const gm_param *param(const gm_graph *g, const char *name) {
    for (int i = 0; i < g->params; i++)
        if (strcmp(g->param[i].name, name) == 0) return &g->param[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

static void expect_dims(const gm_graph *g, const char *name, int o, int i, int r, int s) {
    const int *d = param(g, name)->dims;
    if (d[0] != o || d[1] != i || d[2] != r || d[3] != s) fail_msg("%s is (%d,%d,%d,%d)", name, d[0], d[1], d[2], d[3]);
}

static void the_eighteen_uniform_mbv3_subnets_have_the_golden_figures(void **state) {
    (void)state;
    static const char *const preset[] = {"mbv3-w1.0", "mbv3-32"};
    static const struct {
        int d, e;
        const char *golden[2];
    } rows[] = {
        {2, 3, {"151.3/3.49", "45.1/2.23"}},  {2, 4, {"195.0/3.88", "58.7/2.61"}},  {2, 6, {"282.6/4.84", "86.2/3.57"}},
        {3, 3, {"222.0/4.02", "68.3/2.76"}},  {3, 4, {"289.4/4.66", "89.7/3.39"}},  {3, 6, {"424.4/6.25", "132.9/4.98"}},
        {4, 3, {"292.7/4.55", "91.5/3.29"}},  {4, 4, {"383.7/5.44", "120.8/4.17"}}, {4, 6, {"566.2/7.66", "179.7/6.40"}},
    };
    for (int f = 0; f < 2; f++) {
        gm_graph *g = graph(preset[f], gm_model_settings_default());
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            char text[64], got[64];
            snprintf(text, sizeof text, "uniform:k=7,d=%d,e=%d", rows[i].d, rows[i].e);
            gm_cost c = count(g, text);
            snprintf(got, sizeof got, "%.1f/%.2f", (double)c.macs / 1e6, (double)c.params / 1e6);
            assert_string_equal(got, rows[i].golden[f]);
        }
        gm_graph_destroy(g);
    }
}

static void spaces_have_the_exact_number_of_subnets(void **state) {
    (void)state;
    gm_graph *g = graph("mbv3", (gm_model_settings){.single_resolution = true}); // (9^2 + 9^3 + 9^4)^5
    assert_string_equal(subnets(g), "21758655492572485851");
    gm_graph_destroy(g);
    g = graph("mbv3", (gm_model_settings){.single_resolution = true, .kernel_fixed = 7}); // (3^2 + 3^3 + 3^4)^5
    assert_string_equal(subnets(g), "21924480357");
    gm_graph_destroy(g);
    g = graph("mbv3", gm_model_settings_default()); // 128 to 224 in steps of 4: 25 times as many
    assert_string_equal(subnets(g), "543966387314312146275");
    gm_graph_destroy(g);
    g = graph("proxyless", (gm_model_settings){.single_resolution = true}); // one more block of 9
    assert_string_equal(subnets(g), "195827899433152372659");
    gm_graph_destroy(g);
    // ResNet50: 2 stems, 3^6 widths, per stage 3^base * (1 + 3 + 9)
    g = graph("resnet50", (gm_model_settings){.single_resolution = true});
    assert_string_equal(subnets(g), "2458914796962"); // 2 * 729 * 13^4 * 3^10
    gm_graph_destroy(g);
}

static void resnet50_has_the_published_shapes(void **state) {
    (void)state;
    gm_graph *g = graph("resnet50", gm_model_settings_default());
    expect_dims(g, "input_stem.0.conv.conv.weight", 32, 3, 3, 3);
    expect_dims(g, "input_stem.1.conv.conv.conv.weight", 32, 32, 3, 3);
    expect_dims(g, "input_stem.2.conv.conv.weight", 64, 32, 3, 3);
    expect_dims(g, "blocks.0.downsample.conv.conv.weight", 256, 64, 1, 1);
    expect_dims(g, "blocks.0.conv2.conv.conv.weight", 88, 88, 3, 3);
    expect_dims(g, "blocks.17.conv3.conv.conv.weight", 2048, 720, 1, 1);
    expect_dims(g, "classifier.linear.linear.weight", 1000, 2048, 1, 1);
    // a second, arithmetic count of the smallest subnet's stem: widths 0.65 of 32 and 64 are 24 and 40
    gm_cost with = count(g, "d=2,0,0,0,0 e=0.2 w=0.65 r=128"), without = count(g, "d=0 e=0.2 w=0.65 r=128");
    assert_int_equal(with.macs - without.macs, 24 * 24 * 9 * 64 * 64);
    assert_int_equal(with.params - without.params, 24 * 24 * 9 + 2 * 24);
    // one more block in the last stage: 1328 = 0.65 * 2048 rounded, middle 264 = 0.2 of it
    gm_cost deeper = count(g, "d=0,0,0,0,1 e=0.2 w=0.65 r=128");
    uint64_t weights = 2 * 1328 * 264 + 264 * 264 * 9;
    assert_int_equal(deeper.macs - without.macs, weights * 4 * 4);
    assert_int_equal(deeper.params - without.params, weights + 2 * (264 + 264 + 1328));
    assert_int_equal(deeper.layers - without.layers, 3);
    gm_graph_destroy(g);
}

static void mbv3_with_matrices_has_the_learnable_values_of_the_published_file(void **state) {
    (void)state;
    static const struct {
        const char *preset;
        size_t values;
    } rows[] = {{"mbv3-w1.0", 7678880}, {"mbv3-w1.2", 10715752}};
    for (int f = 0; f < 2; f++) {
        gm_graph *g = graph(rows[f].preset, (gm_model_settings){.transform = true});
        size_t values = 0;
        for (int i = 0; i < g->params; i++) values += gm_param_elements(&g->param[i]);
        assert_int_equal(values, rows[f].values);
        gm_graph_destroy(g);
    }
    gm_graph *g = graph("mbv3", (gm_model_settings){.transform = true});
    expect_dims(g, "blocks.1.mobile_inverted_conv.depth_conv.conv.7to5_matrix", 25, 25, 1, 1);
    expect_dims(g, "blocks.20.mobile_inverted_conv.depth_conv.conv.5to3_matrix", 9, 9, 1, 1);
    expect_dims(g, "blocks.0.mobile_inverted_conv.depth_conv.conv.weight", 16, 1, 3, 3);
    expect_dims(g, "blocks.5.mobile_inverted_conv.inverted_bottleneck.conv.conv.weight", 144, 24, 1, 1);
    expect_dims(g, "blocks.5.mobile_inverted_conv.depth_conv.se.fc.reduce.weight", 40, 144, 1, 1);
    expect_dims(g, "blocks.17.mobile_inverted_conv.depth_conv.se.fc.expand.weight", 672, 168, 1, 1);
    expect_dims(g, "blocks.17.mobile_inverted_conv.depth_conv.conv.conv.weight", 672, 1, 7, 7);
    expect_dims(g, "feature_mix_layer.conv.weight", 1280, 960, 1, 1);
    gm_graph_destroy(g);
    g = graph("mbv3", (gm_model_settings){.transform = true, .kernel_fixed = 5}); // nothing to transform
    for (int i = 0; i < g->params; i++) assert_null(strstr(g->param[i].name, "matrix"));
    gm_graph_destroy(g);
}

static void every_subnet_is_between_the_extremes(void **state) {
    (void)state;
    for (const char *const *p = gm_model_presets(); *p; p += 2) {
        gm_graph *g = graph(*p, gm_model_settings_default());
        gm_cost min = count(g, "min"), max = count(g, "max");
        for (int seed = 0; seed < 50; seed++) {
            char text[32];
            snprintf(text, sizeof text, "random:%d", seed);
            gm_cost c = count(g, text);
            assert_true(c.macs >= min.macs && c.macs <= max.macs);
            assert_true(c.params >= min.params && c.params <= max.params);
        }
        assert_true(max.params <= g->floats);
        gm_graph_destroy(g);
    }
}

static void settings_shape_the_network(void **state) {
    (void)state;
    gm_graph *g = graph("resnet-28", (gm_model_settings){.classes = 7, .channels = 3, .resolution = 32, .width = 0.5,
                                                         .dropout = 0.1f});
    assert_int_equal(g->classes, 7);
    assert_int_equal(g->input_channels, 3);
    expect_dims(g, "stem.conv.weight", 16, 3, 3, 3);
    assert_true(param(g, "stem.conv.weight")->flat);
    assert_string_equal(g->node[g->nodes - 2].op->name, "dropout");
    gm_graph_destroy(g);
    g = graph("mbv3", (gm_model_settings){.dropout = -1});
    for (int i = 0; i < g->nodes; i++) assert_string_not_equal(g->node[i].op->name, "dropout");
    gm_graph_destroy(g);
    g = graph("mbv3", (gm_model_settings){.resolution = 288});
    const gm_knob *r = &g->space.knob[g->space.knobs - 1];
    assert_string_equal(r->name, "r");
    assert_true(r->values[0] == 128 && r->values[r->count - 1] == 288);
    gm_graph_destroy(g);
    g = graph("resnet50", (gm_model_settings){.resolution = 256});
    assert_int_equal(g->space.knob[g->space.knobs - 1].count, 8);
    gm_graph_destroy(g);
}

static void only_residual_norms_start_at_zero_when_asked(void **state) {
    (void)state;
    gm_graph *g = graph("resnet-32", (gm_model_settings){.zero_gamma = true});
    for (int i = 0; i < g->params; i++) {
        const gm_param *p = &g->param[i];
        size_t n = strlen(p->name);
        if (strstr(p->name, "norm") && strcmp(p->name + n - 7, ".weight") == 0)
            assert_int_equal(p->init, strstr(p->name, "norm2") ? GM_INIT_ZERO : GM_INIT_ONE);
    }
    gm_graph_destroy(g);
}

static void a_bad_setting_names_the_allowed_range(void **state) {
    (void)state;
    static const struct {
        gm_model_settings s;
        const char *says;
    } cases[] = {
        {{.classes = 1}, "2 to 65536"},      {{.classes = -3}, "2 to 65536"},     {{.channels = 5}, "1 to 4"},
        {{.resolution = 7}, "8 to 4096"},    {{.resolution = 5000}, "8 to 4096"}, {{.width = 100}, "0.05 to 8"},
        {{.width = NAN}, "0.05 to 8"},       {{.width = -1}, "0.05 to 8"},        {{.kernel_fixed = 4}, "3, 5, 7"},
        {{.dropout = 1.5f}, "0 to 0.95"},    {{.dropout = NAN}, "0 to 0.95"},
        {{.norm_eps = 2}, "1e-12 to 1"},     {{.norm_eps = -1}, "1e-12 to 1"},    {{.norm_eps = NAN}, "1e-12 to 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gm_graph *g = NULL;
        gm_error err = {0};
        assert_int_equal(gm_model_graph("mbv3", &cases[i].s, &g, &err), GM_ERR_RANGE);
        if (!strstr(err.text, cases[i].says)) fail_msg("%s", err.text);
        assert_null(g);
    }
    gm_graph *g = NULL;
    gm_error err = {0};
    assert_int_equal(gm_model_graph("vgg", NULL, &g, &err), GM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "mbv3-w1.2"));
    assert_non_null(strstr(err.text, "proxyless"));
}

static gm_status build_and_count(gm_error *err) {
    gm_graph *g = NULL;
    gm_status status = gm_model_graph("mbv3", NULL, &g, err);
    if (status) return status;
    gm_choice c = gm_choice_max(&g->space);
    gm_cost cost;
    status = gm_count(g, &c, &cost, err);
    gm_graph_destroy(g);
    return status;
}

static void a_failing_allocation_is_an_error_and_leaks_nothing(void **state) {
    (void)state;
    with_failing_allocations(build_and_count);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_eighteen_uniform_mbv3_subnets_have_the_golden_figures),
        cmocka_unit_test(spaces_have_the_exact_number_of_subnets),
        cmocka_unit_test(resnet50_has_the_published_shapes),
        cmocka_unit_test(mbv3_with_matrices_has_the_learnable_values_of_the_published_file),
        cmocka_unit_test(every_subnet_is_between_the_extremes),
        cmocka_unit_test(settings_shape_the_network),
        cmocka_unit_test(only_residual_norms_start_at_zero_when_asked),
        cmocka_unit_test(a_bad_setting_names_the_allowed_range),
        cmocka_unit_test(a_failing_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
