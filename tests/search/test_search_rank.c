// SPDX-License-Identifier: Apache-2.0
// Isotonic fits, Pareto fronts, gaps between fronts, rank correlation, and profiles made monotone.
#include "search_test.h"

#include <math.h>

#include "sched/isotonic.h"

static void violators_are_pooled_to_their_mean(void **state) {
    (void)state;
    gm__isotonic_block scratch[8];
    double known[] = {1, 3, 2, 4}, falling[] = {4, 3, 2, 1}, long_run[] = {1, 2, 6, 2, 2, 2, 7};
    gm__isotonic(known, 4, 1, scratch);
    const double known_fit[] = {1, 2.5, 2.5, 4};
    for (int i = 0; i < 4; i++) assert_near(known[i], known_fit[i], 1e-12);
    gm__isotonic(falling, 4, 1, scratch);
    for (int i = 0; i < 4; i++) assert_near(falling[i], 2.5, 1e-12);
    gm__isotonic(long_run, 7, 1, scratch);
    const double long_fit[] = {1, 2, 3, 3, 3, 3, 7};
    for (int i = 0; i < 7; i++) assert_near(long_run[i], long_fit[i], 1e-12);
    double strided[] = {5, 0, 1, 0, 3, 0}; // a column of a table of two
    gm__isotonic(strided, 3, 2, scratch);
    assert_near(strided[0], 3, 1e-12);
    assert_near(strided[2], 3, 1e-12);
    assert_near(strided[4], 3, 1e-12);
    assert_near(strided[1], 0, 0);
}

static double squares(const double *a, const double *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

// Against random monotone tables: none is nearer to the numbers than the fit.
static void a_table_gets_the_nearest_monotone_one(void **state) {
    (void)state;
    enum { ROWS = 4, COLUMNS = 3, SIZE = ROWS * COLUMNS };
    gm_rng rng = gm_rng_keyed(5, 0, 0, GM_RNG_TEST);
    gm_error err = {0};
    for (int trial = 0; trial < 50; trial++) {
        double y[SIZE], fit[SIZE];
        for (int i = 0; i < SIZE; i++) y[i] = fit[i] = (double)gm_rng_normal(&rng) + 0.2 * i;
        assert_ok(gm__isotonic_table(fit, ROWS, COLUMNS, &err));
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < COLUMNS; c++) {
                if (r > 0) assert_true(fit[r * COLUMNS + c] >= fit[(r - 1) * COLUMNS + c]);
                if (c > 0) assert_true(fit[r * COLUMNS + c] >= fit[r * COLUMNS + c - 1]);
            }
        double best = squares(y, fit, SIZE);
        for (int other = 0; other < 200; other++) {
            double t[SIZE];
            for (int i = 0; i < SIZE; i++) t[i] = fit[i] + 0.1 * (double)gm_rng_normal(&rng);
            for (int r = 0; r < ROWS; r++)
                for (int c = 0; c < COLUMNS; c++) {
                    double *v = &t[r * COLUMNS + c];
                    if (r > 0) *v = fmax(*v, v[-COLUMNS]);
                    if (c > 0) *v = fmax(*v, v[-1]);
                }
            assert_true(squares(y, t, SIZE) >= best - 1e-6);
        }
    }
}

