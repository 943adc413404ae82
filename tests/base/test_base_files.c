// SPDX-License-Identifier: Apache-2.0
// Reading files, compressed ones, folders.
#include "base_test.h"
#include <sys/stat.h>
#include <zlib.h>

enum { ROOM = 1 << 20 };

static int clean(void **state) {
    (void)state;
    empty_folder();
    return 0;
}

// One gzip member of the given bytes; returns its length.
static size_t pack(const void *data, size_t bytes, uint8_t *out, size_t room) {
    z_stream z = {0};
    deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)bytes;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static void files_that_cannot_be_read_say_why(void **state) {
    (void)state;
    uint8_t *data;
    size_t bytes;
    gm_error err;
    assert_int_equal(gm_file_read(in_folder("none"), 10, &data, &bytes, &err), GM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "none"));
    assert_null(data);
    assert_int_equal(gm_file_read(test_folder, 10, &data, &bytes, &err), GM_ERR_ARGUMENT);
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0); // must not wait for a writer
    assert_int_equal(gm_file_read(in_folder("pipe"), 10, &data, &bytes, &err), GM_ERR_ARGUMENT);
    gm_file_write(in_folder("a"), "12345", 5, NULL);
    assert_int_equal(gm_file_read(in_folder("a"), 4, &data, &bytes, &err), GM_ERR_RANGE);
    assert_non_null(strstr(err.text, "5 bytes"));
    assert_int_equal(gm_file_read(in_folder("a"), 5, &data, &bytes, &err), GM_OK);
    assert_string_equal((char *)data, "12345");
    gm_free(data);
}

static uint8_t text[5000], packed[20000];

static size_t make_text(void) {
    gm_rng rng = gm_rng_keyed(4, 0, 0, GM_RNG_TEST);
    for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)('a' + gm_rng_below(&rng, 7));
    return pack(text, sizeof text, packed, sizeof packed);
}

static gm_status read_packed(const uint8_t *bytes, size_t count, size_t most, uint8_t **data,
                             size_t *out, gm_error *err) {
    // Not the atomic writer, and a new file each time: syncs, and ext4's flush of a file that was cut, take time.
    remove(in_folder("t.gz"));
    FILE *file = fopen(in_folder("t.gz"), "wb");
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    fclose(file);
    return gm_file_read_gz(in_folder("t.gz"), most, data, out, err);
}

static void gzip_is_expanded(void **state) {
    (void)state;
    uint8_t *data;
    size_t bytes, n = make_text();
    gm_error err;
    assert_int_equal(read_packed(packed, n, sizeof text, &data, &bytes, &err), GM_OK);
    assert_int_equal(bytes, sizeof text);
    assert_memory_equal(data, text, bytes);
    assert_int_equal(data[bytes], 0);
    gm_free(data);
    assert_int_equal(read_packed(packed, n, sizeof text - 1, &data, &bytes, &err), GM_ERR_RANGE);
    assert_null(data);
    n = pack("", 0, packed, sizeof packed);
    assert_int_equal(read_packed(packed, n, 0, &data, &bytes, &err), GM_OK);
    assert_int_equal(bytes, 0);
    gm_free(data);
    // Without the ending, the bytes are taken as they are.
    gm_file_write(in_folder("plain"), "abc", 3, NULL);
    assert_int_equal(gm_file_read_gz(in_folder("plain"), 10, &data, &bytes, &err), GM_OK);
    assert_int_equal(bytes, 3);
    gm_free(data);
}

static void members_one_after_another_are_joined(void **state) {
    (void)state;
    size_t n = make_text(), bytes;
    n += pack("", 0, packed + n, sizeof packed - n);
    n += pack("tail", 4, packed + n, sizeof packed - n);
    uint8_t *data;
    assert_int_equal(read_packed(packed, n, ROOM, &data, &bytes, NULL), GM_OK);
    assert_int_equal(bytes, sizeof text + 4);
    assert_memory_equal(data + sizeof text, "tail", 5);
    gm_free(data);
    packed[n] = 'x';
    assert_int_equal(read_packed(packed, n + 1, ROOM, &data, &bytes, NULL), GM_ERR_FORMAT);
}

static void a_cut_file_is_refused_at_every_length(void **state) {
    (void)state;
    size_t n = make_text(), live = gm_alloc_live();
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *data;
        size_t bytes;
        gm_error err;
        assert_int_equal(read_packed(packed, cut, ROOM, &data, &bytes, &err), GM_ERR_FORMAT);
        assert_non_null(strstr(err.text, "t.gz"));
        assert_int_equal(gm_alloc_live(), live);
    }
}

