// SPDX-License-Identifier: Apache-2.0
// Work split over threads: fixed contiguous ranges, so that which unit runs where never depends on
// timing, and one scratch block a worker.
#include "base/team.h"
#include <gamut/base.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST_WORKERS = 256 };

static atomic_int thread_count; // 0: not yet asked for
static struct {
    void *block[MOST_WORKERS];
    size_t bytes; // of each block
    int workers;  // that have a block of that size
} scratch;

// Of a thread that works beside the others.
static _Thread_local struct {
    bool on;
    void *block;
    size_t bytes;
} alone;

void gm_thread_alone(bool on) {
    alone.on = on;
    if (on) return;
    gm_free(alone.block);
    alone.block = NULL;
    alone.bytes = 0;
}

// Set while a thread works for a team, so that a nested call stays on its thread and its scratch.
static _Thread_local int nested_worker = -1;

// A container may grant less time than it shows processors (cgroup v2 quota); 0 when unlimited.
static int quota_processors(void) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file) return 0;
    long long quota = 0, period = 0;
    int fields = fscanf(file, "%lld %lld", &quota, &period);
    fclose(file);
    if (fields != 2 || quota <= 0 || period <= 0) return 0;
    long long whole = (quota + period - 1) / period;
    return whole > MOST_WORKERS ? MOST_WORKERS : (int)whole;
}

static int usable_processors(void) {
    const char *wish = getenv("OMP_NUM_THREADS");
    if (wish) {
        long n = strtol(wish, NULL, 10);
        if (n > 0) return n > MOST_WORKERS ? MOST_WORKERS : (int)n;
    }
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = quota_processors();
    if (quota > 0) n = gm_min(n, quota);
    return gm_min(gm_max(n, 1), MOST_WORKERS);
}

int gm_threads(void) {
    if (alone.on) return 1;
    int n = atomic_load(&thread_count);
    if (n > 0) return n;
    n = usable_processors();
    int unset = 0;
    return atomic_compare_exchange_strong(&thread_count, &unset, n) ? n : unset;
}

void gm_threads_set(int threads) {
    int n = threads > 0 ? gm_min(threads, MOST_WORKERS) : usable_processors();
    atomic_store(&thread_count, n);
    // Should this fail, gm_parallel keeps to the workers that have scratch.
    if (scratch.bytes > 0) (void)gm_scratch_reserve(scratch.bytes, NULL);
}

typedef struct share {
    int units;
    gm_task *task;
    void *context;
} share;

static void run_share(void *argument, int worker, int workers) {
    const share *s = argument;
    int begin = (int)((int64_t)s->units * worker / workers);
    int end = (int)((int64_t)s->units * (worker + 1) / workers);
    if (begin == end) return;
    nested_worker = worker;
    s->task(s->context, begin, end, worker);
    nested_worker = -1;
}

void gm_parallel(int units, gm_task *task, void *context) {
    if (units <= 0) return;
    if (nested_worker >= 0 || alone.on) {
        task(context, 0, units, gm_max(nested_worker, 0));
        return;
    }
    int workers = gm_threads();
    if (scratch.bytes > 0) workers = gm_min(workers, scratch.workers);
    share s = {.units = units, .task = task, .context = context};
    // The team keeps one size even when there are fewer units: run times that keep their threads
    // between calls end and restart them when the size changes.
    if (workers == 1 || units == 1) {
        run_share(&s, 0, 1);
    } else {
        gm__team_run(workers, run_share, &s);
    }
}

static gm_status reserve_alone(size_t bytes, gm_error *err) {
    if (bytes <= alone.bytes) return GM_OK;
    void *fresh = gm_alloc(bytes, 1);
    if (!fresh) return gm_fail(err, GM_ERR_MEMORY, "no memory for %zu bytes of scratch", bytes);
    gm_free(alone.block);
    alone.block = fresh;
    alone.bytes = bytes;
    return GM_OK;
}

gm_status gm_scratch_reserve(size_t bytes_per_worker, gm_error *err) {
    if (alone.on) return reserve_alone(bytes_per_worker, err);
    int workers = gm_threads();
    if (bytes_per_worker <= scratch.bytes && workers <= scratch.workers) return GM_OK;
    size_t bytes = bytes_per_worker > scratch.bytes ? bytes_per_worker : scratch.bytes;
    // All new blocks first, so that a failure leaves the old ones in use.
    void *fresh[MOST_WORKERS];
    int first = bytes > scratch.bytes ? 0 : scratch.workers;
    int last = gm_max(workers, scratch.workers);
    for (int i = first; i < last; i++) {
        fresh[i] = gm_alloc(bytes, 1);
        if (fresh[i]) continue;
        while (i-- > first) gm_free(fresh[i]);
        return gm_fail(err, GM_ERR_MEMORY,
                       "no memory for %zu bytes of scratch for each of %d threads; use fewer "
                       "threads or a smaller batch",
                       bytes, workers);
    }
    for (int i = first; i < last; i++) {
        gm_free(scratch.block[i]);
        scratch.block[i] = fresh[i];
    }
    scratch.bytes = bytes;
    scratch.workers = last;
    return GM_OK;
}

void *gm_scratch(int worker) {
    if (alone.on) return alone.block;
    return worker >= 0 && worker < scratch.workers ? scratch.block[worker] : NULL;
}

void gm_scratch_release(void) {
    for (int i = 0; i < scratch.workers; i++) {
        gm_free(scratch.block[i]);
        scratch.block[i] = NULL;
    }
    scratch.bytes = 0;
    scratch.workers = 0;
}
