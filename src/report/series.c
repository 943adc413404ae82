// SPDX-License-Identifier: Apache-2.0
// Buckets of requests: arrivals, outcomes, subnets, accuracy, latency, and how many were in the system.
#include "series.h"

#include <math.h>
#include <string.h>

enum { MOST_BUCKETS = 160, MOST_SUBNETS = 64 };

typedef struct bucket {
    double arrivals, met, late, dropped, other; // other: rejected or failed
    double accuracy_sum, accuracy_count;
    double begun, ended; // arrivals and answers within it
    double p50, p99;
} bucket;

typedef struct subnet {
    char id[72], choice[512];
    double top1, count;
    double in[MOST_BUCKETS];
} subnet;

typedef struct series {
    double start, width;
    int buckets, subnets;
    bucket bucket[MOST_BUCKETS];
    subnet subnet[MOST_SUBNETS];
    // of the bucket whose latencies are being read, ascending
    int current;
    double *latency;
    size_t latencies, capacity;
    bool failed;
} series;

// The smallest of 1, 2, 5 times a power of ten that is not below x.
static double round_width(double x) {
    double power = pow(10, floor(log10(fmax(x, 1e-6))));
    for (int i = 0; i < 3; i++) {
        static const double steps[] = {1, 2, 5};
        if (steps[i] * power >= x * (1 - 1e-9)) return steps[i] * power;
    }
    return 10 * power;
}

static int bucket_of(const series *s, double at) {
    return at >= 0 && at < s->buckets ? (int)at : at < 0 ? 0 : s->buckets - 1;
}

static void take_span(void *context, int columns, const double *number, const char *const *text) {
    series *s = context;
    (void)columns, (void)text;
    if (isnan(number[0]) || isnan(number[1])) return;
    double span = fmax(number[1] - number[0], 1e-3);
    s->width = round_width(span / (MOST_BUCKETS - 2));
    s->start = floor(number[0] / s->width) * s->width;
    s->buckets = gm_min((int)floor((number[1] - s->start) / s->width) + 1, MOST_BUCKETS);
}

static void take_outcome(void *context, int columns, const double *number, const char *const *text) {
    series *s = context;
    (void)columns;
    bucket *b = &s->bucket[bucket_of(s, number[0])];
    double n = number[2];
    b->arrivals += n;
    if (text[1] != NULL && strcmp(text[1], "met") == 0) b->met += n;
    else if (text[1] != NULL && strcmp(text[1], "late") == 0) b->late += n;
    else if (text[1] != NULL && strcmp(text[1], "dropped") == 0) b->dropped += n;
    else b->other += n;
    if (!isnan(number[3])) {
        b->accuracy_sum += number[3];
        b->accuracy_count += number[4];
    }
}

static void take_answer(void *context, int columns, const double *number, const char *const *text) {
    series *s = context;
    (void)columns, (void)text;
    s->bucket[bucket_of(s, number[0])].ended += number[1];
}

static void take_subnet(void *context, int columns, const double *number, const char *const *text) {
    series *s = context;
    (void)columns;
    if (s->subnets == MOST_SUBNETS || text[0] == NULL) return;
    subnet *n = &s->subnet[s->subnets++];
    snprintf(n->id, sizeof n->id, "%s", text[0]);
    snprintf(n->choice, sizeof n->choice, "%s", text[3] != NULL ? text[3] : "");
    n->count = number[1];
    n->top1 = number[2];
}

static void take_subnet_bucket(void *context, int columns, const double *number, const char *const *text) {
    series *s = context;
    (void)columns;
    for (int i = 0; i < s->subnets && text[1] != NULL; i++)
        if (strcmp(s->subnet[i].id, text[1]) == 0) s->subnet[i].in[bucket_of(s, number[0])] += number[2];
}

static void finish_latencies(series *s) {
    if (s->current < 0 || s->latencies == 0) return;
    bucket *b = &s->bucket[s->current];
    b->p50 = s->latency[(s->latencies - 1) / 2];
    b->p99 = s->latency[(size_t)ceil(0.99 * (double)s->latencies) - 1];
    s->latencies = 0;
}

static void take_latency(void *context, int columns, const double *number, const char *const *text) {
    series *s = context;
    (void)columns, (void)text;
    int at = bucket_of(s, number[0]);
    if (at != s->current) {
        finish_latencies(s);
        s->current = at;
    }
    if (s->latencies == s->capacity) {
        size_t capacity = s->capacity * 2 + 1024;
        double *grown = gm_realloc(s->latency, s->capacity, capacity, sizeof *grown);
        if (grown == NULL) {
            s->failed = true;
            return;
        }
        s->latency = grown;
        s->capacity = capacity;
    }
    s->latency[s->latencies++] = number[1];
}

// ?2: start, ?3: width. Answers of requests that name no latency are taken for given at the deadline.
static const char outcomes_sql[] =
    "SELECT CAST((t - ?2) / ?3 AS INTEGER), outcome, count(*), sum(accuracy) FILTER (WHERE outcome = 'met'),"
    " count(accuracy) FILTER (WHERE outcome = 'met') FROM fate WHERE run = ?1 GROUP BY 1, 2";
static const char answers_sql[] =
    "SELECT CAST((t + coalesce(latency_ms, deadline_ms, 0) / 1000.0 - ?2) / ?3 AS INTEGER), count(*) FROM fate"
    " WHERE run = ?1 GROUP BY 1";
