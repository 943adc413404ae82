// SPDX-License-Identifier: Apache-2.0
// The router under random events: every request gets exactly one outcome, nothing runs late behind anybody's back, expiry
// comes by timer, dead workers' batches come back.
#include "serve/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { REQUESTS = 4000, WORKERS = 5 };
#ifdef GAMUT_SANITIZED
enum { SEEDS = 6 };
#else
enum { SEEDS = 30 };
#endif

typedef struct world {
    gm__router *r;
    gm_profile profile;
    int64_t now;
    int answers[REQUESTS], runs[REQUESTS];
    gm_outcome outcome[REQUESTS];
    int64_t answered_ns[REQUESTS];
    int running[WORKERS]; // queries, 0: idle
    bool alive[WORKERS];
    int dispatches, last_subnet, last_count;
    uint64_t last_tag[16]; // of the last dispatch
} world;

static gm__router_settings settings_for(const char *policy, int workers) {
    gm__router_settings s = gm__router_settings_default();
    s.policy = policy;
    s.workers = workers;
    s.policy_settings.buckets = 4;
    return s;
}

static void begin(world *w, const gm__router_settings *s) {
    gm_error err;
    memset(w, 0, sizeof *w);
    assert_int_equal(gm_profile_paper(1.0, false, &w->profile, NULL), GM_OK);
    assert_int_equal(gm__router_create(&w->profile, s, &w->r, &err), GM_OK);
}

static void end(world *w) {
    gm__router_destroy(w->r);
    gm_profile_fini(&w->profile);
}

static void carry_out(world *w) {
    int count;
    const gm__action *a = gm__router_actions(w->r, &count);
    for (int i = 0; i < count; i++, a++) {
        if (a->kind == GM__ACTION_DISPATCH) {
            assert_true(w->alive[a->worker]);
            assert_int_equal(w->running[a->worker], 0);
            w->running[a->worker] = a->count;
            w->dispatches++;
            w->last_subnet = a->subnet;
            w->last_count = a->count;
            for (int q = 0; q < a->count; q++) {
                w->last_tag[q] = a->tag[q];
                assert_int_equal(w->answers[a->tag[q]], 0);
                w->runs[a->tag[q]]++;
            }
        } else {
            uint64_t tag = a->tag[0];
            w->answers[tag]++;
            w->outcome[tag] = a->outcome;
            w->answered_ns[tag] = w->now;
            if (a->outcome == GM_OUTCOME_MET) assert_true(w->now <= a->deadline_ns);
            if (a->outcome == GM_OUTCOME_LATE) assert_true(w->now > a->deadline_ns);
        }
    }
}

static void ready(world *w, int worker) {
    w->alive[worker] = true;
    gm__router_ready(w->r, w->now, worker);
    carry_out(w);
}

static void random_event(world *w, gm_rng *rng, int *sent, uint64_t *ticket) {
    int worker = (int)gm_rng_below(rng, WORKERS);
    switch (gm_rng_below(rng, 12)) {
    case 0: ready(w, worker); return;
    case 1:
        if (gm_rng_below(rng, 4)) break;
        w->alive[worker] = false;
        w->running[worker] = 0;
        gm__router_dead(w->r, w->now, worker);
        carry_out(w);
        return;
    case 2:
        if (gm_rng_below(rng, 8)) break;
        w->running[worker] = 0;
        gm__router_failed(w->r, w->now, worker);
        carry_out(w);
        return;
    case 3:
        if (*sent > 0) {
            gm__router_cancel(w->r, w->now, ticket[gm_rng_below(rng, (uint32_t)*sent)]);
            carry_out(w);
        }
        return;
    case 4:
    case 5:
    case 6:
        if (!w->alive[worker] || w->running[worker] == 0) return;
        w->running[worker] = 0;
        gm__router_result(w->r, w->now, worker);
        carry_out(w);
        return;
    default: break;
    }
    if (*sent == REQUESTS) return;
    int64_t deadline = gm_rng_below(rng, 50) == 0 ? GM_NO_DEADLINE : w->now + (int64_t)gm_rng_below(rng, 60000000);
    double floor = gm_rng_below(rng, 4) == 0 ? 70.0 + 11.0 * (double)gm_rng_uniform(rng) : 0.0;
    ticket[*sent] = gm__router_arrive(w->r, w->now, (gm__arrival){(uint64_t)*sent, deadline, floor, (int)gm_rng_below(rng, 4)});
    ++*sent;
    carry_out(w);
}

