// SPDX-License-Identifier: Apache-2.0
// The estimator of arrivals: rates of a steady stream, spread of a bursty one, and doubt while little was seen.
#include "sched_test.h"

#include <math.h>

enum { MS = 1000000 };

// `units` windows of 1 ms with `count` arrivals each.
static void arrive(gm_arrivals *a, int64_t *now, int units, int count) {
    for (int u = 0; u < units; u++, *now += MS)
        for (int i = 0; i < count; i++) gm_arrivals_add(a, *now + (int64_t)i * MS / count, *now + 10 * MS);
}

static void a_steady_stream_has_one_rate(void **state) {
    (void)state;
    gm_arrivals a;
    int64_t now = 0;
    gm_arrivals_init(&a, MS);
    arrive(&a, &now, 400, 20);
    gm_arrival_stats s = gm_arrivals_read(&a, now);
    const double rate = 20.0 / MS;
    for (int i = 0; i < GM_ARRIVAL_SCALES; i++) assert_true(fabs(s.rate[i] / rate - 1) < 0.05);
    for (int q = 0; q < GM_ARRIVAL_QUANTILES; q++) assert_true(fabs(s.quantile[q] / rate - 1) < 0.15); // bins are a quarter octave wide
    assert_true(fabs(s.latest / rate - 1) < 0.1);
    assert_true(s.slo_ns > 9 * MS && s.slo_ns <= 10 * MS);
    assert_int_equal(s.count, 400 * 20);
}

static void bursts_show_in_the_upper_quantiles(void **state) {
    (void)state;
    gm_arrivals a;
    int64_t now = 0;
    gm_arrivals_init(&a, MS);
    for (int i = 0; i < 60; i++) {
        arrive(&a, &now, 6, 4);
        arrive(&a, &now, 1, 64);
    }
    gm_arrival_stats s = gm_arrivals_read(&a, now);
    assert_true(s.quantile[2] * MS < 6);                                 // half of the windows have 4
    assert_true(s.quantile[GM_ARRIVAL_QUANTILES - 1] * MS > 50);         // a seventh has 64
    for (int q = 1; q < GM_ARRIVAL_QUANTILES; q++) assert_true(s.quantile[q] >= s.quantile[q - 1]);
}

static void few_windows_leave_room_for_larger_bursts(void **state) {
    (void)state;
    static const int windows[] = {2, 6, 25, 400};
    double most = INFINITY;
    for (int i = 0; i < 4; i++) {
        gm_arrivals a;
        int64_t now = 0;
        gm_arrivals_init(&a, MS);
        arrive(&a, &now, windows[i], 20);
        gm_arrival_stats s = gm_arrivals_read(&a, now);
        double above = s.quantile[GM_ARRIVAL_QUANTILES - 1] / s.quantile[2];
        assert_true(above >= 1 && above < most); // less and less doubt
        most = above;
    }
    assert_true(most < 1.01);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_stream_has_one_rate),
        cmocka_unit_test(bursts_show_in_the_upper_quantiles),
        cmocka_unit_test(few_windows_leave_room_for_larger_bursts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
