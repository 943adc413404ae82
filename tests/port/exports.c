// SPDX-License-Identifier: Apache-2.0
// Exported subnets against the walker: ONNX files are parsed back and evaluated by plain loops; safetensors files are
// read back and compared.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "port/interpreter.h"
#include "port/port_test.h"

static char path[64];

static Onnx__ModelProto *read_model(void) {
    uint8_t *data;
    size_t size;
    assert_int_equal(gm_file_read(path, 1u << 26, &data, &size, NULL), GM_OK);
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, size, data);
    gm_free(data);
    assert_non_null(model);
    return model;
}

// Rows of channels -> channels of rows.
static float *planes(const gm_batch *b) {
    size_t area = (size_t)(b->height * b->width), c = (size_t)b->channels;
    float *out = calloc((size_t)b->images * area * c, sizeof(float));
    for (size_t p = 0; p < (size_t)b->images * area; p++)
        for (size_t i = 0; i < c; i++)
            out[(p / area * c + i) * area + p % area] = ((float *)b->x)[p * (size_t)b->ld + i];
    return out;
}

static void check_onnx(gm_model *m, gm_walker *w, const gm_choice *choice, bool fold) {
    gm_error err = {0};
    gm_subnet *s = NULL;
    gm_batch b;
    const float *logits = NULL;
    int ld = 0;
    const char *why;
    if (gm_subnet_create(m, choice, &s, &err)) fail_msg("%s", err.text);
    gm_export_settings settings = gm_export_settings_default();
    settings.fold = fold;
    if (gm_export_onnx(s, &settings, path, &err)) fail_msg("%s", err.text);
    Onnx__ModelProto *model = read_model();
    assert_int_equal(random_batch(m, choice, 2, 9, &b, &err), GM_OK);
    if (eval_logits(m, w, choice, &b, &logits, &ld, &err)) fail_msg("%s", err.text);
    float *input = planes(&b);
    array y = {0};
    if (!onnx_evaluate(model, input, 2, &y, &why)) fail_msg("%s: %s", m->preset, why);
    assert_int_equal(y.count, 2 * m->graph->classes);
    double scale = 0, worst = 0;
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < m->graph->classes; c++) {
            scale = fmax(scale, fabs((double)logits[i * ld + c]));
            worst = fmax(worst, fabs((double)logits[i * ld + c] - (double)y.data[i * m->graph->classes + c]));
        }
    if (!(worst <= 1e-4 * scale) || !(scale > 1e-3)) fail_msg("%s: error %g at scale %g", m->preset, worst, scale);
    int norms = 0;
    for (size_t i = 0; i < model->graph->n_node; i++)
        norms += strcmp(model->graph->node[i]->op_type, "BatchNormalization") == 0;
    if (fold)
        assert_int_equal(norms, 0);
    else
        assert_true(norms > 0 || m->graph->norms == 0);
    free(y.data);
    free(input);
    onnx__model_proto__free_unpacked(model, NULL);
    gm_batch_fini(&b);
    gm_subnet_destroy(s);
}

static const struct {
    const char *preset;
    gm_model_settings settings;
} cases[] = {
    {"mbv3", {.classes = 7, .width = 0.25, .resolution = 32, .single_resolution = true, .transform = true}},
    {"mbv3-32", {.width = 0.25, .resolution = 20}},
    {"proxyless", {.classes = 7, .width = 0.25, .resolution = 32, .single_resolution = true}},
    {"resnet50", {.classes = 7, .width = 0.25, .resolution = 45, .single_resolution = true}}, // odd maps: ceil mode
    {"resnet-28", {.width = 0.5, .resolution = 15}},
    {"resnet-32", {.width = 0.25, .resolution = 16}},
};

static void onnx_gives_the_walkers_logits(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gm_error err = {0};
        gm_model *m = NULL;
        gm_walker *w = NULL;
        if (random_model(cases[i].preset, &cases[i].settings, 3, 8, &m, &w, &err)) fail_msg("%s", err.text);
        gm_rng rng = gm_rng_keyed(7, i, 0, GM_RNG_TEST);
        for (int k = 0; k < 3; k++) {
            gm_choice choice = k == 0   ? gm_choice_max(&m->graph->space)
                               : k == 1 ? gm_choice_min(&m->graph->space)
                                        : gm_choice_random(&m->graph->space, &rng);
            if (random_statistics(m, w, &choice, (uint64_t)k, &err)) fail_msg("%s", err.text);
            check_onnx(m, w, &choice, k != 1);
        }
        gm_walker_destroy(w);
        gm_model_destroy(m);
    }
}

