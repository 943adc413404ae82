// SPDX-License-Identifier: Apache-2.0
// POST .../infer: from the body to the queue, and from the outcomes to the answer.
#include "serve/server.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void free_ticket(gm__ticket *t) {
    for (int i = 0; i < t->images; i++)
        if (t->query[i].slot >= 0) gm__slab_give(&t->server->slab, t->query[i].slot);
    free(t);
}

static gm_status header_length(const gm__exchange *x, size_t *out, gm_error *err) {
    const char *text = gm__http_header(x, "Inference-Header-Content-Length");
    *out = x->bytes;
    if (text == NULL) return GM_OK;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 10 || text[digits] != '\0')
        return gm_fail(err, GM_ERR_FORMAT, "Inference-Header-Content-Length is '%.40s', it must be a number of bytes", text);
    *out = (size_t)strtoull(text, NULL, 10);
    return GM_OK;
}

// Slots for every image, with its values.
static gm_status fill_slots(gm_server *s, gm__ticket *t, gm_error *err) {
    void *values[256];
    if (t->images > (int)(sizeof values / sizeof *values)) return gm_fail(err, GM_ERR_RANGE, "too many images");
    for (int i = 0; i < t->images; i++) {
        int slot = gm__slab_take(&s->slab);
        if (slot < 0) return gm_fail(err, GM_ERR_STATE, "the queue is full");
        t->query[i].slot = slot;
        *gm__slab_image(&s->slab, slot) = t->request.image;
        values[i] = gm__slab_values(&s->slab, slot);
    }
    return gm__infer_decode(&t->request, values, err);
}

static void refuse(gm_server *s, gm__exchange *x, const gm_error *err) {
    s->http.refused++;
    gm__http_error(x, gm__http_status_of(err->status), "%s", err->text);
}

static void reject(gm__exchange *x, const char *why) {
    gm__text_print(&x->text, "{\"error\":\"%s\",\"parameters\":{\"outcome\":\"rejected\"}}", why);
    x->retry_seconds = 1;
    gm__http_answer(x, MHD_HTTP_TOO_MANY_REQUESTS, "application/json");
}

void gm__answer_infer(void *server, gm__exchange *x) {
    gm_server *s = server;
    gm_error err = {0};
    gm__infer_request request;
    size_t header = 0;
    if (s->draining) {
        x->closing = true;
        x->retry_seconds = 1;
        gm__http_error(x, MHD_HTTP_SERVICE_UNAVAILABLE, "this server is stopping");
        return;
    }
    if (header_length(x, &header, &err) != GM_OK ||
        gm__infer_parse(x->body, x->bytes, header, &s->rules, &request, &err) != GM_OK) {
        refuse(s, x, &err);
        return;
    }
    gm__ticket *t = malloc(sizeof *t + (size_t)request.images * sizeof *t->query);
    if (t == NULL) {
        gm__http_error(x, MHD_HTTP_SERVICE_UNAVAILABLE, "no memory for the request");
        return;
    }
    x->ticket = t;
    *t = (gm__ticket){.server = s, .exchange = x, .request = request, .images = request.images, .open = request.images};
    for (int i = 0; i < t->images; i++) t->query[i] = (gm__query){.ticket = t, .slot = -1, .subnet = -1};
    if (fill_slots(s, t, &err) != GM_OK) {
        free_ticket(t);
        if (err.status == GM_ERR_STATE) {
            gm__monitor_received(&s->monitor, request.images);
            for (int i = 0; i < request.images; i++) gm__monitor_outcome(&s->monitor, GM_OUTCOME_REJECTED, -1, 0, 0);
            reject(x, "the queue is full");
        } else {
            refuse(s, x, &err);
        }
        return;
    }
    free(x->body); // copied
    x->body = NULL;
    x->bytes = x->room = 0;
    s->in_flight++;
    gm__monitor_received(&s->monitor, t->images);
    int64_t now = gm__server_now(s), deadline = GM_NO_DEADLINE;
    if (request.timeout_us > 0)
        deadline = x->arrived_ns + request.timeout_us * 1000;
    else if (s->settings.slo_ms > 0)
        deadline = x->arrived_ns + (int64_t)(s->settings.slo_ms * 1e6);
    gm__histogram_add(&s->monitor.receive, (double)(now - x->arrived_ns) * 1e-9);
    // The last outcome frees t, which may happen inside the last call.
    for (int i = 0, n = t->images; i < n; i++) {
        t->query[i].place = gm__router_arrive(s->router, now, (gm__arrival){(uint64_t)(uintptr_t)&t->query[i], deadline,
                                                                            request.min_accuracy, request.priority});
        gm__carry_out(s);
    }
}

