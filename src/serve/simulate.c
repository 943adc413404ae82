// SPDX-License-Identifier: Apache-2.0
// A load in virtual time over the very router that the server runs. Workers are made up: a run takes what the profile says,
// with noise, drift and the cost of dispatch on top; they may be killed.
#include "serve/router.h"

#include <math.h>

typedef struct worker {
    bool busy, alive;
    int64_t done_ns, revive_ns;
    int count;
    const uint64_t *tag;
} worker;

typedef struct simulation {
    const gm_profile *profile;
    const gm_trace *trace;
    const gm_simulation_settings *settings;
    gm__router *router;
    const gm_latency *latency; // for the size that a batch is charged at
    worker *worker;
    gm_fate *fate;
    gm_rng rng;
} simulation;

gm_simulation_settings gm_simulation_settings_default(void) {
    return (gm_simulation_settings){.policy = "gamut",
                                    .policy_settings = gm_policy_settings_default(),
                                    .latency = gm_latency_settings_default(),
                                    .workers = 1,
                                    .queue_limit = 1000000,
                                    .slo_ns = 36000000,
                                    .drift = 1.0,
                                    .seed = 1};
}

static int64_t run_time(simulation *s, const gm__action *a) {
    int column = s->latency->column[a->count];
    double ns = (double)s->profile->subnet[a->subnet].p50_ns[column] * s->settings->drift;
    if (s->settings->noise > 0.0) ns *= exp(s->settings->noise * (double)gm_rng_normal(&s->rng));
    return (int64_t)llround(fmax(ns, 1.0)) + s->settings->dispatch_ns;
}

static void carry_out(simulation *s, int64_t now_ns) {
    int count;
    const gm__action *a = gm__router_actions(s->router, &count);
    for (int i = 0; i < count; i++, a++) {
        if (a->kind == GM__ACTION_DISPATCH) {
            worker *w = &s->worker[a->worker];
            w->busy = true;
            w->done_ns = now_ns + run_time(s, a);
            w->count = a->count;
            for (int q = 0; q < a->count; q++) s->fate[a->tag[q]].batch = a->count;
        } else {
            gm_fate *f = &s->fate[a->tag[0]];
            f->outcome = a->outcome;
            f->subnet = a->subnet;
            f->answer_ns = now_ns;
        }
    }
}

static int next_done(const simulation *s, int64_t *at_ns) {
    int next = -1;
    for (int w = 0; w < s->settings->workers; w++)
        if (s->worker[w].busy && (next < 0 || s->worker[w].done_ns < s->worker[next].done_ns)) next = w;
    *at_ns = next >= 0 ? s->worker[next].done_ns : INT64_MAX;
    return next;
}

static int next_revival(const simulation *s, int64_t *at_ns) {
    int next = -1;
    for (int w = 0; w < s->settings->workers; w++)
        if (!s->worker[w].alive && s->worker[w].revive_ns > 0 &&
            (next < 0 || s->worker[w].revive_ns < s->worker[next].revive_ns))
            next = w;
    *at_ns = next >= 0 ? s->worker[next].revive_ns : INT64_MAX;
    return next;
}

static void arrive(simulation *s, int i, int64_t now_ns) {
    const gm_simulation_settings *set = s->settings;
    int64_t slo = set->slo_each_ns != NULL ? set->slo_each_ns[i] : set->slo_ns;
    s->fate[i] = (gm_fate){.outcome = GM_OUTCOME_FAILED, .subnet = -1, .arrival_ns = now_ns, .deadline_ns = now_ns + slo};
    gm__router_arrive(s->router, now_ns, (gm__arrival){.tag = (uint64_t)i, .deadline_ns = now_ns + slo,
                                                       .floor = set->floor_each != NULL ? set->floor_each[i] : 0.0});
}

static void kill_one(simulation *s, int number, int64_t now_ns) {
    int w = s->settings->workers - 1 - number % s->settings->workers;
    s->worker[w].alive = s->worker[w].busy = false;
    s->worker[w].revive_ns = s->settings->revive_after_s > 0.0 ? now_ns + (int64_t)llround(s->settings->revive_after_s * 1e9) : 0;
    gm__router_dead(s->router, now_ns, w);
}

static int64_t kill_time(const gm_simulation_settings *set, int killed) {
    return killed < set->kills ? (int64_t)llround((killed + 1) * set->kill_every_s * 1e9) : INT64_MAX;
}

