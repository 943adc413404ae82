// SPDX-License-Identifier: Apache-2.0
// A file is whole or absent, whatever happens to its writer.
#include "base_test.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { BIG = 700001 }; // several buffers and a bit

static uint8_t big[BIG];

static int fill_big(void **state) {
    gm_rng rng = gm_rng_keyed(3, 0, 0, GM_RNG_TEST);
    for (size_t i = 0; i < BIG; i++) big[i] = (uint8_t)gm_rng_u32(&rng);
    signal(SIGXFSZ, SIG_IGN); // the write then fails with EFBIG instead
    return make_folder(state);
}

static int clean(void **state) {
    (void)state;
    empty_folder();
    return 0;
}

static void expect_content(const char *path, const void *expected, size_t expected_bytes) {
    uint8_t *data;
    size_t bytes;
    gm_error err;
    if (gm_file_read(path, 1 << 24, &data, &bytes, &err) != GM_OK) fail_msg("%s", err.text);
    assert_int_equal(bytes, expected_bytes);
    assert_memory_equal(data, expected, bytes);
    assert_int_equal(data[bytes], 0);
    gm_free(data);
}

static void what_is_written_is_read(void **state) {
    (void)state;
    const char *path = in_folder("a");
    assert_int_equal(gm_file_write(path, "", 0, NULL), GM_OK);
    expect_content(path, "", 0);
    assert_int_equal(gm_file_write(path, big, BIG, NULL), GM_OK);
    expect_content(path, big, BIG);
    gm_writer *w; // in pieces of all sizes
    assert_int_equal(gm_writer_open(path, &w, NULL), GM_OK);
    size_t done = 0, piece = 1;
    while (done < BIG) {
        size_t n = piece < BIG - done ? piece : BIG - done;
        assert_int_equal(gm_writer_write(w, big + done, n, NULL), GM_OK);
        done += n;
        piece = piece * 3 % 300007 + 1;
    }
    assert_int_equal(gm_writer_commit(w, NULL), GM_OK);
    expect_content(path, big, BIG);
    assert_int_equal(count_entries(), 1);
}

static void an_aborted_write_changes_nothing(void **state) {
    (void)state;
    const char *path = in_folder("a");
    gm_file_write(path, "old", 3, NULL);
    gm_writer *w;
    assert_int_equal(gm_writer_open(path, &w, NULL), GM_OK);
    gm_writer_write(w, big, BIG, NULL);
    expect_content(path, "old", 3); // not before the commit
    gm_writer_abort(w);
    gm_writer_abort(NULL);
    expect_content(path, "old", 3);
    assert_int_equal(count_entries(), 1);
}

// A limit on file size fails a write in its midst, as a full disk does.
static void a_full_disk_loses_nothing(void **state) {
    (void)state;
    const char *path = in_folder("a");
    gm_file_write(path, "old", 3, NULL);
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    for (rlim_t limit = 0; limit < BIG; limit += 99999) {
        small = (struct rlimit){limit, before.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        gm_error err = {0};
        size_t live = gm_alloc_live();
        gm_status status = gm_file_write(path, big, BIG, &err);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_int_equal(status, GM_ERR_IO);
        assert_non_null(strstr(err.text, path));
        assert_int_equal(gm_alloc_live(), live);
        expect_content(path, "old", 3);
        assert_int_equal(count_entries(), 1);
    }
}

static void a_writer_that_failed_never_commits(void **state) {
    (void)state;
    const char *path = in_folder("a");
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){1000, before.rlim_max};
    gm_writer *w;
    assert_int_equal(gm_writer_open(path, &w, NULL), GM_OK);
    setrlimit(RLIMIT_FSIZE, &small);
    gm_status first = gm_writer_write(w, big, BIG, NULL);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(first, GM_ERR_IO);
    assert_int_equal(gm_writer_write(w, "x", 1, NULL), GM_ERR_STATE);
    assert_int_equal(gm_writer_commit(w, NULL), GM_ERR_STATE);
    assert_int_equal(count_entries(), 0);
}

static void places_that_cannot_be_written_say_so(void **state) {
    (void)state;
    gm_error err;
    gm_file_write(in_folder("file"), "x", 1, NULL);
    const char *bad[] = {in_folder("missing/a"), in_folder("file/a")};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gm_file_write(bad[i], "x", 1, &err), GM_ERR_IO);
        assert_non_null(strstr(err.text, bad[i]));
    }
    // Renaming over these would replace a device or fail late.
    assert_int_equal(gm_file_write("/dev/null", "x", 1, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_file_write(test_folder, "x", 1, &err), GM_ERR_ARGUMENT);
    assert_true(gm_path_is_folder(test_folder));
    char *endless = malloc(10000);
    memset(endless, 'a', 9999);
    endless[9999] = '\0';
    assert_int_equal(gm_file_write(endless, "x", 1, &err), GM_ERR_ARGUMENT);
    endless[400] = '\0'; // longer than a name may be
    assert_int_equal(gm_file_write(endless, "x", 1, &err), GM_ERR_IO);
    free(endless);
}

