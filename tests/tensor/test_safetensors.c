// SPDX-License-Identifier: Apache-2.0
// The safetensors reader against hostile files (every row of specs: hardening 9), and writer against reader.
#include "base/base_test.h"

#include <gamut/tensor.h>

// A file in memory: the header's length, the header, data bytes 0, 1, 2, ...
typedef struct image {
    uint8_t *bytes; // of exactly `count`, so that sanitizers see a byte read behind
    size_t count;
} image;

static image with_length(const void *header, size_t header_bytes, uint64_t said, size_t data) {
    image f = {.count = 8 + header_bytes + data};
    f.bytes = malloc(f.count);
    assert_non_null(f.bytes);
    for (int i = 0; i < 8; i++) f.bytes[i] = (uint8_t)(said >> (8 * i));
    memcpy(f.bytes + 8, header, header_bytes);
    for (size_t i = 0; i < data; i++) f.bytes[8 + header_bytes + i] = (uint8_t)i;
    return f;
}

static image file_of(const char *header, size_t data) { return with_length(header, strlen(header), strlen(header), data); }

static gm_tensor_file *accept(image f) {
    gm_tensor_file *file = NULL;
    gm_error err = {0};
    if (gm_tensor_file_parse(f.bytes, f.count, "test", &file, &err) != GM_OK) fail_msg("%s", err.text);
    return file;
}

static void refuse(image f, const char *says) {
    gm_tensor_file *file = NULL;
    gm_error err = {0};
    size_t live = gm_alloc_live();
    gm_status status = gm_tensor_file_parse(f.bytes, f.count, "test", &file, &err);
    if (status != GM_ERR_FORMAT) fail_msg("status %d for '%s'", status, says);
    assert_null(file);
    assert_int_equal(gm_alloc_live(), live);
    if (!strstr(err.text, says)) fail_msg("'%s' does not say '%s'", err.text, says);
    for (const char *c = err.text; *c; c++) assert_true(*c >= 0x20 && *c < 0x7f); // nothing a terminal obeys
    free(f.bytes);
}

#define ONE(dtype, shape, from, to)                                                                \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}}"

static void what_the_format_allows_is_read(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        int tensors;
    } cases[] = {
        {"{}", 0, 0},
        {"{}      ", 0, 0},
        {"{ \"__metadata__\" : { } }", 0, 0},
        {ONE("F32", "[]", 0, 4), 4, 1},        // rank 0
        {ONE("F32", "[0]", 0, 0), 0, 1},       // no elements
        {ONE("F32", "[3,0,5]", 0, 0), 0, 1},
        {ONE("U8", "[1,1,1,1,1,1,1,2]", 0, 2), 2, 1}, // rank 8
        {"{\"b\":{\"data_offsets\":[2,4],\"shape\":[2],\"dtype\":\"U8\"},"
         "\"a\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 4, 2}, // any order
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image f = file_of(cases[i].header, cases[i].data);
        gm_tensor_file *file = accept(f);
        assert_int_equal(gm_tensor_count(file), cases[i].tensors);
        for (int t = 0; t < cases[i].tensors; t++) {
            const gm_tensor_info *info = gm_tensor_at(file, t);
            assert_non_null(info);
            assert_true(info->bytes == 0 || ((uintptr_t)info->data % gm_dtype_size(info->type)) == 0);
            assert_ptr_equal(gm_tensor_find(file, info->name), info);
        }
        assert_null(gm_tensor_at(file, cases[i].tensors));
        assert_null(gm_tensor_find(file, "absent"));
        gm_tensor_file_destroy(file);
        free(f.bytes);
    }
}

static void views_hold_the_bytes_of_their_tensor_aligned_or_not(void **state) {
    (void)state;
    // one byte first, so the floats behind it are not aligned in the file
    image f = file_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                      "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}", 9);
    gm_tensor_file *file = accept(f);
    const gm_tensor_info *b = gm_tensor_find(file, "b");
    static const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal((uintptr_t)b->data % 4, 0);
    assert_memory_equal(b->data, expected, 8);
    gm_tensor_file_destroy(file);
    free(f.bytes);
}

