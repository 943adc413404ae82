// SPDX-License-Identifier: Apache-2.0
// The router's state machine. Waiting requests lie in the queue, running ones in their worker's slot; each leaves through
// answer(), once.
#include "serve/router.h"
#include "serve/router_drift.h"

#include <string.h>

// A ticket: the slot in the queue, and as much of the arrival's number as fits, so that an old one finds nobody. An order:
// the priority above the arrival's number.
enum { SLOT_BITS = 27, PRIORITY_SHIFT = 54 };
static uint64_t ticket_of(uint64_t order, int place) { return order << SLOT_BITS | (uint64_t)place; }

typedef struct slot { // of a worker
    bool alive, busy;
    int subnet, count;
    uint64_t batch;
    int64_t started_ns, due_ns;
    gm_request *request; // [largest]
    uint64_t *tag;       // [largest]
} slot;

struct gm__router {
    gm__router_settings settings;
    gm_latency *latency;
    gm_policy *policy;
    gm_queue *queue;
    gm_arrivals arrivals;
    gm__drift drift;
    slot *slot;               // [workers]
    gm_request *request;      // all slots' requests
    uint64_t *tag;            // all slots' tags
    int64_t *free_ns;         // [workers], for the view
    gm__action *action;       // [actions_most], of the latest event
    uint64_t *answer_tag;     // [actions_most]
    int actions, actions_most;
    int64_t policy_wake_ns;
    uint64_t arrivals_seen;
    bool closed;
    gm__router_state state;
};

gm__router_settings gm__router_settings_default(void) {
    return (gm__router_settings){.policy = "gamut",
                                 .policy_settings = gm_policy_settings_default(),
                                 .latency = gm_latency_settings_default(),
                                 .workers = 1,
                                 .queue_limit = 10000,
                                 .attempts = 2,
                                 .correct_latency = true};
}

static gm_status allocate(gm__router *r, gm_error *err) {
    const gm__router_settings *s = &r->settings;
    int largest = r->latency->largest;
    size_t workers = (size_t)s->workers, running = workers * (size_t)largest;
    r->actions_most = s->queue_limit + (s->workers + 1) * (largest + 1) + 2; // all answered at once, and all workers set going
    r->slot = gm_alloc(workers, sizeof *r->slot);
    r->request = gm_alloc(running, sizeof *r->request);
    r->tag = gm_alloc(running, sizeof *r->tag);
    r->free_ns = gm_alloc(workers, sizeof *r->free_ns);
    r->action = gm_alloc((size_t)r->actions_most, sizeof *r->action);
    r->answer_tag = gm_alloc((size_t)r->actions_most, sizeof *r->answer_tag);
    if (!r->slot || !r->request || !r->tag || !r->free_ns || !r->action || !r->answer_tag)
        return gm_fail(err, GM_ERR_MEMORY, "router: no memory for %d workers and %d waiting requests", s->workers, s->queue_limit);
    for (int w = 0; w < s->workers; w++) {
        r->slot[w].request = r->request + (size_t)w * (size_t)largest;
        r->slot[w].tag = r->tag + (size_t)w * (size_t)largest;
    }
    // A dead worker's batch must find room even in a full queue.
    return gm_queue_create(s->queue_limit + s->workers * largest, &r->queue, err);
}

gm_status gm__router_create(const gm_profile *profile, const gm__router_settings *settings, gm__router **out,
                            gm_error *err) {
    *out = NULL;
    if (settings->workers < 1 || settings->workers > 1024 || settings->queue_limit < 1 || settings->queue_limit > 10000000 ||
        settings->attempts < 1)
        return gm_fail(err, GM_ERR_RANGE, "router: %d workers (1 to 1024), queue limit %d (1 to 10000000), %d attempts (1 or more)",
                       settings->workers, settings->queue_limit, settings->attempts);
    gm__router *r = gm_alloc(1, sizeof *r);
    if (r == NULL) return gm_fail(err, GM_ERR_MEMORY, "router: out of memory");
    r->settings = *settings;
    r->policy_wake_ns = INT64_MAX;
    if (r->settings.policy_settings.workers == 0) r->settings.policy_settings.workers = settings->workers;
    gm_status status = gm_latency_create(profile, &settings->latency, &r->latency, err);
    if (status == GM_OK) status = gm_policy_create(settings->policy, r->latency, &r->settings.policy_settings, &r->policy, err);
    if (status == GM_OK) status = gm__drift_init(&r->drift, r->latency, err);
    if (status == GM_OK) status = allocate(r, err);
    if (status != GM_OK) {
        gm__router_destroy(r);
        return status;
    }
    r->settings.policy = gm_policy_name(r->policy);
    gm_arrivals_init(&r->arrivals, r->latency->ns[r->latency->subnets * r->latency->batches - 1]);
    *out = r;
    return GM_OK;
}

