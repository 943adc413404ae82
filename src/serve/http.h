// SPDX-License-Identifier: Apache-2.0
// HTTP: connections and their limits, who may ask, and which handler answers. libmicrohttpd parses and writes; it runs
// inside the server's own loop (no thread of its own), so a request and its answer change hands without a lock.
#ifndef GAMUT_SERVE_HTTP_H
#define GAMUT_SERVE_HTTP_H

#include "serve/keys.h"
#include "serve/text.h"

#include <microhttpd.h>

typedef struct gm__http gm__http;
typedef struct gm__exchange gm__exchange;
typedef struct gm__peer gm__peer;

typedef enum gm__public { GM__ASKS_KEY, GM__ANYONE } gm__public;
typedef struct gm__route {
    const char *method;
    // Path; {m} stands for the model's name, and an optional /versions/1 may follow it.
    const char *path;
    gm__public access;
    // Answers with gm__http_answer at once or, for requests that wait, later.
    void (*handle)(void *context, gm__exchange *x);
} gm__route;

struct gm__exchange { // one request and its answer
    gm__http *http;
    gm__peer *peer;
    struct MHD_Connection *connection;
    const gm__route *route;
    char *body;
    size_t bytes, room;
    int64_t arrived_ns, result_ns; // result: when a worker had its answer; 0: none did
    bool waiting, answered, closing; // closing: the connection ends with this answer
    unsigned status;
    gm__text text;
    const char *type;        // of the answer
    size_t json_bytes;       // Inference-Header-Content-Length of the answer; 0: none
    int retry_seconds;       // Retry-After; 0: none
    void *ticket;            // the handler's
};

struct gm__http {
    struct MHD_Daemon *daemon;
    const gm__route *routes; // until a NULL method
    void *context;
    const char *model;
    const char *host[6];     // names that requests may be sent to; a NULL first: any
    gm__keys *keys;
    size_t max_body;
    int max_per_address, connections, most_connections; // now; at once, ever
    int64_t header_ns, idle_ns, total_ns, now_ns;
    gm__peer *first;
    int away_fd;             // -1 before gm__http_start
    uint64_t refused;        // requests answered before they reached a handler
    uint64_t cut;            // connections ended for being slow
    bool stopping;           // every answer closes its connection
    void (*sent)(void *context, const gm__exchange *x); // an answer's last byte has left
    void (*gone)(void *context, gm__exchange *x); // the client of an exchange that waits has gone: nobody reads its answer
};

gm_status gm__http_start(gm__http *h, int socket, int max_connections, gm_error *err); // takes over the socket
void gm__http_stop(gm__http *h); // nothing may wait any more
int gm__http_fd(const gm__http *h); // readable: call gm__http_run
void gm__http_take_gone(gm__http *h); // call it when away_fd is readable
// True: more is to be done for which no descriptor will become readable.
bool gm__http_run(gm__http *h, int64_t now_ns);
void gm__http_sweep(gm__http *h, int64_t now_ns); // ends connections that are too slow
// The answer: status, and x->text with x->type. Of an exchange that waits, too: it is sent by the next gm__http_run.
void gm__http_answer(gm__exchange *x, unsigned status, const char *type);
void gm__http_error(gm__exchange *x, unsigned status, const char *format, ...) GM_PRINTF(3, 4); // {"error": ...}
unsigned gm__http_status_of(gm_status status); // specs superserve 6.2
const char *gm__http_header(const gm__exchange *x, const char *name); // NULL: absent

// --- listen.c
bool gm__loopback(const char *bind);
gm_status gm__listen(const char *bind, int port, int *socket, int *bound_port, gm_error *err);

#endif
