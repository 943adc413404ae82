// SPDX-License-Identifier: Apache-2.0
// The published predictors and latency tables of Once-for-all give the values of specs: training 9.2.
#include "search_test.h"

#include <gamut/port.h>

static const gm_tensor_info *tensor_of(const gm_torch_file *file, const char *name) {
    const gm_tensor_info *t = gm_torch_find(file, name);
    if (!t) fail_msg("no tensor %s", name);
    assert_int_equal(t->type, GM_F32);
    return t;
}

// weight: (outputs, inputs); bias NULL: none
static gm_predictor_layer layer_of(const gm_torch_file *file, const char *weight, const char *bias) {
    const gm_tensor_info *w = tensor_of(file, weight), *b = bias ? tensor_of(file, bias) : NULL;
    assert_int_equal(w->rank, 2);
    if (b) assert_int_equal(b->dims[0], w->dims[0]);
    return (gm_predictor_layer){(int)w->dims[1], (int)w->dims[0], w->data, b ? b->data : NULL};
}

static gm_predictor *read_mbv3(const char *path, const gm_space *space) {
    gm_torch_file *file = NULL;
    gm_error err = {0};
    gm_predictor *p = NULL;
    gm_predictor_layer layer[4];
    assert_ok(gm_torch_file_read(path, &file, &err));
    for (int l = 0; l < 4; l++) {
        char weight[40], bias[40];
        snprintf(weight, sizeof weight, "%d.weight", 2 * l);
        snprintf(bias, sizeof bias, "%d.bias", 2 * l);
        layer[l] = layer_of(file, weight, bias);
    }
    assert_ok(gm_predictor_create_from_tensors(GM_ENCODING_OFA_MBV3, space, 4, layer, 0, &p, &err));
    gm_torch_file_destroy(file);
    return p;
}

static void the_mobilenet_predictor_gives_its_golden_values(void **state) {
    (void)state;
    static const struct {
        const char *choice;
        double value;
    } golden[] = {{"uniform:k=7,e=6,d=4,r=224", 0.835928}, {"uniform:k=3,e=3,d=2,r=224", 0.777386},
                  {"uniform:k=3,e=3,d=2,r=160", 0.753119}, {"uniform:k=5,e=4,d=3,r=192", 0.805928},
                  {"uniform:k=7,e=6,d=4,r=160", 0.807503}, {"uniform:k=7,e=4,d=3,r=208", 0.818136}};
    char path[600];
    gm_error err = {0};
    if (!find_real("ofa/ofa/acc_predictor.pth", path)) return;
    gm_graph *g = graph_of("mbv3", NULL);
    gm_predictor *p = read_mbv3(path, &g->space);
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        gm_choice c = choice_of(&g->space, golden[i].choice);
        double value;
        assert_ok(gm_predictor_run(p, &c, 1, &value, &err));
        assert_near(value, golden[i].value, 2e-6);
    }
    gm_choice c = choice_of(&g->space, "uniform:r=132");
    double value;
    assert_int_equal(gm_predictor_run(p, &c, 1, &value, &err), GM_ERR_RANGE);
    assert_non_null(strstr(err.text, "132"));
    gm_predictor_destroy(p);
    gm_graph_destroy(g);
}

static void the_resnet_predictor_gives_its_golden_values(void **state) {
    (void)state;
    static const struct {
        const char *choice;
        double value;
    } golden[] = {{"d=2,2,2,2,2 e=0.35 w=1 r=224", 0.829870},  {"d=0,2,2,2,2 e=0.35 w=1 r=224", 0.829870},
                  {"d=2,0,0,0,0 e=0.2 w=0.65 r=128", 0.748353}, {"d=0,0,0,0,0 e=0.2 w=0.65 r=128", 0.747945},
                  {"d=2,1,1,1,1 e=0.25 w=0.8 r=192", 0.817720}, {"d=0,1,1,1,1 e=0.25 w=0.8 r=192", 0.817178}};
    char path[600], weight[40], bias[40];
    gm_error err = {0};
    gm_torch_file *file = NULL;
    gm_predictor *p = NULL;
    gm_predictor_layer layer[4];
    if (!find_real("ofa/ofa/ofa_resnet50_acc_predictor.pth", path)) return;
    gm_graph *g = graph_of("resnet50", NULL);
    assert_ok(gm_torch_file_read(path, &file, &err));
    for (int l = 0; l < 3; l++) {
        snprintf(weight, sizeof weight, "layers.%d.0.weight", l);
        snprintf(bias, sizeof bias, "layers.%d.0.bias", l);
        layer[l] = layer_of(file, weight, bias);
    }
    layer[3] = layer_of(file, "layers.3.weight", NULL);
    double base = (double)*(const float *)tensor_of(file, "base_acc")->data;
    assert_near(base, 0.8055608, 1e-6);
    assert_ok(gm_predictor_create_from_tensors(GM_ENCODING_OFA_RESNET50, &g->space, 4, layer, base, &p, &err));
    gm_torch_file_destroy(file);
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        gm_choice c = choice_of(&g->space, golden[i].choice);
        double value;
        assert_ok(gm_predictor_run(p, &c, 1, &value, &err));
        assert_near(value, golden[i].value, 2e-6);
    }
    gm_predictor_destroy(p);
    gm_graph_destroy(g);
}

