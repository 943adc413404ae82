// SPDX-License-Identifier: Apache-2.0
// The published sets, where they are on this machine: counts, class balance and pixel statistics as
// everybody has them.
#include "data_test.h"

#include <math.h>

static void check(const char *name, gm_part part, int images, int channels, const float *mean,
                  const float *std, int per_class) {
    gm_dataset *d;
    gm_error err;
    gm_status status = gm_dataset_load(name, NULL, part, 0, &d, &err);
    if (status == GM_ERR_NOT_FOUND) {
        print_message("skipped: needs %s (%s)\n", name, err.text);
        skip();
    }
    if (status != GM_OK) fail_msg("%s", err.text);
    assert_int_equal(d->images, images);
    assert_int_equal(d->channels, channels);
    int of_class[100] = {0};
    for (int i = 0; i < images; i++) of_class[d->labels[i]]++;
    for (int c = 0; c < d->classes; c++) assert_int_equal(of_class[c], per_class);
    float m[4], s[4];
    gm_dataset_moments(d, NULL, images, m, s);
    for (int c = 0; c < channels; c++) {
        assert_true(fabsf(m[c] - mean[c]) < 1e-4f);
        assert_true(fabsf(s[c] - std[c]) < 1e-4f);
    }
    gm_dataset_destroy(d);
}

static void fashion_mnist_is_whole(void **state) {
    (void)state;
    check("fashion-mnist", GM_PART_TRAIN, 60000, 1, (float[]){0.2860f}, (float[]){0.3530f}, 6000);
    check("fashion-mnist", GM_PART_TEST, 10000, 1, (float[]){0.2868f}, (float[]){0.3524f}, 1000);
}

static void cifar10_is_whole(void **state) {
    (void)state;
    check("cifar10", GM_PART_TRAIN, 50000, 3, (float[]){0.4914f, 0.4822f, 0.4465f},
          (float[]){0.2470f, 0.2435f, 0.2616f}, 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fashion_mnist_is_whole),
        cmocka_unit_test(cifar10_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