void gm__router_destroy(gm__router *r) {
    if (r == NULL) return;
    gm_latency_destroy(r->latency);
    gm_policy_destroy(r->policy);
    gm_queue_destroy(r->queue);
    gm__drift_fini(&r->drift);
    gm_free(r->slot);
    gm_free(r->request);
    gm_free(r->tag);
    gm_free(r->free_ns);
    gm_free(r->action);
    gm_free(r->answer_tag);
    gm_free(r);
}

const gm__action *gm__router_actions(const gm__router *r, int *count) {
    *count = r->actions;
    return r->action;
}

static gm__action *act(gm__router *r, gm__action_kind kind) {
    gm__action *a = &r->action[r->actions++];
    *a = (gm__action){.kind = kind, .worker = -1, .subnet = -1};
    return a;
}

static void answer(gm__router *r, const gm_request *q, gm_outcome outcome, int worker) {
    gm__action *a = act(r, GM__ACTION_ANSWER);
    uint64_t *tag = &r->answer_tag[r->actions - 1];
    *tag = q->tag;
    a->tag = tag;
    a->count = 1;
    a->outcome = outcome;
    a->arrival_ns = q->arrival_ns;
    a->deadline_ns = q->deadline_ns;
    if (worker >= 0) {
        const slot *s = &r->slot[worker];
        a->worker = worker;
        a->subnet = s->subnet;
        a->batch = s->batch;
        a->started_ns = s->started_ns;
    }
    r->state.outcome[outcome]++;
}

// The first moment at which the request cannot be met any more.
static int64_t expiry_of(const gm__router *r, const gm_request *q) {
    if (q->deadline_ns >= GM_NO_DEADLINE || gm_policy_keeps_late(r->policy)) return INT64_MAX;
    return q->deadline_ns - gm_latency_ns(r->latency, q->least, 1) + 1;
}

// Answers what has become unsavable. Planned times may have changed since a request came in: those are looked up anew.
static void expire(gm__router *r, int64_t now_ns) {
    for (;;) {
        int ticket = gm_queue_expiry(r->queue);
        if (ticket < 0) return;
        const gm_request *q = gm_queue_request(r->queue, ticket);
        if (q->expiry_ns > now_ns) return;
        int64_t expiry = expiry_of(r, q);
        if (expiry > now_ns) {
            gm_queue_expire_at(r->queue, ticket, expiry);
            continue;
        }
        gm_request gone;
        gm_queue_cancel(r->queue, ticket, &gone);
        answer(r, &gone, GM_OUTCOME_DROPPED, -1);
    }
}

static gm_sched_view look(gm__router *r, int64_t now_ns) {
    gm_sched_view v = {.now_ns = now_ns, .waiting = gm_queue_length(r->queue), .workers = r->state.workers_alive,
                       .idle = r->state.workers_idle, .free_ns = r->free_ns};
    v.front = gm_queue_front(r->queue, &v.shown);
    v.arrivals = gm_arrivals_read(&r->arrivals, now_ns);
    int busy = 0;
    for (int w = 0; w < r->settings.workers; w++)
        if (r->slot[w].busy) r->free_ns[busy++] = r->slot[w].due_ns > now_ns ? r->slot[w].due_ns : now_ns;
    return v;
}

