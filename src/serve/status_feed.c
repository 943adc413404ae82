// SPDX-License-Identifier: Apache-2.0
// GET /v2/gamut/status: the feed of the dashboard (docs/http.md).
#include "serve/server.h"

#include <math.h>
#include <string.h>

static void number(gm__text *t, const char *key, double value) {
    gm__text_print(t, "\"%s\":", key);
    gm__text_number(t, value);
}

static void word(gm__text *t, const char *key, const char *value) {
    gm__text_print(t, "\"%s\":", key);
    gm__text_json(t, value);
}

static double share(double part, double whole) { return whole > 0 ? part / whole : NAN; }

static void about_server(gm_server *s, gm__text *t) {
    const gm_served_model *m = &s->model;
    double uptime = (double)(s->now_ns - s->monitor.started_ns) * 1e-9;
    gm__text_print(t, "{\"server\":{\"name\":\"gamut\",\"version\":\"%s\",\"uptime_s\":%.3f,\"time_unix_s\":%.3f,\"ready\":%s,", gm_version(),
                   uptime, s->started_unix + uptime, gm__server_ready(s) ? "true" : "false");
    word(t, "policy", gm__router_policy(s->router));
    gm__text_print(t, ",");
    number(t, "slo_ms", s->settings.slo_ms);
    gm__text_print(t, "},\"model\":{");
    word(t, "name", m->name);
    gm__text_print(t, ",");
    word(t, "preset", m->preset);
    gm__text_print(t, ",");
    word(t, "data", m->data);
    gm__text_print(t, ",\"dtype\":\"%s\",\"classes\":%d,\"input\":[%d,%d,%d],\"bytes\":%zu}", gm_dtype_name(m->profile->type), m->classes,
                   m->side, m->side, m->channels, m->bytes);
}

static void about_capacity(gm_server *s, gm__text *t) {
    const gm_latency *l = gm__router_latency(s->router);
    double seconds = (double)gm_latency_ns(l, l->subnets - 1, l->largest) * 1e-9;
    gm__text_print(t, ",\"capacity\":{");
    number(t, "smallest_qps", gm_profile_capacity(s->model.profile) * s->settings.workers);
    gm__text_print(t, ",");
    number(t, "largest_qps", share(l->largest * (double)s->settings.workers, seconds));
    gm__text_print(t, ",\"largest_batch\":%d,", l->largest);
    number(t, "largest_batch_ms", seconds * 1e3);
    gm__text_print(t, "},\"queue\":{\"length\":%d,\"limit\":%d}", gm__router_look(s->router, s->now_ns).waiting, s->settings.max_queue);
}

static void about_workers(gm_server *s, gm__text *t) {
    static const char *const states[] = {"dead", "starting", "idle", "busy"};
    gm__text_print(t, ",\"workers\":[");
    for (int i = 0; i < s->crew.workers; i++) {
        const gm__worker *w = &s->crew.worker[i];
        gm__text_print(t, "%s{\"index\":%d,\"pid\":%d,\"state\":\"%s\",\"batches\":%llu,\"restarts\":%d}", i > 0 ? "," : "", i, (int)w->pid,
                       states[w->state], (unsigned long long)w->batches, w->restarts);
    }
    gm__text_print(t, "]");
}

static void rates(gm__text *t, const uint64_t outcome[GM_OUTCOMES], double accuracy) {
    double all = 0;
    for (int o = 0; o < GM_OUTCOMES; o++) all += (double)outcome[o];
    number(t, "attainment", share((double)outcome[GM_OUTCOME_MET], all));
    gm__text_print(t, ",");
    number(t, "accuracy_served", share(accuracy, (double)outcome[GM_OUTCOME_MET]));
    gm__text_print(t, ",");
    number(t, "goodput_accuracy", share(accuracy, all));
}

static void about_totals(gm_server *s, gm__text *t) {
    static const int spans[] = {1, 10, 60};
    const gm__monitor *m = &s->monitor;
    gm__text_print(t, ",\"totals\":{\"received\":%llu", (unsigned long long)m->received);
    for (int o = 0; o < GM_OUTCOMES; o++)
        gm__text_print(t, ",\"%s\":%llu", gm_outcome_name((gm_outcome)o), (unsigned long long)m->outcome[o]);
    gm__text_print(t, ",");
    rates(t, m->outcome, m->accuracy);
    gm__text_print(t, "},\"windows\":[");
    for (int i = 0; i < 3; i++) {
        gm__window w = gm__monitor_window(m, spans[i]);
        gm__text_print(t, "%s{\"seconds\":%d,", i > 0 ? "," : "", spans[i]);
        number(t, "rate_qps", (double)w.received / spans[i]);
        gm__text_print(t, ",");
        rates(t, w.outcome, w.accuracy);
        gm__text_print(t, ",");
        number(t, "p50_ms", w.p50_ms);
        gm__text_print(t, ",");
        number(t, "p99_ms", w.p99_ms);
        gm__text_print(t, ",");
        number(t, "mean_batch", share((double)w.images, (double)w.batches));
        gm__text_print(t, "}");
    }
    gm__text_print(t, "]");
}

