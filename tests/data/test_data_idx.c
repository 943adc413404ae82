// SPDX-License-Identifier: Apache-2.0
// IDX files: what is right is read, what is wrong is refused with file and offset.
#include "data_test.h"

#include <zlib.h>

enum { IMAGES = 6, SIDE = 3, IMAGE_BYTES = 16 + IMAGES * SIDE * SIDE, LABEL_BYTES = 8 + IMAGES };

static void make_images(uint8_t *b) {
    static const uint8_t header[16] = {0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    memcpy(b, header, 16);
    for (int i = 16; i < IMAGE_BYTES; i++) b[i] = (uint8_t)(i * 7);
}

static void make_labels(uint8_t *b) {
    static const uint8_t header[8] = {0, 0, 8, 1, 0, 0, 0, IMAGES};
    memcpy(b, header, 8);
    for (int i = 0; i < IMAGES; i++) b[8 + i] = (uint8_t)(9 - i);
}

static void put_part(const char *images_name, const char *labels_name) {
    uint8_t images[IMAGE_BYTES], labels[LABEL_BYTES];
    make_images(images);
    make_labels(labels);
    put_file(images_name, images, sizeof images);
    put_file(labels_name, labels, sizeof labels);
}

static int prepare(void **state) {
    if (make_test_folder(state)) return -1;
    put_part("mnist/train-images-idx3-ubyte", "mnist/train-labels-idx1-ubyte");
    put_part("mnist/t10k-images-idx3-ubyte", "mnist/t10k-labels-idx1-ubyte");
    return 0;
}

static void plain_files_are_read(void **state) {
    (void)state;
    gm_dataset *d;
    gm_error err;
    size_t live = gm_alloc_live();
    assert_int_equal(gm_dataset_load("mnist", test_folder, GM_PART_TRAIN, 0, &d, &err), GM_OK);
    assert_string_equal(d->name, "mnist");
    assert_int_equal(d->images, IMAGES);
    assert_int_equal(d->height, SIDE);
    assert_int_equal(d->channels, 1);
    assert_int_equal(d->classes, 10);
    for (int i = 0; i < IMAGES; i++) assert_int_equal(d->labels[i], 9 - i);
    for (int i = 0; i < IMAGES * SIDE * SIDE; i++)
        assert_int_equal(d->pixels[i], (uint8_t)((16 + i) * 7));
    assert_string_equal(d->class_names[4], "4");
    gm_dataset_destroy(d);
    assert_int_equal(gm_alloc_live(), live);
}

static void compressed_files_are_read(void **state) {
    (void)state;
    uint8_t images[IMAGE_BYTES], labels[LABEL_BYTES];
    make_images(images);
    make_labels(labels);
    put_file("packed/fashion-mnist/t10k-labels-idx1-ubyte", labels, sizeof labels);
    put_file("packed/fashion-mnist/train-images-idx3-ubyte", images, 3); // only probed for
    gzFile file = gzopen(below("packed/fashion-mnist/t10k-images-idx3-ubyte.gz"), "wb");
    gzwrite(file, images, sizeof images);
    gzclose(file);
    gm_dataset *d;
    assert_int_equal(gm_dataset_load("fashion-mnist", below("packed"), GM_PART_TEST, 0, &d, NULL),
                     GM_OK);
    assert_memory_equal(d->pixels, images + 16, sizeof images - 16);
    gm_dataset_destroy(d);
}

static void every_cut_of_a_file_is_refused_at_its_end(void **state) {
    (void)state;
    uint8_t images[IMAGE_BYTES];
    make_images(images);
    for (size_t n = 0; n < sizeof images; n++) {
        gm__idx idx;
        gm_error err;
        char offset[32];
        snprintf(offset, sizeof offset, "offset %zu", n);
        assert_int_equal(gm__idx_parse("some-file", images, n, 3, &idx, &err), GM_ERR_FORMAT);
        assert_says(err, "some-file", offset);
    }
}

static void a_wrong_header_is_refused(void **state) {
    (void)state;
    static const struct {
        int at;
        uint8_t value;
        const char *says;
    } bad[] = {{0, 1, "offset 0"},    {2, 9, "offset 0"},   {3, 1, "offset 0"},
               {4, 0xff, "offset 4"}, {7, 0, "offset 4"},   {8, 0xff, "offset 8"},
               {11, 0, "offset 8"},   {14, 8, "offset 12"}, {7, 7, "its header"},
               {7, 5, "its header"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t images[IMAGE_BYTES];
        gm__idx idx;
        gm_error err;
        make_images(images);
        images[bad[i].at] = bad[i].value;
        assert_int_equal(gm__idx_parse("f", images, sizeof images, 3, &idx, &err), GM_ERR_FORMAT);
        assert_says(err, "f:", bad[i].says);
    }
}

static void labels_must_fit_images_and_classes(void **state) {
    (void)state;
    uint8_t labels[LABEL_BYTES];
    gm_dataset *d;
    gm_error err;
    size_t live = gm_alloc_live();
    make_labels(labels);
    labels[8 + 2] = 10;
    put_part("bad/train-images-idx3-ubyte", "bad/train-labels-idx1-ubyte");
    put_file("bad/train-labels-idx1-ubyte", labels, sizeof labels);
    assert_int_equal(gm_dataset_load("mnist", below("bad"), GM_PART_TRAIN, 0, &d, &err),
                     GM_ERR_FORMAT);
    assert_says(err, "train-labels", "offset 10");
    assert_null(d);
    labels[7] = IMAGES - 1;
    put_file("bad/train-labels-idx1-ubyte", labels, sizeof labels - 1);
    assert_int_equal(gm_dataset_load("mnist", below("bad"), GM_PART_TRAIN, 0, &d, &err),
                     GM_ERR_FORMAT);
    assert_says(err, "train-labels", "5 labels for 6 images");
    assert_int_equal(gm_alloc_live(), live);
}

static void what_is_not_there_says_where_it_was_looked_for(void **state) {
    (void)state;
    gm_dataset *d;
    gm_error err;
    assert_int_equal(gm_dataset_load("cifar10", test_folder, GM_PART_TRAIN, 0, &d, &err),
                     GM_ERR_NOT_FOUND);
    assert_says(err, test_folder, "cifar10/data_batch_1.bin");
    assert_int_equal(gm_dataset_load("imagenet", NULL, GM_PART_TRAIN, 0, &d, &err),
                     GM_ERR_ARGUMENT);
    assert_says(err, "imagenet", "fashion-mnist");
    assert_int_equal(gm_dataset_load("mnist", test_folder, GM_PART_TRAIN, -1, &d, &err),
                     GM_ERR_RANGE);
}

static void a_failed_allocation_is_an_error_and_leaks_nothing(void **state) {
    (void)state;
    size_t live = gm_alloc_live();
    int failures = 0;
    for (long n = 1;; n++) {
        gm_dataset *d;
        gm_alloc_fail_at(n);
        gm_status status = gm_dataset_load("mnist", test_folder, GM_PART_TRAIN, 0, &d, NULL);
        gm_alloc_fail_at(0);
        if (status == GM_OK) {
            gm_dataset_destroy(d);
            break;
        }
        failures++;
        assert_int_equal(status, GM_ERR_MEMORY);
        assert_null(d);
        assert_int_equal(gm_alloc_live(), live);
    }
    assert_true(failures > 10);
    assert_int_equal(gm_alloc_live(), live);
}

static void the_list_of_known_sets_tells_whole_from_cut(void **state) {
    (void)state;
    gm_dataset_status list[16];
    uint8_t images[IMAGE_BYTES];
    make_images(images);
    put_part("known/fashion-mnist/train-images-idx3-ubyte",
             "known/fashion-mnist/train-labels-idx1-ubyte");
    put_part("known/fashion-mnist/t10k-images-idx3-ubyte",
             "known/fashion-mnist/t10k-labels-idx1-ubyte");
    put_part("known/mnist/train-images-idx3-ubyte", "known/mnist/train-labels-idx1-ubyte");
    put_file("known/mnist/train-images-idx3-ubyte", images, IMAGE_BYTES - 1);
    setenv("GAMUT_DATA", below("known"), 1);
    int n = gm_dataset_known(list, 16);
    unsetenv("GAMUT_DATA");
    assert_in_range(n, 5, 16);
    for (int i = 0; i < n; i++) {
        bool fashion = strcmp(list[i].name, "fashion-mnist") == 0,
             mnist = strcmp(list[i].name, "mnist") == 0;
        assert_int_equal(list[i].found, fashion || mnist);
        assert_non_null(list[i].how_to_get);
        if (fashion) {
            assert_int_equal(list[i].train, IMAGES);
            assert_non_null(strstr(list[i].problem, "60000"));
        }
        if (mnist) assert_non_null(strstr(list[i].problem, "offset 69"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_files_are_read),
        cmocka_unit_test(compressed_files_are_read),
        cmocka_unit_test(every_cut_of_a_file_is_refused_at_its_end),
        cmocka_unit_test(a_wrong_header_is_refused),
        cmocka_unit_test(labels_must_fit_images_and_classes),
        cmocka_unit_test(what_is_not_there_says_where_it_was_looked_for),
        cmocka_unit_test(a_failed_allocation_is_an_error_and_leaks_nothing),
        cmocka_unit_test(the_list_of_known_sets_tells_whole_from_cut),
    };
    return cmocka_run_group_tests(tests, prepare, remove_test_folder);
}