static void a_rename_that_fails_leaves_nothing_behind(void **state) {
    (void)state;
    const char *path = in_folder("a");
    gm_writer *w;
    assert_int_equal(gm_writer_open(path, &w, NULL), GM_OK);
    gm_writer_write(w, "new", 3, NULL);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(gm_writer_commit(w, NULL), GM_ERR_IO);
    assert_int_equal(count_entries(), 1);
}

static void two_writers_do_not_mix(void **state) {
    (void)state;
    const char *path = in_folder("a");
    gm_writer *w1, *w2;
    assert_int_equal(gm_writer_open(path, &w1, NULL), GM_OK);
    assert_int_equal(gm_writer_open(path, &w2, NULL), GM_OK);
    gm_writer_write(w1, big, BIG, NULL);
    gm_writer_write(w2, big, 1000, NULL);
    assert_int_equal(gm_writer_commit(w1, NULL), GM_OK);
    expect_content(path, big, BIG);
    assert_int_equal(gm_writer_commit(w2, NULL), GM_OK);
    expect_content(path, big, 1000);
    assert_int_equal(count_entries(), 1);
}

static void links_and_modes_stay(void **state) {
    (void)state;
    const char *path = in_folder("a"), *link = in_folder("link");
    gm_file_write(path, "old", 3, NULL);
    chmod(path, 0640);
    assert_int_equal(symlink("a", link), 0);
    assert_int_equal(gm_file_write(link, "new", 3, NULL), GM_OK);
    struct stat info;
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    expect_content(path, "new", 3);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

// A child rewrites a file with blocks of one letter until it is killed, at some moment.
static void a_killed_writer_leaves_a_whole_file(void **state) {
    (void)state;
    const char *path = in_folder("a");
    gm_rng rng = gm_rng_keyed(8, 0, 0, GM_RNG_TEST);
    memset(big, 'a', BIG);
    gm_file_write(path, big, BIG, NULL);
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        if (child == 0) {
            for (int letter = 0;; letter++) {
                memset(big, 'a' + letter % 26, BIG);
                if (gm_file_write(path, big, BIG, NULL) != GM_OK) _exit(1);
            }
        }
        usleep(1000 + gm_rng_below(&rng, 10000));
        kill(child, SIGKILL);
        int how;
        waitpid(child, &how, 0);
        assert_true(WIFSIGNALED(how)); // it never failed by itself
        uint8_t *data;
        size_t bytes;
        assert_int_equal(gm_file_read(path, 1 << 24, &data, &bytes, NULL), GM_OK);
        assert_int_equal(bytes, BIG);
        for (size_t i = 1; i < bytes; i++) assert_int_equal(data[i], data[0]);
        gm_free(data);
        assert_true(count_entries() <= 2); // at most one leftover, used again by the next writer
    }
    assert_int_equal(gm_file_write(path, "new", 3, NULL), GM_OK);
    assert_int_equal(count_entries(), 1);
}

static gm_status write_something(gm_error *err) {
    return gm_file_write(in_folder("a"), "new", 3, err);
}

static void writing_survives_failing_allocations(void **state) {
    (void)state;
    with_failing_allocations(write_something);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_is_written_is_read, clean),
        cmocka_unit_test_teardown(an_aborted_write_changes_nothing, clean),
        cmocka_unit_test_teardown(a_full_disk_loses_nothing, clean),
        cmocka_unit_test_teardown(a_writer_that_failed_never_commits, clean),
        cmocka_unit_test_teardown(places_that_cannot_be_written_say_so, clean),
        cmocka_unit_test_teardown(a_rename_that_fails_leaves_nothing_behind, clean),
        cmocka_unit_test_teardown(two_writers_do_not_mix, clean),
        cmocka_unit_test_teardown(links_and_modes_stay, clean),
        cmocka_unit_test_teardown(a_killed_writer_leaves_a_whole_file, clean),
        cmocka_unit_test_teardown(writing_survives_failing_allocations, clean),
    };
    return cmocka_run_group_tests(tests, fill_big, remove_folder);
}