// No family has these yet: norms over rows, attention, activations on their own, biased convolutions, a sum.
static gm_graph *transformer(gm_error *err) {
    gm_graph *g = NULL;
    assert_int_equal(gm_graph_create("tokens", &g, err), GM_OK);
    gm_builder b = {.graph = g, .gate = {.knob = -1}};
    int x = gm_add_input(&b, gm_size_const(&b, 9), 3);
    x = gm_add_conv(&b, "patch", x, gm_size_const(&b, 24), 3, 3, true, GM_INIT_HE_FANOUT);
    int y = gm_add_layer_norm(&b, "first", x), part[3];
    const char *const names[] = {"q", "k", "v"};
    for (int j = 0; j < 3; j++) part[j] = gm_add_linear(&b, names[j], y, gm_size_const(&b, 24), j == 0);
    y = gm_add_attention(&b, part[0], part[1], part[2], 8);
    x = gm_add_add(&b, gm_add_linear(&b, "mix", y, gm_size_const(&b, 24), true), x);
    y = gm_add_rms_norm(&b, "second", x);
    for (int a = GM_ACT_RELU; a <= GM_ACT_SIGMOID; a++) y = gm_add_add(&b, gm_add_act(&b, y, (gm_act)a), y);
    x = gm_add_global_pool(&b, gm_add_dropout(&b, y, 0.5f));
    x = gm_add_linear(&b, "hidden", x, gm_size_const(&b, 16), true);
    gm_add_linear(&b, "head", gm_add_act(&b, x, GM_ACT_GELU), gm_size_const(&b, 5), true);
    if (gm_graph_finish(&b, err)) fail_msg("%s", err->text);
    return g;
}

static void every_operation_has_a_form(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model m = {.preset = "tokens", .graph = transformer(&err), .input_std = {1, 1, 1, 1}};
    gm_walker *w = NULL;
    m.params = gm_alloc(m.graph->floats, sizeof(float));
    m.norm_offset = gm_alloc((size_t)m.graph->nodes, sizeof *m.norm_offset);
    gm_model_init_params(&m, 5);
    random_affine(&m, 6);
    if (gm_walker_create(m.graph, m.norm_offset, GM_F32, 2, false, &w, &err)) fail_msg("%s", err.text);
    gm_choice only = {{0}};
    check_onnx(&m, w, &only, true);
    gm_walker_destroy(w);
    gm_graph_destroy(m.graph);
    gm_free(m.params);
    gm_free(m.norm_offset);
}

static const char *metadata(const Onnx__ModelProto *model, const char *key) {
    for (size_t i = 0; i < model->n_metadata_props; i++)
        if (strcmp(model->metadata_props[i]->key, key) == 0) return model->metadata_props[i]->value;
    return "";
}

static void models_say_what_they_are(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m = NULL;
    gm_walker *w = NULL;
    gm_subnet *s = NULL;
    assert_int_equal(random_model("resnet-28", &cases[4].settings, 3, 2, &m, &w, &err), GM_OK);
    gm_choice min = gm_choice_min(&m->graph->space);
    // no statistics: refused, with what to do
    assert_int_equal(gm_subnet_create(m, &min, &s, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "gamut calibrate"));
    assert_null(s);
    assert_int_equal(random_statistics(m, w, &min, 1, &err), GM_OK);
    m->input_mean[0] = 0.25f;
    m->input_std[0] = 0.5f;
    snprintf(m->data, sizeof m->data, "digits");
    assert_int_equal(gm_subnet_create(m, &min, &s, &err), GM_OK);
    const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    gm_export_settings settings = {.fold = true, .class_names = names};
    assert_int_equal(gm_export_onnx(s, &settings, path, &err), GM_OK);
    Onnx__ModelProto *model = read_model();
    char text[256], id[20];
    assert_int_equal(gm_choice_print(&m->graph->space, &min, text, sizeof text, &err), GM_OK);
    snprintf(id, sizeof id, "%016llx", (unsigned long long)gm_choice_id(&m->graph->space, &min));
    assert_string_equal(metadata(model, "gamut.choice"), text);
    assert_string_equal(metadata(model, "gamut.id"), id);
    assert_string_equal(metadata(model, "input.mean"), "0.25");
    assert_string_equal(metadata(model, "input.std"), "0.5");
    assert_string_equal(metadata(model, "data"), "digits");
    assert_string_equal(metadata(model, "classes"), "a,b,c,d,e,f,g,h,i,j");
    assert_int_equal(model->opset_import[0]->version, 13);
    const Onnx__TensorShapeProto *shape = model->graph->input[0]->type->tensor_type->shape;
    assert_string_equal(shape->dim[0]->dim_param, "batch");
    assert_int_equal(shape->dim[2]->dim_value, 15);
    onnx__model_proto__free_unpacked(model, NULL);
    gm_subnet_destroy(s);
    gm_walker_destroy(w);
    gm_model_destroy(m);
}

