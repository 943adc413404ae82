// SPDX-License-Identifier: Apache-2.0
// Choosing images by the margins of a few subnets: no bias, much less noise, and always as many as asked for.
#include "base/base_test.h"

#include <gamut/data.h>
#include <math.h>

#include "search/strata.h"

enum { IMAGES = 3000, PROBES = 8, SUBNETS = 40 };

static bool right[SUBNETS][IMAGES];
static float mean[IMAGES], deviation[IMAGES];

// Most images are easy or hopeless; subnets differ in the others. The first subnets are the probes.
static void make_subnets(void) {
    for (int i = 0; i < IMAGES; i++) {
        gm_rng rng = gm_rng_keyed(5, (uint64_t)i, 0, GM_RNG_TEST);
        float ease = gm_rng_normal(&rng) * 4 + 3, sum = 0, square = 0;
        for (int s = 0; s < SUBNETS; s++) {
            float margin = ease + gm_rng_normal(&rng) * 0.7f + 0.02f * (float)s;
            right[s][i] = margin > 0;
            if (s >= PROBES) continue;
            sum += margin;
            square += margin * margin;
        }
        mean[i] = sum / PROBES;
        deviation[i] = sqrtf(fmaxf(0, square / PROBES - mean[i] * mean[i]));
    }
}

static double whole(int s) {
    int sum = 0;
    for (int i = 0; i < IMAGES; i++) sum += right[s][i];
    return (double)sum / IMAGES;
}

// Error of the difference between neighbouring subnets, which is what a ranking is made of; *bias: mean error of an accuracy.
static double error_of(const int32_t *chosen, const double *weight, int count, double *bias) {
    double square = 0, last = 0;
    *bias = 0;
    for (int s = PROBES; s < SUBNETS; s++) {
        double sum = 0;
        for (int j = 0; j < count; j++) sum += weight[j] * right[s][chosen[j]];
        double error = sum - whole(s);
        if (s > PROBES) square += (error - last) * (error - last);
        *bias += error / (SUBNETS - PROBES);
        last = error;
    }
    return sqrt(square / (SUBNETS - PROBES - 1));
}

static void strata_beat_random_images_without_bias(void **state) {
    (void)state;
    enum { COUNT = 600, SEEDS = 40 };
    static int32_t chosen[IMAGES];
    static double weight[IMAGES];
    double strata = 0, plain = 0, bias = 0, most = 0;
    make_subnets();
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        double b;
        assert_int_equal(gm__strata_choose(mean, deviation, IMAGES, COUNT, seed, chosen, weight, NULL), GM_OK);
        strata += error_of(chosen, weight, COUNT, &b);
        bias += b;
        most = fmax(most, fabs(b));
        gm_shuffle(chosen, IMAGES, seed, 1);
        for (int j = 0; j < COUNT; j++) weight[j] = 1.0 / COUNT;
        plain += error_of(chosen, weight, COUNT, &b);
    }
    print_message("error of a difference: %.4f, at random %.4f; bias %.5f, at most %.4f\n", strata / SEEDS, plain / SEEDS,
                  bias / SEEDS, most);
    assert_true(strata < 0.6 * plain);
    assert_true(fabs(bias / SEEDS) < 0.002);
}

static void as_many_as_wanted_once_each(void **state) {
    (void)state;
    static const int wanted[] = {1, 9, 100, 1000, IMAGES - 1, IMAGES};
    static int32_t chosen[IMAGES];
    static double weight[IMAGES];
    static bool seen[IMAGES];
    make_subnets();
    for (int form = 0; form < 3; form++) { // as they are; all alike; not known
        for (int i = 0; i < IMAGES && form > 0; i++) mean[i] = deviation[i] = form == 1 ? 1 : 0;
        for (size_t k = 0; k < sizeof wanted / sizeof wanted[0]; k++) {
            double sum = 0;
            memset(seen, 0, sizeof seen);
            assert_int_equal(gm__strata_choose(mean, deviation, IMAGES, wanted[k], 1, chosen, weight, NULL), GM_OK);
            for (int j = 0; j < wanted[k]; j++) {
                assert_true(chosen[j] >= 0 && chosen[j] < IMAGES && !seen[chosen[j]] && weight[j] > 0);
                seen[chosen[j]] = true;
                sum += weight[j];
            }
            assert_float_equal(sum, 1, 1e-9);
        }
    }
    gm_error err;
    assert_int_equal(gm__strata_choose(mean, deviation, IMAGES, 0, 1, chosen, weight, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm__strata_choose(mean, deviation, IMAGES, IMAGES + 1, 1, chosen, weight, &err), GM_ERR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strata_beat_random_images_without_bias),
        cmocka_unit_test(as_many_as_wanted_once_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