static const char subnets_sql[] =
    "SELECT f.subnet, count(*), avg(f.accuracy), (SELECT s.choice FROM subnet s WHERE s.id = f.subnet AND s.choice IS NOT NULL"
    " LIMIT 1) FROM fate f WHERE f.run = ?1 AND f.outcome IN ('met', 'late') AND f.subnet IS NOT NULL"
    " AND ?2 IS NOT NULL AND ?3 IS NOT NULL GROUP BY f.subnet ORDER BY 3, 1";
static const char subnet_buckets_sql[] =
    "SELECT CAST((t - ?2) / ?3 AS INTEGER), subnet, count(*) FROM fate WHERE run = ?1 AND outcome IN ('met', 'late')"
    " AND subnet IS NOT NULL GROUP BY 1, 2";
static const char latencies_sql[] =
    "SELECT CAST((t - ?2) / ?3 AS INTEGER) AS b, latency_ms FROM fate WHERE run = ?1 AND outcome IN ('met', 'late')"
    " AND latency_ms IS NOT NULL ORDER BY b, latency_ms";
static const char totals_sql[] =
    "SELECT count(*) AS sent, count(*) FILTER (WHERE outcome = 'met') AS met, count(*) FILTER (WHERE outcome = 'late') AS late,"
    " count(*) FILTER (WHERE outcome = 'dropped') AS dropped,"
    " count(*) FILTER (WHERE outcome NOT IN ('met', 'late', 'dropped')) AS refused,"
    " avg(accuracy) FILTER (WHERE outcome = 'met') AS accuracy_served,"
    " 100.0 * avg(correct) FILTER (WHERE outcome = 'met') AS accuracy_measured,"
    " avg(batch) FILTER (WHERE outcome IN ('met', 'late') AND batch > 0) AS mean_batch FROM fate WHERE run = ?1";

static gm_status fill(gm_report_db *db, int64_t run, series *s, gm_error *err) {
    gm_status status = gm__query_each(db, "SELECT min(t), max(t) FROM fate WHERE run = ?1 AND ?2 = ?3", run, 0, 0, take_span, s, err);
    if (status != GM_OK || s->buckets == 0) return status;
    static const struct {
        const char *sql;
        gm__row_visit *visit;
    } steps[] = {{outcomes_sql, take_outcome}, {answers_sql, take_answer}, {subnets_sql, take_subnet},
                 {subnet_buckets_sql, take_subnet_bucket}, {latencies_sql, take_latency}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps && status == GM_OK; i++)
        status = gm__query_each(db, steps[i].sql, run, s->start, s->width, steps[i].visit, s, err);
    if (status == GM_OK && s->failed) status = gm_fail(err, GM_ERR_MEMORY, "out of memory for the latencies of a run");
    if (status == GM_OK) finish_latencies(s);
    return status;
}

static json_t *number_or_null(double value) { return isfinite(value) ? json_real(value) : json_null(); }

// Numbers of one field of every bucket.
static json_t *field(const series *s, size_t offset) {
    json_t *array = json_array();
    for (int i = 0; i < s->buckets; i++)
        json_array_append_new(array, number_or_null(*(const double *)((const char *)&s->bucket[i] + offset)));
    return array;
}

static json_t *series_json(const series *s) {
    json_t *o = json_pack("{s:f, s:f}", "start", s->start, "width", s->width);
    json_object_set_new(o, "arrivals", field(s, offsetof(bucket, arrivals)));
    json_object_set_new(o, "met", field(s, offsetof(bucket, met)));
    json_object_set_new(o, "late", field(s, offsetof(bucket, late)));
    json_object_set_new(o, "dropped", field(s, offsetof(bucket, dropped)));
    json_object_set_new(o, "refused", field(s, offsetof(bucket, other)));
    json_object_set_new(o, "p50_ms", field(s, offsetof(bucket, p50)));
    json_object_set_new(o, "p99_ms", field(s, offsetof(bucket, p99)));
    json_t *accuracy = json_array(), *queue = json_array();
    double waiting = 0;
    for (int i = 0; i < s->buckets; i++) {
        const bucket *b = &s->bucket[i];
        json_array_append_new(accuracy, b->accuracy_count > 0 ? json_real(b->accuracy_sum / b->accuracy_count) : json_null());
        waiting += b->arrivals - b->ended;
        json_array_append_new(queue, json_real(fmax(waiting, 0)));
    }
    json_object_set_new(o, "accuracy", accuracy);
    json_object_set_new(o, "queue", queue);
    return o;
}

static json_t *subnets_json(const series *s) {
    json_t *array = json_array();
    for (int i = 0; i < s->subnets; i++) {
        const subnet *n = &s->subnet[i];
        json_t *counts = json_array();
        for (int b = 0; b < s->buckets; b++) json_array_append_new(counts, json_real(n->in[b]));
        json_array_append_new(array, json_pack("{s:s, s:s, s:o, s:f, s:o}", "id", n->id, "choice", n->choice, "top1",
                                               number_or_null(n->top1), "count", n->count, "counts", counts));
    }
    return array;
}

gm_status gm__series_show(gm_report_db *db, int64_t run, json_t *out, gm_error *err) {
    series *s = gm_alloc(1, sizeof *s);
    if (s == NULL) return gm_fail(err, GM_ERR_MEMORY, "out of memory for the series of a run");
    s->current = -1;
    for (int i = 0; i < MOST_BUCKETS; i++) s->bucket[i].p50 = s->bucket[i].p99 = NAN;
    gm_status status = fill(db, run, s, err);
    if (status == GM_OK && s->buckets > 0) {
        json_object_set_new(out, "series", series_json(s));
        json_object_set_new(out, "subnets", subnets_json(s));
        status = gm__query_into(db, totals_sql, run, out, "totals", err);
    }
    gm_free(s->latency);
    gm_free(s);
    return status;
}
