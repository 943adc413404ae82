// SPDX-License-Identifier: Apache-2.0
#include "base/terminal.h"
#include <gamut/base.h>
#include <pthread.h>
#include <stdatomic.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool bar_drawn;
static atomic_int most_verbose = GM_LOG_INFO;

void gm__terminal_lock(void) {
    pthread_mutex_lock(&lock);
}

void gm__terminal_unlock(void) {
    pthread_mutex_unlock(&lock);
}

void gm__terminal_wipe_bar(void) {
    if (bar_drawn) fputs("\r\033[K", stderr);
    bar_drawn = false;
}

void gm__terminal_bar_drawn(bool drawn) {
    bar_drawn = drawn;
}

void gm_log_set(gm_log_level level) {
    atomic_store(&most_verbose, (int)level);
}

void gm_log(gm_log_level level, const char *format, ...) {
    if ((int)level > atomic_load_explicit(&most_verbose, memory_order_relaxed)) return;
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    va_list args;
    va_start(args, format);
    gm__terminal_lock();
    gm__terminal_wipe_bar();
    fputs(prefix[level], stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    gm__terminal_unlock();
    va_end(args);
}
