// SPDX-License-Identifier: Apache-2.0
// CPU levels, clocks, signals, log and progress.
#include "base_test.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static void a_level_can_only_be_forced_down(void **state) {
    (void)state;
    gm_cpu_level most = gm_cpu_detected();
    printf("processor: %s, level %s\n", gm_cpu_model(), gm_cpu_level_name(most));
    assert_string_not_equal(gm_cpu_model(), "");
    for (int level = GM_CPU_REF; level <= GM_CPU_AMX; level++) {
        gm_cpu_force((gm_cpu_level)level);
        assert_int_equal(gm_cpu_active(), gm_min(level, (int)most));
    }
    gm_cpu_force(most);
    assert_string_equal(gm_cpu_level_name(GM_CPU_AVX512), "avx512");
    assert_string_equal(gm_cpu_level_name((gm_cpu_level)17), "unknown");
}

// What this program, started anew with GAMUT_CPU=value, says that it uses.
static int level_with(const char *value) {
    pid_t child = fork();
    if (child == 0) {
        setenv("GAMUT_CPU", value, 1);
        if (!freopen("/dev/null", "w", stderr)) _exit(99);
        execl("/proc/self/exe", "self", "print-level", (char *)NULL);
        _exit(99);
    }
    int how;
    waitpid(child, &how, 0);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

static void the_environment_forces_a_level(void **state) {
    (void)state;
    int most = (int)gm_cpu_detected();
    assert_int_equal(level_with("ref"), GM_CPU_REF);
    assert_int_equal(level_with("avx2"), gm_min(GM_CPU_AVX2, most));
    assert_int_equal(level_with("avx512"), gm_min(GM_CPU_AVX512, most));
    assert_int_equal(level_with("amx"), most);
    assert_int_equal(level_with(""), most);
    assert_int_equal(level_with("fast"), most); // not a level: a warning, and as if unset
}

static void the_clock_never_goes_back(void **state) {
    (void)state;
    const gm_clock *clock = gm_clock_system();
    double before = clock->now(clock->self);
    clock->sleep(clock->self, 0.002);
    double after = gm_now();
    assert_true(after - before >= 0.002);
    clock->sleep(clock->self, -1); // returns at once
    clock->sleep(clock->self, 0);
}

// Runs work with standard error going to the writing end; gives what arrived at the reading end.
static void capture(void (*work)(void), int writing, int reading, char *out, size_t room) {
    static const char end[] = "<end>"; // a terminal hands over its bytes late, so wait for the last ones
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    dup2(writing, STDERR_FILENO);
    work();
    fputs(end, stderr);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    size_t used = 0;
    char *found;
    do {
        ssize_t n = read(reading, out + used, room - 1 - used);
        assert_true(n > 0);
        used += (size_t)n;
        out[used] = '\0';
        found = strstr(out, end);
    } while (!found);
    *found = '\0';
}

static void capture_pipe(void (*work)(void), char *out, size_t room) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    capture(work, ends[1], ends[0], out, room);
    close(ends[0]);
    close(ends[1]);
}

static void count_to_hundred(void) {
    gm_progress *p;
    assert_int_equal(gm_progress_create("train", 100, &p, NULL), GM_OK);
    for (uint64_t i = 0; i <= 100; i++) gm_progress_update(p, i, i == 100 ? "loss 0.31" : NULL);
    gm_progress_destroy(p);
}

static void count_without_an_end(void) {
    gm_progress *p;
    assert_int_equal(gm_progress_create("read", 0, &p, NULL), GM_OK);
    gm_progress_update(p, 1234, NULL);
    gm_progress_destroy(p);
}

// One line of the form: head, some time, tail.
static void expect_line(const char *out, const char *head, const char *tail) {
    size_t bytes = strlen(out);
    assert_true(bytes > strlen(tail));
    assert_memory_equal(out, head, strlen(head));
    assert_string_equal(out + bytes - strlen(tail), tail);
    assert_ptr_equal(strchr(out, '\n'), out + bytes - 1);
}

