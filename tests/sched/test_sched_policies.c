// SPDX-License-Identifier: Apache-2.0
// What every policy must keep to on any queue, and the golden values of SlackFit's buckets (specs superserve 3.1 and 9).
#include "sched/sched_test.h"

#include <string.h>

static const char *const names[] = {"gamut",     "slackfit",  "maxbatch",    "maxacc",     "infaas",
                                    "fixed:min", "fixed:max", "fixed:78.25", "clipper:max"};
enum { NAMES = sizeof names / sizeof names[0], QUEUES = 3000 };

static void bucket_counts_are_those_of_the_specification(void **state) {
    (void)state;
    gm_latency *l = paper_table(1.7, false);
    static const int expected[] = {2, 4, 7, 11, 15, 21, 26};
    for (int i = 0, buckets = 2; buckets <= 128; i++, buckets *= 2) {
        gm_policy *p = NULL;
        int filled;
        gm_policy_settings s = {.buckets = buckets};
        assert_int_equal(gm_policy_create("slackfit", l, &s, &p, NULL), GM_OK);
        assert_int_equal(gm_policy_buckets(p, &filled), buckets);
        assert_int_equal(filled, expected[i]);
        gm_policy_destroy(p);
    }
    gm_latency_destroy(l);
}

static int make_queue(gm_rng *rng, const gm_latency *l, gm_waiting *w, gm_sched_view *v, int64_t *free_ns) {
    int n = 1 + (int)gm_rng_below(rng, gm_rng_below(rng, 4) == 0 ? GM_QUEUE_FRONT : 40);
    int64_t longest = l->ns[l->subnets * l->batches - 1], at = (int64_t)gm_rng_below(rng, (uint32_t)longest) - longest / 8;
    bool floors = gm_rng_below(rng, 2);
    *v = (gm_sched_view){.now_ns = 1000000000, .front = w, .shown = n, .free_ns = free_ns};
    for (int i = 0; i < n; i++) {
        at += (int64_t)gm_rng_below(rng, 1000000) * (int64_t)gm_rng_below(rng, 3);
        w[i] = (gm_waiting){v->now_ns + at, (uint64_t)i, floors ? (int32_t)gm_rng_below(rng, (uint32_t)l->subnets) : 0, i};
    }
    v->waiting = n == GM_QUEUE_FRONT ? n + (int)gm_rng_below(rng, 10000) : n;
    v->workers = 1 + (int)gm_rng_below(rng, 100);
    v->idle = 1 + (int)gm_rng_below(rng, (uint32_t)v->workers);
    for (int i = 0; i < v->workers - v->idle; i++) free_ns[i] = v->now_ns + (int64_t)gm_rng_below(rng, (uint32_t)longest);
    v->arrivals = (gm_arrival_stats){.slo_ns = gm_rng_below(rng, 2) ? (double)longest * 1.2 : 0.0};
    for (int i = 0; i < GM_ARRIVAL_SCALES; i++) v->arrivals.rate[i] = gm_rng_uniform(rng) * 1e-5;
    for (int i = 0; i < GM_ARRIVAL_QUANTILES; i++) v->arrivals.quantile[i] = gm_rng_uniform(rng) * 1e-5;
    return n;
}

// Within the profile and the queue, no floor violated, and a batch that is not flagged late makes its first deadline.
static void check(const gm_latency *l, const gm_sched_view *v, gm_decision d, bool keeps_late) {
    assert_in_range(d.drop, 0, v->shown);
    if (d.subnet < 0) {
        assert_true(d.drop == v->shown || d.wait_ns > v->now_ns);
        return;
    }
    assert_in_range(d.subnet, 0, l->subnets - 1);
    assert_in_range(d.batch, 1, l->largest);
    assert_true(d.drop + d.batch <= v->shown);
    for (int i = d.drop; i < d.drop + d.batch; i++) assert_true(v->front[i].least <= d.subnet);
    if (d.late)
        assert_true(keeps_late);
    else
        assert_true(gm_latency_ns(l, d.subnet, d.batch) <= v->front[d.drop].deadline_ns - v->now_ns);
}