// What runs already cannot be stopped: its answer is made, and the connection then found broken.
void gm__withdraw(void *server, gm__exchange *x) {
    gm_server *s = server;
    gm__ticket *t = x->ticket;
    t->open++; // the last outcome frees t
    for (int i = 0; i < t->images; i++) {
        if (!gm__router_cancel(s->router, gm__server_now(s), t->query[i].place)) continue;
        s->withdrawn++;
        gm__carry_out(s);
    }
    if (--t->open == 0) gm__ticket_done(t);
}

// ---------------------------------------------------------------------------------------------
// The answer
static void softmax(const float *logits, int classes, float *out) {
    float most = logits[0];
    double sum = 0;
    for (int c = 1; c < classes; c++) most = logits[c] > most ? logits[c] : most;
    for (int c = 0; c < classes; c++) sum += exp((double)(logits[c] - most));
    for (int c = 0; c < classes; c++) out[c] = (float)(exp((double)(logits[c] - most)) / sum);
}

static int largest(const float *logits, int classes) {
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (logits[c] > logits[best]) best = c;
    return best;
}

static void add_values(gm__text *to, const float *v, int count, bool binary, bool *first) {
    if (binary) {
        gm__text_add(to, v, (size_t)count * sizeof *v);
        return;
    }
    for (int c = 0; c < count; c++) {
        gm__text_add(to, ",", *first ? 0 : 1);
        gm__text_number(to, (double)v[c]);
        *first = false;
    }
}

// One output of all images: its values to `to`.
static void add_output(gm__ticket *t, gm__output output, bool binary, float *room, gm__text *to) {
    const gm__slab *slab = &t->server->slab;
    bool first = true;
    for (int i = 0; i < t->images; i++) {
        const float *logits = gm__slab_logits(slab, t->query[i].slot);
        if (output == GM__OUTPUT_CLASS) {
            int64_t best = largest(logits, slab->classes);
            if (binary)
                gm__text_add(to, &best, sizeof best);
            else
                gm__text_print(to, "%s%lld", first ? "" : ",", (long long)best);
            first = false;
        } else if (output == GM__OUTPUT_LOGITS) {
            add_values(to, logits, slab->classes, binary, &first);
        } else {
            softmax(logits, slab->classes, room);
            add_values(to, room, slab->classes, binary, &first);
        }
    }
}

static void add_outputs(gm__ticket *t, gm__text *json, gm__text *raw, float *room) {
    int classes = t->server->slab.classes;
    gm__text_print(json, ",\"outputs\":[");
    for (int o = 0; o < t->request.asked; o++) {
        gm__output output = t->request.output[o];
        bool binary = t->request.binary[o], whole = output == GM__OUTPUT_CLASS;
        gm__text_print(json, "%s{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[%d", o > 0 ? "," : "", gm__output_names[output],
                       whole ? "INT64" : "FP32", t->images);
        if (!whole) gm__text_print(json, ",%d", classes);
        gm__text_print(json, "]");
        if (binary) {
            size_t before = raw->bytes;
            add_output(t, output, true, room, raw);
            gm__text_print(json, ",\"parameters\":{\"binary_data_size\":%zu}}", raw->bytes - before);
        } else {
            gm__text_print(json, ",\"data\":[");
            add_output(t, output, false, room, json);
            gm__text_print(json, "]}");
        }
    }
    gm__text_print(json, "]");
}

// "a" when all images have it, else "a,b,..." in their order.
static void add_subnets(const gm__ticket *t, gm__text *json) {
    const gm_profile *p = t->server->model.profile;
    bool same = true;
    for (int i = 1; i < t->images; i++) same = same && t->query[i].subnet == t->query[0].subnet;
    gm__text_print(json, "\"subnet\":\"");
    for (int i = 0; i < (same ? 1 : t->images); i++)
        gm__text_print(json, "%s%016llx", i > 0 ? "," : "", (unsigned long long)p->subnet[t->query[i].subnet].id);
    gm__text_print(json, "\"");
}

