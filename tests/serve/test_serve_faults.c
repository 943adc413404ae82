// SPDX-License-Identifier: Apache-2.0
// Workers that die and hang, queues that are full, deadlines that cannot be met, stopping: every request gets exactly one answer.
#include "serve/serve_test.h"

#include <math.h>

enum { MOST = 256 };

static void ask_all(test_server t, int fd[MOST], int count, long timeout_us) {
    for (int i = 0; i < count; i++) fd[i] = dial(t);
    for (int i = 0; i < count; i++) ask(fd[i], i % 200, timeout_us, "");
}

// Each answer is the right one, and the only one.
static void hear_one(int fd, int value, int by_status[600]) {
    char body[4096], wanted[32];
    int status = hear(fd, body, sizeof body);
    assert_in_range(status, 200, 599);
    by_status[status]++;
    snprintf(wanted, sizeof wanted, "\"id\":\"%d\"", value);
    if (status == 200 || strstr(body, "\"outcome\":\"dropped\"") != NULL) assert_non_null(strstr(body, wanted));
    snprintf(wanted, sizeof wanted, "\"data\":[%d]", value % 10);
    if (status == 200) assert_non_null(strstr(body, wanted));
    char more;
    assert_true(recv(fd, &more, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

static void killed_workers_lose_no_request(void **state) {
    (void)state;
    gm_server_settings s = gm_server_settings_default();
    s.workers = 2;
    s.policy = "maxbatch";
    test_server t = start_server(s, 5); // some 10 to 150 ms a batch
    int fd[MOST], by_status[600] = {0}, count = 200;
    ask_all(t, fd, count, 0);
    for (int i = 0; i < count; i++) {
        hear_one(fd[i], i % 200, by_status);
        if (i % 50 == 10) { // one after another
            long pid = told(t, "pid", i / 50 % 2);
            if (pid > 0) kill((pid_t)pid, SIGKILL);
        }
    }
    // A batch that outlives two workers is given up; one that lost a single worker is run again.
    assert_int_equal(by_status[200] + by_status[500], count);
    assert_true(by_status[200] >= count - 64);
    assert_true(told(t, "restarts", 0) + told(t, "restarts", 1) >= 1);
    for (int i = 0; i < count; i++) close(fd[i]);
    end_server(t);
}

static void a_hung_worker_is_replaced(void **state) {
    (void)state;
    gm_server_settings s = gm_server_settings_default();
    s.hang_ms = 200;
    test_server t = start_server(s, 0);
    int by_status[600] = {0};
    kill((pid_t)told(t, "pid", 0), SIGSTOP);
    int fd = dial(t);
    ask(fd, 5, 0, "");
    hear_one(fd, 5, by_status);
    assert_int_equal(by_status[200], 1); // run again by its successor
    assert_int_equal(told(t, "restarts", 0), 1);
    close(fd);
    end_server(t);
}

static void a_full_queue_refuses_at_once(void **state) {
    (void)state;
    gm_server_settings s = gm_server_settings_default();
    s.max_queue = 8;
    s.hang_ms = 60000;
    test_server t = start_server(s, 40);
    int fd[MOST], by_status[600] = {0}, count = 120;
    ask_all(t, fd, count, 0);
    for (int i = 0; i < count; i++) hear_one(fd[i], i % 200, by_status);
    assert_int_equal(by_status[200] + by_status[429], count);
    assert_true(by_status[429] > 0 && by_status[200] >= 8);
    for (int i = 0; i < count; i++) close(fd[i]);
    assert_int_equal(told(t, "rejected", 0), by_status[429]);
    end_server(t);
}

static void hopeless_requests_are_answered_by_timer_not_by_the_worker(void **state) {
    (void)state;
    gm_server_settings s = gm_server_settings_default();
    s.hang_ms = 600000;
    test_server t = start_server(s, 5000); // its worker is busy for seven seconds at least
    int by_status[600] = {0};
    int slow = dial(t), urgent = dial(t);
    ask(slow, 1, 0, "");
    while (told(t, "received", 0) < 1) {}
    ask(urgent, 2, 30000, "");
    hear_one(urgent, 2, by_status);
    assert_int_equal(by_status[503], 1);
    char any;
    assert_true(recv(slow, &any, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN); // still busy
    close(slow);
    close(urgent);
    kill(t.pid, SIGKILL); // nobody waits for the worker, which ends with its server
    waitpid(t.pid, NULL, 0);
}

static void a_floor_that_no_subnet_reaches_is_refused(void **state) {
    (void)state;
    test_server t = start_server(gm_server_settings_default(), 0);
    static const char body[] = "{\"parameters\":{\"min_accuracy\":99},\"inputs\":[{\"name\":\"x\",\"shape\":[1,1],\"datatype\":\"UINT8\",\"data\":[1]}]}";
    char text[512], answer[1024];
    snprintf(text, sizeof text, "POST /v2/models/m/infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", sizeof body - 1, body);
    assert_int_equal(exchange(t, text, answer, sizeof answer), 400);
    assert_non_null(strstr(answer, "min_accuracy"));
    end_server(t);
}

static void stopping_answers_what_is_in_flight(void **state) {
    (void)state;
    gm_server_settings s = gm_server_settings_default();
    s.hang_ms = 60000;
    test_server t = start_server(s, 100);
    int fd[MOST], by_status[600] = {0}, count = 20;
    ask_all(t, fd, count, 0);
    while (told(t, "received", 0) < count) {}
    kill(t.pid, SIGTERM);
    char body[1024];
    while (get(t, "/v2/health/ready", body, sizeof body) != 503) {} // still reachable, and says so
    int late = dial(t);
    ask(late, 9, 0, "");
    assert_int_equal(hear(late, body, sizeof body), 503);
    for (int i = 0; i < count; i++) {
        char answer[4096];
        assert_int_equal(hear(fd[i], answer, sizeof answer), 200);
        by_status[200]++;
    }
    int how = 0;
    assert_int_equal(waitpid(t.pid, &how, 0), t.pid);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    for (int i = 0; i < count; i++) close(fd[i]);
    close(late);
}

// ---------------------------------------------------------------------------------------------
// The load generator against the server.
static gm_dataset digits(void) {
    static uint8_t pixels[40 * 16];
    static int32_t labels[40];
    for (int i = 0; i < 40; i++) {
        memset(pixels + i * 16, i, 16);
        labels[i] = i % 4 == 3 ? (i + 1) % 10 : i % 10; // a quarter is labelled wrong
    }
    return (gm_dataset){.images = 40, .height = 4, .width = 4, .channels = 1, .classes = 10, .pixels = pixels, .labels = labels};
}

static gm_replay_result play(test_server t, const gm_dataset *d, int count, double rate, double slo_ms, gm_replay_encoding encoding) {
    char url[64];
    int64_t at[4000];
    gm_trace trace = {at, count};
    gm_error err = {0};
    gm_replay_result r;
    for (int i = 0; i < count; i++) at[i] = (int64_t)((double)i / rate * 1e9);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", t.port);
    gm_replay_settings s = gm_replay_settings_default();
    s.url = url;
    s.slo_ms = slo_ms;
    s.patience_s = 60;
    s.connections = 64;
    s.encoding = encoding;
    gm_replay_fate *fate = calloc((size_t)count, sizeof *fate);
    if (gm_replay_run(&s, &trace, d, fate, &r, &err) != GM_OK) fail_msg("%s", err.text);
    uint64_t sum = 0;
    for (int o = 0; o < GM_OUTCOMES; o++) sum += r.outcome[o];
    assert_int_equal(sum, count);
    assert_int_equal(r.sent, count);
    for (int i = 0; i < count; i++) {
        assert_true(fate[i].sent_ns >= fate[i].due_ns);
        if (fate[i].status == 200) assert_int_equal(fate[i].answer, fate[i].image % 10);
    }
    free(fate);
    return r;
}

static void replay_measures_accuracy_and_attainment(void **state) {
    (void)state;
    gm_server_settings s = gm_server_settings_default();
    s.hang_ms = 60000; // a worker that waits for a processor does not hang
    test_server t = start_server(s, 0);
    gm_dataset d = digits();
    for (int e = GM_REPLAY_BINARY; e <= GM_REPLAY_JSON; e++) {
        gm_replay_result r = play(t, &d, 400, 2000, 0, (gm_replay_encoding)e);
        assert_int_equal(r.outcome[GM_OUTCOME_MET], 400);
        assert_int_equal(r.lost, 0);
        assert_true(fabs(r.accuracy_measured - 75) < 1e-9);
        assert_true(r.accuracy_served > 70 && r.accuracy_served < 81);
    }
    // Noise, of the size that the server tells.
    gm_replay_settings settings = gm_replay_settings_default();
    char url[64];
    int64_t at[10] = {0};
    gm_trace trace = {at, 10};
    gm_replay_result r;
    gm_error err = {0};
    gm_replay_server server;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", t.port);
    settings.url = url;
    if (gm_replay_run(&settings, &trace, NULL, NULL, &r, &err) != GM_OK) fail_msg("%s", err.text);
    assert_int_equal(r.outcome[GM_OUTCOME_MET], 10);
    assert_true(isnan(r.accuracy_measured));
    assert_int_equal(gm_replay_ask(&settings, &server, &err), GM_OK);
    assert_true(server.smallest_qps > 0);
    assert_string_equal(server.policy, "gamut");
    end_server(t);
    assert_int_not_equal(gm_replay_run(&settings, &trace, NULL, NULL, &r, &err), GM_OK); // nobody there
}

static void overload_and_killed_workers_leave_the_sums_right(void **state) {
    (void)state;
    gm_server_settings s = gm_server_settings_default();
    s.workers = 2;
    s.max_queue = 64;
    test_server t = start_server(s, 3); // three times as slow as it believes
    gm_dataset d = digits();
    fflush(NULL);
    pid_t killer = fork();
    if (killer == 0) {
        for (int i = 0; i < 6; i++) {
            usleep(150000);
            long pid = told(t, "pid", i % 2);
            if (pid > 0) kill((pid_t)pid, SIGKILL);
        }
        _exit(0);
    }
    gm_replay_result r = play(t, &d, 2000, 2000, 36, GM_REPLAY_BINARY);
    assert_int_equal(r.lost, 0);
    waitpid(killer, NULL, 0);
    end_server(t);
}

static long resident_kib(pid_t pid) {
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (kib < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "RssAnon:", 8) == 0) kib = strtol(line + 8, NULL, 10);
    fclose(f);
    return kib;
}

static void memory_stays_flat(void **state) {
    (void)state;
    gm_server_settings s = gm_server_settings_default();
    s.hang_ms = 60000;
    test_server t = start_server(s, 0);
    gm_dataset d = digits();
    // A flood first: it opens as many connections as a slow machine will need later.
    assert_int_equal(play(t, &d, 3000, 200000, 0, GM_REPLAY_BINARY).outcome[GM_OUTCOME_MET], 3000);
    long before = resident_kib(t.pid);
    for (int i = 0; i < 4; i++) // some are too late on a slow machine, but room there is
        assert_int_equal(play(t, &d, 3000, 5000, 20, GM_REPLAY_BINARY).outcome[GM_OUTCOME_REJECTED], 0);
    long after = resident_kib(t.pid);
#ifndef GAMUT_SANITIZED // which keeps what was freed
    if (after > before + 512) fail_msg("%ld KiB after 3,000 requests, %ld KiB after 15,000", before, after);
#endif
    (void)before;
    (void)after;
    end_server(t);
}

int main(void) {
    gm_log_set(GM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_workers_lose_no_request),
        cmocka_unit_test(a_hung_worker_is_replaced),
        cmocka_unit_test(a_full_queue_refuses_at_once),
        cmocka_unit_test(hopeless_requests_are_answered_by_timer_not_by_the_worker),
        cmocka_unit_test(a_floor_that_no_subnet_reaches_is_refused),
        cmocka_unit_test(stopping_answers_what_is_in_flight),
        cmocka_unit_test(replay_measures_accuracy_and_attainment),
        cmocka_unit_test(overload_and_killed_workers_leave_the_sums_right),
        cmocka_unit_test(memory_stays_flat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