static void dominated_points_are_left_out(void **state) {
    (void)state;
    //                      0    1    2    3    4    5    6
    const double cost[] = {5.0, 1.0, 3.0, 3.0, 2.0, 4.0, 1.0}, value[] = {9.0, 2.0, 5.0, 6.0, 6.0, 6.0, 2.0};
    int index[7];
    int n = gm_pareto(7, cost, value, index);
    const int wanted[] = {1, 4, 0}; // 6 equals 1, 3 and 5 equal 4's value at a higher cost
    assert_int_equal(n, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(index[i], wanted[i]);
    assert_int_equal(gm_pareto(0, cost, value, index), 0);
}

static void a_gap_is_the_most_that_is_missing_at_any_cost(void **state) {
    (void)state;
    const double a_cost[] = {1, 3}, a_value[] = {80, 90}, b_cost[] = {1, 2, 3}, b_value[] = {80.2, 85, 90};
    assert_near(gm_front_gap(2, a_cost, a_value, 3, b_cost, b_value), 5, 1e-12); // at cost 2 there is only 80
    assert_near(gm_front_gap(3, b_cost, b_value, 2, a_cost, a_value), 0, 1e-12);
    const double cheap[] = {0.5}, cheap_value[] = {81};
    assert_near(gm_front_gap(2, a_cost, a_value, 1, cheap, cheap_value), 1, 1e-12); // compared with the cheapest point
    assert_true(isinf(gm_front_gap(0, NULL, NULL, 1, cheap, cheap_value)));
}

static void rank_correlation_matches_known_cases(void **state) {
    (void)state;
    const double up[] = {1, 2, 3, 4}, down[] = {4, 3, 2, 1}, one_swap[] = {1, 3, 2, 4}, ties[] = {1, 1, 2, 2}, flat[] = {1, 1, 1, 1};
    assert_near(gm_kendall_tau(4, up, up), 1, 1e-12);
    assert_near(gm_kendall_tau(4, up, down), -1, 1e-12);
    assert_near(gm_kendall_tau(4, up, one_swap), 4.0 / 6, 1e-12);
    assert_near(gm_kendall_tau(4, up, ties), 4 / sqrt(6 * 4), 1e-12);
    assert_true(isnan(gm_kendall_tau(4, up, flat)));
}

// ---------------------------------------------------------------------------------------------
static gm_profile noisy_profile(int subnets, uint64_t seed) {
    gm_profile p = {.batches = 4, .batch = {1, 2, 4, 8}, .threads = 1, .subnets = subnets};
    gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
    p.subnet = gm_alloc((size_t)subnets, sizeof *p.subnet);
    for (int i = 0; i < subnets; i++) {
        gm_profile_subnet *s = &p.subnet[i];
        int place = (i * 7) % subnets; // not in order
        s->id = (uint64_t)i;
        s->top1 = 60 + 30.0 * place / subnets + (double)gm_rng_normal(&rng);
        for (int b = 0; b < p.batches; b++) {
            double ms = (1 + place) * (1 + 0.8 * p.batch[b]) * exp(0.2 * (double)gm_rng_normal(&rng));
            s->p50_ns[b] = llround(1e6 * ms);
            s->p99_ns[b] = llround(1e6 * ms * (1 + (double)gm_rng_uniform(&rng)));
        }
    }
    return p;
}

static void assert_monotone(const gm_profile *p) {
    for (int i = 0; i < p->subnets; i++) {
        const gm_profile_subnet *s = &p->subnet[i];
        for (int b = 0; b < p->batches; b++) {
            assert_true(s->p50_ns[b] >= 1 && s->p99_ns[b] >= s->p50_ns[b]);
            if (b > 0) assert_true(s->p50_ns[b] >= s->p50_ns[b - 1] && s->p99_ns[b] >= s->p99_ns[b - 1]);
            if (i > 0) assert_true(s->p50_ns[b] >= s[-1].p50_ns[b] && s->p99_ns[b] >= s[-1].p99_ns[b]);
        }
        if (i > 0) assert_true(s->top1 > s[-1].top1);
    }
}

static void a_noisy_profile_becomes_a_front_that_ascends(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        gm_error err = {0};
        gm_profile p = noisy_profile(25, seed);
        assert_ok(gm_profile_regularise(&p, &err));
        assert_monotone(&p);
        assert_true(p.subnets >= 2 && p.subnets <= 25);
        // once more changes nothing
        gm_profile again = p;
        again.subnet = gm_alloc((size_t)p.subnets, sizeof *again.subnet);
        memcpy(again.subnet, p.subnet, (size_t)p.subnets * sizeof *p.subnet);
        assert_ok(gm_profile_regularise(&again, &err));
        assert_int_equal(again.subnets, p.subnets);
        for (int i = 0; i < p.subnets; i++) assert_true(llabs(again.subnet[i].p50_ns[2] - p.subnet[i].p50_ns[2]) <= 1);
        gm_profile_fini(&again);
        gm_profile_fini(&p);
    }
}

