// SPDX-License-Identifier: Apache-2.0
// Inference requests: what the protocol allows is read, everything else is refused with a reason (specs: superserve 6.1, 9).
#include "base/base_test.h"

#include "serve/infer_request.h"

#include <math.h>

static const gm__input_rules gray = {.channels = 1, .side = 4, .max_side = 8, .max_images = 8};
static const gm__input_rules colour = {.channels = 3, .side = 2, .max_side = 8, .max_images = 8};

typedef struct decoded {
    gm__infer_request request;
    union {
        uint8_t pixels[8][256];
        float floats[8][256];
    } image;
} decoded;

// The body gets a block of exactly its size, so that sanitizers see any byte read beyond.
static gm_status read_body(const gm__input_rules *rules, const void *body, size_t bytes, size_t header, decoded *out, gm_error *err) {
    char *exact = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(exact);
    memcpy(exact, body, bytes);
    gm_status status = gm__infer_parse(exact, bytes, header, rules, &out->request, err);
    if (status == GM_OK) {
        void *dst[8];
        assert_in_range(out->request.images, 1, 8);
        assert_in_range(gm__image_bytes(&out->request.image), 1, 1024);
        for (int i = 0; i < 8; i++) dst[i] = out->request.image.pixels ? (void *)out->image.pixels[i] : (void *)out->image.floats[i];
        status = gm__infer_decode(&out->request, dst, err);
    }
    free(exact);
    return status;
}

static void accepts(const gm__input_rules *rules, const char *body, decoded *out) {
    gm_error err = {0};
    if (read_body(rules, body, strlen(body), strlen(body), out, &err) != GM_OK) fail_msg("%s\nrefused: %s", body, err.text);
}

static void refuses(const gm__input_rules *rules, const char *body, gm_status wanted, const char *says) {
    decoded d;
    gm_error err = {0};
    gm_status status = read_body(rules, body, strlen(body), strlen(body), &d, &err);
    if (status != wanted) fail_msg("%s\nstatus %d, not %d: %s", body, status, wanted, err.text);
    if (strstr(err.text, says) == NULL) fail_msg("%s\n'%s' does not say '%s'", body, err.text, says);
}

#define SIXTEEN "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,255"
#define INPUT(shape, type, data) "{\"inputs\":[{\"name\":\"image\",\"shape\":" shape ",\"datatype\":\"" type "\",\"data\":" data "}]}"

static void flat_and_nested_data_are_the_same(void **state) {
    (void)state;
    decoded flat, nested;
    accepts(&gray, INPUT("[1,4,4,1]", "UINT8", "[" SIXTEEN "]"), &flat);
    accepts(&gray, INPUT("[1,4,4,1]", "UINT8", "[[[[0],[1],[2],[3]],[[4],[5],[6],[7]],[[8],[9],[10],[11]],[[12],[13],[14],[255]]]]"), &nested);
    assert_memory_equal(flat.image.pixels[0], nested.image.pixels[0], 16);
    assert_int_equal(flat.image.pixels[0][15], 255);
    assert_true(flat.request.image.pixels);
    assert_int_equal(flat.request.asked, 2);
}

