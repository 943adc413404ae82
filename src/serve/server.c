// SPDX-License-Identifier: Apache-2.0
// The server's loop: sockets, workers' reports, the router's timer and signals, in one thread.
#include "serve/server.h"
#include "serve/turns.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND = 1000000000;
enum { EVENTS = 64, SWEEP_MS = 200, SPARE_FILES = 64, WORKERS_MOST = 256, LEAST_MAX_SIDE = 64 };
// What an event is of; workers from WORKER on, twice each: its report and its end.
enum { EVENT_HTTP, EVENT_AWAY, EVENT_TIMER, EVENT_SIGNAL, EVENT_WORKER };

gm_server_settings gm_server_settings_default(void) {
    return (gm_server_settings){.bind = "127.0.0.1", .port = 8000, .workers = 1, .policy = "gamut", .overhead_ms = 0.5,
                                .hang_ms = 1000, .max_body = 1 << 20, .max_connections = 1024, .max_per_address = 64,
                                .max_queue = 4096, .max_images = 64, .header_seconds = 10, .idle_seconds = 60,
                                .total_seconds = 120, .drain_seconds = 30};
}

int64_t gm__server_now(gm_server *s) {
    int64_t now = gm__now_ns();
    if (now > s->now_ns) s->now_ns = now;
    gm__monitor_tick(&s->monitor, s->now_ns);
    return s->now_ns;
}

bool gm__server_ready(const gm_server *s) {
    if (s->draining) return false;
    for (int i = 0; i < s->crew.workers; i++)
        if (s->crew.worker[i].state >= GM__WORKER_IDLE) return true;
    return false;
}

// ---------------------------------------------------------------------------------------------
// The router's actions
static void dispatch(gm_server *s, const gm__action *a) {
    gm__mailbox *box = s->crew.worker[a->worker].box;
    int64_t now = s->now_ns;
    box->subnet = a->subnet;
    box->images = a->count;
    for (int k = 0; k < a->count; k++) {
        const gm__query *q = (const gm__query *)(uintptr_t)a->tag[k];
        box->slot[k] = q->slot;
    }
    gm__crew_run(&s->crew, a->worker, now, a->due_ns);
    gm__monitor_dispatch(&s->monitor, a->count, a->deadline_ns >= GM_NO_DEADLINE ? 1e9 : (double)(a->deadline_ns - now) * 1e-9);
}

static void take_answer(gm_server *s, const gm__action *a, int batch) {
    gm__query *q = (gm__query *)(uintptr_t)a->tag[0];
    int64_t arrived = q->ticket->exchange->arrived_ns;
    q->outcome = a->outcome;
    q->subnet = a->subnet;
    q->waited_ns = s->now_ns - arrived;
    if (a->worker >= 0 && a->subnet >= 0) {
        const gm__mailbox *box = s->crew.worker[a->worker].box;
        q->batch = batch;
        q->queue_ns = a->started_ns - arrived;
        q->run_ns = box->finished_ns - box->started_ns;
        q->ticket->exchange->result_ns = box->finished_ns;
    }
    gm__monitor_outcome(&s->monitor, q->outcome, q->subnet, (double)q->waited_ns * 1e-9, (double)q->queue_ns * 1e-9);
    if (--q->ticket->open == 0) gm__ticket_done(q->ticket);
}

void gm__carry_out(gm_server *s) {
    int count = 0;
    const gm__action *a = gm__router_actions(s->router, &count);
    // Answers of a batch stand before what its worker runs next, so its mailbox still holds the batch.
    for (int i = 0; i < count; i++) {
        if (a[i].kind == GM__ACTION_DISPATCH)
            dispatch(s, &a[i]);
        else
            take_answer(s, &a[i], a[i].worker >= 0 ? s->crew.worker[a[i].worker].box->images : 0);
    }
}