static void a_slower_and_less_accurate_subnet_is_dropped(void **state) {
    (void)state;
    gm_error err = {0};
    gm_profile p = noisy_profile(3, 1);
    const double top1[] = {70, 69, 80};
    for (int i = 0; i < 3; i++) {
        p.subnet[i].top1 = top1[i];
        for (int b = 0; b < 4; b++) p.subnet[i].p50_ns[b] = p.subnet[i].p99_ns[b] = 1000 * (i == 0 ? 1 : i == 1 ? 2 : 3) * p.batch[b];
    }
    assert_ok(gm_profile_regularise(&p, &err));
    assert_int_equal(p.subnets, 2);
    assert_int_equal(p.subnet[0].id, 0);
    assert_int_equal(p.subnet[1].id, 2);
    assert_int_equal(p.subnet[1].p50_ns[3], 24000); // exact numbers stay as they are
    gm_profile_fini(&p);
}

static void the_tail_is_that_of_the_middle_cell(void **state) {
    (void)state;
    gm_profile p = noisy_profile(200, 1), none = {0};
    for (int i = 0; i < 200; i++)
        for (int b = 0; b < p.batches; b++) {
            p.subnet[i].p50_ns[b] = 1000 * (i + 1);
            p.subnet[i].p99_ns[b] = p.subnet[i].p50_ns[b] * (i % 10 == 0 ? 40 : 2);
        }
    assert_true(gm_profile_tail(&p) == 2);
    assert_true(gm_profile_tail(&none) == 1);
    gm_profile_fini(&p);
}

static void a_profile_that_cannot_be_is_refused(void **state) {
    (void)state;
    gm_error err = {0};
    gm_profile p = noisy_profile(3, 1);
    p.subnet[1].p99_ns[2] = 0;
    assert_int_equal(gm_profile_regularise(&p, &err), GM_ERR_RANGE);
    p.subnet[1].p99_ns[2] = 5;
    p.subnet[2].top1 = NAN;
    assert_int_equal(gm_profile_regularise(&p, &err), GM_ERR_RANGE);
    p.subnet[2].top1 = 50;
    p.batch[0] = 2;
    assert_int_equal(gm_profile_regularise(&p, &err), GM_ERR_RANGE);
    p.batch[0] = 1;
    gm_profile empty = {.batches = 1, .batch = {1}};
    assert_int_equal(gm_profile_regularise(&empty, &err), GM_ERR_RANGE);
    for (long n = 1; n < 20; n++) { // a failed allocation leaves the profile whole
        gm_alloc_fail_at(n);
        gm_status status = gm_profile_regularise(&p, &err);
        gm_alloc_fail_at(0);
        assert_true(status == GM_OK || status == GM_ERR_MEMORY);
        assert_non_null(p.subnet);
    }
    gm_profile_fini(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(violators_are_pooled_to_their_mean),
        cmocka_unit_test(a_table_gets_the_nearest_monotone_one),
        cmocka_unit_test(dominated_points_are_left_out),
        cmocka_unit_test(a_gap_is_the_most_that_is_missing_at_any_cost),
        cmocka_unit_test(rank_correlation_matches_known_cases),
        cmocka_unit_test(a_noisy_profile_becomes_a_front_that_ascends),
        cmocka_unit_test(a_slower_and_less_accurate_subnet_is_dropped),
        cmocka_unit_test(the_tail_is_that_of_the_middle_cell),
        cmocka_unit_test(a_profile_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
