// SPDX-License-Identifier: Apache-2.0
#include "base/terminal.h"
#include <gamut/base.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_CELLS = 24, MOST_COLUMNS = 240 };

struct gm_progress {
    char title[64];
    char note[128];
    uint64_t total; // 0: not known
    uint64_t done;
    double started;
    double shown; // when the last line was written
    bool terminal;
    bool stale; // something changed since
};

static atomic_bool all_quiet;

void gm_progress_quiet(bool quiet) {
    atomic_store(&all_quiet, quiet);
}

gm_status gm_progress_create(const char *title, uint64_t total, gm_progress **out, gm_error *err) {
    gm_progress *p = gm_alloc(1, sizeof *p);
    *out = p;
    if (!p) return gm_fail(err, GM_ERR_MEMORY, "no memory for the progress of '%s'", title);
    snprintf(p->title, sizeof p->title, "%s", title);
    p->total = total;
    p->started = gm_now();
    p->terminal = isatty(STDERR_FILENO) == 1;
    p->shown = p->started;
    return GM_OK;
}

static void format_time(char *text, size_t bytes, double seconds) {
    if (seconds < 0) seconds = 0;
    if (seconds > 359999) seconds = 359999; // 99:59:59
    int s = (int)(seconds + 0.5);
    if (s >= 3600) {
        snprintf(text, bytes, "%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(text, bytes, "%d:%02d", s / 60, s % 60);
    }
}

static int columns(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
    return gm_min(size.ws_col, MOST_COLUMNS);
}

static void show(gm_progress *p, double now) {
    char line[2 * MOST_COLUMNS], time_text[16];
    double spent = now - p->started;
    bool known = p->total > 0;
    double part = known ? (double)p->done / (double)p->total : 0;
    if (part > 1) part = 1;
    bool finished = known && p->done >= p->total;
    bool guess = known && !finished && p->done > 0;
    format_time(time_text, sizeof time_text, guess ? spent / part - spent : spent);
    char bar[BAR_CELLS + 4] = "";
    if (p->terminal && known) {
        int full = (int)(part * BAR_CELLS);
        bar[0] = '[';
        memset(bar + 1, '#', (size_t)full);
        memset(bar + 1 + full, '.', (size_t)(BAR_CELLS - full));
        memcpy(bar + 1 + BAR_CELLS, "] ", 3);
    }
    char amount[48];
    if (known) {
        snprintf(amount, sizeof amount, "%.0f%%", 100 * part);
    } else {
        snprintf(amount, sizeof amount, "%llu", (unsigned long long)p->done);
    }
    snprintf(line, sizeof line, "%s %s%s, %s %s%s%s", p->title, bar, amount, time_text,
             guess ? "left" : "so far", p->note[0] ? ", " : "", p->note);
    if (p->terminal) {
        gm__terminal_wipe_bar();
        fprintf(stderr, "%.*s", columns() - 1, line);
        fflush(stderr);
        gm__terminal_bar_drawn(true);
    } else {
        fprintf(stderr, "%s\n", line);
    }
    p->shown = now;
    p->stale = false;
}

void gm_progress_update(gm_progress *p, uint64_t done, const char *note) {
    if (!p || atomic_load_explicit(&all_quiet, memory_order_relaxed)) return;
    double now = gm_now();
    gm__terminal_lock();
    p->done = done;
    p->stale = true;
    snprintf(p->note, sizeof p->note, "%s", note ? note : "");
    if (now - p->shown >= (p->terminal ? 0.1 : 10.0)) show(p, now);
    gm__terminal_unlock();
}

void gm_progress_destroy(gm_progress *p) {
    if (!p) return;
    if (!atomic_load(&all_quiet)) {
        gm__terminal_lock();
        if (p->stale) show(p, gm_now());
        if (p->terminal) fputc('\n', stderr);
        gm__terminal_bar_drawn(false);
        gm__terminal_unlock();
    }
    gm_free(p);
}
