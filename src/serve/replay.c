// SPDX-License-Identifier: Apache-2.0
// The open-loop client: requests leave when the trace says, whatever became of the earlier ones.
#include "serve/crew.h"
#include "serve/replay_link.h"
#include "serve/turns.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { EVENTS = 256, NOISE_IMAGES = 64 };
static const uint32_t TIMER = UINT32_MAX;

gm_replay_settings gm_replay_settings_default(void) { return (gm_replay_settings){.url = "http://127.0.0.1:8000", .connections = 512, .patience_s = 10}; }

typedef struct replay {
    const gm_replay_settings *settings;
    const gm_trace *trace;
    const gm_dataset *data;
    gm_dataset noise;
    gm__address to;
    char path[512];
    gm__link *link;
    int *idle;
    int idles, opened, busy, poll_fd, timer_fd;
    gm_replay_fate *fate;
    int next, done, ever; // request to send; finished; connections opened
    int64_t start_ns;
    bool told; // the first refusal was logged
    gm__text body;
} replay;

// ---------------------------------------------------------------------------------------------
// What the server says of itself
static gm_status fetch_json(const gm__address *to, const char *path, const char *key, json_t **out, gm_error *err) {
    gm__text text = {0};
    json_error_t problem;
    gm_status status = gm__fetch(to, path, key, 30, &text, err);
    if (status == GM_OK) {
        *out = json_loads(text.data, 0, &problem);
        if (*out == NULL) status = gm_fail(err, GM_ERR_FORMAT, "%.100s answers %.60s with something that is not JSON: %.60s", to->host, path, problem.text);
    }
    gm__text_fini(&text);
    return status;
}

gm_status gm_replay_ask(const gm_replay_settings *settings, gm_replay_server *out, gm_error *err) {
    gm__address to;
    json_t *answer = NULL;
    gm_status status = gm__address_parse(settings->url, &to, err);
    if (status == GM_OK) status = fetch_json(&to, "/v2/gamut/status", settings->key, &answer, err);
    if (status != GM_OK) return status;
    const char *policy = json_string_value(json_object_get(json_object_get(answer, "server"), "policy"));
    const json_t *workers = json_object_get(json_object_get(answer, "workers"), "total");
    out->smallest_qps = json_number_value(json_object_get(json_object_get(answer, "capacity"), "smallest_qps"));
    out->workers = (int)json_integer_value(workers);
    snprintf(out->policy, sizeof out->policy, "%s", policy != NULL ? policy : "");
    json_decref(answer);
    return out->smallest_qps > 0 ? GM_OK
                                 : gm_fail(err, GM_ERR_FORMAT, "%.120s does not say what it can serve; give --rate instead of --load", to.host);
}

static gm_status find_model(replay *r, char name[65], gm_error *err) {
    json_t *answer = NULL;
    if (r->settings->model != NULL) return snprintf(name, 65, "%s", r->settings->model), GM_OK;
    gm_status status = fetch_json(&r->to, "/v2/repository/index", r->settings->key, &answer, err);
    if (status != GM_OK) return status;
    const char *found = json_string_value(json_object_get(json_array_get(answer, 0), "name"));
    if (found == NULL || strlen(found) > 64)
        status = gm_fail(err, GM_ERR_FORMAT, "%.120s does not say which models it has; name one with --model", r->to.host);
    else
        snprintf(name, 65, "%s", found);
    json_decref(answer);
    return status;
}