static void the_note10_tables_give_their_golden_sums(void **state) {
    (void)state;
    static const struct {
        int resolution;
        const char *choice;
        double ms;
    } golden[] = {{224, "uniform:k=7,e=6,d=4,r=224", 92.3980},
                  {224, "uniform:k=3,e=3,d=2,r=224", 17.7691},
                  {160, "uniform:k=3,e=3,d=2,r=160", 9.8903},
                  {192, "uniform:k=5,e=4,d=3,r=192", 27.8356}};
    gm_graph *wide = graph_of("mbv3-w1.2", NULL), *narrow = graph_of("mbv3-w1.0", NULL);
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        char name[80], path[600];
        gm_latency_table *t = NULL;
        gm_error err = {0};
        double ms = 0;
        snprintf(name, sizeof name, "ofa/ofa/note10/%d_lookup_table.yaml", golden[i].resolution);
        if (!find_real(name, path)) break;
        assert_ok(gm_latency_table_read(path, &t, &err));
        assert_int_equal(gm_latency_table_rows(t), 96);
        gm_choice c = choice_of(&wide->space, golden[i].choice);
        assert_ok(gm_latency_table_sum(t, wide, &c, &ms, &err));
        assert_near(ms, golden[i].ms, 5e-5);
        // the tables are of width 1.2: another width must not give a number
        assert_int_equal(gm_latency_table_sum(t, narrow, &c, &ms, &err), GM_ERR_NOT_FOUND);
        assert_non_null(strstr(err.text, "width"));
        c = choice_of(&wide->space, "uniform:r=128");
        assert_int_equal(gm_latency_table_sum(t, wide, &c, &ms, &err), GM_ERR_NOT_FOUND);
        gm_latency_table_destroy(t);
    }
    gm_graph_destroy(wide);
    gm_graph_destroy(narrow);
}

static void the_proxyless_table_knows_subnets_of_width_one(void **state) {
    (void)state;
    char path[600];
    gm_latency_table *t = NULL;
    gm_error err = {0};
    double least = 0, most = 0;
    if (!find_real("ofa/proxylessnas/mobile_trim.yaml", path)) return;
    const gm_model_settings settings = {.width = 1.0};
    gm_graph *g = graph_of("proxyless", &settings);
    assert_ok(gm_latency_table_read(path, &t, &err));
    gm_choice small = choice_of(&g->space, "uniform:k=3,e=3,d=2,r=224"), large = choice_of(&g->space, "uniform:k=7,e=6,d=4,r=224");
    assert_ok(gm_latency_table_sum(t, g, &small, &least, &err));
    assert_ok(gm_latency_table_sum(t, g, &large, &most, &err));
    // summed from the file by an independent script
    assert_near(least, 45.088550, 5e-5);
    assert_near(most, 191.029871, 5e-5);
    gm_choice middle = choice_of(&g->space, "uniform:k=3,e=4,d=2,r=224");
    assert_int_equal(gm_latency_table_sum(t, g, &middle, &most, &err), GM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "expand:4"));
    gm_latency_table_destroy(t);
    gm_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mobilenet_predictor_gives_its_golden_values),
        cmocka_unit_test(the_resnet_predictor_gives_its_golden_values),
        cmocka_unit_test(the_note10_tables_give_their_golden_sums),
        cmocka_unit_test(the_proxyless_table_knows_subnets_of_width_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