static void every_request_gets_exactly_one_outcome(void **state) {
    (void)state;
    static const char *const names[] = {"gamut", "slackfit", "maxbatch", "maxacc", "fixed:max", "clipper:78.25"};
    static world w;
    static uint64_t ticket[REQUESTS];
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        gm_rng rng = gm_rng_keyed(seed, 1, 0, GM_RNG_TEST);
        gm__router_settings s = settings_for(names[seed % 6], WORKERS);
        s.queue_limit = seed % 3 == 0 ? 20 : 1000;
        int sent = 0;
        begin(&w, &s);
        for (int step = 0; step < 3000; step++) {
            int64_t wake = gm__router_wake(w.r), next = w.now + (int64_t)gm_rng_below(&rng, 1500000);
            if (wake <= next) {
                w.now = wake > w.now ? wake : w.now;
                gm__router_tick(w.r, w.now);
                carry_out(&w);
                assert_true(gm__router_wake(w.r) > w.now);
                continue;
            }
            w.now = next;
            random_event(&w, &rng, &sent, ticket);
        }
        gm__router_close(w.r, w.now, true);
        carry_out(&w);
        for (int i = 0, calm = 0; calm < WORKERS; i = (i + 1) % WORKERS) { // what a dead one leaves may start on another
            calm = w.running[i] == 0 ? calm + 1 : 0;
            if (calm > 0) continue;
            w.running[i] = 0;
            w.alive[i] = false;
            gm__router_dead(w.r, w.now, i);
            carry_out(&w);
        }
        gm__router_close(w.r, w.now, true); // what came back from dead workers
        carry_out(&w);
        gm__router_state look = gm__router_look(w.r, w.now);
        uint64_t sum = 0;
        for (int i = 0; i < GM_OUTCOMES; i++) sum += look.outcome[i];
        assert_int_equal(sum, sent);
        assert_int_equal(look.waiting + look.running, 0);
        for (int i = 0; i < sent; i++) {
            assert_int_equal(w.answers[i], 1);
            assert_true(w.runs[i] <= s.attempts);
        }
        end(&w);
    }
}

static void what_cannot_be_met_is_answered_at_that_very_moment(void **state) {
    (void)state;
    static world w;
    gm__router_settings s = settings_for("slackfit", 1);
    begin(&w, &s);
    gm__router_arrive(w.r, 0, (gm__arrival){0, 10000000, 0.0, 0}); // no worker is there
    carry_out(&w);
    gm__router_arrive(w.r, 0, (gm__arrival){1, 10000000, 80.0, 0}); // needs the slowest subnet: 4.64 ms
    carry_out(&w);
    assert_int_equal(gm__router_wake(w.r), 10000000 - 4640000 + 1);
    w.now = gm__router_wake(w.r);
    gm__router_tick(w.r, w.now);
    carry_out(&w);
    assert_int_equal(w.answers[1], 1);
    assert_int_equal(w.outcome[1], GM_OUTCOME_DROPPED);
    assert_int_equal(w.answers[0], 0);
    w.now = gm__router_wake(w.r);
    assert_int_equal(w.now, 10000000 - 1410000 + 1);
    gm__router_tick(w.r, w.now);
    carry_out(&w);
    assert_int_equal(w.outcome[0], GM_OUTCOME_DROPPED);
    assert_int_equal(w.answers[0], 1);
    assert_int_equal(gm__router_wake(w.r), INT64_MAX);
    end(&w);
}

static void a_dead_workers_batch_goes_to_another_when_slack_allows(void **state) {
    (void)state;
    static world w;
    gm__router_settings s = settings_for("maxacc", 2);
    begin(&w, &s);
    ready(&w, 1);
    gm__router_arrive(w.r, 0, (gm__arrival){0, 30000000, 0.0, 0});
    carry_out(&w);
    assert_int_equal(w.running[1], 1);
    w.now = 5000000;
    w.alive[1] = false;
    w.running[1] = 0;
    gm__router_dead(w.r, w.now, 1);
    carry_out(&w);
    assert_int_equal(w.answers[0], 0);
    ready(&w, 0);
    assert_int_equal(w.running[0], 1);
    w.now = 29000000; // a second death, and too late for a third try
    w.alive[0] = false;
    gm__router_dead(w.r, w.now, 0);
    carry_out(&w);
    assert_int_equal(w.outcome[0], GM_OUTCOME_FAILED);
    end(&w);
}

static void a_full_queue_and_an_impossible_floor_are_rejected(void **state) {
    (void)state;
    static world w;
    gm__router_settings s = settings_for("gamut", 1);
    s.queue_limit = 2;
    begin(&w, &s);
    for (uint64_t i = 0; i < 3; i++) {
        gm__router_arrive(w.r, 0, (gm__arrival){i, 1000000000, 0.0, 0});
        carry_out(&w);
    }
    assert_int_equal(w.outcome[2], GM_OUTCOME_REJECTED);
    assert_int_equal(w.answers[2], 1);
    gm__router_arrive(w.r, 0, (gm__arrival){3, 1000000000, 99.0, 0});
    carry_out(&w);
    assert_int_equal(w.outcome[3], GM_OUTCOME_REJECTED);
    gm__router_close(w.r, 0, false); // those that wait are served
    carry_out(&w);
    gm__router_arrive(w.r, 0, (gm__arrival){4, 1000000000, 0.0, 0});
    carry_out(&w);
    assert_int_equal(w.outcome[4], GM_OUTCOME_REJECTED);
    ready(&w, 0);
    assert_int_equal(w.running[0], 2);
    end(&w);
}

