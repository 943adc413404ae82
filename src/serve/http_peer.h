// SPDX-License-Identifier: Apache-2.0
// Connections: whose they are, when they are cut, and whether the client is still there while its request waits.
#ifndef GAMUT_SERVE_HTTP_PEER_H
#define GAMUT_SERVE_HTTP_PEER_H

#include "serve/http.h"

#include <sys/socket.h>

struct gm__peer { // one connection
    gm__peer *next, *previous;
    gm__exchange *waits; // the exchange that waits for its answer, NULL: none
    int fd;
    bool gone;           // the client sends no more
    int64_t limit_ns;    // when it is cut
    uint8_t address[16];
    bool loopback;
};

gm_status gm__peers_watch(gm__http *h, gm_error *err); // opens h->away_fd
void gm__peers_forget(gm__http *h);
gm__peer *gm__peer_of(struct MHD_Connection *connection);
void gm__peer_wait(gm__peer *p, gm__exchange *x); // x waits from now on

// What the library calls.
enum MHD_Result gm__peer_may_connect(void *http, const struct sockaddr *address, socklen_t bytes);
void gm__peer_on_connection(void *http, struct MHD_Connection *connection, void **own, enum MHD_ConnectionNotificationCode how);

#endif