static void decisions_are_legal_and_repeatable_on_any_queue(void **state) {
    (void)state;
    static gm_waiting w[GM_QUEUE_FRONT];
    int64_t free_ns[128];
    for (int full = 0; full < 2; full++) {
        gm_latency *l = paper_table(1.0, full);
        for (int i = 0; i < 2 * NAMES; i++) {
            gm_policy *p = NULL;
            gm_rng rng = gm_rng_keyed(7, (uint64_t)i, (uint64_t)full, GM_RNG_TEST);
            gm_policy_settings s = {.serve_late = i >= NAMES, .buckets = i % 2 ? 0 : 8};
            assert_int_equal(gm_policy_create(names[i % NAMES], l, &s, &p, NULL), GM_OK);
            for (int k = 0; k < QUEUES / 10; k++) {
                gm_sched_view v;
                make_queue(&rng, l, w, &v, free_ns);
                gm_decision d = gm_policy_decide(p, l, &v), again = gm_policy_decide(p, l, &v);
                check(l, &v, d, gm_policy_keeps_late(p));
                assert_true(d.drop == again.drop && d.subnet == again.subnet && d.batch == again.batch);
            }
            gm_policy_destroy(p);
        }
        gm_latency_destroy(l);
    }
}

static gm_decision decide(const char *name, const gm_latency *l, int waiting, int64_t slack, int buckets) {
    static gm_waiting w[GM_QUEUE_FRONT];
    gm_policy *p = NULL;
    gm_policy_settings s = {.buckets = buckets};
    for (int i = 0; i < waiting; i++) w[i] = (gm_waiting){slack + i, (uint64_t)i, 0, i};
    gm_sched_view v = {.waiting = waiting, .shown = waiting, .front = w, .workers = 1, .idle = 1};
    assert_int_equal(gm_policy_create(name, l, &s, &p, NULL), GM_OK);
    gm_decision d = gm_policy_decide(p, l, &v);
    gm_policy_destroy(p);
    return d;
}

static void a_slack_of_exactly_one_run_is_enough_and_one_nanosecond_less_is_not(void **state) {
    (void)state;
    gm_latency *l = paper_table(1.0, false);
    for (int i = 0; i < NAMES; i++) {
        int subnet = strstr(names[i], "max") == names[i] || strchr(names[i], ':') == NULL ? 0 : -1;
        if (subnet < 0 || strcmp(names[i], "infaas") == 0) continue;
        gm_decision met = decide(names[i], l, 1, l->ns[0], 8), lost = decide(names[i], l, 1, l->ns[0] - 1, 8);
        assert_int_equal(met.drop, 0);
        assert_int_equal(met.subnet, 0);
        assert_int_equal(lost.drop, 1);
        assert_int_equal(lost.subnet, -1);
    }
    gm_latency_destroy(l);
}

static void greedy_policies_take_one_dimension_first(void **state) {
    (void)state;
    gm_latency *l = paper_table(1.0, false);
    int64_t slack = gm_latency_ns(l, 1, 16); // 10.2 ms: subnet 1 at 16, subnet 4 at 4 or less
    gm_decision batch = decide("maxbatch", l, 100, slack, 0), accuracy = decide("maxacc", l, 100, slack, 0);
    assert_int_equal(batch.subnet, 1);
    assert_int_equal(batch.batch, 16);
    assert_int_equal(accuracy.subnet, 5);
    assert_int_equal(accuracy.batch, 4);
    gm_decision few = decide("maxbatch", l, 3, slack, 0); // three are charged as four, and there a better subnet fits
    assert_int_equal(few.batch, 3);
    assert_int_equal(few.subnet, 5);
    gm_latency_destroy(l);
}

static void slackfit_takes_the_bucket_just_below_the_slack(void **state) {
    (void)state;
    gm_latency *l = paper_table(1.0, false);
    int64_t width = l->ns[29] - l->ns[0];
    gm_decision tight = decide("slackfit", l, 100, l->ns[0] + width / 8, 8);
    assert_int_equal(tight.subnet, 0); // first bucket, up to 5.07 ms: the largest batch is 8, by the smallest and the next
    assert_int_equal(tight.batch, 8);
    gm_decision loose = decide("slackfit", l, 100, l->ns[29], 8);
    assert_int_equal(loose.subnet, 5);
    assert_int_equal(loose.batch, 16);
    gm_latency_destroy(l);
}

static void a_fixed_model_keeps_its_batches_large_in_overload(void **state) {
    (void)state;
    gm_latency *l = paper_table(1.0, false);
    gm_decision calm = decide("fixed:max", l, 8, gm_latency_ns(l, 5, 4), 0);
    assert_int_equal(calm.drop, 0);
    assert_int_equal(calm.batch, 4);
    gm_decision flood = decide("fixed:max", l, 200, gm_latency_ns(l, 5, 16) - 40, 0);
    assert_int_equal(flood.drop, 40); // deadlines rise by one nanosecond each
    assert_int_equal(flood.batch, 16);
    gm_decision plain = decide("clipper:max", l, 200, gm_latency_ns(l, 5, 16) - 40, 0);
    assert_int_equal(plain.drop, 0);
    assert_int_equal(plain.batch, 8);
    gm_latency_destroy(l);
}