static void shapes_are_understood(void **state) {
    (void)state;
    static const struct {
        const char *shape;
        int images, height, width;
    } cases[] = {{"[1,4,4,1]", 1, 4, 4}, {"[1,1,4,4]", 1, 4, 4}, {"[4,4,1]", 1, 4, 4}, {"[1,4,4]", 1, 4, 4}, {"[1,16]", 1, 4, 4},
                 {"[2,8,1]", 1, 2, 8},   {"[4,4]", 1, 4, 4},     {"[1,2,8,1]", 1, 2, 8}, {"[4,2,2]", 4, 2, 2}, {"[4,2,2,1]", 4, 2, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[512];
        decoded d;
        snprintf(body, sizeof body, "{\"inputs\":[{\"name\":\"x\",\"shape\":%s,\"datatype\":\"UINT8\",\"data\":[" SIXTEEN "]}]}", cases[i].shape);
        accepts(&gray, body, &d);
        assert_int_equal(d.request.images, cases[i].images);
        assert_int_equal(d.request.image.height, cases[i].height);
        assert_int_equal(d.request.image.width, cases[i].width);
    }
}

static void channel_planes_are_interleaved(void **state) {
    (void)state;
    decoded planes, pixels;
    accepts(&colour, INPUT("[1,3,2,2]", "UINT8", "[1,2,3,4, 11,12,13,14, 21,22,23,24]"), &planes);
    accepts(&colour, INPUT("[1,2,2,3]", "UINT8", "[1,11,21, 2,12,22, 3,13,23, 4,14,24]"), &pixels);
    assert_memory_equal(planes.image.pixels[0], pixels.image.pixels[0], 12);
    // 3 x 3 x 3 could be either: rows of pixels, unless the layout is named.
    accepts(&colour, "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,3,3,3],\"datatype\":\"UINT8\",\"parameters\":{\"layout\":\"NCHW\"},"
                     "\"data\":[0,1,2,3,4,5,6,7,8,10,11,12,13,14,15,16,17,18,20,21,22,23,24,25,26,27,28]}]}", &planes);
    assert_int_equal(planes.image.pixels[0][1], 10);
}

static void numbers_are_exact(void **state) {
    (void)state;
    static const char *const texts[] = {"0", "-0", "1", "-1.5", "0.1", "3.4028234e38", "1e-30", "123456789.123456789", "2.2250738585072014e-308",
                                        "0.000000000000000000000000000001", "9007199254740993", "1E5", "1.7976931348623157e+38", "12345678901234567890123e-10"};
    decoded d;
    char body[2048];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        snprintf(body, sizeof body, "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,1,1,1],\"datatype\":\"FP32\",\"data\":[ %s ]}]}", texts[i]);
        accepts(&gray, body, &d);
        float wanted = (float)strtod(texts[i], NULL);
        assert_memory_equal(&d.image.floats[0][0], &wanted, sizeof wanted);
    }
}

static void parameters_are_read(void **state) {
    (void)state;
    decoded d;
    accepts(&gray, "{\"id\":\"a\\u00e9\\\"\",\"parameters\":{\"timeout\":36000,\"priority\":1,\"min_accuracy\":90.5,\"other\":\"x\",\"binary_data_output\":true},"
                   "\"inputs\":[{\"name\":\"x\",\"shape\":[1,1],\"datatype\":\"INT32\",\"data\":[7]}],"
                   "\"outputs\":[{\"name\":\"logits\",\"parameters\":{\"binary_data\":false}},{\"name\":\"class\"}]}", &d);
    assert_string_equal(d.request.id, "a\xc3\xa9\"");
    assert_int_equal(d.request.timeout_us, 36000);
    assert_int_equal(d.request.priority, 1);
    assert_true(fabs(d.request.min_accuracy - 90.5) < 1e-9);
    assert_int_equal(d.request.asked, 2);
    assert_int_equal(d.request.output[0], GM__OUTPUT_LOGITS);
    assert_false(d.request.binary[0]);
    assert_true(d.request.binary[1]);
    assert_int_equal(d.image.pixels[0][0], 7);
}

