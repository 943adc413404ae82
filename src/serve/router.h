// SPDX-License-Identifier: Apache-2.0
// The router: one EDF queue, N workers, one policy, as a state machine. Events go in with the time they happened, actions
// come out; it knows no clock, socket, thread or process, and takes all its memory at creation. The server drives it
// with real events, the simulator with made-up ones.
//
// How to drive it: call one event function, then carry out everything in gm__router_actions(), in order, before the next
// event. When gm__router_wake() has come and no other event has, call gm__router_tick(). `now_ns` never goes back.
// Every request that was given to gm__router_arrive gets exactly one GM__ACTION_ANSWER, in that event or a later one.
#ifndef GAMUT_SERVE_ROUTER_H
#define GAMUT_SERVE_ROUTER_H

#include <gamut/sched.h>
#include <gamut/serve.h>

typedef struct gm__router gm__router;

typedef struct gm__router_settings {
    const char *policy;                 // default "gamut"
    gm_policy_settings policy_settings; // as gm_policy_settings_default
    gm_latency_settings latency;        // margin, overhead: as gm_latency_settings_default
    int workers;                        // slots 0..workers-1; default 1
    int queue_limit;                    // waiting requests; one more is rejected; default 10,000
    int attempts;                       // dispatches of one request: a batch that outlives so many workers is failed; default 2
    bool correct_latency;               // plan with what runs have been observed to take; default true
} gm__router_settings;
gm__router_settings gm__router_settings_default(void);

// The profile is copied; sorted as gm_profile_regularise leaves it.
gm_status gm__router_create(const gm_profile *profile, const gm__router_settings *settings, gm__router **out,
                            gm_error *err);
void gm__router_destroy(gm__router *r); // unanswered requests are forgotten: drain first

typedef enum gm__action_kind {
    GM__ACTION_DISPATCH, // run tag[0..count) on `worker` with `subnet`; report with gm__router_result (or failed, dead)
    GM__ACTION_ANSWER    // tag[0] has its outcome
} gm__action_kind;
typedef struct gm__action {
    gm__action_kind kind;
    int worker;              // DISPATCH; ANSWER: the worker that ran it, -1 when none did
    int subnet;              // index in the profile; ANSWER: -1 when it was not run
    int count;               // of tag
    const uint64_t *tag;     // DISPATCH: valid until the worker's result, failure or death; ANSWER: until the next event
    uint64_t batch;          // number of the dispatch, from 1; ANSWER: of the run that answered it, or 0
    gm_outcome outcome;      // ANSWER
    int64_t arrival_ns, deadline_ns; // ANSWER
    int64_t started_ns;      // DISPATCH: now; ANSWER: of its run, or 0
    int64_t due_ns;          // DISPATCH: when the result is expected (a worker long beyond it hangs)
    bool expired;            // DISPATCH: the policy runs a batch that cannot meet its first deadline
} gm__action;
const gm__action *gm__router_actions(const gm__router *r, int *count); // of the latest event

// --- Requests. Answered at once: rejected when the queue is full, the router is closed or no subnet reaches the floor;
// dropped when the deadline cannot be met. Priority does not move anybody ahead of an earlier deadline: it says who is first
// among equal deadlines (those without one are equal), and who leaves a full queue: the latest of the least important that
// waits is rejected for a more important one. Returns a ticket for gm__router_cancel, or 0.
enum { GM__PRIORITY_DEFAULT = 500 }; // the middle of 1 to 1000: there is room on both sides
typedef struct gm__arrival {
    uint64_t tag;        // the caller's, not looked at
    int64_t deadline_ns; // absolute; GM_NO_DEADLINE for none
    double floor;        // the least accuracy in percent, 0 for any
    int priority;        // 1 is the most important, 1000 the least; 0 is GM__PRIORITY_DEFAULT
} gm__arrival;
uint64_t gm__router_arrive(gm__router *r, int64_t now_ns, gm__arrival a);
// The client is gone. A request that still waits is answered as dropped; false when it does not wait any more, or waits
// for the second time (its worker died).
bool gm__router_cancel(gm__router *r, int64_t now_ns, uint64_t ticket);

// --- Workers. All slots start dead.
void gm__router_ready(gm__router *r, int64_t now_ns, int worker);   // started, or restarted
void gm__router_result(gm__router *r, int64_t now_ns, int worker);  // its batch is done: met or late by now_ns; idle again
void gm__router_failed(gm__router *r, int64_t now_ns, int worker);  // its batch cannot be run: failed; idle again
void gm__router_dead(gm__router *r, int64_t now_ns, int worker);    // batch re-queued where the slack allows, else failed

// --- Time. Expired requests are answered at the moment they become unsavable, whether a worker is free or not.
int64_t gm__router_wake(const gm__router *r); // INT64_MAX: no timer
void gm__router_tick(gm__router *r, int64_t now_ns);

// --- Stopping: new requests are rejected; those that wait are served. now: those are answered as dropped, too.
void gm__router_close(gm__router *r, int64_t now_ns, bool now);

// --- Looking in
typedef struct gm__router_state {
    int waiting, running;                 // requests
    int workers_alive, workers_idle;
    uint64_t arrived, outcome[GM_OUTCOMES], batches, requeued, refreshes;
    double drift;                         // observed over profiled time of a run; 1: as profiled
    double rate;                          // arrivals a second, recent
} gm__router_state;
gm__router_state gm__router_look(const gm__router *r, int64_t now_ns);
const gm_latency *gm__router_latency(const gm__router *r); // the planned times, as corrected
const char *gm__router_policy(const gm__router *r);

#endif
