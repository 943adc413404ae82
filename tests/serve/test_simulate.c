// SPDX-License-Identifier: Apache-2.0
// Whole simulations: the orderings of specs superserve 3.1, the oracle above every policy, faults, drift.
#include <gamut/serve.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static gm_trace trace_of(const char *spec, double seconds, double rate, uint64_t seed) {
    gm_trace t;
    gm_trace_settings s = {.duration_s = seconds, .rate = rate, .seed = seed};
    assert_int_equal(gm_trace_create(spec, &s, &t, NULL), GM_OK);
    return t;
}

static gm_load_summary play(const gm_profile *p, const gm_trace *t, gm_simulation_settings s) {
    gm_load_summary out;
    gm_error err;
    assert_int_equal(gm_simulate(p, t, &s, NULL, &out, &err), GM_OK);
    int64_t sum = 0;
    for (int i = 0; i < GM_OUTCOMES; i++) sum += out.outcome[i];
    assert_int_equal(sum, t->count);
    return out;
}

static double table_of_3_1(bool full, const char *policy, int buckets, bool late) {
    gm_profile p;
    double sum = 0.0;
    assert_int_equal(gm_profile_paper(1.7, full, &p, NULL), GM_OK);
    for (uint64_t seed = 1; seed <= 2; seed++) {
        gm_trace t = trace_of("bursty:1500,5550,8", 10, 0, seed);
        gm_simulation_settings s = gm_simulation_settings_default();
        s.policy = policy;
        s.policy_settings = (gm_policy_settings){.buckets = buckets, .serve_late = late};
        s.workers = 8;
        sum += play(&p, &t, s).attainment / 2;
        gm_trace_fini(&t);
    }
    gm_profile_fini(&p);
    return sum;
}

static void lessons_of_the_specification_hold(void **state) {
    (void)state;
    double eight = table_of_3_1(false, "slackfit", 8, true), thirtytwo = table_of_3_1(false, "slackfit", 32, true);
    double batch = table_of_3_1(false, "maxbatch", 0, true), accuracy = table_of_3_1(false, "maxacc", 0, true);
    assert_true(eight > 0.99);             // 1: 0.9987 there
    assert_true(eight > batch + 0.02);     // 1: MaxBatch 0.961
    assert_true(thirtytwo < batch);        // 3: 0.821
    assert_true(accuracy < 0.2);           // 0.136
    assert_true(table_of_3_1(true, "maxbatch", 0, true) > table_of_3_1(true, "slackfit", 16, true)); // 2
    assert_true(table_of_3_1(false, "maxbatch", 0, false) > batch);                                  // 4
    assert_true(table_of_3_1(false, "maxacc", 0, false) > accuracy + 0.2);                           // 4
}

static void no_policy_beats_the_oracle(void **state) {
    (void)state;
    static const char *const names[] = {"gamut", "slackfit", "maxbatch", "maxacc", "infaas", "fixed:min", "fixed:77.64", "fixed:max"};
    gm_profile p;
    gm_latency *l = NULL;
    assert_int_equal(gm_profile_paper(1.0, false, &p, NULL), GM_OK);
    assert_int_equal(gm_latency_create(&p, NULL, &l, NULL), GM_OK);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        gm_trace t = trace_of("bursty:500,1500,8", 0.05, 0, seed);
        int64_t deadline[2000];
        int n = gm_min(t.count, 20);
        t.count = n;
        for (int i = 0; i < n; i++) deadline[i] = t.at_ns[i] + 20000000;
        gm_oracle o, bound, two;
        assert_int_equal(gm_oracle_solve(l, t.at_ns, deadline, n, NULL, &o, NULL), GM_OK);
        assert_int_equal(gm_oracle_bound(l, 1, t.at_ns, deadline, n, &bound, NULL), GM_OK);
        assert_int_equal(gm_oracle_bound(l, 2, t.at_ns, deadline, n, &two, NULL), GM_OK);
        assert_true(bound.value >= o.value - 1e-6);
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            gm_simulation_settings s = gm_simulation_settings_default();
            s.policy = names[k];
            s.policy_settings.buckets = 4;
            s.slo_ns = 20000000;
            assert_true(play(&p, &t, s).goodput_accuracy * n <= o.value + 1e-6);
            s.workers = 2;
            assert_true(play(&p, &t, s).goodput_accuracy * n <= two.value + 1e-6);
        }
        gm_trace_fini(&t);
    }
    gm_latency_destroy(l);
    gm_profile_fini(&p);
}

// Short versions of the experiment's workloads; the whole grid is in experiments/superserve.
static void the_own_policy_is_ahead_at_load_0_7(void **state) {
    (void)state;
    static const char *const loads[] = {"bursty:1500,4900,2", "bursty:1500,4900,8", "ramp:2500,7800,500,8"};
    static const char *const rivals[] = {"slackfit", "maxbatch", "maxacc", "infaas", "fixed:76.69", "fixed:77.64"};
    gm_profile p;
    assert_int_equal(gm_profile_paper(1.0, false, &p, NULL), GM_OK);
    for (int workers = 1; workers <= 8; workers *= 8)
        for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
            gm_trace t = trace_of(loads[i], workers == 1 ? 3.0 : 1.0, 0.7 * workers * gm_profile_capacity(&p), 5);
            gm_simulation_settings s = gm_simulation_settings_default();
            s.workers = workers;
            double own = play(&p, &t, s).goodput_accuracy;
            for (size_t k = 0; k < sizeof rivals / sizeof rivals[0]; k++) {
                s.policy = rivals[k];
                s.policy_settings.buckets = 4;
                assert_true(own > play(&p, &t, s).goodput_accuracy - 0.3);
            }
            gm_trace_fini(&t);
        }
    gm_profile_fini(&p);
}