static void metadata_is_decoded(void **state) {
    (void)state;
    image f = file_of("{\"__metadata__\":{\"k\":\"a\\n\\\"\\u00e9\\ud83d\\ude00\\/\",\"\":\"\xc3\xa9\"}}", 0);
    gm_tensor_file *file = accept(f);
    assert_string_equal(gm_tensor_meta(file, "k"), "a\n\"\xc3\xa9\xf0\x9f\x98\x80/");
    assert_string_equal(gm_tensor_meta(file, ""), "\xc3\xa9");
    assert_null(gm_tensor_meta(file, "x"));
    gm_tensor_file_destroy(file);
    free(f.bytes);
}

static void lengths_outside_the_file_are_refused(void **state) {
    (void)state;
    for (size_t n = 0; n < 8; n++) {
        image f = {malloc(n ? n : 1), n};
        memset(f.bytes, 0, n ? n : 1);
        refuse(f, "no safetensors file");
    }
    refuse(with_length("{}", 2, 100000001, 0), "100000001 bytes");
    refuse(with_length("{}", 2, 3, 0), "header of 3 bytes");
    refuse(with_length("{}", 2, UINT64_MAX, 0), "18446744073709551615");
    refuse(with_length("{}", 2, UINT64_MAX - 7, 0), "header of");
    refuse(with_length("", 0, 0, 0), "'{' as the first byte");
}

static void anything_but_strict_json_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *header, *says;
    } cases[] = {
        {" {}", "'{' as the first byte"},
        {"[]", "'{' as the first byte"},
        {"{}x", "nothing but spaces"},
        {"{}\n", "nothing but spaces"},
        {"{", "header ends"},
        {"{\"a", "end of a string"},
        {"{\"a\"", "':'"},
        {"{\"a\":", "'{'"},
        {"{\"a\":1}", "'{'"},
        {"{\"a\":[[[[[1]]]]]}", "'{'"},                                     // deeper than the format goes
        {"{\"a\":{\"dtype\":{\"x\":{\"y\":{}}}}}", "'\"'"},
        {"{\"a\":{\"shape\":[[[[1]]]]}}", "whole number"},
        {"{\"__metadata__\":{\"a\":{\"b\":{\"c\":{}}}}}", "'\"'"},
        {"{\"__metadata__\":{\"a\":1}}", "'\"'"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", "key is given twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", "given twice"},
        {"{\"__metadata__\":{\"a\":\"1\",}}", "'\"'"},
        {"{\"\xff\":{}}", "valid character"},                               // UTF-8: no such byte
        {"{\"\xc0\xaf\":{}}", "valid character"},                           // overlong
        {"{\"\xe0\x80\xaf\":{}}", "valid character"},
        {"{\"\xed\xa0\x80\":{}}", "valid character"},                       // surrogate
        {"{\"\xf4\x90\x80\x80\":{}}", "valid character"},                   // above U+10FFFF
        {"{\"\xc3\":{}}", "valid character"},                               // cut short
        {"{\"\xe2\x82", "valid character"},
        {"{\"\\x41\":{}}", "valid character"},
        {"{\"\\u12\":{}}", "valid character"},
        {"{\"\\ud800\":{}}", "valid character"},                            // half a pair
        {"{\"\\ud800\\u0041\":{}}", "valid character"},
        {"{\"\\udc00\":{}}", "valid character"},
        {"{\"\\", "valid character"},
        {"{\"a\\u0000b\":{}}", "control codes"},                            // names
        {"{\"a\\u001b[2Jb\":{}}", "control codes"},
        {"{\"a\\u007f\":{}}", "control codes"},
        {"{\"a\\u0085\":{}}", "control codes"},
        {"{\"a\nb\":{}}", "valid character"},
        {"{\"__metadata__\":{\"a\":\"\\u0000\"}}", "control codes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) refuse(file_of(cases[i].header, 0), cases[i].says);
}

static void numbers_are_whole_and_bounded(void **state) {
    (void)state;
    static const char *const numbers[] = {"1e3", "-1", "+1", "01", "1.0", "9007199254740993", "18446744073709551616",
                                          "0x1", "null", "\"1\"", ""};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char header[160];
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"U8\",\"shape\":[%s],\"data_offsets\":[0,1]}}", numbers[i]);
        const char *says = i == 0 || i == 4 || i == 7 ? "']'" : "number";
        if (numbers[i][0]) refuse(file_of(header, 1), says); // an empty shape is a scalar
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,%s]}}", numbers[i]);
        refuse(file_of(header, 1), says);
    }
}

