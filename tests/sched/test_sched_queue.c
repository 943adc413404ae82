// SPDX-License-Identifier: Apache-2.0
// The EDF queue against a plain sorted list, under random pushes, pops and cancels.
#include "sched/sched_test.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY = 1500, STEPS = 20000 };

static gm_request request(uint64_t order, int64_t deadline) {
    return (gm_request){.tag = order, .order = order, .deadline_ns = deadline, .expiry_ns = deadline - 5};
}

static void earliest_deadline_leaves_first_and_equal_ones_by_arrival(void **state) {
    (void)state;
    gm_queue *q = NULL;
    static const int64_t deadline[] = {30, 10, 20, 10, 30, 10};
    static const uint64_t expected[] = {2, 4, 6, 3, 1, 5};
    gm_request out;
    assert_int_equal(gm_queue_create(6, &q, NULL), GM_OK);
    for (uint64_t i = 0; i < 6; i++) {
        gm_request r = request(i + 1, deadline[i]);
        assert_true(gm_queue_push(q, &r) >= 0);
    }
    gm_request more = request(7, 1);
    assert_int_equal(gm_queue_push(q, &more), -1);
    for (int i = 0; i < 6; i++) {
        assert_true(gm_queue_pop(q, &out));
        assert_int_equal(out.tag, expected[i]);
    }
    assert_false(gm_queue_pop(q, &out));
    gm_queue_destroy(q);
}

typedef struct entry {
    gm_request r;
    int ticket;
} entry;

static int by_deadline(const void *a, const void *b) {
    const gm_request *x = &((const entry *)a)->r, *y = &((const entry *)b)->r;
    if (x->deadline_ns != y->deadline_ns) return x->deadline_ns < y->deadline_ns ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

// Everything that can be seen of the queue, against the list.
static void check(const gm_queue *q, entry *list, int n) {
    int shown;
    const gm_waiting *front = gm_queue_front(q, &shown);
    qsort(list, (size_t)n, sizeof *list, by_deadline);
    assert_int_equal(gm_queue_length(q), n);
    assert_int_equal(shown, n < GM_QUEUE_FRONT ? n : GM_QUEUE_FRONT);
    for (int i = 0; i < shown; i++) {
        assert_int_equal(front[i].order, list[i].r.order);
        assert_int_equal(front[i].deadline_ns, list[i].r.deadline_ns);
    }
    int64_t soonest = INT64_MAX;
    for (int i = 0; i < n; i++) soonest = list[i].r.expiry_ns < soonest ? list[i].r.expiry_ns : soonest;
    uint64_t last = 0;
    for (int i = 0; i < n; i++) last = list[i].r.order > last ? list[i].r.order : last;
    if (n > 0) {
        assert_int_equal(gm_queue_request(q, gm_queue_expiry(q))->expiry_ns, soonest);
        assert_int_equal(gm_queue_request(q, gm_queue_last(q))->order, last);
    } else {
        assert_int_equal(gm_queue_expiry(q), -1);
        assert_int_equal(gm_queue_last(q), -1);
    }
}

static void agrees_with_a_sorted_list_under_random_use(void **state) {
    (void)state;
    static entry list[CAPACITY];
    gm_queue *q = NULL;
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_TEST);
    int n = 0, grow = 1;
    uint64_t order = 0;
    assert_int_equal(gm_queue_create(CAPACITY, &q, NULL), GM_OK);
    size_t live = gm_alloc_live();
    for (int step = 0; step < STEPS; step++) {
        uint32_t what = gm_rng_below(&rng, 10);
        if (step % 2000 == 0) grow = !grow;
        if (what < (grow ? 7u : 3u)) {
            gm_request r = request(++order, (int64_t)gm_rng_below(&rng, 2000));
            r.expiry_ns = (int64_t)gm_rng_below(&rng, 5000);
            int ticket = gm_queue_push(q, &r);
            assert_int_equal(ticket >= 0, n < CAPACITY);
            if (ticket >= 0) list[n++] = (entry){r, ticket};
        } else if (n > 0 && what < 9) {
            gm_request out;
            qsort(list, (size_t)n, sizeof *list, by_deadline);
            assert_true(gm_queue_pop(q, &out));
            assert_int_equal(out.order, list[0].r.order);
            memmove(list, list + 1, (size_t)--n * sizeof *list);
        } else if (n > 0) {
            int at = (int)gm_rng_below(&rng, (uint32_t)n);
            gm_request out;
            if (gm_rng_below(&rng, 2)) {
                assert_true(gm_queue_cancel(q, list[at].ticket, &out));
                assert_int_equal(out.order, list[at].r.order);
                assert_false(gm_queue_cancel(q, list[at].ticket, &out));
                list[at] = list[--n];
            } else {
                list[at].r.expiry_ns = (int64_t)gm_rng_below(&rng, 5000);
                gm_queue_expire_at(q, list[at].ticket, list[at].r.expiry_ns);
            }
        }
        if (step % 37 == 0) check(q, list, n);
    }
    assert_int_equal(gm_alloc_live(), live); // nothing was taken on the way
    gm_queue_destroy(q);
}

static void survives_every_failed_allocation(void **state) {
    (void)state;
    size_t live = gm_alloc_live();
    for (long at = 1;; at++) {
        gm_queue *q = NULL;
        gm_error err;
        gm_alloc_fail_at(at);
        gm_status status = gm_queue_create(10, &q, &err);
        gm_alloc_fail_at(0);
        gm_queue_destroy(q);
        assert_int_equal(gm_alloc_live(), live);
        if (status == GM_OK) break;
        assert_int_equal(status, GM_ERR_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(earliest_deadline_leaves_first_and_equal_ones_by_arrival),
        cmocka_unit_test(agrees_with_a_sorted_list_under_random_use),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
