// SPDX-License-Identifier: Apache-2.0
#include <gamut/base.h>
#include <signal.h>
#include <stdatomic.h>

static atomic_int interrupted; // lock-free, so safe in a signal handler

static void on_signal(int number) {
    (void)number;
    atomic_store(&interrupted, 1);
}

void gm_interrupt_install(void) {
    atomic_store(&interrupted, 0);
    // One-shot: a second signal has its usual effect, should the work not poll in time.
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool gm_interrupted(void) {
    return atomic_load_explicit(&interrupted, memory_order_relaxed) != 0;
}
