// SPDX-License-Identifier: Apache-2.0
// A worker that computes uses up its slice (about 3 ms) before a thread that has just been woken gets the processor, unless that
// one has asked for shorter slices (Linux 6.12: sched_setattr with a runtime, 0.1 ms at least; older ones ignore it). On a
// machine whose processors are all busy with workers that wait was the server's largest part of a late answer.
#include "serve/turns.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

static const uint64_t SHORT_NS = 100000;
static const uint64_t RESET_ON_FORK = 1;

struct attributes { // struct sched_attr of the kernel, first version; libc 2.36 has none
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

gm__turns gm__turns_short(void) {
    struct attributes a = {.size = sizeof a};
    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0 || a.policy != SCHED_OTHER) return (gm__turns){0};
    gm__turns before = {a.runtime, 1};
    a.runtime = SHORT_NS;
    a.flags |= RESET_ON_FORK;
    if (syscall(SYS_sched_setattr, 0, &a, 0) != 0) before.known = 0;
    return before;
}

void gm__turns_restore(gm__turns t) {
    struct attributes a = {.size = sizeof a};
    if (!t.known || syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0) return;
    a.runtime = t.before_ns;
    syscall(SYS_sched_setattr, 0, &a, 0);
}
