// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <gamut/base.h>
#include <math.h>
#include <time.h>

static double system_now(void *self) {
    (void)self;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void system_sleep(void *self, double seconds) {
    (void)self;
    if (!(seconds > 0)) return;
    double whole = floor(fmin(seconds, 1e9)); // a bound that time_t holds everywhere
    struct timespec rest = {.tv_sec = (time_t)whole, .tv_nsec = (long)((seconds - whole) * 1e9)};
    if (rest.tv_nsec > 999999999L || rest.tv_nsec < 0) rest.tv_nsec = 0;
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, &rest) == EINTR) {
        if (gm_interrupted()) return;
    }
}

static const gm_clock system_clock = {.now = system_now, .sleep = system_sleep};

const gm_clock *gm_clock_system(void) {
    return &system_clock;
}

double gm_now(void) {
    return system_now(NULL);
}

double gm_thread_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