static void add_head(const gm__ticket *t, gm__text *json) {
    const gm_served_model *m = &t->server->model;
    const gm__query *q = t->query;
    double accuracy = 0;
    int64_t queue = 0, run = 0, waited = 0;
    int batch = 0;
    bool late = false;
    for (int i = 0; i < t->images; i++) {
        accuracy += m->profile->subnet[q[i].subnet].top1 / t->images;
        if (q[i].queue_ns > queue) queue = q[i].queue_ns;
        if (q[i].run_ns > run) run = q[i].run_ns;
        if (q[i].waited_ns > waited) waited = q[i].waited_ns;
        batch = gm_max(batch, q[i].batch);
        late = late || q[i].outcome == GM_OUTCOME_LATE;
    }
    gm__text_print(json, "{\"model_name\":\"%s\",\"model_version\":\"1\"", m->name);
    if (t->request.has_id) {
        gm__text_print(json, ",\"id\":");
        gm__text_json(json, t->request.id);
    }
    gm__text_print(json, ",\"parameters\":{");
    add_subnets(t, json);
    gm__text_print(json, ",\"accuracy\":%.9g,\"batch\":%d,\"queue_us\":%lld,\"compute_us\":%lld,\"total_us\":%lld,"
                         "\"outcome\":\"%s\"}",
                   accuracy, batch, (long long)(queue / 1000), (long long)(run / 1000), (long long)(waited / 1000),
                   gm_outcome_name(late ? GM_OUTCOME_LATE : GM_OUTCOME_MET));
}

static void answer_served(gm__ticket *t) {
    gm__exchange *x = t->exchange;
    gm__text raw = {0};
    float *room = malloc((size_t)t->server->slab.classes * sizeof *room);
    x->text.failed = x->text.failed || room == NULL;
    if (room != NULL) {
        add_head(t, &x->text);
        add_outputs(t, &x->text, &raw, room);
        gm__text_print(&x->text, "}");
    }
    free(room);
    bool binary = raw.bytes > 0;
    if (binary) x->json_bytes = x->text.bytes;
    gm__text_add(&x->text, raw.data, raw.bytes);
    x->text.failed = x->text.failed || raw.failed;
    gm__text_fini(&raw);
    t->server->monitor.request_ok++;
    gm__http_answer(x, MHD_HTTP_OK, binary ? "application/octet-stream" : "application/json");
}

static void answer_unserved(gm__ticket *t, gm_outcome worst, int lost) {
    static const struct {
        unsigned status;
        const char *text;
    } answer[GM_OUTCOMES] = {
        [GM_OUTCOME_DROPPED] = {MHD_HTTP_SERVICE_UNAVAILABLE, "the deadline can no longer be met"},
        [GM_OUTCOME_REJECTED] = {MHD_HTTP_TOO_MANY_REQUESTS, "the queue is full"},
        [GM_OUTCOME_FAILED] = {MHD_HTTP_INTERNAL_SERVER_ERROR, "the worker that ran this request died"},
    };
    gm__exchange *x = t->exchange;
    const gm_profile *p = t->server->model.profile;
    const char *text = answer[worst].text;
    unsigned status = answer[worst].status;
    if (worst == GM_OUTCOME_REJECTED && t->request.min_accuracy > p->subnet[p->subnets - 1].top1) {
        text = "no subnet is as accurate as min_accuracy";
        status = MHD_HTTP_BAD_REQUEST;
    }
    t->server->monitor.request_failed++;
    gm__text_print(&x->text, "{\"error\":\"%s", text);
    if (t->images > 1) gm__text_print(&x->text, " (%d of %d images)", lost, t->images);
    gm__text_print(&x->text, "\"");
    if (t->request.has_id) {
        gm__text_print(&x->text, ",\"id\":");
        gm__text_json(&x->text, t->request.id);
    }
    gm__text_print(&x->text, ",\"parameters\":{\"outcome\":\"%s\"}}", gm_outcome_name(worst));
    if (status != MHD_HTTP_BAD_REQUEST) x->retry_seconds = 1;
    gm__http_answer(x, status, "application/json");
}

void gm__ticket_done(gm__ticket *t) {
    gm_outcome worst = GM_OUTCOME_MET;
    int lost = 0;
    for (int i = 0; i < t->images; i++) {
        gm_outcome o = t->query[i].outcome;
        if (o > worst) worst = o;
        lost += o != GM_OUTCOME_MET && o != GM_OUTCOME_LATE;
    }
    if (lost == 0)
        answer_served(t);
    else
        answer_unserved(t, worst, lost);
    t->server->in_flight--;
    free_ticket(t);
}