static void binary_tensors_of_every_type(void **state) {
    (void)state;
    static const struct {
        const char *type;
        size_t size;
        uint8_t one[8]; // the number 1
    } cases[] = {{"UINT8", 1, {1}},          {"INT8", 1, {1}},   {"UINT16", 2, {1}},      {"INT16", 2, {1}},           {"UINT32", 4, {1}},
                 {"INT32", 4, {1}},          {"UINT64", 8, {1}}, {"INT64", 8, {1}},       {"FP16", 2, {0, 0x3c}},      {"BF16", 2, {0x80, 0x3f}},
                 {"FP32", 4, {0, 0, 0x80, 0x3f}}, {"FP64", 8, {0, 0, 0, 0, 0, 0, 0xf0, 0x3f}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[512];
        int header = snprintf(body, sizeof body, "{\"inputs\":[{\"name\":\"x\",\"shape\":[2,1,1,1],\"datatype\":\"%s\",\"parameters\":{\"binary_data_size\":%zu}}]}",
                              cases[i].type, 2 * cases[i].size);
        size_t bytes = (size_t)header + 2 * cases[i].size;
        memset(body + header, 0, cases[i].size);
        memcpy(body + header + cases[i].size, cases[i].one, cases[i].size);
        decoded d;
        gm_error err = {0};
        if (read_body(&gray, body, bytes, (size_t)header, &d, &err) != GM_OK) fail_msg("%s: %s", cases[i].type, err.text);
        if (d.request.image.pixels) {
            assert_int_equal(d.image.pixels[0][0], 0);
            assert_int_equal(d.image.pixels[1][0], 1);
        } else {
            assert_true(d.image.floats[0][0] == 0 && d.image.floats[1][0] == 1);
        }
        // One byte too few, one too many.
        assert_int_equal(read_body(&gray, body, bytes - 1, (size_t)header, &d, &err), GM_ERR_FORMAT);
        assert_int_equal(read_body(&gray, body, bytes + 1, (size_t)header, &d, &err), GM_ERR_FORMAT);
        assert_int_equal(read_body(&gray, body, bytes, bytes + 1, &d, &err), GM_ERR_FORMAT);
    }
}

static void malformed_requests_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *body, *says;
        gm_status status;
    } cases[] = {
        {"", "expected '{'", GM_ERR_FORMAT},
        {"[]", "expected '{'", GM_ERR_FORMAT},
        {"{}", "no inputs", GM_ERR_FORMAT},
        {"{\"inputs\":[]}", "no inputs", GM_ERR_FORMAT},
        {"{\"inputs\":[{}]}", "lacks", GM_ERR_FORMAT},
        {INPUT("[1,4,4,1]", "UINT8", "[" SIXTEEN "]") "x", "after the end", GM_ERR_FORMAT},
        {INPUT("[1,4,4,1]", "UINT8", "[1,2]"), "2 values", GM_ERR_FORMAT},
        {INPUT("[1,4,4,1]", "UINT8", "[" SIXTEEN ",1]"), "more values", GM_ERR_FORMAT},
        {INPUT("[1,4,4,1]", "UINT8", "[[" SIXTEEN "]]"), "neither flat nor nested", GM_ERR_FORMAT},
        {INPUT("[2,2]", "UINT8", "[[1,2,3],[4]]"), "not as long", GM_ERR_FORMAT},
        {INPUT("[1,1]", "UINT8", "[256]"), "0 to 255", GM_ERR_RANGE},
        {INPUT("[1,1]", "INT8", "[-1]"), "0 to 255", GM_ERR_RANGE},
        {INPUT("[1,1]", "UINT8", "[1.5]"), "fraction", GM_ERR_FORMAT},
        {INPUT("[1,1]", "FP32", "[1e39]"), "finite", GM_ERR_RANGE},
        {INPUT("[1,1]", "FP32", "[1e999]"), "range", GM_ERR_FORMAT},
        {INPUT("[1,1]", "FP32", "[NaN]"), "expected a", GM_ERR_FORMAT},
        {INPUT("[1,1]", "FP32", "[01]"), "expected a number", GM_ERR_FORMAT},
        {INPUT("[1,1]", "FP32", "[1.]"), "expected a number", GM_ERR_FORMAT},
        {INPUT("[1,1]", "FP32", "[+1]"), "expected a number", GM_ERR_FORMAT},
        {INPUT("[1,1]", "FP32", "[1,]"), "expected a", GM_ERR_FORMAT},
        {INPUT("[1,1]", "FP16", "[1]"), "JSON numbers", GM_ERR_FORMAT},
        {INPUT("[1,1]", "BYTES", "[\"a\"]"), "datatype", GM_ERR_FORMAT},
        {INPUT("[1,1]", "UINT8", "7"), "not an array", GM_ERR_FORMAT},
        {INPUT("[0,4,4,1]", "UINT8", "[]"), "1 to", GM_ERR_RANGE},
        {INPUT("[-1,4,4,1]", "UINT8", "[]"), "1 to", GM_ERR_RANGE},
        {INPUT("[1.5,4,4,1]", "UINT8", "[]"), "whole number", GM_ERR_RANGE},
        {INPUT("[16777216,16777216,16777216,16777216]", "UINT8", "[]"), "values", GM_ERR_RANGE},
        {INPUT("[1,9,9,1]", "UINT8", "[]"), "does not fit", GM_ERR_RANGE},
        {INPUT("[1,4,4,3]", "UINT8", "[]"), "does not fit", GM_ERR_RANGE},
        {INPUT("[1,1,1,1,1]", "UINT8", "[1]"), "dimensions", GM_ERR_RANGE},
        {INPUT("[9,1,1,1]", "UINT8", "[]"), "at most 8", GM_ERR_RANGE},
        {"{\"inputs\":[{\"name\":\"x\",\"shape\":[1,1],\"datatype\":\"UINT8\",\"data\":[1],\"data\":[1]}]}", "twice", GM_ERR_FORMAT},
        {"{\"id\":\"a\",\"id\":\"b\"}", "twice", GM_ERR_FORMAT},
        {"{\"id\":7}", "expected", GM_ERR_FORMAT},
        {"{\"id\":\"\\u0000\"}", "escape", GM_ERR_FORMAT},
        {"{\"id\":\"\xff\"}", "UTF-8", GM_ERR_FORMAT},
        {"{\"id\":\"\n\"}", "control", GM_ERR_FORMAT},
        {"{\"parameters\":{\"timeout\":-1}}", "timeout", GM_ERR_RANGE},
        {"{\"parameters\":{\"timeout\":1.5}}", "timeout", GM_ERR_RANGE},
        {"{\"parameters\":{\"timeout\":9007199254740993}}", "timeout", GM_ERR_RANGE},
        {"{\"parameters\":{\"timeout\":\"soon\"}}", "expected a number", GM_ERR_FORMAT},
        {"{\"parameters\":{\"priority\":-1}}", "priority", GM_ERR_RANGE},
        {"{\"parameters\":{\"min_accuracy\":101}}", "min_accuracy", GM_ERR_RANGE},
        {"{\"parameters\":{\"x\":{}}}", "neither string", GM_ERR_FORMAT},
        {"{\"parameters\":{\"x\":null}}", "neither string", GM_ERR_FORMAT},
        {"{\"outputs\":[{\"name\":\"nope\"}]}", "no output is named", GM_ERR_FORMAT},
        {"{\"outputs\":[{}]}", "no name", GM_ERR_FORMAT},
        {"{\"outputs\":[{\"name\":\"class\"},{\"name\":\"class\"}]}", "twice", GM_ERR_FORMAT},
        {"{\"outputs\":[{\"name\":\"class\",\"parameters\":{\"classification\":3}}]}", "classification", GM_ERR_UNSUPPORTED},
        {"{\"x\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}", "16 deep", GM_ERR_FORMAT},
        {"{\"inputs\":[{\"name\":\"x\"},{\"name\":\"y\"}]}", "more than one input", GM_ERR_FORMAT},
        {"{\"inputs\":[{\"name\":\"x\",\"shape\":[1,1],\"datatype\":\"UINT8\",\"parameters\":{\"binary_data_size\":1},\"data\":[1]}]}", "both", GM_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuses(&gray, cases[i].body, cases[i].status, cases[i].says);
}

static void unknown_fields_are_refused_only_when_strict(void **state) {
    (void)state;
    gm__input_rules strict = gray;
    decoded d;
    strict.strict = true;
    static const char body[] = "{\"surprise\":[1,{\"a\":null}],\"inputs\":[{\"name\":\"x\",\"shape\":[1,1],\"datatype\":\"UINT8\",\"data\":[1],\"q\":true}]}";
    accepts(&gray, body, &d);
    refuses(&strict, body, GM_ERR_FORMAT, "surprise");
    refuses(&strict, "{\"parameters\":{\"hurry\":1}}", GM_ERR_FORMAT, "hurry");
}

static void no_number_beyond_float_hides_in_binary(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        char body[256];
        decoded d;
        gm_error err = {0};
        int header = snprintf(body, sizeof body, "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,1],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":4}}]}");
        memcpy(body + header, &bad[i], sizeof bad[i]);
        assert_int_equal(read_body(&gray, body, (size_t)header + 4, (size_t)header, &d, &err), GM_ERR_RANGE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flat_and_nested_data_are_the_same),
        cmocka_unit_test(shapes_are_understood),
        cmocka_unit_test(channel_planes_are_interleaved),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(parameters_are_read),
        cmocka_unit_test(binary_tensors_of_every_type),
        cmocka_unit_test(malformed_requests_are_refused),
        cmocka_unit_test(unknown_fields_are_refused_only_when_strict),
        cmocka_unit_test(no_number_beyond_float_hides_in_binary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
