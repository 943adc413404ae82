// SPDX-License-Identifier: Apache-2.0
// The server's state, for the files that answer requests out of it. All of it belongs to one thread.
#ifndef GAMUT_SERVE_SERVER_H
#define GAMUT_SERVE_SERVER_H

#include "serve/crew.h"
#include "serve/http.h"
#include "serve/infer_request.h"
#include "serve/monitor.h"
#include "serve/router.h"

typedef struct gm__ticket gm__ticket;
typedef struct gm__query { // one image of a request
    gm__ticket *ticket;
    int slot; // -1: none any more
    uint64_t place; // in the router's queue: its ticket
    int subnet, batch; // -1, 0: not run
    gm_outcome outcome;
    int64_t queue_ns, run_ns, waited_ns; // in the queue; in the worker; arrival to answer
} gm__query;
struct gm__ticket { // one request in flight
    gm_server *server;
    gm__exchange *exchange;
    gm__infer_request request;
    int images, open; // open: queries without an outcome
    gm__query query[];
};

struct gm_server {
    gm_server_settings settings;
    gm_served_model model;
    gm__input_rules rules;
    gm__http http;
    gm__slab slab;
    gm__crew crew;
    gm__router *router;
    gm__monitor monitor;
    char bind[256], host[256];
    int port, poll_fd, timer_fd, signal_fd;
    int in_flight; // requests
    uint64_t withdrawn; // images
    bool draining, stopped;
    int64_t now_ns, drain_ns; // drain_ns: when a stop no longer waits
    int64_t timer_ns; // what the timer is set to; INT64_MAX: it is not
    double started_unix;
    char *page; // of the dashboard
    size_t page_bytes;
};

extern const gm__route gm__routes[];
void gm__answer_infer(void *server, gm__exchange *x); // infer.c
void gm__ticket_done(gm__ticket *t);                  // every query has its outcome
void gm__withdraw(void *server, gm__exchange *x);     // infer.c: the client has gone; what still waits leaves the queue
void gm__carry_out(gm_server *s);                     // server.c: the router's actions
bool gm__server_ready(const gm_server *s);
void gm__answer_metrics(void *server, gm__exchange *x); // metrics.c
void gm__answer_status(void *server, gm__exchange *x);  // status_feed.c
gm_status gm__dashboard_make(gm_server *s, gm_error *err); // dashboard.c
void gm__answer_page(void *server, gm__exchange *x);
int64_t gm__server_now(gm_server *s); // reads the clock, which never goes back

#endif
