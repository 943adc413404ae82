// SPDX-License-Identifier: Apache-2.0
#include "base_test.h"
#include <pthread.h>
#include <stdatomic.h>

enum { MOST_UNITS = 67, MOST_THREADS = 9 };

typedef struct seen {
    atomic_int times[MOST_UNITS];
    atomic_int begin[MOST_THREADS];
    atomic_int end[MOST_THREADS];
    atomic_int calls[MOST_THREADS];
} seen;

static void note(void *context, int begin, int end, int worker) {
    seen *s = context;
    assert_true(worker >= 0 && worker < MOST_THREADS && begin < end);
    for (int i = begin; i < end; i++) atomic_fetch_add(&s->times[i], 1);
    s->begin[worker] = begin;
    s->end[worker] = end;
    atomic_fetch_add(&s->calls[worker], 1);
}

static void every_unit_runs_once_in_contiguous_ranges(void **state) {
    (void)state;
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        gm_threads_set(threads);
        assert_int_equal(gm_threads(), threads);
        for (int units = 0; units <= MOST_UNITS; units++) {
            seen s = {0};
            gm_parallel(units, note, &s);
            for (int i = 0; i < MOST_UNITS; i++) assert_int_equal(s.times[i], i < units);
            int next = 0;
            for (int w = 0; w < MOST_THREADS; w++) {
                assert_true(s.calls[w] <= 1);
                if (s.calls[w] == 0) continue;
                assert_int_equal(s.begin[w], next);
                next = s.end[w];
                assert_true(s.end[w] - s.begin[w] <= units / threads + 1);
            }
            assert_int_equal(next, units);
        }
    }
    gm_threads_set(0);
    assert_true(gm_threads() >= 1);
}

static void inner(void *context, int begin, int end, int worker) {
    seen *s = context;
    assert_int_equal(begin, 0);
    assert_int_equal(end, 5);
    atomic_fetch_add(&s->calls[worker], 1);
}

static void outer(void *context, int begin, int end, int worker) {
    (void)worker;
    for (int i = begin; i < end; i++) gm_parallel(5, inner, context);
}

static void a_nested_call_stays_on_its_worker(void **state) {
    (void)state;
    gm_threads_set(3);
    seen s = {0};
    gm_parallel(6, outer, &s);
    for (int w = 0; w < 3; w++) assert_int_equal(s.calls[w], 2);
    gm_threads_set(0);
}

static void scribble(void *context, int begin, int end, int worker) {
    (void)begin;
    (void)end;
    size_t bytes = *(size_t *)context;
    unsigned char *block = gm_scratch(worker);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % 64, 0);
    for (int round = 0; round < 50; round++) {
        memset(block, worker + 1, bytes);
        for (size_t i = 0; i < bytes; i++) {
            if (block[i] != worker + 1) fail_msg("scratch is shared");
        }
    }
}

static void each_worker_has_scratch_of_its_own(void **state) {
    (void)state;
    size_t live = gm_alloc_live();
    gm_threads_set(2);
    size_t bytes = 1000;
    assert_int_equal(gm_scratch_reserve(bytes, NULL), GM_OK);
    gm_parallel(8, scribble, &bytes);
    gm_threads_set(5); // scratch follows
    gm_parallel(10, scribble, &bytes);
    bytes = 70000;
    assert_int_equal(gm_scratch_reserve(bytes, NULL), GM_OK);
    gm_parallel(10, scribble, &bytes);
    assert_int_equal(gm_scratch_reserve(1, NULL), GM_OK); // never shrinks
    gm_parallel(10, scribble, &bytes);
    assert_null(gm_scratch(-1));
    assert_null(gm_scratch(5));
    gm_scratch_release();
    assert_int_equal(gm_alloc_live(), live);
    gm_threads_set(0);
}

static void no_more_workers_than_scratch(void **state) {
    (void)state;
    gm_threads_set(1);
    size_t bytes = 100;
    assert_int_equal(gm_scratch_reserve(bytes, NULL), GM_OK);
    gm_alloc_fail_at(2);
    gm_threads_set(4); // its scratch fails: the work still gets done
    gm_alloc_fail_at(0);
    gm_parallel(10, scribble, &bytes);
    gm_scratch_release();
    gm_threads_set(0);
}

static gm_status reserve(gm_error *err) {
    gm_status status = gm_scratch_reserve(1 << 12, err);
    gm_scratch_release();
    return status;
}

static void reserving_survives_failing_allocations(void **state) {
    (void)state;
    gm_threads_set(4);
    with_failing_allocations(reserve);
    gm_threads_set(0);
}

// A thread of its own keeps out of the way of the others: one worker, scratch that is not theirs.
static void *work_alone(void *context) {
    seen *s = context;
    gm_thread_alone(true);
    bool fine = gm_threads() == 1 && gm_scratch_reserve(1000, NULL) == GM_OK && gm_scratch(0) != NULL;
    memset(gm_scratch(0), 1, 1000);
    gm_parallel(MOST_UNITS, note, s);
    gm_thread_alone(false);
    return fine && gm_threads() > 1 ? s : NULL;
}

static void a_thread_alone_uses_nothing_of_the_others(void **state) {
    (void)state;
    seen s = {0};
    pthread_t thread;
    void *result = NULL;
    gm_threads_set(3);
    assert_int_equal(gm_scratch_reserve(64, NULL), GM_OK);
    void *ours = gm_scratch(0);
    size_t live = gm_alloc_live();
    assert_int_equal(pthread_create(&thread, NULL, work_alone, &s), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &s);
    assert_int_equal(s.calls[0], 1);
    for (int i = 0; i < MOST_UNITS; i++) assert_int_equal(s.times[i], 1);
    assert_ptr_equal(gm_scratch(0), ours);
    assert_int_equal(gm_alloc_live(), live);
    gm_scratch_release();
    gm_threads_set(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_unit_runs_once_in_contiguous_ranges),
        cmocka_unit_test(a_nested_call_stays_on_its_worker),
        cmocka_unit_test(each_worker_has_scratch_of_its_own),
        cmocka_unit_test(no_more_workers_than_scratch),
        cmocka_unit_test(reserving_survives_failing_allocations),
        cmocka_unit_test(a_thread_alone_uses_nothing_of_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
