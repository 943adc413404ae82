// SPDX-License-Identifier: Apache-2.0
// The table of routes, and what the protocol tells about the server and its model.
#include "serve/server.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

// Takes the reference.
static void answer_json(gm__exchange *x, unsigned status, json_t *value) {
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
    json_decref(value);
    if (text == NULL) {
        gm__http_error(x, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
        return;
    }
    gm__text_add(&x->text, text, strlen(text));
    free(text);
    gm__http_answer(x, status, "application/json");
}

static void answer_live(void *server, gm__exchange *x) {
    (void)server;
    answer_json(x, MHD_HTTP_OK, json_pack("{s:b}", "live", 1));
}

static void answer_ready(void *server, gm__exchange *x) {
    bool ready = gm__server_ready(server);
    answer_json(x, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, json_pack("{s:b, s:b}", "ready", ready, "live", 1));
}

static void answer_model_ready(void *server, gm__exchange *x) {
    gm_server *s = server;
    bool ready = gm__server_ready(s);
    answer_json(x, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, json_pack("{s:s, s:b}", "name", s->model.name, "ready", ready));
}

static void answer_server(void *server, gm__exchange *x) {
    (void)server;
    answer_json(x, MHD_HTTP_OK,
                json_pack("{s:s, s:s, s:[s, s, s, s, s, s]}", "name", "gamut", "version", gm_version(), "extensions",
                          "binary_tensor_data", "schedule_policy", "statistics", "model_repository", "parameters", "gamut"));
}

static json_t *output_json(const char *name, const char *type, int classes) {
    return classes > 0 ? json_pack("{s:s, s:s, s:[i, i]}", "name", name, "datatype", type, "shape", -1, classes)
                       : json_pack("{s:s, s:s, s:[i]}", "name", name, "datatype", type, "shape", -1);
}

static void answer_model(void *server, gm__exchange *x) {
    gm_server *s = server;
    const gm_served_model *m = &s->model;
    const gm_profile *p = m->profile;
    json_t *parameters = json_pack(
        "{s:i, s:i, s:f, s:f, s:f, s:s, s:s}", "max_batch_size", p->batch[p->batches - 1], "workers", s->settings.workers,
        "slo_ms", s->settings.slo_ms, "accuracy_min", p->subnet[0].top1, "accuracy_max", p->subnet[p->subnets - 1].top1,
        "data", m->data, "policy", gm__router_policy(s->router));
    answer_json(x, MHD_HTTP_OK,
                json_pack("{s:s, s:[s], s:s, s:[{s:s, s:s, s:[i, i, i, i]}], s:[o, o, o], s:o}", "name", m->name, "versions", "1",
                          "platform", "gamut", "inputs", "name", "image", "datatype", "UINT8", "shape", -1, m->side, m->side,
                          m->channels, "outputs", output_json("class", "INT64", 0),
                          output_json("probabilities", "FP32", m->classes), output_json("logits", "FP32", m->classes),
                          "parameters", parameters));
}

static json_t *duration(uint64_t count, double seconds) {
    return json_pack("{s:I, s:I}", "count", (json_int_t)count, "ns", (json_int_t)(seconds * 1e9));
}

static void answer_statistics(void *server, gm__exchange *x) {
    gm_server *s = server;
    const gm__monitor *m = &s->monitor;
    json_t *batches = json_array();
    for (int b = 1; b <= m->largest; b++) {
        if (m->batch_count[b] == 0) continue;
        json_array_append_new(batches, json_pack("{s:i, s:o, s:o, s:o}", "batch_size", b, "compute_input", duration(m->batch_count[b], 0),
                                                 "compute_infer", duration(m->batch_count[b], m->batch_seconds[b]),
                                                 "compute_output", duration(m->batch_count[b], 0)));
    }
    json_t *inference = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "success", duration(m->latency.total, m->latency.sum), "fail",
                                  duration(m->request_failed, 0), "queue", duration(m->queue.total, m->queue.sum), "compute_input",
                                  duration(m->run.total, 0), "compute_infer", duration(m->run.total, m->run.sum), "compute_output",
                                  duration(m->run.total, 0));
    answer_json(x, MHD_HTTP_OK,
                json_pack("{s:[{s:s, s:s, s:I, s:I, s:o, s:o}]}", "model_stats", "name", s->model.name, "version", "1",
                          "inference_count", (json_int_t)m->images, "execution_count", (json_int_t)m->batches, "inference_stats",
                          inference, "batch_stats", batches));
}

static void answer_index(void *server, gm__exchange *x) {
    gm_server *s = server;
    answer_json(x, MHD_HTTP_OK,
                json_pack("[{s:s, s:s, s:s, s:s}]", "name", s->model.name, "version", "1", "state",
                          gm__server_ready(s) ? "READY" : "UNAVAILABLE", "reason", ""));
}

static void answer_load(void *server, gm__exchange *x) {
    (void)server;
    gm__http_error(x, MHD_HTTP_NOT_IMPLEMENTED, "models are neither loaded nor unloaded over HTTP: start another server");
}

const gm__route gm__routes[] = {
    {"GET", "/v2/health/live", GM__ANYONE, answer_live},
    {"GET", "/v2/health/ready", GM__ANYONE, answer_ready},
    {"GET", "/v2", GM__ASKS_KEY, answer_server},
    {"GET", "/v2/", GM__ASKS_KEY, answer_server},
    {"GET", "/v2/models/stats", GM__ASKS_KEY, answer_statistics},
    {"POST", "/v2/models/{m}/infer", GM__ASKS_KEY, gm__answer_infer},
    {"GET", "/v2/models/{m}", GM__ASKS_KEY, answer_model},
    {"GET", "/v2/models/{m}/ready", GM__ASKS_KEY, answer_model_ready},
    {"GET", "/v2/models/{m}/stats", GM__ASKS_KEY, answer_statistics},
    {"GET", "/v2/repository/index", GM__ASKS_KEY, answer_index},
    {"POST", "/v2/repository/index", GM__ASKS_KEY, answer_index},
    {"POST", "/v2/repository/models/{m}/load", GM__ASKS_KEY, answer_load},
    {"POST", "/v2/repository/models/{m}/unload", GM__ASKS_KEY, answer_load},
    {"GET", "/v2/gamut/status", GM__ASKS_KEY, gm__answer_status},
    {"GET", "/metrics", GM__ASKS_KEY, gm__answer_metrics},
    {"GET", "/", GM__ANYONE, gm__answer_page}, // holds nothing but the page; what it shows asks for the key
    {NULL, NULL, GM__ASKS_KEY, NULL},
};