static void dispatch(gm__router *r, int64_t now_ns, const gm_decision *d) {
    int w = 0;
    while (!r->slot[w].alive || r->slot[w].busy) w++;
    slot *s = &r->slot[w];
    s->busy = true;
    s->subnet = d->subnet;
    s->count = d->batch;
    s->batch = ++r->state.batches;
    s->started_ns = now_ns;
    s->due_ns = now_ns + gm_latency_ns(r->latency, d->subnet, d->batch);
    for (int i = 0; i < d->batch; i++) {
        gm_queue_pop(r->queue, &s->request[i]);
        s->request[i].attempts++;
        s->tag[i] = s->request[i].tag;
    }
    r->state.workers_idle--;
    r->state.running += d->batch;
    gm__action *a = act(r, GM__ACTION_DISPATCH);
    a->worker = w;
    a->subnet = d->subnet;
    a->count = d->batch;
    a->tag = s->tag;
    a->batch = s->batch;
    a->started_ns = now_ns;
    a->due_ns = s->due_ns;
    a->expired = d->late;
}

// After every event: expire, then decide for as long as there are work and idle workers.
static void proceed(gm__router *r, int64_t now_ns) {
    r->policy_wake_ns = INT64_MAX;
    expire(r, now_ns);
    while (r->state.workers_idle > 0 && gm_queue_length(r->queue) > 0) {
        gm_sched_view v = look(r, now_ns);
        gm_decision d = gm_policy_decide(r->policy, r->latency, &v);
        for (int i = 0; i < d.drop; i++) {
            gm_request q;
            gm_queue_pop(r->queue, &q);
            answer(r, &q, GM_OUTCOME_DROPPED, -1);
        }
        if (d.subnet >= 0) {
            dispatch(r, now_ns, &d);
        } else if (d.drop == 0) {
            r->policy_wake_ns = d.wait_ns > now_ns ? d.wait_ns : now_ns + 1;
            return;
        }
    }
}

// A full queue has room for a more important request: the latest of the least important makes it.
static bool make_room(gm__router *r, uint64_t order) {
    if (gm_queue_length(r->queue) < r->settings.queue_limit) return true;
    int last = gm_queue_last(r->queue);
    if (gm_queue_request(r->queue, last)->order >> PRIORITY_SHIFT <= order >> PRIORITY_SHIFT) return false;
    gm_request gone;
    gm_queue_cancel(r->queue, last, &gone);
    answer(r, &gone, GM_OUTCOME_REJECTED, -1);
    return true;
}

uint64_t gm__router_arrive(gm__router *r, int64_t now_ns, gm__arrival a) {
    gm_request q = {.tag = a.tag, .arrival_ns = now_ns, .deadline_ns = a.deadline_ns};
    if (q.deadline_ns > GM_NO_DEADLINE) q.deadline_ns = GM_NO_DEADLINE;
    q.order = (uint64_t)(a.priority > 0 ? a.priority : GM__PRIORITY_DEFAULT) << PRIORITY_SHIFT | ++r->arrivals_seen;
    r->actions = 0;
    r->state.arrived++;
    gm_arrivals_add(&r->arrivals, now_ns, q.deadline_ns);
    q.least = a.floor > 0.0 ? gm_latency_least(r->latency, a.floor) : 0;
    expire(r, now_ns); // makes room, too
    if (r->closed || q.least >= r->latency->subnets) {
        answer(r, &q, GM_OUTCOME_REJECTED, -1);
        return 0;
    }
    q.expiry_ns = expiry_of(r, &q);
    if (q.expiry_ns <= now_ns) {
        answer(r, &q, GM_OUTCOME_DROPPED, -1);
        return 0;
    }
    if (!make_room(r, q.order)) {
        answer(r, &q, GM_OUTCOME_REJECTED, -1);
        return 0;
    }
    uint64_t ticket = ticket_of(q.order, gm_queue_push(r->queue, &q));
    proceed(r, now_ns);
    return ticket;
}

