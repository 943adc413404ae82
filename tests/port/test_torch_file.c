// SPDX-License-Identifier: Apache-2.0
// Torch files: both containers, views and shared storages, published files and their golden outputs, hostile ones.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <gamut/port.h>

#include "port/torch_writer.h"

static const float six[] = {1, 2, 3, 4, 5, 6};
static const int64_t wholes[] = {-7, 1LL << 40};
static const uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x0000}; // 1 -2 2^-24 65504 inf 0

// Rows, a transposed view and a part of the same storage, whole numbers, halves, a scalar, an empty one.
static int sample(torch_tensor t[8]) {
    t[0] = torch_rows("rows", 0, 2, (const uint64_t[]){2, 3}, six);
    t[1] = t[2] = t[0];
    t[1].name = "turned";
    t[1].strided = true;
    t[1].dims[0] = 3, t[1].dims[1] = 2;
    t[1].strides[0] = 1, t[1].strides[1] = 3;
    t[2].name = "part";
    t[2].rank = 1;
    t[2].dims[0] = 2;
    t[2].offset = 4;
    t[3] = (torch_tensor){.name = "counts",
                          .type = "Long",
                          .rank = 1,
                          .dims = {2},
                          .storage = 1,
                          .elements = 2,
                          .size = 8,
                          .data = wholes};
    t[4] = (torch_tensor){.name = "halves",
                          .type = "Half",
                          .rank = 1,
                          .dims = {6},
                          .storage = 2,
                          .elements = 6,
                          .size = 2,
                          .data = halves};
    t[5] = torch_rows("scalar", 3, 0, NULL, six + 4);
    t[6] = torch_rows("empty", 4, 2, (const uint64_t[]){0, 5}, six);
    t[7] = torch_rows("four.dims", 5, 4, (const uint64_t[]){1, 3, 1, 2}, six);
    return 8;
}

static void check_sample(const gm_torch_file *f) {
    assert_int_equal(gm_torch_count(f), 8);
    assert_string_equal(gm_torch_at(f, 1)->name, "turned");
    assert_null(gm_torch_at(f, 8));
    assert_null(gm_torch_find(f, "absent"));
    const gm_tensor_info *t = gm_torch_find(f, "turned");
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->dims[0], 3);
    for (int i = 0; i < 6; i++) assert_float_equal(((const float *)t->data)[i], six[i / 2 + i % 2 * 3], 0);
    t = gm_torch_find(f, "part");
    assert_int_equal(t->bytes, 8);
    assert_float_equal(((const float *)t->data)[1], 6, 0);
    t = gm_torch_find(f, "counts");
    assert_int_equal(t->type, GM_I64);
    assert_memory_equal(t->data, wholes, sizeof wholes);
    t = gm_torch_find(f, "halves");
    const float wanted[] = {1, -2, 0x1p-24f, 65504, INFINITY, 0};
    assert_int_equal(t->type, GM_F32);
    assert_memory_equal(t->data, wanted, sizeof wanted);
    t = gm_torch_find(f, "scalar");
    assert_int_equal(t->rank, 0);
    assert_float_equal(*(const float *)t->data, 5, 0);
    assert_int_equal(gm_torch_find(f, "empty")->bytes, 0);
    assert_int_equal(gm_torch_find(f, "four.dims")->dims[3], 2);
}

static void both_containers_give_the_tensors(void **state) {
    (void)state;
    torch_tensor t[8];
    int n = sample(t);
    for (int kind = 0; kind < 5; kind++) {
        bytes b = kind == 4  ? torch_zip_as(t, n, true, true)
                  : kind & 1 ? torch_zip(t, n, kind & 2)
                             : torch_legacy(t, n, kind & 2);
        gm_torch_file *f = NULL;
        gm_error err = {0};
        if (gm_torch_file_parse(b.data, b.used, "sample", &f, &err) != GM_OK) fail_msg("%s", err.text);
        check_sample(f);
        gm_torch_file_destroy(f);
        free(b.data);
    }
}

static void every_cut_and_failed_allocation_is_an_error(void **state) {
    (void)state;
    torch_tensor t[8];
    int n = sample(t);
    for (int zip = 0; zip < 3; zip++) {
        bytes b = zip ? torch_zip_as(t, n, true, zip == 2) : torch_legacy(t, n, true);
        size_t live = gm_alloc_live();
        gm_error err = {0};
        gm_torch_file *f = NULL;
        for (size_t cut = 0; cut < b.used; cut += cut < 200 ? 1 : 7) {
            uint8_t *exact = malloc(cut + 1);
            memcpy(exact, b.data, cut);
            assert_int_not_equal(gm_torch_file_parse(exact, cut, "cut", &f, &err), GM_OK);
            assert_null(f);
            free(exact);
        }
        assert_int_equal(gm_alloc_live(), live);
        for (long fail = 1;; fail++) {
            gm_alloc_fail_at(fail);
            gm_status status = gm_torch_file_parse(b.data, b.used, "sample", &f, &err);
            gm_alloc_fail_at(0);
            if (status == GM_OK) break;
            assert_int_equal(status, GM_ERR_MEMORY);
            assert_int_equal(gm_alloc_live(), live);
        }
        gm_torch_file_destroy(f);
        assert_int_equal(gm_alloc_live(), live);
        free(b.data);
    }
}