// At equal times: results, deaths and revivals, arrivals, timers.
static void play(simulation *s) {
    const gm_simulation_settings *set = s->settings;
    int arrived = 0, killed = 0;
    for (int w = 0; w < set->workers; w++) {
        s->worker[w].alive = true;
        gm__router_ready(s->router, 0, w);
    }
    for (;;) {
        int64_t done_ns, revive_ns, kill_ns = kill_time(set, killed), wake_ns = gm__router_wake(s->router);
        int64_t arrive_ns = arrived < s->trace->count ? s->trace->at_ns[arrived] : INT64_MAX;
        int done = next_done(s, &done_ns), revive = next_revival(s, &revive_ns);
        int64_t now = done_ns < wake_ns ? done_ns : wake_ns;
        if (arrive_ns < now) now = arrive_ns;
        if (now == INT64_MAX && !(revive >= 0 && gm__router_look(s->router, 0).waiting > 0)) return;
        if (kill_ns < now) now = kill_ns;
        if (revive_ns < now) now = revive_ns;
        if (now == done_ns && done >= 0) {
            s->worker[done].busy = false;
            gm__router_result(s->router, now, done);
        } else if (now == kill_ns) {
            kill_one(s, killed++, now);
        } else if (now == revive_ns) {
            s->worker[revive].alive = true;
            s->worker[revive].revive_ns = 0;
            gm__router_ready(s->router, now, revive);
        } else if (now == arrive_ns) {
            arrive(s, arrived++, now);
        } else {
            gm__router_tick(s->router, now);
        }
        carry_out(s, now);
    }
}

// Requests that still wait when nothing more can happen (no worker is left, and no deadline).
static void close_down(simulation *s) {
    int64_t end = s->trace->at_ns[s->trace->count - 1];
    gm__router_close(s->router, end, true);
    carry_out(s, end);
}

static gm_status check(const gm_profile *p, const gm_simulation_settings *set, gm_error *err) {
    if (set->slo_ns < 1 || set->dispatch_ns < 0 || !(set->noise >= 0.0 && set->noise <= 2.0) ||
        !(set->drift > 0.0 && set->drift <= 100.0) || set->kills < 0 || (set->kills > 0 && !(set->kill_every_s > 0.0)))
        return gm_fail(err, GM_ERR_RANGE, "simulation: SLO %lld ns, dispatch %lld ns, noise %g (0 to 2), drift %g (above 0, to 100), "
                       "%d kills every %g s", (long long)set->slo_ns, (long long)set->dispatch_ns, set->noise, set->drift,
                       set->kills, set->kill_every_s);
    return p->subnets > 0 ? GM_OK : gm_fail(err, GM_ERR_ARGUMENT, "simulation: the profile is empty");
}

gm_status gm_simulate(const gm_profile *p, const gm_trace *t, const gm_simulation_settings *settings, gm_fate *fate,
                      gm_load_summary *out, gm_error *err) {
    simulation s = {.profile = p, .trace = t, .settings = settings, .fate = fate};
    gm__router_settings r = gm__router_settings_default();
    r.policy = settings->policy;
    r.policy_settings = settings->policy_settings;
    r.latency = settings->latency;
    r.workers = settings->workers;
    r.queue_limit = gm_max(gm_min(settings->queue_limit, t->count), 1);
    r.correct_latency = settings->correct_latency;
    gm_status status = check(p, settings, err);
    if (status == GM_OK) status = gm__router_create(p, &r, &s.router, err);
    if (status != GM_OK) return status;
    s.latency = gm__router_latency(s.router);
    s.rng = gm_rng_keyed(settings->seed, 3, 0, GM_RNG_USER);
    s.worker = gm_alloc((size_t)settings->workers, sizeof *s.worker);
    if (fate == NULL) s.fate = gm_alloc((size_t)t->count + 1, sizeof *s.fate);
    if (s.worker == NULL || s.fate == NULL) {
        status = gm_fail(err, GM_ERR_MEMORY, "simulation: no memory for %d requests", t->count);
    } else {
        play(&s);
        if (t->count > 0) close_down(&s);
        status = gm_load_summarise(s.fate, t->count, s.latency->top1, p->subnets, NULL, out, err);
    }
    if (fate == NULL) gm_free(s.fate);
    gm_free(s.worker);
    gm__router_destroy(s.router);
    return status;
}
