// SPDX-License-Identifier: Apache-2.0
// A server in a process of its own, over a backend without a model, and plain sockets to talk to it.
#ifndef GAMUT_TESTS_SERVE_TEST_H
#define GAMUT_TESTS_SERVE_TEST_H

#include "base/base_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gamut/serve.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

typedef struct test_server {
    pid_t pid;
    int port;
} test_server;

// speed: of the stub, in the paper's times (its smallest subnet takes 1.4 ms for one image, the largest 31 ms for 16).
__attribute__((unused)) static test_server start_server(gm_server_settings settings, double speed) {
    int tell[2];
    test_server t = {0};
    assert_int_equal(pipe(tell), 0);
    fflush(NULL);
    t.pid = fork();
    assert_true(t.pid >= 0);
    if (t.pid == 0) {
        gm_profile profile = {0};
        gm_error err = {0};
        gm_server *server = NULL;
        gm_log_set(GM_LOG_ERROR);
        prctl(PR_SET_PDEATHSIG, SIGKILL); // a test that fails leaves no server behind, nor the pipe that ctest waits for
        settings.port = 0;
        if (gm_profile_paper(1, false, &profile, &err) != GM_OK) _exit(3);
        gm_serve_stub stub = {&profile, speed, 10};
        gm_served_model model = {.name = "m", .preset = "stub", .classes = 10, .channels = 1, .side = 4, .profile = &profile,
                                 .backend = gm_serve_stub_backend(&stub)};
        gm_status status = gm_server_create(&settings, &model, &server, &err);
        int port = status == GM_OK ? gm_server_port(server) : -1;
        if (status != GM_OK) fprintf(stderr, "%s\n", err.text);
        if (write(tell[1], &port, sizeof port) != sizeof port || port < 0) _exit(3);
        close(tell[0]);
        close(tell[1]);
        status = gm_server_run(server, &err);
        gm_server_destroy(server);
        gm_profile_fini(&profile);
        _exit(status == GM_OK && gm_alloc_live() == 0 ? 0 : 4); // a leak is a failure, too
    }
    close(tell[1]);
    if (read(tell[0], &t.port, sizeof t.port) != sizeof t.port || t.port <= 0) fail_msg("the server did not start");
    close(tell[0]);
    return t;
}

// The server must end by itself, in good order.
__attribute__((unused)) static void end_server(test_server t) {
    int how = 0;
    kill(t.pid, SIGTERM);
    assert_int_equal(waitpid(t.pid, &how, 0), t.pid);
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) fail_msg("the server ended with %s %d", WIFSIGNALED(how) ? "signal" : "status", WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
}

__attribute__((unused)) static int dial(test_server t) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)t.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct timeval patience = {.tv_sec = 60}; // for slow machines; nothing waits so long unless it is broken
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) fail_msg("cannot connect: %s", strerror(errno));
    return fd;
}

__attribute__((unused)) static void say_bytes(int fd, const void *data, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        ssize_t n = send(fd, (const char *)data + at, bytes - at, MSG_NOSIGNAL);
        if (n <= 0) return; // closed by the server: the answer tells
        at += (size_t)n;
    }
}
__attribute__((unused)) static void say(int fd, const char *text) { say_bytes(fd, text, strlen(text)); }

// Reads one whole answer; its status, 0 when the connection ended before. body (may be NULL): NUL-terminated.
__attribute__((unused)) static int hear(int fd, char *body, size_t room) {
    char head[16384];
    size_t used = 0;
    char *end = NULL;
    while (end == NULL) {
        if (used + 1 >= sizeof head) fail_msg("an endless head");
        ssize_t n = recv(fd, head + used, 1, 0);
        if (n < 0 && errno == EAGAIN) fail_msg("no answer for a minute");
        if (n <= 0) return 0;
        head[++used] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    const char *length = strcasestr(head, "Content-Length:");
    size_t bytes = length != NULL ? (size_t)strtoul(length + 15, NULL, 10) : 0, kept = 0;
    for (size_t at = 0; at < bytes;) {
        char piece[4096];
        ssize_t n = recv(fd, piece, bytes - at < sizeof piece ? bytes - at : sizeof piece, 0);
        if (n <= 0) return 0;
        for (ssize_t i = 0; i < n && body != NULL && kept + 1 < room; i++) body[kept++] = piece[i];
        at += (size_t)n;
    }
    if (body != NULL && room > 0) body[kept] = '\0';
    return atoi(head + 9);
}

// One inference request for a 4 x 4 image of this value; timeout_us 0: none.
__attribute__((unused)) static void ask(int fd, int value, long timeout_us, const char *fields) {
    char body[1024], text[2048];
    int n = snprintf(body, sizeof body, "{\"id\":\"%d\",\"parameters\":{\"timeout\":%ld},\"inputs\":[{\"name\":\"image\",\"shape\":[1,4,4,1],\"datatype\":\"UINT8\",\"data\":[", value, timeout_us);
    for (int i = 0; i < 16; i++) n += snprintf(body + n, sizeof body - (size_t)n, "%s%d", i > 0 ? "," : "", value);
    n += snprintf(body + n, sizeof body - (size_t)n, "]}],\"outputs\":[{\"name\":\"class\"}]}");
    snprintf(text, sizeof text, "POST /v2/models/m/infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", n, fields, body);
    say(fd, text);
}

// One request on a connection of its own: the status.
__attribute__((unused)) static int exchange(test_server t, const char *request, char *body, size_t room) {
    int fd = dial(t);
    say(fd, request);
    int status = hear(fd, body, room);
    close(fd);
    return status;
}

__attribute__((unused)) static int get(test_server t, const char *path, char *body, size_t room) {
    char text[512];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    return exchange(t, text, body, room);
}

// The number behind "key": in the status feed, the n-th from 0; -1: none.
__attribute__((unused)) static long told(test_server t, const char *key, int n) {
    static char body[1 << 20];
    char wanted[64];
    assert_int_equal(get(t, "/v2/gamut/status", body, sizeof body), 200);
    snprintf(wanted, sizeof wanted, "\"%s\":", key);
    const char *at = strstr(body, wanted);
    for (; at != NULL && n > 0; n--) at = strstr(at + 1, wanted);
    return at != NULL ? strtol(at + strlen(wanted), NULL, 10) : -1;
}

// The counter or gauge of this name in /metrics, which has one sample of it.
__attribute__((unused)) static long counted(test_server t, const char *name) {
    static char body[1 << 20];
    char wanted[96];
    assert_int_equal(get(t, "/metrics", body, sizeof body), 200);
    snprintf(wanted, sizeof wanted, "\ngamut_%s{model=\"m\"} ", name);
    const char *at = strstr(body, wanted);
    if (at == NULL) fail_msg("no metric '%s'", name);
    return strtol(at + strlen(wanted), NULL, 10);
}

#endif