static void tensors_must_fit_their_type_shape_and_place(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } cases[] = {
        {ONE("F32", "[8589934592,8589934592]", 0, 4), 4, "too large"}, // 2^33 * 2^33 * 4 wraps to 0
        {ONE("F32", "[0,8589934592,8589934592]", 0, 0), 0, "too large"}, // also beside a zero
        {ONE("F32", "[4611686018427387904]", 0, 0), 0, "2^53"},
        {ONE("F32", "[1,1,1,1,1,1,1,1,1]", 0, 4), 4, "more than 8"},
        {ONE("F99", "[1]", 0, 4), 4, "unknown dtype"},
        {ONE("f32", "[1]", 0, 4), 4, "unknown dtype"},
        {ONE("F32", "[2]", 0, 4), 4, "do not fit"},
        {ONE("F32", "[0]", 0, 4), 4, "do not fit"},
        {ONE("U8", "[1]", 4, 3), 4, "before they begin"},
        {ONE("U8", "[1]", 1, 2), 2, "leaves a hole"},
        {ONE("U8", "[1]", 0, 1), 2, "1 bytes behind the last"},
        {ONE("U8", "[2]", 0, 2), 1, "behind the end of the file"},
        {ONE("U8", "[9007199254740992]", 0, 9007199254740992), 1, "behind the end of the file"},
        {"{}", 1, "1 bytes behind the last"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "overlaps"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, "overlaps"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}", 3, "leaves a hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "given twice"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "all needed"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "key is given twice"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":\"y\"}}", 1, "unknown key"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "two numbers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "more than 2"},
        {"{\"a\":{}}", 0, "'\"'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuse(file_of(cases[i].header, cases[i].data), cases[i].says);
}

static void counts_and_lengths_are_capped(void **state) {
    (void)state;
    char name[400], header[600];
    memset(name, 'n', 257);
    name[257] = '\0';
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", name);
    refuse(file_of(header, 0), "longer than 256");
    name[256] = '\0';
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", name);
    image f = file_of(header, 0);
    gm_tensor_file_destroy(accept(f));
    free(f.bytes);
    // one tensor too many: they are empty, so only the header is large
    enum { EACH = 64, COUNT = GM_MAX_TENSORS + 1 };
    char *many = malloc((size_t)EACH * COUNT + 2);
    size_t used = 0;
    for (int i = 0; i < COUNT; i++)
        used += (size_t)snprintf(many + used, EACH + 1, "%c\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                                 i ? ',' : '{', i);
    snprintf(many + used, 2, "}");
    refuse(file_of(many, 0), "more than 65536 tensors");
    free(many);
}

static image two_tensors(void) {
    return file_of("{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                   "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]}}", 9);
}

static void every_cut_of_a_good_file_is_refused(void **state) {
    (void)state;
    image f = two_tensors();
    for (size_t n = 0; n < f.count; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, f.bytes, n);
        gm_tensor_file *file = NULL;
        assert_int_equal(gm_tensor_file_parse(cut, n, "cut", &file, NULL), GM_ERR_FORMAT);
        free(cut);
    }
    free(f.bytes);
}