static void priority_decides_equal_deadlines_and_who_leaves_a_full_queue(void **state) {
    (void)state;
    static world w;
    gm__router_settings s = settings_for("maxacc", 1);
    s.queue_limit = 3;
    begin(&w, &s);
    static const gm__arrival arrival[] = {
        {0, GM_NO_DEADLINE, 0.0, 0}, {1, 1000000000, 0.0, 900}, {2, GM_NO_DEADLINE, 0.0, 3}, // fill it
        {3, GM_NO_DEADLINE, 0.0, 900}, // no more important than the least
        {4, GM_NO_DEADLINE, 0.0, 2},   // instead of 1, the least important, whose deadline is nearer
        {5, GM_NO_DEADLINE, 0.0, 0},   // the default of 0
        {6, GM_NO_DEADLINE, 0.0, 500}, // the same, given
        {7, 5000000000, 0.0, 499},     // instead of 0
    };
    for (int i = 0; i < 8; i++) {
        gm__router_arrive(w.r, 0, arrival[i]);
        carry_out(&w);
    }
    static const bool refused[] = {true, true, false, true, false, true, true, false};
    for (int i = 0; i < 8; i++) {
        assert_int_equal(w.answers[i], refused[i]);
        if (refused[i]) assert_int_equal(w.outcome[i], GM_OUTCOME_REJECTED);
    }
    // The deadline first, whoever has one; then by priority, though 2 came before 4.
    static const int order[] = {7, 4, 2};
    gm__router_arrive(w.r, 0, (gm__arrival){8, 1000, 0.0, 1}); // hopeless: nobody has to leave for it
    carry_out(&w);
    assert_int_equal(w.outcome[8], GM_OUTCOME_DROPPED);
    for (int i = 0; i < 3; i++) {
        gm__router_arrive(w.r, 0, (gm__arrival){(uint64_t)(9 + i), GM_NO_DEADLINE, 0.0, 1000});
        carry_out(&w);
        assert_int_equal(w.outcome[9 + i], GM_OUTCOME_REJECTED);
    }
    ready(&w, 0);
    assert_int_equal(w.last_count, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(w.last_tag[i], order[i]);
    end(&w);
}

static void planned_times_follow_a_machine_that_became_slower(void **state) {
    (void)state;
    static world w;
    gm__router_settings s = settings_for("fixed:min", 1);
    begin(&w, &s);
    ready(&w, 0);
    for (uint64_t i = 0; i < 200; i++) {
        gm__router_arrive(w.r, w.now, (gm__arrival){i, w.now + 1000000000, 0.0, 0});
        carry_out(&w);
        w.now += 2820000; // twice the 1.41 ms of the profile
        w.running[0] = 0;
        gm__router_result(w.r, w.now, 0);
        carry_out(&w);
    }
    const gm_latency *l = gm__router_latency(w.r);
    assert_in_range(l->ns[0], 2700000, 2950000);
    assert_true(l->ns[l->batches + 1] >= l->ns[1]); // still monotone
    assert_true(gm__router_look(w.r, w.now).drift > 1.5);
    end(&w);
}

static void survives_every_failed_allocation(void **state) {
    (void)state;
    gm_profile p;
    assert_int_equal(gm_profile_paper(1.0, false, &p, NULL), GM_OK);
    size_t live = gm_alloc_live();
    gm__router_settings s = settings_for("gamut", 2);
    s.queue_limit = 10;
    for (long at = 1;; at++) {
        gm__router *r = NULL;
        gm_alloc_fail_at(at);
        gm_status status = gm__router_create(&p, &s, &r, NULL);
        gm_alloc_fail_at(0);
        gm__router_destroy(r);
        assert_int_equal(gm_alloc_live(), live);
        if (status == GM_OK) break;
        assert_int_equal(status, GM_ERR_MEMORY);
    }
    gm_profile_fini(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_gets_exactly_one_outcome),
        cmocka_unit_test(what_cannot_be_met_is_answered_at_that_very_moment),
        cmocka_unit_test(a_dead_workers_batch_goes_to_another_when_slack_allows),
        cmocka_unit_test(a_full_queue_and_an_impossible_floor_are_rejected),
        cmocka_unit_test(priority_decides_equal_deadlines_and_who_leaves_a_full_queue),
        cmocka_unit_test(planned_times_follow_a_machine_that_became_slower),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