// Without data: noise of the size that the model's metadata tells.
static gm_status make_noise(replay *r, const char *model, gm_error *err) {
    char path[128];
    json_t *answer = NULL;
    snprintf(path, sizeof path, "/v2/models/%.64s", model);
    gm_status status = fetch_json(&r->to, path, r->settings->key, &answer, err);
    if (status != GM_OK) return status;
    const json_t *shape = json_object_get(json_array_get(json_object_get(answer, "inputs"), 0), "shape");
    json_int_t size[3] = {0};
    for (size_t i = 0; i < 3; i++) size[i] = json_integer_value(json_array_get(shape, i + 1));
    json_decref(answer);
    for (int i = 0; i < 3; i++)
        if (size[i] < 1 || size[i] > 4096) return gm_fail(err, GM_ERR_FORMAT, "%.120s does not say how large its images are; give --data", r->to.host);
    r->noise = (gm_dataset){.images = NOISE_IMAGES, .height = (int)size[0], .width = (int)size[1], .channels = (int)size[2]};
    size_t bytes = (size_t)(size[0] * size[1] * size[2]) * NOISE_IMAGES;
    r->noise.pixels = gm_alloc(bytes, 1);
    if (r->noise.pixels == NULL) return gm_fail(err, GM_ERR_MEMORY, "no memory for noise");
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_USER);
    for (size_t i = 0; i < bytes; i++) r->noise.pixels[i] = (uint8_t)gm_rng_u32(&rng);
    r->data = &r->noise;
    return GM_OK;
}

// ---------------------------------------------------------------------------------------------
// Requests
static void write_json_image(gm__text *t, const uint8_t *pixels, size_t count) {
    char room[4096];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned v = pixels[i];
        if (i > 0) room[used++] = ',';
        if (v >= 100) room[used++] = (char)('0' + v / 100);
        if (v >= 10) room[used++] = (char)('0' + v / 10 % 10);
        room[used++] = (char)('0' + v % 10);
        if (used + 4 < sizeof room) continue;
        gm__text_add(t, room, used);
        used = 0;
    }
    gm__text_add(t, room, used);
}

static void write_request(replay *r, gm__text *out, int i, int64_t late_ns) {
    const gm_replay_settings *s = r->settings;
    const gm_dataset *d = r->data;
    gm__text *b = &r->body;
    size_t bytes = (size_t)d->height * (size_t)d->width * (size_t)d->channels;
    const uint8_t *pixels = d->pixels + (size_t)(i % d->images) * bytes;
    bool binary = s->encoding == GM_REPLAY_BINARY;
    b->bytes = out->bytes = 0;
    gm__text_print(b, "{");
    if (!s->plain && (s->slo_ms > 0 || s->min_accuracy > 0)) {
        int64_t left = (int64_t)(s->slo_ms * 1e3) - late_ns / 1000; // what is left of it when the request leaves
        gm__text_print(b, "\"parameters\":{");
        if (s->slo_ms > 0) gm__text_print(b, "\"timeout\":%lld", (long long)(left > 1 ? left : 1));
        if (s->min_accuracy > 0) gm__text_print(b, "%s\"min_accuracy\":%.6g", s->slo_ms > 0 ? "," : "", s->min_accuracy);
        gm__text_print(b, "},");
    }
    gm__text_print(b, "\"inputs\":[{\"name\":\"image\",\"shape\":[1,%d,%d,%d],\"datatype\":\"UINT8\",", d->height, d->width, d->channels);
    if (binary) {
        gm__text_print(b, "\"parameters\":{\"binary_data_size\":%zu}", bytes);
    } else {
        gm__text_print(b, "\"data\":[");
        write_json_image(b, pixels, bytes);
        gm__text_print(b, "]");
    }
    gm__text_print(b, "}]%s}", s->plain ? "" : ",\"outputs\":[{\"name\":\"class\"}]");
    gm__text_print(out, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\nContent-Type: %s\r\n", r->path, r->to.host,
                   b->bytes + (binary ? bytes : 0), binary ? "application/octet-stream" : "application/json");
    if (binary) gm__text_print(out, "Inference-Header-Content-Length: %zu\r\n", b->bytes);
    if (s->key != NULL) gm__text_print(out, "Authorization: Bearer %.300s\r\n", s->key);
    gm__text_print(out, "\r\n");
    gm__text_add(out, b->data, b->bytes);
    if (binary) gm__text_add(out, pixels, bytes);
}

static int64_t elapsed(const replay *r) { return gm__now_ns() - r->start_ns; }

