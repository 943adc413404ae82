// SPDX-License-Identifier: Apache-2.0
// GET /metrics: the text format of Prometheus, base units, names under gamut_.
#include "serve/server.h"

static void describe(gm__text *t, const char *name, const char *type, const char *help) {
    gm__text_print(t, "# HELP gamut_%s %s\n# TYPE gamut_%s %s\n", name, help, name, type);
}

static void histogram(gm__text *t, const char *model, const char *name, const char *help, const gm__histogram *h) {
    uint64_t below = 0;
    describe(t, name, "histogram", help);
    for (int i = 0; i < GM__TIME_BUCKETS; i++) {
        below += h->count[i];
        gm__text_print(t, "gamut_%s_bucket{model=\"%s\",le=\"%g\"} %llu\n", name, model, gm__time_bucket[i], (unsigned long long)below);
    }
    gm__text_print(t, "gamut_%s_bucket{model=\"%s\",le=\"+Inf\"} %llu\ngamut_%s_sum{model=\"%s\"} %.9g\ngamut_%s_count{model=\"%s\"} %llu\n",
                   name, model, (unsigned long long)h->total, name, model, h->sum, name, model, (unsigned long long)h->total);
}

static void sizes(gm__text *t, const char *model, const gm__monitor *m) {
    uint64_t below = 0;
    describe(t, "batch_size", "histogram", "images of a dispatch");
    for (int i = 0; i < GM__SIZE_BUCKETS; i++) {
        below += m->size[i];
        gm__text_print(t, "gamut_batch_size_bucket{model=\"%s\",le=\"%d\"} %llu\n", model, gm__size_bucket[i], (unsigned long long)below);
    }
    gm__text_print(t, "gamut_batch_size_bucket{model=\"%s\",le=\"+Inf\"} %llu\ngamut_batch_size_sum{model=\"%s\"} %llu\n"
                      "gamut_batch_size_count{model=\"%s\"} %llu\n",
                   model, (unsigned long long)m->batches, model, (unsigned long long)m->images, model, (unsigned long long)m->batches);
}

static void subnets(gm__text *t, const char *model, const gm__monitor *m) {
    describe(t, "subnet_queries_total", "counter", "images answered by a subnet, by outcome");
    for (int i = 0; i < m->profile->subnets; i++) {
        const gm__subnet_count *c = &m->subnet[i];
        if (c->answered == 0) continue;
        unsigned long long id = (unsigned long long)m->profile->subnet[i].id;
        gm__text_print(t, "gamut_subnet_queries_total{model=\"%s\",subnet=\"%016llx\",outcome=\"met\"} %llu\n", model, id,
                       (unsigned long long)c->met);
        gm__text_print(t, "gamut_subnet_queries_total{model=\"%s\",subnet=\"%016llx\",outcome=\"late\"} %llu\n", model, id,
                       (unsigned long long)c->late);
    }
}

static void counter(gm__text *t, const char *model, const char *name, const char *help, uint64_t value) {
    describe(t, name, "counter", help);
    gm__text_print(t, "gamut_%s{model=\"%s\"} %llu\n", name, model, (unsigned long long)value);
}

static void gauge(gm__text *t, const char *model, const char *name, const char *help, double value) {
    describe(t, name, "gauge", help);
    gm__text_print(t, "gamut_%s{model=\"%s\"} %.9g\n", name, model, value);
}

void gm__answer_metrics(void *server, gm__exchange *x) {
    gm_server *s = server;
    const gm__monitor *m = &s->monitor;
    const char *model = s->model.name;
    gm__text *t = &x->text;
    gm__router_state state = gm__router_look(s->router, gm__server_now(s));
    int restarts = 0;
    for (int i = 0; i < s->crew.workers; i++) restarts += s->crew.worker[i].restarts;
    describe(t, "queries_total", "counter", "images, by what became of them");
    for (int o = 0; o < GM_OUTCOMES; o++)
        gm__text_print(t, "gamut_queries_total{model=\"%s\",outcome=\"%s\"} %llu\n", model, gm_outcome_name((gm_outcome)o),
                       (unsigned long long)m->outcome[o]);
    counter(t, model, "queries_received_total", "images that were accepted for reading", m->received);
    counter(t, model, "requests_total", "inference requests that were well formed", m->requests);
    counter(t, model, "requests_refused_total", "requests that were malformed, too large or not permitted", s->http.refused);
    counter(t, model, "connections_cut_total", "connections ended for being slow", s->http.cut);
    counter(t, model, "batches_total", "dispatches to workers", m->batches);
    counter(t, model, "worker_restarts_total", "workers that died or hung and were replaced", (uint64_t)restarts);
    counter(t, model, "withdrawn_total", "images whose client went away while they waited; they are dropped, too", s->withdrawn);
    counter(t, model, "requeued_total", "images queued again after their worker died", state.requeued);
    describe(t, "accuracy_percent_sum", "counter", "profiled accuracy summed over the images that met their deadline");
    gm__text_print(t, "gamut_accuracy_percent_sum{model=\"%s\"} %.9g\n", model, m->accuracy);
    gauge(t, model, "queue_length", "images that wait", state.waiting);
    gauge(t, model, "running", "images in workers", state.running);
    gauge(t, model, "workers_alive", "workers that are ready or busy", state.workers_alive);
    gauge(t, model, "workers_idle", "workers without a batch", state.workers_idle);
    gauge(t, model, "latency_drift_ratio", "observed over profiled time of a run", state.drift);
    gauge(t, model, "connections", "open connections", s->http.connections);
    gauge(t, model, "connections_most", "most connections that were open at once", s->http.most_connections);
    gauge(t, model, "ready", "1 when requests are served", gm__server_ready(s) ? 1 : 0);
    histogram(t, model, "latency_seconds", "arrival of the request to its outcome, of images that were run", &m->latency);
    histogram(t, model, "queue_seconds", "arrival to dispatch, of images that were run", &m->queue);
    histogram(t, model, "run_seconds", "one batch in a worker", &m->run);
    histogram(t, model, "slack_seconds", "deadline less now of the most urgent image at dispatch", &m->slack);
    histogram(t, model, "receive_seconds", "headers of a request to its place in the queue", &m->receive);
    histogram(t, model, "respond_seconds", "end of a batch in the worker to the last byte of its answer", &m->respond);
    sizes(t, model, m);
    subnets(t, model, m);
    gm__http_answer(x, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8");
}
