// SPDX-License-Identifier: Apache-2.0
#include "serve/infer_response.h"

#include "serve/json_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_MOST = 65536, TEXT = 256 };

static bool field(const char *line, size_t bytes, const char *name, const char **value, size_t *value_bytes) {
    size_t n = strlen(name);
    if (bytes <= n || strncasecmp(line, name, n) != 0 || line[n] != ':') return false;
    for (n++; n < bytes && line[n] == ' '; n++) {}
    *value = line + n;
    *value_bytes = bytes - n;
    return true;
}

static bool number(const char *text, size_t bytes, size_t *out) {
    size_t v = 0;
    if (bytes == 0 || bytes > 12) return false;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        v = v * 10 + (size_t)(text[i] - '0');
    }
    *out = v;
    return true;
}

gm_status gm__response_read_head(const char *bytes, size_t count, bool *whole, gm__response_head *out, gm_error *err) {
    *whole = false;
    const char *end = memmem(bytes, count, "\r\n\r\n", 4);
    if (end == NULL)
        return count < HEAD_MOST ? GM_OK : gm_fail(err, GM_ERR_FORMAT, "the server's answer has no end of its head in %d bytes", HEAD_MOST);
    *out = (gm__response_head){.head_bytes = (size_t)(end - bytes) + 4};
    size_t status = 0;
    if (out->head_bytes < 16 || memcmp(bytes, "HTTP/1.", 7) != 0 || !number(bytes + 9, 3, &status))
        return gm_fail(err, GM_ERR_FORMAT, "the server does not answer in HTTP/1");
    out->status = (int)status;
    out->closes = bytes[7] == '0';
    bool has_length = status == 204 || status == 304 || status == 100;
    for (const char *line = memchr(bytes, '\n', count); line != NULL && line < end;) {
        line++;
        const char *stop = memchr(line, '\r', (size_t)(end - line) + 1);
        if (stop == NULL || stop <= line) break;
        const char *value;
        size_t n;
        if (field(line, (size_t)(stop - line), "Content-Length", &value, &n)) {
            if (!number(value, n, &out->body_bytes)) return gm_fail(err, GM_ERR_FORMAT, "the server states no length");
            has_length = true;
        } else if (field(line, (size_t)(stop - line), "Inference-Header-Content-Length", &value, &n)) {
            if (!number(value, n, &out->json_bytes)) return gm_fail(err, GM_ERR_FORMAT, "the server states no JSON length");
        } else if (field(line, (size_t)(stop - line), "Connection", &value, &n)) {
            out->closes = n == 5 && strncasecmp(value, "close", 5) == 0;
        }
        line = memchr(stop, '\n', (size_t)(end + 2 - stop));
    }
    if (!has_length) return gm_fail(err, GM_ERR_UNSUPPORTED, "the server's answer has no Content-Length");
    if (out->json_bytes > out->body_bytes || out->body_bytes > (size_t)1 << 30)
        return gm_fail(err, GM_ERR_FORMAT, "the server states impossible lengths");
    *whole = count - out->head_bytes >= out->body_bytes;
    return GM_OK;
}

typedef struct reader {
    gm__scan scan;
    gm__infer_response *r;
    bool data_seen;
} reader;

static gm_status each(reader *d, char close, gm_status (*visit)(reader *d, const char *key, gm_error *err), gm_error *err) {
    bool first = true, more = true;
    gm_status status = gm__scan_expect(&d->scan, close == '}' ? '{' : '[', err);
    while (status == GM_OK) {
        char key[TEXT] = "";
        status = gm__scan_more(&d->scan, close, &first, &more, err);
        if (status != GM_OK || !more) break;
        if (close == '}') status = gm__scan_key(&d->scan, key, sizeof key, err);
        if (status == GM_OK) status = visit(d, key, err);
    }
    return status;
}

static gm_status whole(reader *d, int *out, gm_error *err) {
    int64_t v = 0;
    gm_status status = gm__scan_whole(&d->scan, 0, INT32_MAX, "a parameter of the answer", &v, err);
    *out = (int)v;
    return status;
}

