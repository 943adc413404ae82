// SPDX-License-Identifier: Apache-2.0
// A process that saves is killed at every system call that it makes, whatever the call is for: the tracer counts entries and
// exits. The folder is never emptied in between: each process goes on where the killed one left it.
#include "checkpoint_test.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#ifdef GAMUT_SANITIZED
enum { STRIDE = 11 };
#else
enum { STRIDE = 1 };
#endif

static int newest(const char *folder) {
    gm_error err = {0};
    uint8_t *image = NULL;
    size_t bytes = 0;
    gm_checkpoint_info info;
    int step = 0;
    assert_ok(gm_checkpoint_load(folder, 0, &image, &bytes, &info, &err));
    assert_int_equal(sscanf(info.note, "{\"step\":%d}", &step), 1);
    blob b = make_state(step);
    assert_true(same_blob(b, image, bytes));
    gm_free(b.data);
    gm_free(image);
    return step;
}

static gm_checkpoint_settings settings(void) {
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    s.full_every = 3;
    s.keep_last = 2;
    return s;
}

// Runs the child until stop number `at`, then kills it. Returns the number of stops when it ended before, else 0; -1: it
// cannot be traced here.
static long trace(const char *folder, int step, long at) {
    pid_t child = fork();
    if (child == 0) {
        gm_checkpoint_settings s = settings();
        gm_alloc_live();
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(77);
        raise(SIGSTOP);
        _exit(save_steps(folder, step, step, &s, NULL) == GM_OK ? 0 : 1);
    }
    int status = 0;
    long stops = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) return -1;
    // Threads of the child are traced, too; they die with the tracer's word.
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)options) != 0 || ptrace(PTRACE_SYSCALL, child, NULL, NULL) != 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        return -1;
    }
    for (;;) {
        pid_t who = waitpid(-1, &status, __WALL);
        if (who < 0 && errno == EINTR) continue;
        assert_true(who > 0);
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (who != child) continue; // one of its threads
            if (WIFSIGNALED(status)) return 0;
            assert_int_equal(WEXITSTATUS(status), 0);
            return stops;
        }
        int signal = WSTOPSIG(status), pass = 0;
        if (signal == (SIGTRAP | 0x80)) {
            if (++stops == at) kill(child, SIGKILL);
        } else if (signal != SIGTRAP && signal != SIGSTOP) {
            pass = signal;
        }
        ptrace(PTRACE_SYSCALL, who, NULL, (void *)(intptr_t)pass);
    }
}

static void killed_at_every_system_call(void **state) {
    (void)state;
    gm_error err = {0};
    char folder[FOLDER];
    gm_checkpoint_settings s = settings();
    fresh_folder("traced", folder);
    assert_ok(save_steps(folder, 1, 1, &s, &err));
    int have = 1, kills = 0, committed = 0;
    gm_log_set(GM_LOG_ERROR);
    for (long at = 1;; at += STRIDE) {
        long stops = trace(folder, have + 1, at);
        if (stops < 0) {
            print_message("skipped: needs ptrace\n");
            return;
        }
        int now = newest(folder);
        assert_true(now == have || now == have + 1);
        if (stops > 0) {
            assert_int_equal(now, have + 1);
            break;
        }
        committed += now > have;
        kills++;
        // States of high steps take long to make: start over, in the same folder, which numbers on.
        have = now;
        if (have > 12) {
            assert_ok(gm_checkpoint_clear(folder, &err));
            assert_ok(save_steps(folder, 1, 1, &s, &err));
            have = 1;
        }
    }
    gm_log_set(GM_LOG_INFO);
    print_message("killed at %d stops, %d of them behind the commit\n", kills, committed);
    assert_true(kills > 20 && committed > 0);
}

int main(void) {
    // In memory, where there is such a folder: a process that dies loses nothing of a file that it has written.
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_every_system_call)};
    return cmocka_run_group_tests(tests, make_folder, remove_all);
}
