// SPDX-License-Identifier: Apache-2.0
// The listening socket.
#include "serve/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512 };

static bool loopback_address(const struct sockaddr *a) {
    if (a->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    struct sockaddr_in6 v6;
    memcpy(&v6, a, sizeof v6);
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

static struct addrinfo *resolve(const char *bind_to, int port, const char **problem) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int failed = getaddrinfo(bind_to, service, &hints, &list);
    if (failed != 0) *problem = gai_strerror(failed);
    return failed != 0 ? NULL : list;
}

bool gm__loopback(const char *bind_to) {
    const char *problem = NULL;
    struct addrinfo *list = resolve(bind_to, 0, &problem);
    bool all = list != NULL;
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next) all = all && loopback_address(a->ai_addr);
    if (list != NULL) freeaddrinfo(list);
    return all;
}

gm_status gm__listen(const char *bind_to, int port, int *out, int *bound_port, gm_error *err) {
    const char *problem = "no such address";
    struct addrinfo *list = resolve(bind_to, port, &problem);
    int fd = -1, one = 1;
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd < 0 || bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
            problem = strerror(errno);
            if (fd >= 0) close(fd);
            fd = -1;
        }
    }
    if (list != NULL) freeaddrinfo(list);
    if (fd < 0)
        return gm_fail(err, GM_ERR_IO, "cannot listen on %.80s port %d: %s; choose another with --port or --bind", bind_to, port,
                       problem);
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    *bound_port = port;
    if (getsockname(fd, (struct sockaddr *)&bound, &size) == 0) {
        struct sockaddr_in v4;
        memcpy(&v4, &bound, sizeof v4); // the port lies at the same place in both families
        *bound_port = ntohs(v4.sin_port);
    }
    *out = fd;
    return GM_OK;
}