static void refuse(bytes b, gm_status wanted, const char *says) {
    gm_torch_file *f = NULL;
    gm_error err = {0};
    gm_status status = gm_torch_file_parse(b.data, b.used, "hostile.pth", &f, &err);
    if (status != wanted || !strstr(err.text, says) || !strstr(err.text, "hostile.pth"))
        fail_msg("status %d, text '%s', not '%s'", status, err.text, says);
    assert_null(f);
    free(b.data);
}

static void hostile_files_are_refused(void **state) {
    (void)state;
    torch_tensor t[8], good;
    sample(t);
    good = t[0];
    // what would run a command
    bytes b = {0};
    zip_writer z = {0};
    put(&b,
        "\x80\x02"
        "cos\nsystem\nX\2\0\0\0ls\x85R.",
        24);
    zip_add(&z, "archive/data.pkl", b.data, b.used);
    free(b.data);
    refuse(zip_finish(&z), GM_ERR_UNSUPPORTED, "'os.system'");
    t[0].dims[0] = 3;
    refuse(torch_zip(t, 1, false), GM_ERR_FORMAT, "beyond its storage");
    refuse(torch_legacy(t, 1, false), GM_ERR_FORMAT, "beyond its storage");
    t[0] = good;
    t[0].offset = -1;
    refuse(torch_zip(t, 1, false), GM_ERR_FORMAT, "outside its storage");
    t[0].offset = INT64_MAX;
    refuse(torch_zip(t, 1, false), GM_ERR_FORMAT, "outside its storage");
    // a small file that asks for exabytes: strides of zero make any size fit its storage
    t[0] = good;
    t[0].strided = true;
    t[0].dims[0] = t[0].dims[1] = (int64_t)1 << 30;
    refuse(torch_zip(t, 1, false), GM_ERR_FORMAT, "far more elements");
    t[0].dims[0] = t[0].dims[1] = (int64_t)1 << 32;
    refuse(torch_legacy(t, 1, false), GM_ERR_FORMAT, "no usable size");
    t[0].dims[0] = -2;
    refuse(torch_legacy(t, 1, false), GM_ERR_FORMAT, "no usable size");
    t[0] = good;
    t[0].strided = true;
    t[0].strides[0] = INT64_MAX;
    refuse(torch_zip(t, 1, false), GM_ERR_FORMAT, "beyond its storage");
    t[0] = t[1] = good;
    refuse(torch_zip(t, 2, false), GM_ERR_FORMAT, "two tensors are named rows");
    t[1].name = "other";
    t[1].type = "Double";
    refuse(torch_legacy(t, 2, false), GM_ERR_FORMAT, "two types");
    t[0].name = "a\x1b[2J";
    refuse(torch_zip(t, 1, false), GM_ERR_FORMAT, "not plain text");
    refuse(torch_zip(t, 0, false), GM_ERR_FORMAT, "no tensors");
    b = torch_zip(&good, 1, false);
    memcpy(memmem(b.data, b.used, six, sizeof six), "oops", 4);
    refuse(b, GM_ERR_FORMAT, "checksum");
    b = (bytes){0};
    put(&b, "{\"not\": \"torch\"}", 16);
    refuse(b, GM_ERR_FORMAT, "not a file of torch.save");
}

// ---------------------------------------------------------------------------------------------
// The published accuracy predictors, with the golden outputs that an independent reader computed.
static bool find_file(void *context, const char *folder) {
    char **path = context;
    snprintf(path[0], 512, "%s/ofa/ofa/%s", folder, path[1]);
    return gm_path_exists(path[0]);
}

static gm_torch_file *open_published(const char *name) {
    char text[512];
    char *path[] = {text, (char *)(uintptr_t)name};
    gm_torch_file *f = NULL;
    gm_error err;
    if (!gm_data_folders(find_file, path)) {
        print_message("skipped: needs ofa/ofa/%s\n", name);
        return NULL;
    }
    if (gm_torch_file_read(text, &f, &err) != GM_OK) fail_msg("%s", err.text);
    return f;
}