static void tell(int status, const char *text, size_t bytes) {
    char line[301];
    size_t n = bytes < sizeof line - 1 ? bytes : sizeof line - 1;
    for (size_t i = 0; i < n; i++) line[i] = text[i] >= ' ' && text[i] != 127 ? text[i] : '?'; // no control codes of a stranger
    line[n] = '\0';
    gm_log(GM_LOG_WARN, "the server answers %d: %s", status, line);
}

static void finish(replay *r, gm__link *l, int status) {
    gm_replay_fate *f = &r->fate[l->request];
    gm__infer_response a;
    f->done_ns = elapsed(r);
    f->status = status;
    r->done++;
    r->busy--;
    if (status == 0) return;
    size_t json = l->head.json_bytes > 0 ? l->head.json_bytes : l->head.body_bytes;
    gm__infer_response_parse(l->in.data + l->head.head_bytes, json, &a, NULL); // what it could read is in a
    f->subnet = a.subnet;
    f->accuracy = a.accuracy;
    f->batch = a.batch;
    f->queue_us = a.queue_us;
    f->compute_us = a.compute_us;
    if (status == 200) {
        f->answer = a.answer;
        double ms = (double)(f->done_ns - f->due_ns) * 1e-6;
        f->outcome = r->settings->slo_ms > 0 && ms > r->settings->slo_ms ? GM_OUTCOME_LATE : GM_OUTCOME_MET;
    } else if (a.outcome == GM_OUTCOME_DROPPED || a.outcome == GM_OUTCOME_REJECTED || a.outcome == GM_OUTCOME_FAILED) {
        f->outcome = a.outcome;
    } else {
        if (!r->told && status != 429 && status != 503) {
            tell(status, l->in.data + l->head.head_bytes, json);
            r->told = true;
        }
        f->outcome = status == 429 ? GM_OUTCOME_REJECTED : status == 503 ? GM_OUTCOME_DROPPED : GM_OUTCOME_FAILED;
    }
}

static bool watch(replay *r, int i) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = (uint32_t)i};
    return epoll_ctl(r->poll_fd, EPOLL_CTL_ADD, r->link[i].fd, &event) == 0;
}

static void move(replay *r, int i);

static bool reopen(replay *r, int i, gm_error *err) {
    gm__link *l = &r->link[i];
    if (gm__link_open(l, &r->to, err) != GM_OK) return false;
    r->ever++;
    return watch(r, i);
}

// A connection that was kept alive may have been closed just as the request left: then once more on a fresh one.
static void broken(replay *r, int i) {
    gm__link *l = &r->link[i];
    bool had_request = l->state != GM__LINK_IDLE, again = had_request && l->reused && l->in.bytes == 0;
    gm__link_close(l);
    if (!had_request) { // one of the idle ones: it stays there, closed
        return;
    }
    l->sent = 0;
    if (again && reopen(r, i, NULL)) return;
    gm__link_close(l);
    finish(r, l, 0);
    r->idle[r->idles++] = i;
}

static void move(replay *r, int i) {
    gm__link *l = &r->link[i];
    bool whole = false;
    gm_error err;
    if (l->state == GM__LINK_CLOSED) return;
    if (gm__link_move(l, &whole, &err) != GM_OK) {
        broken(r, i);
        return;
    }
    if (!whole) return;
    finish(r, l, l->head.status);
    l->in.bytes = 0;
    l->reused = true;
    l->state = GM__LINK_IDLE;
    if (l->head.closes) gm__link_close(l);
    r->idle[r->idles++] = i;
}