static void the_own_policy_is_accurate_when_idle_and_fast_in_a_flood(void **state) {
    (void)state;
    gm_latency *l = paper_table(1.0, false);
    gm_decision idle = decide("gamut", l, 1, 36000000, 0);
    assert_int_equal(idle.subnet, 5);
    gm_decision flood = decide("gamut", l, 250, 36000000, 0);
    assert_int_equal(flood.subnet, 0);
    assert_int_equal(flood.batch, 16);
    gm_latency_destroy(l);
}

static void unknown_names_are_refused_with_the_list(void **state) {
    (void)state;
    gm_latency *l = paper_table(1.0, false);
    static const char *const wrong[] = {"", "nope", "fixed", "fixed:", "fixed:zz", "fixed:99", "gamut:1", "slackfit2"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        gm_policy *p = NULL;
        gm_error err;
        assert_int_equal(gm_policy_create(wrong[i], l, NULL, &p, &err), GM_ERR_NOT_FOUND);
        assert_null(p);
        assert_true(strlen(err.text) > 20);
    }
    gm_latency_destroy(l);
}

static void planned_times_fall_nowhere_and_include_margin_and_overhead(void **state) {
    (void)state;
    gm_profile p;
    gm_latency *l = NULL;
    gm_latency_settings s = {.margin = 0.5, .overhead_ns = 1000};
    assert_int_equal(gm_profile_paper(1.0, false, &p, NULL), GM_OK);
    p.subnet[2].p99_ns[3] = 1; // noise
    assert_int_equal(gm_latency_create(&p, &s, &l, NULL), GM_OK);
    assert_int_equal(l->ns[0], (1410000 + 1000) * 2);
    for (int n = 0; n < l->subnets; n++)
        for (int b = 0; b < l->batches; b++) {
            if (b > 0) assert_true(l->ns[n * l->batches + b] >= l->ns[n * l->batches + b - 1]);
            if (n > 0) assert_true(l->ns[n * l->batches + b] >= l->ns[(n - 1) * l->batches + b]);
        }
    assert_int_equal(gm_latency_ns(l, 3, 9), gm_latency_ns(l, 3, 16));
    assert_int_equal(gm_latency_least(l, 78.0), 3);
    assert_int_equal(gm_latency_least(l, 81.0), 6);
    gm_latency_destroy(l);
    p.subnet[0].top1 = 90.0;
    assert_int_equal(gm_latency_create(&p, &s, &l, NULL), GM_ERR_ARGUMENT);
    gm_profile_fini(&p);
}

static void survive_every_failed_allocation(void **state) {
    (void)state;
    gm_latency *l = paper_table(1.0, false);
    size_t live = gm_alloc_live();
    static const char *const some[] = {"gamut", "slackfit"};
    for (int i = 0; i < 2; i++)
        for (long at = 1;; at++) {
            gm_policy *p = NULL;
            gm_alloc_fail_at(at);
            gm_status status = gm_policy_create(some[i], l, NULL, &p, NULL);
            gm_alloc_fail_at(0);
            gm_policy_destroy(p);
            assert_int_equal(gm_alloc_live(), live);
            if (status == GM_OK) break;
            assert_int_equal(status, GM_ERR_MEMORY);
        }
    gm_latency_destroy(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bucket_counts_are_those_of_the_specification),
        cmocka_unit_test(decisions_are_legal_and_repeatable_on_any_queue),
        cmocka_unit_test(a_slack_of_exactly_one_run_is_enough_and_one_nanosecond_less_is_not),
        cmocka_unit_test(greedy_policies_take_one_dimension_first),
        cmocka_unit_test(slackfit_takes_the_bucket_just_below_the_slack),
        cmocka_unit_test(a_fixed_model_keeps_its_batches_large_in_overload),
        cmocka_unit_test(the_own_policy_is_accurate_when_idle_and_fast_in_a_flood),
        cmocka_unit_test(unknown_names_are_refused_with_the_list),
        cmocka_unit_test(planned_times_fall_nowhere_and_include_margin_and_overhead),
        cmocka_unit_test(survive_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