static const float *tensor(const gm_torch_file *f, const char *name, int outputs, int inputs) {
    const gm_tensor_info *t = gm_torch_find(f, name);
    if (!t || t->type != GM_F32 || t->bytes != 4u * (size_t)(outputs * inputs)) fail_msg("tensor %s", name);
    return t->data;
}

// Three hidden layers of 400; weights named by `format` and the layer's number.
static double perceptron(const gm_torch_file *f, const float *input, int inputs, const char *const names[4][2]) {
    enum { HIDDEN = 400 };
    double now[HIDDEN], next[HIDDEN];
    for (int i = 0; i < inputs; i++) now[i] = (double)input[i];
    for (int layer = 0; layer < 4; layer++) {
        int in = layer == 0 ? inputs : HIDDEN, out = layer == 3 ? 1 : HIDDEN;
        const float *w = tensor(f, names[layer][0], out, in),
                    *b = names[layer][1] ? tensor(f, names[layer][1], out, 1) : NULL;
        for (int o = 0; o < out; o++) {
            double sum = b ? (double)b[o] : 0;
            for (int i = 0; i < in; i++) sum += (double)w[o * in + i] * now[i];
            next[o] = layer < 3 ? fmax(sum, 0) : sum;
        }
        memcpy(now, next, sizeof now);
    }
    return now[0];
}

static void mobilenet_predictor_gives_golden_outputs(void **state) {
    (void)state;
    static const char *const names[4][2] = {
        {"0.weight", "0.bias"}, {"2.weight", "2.bias"}, {"4.weight", "4.bias"}, {"6.weight", "6.bias"}};
    static const struct {
        int k, e, d, r;
        double wanted;
    } nets[] = {{2, 2, 4, 224, 0.835928}, {0, 0, 2, 224, 0.777386}, {0, 0, 2, 160, 0.753119}, {1, 1, 3, 192, 0.805928},
                {2, 2, 4, 160, 0.807503}, {2, 1, 3, 208, 0.818136}}; // k, e: index of the value
    gm_torch_file *f = open_published("acc_predictor.pth");
    if (!f) skip();
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        float input[128] = {0};
        for (int block = 0; block < 20; block++)
            if (block % 4 < nets[i].d) input[block * 3 + nets[i].k] = input[60 + block * 3 + nets[i].e] = 1;
        input[120 + (nets[i].r - 112) / 16] = 1;
        double got = perceptron(f, input, 128, names);
        if (!(fabs(got - nets[i].wanted) < 1e-6)) fail_msg("net %zu: %.7f, not %.6f", i, got, nets[i].wanted);
    }
    gm_torch_file_destroy(f);
}

static void resnet_predictor_gives_golden_outputs(void **state) {
    (void)state;
    static const char *const names[4][2] = {{"layers.0.0.weight", "layers.0.0.bias"},
                                            {"layers.1.0.weight", "layers.1.0.bias"},
                                            {"layers.2.0.weight", "layers.2.0.bias"},
                                            {"layers.3.weight", NULL}};
    static const int sizes[] = {128, 144, 160, 176, 192, 224, 240, 256}, base[] = {2, 2, 4, 2};
    static const struct {
        int d, e, w, r, stem;
        double wanted;
    } nets[] = {{2, 2, 2, 224, 1, 0.829870}, {2, 2, 2, 224, 0, 0.829870}, {0, 0, 0, 128, 1, 0.748353},
                {0, 0, 0, 128, 0, 0.747945}, {1, 1, 1, 192, 1, 0.817720}, {1, 1, 1, 192, 0, 0.817178}};
    gm_torch_file *f = open_published("ofa_resnet50_acc_predictor.pth");
    if (!f) skip();
    assert_float_equal(*tensor(f, "base_acc", 1, 1), 0.8055608f, 1e-7);
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        float input[82] = {0};
        for (int s = 0; s < 8; s++) input[s] = sizes[s] == nets[i].r;
        input[8 + nets[i].stem] = 1;
        for (int w = 0; w < 6; w++) input[10 + w * 3 + nets[i].w] = 1;
        for (int stage = 0, slot = 0; stage < 4; slot += base[stage] + 2, stage++)
            for (int block = 0; block < base[stage] + nets[i].d; block++)
                input[28 + (slot + block) * 3 + nets[i].e] = 1;
        double got = perceptron(f, input, 82, names) + (double)*tensor(f, "base_acc", 1, 1);
        if (!(fabs(got - nets[i].wanted) < 1e-6)) fail_msg("net %zu: %.7f, not %.6f", i, got, nets[i].wanted);
    }
    gm_torch_file_destroy(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_containers_give_the_tensors),
        cmocka_unit_test(every_cut_and_failed_allocation_is_an_error),
        cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(mobilenet_predictor_gives_golden_outputs),
        cmocka_unit_test(resnet_predictor_gives_golden_outputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