static void damage_never_passes_as_other_content(void **state) {
    (void)state;
    size_t n = make_text(), live = gm_alloc_live();
    for (size_t i = 0; i < n; i++) {
        packed[i] ^= 0x10;
        uint8_t *data;
        size_t bytes;
        if (read_packed(packed, n, ROOM, &data, &bytes, NULL) == GM_OK) {
            assert_true(i < 10); // only header fields that do not matter, such as the time
            assert_memory_equal(data, text, sizeof text);
            gm_free(data);
        }
        packed[i] ^= 0x10;
        assert_int_equal(gm_alloc_live(), live);
    }
}

static void a_bomb_stops_at_the_bound(void **state) {
    (void)state;
    size_t zeros = 64u << 20;
    uint8_t *much = calloc(zeros, 1), *small = malloc(zeros / 512), *data;
    size_t n = pack(much, zeros, small, zeros / 512), bytes;
    free(much);
    assert_int_equal(read_packed(small, n, ROOM, &data, &bytes, NULL), GM_ERR_RANGE);
    // The trailer may lie about the length, too: the checksum still covers it.
    memset(small + n - 4, 0, 4);
    assert_int_equal(read_packed(small, n, zeros, &data, &bytes, NULL), GM_ERR_FORMAT);
    free(small);
}

static gm_status read_two_members(gm_error *err) {
    uint8_t *data;
    size_t bytes;
    gm_status status = gm_file_read_gz(in_folder("t.gz"), ROOM, &data, &bytes, err);
    gm_free(data);
    return status;
}

static void reading_survives_failing_allocations(void **state) {
    (void)state;
    uint8_t *data;
    size_t n = pack("head", 4, packed, sizeof packed), bytes;
    memset(text, 'z', sizeof text); // the second is larger than the first guess
    n += pack(text, sizeof text, packed + n, sizeof packed - n);
    n += pack("tail", 4, packed + n, sizeof packed - n);
    assert_int_equal(read_packed(packed, n, ROOM, &data, &bytes, NULL), GM_OK);
    gm_free(data);
    with_failing_allocations(read_two_members);
}

static void folders_are_made_with_their_parents(void **state) {
    (void)state;
    gm_error err;
    char deep[PATH_MAX];
    snprintf(deep, sizeof deep, "%s/x/y//z/", test_folder);
    assert_int_equal(gm_folder_create(deep, &err), GM_OK);
    assert_int_equal(gm_folder_create(deep, &err), GM_OK);
    assert_true(gm_path_is_folder(in_folder("x/y/z")));
    assert_true(gm_path_exists(in_folder("x")));
    assert_false(gm_path_exists(in_folder("w")));
    gm_file_write(in_folder("x/file"), "", 0, NULL);
    assert_false(gm_path_is_folder(in_folder("x/file")));
    assert_int_equal(gm_folder_create(in_folder("x/file/sub"), &err), GM_ERR_IO);
    assert_non_null(strstr(err.text, "x/file"));
    assert_int_equal(gm_folder_create("", &err), GM_ERR_ARGUMENT);
    remove(in_folder("x/file"));
    remove(in_folder("x/y/z"));
    remove(in_folder("x/y"));
}

typedef struct visits {
    char list[512];
    int stop_after;
} visits;

static bool visit(void *context, const char *folder) {
    visits *v = context;
    strcat(v->list, folder);
    strcat(v->list, "|");
    return --v->stop_after == 0;
}

static void data_folders_follow_the_environment(void **state) {
    (void)state;
    unsetenv("GAMUT_DATA");
    visits v = {.stop_after = -1};
    assert_false(gm_data_folders(visit, &v));
    assert_string_equal(v.list, "./build/data|../shared/data|/usr/share/datasets|");
    setenv("GAMUT_DATA", "/one::/two", 1);
    v = (visits){.stop_after = -1};
    assert_false(gm_data_folders(visit, &v));
    assert_string_equal(v.list, "/one|/two|");
    v = (visits){.stop_after = 1};
    assert_true(gm_data_folders(visit, &v));
    assert_string_equal(v.list, "/one|");
    unsetenv("GAMUT_DATA");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(files_that_cannot_be_read_say_why, clean),
        cmocka_unit_test_teardown(gzip_is_expanded, clean),
        cmocka_unit_test_teardown(members_one_after_another_are_joined, clean),
        cmocka_unit_test_teardown(a_cut_file_is_refused_at_every_length, clean),
        cmocka_unit_test_teardown(damage_never_passes_as_other_content, clean),
        cmocka_unit_test_teardown(a_bomb_stops_at_the_bound, clean),
        cmocka_unit_test_teardown(reading_survives_failing_allocations, clean),
        cmocka_unit_test_teardown(folders_are_made_with_their_parents, clean),
        cmocka_unit_test(data_folders_follow_the_environment),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
