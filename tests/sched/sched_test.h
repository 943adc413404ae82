// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of sched: cmocka, the paper's table, made-up queues.
#ifndef GAMUT_TESTS_SCHED_TEST_H
#define GAMUT_TESTS_SCHED_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <gamut/sched.h>

static inline gm_latency *paper_table(double scale, bool full) {
    gm_profile p;
    gm_latency *l = NULL;
    assert_int_equal(gm_profile_paper(scale, full, &p, NULL), GM_OK);
    assert_int_equal(gm_latency_create(&p, NULL, &l, NULL), GM_OK);
    gm_profile_fini(&p);
    return l;
}

#endif
