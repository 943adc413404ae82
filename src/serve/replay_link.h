// SPDX-License-Identifier: Apache-2.0
// A client's connection: one request at a time, kept alive between them, never blocking.
#ifndef GAMUT_SERVE_REPLAY_LINK_H
#define GAMUT_SERVE_REPLAY_LINK_H

#include "serve/infer_response.h"
#include "serve/text.h"

#include <sys/socket.h>

typedef struct gm__address {
    struct sockaddr_storage address;
    socklen_t bytes;
    char host[280], base[256]; // for the Host field; the path before /v2, without its slash
} gm__address;
// http://HOST[:PORT][/BASE]
gm_status gm__address_parse(const char *url, gm__address *out, gm_error *err);

typedef enum gm__link_state { GM__LINK_CLOSED, GM__LINK_CONNECTING, GM__LINK_IDLE, GM__LINK_SENDING, GM__LINK_READING } gm__link_state;
typedef struct gm__link {
    gm__link_state state;
    int fd;
    bool reused; // the connection has carried an earlier request
    gm__text out, in;
    size_t sent;
    gm__response_head head;
    int request; // the caller's
    const char *host; // for errors
} gm__link;
gm_status gm__link_open(gm__link *l, const gm__address *to, gm_error *err); // begins to connect
// Moves on as far as it can; *whole: an answer lies in l->in. An error means the connection is of no more use.
gm_status gm__link_move(gm__link *l, bool *whole, gm_error *err);
void gm__link_close(gm__link *l);
void gm__link_fini(gm__link *l);
// One request on a connection of its own, waiting at most `seconds`; the answer's body to *out (NUL-terminated).
gm_status gm__fetch(const gm__address *to, const char *path, const char *key, double seconds, gm__text *out, gm_error *err);

#endif
