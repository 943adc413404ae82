// SPDX-License-Identifier: Apache-2.0
// The oracle against brute force over every way to form batches in any order (not only contiguous ones).
#include "sched/sched_test.h"

enum { MOST = 6, CASES = 60 };

// The best value with these queries left and the worker free from now: the next batch is any subset.
static double brute(const gm_latency *l, const int64_t *arrival, const int64_t *deadline, int n, unsigned left, int64_t now) {
    double best = 0.0;
    for (unsigned batch = left; batch != 0; batch = (batch - 1) & left) {
        int size = 0;
        int64_t start = now, due = INT64_MAX;
        for (int i = 0; i < n; i++) {
            if (!(batch >> i & 1)) continue;
            size++;
            start = arrival[i] > start ? arrival[i] : start;
            due = deadline[i] < due ? deadline[i] : due;
        }
        for (int s = 0; s < l->subnets && size <= l->largest; s++) {
            int64_t end = start + l->mean_ns[s * l->batches + l->column[size]]; // what runs take, not their p99
            if (end > due) break;
            double value = size * l->top1[s] + brute(l, arrival, deadline, n, left & ~batch, end);
            best = value > best ? value : best;
        }
    }
    return best;
}

static void dynamic_programming_equals_brute_force(void **state) {
    (void)state;
    gm_rng rng = gm_rng_keyed(3, 0, 0, GM_RNG_TEST);
    for (int c = 0; c < CASES; c++) {
        gm_latency *l = paper_table(1.0, c % 2);
        for (int i = 0; c % 3 == 0 && i < l->subnets * l->batches; i++) l->ns[i] *= 2; // a noisy tail
        int64_t arrival[MOST], deadline[MOST], at = 0, slo = 1500000 + (int64_t)gm_rng_below(&rng, 15000000);
        int n = 1 + (int)gm_rng_below(&rng, c % 4 == 0 ? MOST : 5);
        for (int i = 0; i < n; i++) {
            at += (int64_t)gm_rng_below(&rng, 3000000);
            arrival[i] = at;
            deadline[i] = at + slo;
        }
        gm_oracle o, bound;
        assert_int_equal(gm_oracle_solve(l, arrival, deadline, n, NULL, &o, NULL), GM_OK);
        assert_int_equal(gm_oracle_bound(l, 1, arrival, deadline, n, &bound, NULL), GM_OK);
        assert_true(o.exact);
        assert_float_equal(o.value, brute(l, arrival, deadline, n, (1u << n) - 1, 0), 1e-6);
        assert_true(bound.value >= o.value - 1e-6);
        assert_false(bound.exact);
        gm_latency_destroy(l);
    }
}

static void merged_states_only_raise_the_result(void **state) {
    (void)state;
    enum { N = 120 };
    gm_latency *l = paper_table(1.0, false);
    int64_t arrival[N], deadline[N], at = 0;
    gm_rng rng = gm_rng_keyed(4, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < N; i++) {
        at += (int64_t)gm_rng_below(&rng, 1300000);
        arrival[i] = at;
        deadline[i] = at + 36000000;
    }
    gm_oracle exact, few, bound;
    gm_oracle_settings many = {.most_states = 100000}, less = {.most_states = 8};
    assert_int_equal(gm_oracle_solve(l, arrival, deadline, N, &many, &exact, NULL), GM_OK);
    assert_int_equal(gm_oracle_solve(l, arrival, deadline, N, &less, &few, NULL), GM_OK);
    assert_int_equal(gm_oracle_bound(l, 1, arrival, deadline, N, &bound, NULL), GM_OK);
    assert_true(exact.exact);
    assert_false(few.exact);
    assert_true(few.value >= exact.value - 1e-6);
    assert_true(bound.value >= exact.value - 1e-6);
    gm_oracle_settings short_of_states = {.most_states = 8, .most_total = 1000000}, none = {.most_states = 100000, .most_total = 10};
    gm_oracle limit;
    assert_int_equal(gm_oracle_limit(l, 1, arrival, deadline, N, NULL, &limit, NULL), GM_OK);
    assert_true(limit.exact && limit.value == exact.value && limit.met == exact.met);
    assert_int_equal(gm_oracle_limit(l, 1, arrival, deadline, N, &short_of_states, &limit, NULL), GM_OK);
    assert_true(!limit.exact && limit.value == bound.value); // too few to be worth trying
    assert_int_equal(gm_oracle_limit(l, 1, arrival, deadline, N, &none, &limit, NULL), GM_OK);
    assert_true(!limit.exact && limit.value == bound.value);
    short_of_states.most_states = 60;
    assert_int_equal(gm_oracle_solve(l, arrival, deadline, N, &short_of_states, &few, NULL), GM_OK);
    assert_int_equal(gm_oracle_limit(l, 1, arrival, deadline, N, &short_of_states, &limit, NULL), GM_OK);
    assert_true(limit.value <= few.value && limit.value <= bound.value && limit.value >= exact.value - 1e-6);
    assert_int_equal(gm_oracle_limit(l, 2, arrival, deadline, N, NULL, &limit, NULL), GM_OK);
    assert_int_equal(gm_oracle_bound(l, 2, arrival, deadline, N, &bound, NULL), GM_OK);
    assert_true(!limit.exact && limit.value == bound.value);
    deadline[3] = 0;
    assert_int_equal(gm_oracle_solve(l, arrival, deadline, N, NULL, &few, NULL), GM_ERR_ARGUMENT);
    gm_latency_destroy(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dynamic_programming_equals_brute_force),
        cmocka_unit_test(merged_states_only_raise_the_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
