// SPDX-License-Identifier: Apache-2.0
#include "base/philox.h"
#include "base_test.h"
#include <math.h>

// The vectors that the Random123 distribution publishes for philox4x32-10 (its kat_vectors file).
static void philox_gives_its_published_vectors(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t out[4];
        gm__philox(vectors[i].counter, vectors[i].key, out);
        for (int k = 0; k < 4; k++) assert_int_equal(out[k], vectors[i].expected[k]);
    }
}

// Pinned: other numbers would change every trained model and break resuming.
static void a_stream_never_changes(void **state) {
    (void)state;
    gm_rng rng = gm_rng_keyed(1, 2, 3, GM_RNG_TEST);
    const uint32_t expected[6] = {0xaf7f12de, 0x6090e966, 0xf45cd377,
                                  0xaaffb6ca, 0x7d88b32a, 0xb00be543};
    for (int i = 0; i < 6; i++) assert_int_equal(gm_rng_u32(&rng), expected[i]);
}

static void streams_differ_in_every_part_of_their_key(void **state) {
    (void)state;
    const uint64_t keys[][4] = {{1, 2, 3, 4}, {2, 2, 3, 4}, {1, 3, 3, 4}, {1, 2, 4, 4}, {1, 2, 3, 5},
                                {2, 1, 3, 4}, {1, 3, 2, 4}, {0, 0, 0, 0}, {1, 0, 0, 0}};
    uint64_t first[9];
    for (int i = 0; i < 9; i++) {
        gm_rng rng = gm_rng_keyed(keys[i][0], keys[i][1], keys[i][2], (uint32_t)keys[i][3]);
        gm_rng again = rng;
        first[i] = gm_rng_u64(&rng);
        assert_true(first[i] == gm_rng_u64(&again));
        for (int k = 0; k < i; k++) assert_true(first[i] != first[k]);
    }
}

static void below_is_even_and_within(void **state) {
    (void)state;
    gm_rng rng = gm_rng_keyed(11, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < 100; i++) assert_int_equal(gm_rng_below(&rng, 1), 0);
    for (int i = 0; i < 1000; i++) assert_true(gm_rng_below(&rng, 0x80000001u) < 0x80000001u);
    enum { CELLS = 13, DRAWS = 130000 };
    int count[CELLS] = {0};
    for (int i = 0; i < DRAWS; i++) count[gm_rng_below(&rng, CELLS)]++;
    double chi = 0, mean = (double)DRAWS / CELLS;
    for (int i = 0; i < CELLS; i++) chi += (count[i] - mean) * (count[i] - mean) / mean;
    assert_true(chi < 32.9); // 12 degrees of freedom: above this once in 1,000; the seed is fixed
}

static void uniform_fills_its_interval(void **state) {
    (void)state;
    gm_rng rng = gm_rng_keyed(5, 0, 0, GM_RNG_TEST);
    double sum = 0;
    float lowest = 1, highest = 0;
    for (int i = 0; i < 100000; i++) {
        float v = gm_rng_uniform(&rng);
        assert_true(v >= 0 && v < 1);
        sum += v;
        lowest = fminf(lowest, v);
        highest = fmaxf(highest, v);
    }
    assert_true(fabs(sum / 100000 - 0.5) < 0.003 && lowest < 0.001f && highest > 0.999f);
}

static void normal_has_the_moments_of_a_normal(void **state) {
    (void)state;
    gm_rng rng = gm_rng_keyed(6, 0, 0, GM_RNG_TEST);
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
    const int n = 200000;
    for (int i = 0; i < n; i++) {
        double v = (double)gm_rng_normal(&rng);
        assert_true(isfinite(v));
        m1 += v;
        m2 += v * v;
        m3 += v * v * v;
        m4 += v * v * v * v;
    }
    assert_true(fabs(m1 / n) < 0.01);
    assert_true(fabs(m2 / n - 1) < 0.015);
    assert_true(fabs(m3 / n) < 0.03);
    assert_true(fabs(m4 / n - 3) < 0.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_its_published_vectors),
        cmocka_unit_test(a_stream_never_changes),
        cmocka_unit_test(streams_differ_in_every_part_of_their_key),
        cmocka_unit_test(below_is_even_and_within),
        cmocka_unit_test(uniform_fills_its_interval),
        cmocka_unit_test(normal_has_the_moments_of_a_normal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