static void piped_progress_is_one_plain_line(void **state) {
    (void)state;
    char out[4096];
    capture_pipe(count_to_hundred, out, sizeof out);
    expect_line(out, "train 100%, ", " so far, loss 0.31\n");
    capture_pipe(count_without_an_end, out, sizeof out);
    expect_line(out, "read 1234, ", " so far\n");
}

static void quiet_progress_is_silent(void **state) {
    (void)state;
    char out[4096];
    gm_progress_quiet(true);
    capture_pipe(count_to_hundred, out, sizeof out);
    gm_progress_quiet(false);
    assert_string_equal(out, "");
}

static void log_amid_a_bar(void) {
    gm_progress *p;
    assert_int_equal(gm_progress_create("train", 100, &p, NULL), GM_OK);
    const gm_clock *clock = gm_clock_system();
    clock->sleep(clock->self, 0.12); // a bar is drawn at most every 0.1 s
    gm_progress_update(p, 50, NULL);
    gm_log(GM_LOG_WARN, "amid");
    gm_progress_update(p, 60, NULL);
    gm_progress_destroy(p);
}

static void a_terminal_gets_a_bar_that_logs_do_not_break(void **state) {
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        printf("skipped: needs a pseudo-terminal\n");
        skip();
    }
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    char out[4096];
    capture(log_amid_a_bar, terminal, master, out, sizeof out);
    assert_non_null(strstr(out, "train [############............] 50%, "));
    assert_non_null(strstr(out, "left\r\033[Kwarning: amid\r\n"));
    assert_non_null(strstr(out, "60%"));
    assert_int_equal(out[strlen(out) - 1], '\n');
    close(terminal);
    close(master);
}

static void log_all_levels(void) {
    gm_log(GM_LOG_ERROR, "e%d", 1);
    gm_log(GM_LOG_WARN, "w");
    gm_log(GM_LOG_INFO, "i");
    gm_log(GM_LOG_DEBUG, "d");
}

static void the_log_keeps_to_its_level(void **state) {
    (void)state;
    char out[4096];
    capture_pipe(log_all_levels, out, sizeof out);
    assert_string_equal(out, "error: e1\nwarning: w\ni\n");
    gm_log_set(GM_LOG_ERROR);
    capture_pipe(log_all_levels, out, sizeof out);
    assert_string_equal(out, "error: e1\n");
    gm_log_set(GM_LOG_DEBUG);
    capture_pipe(log_all_levels, out, sizeof out);
    assert_string_equal(out, "error: e1\nwarning: w\ni\ndebug: d\n");
    gm_log_set(GM_LOG_INFO);
}

static gm_status make_progress(gm_error *err) {
    gm_progress *p;
    gm_status status = gm_progress_create("x", 1, &p, err);
    gm_progress_destroy(p);
    return status;
}

static void progress_survives_failing_allocations(void **state) {
    (void)state;
    gm_progress_quiet(true);
    with_failing_allocations(make_progress);
    gm_progress_quiet(false);
}

static void the_first_signal_asks_and_the_second_ends(void **state) {
    (void)state;
    gm_interrupt_install();
    assert_false(gm_interrupted());
    raise(SIGTERM);
    assert_true(gm_interrupted());
    pid_t child = fork();
    if (child == 0) {
        raise(SIGTERM);
        _exit(0);
    }
    int how;
    waitpid(child, &how, 0);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGTERM);
    gm_interrupt_install();
    assert_false(gm_interrupted());
}

static void the_version_is_known(void **state) {
    (void)state;
    int major, minor, patch;
    assert_int_equal(sscanf(gm_version(), "%d.%d.%d", &major, &minor, &patch), 3);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "print-level") == 0) return (int)gm_cpu_active();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_level_can_only_be_forced_down),
        cmocka_unit_test(the_environment_forces_a_level),
        cmocka_unit_test(the_clock_never_goes_back),
        cmocka_unit_test(piped_progress_is_one_plain_line),
        cmocka_unit_test(quiet_progress_is_silent),
        cmocka_unit_test(a_terminal_gets_a_bar_that_logs_do_not_break),
        cmocka_unit_test(the_log_keeps_to_its_level),
        cmocka_unit_test(progress_survives_failing_allocations),
        cmocka_unit_test(the_first_signal_asks_and_the_second_ends),
        cmocka_unit_test(the_version_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
