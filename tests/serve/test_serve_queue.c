// SPDX-License-Identifier: Apache-2.0
// Who leaves the queue without having been served: requests whose client went away, and less important ones of a full queue.
#include "serve/serve_test.h"

enum { MOST = 64 };

// A server whose only worker is busy for a second or more with the connection `busy`.
static test_server occupied(gm_server_settings s, int *busy) {
    s.hang_ms = 600000;
    test_server t = start_server(s, 300);
    *busy = dial(t);
    ask(*busy, 1, 0, "");
    while (counted(t, "running") < 1) {}
    return t;
}

static void until(test_server t, const char *name, long value) {
    while (counted(t, name) != value) usleep(1000); // ctest ends it when that never comes
}

static void a_client_that_goes_away_takes_its_request_along(void **state) {
    (void)state;
    int busy, fd[MOST], count = 20;
    test_server t = occupied(gm_server_settings_default(), &busy);
    for (int i = 0; i < count; i++) fd[i] = dial(t);
    for (int i = 0; i < count; i++) ask(fd[i], i, 0, "");
    until(t, "queue_length", count);
    for (int i = 0; i < count; i++) {
        struct linger reset = {.l_onoff = i % 2};
        setsockopt(fd[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd[i]);
    }
    until(t, "withdrawn_total", count);
    assert_int_equal(counted(t, "queue_length"), 0);
    assert_int_equal(counted(t, "running"), 1); // that one still runs: nobody waited for the worker
    assert_int_equal(hear(busy, NULL, 0), 200);
    assert_int_equal(counted(t, "batches_total"), 1);
    close(busy);
    until(t, "connections", 1); // the one that asks
    long most = counted(t, "connections_most");
    assert_true(most >= count + 2 && most <= count + 4); // the busy one and one that asked, or the next before it was gone
    end_server(t);
}

static void a_request_in_a_worker_outlives_its_client(void **state) {
    (void)state;
    int busy, fd;
    test_server t = occupied(gm_server_settings_default(), &busy);
    close(busy);
    fd = dial(t);
    ask(fd, 7, 0, "");
    assert_int_equal(hear(fd, NULL, 0), 200);
    assert_int_equal(counted(t, "withdrawn_total"), 0);
    close(fd);
    end_server(t);
}

static void what_a_request_of_several_images_has_in_the_queue_leaves_it_whole(void **state) {
    (void)state;
    int busy, images = 40;
    test_server t = occupied(gm_server_settings_default(), &busy);
    char body[4096], text[8192];
    int n = snprintf(body, sizeof body, "{\"inputs\":[{\"name\":\"image\",\"shape\":[%d,1,1,1],\"datatype\":\"UINT8\",\"data\":[5", images);
    for (int i = 1; i < images; i++) n += snprintf(body + n, sizeof body - (size_t)n, ",5");
    n += snprintf(body + n, sizeof body - (size_t)n, "]}]}");
    snprintf(text, sizeof text, "POST /v2/models/m/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", n, body);
    int fd = dial(t);
    say(fd, text);
    shutdown(fd, SHUT_WR); // as good as gone
    until(t, "withdrawn_total", images);
    assert_int_equal(counted(t, "queue_length"), 0);
    close(fd);
    close(busy);
    end_server(t);
}

// One request with parameters of this text.
static void ask_with(int fd, int value, const char *parameters) {
    char body[512], text[1024];
    int n = snprintf(body, sizeof body, "{\"parameters\":{%s},\"inputs\":[{\"name\":\"image\",\"shape\":[1,1],\"datatype\":\"UINT8\",\"data\":[%d]}]}", parameters, value);
    snprintf(text, sizeof text, "POST /v2/models/m/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", n, body);
    say(fd, text);
}

static void a_full_queue_refuses_the_least_important_first(void **state) {
    (void)state;
    enum { LIMIT = 4, EACH = 3 };
    char body[4096];
    int busy, fd[3 * EACH];
    gm_server_settings s = gm_server_settings_default();
    s.max_queue = LIMIT;
    test_server t = occupied(s, &busy);
    static const char *const parameters[] = {"\"priority\":1000", "", "\"priority\":1"};
    for (int i = 0; i < 3 * EACH; i++) {
        fd[i] = dial(t);
        ask_with(fd[i], i % 10, parameters[i / EACH]);
        until(t, "queries_received_total", 2 + i);
    }
    // 9 for 4 places: the three that matter most, and the first of those that say nothing.
    for (int i = 0; i < 3 * EACH; i++) assert_int_equal(hear(fd[i], body, sizeof body), i == EACH || i >= 2 * EACH ? 200 : 429);
    for (int i = 0; i < 3 * EACH; i++) close(fd[i]);
    close(busy);
    end_server(t);
}

int main(void) {
    gm_log_set(GM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_that_goes_away_takes_its_request_along),
        cmocka_unit_test(a_request_in_a_worker_outlives_its_client),
        cmocka_unit_test(what_a_request_of_several_images_has_in_the_queue_leaves_it_whole),
        cmocka_unit_test(a_full_queue_refuses_the_least_important_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
