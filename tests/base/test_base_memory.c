// SPDX-License-Identifier: Apache-2.0
#include "base_test.h"

static void blocks_are_aligned_zeroed_and_counted(void **state) {
    (void)state;
    size_t live = gm_alloc_live();
    const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 1000003, 5000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *dirty = gm_alloc(sizes[i], 1);
        assert_non_null(dirty);
        memset(dirty, 0xab, sizes[i]);
        gm_free(dirty);
        unsigned char *block = gm_alloc(sizes[i], 1);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 64, 0);
        assert_int_equal(gm_alloc_live(), live + 1);
        for (size_t k = 0; k < sizes[i]; k++) {
            if (block[k] != 0) fail_msg("byte %zu is not zero", k);
        }
        gm_free(block);
    }
    gm_free(NULL);
    assert_int_equal(gm_alloc_live(), live);
}

static void a_size_that_overflows_is_refused(void **state) {
    (void)state;
    assert_null(gm_alloc(SIZE_MAX / 2 + 1, 2));
    assert_null(gm_alloc(SIZE_MAX, 1)); // fits, but not with its padding
    int *block = gm_alloc(4, sizeof *block);
    block[3] = 7;
    assert_null(gm_realloc(block, 4, SIZE_MAX / 2, sizeof *block));
    assert_int_equal(block[3], 7); // the old block stays
    gm_free(block);
}

static void a_grown_block_keeps_its_content_and_is_zero_beyond(void **state) {
    (void)state;
    int *block = gm_realloc(NULL, 0, 3, sizeof *block);
    for (int i = 0; i < 3; i++) block[i] = i + 1;
    block = gm_realloc(block, 3, 1000, sizeof *block);
    for (int i = 0; i < 1000; i++) assert_int_equal(block[i], i < 3 ? i + 1 : 0);
    block = gm_realloc(block, 1000, 2, sizeof *block);
    assert_int_equal(block[1], 2);
    gm_free(block);
}

static void the_chosen_allocation_fails_and_no_other(void **state) {
    (void)state;
    gm_alloc_fail_at(3);
    void *a = gm_alloc(1, 1), *b = gm_alloc(1, 1), *c = gm_alloc(1, 1), *d = gm_alloc(1, 1);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_non_null(d);
    gm_free(a);
    gm_free(b);
    gm_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_zeroed_and_counted),
        cmocka_unit_test(a_size_that_overflows_is_refused),
        cmocka_unit_test(a_grown_block_keeps_its_content_and_is_zero_beyond),
        cmocka_unit_test(the_chosen_allocation_fails_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
