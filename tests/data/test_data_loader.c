// SPDX-License-Identifier: Apache-2.0
// The background loader gives exactly the batches that filling by hand gives, wherever it starts.
#include "data_test.h"

enum { IMAGES = 23, SIDE = 6, BATCH = 5, STEPS = IMAGES / BATCH };

static gm_augment busy(void) {
    gm_augment a = gm_augment_default();
    a.crop_pad = 1;
    a.flip = 1;
    a.mixup = 0.4f;
    return a;
}

static int wave(void *context, int epoch, int step) {
    const int *largest = context;
    return 3 + (epoch * 7 + step) % (*largest - 2);
}

static void assert_batch(const gm_batch *got, const gm_dataset *d, const int32_t *index, int count,
                         const gm_augment *a, int epoch, int step, gm_batch *want) {
    int32_t order[64];
    gm_shuffle(order, count, 3, epoch);
    gm_batch_fill(d, index, order + step * got->images, got->images, a, 3, epoch, step, want);
    assert_int_equal(got->epoch, epoch);
    assert_int_equal(got->step, step);
    assert_int_equal(got->height, want->height);
    assert_memory_equal(got->x, want->x, batch_bytes(want));
    assert_memory_equal(got->label, want->label, (size_t)want->images * sizeof *want->label);
    assert_memory_equal(got->label2, want->label2, (size_t)want->images * sizeof *want->label);
    assert_true(got->lam[0] == want->lam[0]);
}

static void batches_come_in_order_from_any_start(void **state) {
    (void)state;
    gm_dataset *d = small_set(40, SIDE, 3, 1);
    gm_augment a = busy();
    int32_t index[IMAGES];
    gm_batch want;
    size_t live = gm_alloc_live();
    for (int i = 0; i < IMAGES; i++) index[i] = 39 - i;
    assert_int_equal(gm_batch_init(&want, BATCH, SIDE, 3, GM_BF16, NULL), GM_OK);
    for (int start = 0; start < 3 * STEPS; start++) {
        gm_loader *l;
        // step may be given as the count since epoch 1
        assert_int_equal(
            gm_loader_create(d, index, IMAGES, BATCH, &a, GM_BF16, 3, 1, start, &l, NULL), GM_OK);
        for (int k = start; k < start + 2 * STEPS; k++)
            assert_batch(gm_loader_next(l), d, index, IMAGES, &a, 1 + k / STEPS, k % STEPS, &want);
        gm_loader_destroy(l);
    }
    gm_batch_fini(&want);
    assert_int_equal(gm_alloc_live(), live);
    gm_dataset_destroy(d);
}

static void a_batch_stays_as_it_is_until_the_next_call(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, SIDE, 3, 2);
    gm_augment a = busy();
    gm_loader *l;
    assert_int_equal(gm_loader_create(d, NULL, IMAGES, BATCH, &a, GM_F32, 3, 0, 0, &l, NULL),
                     GM_OK);
    for (int k = 0; k < 20; k++) {
        const gm_batch *b = gm_loader_next(l);
        size_t bytes = batch_bytes(b);
        void *copy = gm_alloc(bytes, 1);
        memcpy(copy, b->x, bytes);
        usleep(2000); // the thread has long filled what it may
        assert_memory_equal(copy, b->x, bytes);
        gm_free(copy);
    }
    gm_loader_destroy(l);
    gm_dataset_destroy(d);
}

static void resolution_follows_its_function(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, SIDE, 3, 3);
    gm_augment a = busy();
    gm_batch want;
    gm_loader *l;
    int largest = 9;
    a.resolution = largest;
    assert_int_equal(gm_batch_init(&want, BATCH, largest, 3, GM_F32, NULL), GM_OK);
    assert_int_equal(gm_loader_create(d, NULL, IMAGES, BATCH, &a, GM_F32, 3, 0, 0, &l, NULL),
                     GM_OK);
    gm_loader_set_resolution(l, wave, &largest);
    for (int k = 0; k < 30; k++) {
        a.resolution = wave(&largest, k / STEPS, k % STEPS);
        assert_batch(gm_loader_next(l), d, NULL, IMAGES, &a, k / STEPS, k % STEPS, &want);
    }
    gm_loader_destroy(l);
    int too_large = 100; // is cut to what fits, not written past the slot
    a.resolution = 0;
    assert_int_equal(gm_loader_create(d, NULL, IMAGES, BATCH, &a, GM_F32, 3, 0, 50, &l, NULL),
                     GM_OK);
    gm_loader_set_resolution(l, wave, &too_large);
    for (int k = 0; k < 30; k++) assert_in_range(gm_loader_next(l)->height, 3, SIDE);
    gm_loader_destroy(l);
    gm_batch_fini(&want);
    gm_dataset_destroy(d);
}

static void it_can_be_left_at_any_moment(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, SIDE, 3, 4);
    gm_augment a = busy();
    size_t live = gm_alloc_live();
    for (int k = 0; k < 60; k++) {
        gm_loader *l;
        assert_int_equal(gm_loader_create(d, NULL, IMAGES, IMAGES, &a, GM_F32, 3, 0, 0, &l, NULL),
                         GM_OK);
        for (int i = 0; i < k % 4; i++) assert_int_equal(gm_loader_next(l)->epoch, i);
        gm_loader_destroy(l);
        assert_int_equal(gm_alloc_live(), live);
    }
    gm_loader_destroy(NULL);
    gm_dataset_destroy(d);
}

static void wrong_requests_and_failed_allocations_are_errors(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, SIDE, 3, 5);
    gm_augment a = busy();
    gm_loader *l;
    gm_error err;
    size_t live = gm_alloc_live();
    assert_int_equal(gm_loader_create(d, NULL, IMAGES, IMAGES + 1, &a, GM_F32, 3, 0, 0, &l, &err),
                     GM_ERR_RANGE);
    assert_says(err, "24", "23");
    assert_int_equal(gm_loader_create(d, NULL, IMAGES, 0, &a, GM_F32, 3, 0, 0, &l, &err),
                     GM_ERR_RANGE);
    assert_int_equal(gm_loader_create(d, NULL, IMAGES, 1, &a, GM_F32, 3, -1, 0, &l, &err),
                     GM_ERR_RANGE);
    for (long n = 1; n <= 6; n++) {
        gm_alloc_fail_at(n);
        assert_int_equal(gm_loader_create(d, NULL, IMAGES, 1, &a, GM_F32, 3, 0, 0, &l, &err),
                         GM_ERR_MEMORY);
        gm_alloc_fail_at(0);
        assert_null(l);
        assert_int_equal(gm_alloc_live(), live);
    }
    gm_dataset_destroy(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_in_order_from_any_start),
        cmocka_unit_test(a_batch_stays_as_it_is_until_the_next_call),
        cmocka_unit_test(resolution_follows_its_function),
        cmocka_unit_test(it_can_be_left_at_any_moment),
        cmocka_unit_test(wrong_requests_and_failed_allocations_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