static image parsed;
static gm_status parse(gm_error *err) {
    gm_tensor_file *file = NULL;
    gm_status status = gm_tensor_file_parse(parsed.bytes, parsed.count, "test", &file, err);
    gm_tensor_file_destroy(file);
    return status;
}

static void a_failing_allocation_is_an_error_and_leaks_nothing(void **state) {
    (void)state;
    parsed = two_tensors();
    with_failing_allocations(parse);
    free(parsed.bytes);
}

// ---------------------------------------------------------------------------------------------
static const float floats[6] = {1, -2, 3.5f, 0, 5, 6};
static const uint8_t bytes3[3] = {7, 8, 9};

static gm_status write_sample(const char *path, gm_error *err) {
    static const uint64_t matrix[] = {2, 3}, three[] = {3}, none[] = {0, 4};
    gm_tensor_writer *w = NULL;
    gm_status status = gm_tensor_writer_create(&w, err);
    if (!status) status = gm_tensor_writer_meta(w, "text", "a\"b\\c\n\x01\xc3\xa9", err);
    if (!status) status = gm_tensor_writer_add(w, "bytes", GM_U8, 1, three, bytes3, err);
    if (!status) status = gm_tensor_writer_add(w, "matrix", GM_F32, 2, matrix, floats, err);
    if (!status) status = gm_tensor_writer_add(w, "scalar", GM_F32, 0, NULL, floats + 2, err);
    if (!status) status = gm_tensor_writer_add(w, "nothing", GM_I64, 2, none, NULL, err);
    if (!status) return gm_tensor_writer_commit(w, path, err);
    gm_tensor_writer_destroy(w);
    return status;
}

static void what_is_written_reads_back(void **state) {
    (void)state;
    gm_error err = {0};
    if (write_sample(in_folder("t"), &err) != GM_OK) fail_msg("%s", err.text);
    gm_tensor_file *file = NULL;
    if (gm_tensor_file_read(in_folder("t"), &file, &err) != GM_OK) fail_msg("%s", err.text);
    assert_int_equal(gm_tensor_count(file), 4);
    assert_string_equal(gm_tensor_meta(file, "text"), "a\"b\\c\n\x01\xc3\xa9");
    const gm_tensor_info *m = gm_tensor_find(file, "matrix");
    assert_int_equal(m->rank, 2);
    assert_int_equal(m->dims[1], 3);
    assert_int_equal((uintptr_t)m->data % 64, 0);
    assert_memory_equal(m->data, floats, sizeof floats);
    assert_memory_equal(gm_tensor_find(file, "bytes")->data, bytes3, 3);
    assert_true(*(const float *)gm_tensor_find(file, "scalar")->data == 3.5f);
    assert_int_equal(gm_tensor_find(file, "nothing")->bytes, 0);
    gm_tensor_file_destroy(file);
}

