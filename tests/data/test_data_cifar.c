// SPDX-License-Identifier: Apache-2.0
// CIFAR records: planes become interleaved pixels, labels are checked, cut files refused.
#include "data_test.h"

enum { PLANE = 1024 };

static void planes_become_pixels(void **state) {
    (void)state;
    for (int classes = 10; classes <= 100; classes += 90) {
        size_t marks = classes == 100 ? 2 : 1, record = marks + 3 * PLANE;
        uint8_t *bytes = gm_alloc(3, record);
        gm_dataset *d;
        gm_error err;
        int images;
        for (size_t i = 0; i < 3 * record; i++) bytes[i] = (uint8_t)(i * 2654435761u >> 13);
        for (size_t i = 0; i < 3; i++)
            bytes[i * record + marks - 1] = (uint8_t)(classes - 1 - (int)i);
        assert_int_equal(gm__dataset_new("c", 4, 32, 32, 3, classes, false, &d, NULL), GM_OK);
        assert_int_equal(gm__cifar_parse("f", bytes, 3 * record, d, 1, &images, &err), GM_OK);
        assert_int_equal(images, 3);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(d->labels[1 + i], classes - 1 - (int)i);
            for (size_t k = 0; k < PLANE; k++)
                for (size_t c = 0; c < 3; c++)
                    assert_int_equal(d->pixels[((1 + i) * PLANE + k) * 3 + c],
                                     bytes[i * record + marks + c * PLANE + k]);
        }
        gm_dataset_destroy(d);
        gm_free(bytes);
    }
}

static void wrong_records_are_refused(void **state) {
    (void)state;
    enum { RECORD = 1 + 3 * PLANE };
    uint8_t *bytes = gm_alloc(3, RECORD);
    gm_dataset *d;
    gm_error err;
    int images;
    assert_int_equal(gm__dataset_new("c", 2, 32, 32, 3, 10, false, &d, NULL), GM_OK);
    assert_int_equal(gm__cifar_parse("f", bytes, 0, d, 0, &images, &err), GM_ERR_FORMAT);
    assert_int_equal(gm__cifar_parse("f", bytes, 2 * RECORD - 1, d, 0, &images, &err),
                     GM_ERR_FORMAT);
    assert_says(err, "f:", "offset 6145");
    assert_int_equal(gm__cifar_parse("f", bytes, 3 * RECORD, d, 0, &images, &err), GM_ERR_FORMAT);
    assert_int_equal(gm__cifar_parse("f", bytes, 2 * RECORD, d, 1, &images, &err), GM_ERR_FORMAT);
    bytes[RECORD] = 10;
    assert_int_equal(gm__cifar_parse("f", bytes, 2 * RECORD, d, 0, &images, &err), GM_ERR_FORMAT);
    assert_says(err, "label 10", "offset 3073");
    gm_dataset_destroy(d);
    gm_free(bytes);
}

static void a_file_with_too_few_images_is_refused(void **state) {
    (void)state;
    gm_dataset *d;
    gm_error err;
    size_t live = gm_alloc_live();
    uint8_t *bytes = gm_alloc(2, 3073);
    put_file("cifar10/test_batch.bin", bytes, 2 * 3073);
    gm_free(bytes);
    assert_int_equal(gm_dataset_load("cifar10", test_folder, GM_PART_TEST, 0, &d, &err),
                     GM_ERR_FORMAT);
    assert_says(err, "test_batch.bin", "offset 6146");
    assert_int_equal(gm_dataset_load("cifar10", test_folder, GM_PART_TRAIN, 0, &d, &err),
                     GM_ERR_NOT_FOUND);
    assert_says(err, "data_batch_1.bin", "");
    assert_int_equal(gm_alloc_live(), live);
}

static void cifar100_has_its_own_files_and_names(void **state) {
    (void)state;
    gm_dataset *d;
    gm_error err;
    uint8_t *bytes = gm_alloc(10000, 3074);
    for (size_t i = 0; i < 10000; i++) bytes[i * 3074 + 1] = (uint8_t)(i % 100);
    put_file("cifar-100-binary/test.bin", bytes, (size_t)10000 * 3074);
    gm_free(bytes);
    char names[100 * 4 + 1];
    for (int i = 0; i < 100; i++) sprintf(names + 4 * i, "c%02d\n", i);
    put_file("cifar-100-binary/fine_label_names.txt", names, 400);
    assert_int_equal(gm_dataset_load("cifar100", test_folder, GM_PART_TEST, 0, &d, &err), GM_OK);
    assert_int_equal(d->images, 10000);
    assert_int_equal(d->classes, 100);
    assert_int_equal(d->labels[199], 99);
    assert_string_equal(d->class_names[42], "c42");
    gm_dataset_destroy(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planes_become_pixels),
        cmocka_unit_test(wrong_records_are_refused),
        cmocka_unit_test(a_file_with_too_few_images_is_refused),
        cmocka_unit_test(cifar100_has_its_own_files_and_names),
    };
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