// Names of a plain network, numbered without holes; slices and transformed kernels as the walker uses them is what the
// ONNX test has shown, here: the file holds just these tensors.
static void safetensors_hold_a_plain_network(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m = NULL;
    gm_walker *w = NULL;
    gm_subnet *s = NULL;
    gm_tensor_file *f = NULL;
    gm_cost cost;
    assert_int_equal(random_model("mbv3", &cases[0].settings, 3, 2, &m, &w, &err), GM_OK);
    gm_choice choice = gm_choice_min(&m->graph->space);
    assert_int_equal(random_statistics(m, w, &choice, 1, &err), GM_OK);
    assert_int_equal(gm_subnet_create(m, &choice, &s, &err), GM_OK);
    assert_int_equal(gm_export_safetensors(s, NULL, path, &err), GM_OK);
    if (gm_tensor_file_read(path, &f, &err)) fail_msg("%s", err.text);
    assert_int_equal(gm_tensor_count(f), s->tensors);
    assert_int_equal(gm_count(m->graph, &choice, &cost, &err), GM_OK);
    assert_int_equal(s->params, cost.params);
    // depth 2 of 4: blocks 0, then two a stage
    const gm_tensor_info *t = gm_tensor_find(f, "blocks.10.conv.depth_conv.conv.weight");
    assert_non_null(t);
    assert_int_equal(t->dims[2], 3);
    assert_null(gm_tensor_find(f, "blocks.11.conv.depth_conv.conv.weight"));
    assert_non_null(gm_tensor_find(f, "blocks.3.conv.depth_conv.se.fc.reduce.bias"));
    assert_non_null(gm_tensor_find(f, "first_conv.bn.running_var"));
    assert_non_null(gm_tensor_find(f, "classifier.linear.weight"));
    for (int i = 0; i < s->tensors; i++) {
        t = gm_tensor_find(f, s->tensor[i].name);
        assert_non_null(t);
        assert_memory_equal(t->data, s->tensor[i].data, t->bytes);
    }
    assert_string_equal(gm_tensor_meta(f, "format"), "pt");
    json_t *config = json_loads(gm_tensor_meta(f, "net.config"), 0, NULL), *nodes = json_object_get(config, "nodes");
    assert_string_equal(json_string_value(json_object_get(config, "name")), "mbv3");
    assert_int_equal(json_integer_value(json_object_get(config, "image_size")), 32);
    json_t *last = json_array_get(nodes, json_array_size(nodes) - 1);
    assert_string_equal(json_string_value(json_object_get(last, "module")), "classifier.linear");
    json_decref(config);
    gm_tensor_file_destroy(f);
    gm_subnet_destroy(s);
    gm_walker_destroy(w);
    gm_model_destroy(m);
}

static void every_failed_allocation_is_an_error(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m = NULL;
    gm_walker *w = NULL;
    assert_int_equal(
        random_model("resnet-28", &(gm_model_settings){.width = 0.25, .resolution = 12}, 3, 2, &m, &w, &err), GM_OK);
    gm_choice min = gm_choice_min(&m->graph->space);
    assert_int_equal(random_statistics(m, w, &min, 1, &err), GM_OK);
    size_t live = gm_alloc_live();
    for (int format = 0; format < 2; format++)
        for (long fail = 1, done = 0; !done; fail++) {
            gm_subnet *s = NULL;
            unlink(path);
            gm_alloc_fail_at(fail);
            gm_status status = gm_subnet_create(m, &min, &s, &err);
            if (!status)
                status = format ? gm_export_onnx(s, NULL, path, &err) : gm_export_safetensors(s, NULL, path, &err);
            gm_alloc_fail_at(0);
            gm_subnet_destroy(s);
            assert_int_equal(gm_alloc_live(), live);
            assert_int_equal(gm_path_exists(path), status == GM_OK);
            if (status == GM_OK)
                done = 1;
            else
                assert_int_equal(status, GM_ERR_MEMORY);
        }
    gm_walker_destroy(w);
    gm_model_destroy(m);
}

static int finish(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

int main(void) {
    snprintf(path, sizeof path, "%s/gamut-export-%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             (int)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(onnx_gives_the_walkers_logits),
        cmocka_unit_test(every_operation_has_a_form),
        cmocka_unit_test(models_say_what_they_are),
        cmocka_unit_test(safetensors_hold_a_plain_network),
        cmocka_unit_test(every_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
