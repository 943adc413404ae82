// SPDX-License-Identifier: Apache-2.0
#include "serve/replay_link.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

gm_status gm__address_parse(const char *url, gm__address *out, gm_error *err) {
    static const char scheme[] = "http://";
    char name[256], port[8] = "80";
    *out = (gm__address){0};
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return gm_fail(err, GM_ERR_ARGUMENT, "the address '%.120s' must look like http://127.0.0.1:8000", url);
    const char *host = url + sizeof scheme - 1, *path = host + strcspn(host, "/");
    size_t n = (size_t)(path - host), bytes = n;
    const char *colon = memrchr(host, ':', n), *bracket = memchr(host, ']', n);
    if (colon != NULL && (bracket == NULL || colon > bracket)) {
        bytes = (size_t)(colon - host);
        size_t digits = n - bytes - 1;
        if (digits == 0 || digits > 5 || strspn(colon + 1, "0123456789") < digits)
            return gm_fail(err, GM_ERR_ARGUMENT, "the address '%.120s' has no such port", url);
        memcpy(port, colon + 1, digits);
        port[digits] = '\0';
    }
    if (bytes > 1 && host[0] == '[' && host[bytes - 1] == ']') host++, bytes -= 2;
    if (bytes == 0 || bytes >= sizeof name || strlen(path) >= sizeof out->base)
        return gm_fail(err, GM_ERR_ARGUMENT, "the address '%.120s' has no host", url);
    memcpy(name, host, bytes);
    name[bytes] = '\0';
    snprintf(out->host, sizeof out->host, "%.*s", (int)n, url + sizeof scheme - 1);
    snprintf(out->base, sizeof out->base, "%s", path);
    size_t base = strlen(out->base);
    while (base > 0 && out->base[base - 1] == '/') out->base[--base] = '\0';
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int failed = getaddrinfo(name, port, &hints, &list);
    if (failed != 0) return gm_fail(err, GM_ERR_NOT_FOUND, "no such host as '%.100s': %s", name, gai_strerror(failed));
    memcpy(&out->address, list->ai_addr, list->ai_addrlen);
    out->bytes = list->ai_addrlen;
    freeaddrinfo(list);
    return GM_OK;
}

gm_status gm__link_open(gm__link *l, const gm__address *to, gm_error *err) {
    int one = 1;
    l->fd = socket(to->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0) return gm_fail(err, GM_ERR_IO, "no socket: %s", strerror(errno));
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    l->state = GM__LINK_CONNECTING;
    l->host = to->host;
    l->reused = false;
    if (connect(l->fd, (const struct sockaddr *)&to->address, to->bytes) != 0 && errno != EINPROGRESS) {
        gm_fail(err, GM_ERR_IO, "cannot connect to %.120s: %s", to->host, strerror(errno));
        gm__link_close(l);
        return GM_ERR_IO;
    }
    return GM_OK;
}

void gm__link_close(gm__link *l) {
    if (l->state != GM__LINK_CLOSED) close(l->fd);
    l->state = GM__LINK_CLOSED;
    l->fd = -1;
}

void gm__link_fini(gm__link *l) {
    gm__link_close(l);
    gm__text_fini(&l->out);
    gm__text_fini(&l->in);
}

static gm_status finish_connecting(gm__link *l, gm_error *err) {
    int problem = 0;
    socklen_t size = sizeof problem;
    struct pollfd ready = {.fd = l->fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) == 0) return GM_OK;
    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &problem, &size) != 0 || problem != 0)
        return gm_fail(err, GM_ERR_IO, "cannot connect to %.120s: %s; does the server run there?", l->host, strerror(problem));
    l->state = GM__LINK_SENDING;
    return GM_OK;
}

static gm_status send_some(gm__link *l, gm_error *err) {
    while (l->sent < l->out.bytes) {
        ssize_t n = send(l->fd, l->out.data + l->sent, l->out.bytes - l->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return GM_OK;
        if (n < 0) return gm_fail(err, GM_ERR_IO, "the connection broke: %s", strerror(errno));
        l->sent += (size_t)n;
    }
    l->state = GM__LINK_READING;
    return GM_OK;
}

static gm_status read_some(gm__link *l, bool *whole, gm_error *err) {
    char piece[16384];
    for (;;) {
        ssize_t n = recv(l->fd, piece, sizeof piece, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return GM_OK;
        if (n <= 0) return gm_fail(err, GM_ERR_IO, "the server closed the connection%s%s", n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
        if (l->state == GM__LINK_IDLE) return gm_fail(err, GM_ERR_FORMAT, "the server speaks without being asked");
        gm__text_add(&l->in, piece, (size_t)n);
        if (l->in.failed) return gm_fail(err, GM_ERR_MEMORY, "no memory for an answer");
        gm_status status = gm__response_read_head(l->in.data, l->in.bytes, whole, &l->head, err);
        if (status != GM_OK || *whole) return status;
    }
}

gm_status gm__link_move(gm__link *l, bool *whole, gm_error *err) {
    gm_status status = GM_OK;
    *whole = false;
    if (l->state == GM__LINK_CONNECTING) status = finish_connecting(l, err);
    if (status == GM_OK && l->state == GM__LINK_SENDING) status = send_some(l, err);
    if (status == GM_OK && (l->state == GM__LINK_READING || l->state == GM__LINK_IDLE)) status = read_some(l, whole, err);
    return status;
}

gm_status gm__fetch(const gm__address *to, const char *path, const char *key, double seconds, gm__text *out, gm_error *err) {
    gm__link link = {.fd = -1};
    bool whole = false;
    double until = gm_now() + seconds;
    gm_status status = gm__link_open(&link, to, err);
    gm__text_print(&link.out, "GET %s%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", to->base, path, to->host);
    if (key != NULL) gm__text_print(&link.out, "Authorization: Bearer %s\r\n", key);
    gm__text_print(&link.out, "\r\n");
    while (status == GM_OK && !whole) {
        status = gm__link_move(&link, &whole, err);
        if (status != GM_OK || whole) break;
        if (gm_now() > until) status = gm_fail(err, GM_ERR_IO, "%.120s does not answer in %g s", to->host, seconds);
        struct pollfd wait = {.fd = link.fd, .events = link.state == GM__LINK_READING ? POLLIN : POLLOUT};
        poll(&wait, 1, 50);
    }
    if (status == GM_OK && link.head.status != 200)
        status = gm_fail(err, GM_ERR_STATE, "%.120s answers %.60s with status %d", to->host, path, link.head.status);
    if (status == GM_OK) {
        gm__text_add(out, link.in.data + link.head.head_bytes, link.head.body_bytes);
        gm__text_add(out, "", 1);
        if (out->failed) status = gm_fail(err, GM_ERR_MEMORY, "no memory for an answer");
    }
    gm__link_fini(&link);
    return status;
}