static void the_writer_refuses_what_the_reader_would(void **state) {
    (void)state;
    static const uint64_t three[] = {3}, huge[] = {(uint64_t)1 << 40, (uint64_t)1 << 40};
    gm_tensor_writer *w = NULL;
    gm_error err = {0};
    assert_int_equal(gm_tensor_writer_create(&w, &err), GM_OK);
    assert_int_equal(gm_tensor_writer_add(w, "__metadata__", GM_U8, 1, three, bytes3, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_tensor_writer_add(w, "a\nb", GM_U8, 1, three, bytes3, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_tensor_writer_add(w, "\xff", GM_U8, 1, three, bytes3, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_tensor_writer_add(w, "a", GM_U8, 2, huge, bytes3, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_tensor_writer_add(w, "a", GM_U8, 9, three, bytes3, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_tensor_writer_add(w, "a", GM_U8, 1, three, NULL, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_tensor_writer_meta(w, "k", "v", &err), GM_OK);
    assert_int_equal(gm_tensor_writer_meta(w, "k", "v", &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_tensor_writer_add(w, "a", GM_U8, 1, three, bytes3, &err), GM_OK);
    assert_int_equal(gm_tensor_writer_add(w, "a", GM_U8, 1, three, bytes3, &err), GM_OK);
    assert_int_equal(gm_tensor_writer_commit(w, in_folder("twice"), &err), GM_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "two tensors are named a"));
    assert_false(gm_path_exists(in_folder("twice")));
}

// The same file in memory, in a block that is used again unless another holds it; and tensors that are made when they are needed.
static void count_up(const void *context, void *to) {
    const float *first = context;
    for (int i = 0; i < 5; i++) ((float *)to)[i] = *first + (float)i;
}

static void a_file_in_memory_has_the_bytes_of_the_file(void **state) {
    (void)state;
    const uint64_t five = 5, three = 3;
    const float first = 7;
    const uint8_t bytes3[] = {1, 2, 3};
    gm_tensor_image *image = NULL, *held = NULL;
    uint8_t *file = NULL;
    size_t file_bytes = 0;
    gm_error err = {0};
    for (int round = 0; round < 3; round++) {
        gm_tensor_writer *w = NULL;
        if (round == 2) held = gm_tensor_image_hold(image);
        assert_int_equal(gm_tensor_writer_create(&w, &err), GM_OK);
        assert_int_equal(gm_tensor_writer_add(w, "small", GM_U8, 1, &three, bytes3, &err), GM_OK);
        assert_int_equal(gm_tensor_writer_add_filled(w, "made", GM_F32, 1, &five, count_up, &first, &err), GM_OK);
        const gm_tensor_image *before = image;
        assert_int_equal(gm_tensor_writer_image(w, &image, &err), GM_OK);
        assert_true((before == image) == (round == 1));
        assert_int_equal(gm_tensor_writer_commit(w, in_folder("image"), &err), GM_OK);
    }
    assert_int_equal(gm_file_read(in_folder("image"), 1 << 20, &file, &file_bytes, &err), GM_OK);
    assert_int_equal(file_bytes, image->bytes);
    assert_memory_equal(file, image->data, file_bytes);
    assert_memory_equal(file, held->data, file_bytes);
    gm_tensor_image_release(held);
    gm_tensor_file *f = NULL;
    assert_int_equal(gm_tensor_file_parse(image->data, image->bytes, "image", &f, &err), GM_OK);
    assert_true(((const float *)gm_tensor_find(f, "made")->data)[4] == 11);
    gm_tensor_file_destroy(f);
    gm_tensor_image_release(image);
    gm_free(file);
}

static gm_status write_it(gm_error *err) { return write_sample(in_folder("w"), err); }
static gm_status read_it(gm_error *err) {
    gm_tensor_file *file = NULL;
    gm_status status = gm_tensor_file_read(in_folder("t"), &file, err);
    gm_tensor_file_destroy(file);
    return status;
}

static void files_survive_failing_allocations(void **state) {
    (void)state;
    with_failing_allocations(write_it);
    assert_int_equal(write_sample(in_folder("t"), NULL), GM_OK);
    with_failing_allocations(read_it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_format_allows_is_read),
        cmocka_unit_test(views_hold_the_bytes_of_their_tensor_aligned_or_not),
        cmocka_unit_test(metadata_is_decoded),
        cmocka_unit_test(lengths_outside_the_file_are_refused),
        cmocka_unit_test(anything_but_strict_json_is_refused),
        cmocka_unit_test(numbers_are_whole_and_bounded),
        cmocka_unit_test(tensors_must_fit_their_type_shape_and_place),
        cmocka_unit_test(counts_and_lengths_are_capped),
        cmocka_unit_test(every_cut_of_a_good_file_is_refused),
        cmocka_unit_test(a_failing_allocation_is_an_error_and_leaks_nothing),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(the_writer_refuses_what_the_reader_would),
        cmocka_unit_test(a_file_in_memory_has_the_bytes_of_the_file),
        cmocka_unit_test(files_survive_failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
