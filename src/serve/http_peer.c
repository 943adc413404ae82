// SPDX-License-Identifier: Apache-2.0
// The library does not look at a connection whose request waits, so a client that goes away would hold its place in the
// queue. Connections are therefore watched here, too, for the end of what the client sends. A client that has only closed its
// sending half looks the same and counts as gone.
#include "serve/http_peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = 64 };

gm_status gm__peers_watch(gm__http *h, gm_error *err) {
    h->away_fd = epoll_create1(EPOLL_CLOEXEC);
    return h->away_fd >= 0 ? GM_OK : gm_fail(err, GM_ERR_IO, "cannot watch connections: %s", strerror(errno));
}

void gm__peers_forget(gm__http *h) {
    if (h->away_fd >= 0) close(h->away_fd);
    h->away_fd = -1;
}

gm__peer *gm__peer_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

void gm__peer_wait(gm__peer *p, gm__exchange *x) {
    p->waits = x;
    p->limit_ns = INT64_MAX;
    if (p->gone) x->http->gone(x->http->context, x);
}

void gm__http_take_gone(gm__http *h) {
    struct epoll_event event[EVENTS];
    int n = epoll_wait(h->away_fd, event, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        gm__peer *p = event[i].data.ptr;
        if (p->gone) continue; // told before
        p->gone = true;
        if (p->waits != NULL) h->gone(h->context, p->waits);
    }
}

// ---------------------------------------------------------------------------------------------
// Connections come and go
static void address_of(gm__peer *p, const struct sockaddr *a) {
    if (a->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof v4);
        memcpy(p->address, &v4.sin_addr, 4);
        p->loopback = ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    } else if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, a, sizeof v6);
        memcpy(p->address, &v6.sin6_addr, 16);
        p->loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
    }
}

enum MHD_Result gm__peer_may_connect(void *http, const struct sockaddr *address, socklen_t bytes) {
    const gm__http *h = http;
    gm__peer from = {0};
    int same = 0;
    (void)bytes;
    address_of(&from, address);
    if (from.loopback) return MHD_YES;
    for (const gm__peer *p = h->first; p != NULL; p = p->next) same += memcmp(p->address, from.address, sizeof p->address) == 0;
    return same < h->max_per_address ? MHD_YES : MHD_NO;
}

static void connected(gm__http *h, struct MHD_Connection *connection, void **own) {
    gm__peer *p = calloc(1, sizeof *p);
    if (p == NULL) return; // then it has the library's own, longer limits
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *address = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = p};
    p->fd = fd != NULL ? fd->connect_fd : -1;
    if (address != NULL && address->client_addr != NULL) address_of(p, address->client_addr);
    p->limit_ns = h->now_ns + h->header_ns;
    p->next = h->first;
    if (h->first != NULL) h->first->previous = p;
    h->first = p;
    *own = p;
    if (p->fd >= 0) epoll_ctl(h->away_fd, EPOLL_CTL_ADD, p->fd, &event); // unwatched, its requests are run in vain at worst
}

static void disconnected(gm__http *h, gm__peer *p) {
    if (p->previous != NULL) p->previous->next = p->next;
    if (p->next != NULL) p->next->previous = p->previous;
    if (h->first == p) h->first = p->next;
    if (p->fd >= 0) epoll_ctl(h->away_fd, EPOLL_CTL_DEL, p->fd, NULL);
    free(p);
}

void gm__peer_on_connection(void *http, struct MHD_Connection *connection, void **own, enum MHD_ConnectionNotificationCode how) {
    gm__http *h = http;
    if (how == MHD_CONNECTION_NOTIFY_STARTED) {
        h->connections++;
        h->most_connections = gm_max(h->most_connections, h->connections);
        connected(h, connection, own);
        return;
    }
    h->connections--;
    if (*own != NULL) disconnected(h, *own);
    *own = NULL;
}

void gm__http_sweep(gm__http *h, int64_t now_ns) {
    for (gm__peer *p = h->first; p != NULL; p = p->next) {
        if (now_ns <= p->limit_ns || p->fd < 0) continue;
        shutdown(p->fd, SHUT_RDWR); // the library notices and closes
        p->limit_ns = INT64_MAX;
        h->cut++;
    }
}
