// SPDX-License-Identifier: Apache-2.0
// The threads of gm_parallel: started once, kept for the life of the process. Waiting is a short spin (the next phase of a
// step comes within microseconds) and then sleep. Why not OpenMP: its barriers go on spinning when another process has the
// processor, and a training step has some hundred of them: under load it trained ten times slower.
//
// Threads that sleep and wake every few microseconds look idle to Linux. Beside another busy process it left both threads of a
// team on one processor (6.18, two processors, one training beside it: a task of 2 x 60 us took 190 us, now 105; a run of a
// small net 0.69 ms, now 0.11). So a member that finds itself on the processor of one before it moves to the others, and keeps
// off that processor until they meet again.
#include "base/team.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_WORKERS = 256, SPINS = 2000 }; // about 0.1 ms

// order: what the threads are to do now: a serial number (upper 23 bits) and how many workers take part. One word, so that
// a thread that is left out never mixes two orders. member and context belong to the order of the day.
static struct {
    atomic_uint order;
    atomic_uint pending;  // members that have not finished, the caller apart
    atomic_int sleepers;  // threads asleep on order
    atomic_bool waiting;  // the caller is asleep on pending
    gm__member *member;
    void *context;
    int started; // threads beside the caller's; number i+1 has worker i+1
    atomic_int processor[MOST_WORKERS]; // where each member was last seen
    cpu_set_t allowed;                  // to the caller, when the first thread was started
} team;

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void sleep_on(atomic_uint *word, unsigned value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}
static void wake(atomic_uint *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0); }

static unsigned next_order(unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        unsigned now = atomic_load_explicit(&team.order, memory_order_acquire);
        if (now != seen) return now;
        relax();
    }
    atomic_fetch_add(&team.sleepers, 1);
    unsigned now;
    while ((now = atomic_load(&team.order)) == seen) sleep_on(&team.order, seen);
    atomic_fetch_sub(&team.sleepers, 1);
    return now;
}

// Leaves the processors of the members before this one, when there are others.
static void keep_apart(int worker) {
    int here = sched_getcpu();
    bool shared = false;
    for (int i = 0; i < worker && !shared; i++)
        shared = atomic_load_explicit(&team.processor[i], memory_order_relaxed) == here;
    if (shared) {
        cpu_set_t free = team.allowed;
        for (int i = 0; i < worker; i++) {
            int taken = atomic_load_explicit(&team.processor[i], memory_order_relaxed);
            if (taken >= 0 && taken < CPU_SETSIZE) CPU_CLR((size_t)taken, &free);
        }
        if (CPU_COUNT(&free) > 0 && sched_setaffinity(0, sizeof free, &free) == 0) here = sched_getcpu();
    }
    atomic_store_explicit(&team.processor[worker], here, memory_order_relaxed);
}

static void *serve(void *argument) {
    int worker = (int)(intptr_t)argument;
    unsigned seen = 0;
    for (;;) {
        seen = next_order(seen);
        int workers = (int)(seen & 0x1ff);
        if (worker >= workers) continue;
        keep_apart(worker);
        team.member(team.context, worker, workers);
        if (atomic_fetch_sub(&team.pending, 1) == 1 && atomic_load(&team.waiting)) wake(&team.pending);
    }
    return NULL;
}

// A forked child has none of its parent's threads.
static void forget_threads(void) {
    team.started = 0;
    atomic_store(&team.sleepers, 0);
    atomic_store(&team.order, 0);
}

static int start(int wanted) {
    static bool registered;
    pthread_attr_t attributes;
    if (team.started >= wanted || pthread_attr_init(&attributes) != 0) return team.started;
    if (!registered) registered = pthread_atfork(NULL, NULL, forget_threads) == 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (team.started == 0 && sched_getaffinity(0, sizeof team.allowed, &team.allowed) != 0) CPU_ZERO(&team.allowed);
    while (team.started < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, serve, (void *)(intptr_t)(team.started + 1)) != 0) break;
        team.started++;
    }
    pthread_attr_destroy(&attributes);
    return team.started;
}

static void wait_for_all(void) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&team.pending, memory_order_acquire) == 0) return;
        relax();
    }
    atomic_store(&team.waiting, true);
    for (unsigned left; (left = atomic_load(&team.pending)) != 0;) sleep_on(&team.pending, left);
    atomic_store(&team.waiting, false);
}

void gm__team_run(int workers, gm__member *member, void *context) {
    if (workers > MOST_WORKERS) workers = MOST_WORKERS;
    int others = start(workers - 1);
    if (others > workers - 1) others = workers - 1;
    if (others < 1) {
        member(context, 0, 1);
        return;
    }
    team.member = member;
    team.context = context;
    atomic_store_explicit(&team.processor[0], sched_getcpu(), memory_order_relaxed);
    atomic_store(&team.pending, (unsigned)others);
    unsigned serial = (atomic_load(&team.order) >> 9) + 1;
    atomic_store(&team.order, serial << 9 | (unsigned)(others + 1));
    if (atomic_load(&team.sleepers) > 0) wake(&team.order);
    member(context, 0, others + 1);
    wait_for_all();
}