// False: every connection is busy; the request waits, and its clock runs.
static bool send_next(replay *r) {
    int i;
    if (r->idles > 0)
        i = r->idle[--r->idles];
    else if (r->opened < r->settings->connections)
        i = r->opened++;
    else
        return false;
    gm__link *l = &r->link[i];
    gm_replay_fate *f = &r->fate[r->next];
    f->sent_ns = elapsed(r);
    l->request = r->next;
    l->sent = l->in.bytes = 0;
    write_request(r, &l->out, r->next, f->sent_ns - f->due_ns);
    r->next++;
    r->busy++;
    if (l->state == GM__LINK_IDLE) {
        l->state = GM__LINK_SENDING;
    } else if (!reopen(r, i, NULL)) {
        gm__link_close(l);
        finish(r, l, 0);
        r->idle[r->idles++] = i;
        return true;
    }
    move(r, i);
    return true;
}

static void set_timer(const replay *r, int64_t due_ns) {
    int64_t at = r->start_ns + due_ns;
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)}};
    timerfd_settime(r->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void loop(replay *r) {
    struct epoll_event event[EVENTS];
    int64_t last = r->fate[r->trace->count - 1].due_ns, patience = (int64_t)(r->settings->patience_s * 1e9);
    uint64_t ticks;
    while (r->done < r->trace->count && !gm_interrupted()) {
        bool blocked = false;
        while (r->next < r->trace->count && r->fate[r->next].due_ns <= elapsed(r) && !blocked) blocked = !send_next(r);
        if (r->next < r->trace->count && !blocked) set_timer(r, r->fate[r->next].due_ns);
        if (elapsed(r) > last + patience) break;
        int n = epoll_wait(r->poll_fd, event, EVENTS, 100);
        for (int i = 0; i < n; i++) {
            if (event[i].data.u32 != TIMER)
                move(r, (int)event[i].data.u32);
            else if (read(r->timer_fd, &ticks, sizeof ticks) < 0)
                continue;
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Sums
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t count, double q) {
    return count == 0 ? NAN : sorted[(size_t)(q * (double)(count - 1) + 0.5)];
}

static gm_status sum_up(const replay *r, gm_replay_result *out, gm_error *err) {
    int n = r->trace->count;
    double *latency = gm_alloc((size_t)n, sizeof *latency), *lateness = gm_alloc((size_t)n, sizeof *lateness);
    size_t answered = 0, left = 0;
    double served = 0, right = 0, good = 0;
    int told = 0, labelled = 0;
    if (latency == NULL || lateness == NULL) {
        gm_free(latency);
        gm_free(lateness);
        return gm_fail(err, GM_ERR_MEMORY, "no memory for the latencies of %d requests", n);
    }
    for (int i = 0; i < n; i++) {
        const gm_replay_fate *f = &r->fate[i];
        if (f->sent_ns < 0) continue; // interrupted, or out of patience, before it left
        out->sent++;
        out->outcome[f->outcome]++;
        out->lost += f->status == 0;
        lateness[left++] = (double)(f->sent_ns - f->due_ns) * 1e-6;
        if (f->status == 200) latency[answered++] = (double)(f->done_ns - f->due_ns) * 1e-6;
        if (f->outcome != GM_OUTCOME_MET) continue;
        bool correct = f->label >= 0 && f->answer == f->label;
        if (f->label >= 0) labelled++, right += correct;
        if (isfinite(f->accuracy)) told++, served += f->accuracy;
        good += isfinite(f->accuracy) ? f->accuracy : correct ? 100 : 0;
    }
    qsort(latency, answered, sizeof *latency, by_value);
    qsort(lateness, left, sizeof *lateness, by_value);
    double all = (double)out->sent;
    out->seconds = (double)r->fate[n - 1].due_ns * 1e-9;
    out->rate = out->seconds > 0 ? n / out->seconds : NAN;
    out->attainment = all > 0 ? (double)out->outcome[GM_OUTCOME_MET] / all : NAN;
    out->accuracy_served = told > 0 ? served / told : NAN;
    out->accuracy_measured = labelled > 0 ? 100 * right / labelled : NAN;
    out->goodput_accuracy = all > 0 && (told > 0 || labelled > 0 || out->outcome[GM_OUTCOME_MET] == 0) ? good / all : NAN;
    out->p50_ms = quantile(latency, answered, 0.5);
    out->p99_ms = quantile(latency, answered, 0.99);
    out->p999_ms = quantile(latency, answered, 0.999);
    out->max_ms = quantile(latency, answered, 1);
    out->lateness_p99_ms = quantile(lateness, left, 0.99);
    out->connections = r->ever;
    gm_free(latency);
    gm_free(lateness);
    return GM_OK;
}

// ---------------------------------------------------------------------------------------------
static gm_status prepare(replay *r, gm_error *err) {
    const gm_replay_settings *s = r->settings;
    char model[65] = "";
    if (r->trace->count < 1) return gm_fail(err, GM_ERR_ARGUMENT, "the trace has no requests");
    if (s->connections < 1 || s->connections > 60000) return gm_fail(err, GM_ERR_RANGE, "%d connections; there can be 1 to 60000", s->connections);
    gm_status status = gm__address_parse(s->url, &r->to, err);
    if (status == GM_OK && (s->path == NULL || r->data == NULL)) status = find_model(r, model, err);
    if (status == GM_OK && r->data == NULL) status = make_noise(r, model, err);
    if (status != GM_OK) return status;
    if (s->path != NULL)
        snprintf(r->path, sizeof r->path, "%.255s%.255s", r->to.base, s->path);
    else
        snprintf(r->path, sizeof r->path, "%.255s/v2/models/%s/infer", r->to.base, model);
    r->link = gm_alloc((size_t)s->connections, sizeof *r->link);
    r->idle = gm_alloc((size_t)s->connections, sizeof *r->idle);
    if (r->link == NULL || r->idle == NULL) return gm_fail(err, GM_ERR_MEMORY, "no memory for %d connections", s->connections);
    for (int i = 0; i < s->connections; i++) r->link[i].fd = -1;
    for (int i = 0; i < r->trace->count; i++)
        r->fate[i] = (gm_replay_fate){.due_ns = r->trace->at_ns[i], .sent_ns = -1, .done_ns = -1, .outcome = GM_OUTCOME_FAILED, .accuracy = NAN,
                                      .batch = -1, .queue_us = -1, .compute_us = -1, .image = i % r->data->images, .answer = -1,
                                      .label = r->data->labels != NULL ? r->data->labels[i % r->data->images] : -1};
    r->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    r->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = TIMER};
    if (r->poll_fd < 0 || r->timer_fd < 0 || epoll_ctl(r->poll_fd, EPOLL_CTL_ADD, r->timer_fd, &event) != 0)
        return gm_fail(err, GM_ERR_IO, "cannot wait for events: %s", strerror(errno));
    return GM_OK;
}

gm_status gm_replay_run(const gm_replay_settings *settings, const gm_trace *trace, const gm_dataset *data,
                        gm_replay_fate *fates, gm_replay_result *out, gm_error *err) {
    replay r = {.settings = settings, .trace = trace, .data = data, .poll_fd = -1, .timer_fd = -1};
    gm_replay_fate *own = NULL;
    *out = (gm_replay_result){0};
    r.fate = fates;
    if (fates == NULL) r.fate = own = gm_alloc((size_t)trace->count, sizeof *own);
    gm_status status = r.fate != NULL ? prepare(&r, err) : gm_fail(err, GM_ERR_MEMORY, "no memory for %d requests", trace->count);
    if (status == GM_OK) {
        gm__turns turns = gm__turns_short();
        r.start_ns = gm__now_ns() + 20000000;
        loop(&r);
        gm__turns_restore(turns);
        status = sum_up(&r, out, err);
    }
    for (int i = 0; r.link != NULL && i < settings->connections; i++) gm__link_fini(&r.link[i]);
    gm__text_fini(&r.body);
    gm_free(r.link);
    gm_free(r.idle);
    gm_free(r.noise.pixels);
    gm_free(own);
    if (r.poll_fd >= 0) close(r.poll_fd);
    if (r.timer_fd >= 0) close(r.timer_fd);
    return status;
}
