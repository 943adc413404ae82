// SPDX-License-Identifier: Apache-2.0
// The HTTP front: hostile, slow and mistaken clients (specs: hardening 5 and 9, server vectors). After each the server answers
// others as before.
#include "serve/serve_test.h"

static test_server server;

static void still_serves(void) {
    char body[4096];
    int fd = dial(server);
    ask(fd, 7, 0, "");
    assert_int_equal(hear(fd, body, sizeof body), 200);
    assert_non_null(strstr(body, "\"data\":[7]"));
    close(fd);
}

static void refuses(const char *request, int status, const char *says) {
    char body[4096] = "";
    int got = exchange(server, request, body, sizeof body);
    if (got != status) fail_msg("status %d, not %d, for:\n%.200s\n%s", got, status, request, body);
    if (strstr(body, says) == NULL) fail_msg("'%s' does not say '%s'", body, says);
    still_serves();
}

#define INFER "POST /v2/models/m/infer HTTP/1.1\r\nHost: localhost\r\n"
#define JSON "Content-Type: application/json\r\n"

static void mistaken_requests_are_told_why(void **state) {
    (void)state;
    refuses(INFER JSON "Content-Length: 2\r\n\r\n{}", 400, "no inputs");
    refuses(INFER JSON "Content-Length: 0\r\n\r\n", 400, "expected '{'");
    refuses(INFER "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415, "content type");
    refuses(INFER JSON "Content-Length: 2\r\nInference-Header-Content-Length: 3\r\n\r\n{}", 400, "has 2 bytes");
    refuses(INFER JSON "Content-Length: 2\r\nInference-Header-Content-Length: -1\r\n\r\n{}", 400, "number of bytes");
    refuses("GET /v2/models/other HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "no such model");
    refuses("GET /v2/models/m/versions/2 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "it has version 1");
    refuses("GET /v2/models/m/versions/11/ready HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "it has version 1");
    refuses("POST /v2/models/m/versions/0/infer HTTP/1.1\r\nHost: localhost\r\n" JSON "Content-Length: 2\r\n\r\n{}", 404, "it has version 1");
    refuses("GET /v2/models/m/versions/latest HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "whole number");
    refuses("GET /v2/models/m/versions/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "whole number");
    refuses("GET /v2/models/other/versions/2 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "no such model");
    refuses("GET /v2/models/m/versions/1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "no such path");
    refuses("POST /v2/models/m/versions/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405, "method");
    refuses("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "no such path");
    refuses("DELETE /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "method");
    refuses("POST /v2/health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405, "method");
    refuses("POST /v2/repository/models/m/load HTTP/1.1\r\nHost: localhost\r\n" JSON "Content-Length: 2\r\n\r\n{}", 501, "neither loaded");
    refuses("GET /v2 HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "host");
    refuses("GET /v2 HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 403, "other sites");
}

static void ambiguous_and_oversized_requests_are_refused(void **state) {
    (void)state;
    char text[40000];
    refuses(INFER JSON "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "");
    refuses(INFER JSON "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "");
    refuses(INFER JSON "Content-Length: 99999\r\n\r\n", 413, "takes at most");
    int n = snprintf(text, sizeof text, "GET /v2 HTTP/1.1\r\nHost: localhost\r\n");
    for (int i = 0; i < 101; i++) n += snprintf(text + n, sizeof text - (size_t)n, "X-%d: y\r\n", i);
    snprintf(text + n, sizeof text - (size_t)n, "\r\n");
    refuses(text, 431, "fields");
    // More than the memory of a connection: the library's own answer.
    memset(text, 'a', sizeof text);
    memcpy(text, "GET /", 5);
    snprintf(text + sizeof text - 64, 64, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    int status = exchange(server, text, NULL, 0);
    assert_true(status == 0 || (status >= 400 && status < 500));
    // Chunks that never end, and one that claims to be larger than memory: cut.
    int fd = dial(server);
    say(fd, INFER JSON "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 64; i++) say(fd, "400\r\n"), say_bytes(fd, text, 0x400), say(fd, "\r\n");
    status = hear(fd, NULL, 0);
    assert_true(status == 0 || status >= 400);
    close(fd);
    status = exchange(server, INFER JSON "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n", NULL, 0);
    assert_true(status == 0 || status >= 400);
    still_serves();
}

static void garbage_does_no_harm(void **state) {
    (void)state;
    gm_rng rng = gm_rng_keyed(1, 2, 3, GM_RNG_TEST);
    for (int i = 0; i < 200; i++) {
        static const char good[] = INFER JSON "Content-Length: 40\r\n\r\n{\"inputs\":[{\"name\":\"x\",\"shape\":[1,1]}]}";
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        for (int k = 0; k < 6; k++) text[gm_rng_below(&rng, sizeof good - 1)] = (char)gm_rng_u32(&rng);
        int fd = dial(server);
        say_bytes(fd, text, gm_rng_below(&rng, sizeof good));
        shutdown(fd, SHUT_WR);
        while (hear(fd, NULL, 0) != 0) {}
        close(fd);
    }
    still_serves();
}

static void slow_clients_are_cut_and_others_served(void **state) {
    (void)state;
    int head = dial(server), body = dial(server), silent = dial(server);
    say(head, "GET /v2 HT");
    say(body, INFER JSON "Content-Length: 500\r\n\r\n{");
    still_serves();
    // All three end without being asked to: the limits of this server are a second.
    assert_int_equal(hear(silent, NULL, 0), 0);
    for (int i = 0; i < 100; i++) say(head, "T"); // dripping does not help
    int said = hear(head, NULL, 0);
    assert_true(said == 0 || said >= 400);
    int status = hear(body, NULL, 0);
    assert_true(status == 0 || status == 408);
    close(head);
    close(body);
    close(silent);
    still_serves();
}

static void a_kept_connection_carries_many_requests(void **state) {
    (void)state;
    char body[4096], wanted[32];
    int fd = dial(server);
    for (int i = 0; i < 20; i++) {
        ask(fd, i, 0, "");
        assert_int_equal(hear(fd, body, sizeof body), 200);
        snprintf(wanted, sizeof wanted, "\"data\":[%d]", i % 10);
        assert_non_null(strstr(body, wanted));
        snprintf(wanted, sizeof wanted, "\"id\":\"%d\"", i);
        assert_non_null(strstr(body, wanted));
    }
    // Two at once: answered in order.
    ask(fd, 1, 0, "");
    ask(fd, 2, 0, "");
    assert_int_equal(hear(fd, body, sizeof body), 200);
    assert_non_null(strstr(body, "\"id\":\"1\""));
    assert_int_equal(hear(fd, body, sizeof body), 200);
    assert_non_null(strstr(body, "\"id\":\"2\""));
    close(fd);
}

static void binary_and_batched_requests_are_answered_in_kind(void **state) {
    (void)state;
    char body[8192], text[2048];
    static const char json[] = "{\"inputs\":[{\"name\":\"image\",\"shape\":[3,4,4,1],\"datatype\":\"UINT8\",\"parameters\":{\"binary_data_size\":48}}],"
                               "\"outputs\":[{\"name\":\"logits\",\"parameters\":{\"binary_data\":true}},{\"name\":\"class\"}]}";
    int n = snprintf(text, sizeof text, INFER "Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %zu\r\nContent-Length: %zu\r\n\r\n%s",
                     sizeof json - 1, sizeof json - 1 + 48, json);
    for (int i = 0; i < 48; i++) text[n + i] = (char)(4 + i / 16);
    int fd = dial(server);
    say_bytes(fd, text, (size_t)n + 48);
    assert_int_equal(hear(fd, body, sizeof body), 200);
    assert_non_null(strstr(body, "\"data\":[4,5,6]"));
    assert_non_null(strstr(body, "\"binary_data_size\":120"));
    close(fd);
}

static void what_the_protocol_tells(void **state) {
    (void)state;
    static const struct {
        const char *path, *says;
    } cases[] = {{"/v2", "binary_tensor_data"},      {"/v2/models/m", "\"shape\":[-1,4,4,1]"}, {"/v2/models/m/versions/1", "\"versions\":[\"1\"]"},
                 {"/v2/models/m/ready", "\"ready\":true"}, {"/v2/models/m/versions/1/ready", "ready"}, {"/v2/health/live", "true"},
                 {"/v2/health/ready", "true"},  {"/v2/models/stats", "inference_count"},     {"/v2/models/m/stats", "batch_stats"},
                 {"/v2/repository/index", "READY"}, {"/metrics", "gamut_queries_total"},   {"/v2/gamut/status", "\"windows\""}, {"/", "html"}};
    char body[65536];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = get(server, cases[i].path, body, sizeof body);
        if (status != 200 || strstr(body, cases[i].says) == NULL) fail_msg("%s: %d %s", cases[i].path, status, body);
    }
}

static gm_server_settings small(void) {
    gm_server_settings s = gm_server_settings_default();
    s.max_body = 32768;
    s.header_seconds = 1;
    s.idle_seconds = 20;
    return s;
}

static int begin(void **state) {
    (void)state;
    server = start_server(small(), 0);
    return 0;
}
static int end(void **state) {
    (void)state;
    end_server(server);
    return 0;
}

// ---------------------------------------------------------------------------------------------
static void keys_open_everything_but_health_and_the_page(void **state) {
    (void)state;
    char path[] = "/tmp/gamut-keys-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "secret-one\nsecret-two\n", 22) == 22);
    close(fd);
    gm_server_settings s = gm_server_settings_default();
    s.key_file = path;
    test_server t = start_server(s, 0);
    assert_int_equal(get(t, "/v2/health/live", NULL, 0), 200);
    assert_int_equal(get(t, "/", NULL, 0), 200);
    assert_int_equal(exchange(t, "DELETE /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", NULL, 0), 401);
    static const char *const closed[] = {"/v2", "/metrics", "/v2/gamut/status", "/v2/models/m", "/nowhere"};
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) assert_int_equal(get(t, closed[i], NULL, 0), 401);
    static const struct {
        const char *field;
        int status;
    } cases[] = {{"Authorization: Bearer secret-one\r\n", 200}, {"Authorization: bearer secret-two\r\n", 200}, {"Authorization: Bearer secret-thr\r\n", 401},
                 {"Authorization: Bearer \r\n", 401},          {"Authorization: Bearer secret-one0\r\n", 401}, {"Authorization: Basic secret-one\r\n", 401}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fd = dial(t);
        ask(fd, 1, 0, cases[i].field);
        assert_int_equal(hear(fd, NULL, 0), cases[i].status);
        close(fd);
    }
    end_server(t);
    unlink(path);
}

static gm_status try_settings(gm_server_settings s, gm_error *err) {
    gm_profile profile = {0};
    gm_server *out = NULL;
    s.port = 0;
    assert_int_equal(gm_profile_paper(1, false, &profile, err), GM_OK);
    gm_serve_stub stub = {&profile, 0, 10};
    gm_served_model model = {.name = "m", .classes = 10, .channels = 1, .side = 4, .profile = &profile, .backend = gm_serve_stub_backend(&stub)};
    gm_status status = gm_server_create(&s, &model, &out, err);
    gm_server_destroy(out);
    gm_profile_fini(&profile);
    return status;
}

static void unsafe_settings_are_refused(void **state) {
    (void)state;
    gm_error err = {0};
    gm_server_settings s = gm_server_settings_default();
    s.bind = "0.0.0.0";
    assert_int_equal(try_settings(s, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "--insecure"));
    s.insecure = true;
    assert_int_equal(try_settings(s, &err), GM_OK);
    s = gm_server_settings_default();
    s.policy = "no-such-policy";
    assert_int_not_equal(try_settings(s, &err), GM_OK);
    char path[] = "/tmp/gamut-keys-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "secret-one\n", 11) == 11 && fchmod(fd, 0644) == 0);
    close(fd);
    s = gm_server_settings_default();
    s.key_file = path;
    assert_int_equal(try_settings(s, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "chmod 600"));
    unlink(path);
}

static void a_failed_allocation_is_an_error_and_leaks_nothing(void **state) {
    (void)state;
    size_t live = gm_alloc_live();
    gm_status status = GM_ERR_MEMORY;
    gm_profile profile = {0};
    gm_error err = {0};
    assert_int_equal(gm_profile_paper(1, false, &profile, &err), GM_OK);
    gm_serve_stub stub = {&profile, 0, 10};
    gm_served_model model = {.name = "m", .classes = 10, .channels = 1, .side = 4, .profile = &profile, .backend = gm_serve_stub_backend(&stub)};
    gm_server_settings s = gm_server_settings_default();
    s.port = 0;
    s.policy = "maxbatch";
    s.max_queue = 64;
    for (long n = 1; n < 200 && status != GM_OK; n++) {
        gm_server *out = NULL;
        gm_alloc_fail_at(n);
        status = gm_server_create(&s, &model, &out, &err);
        gm_alloc_fail_at(0);
        gm_server_destroy(out);
    }
    assert_int_equal(status, GM_OK);
    gm_profile_fini(&profile);
    assert_int_equal(gm_alloc_live(), live);
}

int main(void) {
    gm_log_set(GM_LOG_ERROR);
    const struct CMUnitTest front[] = {
        cmocka_unit_test(mistaken_requests_are_told_why),
        cmocka_unit_test(ambiguous_and_oversized_requests_are_refused),
        cmocka_unit_test(garbage_does_no_harm),
        cmocka_unit_test(slow_clients_are_cut_and_others_served),
        cmocka_unit_test(a_kept_connection_carries_many_requests),
        cmocka_unit_test(binary_and_batched_requests_are_answered_in_kind),
        cmocka_unit_test(what_the_protocol_tells),
    };
    const struct CMUnitTest alone[] = {
        cmocka_unit_test(keys_open_everything_but_health_and_the_page),
        cmocka_unit_test(unsafe_settings_are_refused),
        cmocka_unit_test(a_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(front, begin, end) + cmocka_run_group_tests(alone, NULL, NULL);
}
