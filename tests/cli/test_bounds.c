// SPDX-License-Identifier: Apache-2.0
// What counts as a rise of a loss, and what may be: of it what exceeds its standard error over the images; more of it early in a
// training than late.
#include "base/base_test.h"

#include <math.h>

#include "cli/run_store.h"

enum { IMAGES = 400 };

// What a change counts for that adds `rise` on average, and `noise` to either side from image to image.
static double counted(double rise, double noise) {
    float before[IMAGES], now[IMAGES];
    double mean = 0;
    for (int i = 0; i < IMAGES; i++) {
        before[i] = 0.01f * (float)(i % 37);
        now[i] = before[i] + (float)(rise + (i & 1 ? noise : -noise));
        mean += (double)before[i] / IMAGES;
    }
    return gm__beyond_doubt(before, now, IMAGES) - mean;
}

static void a_rise_counts_beyond_its_standard_error(void **state) {
    (void)state;
    const double error = 0.4 / sqrt(IMAGES - 1); // of the mean of +-0.4
    assert_float_equal(counted(0, 0), 0, 1e-6);
    assert_float_equal(counted(0.03, 0), 0.03, 1e-6); // all images agree: no doubt
    assert_float_equal(counted(0.03, 0.4), 0.03 - error, 1e-6);
    assert_float_equal(counted(0.5 * error, 0.4), 0, 1e-6); // nothing that could not be chance
    assert_float_equal(counted(-0.03, 0.4), -0.03, 1e-6);   // a fall is not argued with
    const float one = 2, two = 3;
    assert_float_equal(gm__beyond_doubt(&one, &two, 1), 3, 1e-9);
}

static void the_bound_falls_with_the_square_of_the_learning_rate(void **state) {
    (void)state;
    gm__run_store s = {.settings = {.max_drop = 0.01}, .early = 0.2 - 0.01, .warmup = 1};
    assert_float_equal(gm__run_store_bound(&s, 0.25, 0.25), 0.2, 1e-12); // warming up: all of the training is still to come
    assert_float_equal(gm__run_store_bound(&s, 1, 1), 0.2, 1e-12);
    assert_float_equal(gm__run_store_bound(&s, 5, 0.5), 0.01 + 0.19 / 4, 1e-12);
    assert_float_equal(gm__run_store_bound(&s, 10, 0), 0.01, 1e-12);
    s.early = 0;
    assert_float_equal(gm__run_store_bound(&s, 0.25, 1), 0.01, 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_rise_counts_beyond_its_standard_error),
                                       cmocka_unit_test(the_bound_falls_with_the_square_of_the_learning_rate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
