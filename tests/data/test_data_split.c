// SPDX-License-Identifier: Apache-2.0
// Splits, moments, orders.
#include "data_test.h"

#include <math.h>

enum { IMAGES = 500 };

static void every_image_is_in_exactly_one_part(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, 2, 1, 1);
    size_t live = gm_alloc_live();
    int first_val[100];
    for (int seed = 0; seed < 3; seed++) {
        int32_t *train, *val;
        int trains, vals, seen[IMAGES] = {0};
        assert_int_equal(
            gm_dataset_split(d, 100, (uint64_t)seed / 2, &train, &trains, &val, &vals, NULL),
            GM_OK);
        assert_int_equal(vals, 100);
        assert_int_equal(trains, IMAGES - 100);
        for (int i = 0; i < trains; i++) seen[train[i]]++;
        for (int i = 0; i < vals; i++) seen[val[i]]++;
        for (int i = 0; i < IMAGES; i++) assert_int_equal(seen[i], 1);
        if (seed == 0) memcpy(first_val, val, sizeof first_val);
        // seeds 0 and 1 are the same stream here, the third is another
        assert_int_equal(memcmp(first_val, val, sizeof first_val) == 0, seed < 2);
        gm_free(train);
        gm_free(val);
    }
    assert_int_equal(gm_alloc_live(), live);
    gm_dataset_destroy(d);
}

static void groups_never_straddle_a_split(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, 2, 1, 2);
    d->group = gm_alloc(IMAGES, sizeof *d->group);
    for (int i = 0; i < IMAGES; i++) d->group[i] = (i * 37 % IMAGES) / 30 * 1000 - 5;
    for (uint64_t seed = 0; seed < 10; seed++) {
        int32_t *train, *val;
        int trains, vals;
        assert_int_equal(gm_dataset_split(d, 100, seed, &train, &trains, &val, &vals, NULL), GM_OK);
        assert_int_equal(trains + vals, IMAGES);
        assert_in_range(vals, 100, 129); // whole groups of 30 (the last: 20)
        for (int i = 0; i < vals; i++)
            for (int k = 0; k < trains; k++)
                assert_int_not_equal(d->group[val[i]], d->group[train[k]]);
        gm_free(train);
        gm_free(val);
    }
    gm_dataset_destroy(d);
}

static void impossible_splits_are_refused(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, 2, 1, 3);
    int32_t *train, *val;
    int trains, vals;
    gm_error err;
    size_t live = gm_alloc_live();
    assert_int_equal(gm_dataset_split(d, IMAGES, 1, &train, &trains, &val, &vals, &err),
                     GM_ERR_RANGE);
    assert_int_equal(gm_dataset_split(d, -1, 1, &train, &trains, &val, &vals, &err), GM_ERR_RANGE);
    assert_int_equal(gm_dataset_split(d, 0, 1, &train, &trains, &val, &vals, &err), GM_OK);
    assert_int_equal(trains, IMAGES);
    assert_int_equal(vals, 0);
    gm_free(train);
    gm_free(val);
    for (long n = 1; n <= 6; n++) {
        gm_alloc_fail_at(n);
        assert_int_equal(gm_dataset_split(d, 9, 1, &train, &trains, &val, &vals, &err),
                         GM_ERR_MEMORY);
        gm_alloc_fail_at(0);
        assert_int_equal(gm_alloc_live(), live);
    }
    d->group = gm_alloc(IMAGES, sizeof *d->group); // all one group
    assert_int_equal(gm_dataset_split(d, 1, 1, &train, &trains, &val, &vals, &err), GM_ERR_RANGE);
    assert_says(err, "small", "hold out fewer");
    gm_dataset_destroy(d);
}

static void moments_are_those_of_the_given_images(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, 3, 3, 4);
    int32_t index[40];
    float mean[4], std[4];
    for (int i = 0; i < 40; i++) index[i] = (i * 13 + 5) % IMAGES;
    gm_dataset_moments(d, index, 40, mean, std);
    for (int c = 0; c < 3; c++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < 40; i++)
            for (int k = 0; k < 9; k++) sum += d->pixels[(index[i] * 9 + k) * 3 + c] / 255.0;
        for (int i = 0; i < 40; i++)
            for (int k = 0; k < 9; k++)
                squares += pow(d->pixels[(index[i] * 9 + k) * 3 + c] / 255.0 - sum / 360, 2);
        assert_true(fabs((double)mean[c] - sum / 360) < 1e-6);
        assert_true(fabs((double)std[c] - sqrt(squares / 360)) < 1e-6);
    }
    gm_dataset_destroy(d);
}

static void an_order_is_a_permutation_keyed_by_seed_and_epoch(void **state) {
    (void)state;
    int32_t order[4][IMAGES];
    gm_shuffle(order[0], IMAGES, 1, 0);
    gm_shuffle(order[1], IMAGES, 1, 1);
    gm_shuffle(order[2], IMAGES, 2, 0);
    gm_shuffle(order[3], IMAGES, 1, 0);
    for (int k = 0; k < 3; k++) {
        int seen[IMAGES] = {0};
        for (int i = 0; i < IMAGES; i++) seen[order[k][i]]++;
        for (int i = 0; i < IMAGES; i++) assert_int_equal(seen[i], 1);
        if (k) assert_memory_not_equal(order[0], order[k], sizeof order[0]);
    }
    assert_memory_equal(order[0], order[3], sizeof order[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_image_is_in_exactly_one_part),
        cmocka_unit_test(groups_never_straddle_a_split),
        cmocka_unit_test(impossible_splits_are_refused),
        cmocka_unit_test(moments_are_those_of_the_given_images),
        cmocka_unit_test(an_order_is_a_permutation_keyed_by_seed_and_epoch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