// ---------------------------------------------------------------------------------------------
// Workers
static gm_status watch(gm_server *s, int fd, uint32_t what, gm_error *err) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};
    if (epoll_ctl(s->poll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return GM_OK;
    return gm_fail(err, GM_ERR_IO, "cannot wait for events: %s", strerror(errno));
}

static gm_status start_worker(gm_server *s, int i, gm_error *err) {
    gm_status status = gm__crew_start(&s->crew, i, s->now_ns, err);
    const gm__worker *w = &s->crew.worker[i];
    if (status == GM_OK) status = watch(s, w->done_fd, EVENT_WORKER + 2 * (uint32_t)i, err);
    if (status == GM_OK && w->pid_fd >= 0) status = watch(s, w->pid_fd, EVENT_WORKER + 2 * (uint32_t)i + 1, err);
    return status;
}

static void worker_reported(gm_server *s, int i) {
    gm__worker *w = &s->crew.worker[i];
    bool ran = w->state == GM__WORKER_BUSY;
    if (w->doomed || !gm__crew_reported(&s->crew, i)) return;
    int64_t now = gm__server_now(s);
    if (!ran) {
        gm__router_ready(s->router, now, i);
    } else {
        gm__monitor_ran(&s->monitor, w->box->subnet, w->box->images, (double)(w->box->finished_ns - w->box->started_ns) * 1e-9);
        gm__router_result(s->router, now, i);
    }
    gm__carry_out(s);
}

static void look_after_workers(gm_server *s) {
    for (int i = 0; i < s->crew.workers; i++) {
        int64_t now = gm__server_now(s);
        gm__worker *w = &s->crew.worker[i];
        bool was_alive = w->state >= GM__WORKER_IDLE;
        if (gm__crew_gone(&s->crew, i, now) && was_alive) {
            gm__router_dead(s->router, now, i);
            gm__carry_out(s);
        }
        if (w->state == GM__WORKER_DEAD && now >= w->restart_ns && !s->stopped) {
            gm_error err;
            if (start_worker(s, i, &err) != GM_OK) gm_log(GM_LOG_ERROR, "%s", err.text);
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Signals: handlers only note them, so it does not matter which thread gets them.
static atomic_int signal_seen, signal_fd = -1;
enum { SEEN_STOP = 1, SEEN_RELOAD = 2 };

static void on_signal(int number) {
    int saved = errno;
    uint64_t one = 1;
    atomic_fetch_or(&signal_seen, number == SIGHUP ? SEEN_RELOAD : SEEN_STOP);
    int fd = atomic_load(&signal_fd);
    if (fd >= 0 && write(fd, &one, sizeof one) < 0) errno = 0; // full: it wakes anyway
    errno = saved;
}

static void reload_keys(gm_server *s) {
    gm__keys *keys = NULL;
    gm_error err;
    if (s->settings.key_file == NULL) return;
    if (gm__keys_read(s->settings.key_file, &keys, &err) != GM_OK) {
        gm_log(GM_LOG_ERROR, "%s; the old keys stay", err.text);
        return;
    }
    gm__keys_destroy(s->http.keys);
    s->http.keys = keys;
    gm_log(GM_LOG_INFO, "API keys were read again");
}

static void take_signals(gm_server *s) {
    uint64_t count;
    if (read(s->signal_fd, &count, sizeof count) < 0) return;
    int seen = atomic_exchange(&signal_seen, 0);
    if (seen & SEEN_RELOAD) reload_keys(s);
    if (!(seen & SEEN_STOP)) return;
    int64_t now = gm__server_now(s);
    bool again = s->draining;
    if (!again) {
        gm_log(GM_LOG_INFO, "stopping: %d requests in flight are answered first", s->in_flight);
        s->drain_ns = now + (int64_t)(s->settings.drain_seconds * 1e9);
    }
    s->draining = true;
    s->http.stopping = true;
    gm__router_close(s->router, now, again);
    gm__carry_out(s);
}

// ---------------------------------------------------------------------------------------------
// The loop
// A timer that is set for an earlier moment is left: it wakes the loop once in vain, and most requests cost no system call.
static void set_timer(gm_server *s) {
    int64_t at = gm__router_wake(s->router);
    struct itimerspec when = {0};
    if (at >= s->timer_ns) return;
    s->timer_ns = at;
    if (at < 1) at = 1;
    when.it_value.tv_sec = (time_t)(at / SECOND); // gm_now is CLOCK_MONOTONIC
    when.it_value.tv_nsec = (long)(at % SECOND);
    timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void tick(gm_server *s) {
    int64_t now = gm__server_now(s);
    if (gm__router_wake(s->router) > now) return;
    gm__router_tick(s->router, now);
    gm__carry_out(s);
}

static void take_event(gm_server *s, uint32_t what) {
    uint64_t count;
    if (what == EVENT_SIGNAL) {
        take_signals(s);
    } else if (what == EVENT_AWAY) {
        gm__http_take_gone(&s->http);
    } else if (what == EVENT_TIMER) {
        if (read(s->timer_fd, &count, sizeof count) == (ssize_t)sizeof count) s->timer_ns = INT64_MAX; // ticks come in every round
    } else if (what >= EVENT_WORKER && (what - EVENT_WORKER) % 2 == 0) {
        worker_reported(s, (int)(what - EVENT_WORKER) / 2);
    } else if (what >= EVENT_WORKER) {
        look_after_workers(s);
    }
}

static void sweep(gm_server *s) {
    int64_t now = gm__server_now(s);
    gm__http_sweep(&s->http, now);
    look_after_workers(s);
}

// One round: workers' results first (a free worker gets its next batch before the answers are written), then sockets.
static void round_of(gm_server *s, int timeout_ms, int64_t *sweep_ns, bool *more) {
    struct epoll_event event[EVENTS];
    set_timer(s);
    int n = epoll_wait(s->poll_fd, event, EVENTS, *more ? 0 : timeout_ms);
    tick(s);
    for (int i = 0; i < n; i++) take_event(s, event[i].data.u32);
    *more = gm__http_run(&s->http, gm__server_now(s));
    tick(s);
    gm__router_state state = gm__router_look(s->router, s->now_ns);
    gm__monitor_levels(&s->monitor, state.waiting, state.workers_alive);
    if (s->now_ns < *sweep_ns) return;
    *sweep_ns = s->now_ns + SWEEP_MS * 1000000ll;
    sweep(s);
}

static void drain(gm_server *s, int64_t *sweep_ns) {
    bool more = false;
    while (s->in_flight > 0) {
        if (gm__server_now(s) > s->drain_ns) {
            gm_log(GM_LOG_WARN, "%d requests are still in flight after %g s: given up", s->in_flight, s->settings.drain_seconds);
            break;
        }
        round_of(s, SWEEP_MS, sweep_ns, &more);
    }
    s->stopped = true;
    if (s->in_flight > 0) { // their workers are killed: failed, each with its answer
        gm__router_close(s->router, gm__server_now(s), true);
        gm__carry_out(s);
        for (int i = 0; i < s->crew.workers; i++) {
            if (s->crew.worker[i].state != GM__WORKER_BUSY) continue;
            gm__router_failed(s->router, gm__server_now(s), i);
            gm__carry_out(s);
        }
    }
    // What was answered last must still leave.
    int64_t until = gm__server_now(s) + SECOND / 5;
    while (s->http.connections > 0 && gm__server_now(s) < until) round_of(s, 5, sweep_ns, &more);
}

gm_status gm_server_run(gm_server *s, gm_error *err) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction before[3], pipe_before;
    int none = -1;
    if (!atomic_compare_exchange_strong(&signal_fd, &none, s->signal_fd))
        return gm_fail(err, GM_ERR_STATE, "another server runs in this process");
    sigemptyset(&action.sa_mask);
    sigemptyset(&ignore.sa_mask);
    for (int i = 0; i < 3; i++) sigaction(numbers[i], &action, &before[i]);
    sigaction(SIGPIPE, &ignore, &pipe_before);
    gm__turns turns = gm__turns_short();
    int64_t sweep_ns = 0;
    bool more = false;
    while (!s->draining) round_of(s, SWEEP_MS, &sweep_ns, &more);
    drain(s, &sweep_ns);
    gm__turns_restore(turns);
    for (int i = 0; i < 3; i++) sigaction(numbers[i], &before[i], NULL);
    sigaction(SIGPIPE, &pipe_before, NULL);
    atomic_store(&signal_fd, -1);
    return GM_OK;
}

// ---------------------------------------------------------------------------------------------
// Creation
static bool name_fits(const char *name) {
    size_t n = strlen(name);
    return n > 0 && n <= 64 && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static gm_status check(const gm_server_settings *t, const gm_served_model *m, gm_error *err) {
    if (!name_fits(m->name))
        return gm_fail(err, GM_ERR_ARGUMENT, "the model's name '%.64s' must have 1 to 64 letters, digits, '.', '_' or '-'", m->name);
    if (m->profile->subnets < 1 || m->profile->batches < 1) return gm_fail(err, GM_ERR_ARGUMENT, "the profile is empty");
    if (m->classes < 1 || m->channels < 1 || m->channels > GM__CHANNELS_MAX || m->side < 1 || m->side > 4096)
        return gm_fail(err, GM_ERR_ARGUMENT, "a model with %d classes, %d channels and side %d cannot be served", m->classes,
                       m->channels, m->side);
    if (t->workers < 1 || t->workers > WORKERS_MOST)
        return gm_fail(err, GM_ERR_RANGE, "%d workers; there can be 1 to %d", t->workers, WORKERS_MOST);
    if (t->max_queue < 1 || t->max_images < 1 || t->max_images > 256 || t->max_connections < 1 || t->max_body < 1024)
        return gm_fail(err, GM_ERR_RANGE, "a limit of the server is out of range");
    return GM_OK;
}

static gm_status check_files(int connections, gm_error *err) {
    struct rlimit files;
    rlim_t wanted = (rlim_t)connections + SPARE_FILES + 3 * WORKERS_MOST;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= wanted) return GM_OK;
    files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
    if (files.rlim_cur >= wanted && setrlimit(RLIMIT_NOFILE, &files) == 0) return GM_OK;
    return gm_fail(err, GM_ERR_RANGE, "%d connections need %llu file descriptors; use fewer with --max-connections, or raise "
                   "the limit (ulimit -n)", connections, (unsigned long long)wanted);
}

static void know_hosts(gm_server *s) {
    static const char *const local[] = {"localhost", "127.0.0.1", "[::1]"};
    int n = 0;
    if (!gm__loopback(s->bind) && s->settings.host == NULL) return; // any
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) s->http.host[n++] = local[i];
    s->http.host[n++] = s->bind;
    if (s->settings.host != NULL) s->http.host[n++] = s->host;
}

static gm_status open_events(gm_server *s, gm_error *err) {
    s->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    s->signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->poll_fd < 0 || s->timer_fd < 0 || s->signal_fd < 0)
        return gm_fail(err, GM_ERR_IO, "cannot wait for events: %s", strerror(errno));
    gm_status status = watch(s, s->timer_fd, EVENT_TIMER, err);
    return status != GM_OK ? status : watch(s, s->signal_fd, EVENT_SIGNAL, err);
}

static void answer_left(void *server, const gm__exchange *x) {
    gm_server *s = server;
    if (x->result_ns > 0) gm__histogram_add(&s->monitor.respond, (double)(gm__now_ns() - x->result_ns) * 1e-9);
}

static gm_status open_http(gm_server *s, gm_error *err) {
    const gm_server_settings *t = &s->settings;
    int socket = -1;
    s->http.routes = gm__routes;
    s->http.context = s;
    s->http.model = s->model.name;
    s->http.sent = answer_left;
    s->http.gone = gm__withdraw;
    s->http.max_body = t->max_body;
    s->http.max_per_address = t->max_per_address;
    s->http.header_ns = (int64_t)(t->header_seconds * 1e9);
    s->http.idle_ns = (int64_t)(t->idle_seconds * 1e9);
    s->http.total_ns = (int64_t)(t->total_seconds * 1e9);
    s->http.now_ns = s->now_ns;
    know_hosts(s);
    gm_status status = gm__keys_read(t->key_file, &s->http.keys, err);
    if (status != GM_OK) return status;
    if (s->http.keys == NULL && !t->insecure && !gm__loopback(s->bind))
        return gm_fail(err, GM_ERR_STATE, "%.80s can be reached from elsewhere: give --api-key-file, or --insecure if anyone may "
                       "use this server", s->bind);
    status = gm__listen(s->bind, t->port, &socket, &s->port, err);
    if (status == GM_OK) status = gm__http_start(&s->http, socket, t->max_connections, err);
    if (status != GM_OK && socket >= 0) close(socket);
    if (status == GM_OK) status = watch(s, s->http.away_fd, EVENT_AWAY, err);
    return status == GM_OK ? watch(s, gm__http_fd(&s->http), EVENT_HTTP, err) : status;
}

static gm_status open_router(gm_server *s, gm_error *err) {
    const gm_server_settings *t = &s->settings;
    gm__router_settings r = gm__router_settings_default();
    r.policy = t->policy;
    r.policy_settings.serve_late = t->serve_late;
    r.latency.overhead_ns = (int64_t)(t->overhead_ms * 1e6);
    r.workers = t->workers;
    r.queue_limit = t->max_queue;
    return gm__router_create(s->model.profile, &r, &s->router, err);
}

static gm_status open_workers(gm_server *s, gm_error *err) {
    const gm_served_model *m = &s->model;
    int largest = m->profile->batch[m->profile->batches - 1], slots = 0;
    size_t side = (size_t)s->rules.max_side, pixels = side * side, floats = (size_t)m->side * (size_t)m->side * sizeof(float);
    if (floats > pixels) pixels = floats;
    // What waits and what runs, and a request for which a full queue may make room.
    slots = s->settings.max_queue + largest * s->settings.workers + s->settings.max_images;
    gm_status status = gm__slab_init(&s->slab, slots, pixels * (size_t)m->channels, m->classes, err);
    if (status == GM_OK)
        status = gm__crew_init(&s->crew, s->settings.workers, largest, &m->backend, &s->slab, s->settings.pin,
                               (int64_t)(s->settings.hang_ms * 1e6), err);
    for (int i = 0; i < s->settings.workers && status == GM_OK; i++) status = start_worker(s, i, err);
    return status;
}

// Until one worker is ready.
static gm_status await_worker(gm_server *s, gm_error *err) {
    while (!gm__server_ready(s)) {
        struct epoll_event event[EVENTS];
        int n = epoll_wait(s->poll_fd, event, EVENTS, SWEEP_MS);
        for (int i = 0; i < n; i++)
            if (event[i].data.u32 >= EVENT_WORKER && (event[i].data.u32 - EVENT_WORKER) % 2 == 0)
                worker_reported(s, (int)(event[i].data.u32 - EVENT_WORKER) / 2);
        for (int i = 0; i < s->crew.workers; i++)
            if (gm__crew_gone(&s->crew, i, gm__server_now(s)))
                return gm_fail(err, GM_ERR_STATE, "worker %d died at its start", i);
    }
    return GM_OK;
}

gm_status gm_server_create(const gm_server_settings *settings, const gm_served_model *model, gm_server **out, gm_error *err) {
    gm_status status = check(settings, model, err);
    if (status == GM_OK) status = check_files(settings->max_connections, err);
    if (status != GM_OK) return status;
    gm_server *s = gm_alloc(1, sizeof *s);
    if (s == NULL) return gm_fail(err, GM_ERR_MEMORY, "no memory for a server");
    s->settings = *settings;
    s->model = *model;
    s->timer_ns = INT64_MAX;
    s->poll_fd = s->timer_fd = s->signal_fd = s->http.away_fd = -1;
    snprintf(s->bind, sizeof s->bind, "%s", settings->bind);
    snprintf(s->host, sizeof s->host, "%s", settings->host != NULL ? settings->host : "");
    s->rules = (gm__input_rules){model->channels, model->side, settings->max_side > 0 ? settings->max_side : gm_max(2 * model->side, LEAST_MAX_SIDE),
                                 settings->max_images, settings->strict};
    s->now_ns = gm__now_ns();
    s->started_unix = (double)time(NULL);
    status = gm__monitor_init(&s->monitor, model->profile, s->now_ns, err);
    if (status == GM_OK) status = gm__dashboard_make(s, err);
    if (status == GM_OK) status = open_events(s, err);
    if (status == GM_OK) status = open_router(s, err);
    if (status == GM_OK) status = open_workers(s, err); // before the socket: a worker inherits no more than it must
    if (status == GM_OK) status = await_worker(s, err);
    if (status == GM_OK) status = open_http(s, err);
    if (status != GM_OK) {
        gm_server_destroy(s);
        return status;
    }
    *out = s;
    return GM_OK;
}

int gm_server_port(const gm_server *s) { return s->port; }

void gm_server_destroy(gm_server *s) {
    if (s == NULL) return;
    gm__http_stop(&s->http);
    gm__crew_fini(&s->crew);
    gm__router_destroy(s->router);
    gm__slab_fini(&s->slab);
    gm__monitor_fini(&s->monitor);
    gm__keys_destroy(s->http.keys);
    gm_free(s->page);
    int *fds[] = {&s->poll_fd, &s->timer_fd, &s->signal_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (*fds[i] >= 0) close(*fds[i]);
    gm_free(s);
}