static void about_subnets(gm_server *s, gm__text *t) {
    const gm__monitor *m = &s->monitor;
    const gm_profile *p = m->profile;
    gm__text_print(t, ",\"subnets\":[");
    for (int i = 0; i < p->subnets; i++) {
        uint64_t recent = 0;
        for (int64_t second = m->second - 60; second < m->second; second++)
            if (gm__monitor_second(m, second) != NULL) recent += gm__monitor_subnet_second(m, second, i);
        gm__text_print(t, "%s{\"id\":\"%016llx\",", i > 0 ? "," : "", (unsigned long long)p->subnet[i].id);
        word(t, "choice", p->subnet[i].choice);
        gm__text_print(t, ",");
        number(t, "top1", p->subnet[i].top1);
        gm__text_print(t, ",");
        number(t, "latency_ms", (double)gm_latency_ns(gm__router_latency(s->router), i, 1) * 1e-6);
        gm__text_print(t, ",\"count\":%llu,\"last_60\":%llu}", (unsigned long long)m->subnet[i].answered, (unsigned long long)recent);
    }
    gm__text_print(t, "]");
}

typedef double of_second(const gm__second *r);
static double received_of(const gm__second *r) { return r->received; }
static double met_of(const gm__second *r) { return r->outcome[GM_OUTCOME_MET]; }
static double late_of(const gm__second *r) { return r->outcome[GM_OUTCOME_LATE]; }
static double dropped_of(const gm__second *r) { return r->outcome[GM_OUTCOME_DROPPED]; }
static double rejected_of(const gm__second *r) { return r->outcome[GM_OUTCOME_REJECTED]; }
static double failed_of(const gm__second *r) { return r->outcome[GM_OUTCOME_FAILED]; }
static double accuracy_of(const gm__second *r) { return share(r->accuracy, r->outcome[GM_OUTCOME_MET]); }
static double queue_of(const gm__second *r) { return r->queue; }
static double p50_of(const gm__second *r) { return (double)r->p50_ms; }
static double p99_of(const gm__second *r) { return (double)r->p99_ms; }
static double batch_of(const gm__second *r) { return share(r->images, r->batches); }
static double workers_of(const gm__second *r) { return r->workers; }
static const struct {
    const char *name;
    of_second *value;
} columns[] = {{"received", received_of}, {"met", met_of},           {"late", late_of},   {"dropped", dropped_of},
               {"rejected", rejected_of}, {"failed", failed_of},     {"accuracy", accuracy_of}, {"queue", queue_of},
               {"p50_ms", p50_of},        {"p99_ms", p99_of},        {"batch", batch_of}, {"workers", workers_of}};

static void about_series(gm_server *s, gm__text *t) {
    const gm__monitor *m = &s->monitor;
    const gm_profile *p = m->profile;
    int64_t from = m->second > GM__SECONDS ? m->second - GM__SECONDS : 0;
    gm__text_print(t, ",\"series\":{\"step_s\":1,\"end_unix_s\":%.0f", s->started_unix + (double)m->second);
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        gm__text_print(t, ",\"%s\":[", columns[c].name);
        for (int64_t second = from; second < m->second; second++) {
            const gm__second *r = gm__monitor_second(m, second);
            if (second > from) gm__text_print(t, ",");
            gm__text_number(t, r != NULL ? columns[c].value(r) : NAN);
        }
        gm__text_print(t, "]");
    }
    gm__text_print(t, ",\"subnets\":{");
    bool first = true;
    for (int i = 0; i < p->subnets; i++) {
        uint64_t sum = 0;
        for (int64_t second = from; second < m->second; second++) sum += gm__monitor_subnet_second(m, second, i);
        if (sum == 0) continue;
        gm__text_print(t, "%s\"%016llx\":[", first ? "" : ",", (unsigned long long)p->subnet[i].id);
        first = false;
        for (int64_t second = from; second < m->second; second++)
            gm__text_print(t, "%s%u", second > from ? "," : "", gm__monitor_subnet_second(m, second, i));
        gm__text_print(t, "]");
    }
    gm__text_print(t, "}}}");
}

void gm__answer_status(void *server, gm__exchange *x) {
    gm_server *s = server;
    (void)gm__server_now(s);
    gm__text *t = &x->text;
    about_server(s, t);
    about_capacity(s, t);
    about_workers(s, t);
    about_totals(s, t);
    about_subnets(s, t);
    about_series(s, t);
    gm__http_answer(x, MHD_HTTP_OK, "application/json");
}
