// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of base: cmocka and its needs, a scratch folder, and failing allocations.
#ifndef GAMUT_TESTS_BASE_TEST_H
#define GAMUT_TESTS_BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <gamut/base.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A fresh folder under /tmp (or $TMPDIR); made by the setup of a group, removed by its teardown.
static char test_folder[PATH_MAX - 300];

__attribute__((unused)) static const char *in_folder(const char *name) {
    static char paths[4][PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, PATH_MAX, "%s/%s", test_folder, name);
    return path;
}

__attribute__((unused)) static int count_entries(void) {
    DIR *folder = opendir(test_folder);
    int n = 0;
    for (struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    closedir(folder);
    return n;
}

__attribute__((unused)) static void empty_folder(void) {
    DIR *folder = opendir(test_folder);
    for (struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        if (e->d_name[0] == '.' && (!e->d_name[1] || !strcmp(e->d_name, ".."))) continue;
        if (remove(in_folder(e->d_name)) != 0) fprintf(stderr, "left: %s\n", e->d_name);
    }
    closedir(folder);
}

__attribute__((unused)) static int make_folder(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(test_folder, sizeof test_folder, "%s/gamut-test-XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(test_folder) ? 0 : -1;
}

__attribute__((unused)) static int remove_folder(void **state) {
    (void)state;
    empty_folder();
    return rmdir(test_folder);
}

// Runs work once for every n with its n-th allocation failing, until it needs fewer than n. Each
// failure must be GM_ERR_MEMORY and leave no block behind.
__attribute__((unused)) static void with_failing_allocations(gm_status (*work)(gm_error *err)) {
    for (long n = 1;; n++) {
        assert_true(n < 1000);
        gm_error err = {0};
        size_t live = gm_alloc_live();
        gm_alloc_fail_at(n);
        gm_status status = work(&err);
        gm_alloc_fail_at(0);
        assert_int_equal(gm_alloc_live(), live);
        if (status == GM_OK) {
            assert_true(n > 1);
            return;
        }
        assert_int_equal(status, GM_ERR_MEMORY);
        assert_int_equal(err.status, GM_ERR_MEMORY);
        assert_string_not_equal(err.text, "");
    }
}

#endif
