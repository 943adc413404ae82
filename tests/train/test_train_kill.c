// SPDX-License-Identifier: Apache-2.0
// SIGKILL at 20 random moments: the run goes on each time and ends with the bits of an undisturbed one.
#include "train_test.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum { KILLS = 20 };

static gm_train_settings settings_of_run(void) {
    gm_train_settings s = small_settings();
    s.epochs = 16;
    s.eval_every = 5;
    s.checkpoint_seconds = 0;
    return s;
}

// The run itself, in a process that can be killed.
static int child(const char *folder) {
    gm_error err = {0};
    gm_train_result result;
    gm_train_settings s = settings_of_run();
    gm_threads_set(1);
    gm_dataset *d = make_data(384, 12, 1, 4, 1);
    gm_status status = gm__train_with(&s, d, NULL, folder, true, NULL, NULL, &result, &err);
    if (status != GM_OK) fprintf(stderr, "%s\n", err.text);
    gm_dataset_destroy(d);
    return status == GM_OK ? 0 : 1;
}

static pid_t start(const char *folder) {
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test_train_kill", folder, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static int end_of(pid_t pid) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void a_killed_run_ends_with_the_same_bits(void **state) {
    (void)state;
    char whole[256], killed[256];
    folder_name(whole, sizeof whole, "whole");
    folder_name(killed, sizeof killed, "killed");
    assert_int_equal(end_of(start(whole)), 0);
    uint64_t seed = (uint64_t)time(NULL);
    gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
    int kills = 0;
    for (int i = 0; i < KILLS; i++) {
        pid_t pid = start(killed);
        struct timespec wait = {.tv_nsec = (long)(5 + gm_rng_below(&rng, 250)) * 1000000};
        nanosleep(&wait, NULL);
        kill(pid, SIGKILL);
        if (WIFSIGNALED(end_of(pid))) kills++;
        else break; // it was done before the signal came
    }
    print_message("seed %llu: killed %d times\n", (unsigned long long)seed, kills);
    char model[300];
    snprintf(model, sizeof model, "%s/model.safetensors", killed);
    if (!gm_path_exists(model)) assert_int_equal(end_of(start(killed)), 0);
    assert_same_model(whole, killed);
    folder_remove(whole);
    folder_remove(killed);
}

int main(int argc, char **argv) {
    if (argc > 1) return child(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_killed_run_ends_with_the_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