bool gm__router_cancel(gm__router *r, int64_t now_ns, uint64_t ticket) {
    int place = (int)(ticket & ((1u << SLOT_BITS) - 1));
    const gm_request *q = ticket != 0 ? gm_queue_request(r->queue, place) : NULL;
    r->actions = 0;
    if (q == NULL || ticket_of(q->order, place) != ticket) return false;
    gm_request gone;
    gm_queue_cancel(r->queue, place, &gone);
    answer(r, &gone, GM_OUTCOME_DROPPED, -1);
    proceed(r, now_ns);
    return true;
}

void gm__router_ready(gm__router *r, int64_t now_ns, int worker) {
    slot *s = &r->slot[worker];
    r->actions = 0;
    if (!s->alive) {
        s->alive = true;
        s->busy = false;
        r->state.workers_alive++;
        r->state.workers_idle++;
    }
    proceed(r, now_ns);
}

static void leave_batch(gm__router *r, slot *s) {
    s->busy = false;
    r->state.running -= s->count;
}

void gm__router_result(gm__router *r, int64_t now_ns, int worker) {
    slot *s = &r->slot[worker];
    r->actions = 0;
    if (!s->busy) return;
    for (int i = 0; i < s->count; i++)
        answer(r, &s->request[i], now_ns <= s->request[i].deadline_ns ? GM_OUTCOME_MET : GM_OUTCOME_LATE, worker);
    leave_batch(r, s);
    r->state.workers_idle++;
    if (r->settings.correct_latency &&
        gm__drift_observe(&r->drift, r->latency, s->subnet, s->count, now_ns - s->started_ns)) {
        gm__drift_apply(&r->drift, r->latency);
        gm_policy_refresh(r->policy, r->latency);
        r->state.refreshes++;
    }
    proceed(r, now_ns);
}

void gm__router_failed(gm__router *r, int64_t now_ns, int worker) {
    slot *s = &r->slot[worker];
    r->actions = 0;
    if (!s->busy) return;
    for (int i = 0; i < s->count; i++) answer(r, &s->request[i], GM_OUTCOME_FAILED, worker);
    leave_batch(r, s);
    r->state.workers_idle++;
    proceed(r, now_ns);
}

void gm__router_dead(gm__router *r, int64_t now_ns, int worker) {
    slot *s = &r->slot[worker];
    r->actions = 0;
    if (!s->alive) return;
    s->alive = false;
    r->state.workers_alive--;
    if (!s->busy) {
        r->state.workers_idle--;
    } else {
        for (int i = 0; i < s->count; i++) {
            gm_request *q = &s->request[i];
            q->expiry_ns = expiry_of(r, q);
            if (q->attempts >= r->settings.attempts || q->expiry_ns <= now_ns) {
                answer(r, q, GM_OUTCOME_FAILED, worker);
            } else {
                gm_queue_push(r->queue, q);
                r->state.requeued++;
            }
        }
        leave_batch(r, s);
    }
    proceed(r, now_ns);
}

int64_t gm__router_wake(const gm__router *r) {
    int ticket = gm_queue_expiry(r->queue);
    int64_t expiry = ticket >= 0 ? gm_queue_request(r->queue, ticket)->expiry_ns : INT64_MAX;
    return expiry < r->policy_wake_ns ? expiry : r->policy_wake_ns;
}

void gm__router_tick(gm__router *r, int64_t now_ns) {
    r->actions = 0;
    proceed(r, now_ns);
}

void gm__router_close(gm__router *r, int64_t now_ns, bool now) {
    gm_request q;
    r->actions = 0;
    r->closed = true;
    while (now && gm_queue_pop(r->queue, &q)) answer(r, &q, GM_OUTCOME_DROPPED, -1);
    proceed(r, now_ns);
}

gm__router_state gm__router_look(const gm__router *r, int64_t now_ns) {
    gm__router_state s = r->state;
    s.waiting = gm_queue_length(r->queue);
    s.drift = r->drift.all;
    s.rate = gm_arrivals_read(&r->arrivals, now_ns).rate[1] * 1e9;
    return s;
}

const gm_latency *gm__router_latency(const gm__router *r) {
    return r->latency;
}

const char *gm__router_policy(const gm__router *r) {
    return r->settings.policy;
}