// A front of two subnets, the accurate one four times as slow, and time for something in between: the best is a mixture.
static void far_subnets_are_mixed(void **state) {
    (void)state;
    gm_profile p = {.batches = 3, .batch = {1, 4, 16}, .subnets = 2};
    p.subnet = gm_alloc(2, sizeof *p.subnet);
    assert_non_null(p.subnet);
    for (int n = 0; n < 2; n++) {
        p.subnet[n] = (gm_profile_subnet){.id = (uint64_t)n + 1, .top1 = n == 0 ? 88.5 : 90.0};
        for (int b = 0; b < p.batches; b++)
            p.subnet[n].p50_ns[b] = p.subnet[n].p99_ns[b] = (n == 0 ? 160000 : 640000) * (int64_t)p.batch[b];
    }
    for (int tenths = 4; tenths <= 8; tenths += 2) {
        gm_trace t = trace_of("bursty:500,1500,2", 3, tenths * 0.1 * gm_profile_capacity(&p), 1);
        gm_simulation_settings s = gm_simulation_settings_default();
        s.slo_ns = 36000000;
        gm_load_summary own = play(&p, &t, s);
        s.policy = "slackfit";
        gm_load_summary rival = play(&p, &t, s);
        double ideal = 88.5 + 1.5 * (10.0 / tenths - 1) / 3; // the time a query that there is, shared out
        assert_true(own.attainment > 0.999 && own.goodput_accuracy > rival.goodput_accuracy - 0.05);
        assert_true(own.goodput_accuracy > ideal - 0.1);
        gm_trace_fini(&t);
    }
    gm_profile_fini(&p);
}

static void half_of_the_workers_die_and_deadlines_are_kept(void **state) {
    (void)state;
    gm_profile p;
    assert_int_equal(gm_profile_paper(1.7, false, &p, NULL), GM_OK);
    gm_trace t = trace_of("bursty:1500,2000,2", 12, 3500, 1); // specs 5.1, a fifth of its length
    gm_simulation_settings s = gm_simulation_settings_default();
    s.workers = 8;
    s.kills = 4;
    s.kill_every_s = 2.4;
    gm_load_summary out = play(&p, &t, s);
    assert_true(out.attainment > 0.99);
    s.kills = 8; // nobody is left at the end: still an outcome for each
    s.kill_every_s = 1.0;
    assert_true(play(&p, &t, s).attainment < 0.9);
    gm_trace_fini(&t);
    gm_profile_fini(&p);
}

static void correction_helps_when_the_machine_is_slower_than_its_profile(void **state) {
    (void)state;
    gm_profile p;
    assert_int_equal(gm_profile_paper(1.0, false, &p, NULL), GM_OK);
    gm_trace t = trace_of("bursty:1500,4900,2", 3, 0.5 * gm_profile_capacity(&p), 1);
    gm_simulation_settings s = gm_simulation_settings_default();
    s.drift = 1.3;
    s.noise = 0.05;
    double blind = play(&p, &t, s).attainment;
    s.correct_latency = true;
    double corrected = play(&p, &t, s).attainment;
    assert_true(corrected > 0.98);
    assert_true(corrected > blind);
    gm_trace_fini(&t);
    gm_profile_fini(&p);
}

static void floors_and_single_deadlines_are_respected(void **state) {
    (void)state;
    gm_profile p;
    assert_int_equal(gm_profile_paper(1.0, false, &p, NULL), GM_OK);
    gm_trace t = trace_of("poisson:400", 2, 0, 1);
    gm_fate *fate = calloc((size_t)t.count, sizeof *fate);
    double *floor = calloc((size_t)t.count, sizeof *floor);
    int64_t *slo = calloc((size_t)t.count, sizeof *slo);
    gm_rng rng = gm_rng_keyed(5, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < t.count; i++) {
        floor[i] = gm_rng_below(&rng, 3) == 0 ? 79.0 : 0.0;
        slo[i] = 5000000 + (int64_t)gm_rng_below(&rng, 60000000);
    }
    static const char *const names[] = {"gamut", "slackfit", "maxbatch", "maxacc", "infaas"};
    for (int k = 0; k < 5; k++) {
        gm_load_summary out;
        gm_simulation_settings s = gm_simulation_settings_default();
        s.policy = names[k];
        s.slo_each_ns = slo;
        s.floor_each = floor;
        assert_int_equal(gm_simulate(&p, &t, &s, fate, &out, NULL), GM_OK);
        for (int i = 0; i < t.count; i++) {
            if (fate[i].outcome != GM_OUTCOME_MET) continue;
            assert_true(p.subnet[fate[i].subnet].top1 >= floor[i]);
            assert_true(fate[i].answer_ns <= fate[i].arrival_ns + slo[i]);
        }
    }
    free(fate);
    free(floor);
    free(slo);
    gm_trace_fini(&t);
    gm_profile_fini(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lessons_of_the_specification_hold),
        cmocka_unit_test(no_policy_beats_the_oracle),
        cmocka_unit_test(the_own_policy_is_ahead_at_load_0_7),
        cmocka_unit_test(far_subnets_are_mixed),
        cmocka_unit_test(half_of_the_workers_die_and_deadlines_are_kept),
        cmocka_unit_test(correction_helps_when_the_machine_is_slower_than_its_profile),
        cmocka_unit_test(floors_and_single_deadlines_are_respected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