static gm_status parameter(reader *d, const char *key, gm_error *err) {
    gm__infer_response *r = d->r;
    char text[TEXT];
    bool is_text = gm__scan_peek(&d->scan) == '"';
    if (strcmp(key, "subnet") == 0 && is_text) {
        gm_status status = gm__scan_string(&d->scan, text, sizeof text, err);
        if (status == GM_OK) r->subnet = strtoull(text, NULL, 16);
        return status;
    }
    if (strcmp(key, "outcome") == 0 && is_text) {
        gm_status status = gm__scan_string(&d->scan, text, sizeof text, err);
        for (int o = 0; status == GM_OK && o < GM_OUTCOMES; o++)
            if (strcmp(text, gm_outcome_name((gm_outcome)o)) == 0) r->outcome = (gm_outcome)o;
        return status;
    }
    if (is_text) return gm__scan_skip(&d->scan, 3, err);
    if (strcmp(key, "accuracy") == 0) return gm__scan_number(&d->scan, &r->accuracy, NULL, err);
    if (strcmp(key, "batch") == 0) return whole(d, &r->batch, err);
    if (strcmp(key, "queue_us") == 0) return whole(d, &r->queue_us, err);
    if (strcmp(key, "compute_us") == 0) return whole(d, &r->compute_us, err);
    return gm__scan_skip(&d->scan, 3, err);
}

// The numbers of the first output, flat or nested: one is a class, several are scores.
static gm_status scores(reader *d, gm_error *err) {
    int depth = 0, count = 0;
    bool first[GM__SCAN_DEPTH];
    double best = 0, value = 0;
    gm_status status = gm__scan_expect(&d->scan, '[', err);
    if (status != GM_OK) return status;
    first[depth++] = true;
    while (depth > 0) {
        bool more = true;
        status = gm__scan_more(&d->scan, ']', &first[depth - 1], &more, err);
        if (status != GM_OK) return status;
        if (!more) {
            depth--;
        } else if (gm__scan_peek(&d->scan) == '[') {
            if (depth == GM__SCAN_DEPTH) return gm__scan_fail(&d->scan, err, "values nested too deep");
            d->scan.at++;
            first[depth++] = true;
        } else {
            status = gm__scan_number(&d->scan, &value, NULL, err);
            if (status != GM_OK) return status;
            if (count == 0 || value > best) best = value, d->r->answer = count;
            count++;
        }
    }
    if (count == 1) d->r->answer = best >= 0 && best < 1e9 ? (int)best : -1;
    return GM_OK;
}

static gm_status output_member(reader *d, const char *key, gm_error *err) {
    if (strcmp(key, "data") != 0 || d->data_seen) return gm__scan_skip(&d->scan, 3, err);
    char c = gm__scan_peek(&d->scan);
    d->data_seen = true;
    if (c != '[') return gm__scan_skip(&d->scan, 3, err);
    gm__scan before = d->scan;
    if (scores(d, err) == GM_OK) return GM_OK;
    d->scan = before; // texts, for instance
    d->r->answer = -1;
    return gm__scan_skip(&d->scan, 3, err);
}

static gm_status output(reader *d, const char *key, gm_error *err) {
    (void)key;
    return each(d, '}', output_member, err);
}

static gm_status member(reader *d, const char *key, gm_error *err) {
    char c = gm__scan_peek(&d->scan);
    if (strcmp(key, "parameters") == 0 && c == '{') return each(d, '}', parameter, err);
    if (strcmp(key, "outputs") == 0 && c == '[') return each(d, ']', output, err);
    return gm__scan_skip(&d->scan, 1, err);
}

gm_status gm__infer_response_parse(const char *json, size_t bytes, gm__infer_response *out, gm_error *err) {
    *out = (gm__infer_response){.accuracy = NAN, .batch = -1, .queue_us = -1, .compute_us = -1, .answer = -1, .outcome = GM_OUTCOME_MET};
    reader d = {.scan = gm__scan_of(json, bytes), .r = out};
    gm_status status = each(&d, '}', member, err);
    return status == GM_OK ? gm__scan_end(&d.scan, err) : status;
}
