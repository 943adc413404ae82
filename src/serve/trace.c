// SPDX-License-Identifier: Apache-2.0
// Traces by name: files and generators (specs superserve 5.1), scaled to a rate, measured, written as gaps.
#include "serve/trace_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

gm_trace_settings gm_trace_settings_default(void) {
    return (gm_trace_settings){.seed = 1};
}

double gm_profile_capacity(const gm_profile *p) {
    int last = p->batches - 1;
    return p->subnets > 0 && last >= 0 ? p->batch[last] * 1e9 / (double)p->subnet[0].p50_ns[last] : 0.0;
}

gm_trace_stats gm_trace_measure(const gm_trace *t) {
    gm_trace_stats s = {0};
    if (t->count < 2) return s;
    double sum = 0.0, square = 0.0, gaps = t->count - 1;
    int in_second = 0;
    int64_t second = t->at_ns[0] / 1000000000;
    for (int i = 0; i < t->count; i++) {
        if (t->at_ns[i] / 1000000000 != second) in_second = 0;
        second = t->at_ns[i] / 1000000000;
        s.peak = gm_max(s.peak, ++in_second);
        double gap = i > 0 ? (double)(t->at_ns[i] - t->at_ns[i - 1]) * 1e-9 : 0.0;
        sum += gap;
        square += gap * gap;
    }
    s.seconds = sum;
    s.rate = sum > 0.0 ? gaps / sum : 0.0;
    double mean = sum / gaps;
    s.cv2 = mean > 0.0 ? fmax(square / gaps - mean * mean, 0.0) / (mean * mean) : 0.0;
    return s;
}

gm_status gm_trace_write_intervals(const gm_trace *t, const char *path, gm_error *err) {
    gm_writer *w = NULL;
    gm_status status = gm_writer_open(path, &w, err);
    int64_t last_us = 0;
    for (int i = 0; status == GM_OK && i < t->count; i++) {
        char line[32];
        int64_t us = (t->at_ns[i] + 500) / 1000; // rounded from the start, so that errors do not add up
        int n = snprintf(line, sizeof line, "%lld\n", (long long)(us - last_us));
        last_us = us;
        status = gm_writer_write(w, line, (size_t)n, err);
    }
    if (status == GM_OK) return gm_writer_commit(w, err);
    gm_writer_abort(w);
    return status;
}

// --- generators. The parameters of a spec "name:A,B,C" become numbers.
static gm_status parameters(const char *spec, int n, double *out, const char *form, gm_error *err) {
    const char *at = strchr(spec, ':') + 1;
    for (int i = 0; i < n; i++) {
        char *end;
        out[i] = strtod(at, &end);
        bool last = i == n - 1;
        if (end == at || *end != (last ? '\0' : ',') || !isfinite(out[i]) || out[i] < 0.0 || out[i] > 1e9)
            return gm_fail(err, GM_ERR_ARGUMENT, "trace '%.60s': %s is expected, with %d numbers from 0 to 1e9", spec, form, n);
        at = end + 1;
    }
    return GM_OK;
}

// Gaps with mean 1 and this squared variation.
static double unit_gap(gm_rng *rng, double cv2) {
    if (cv2 <= 0.0) return 1.0;
    return cv2 * gm_rng_gamma(rng, 1.0 / cv2);
}

static void add(gm_trace *t, double seconds, double room) {
    if (t->count < (int)room) t->at_ns[t->count++] = (int64_t)llround(seconds * 1e9);
}

// Room for a renewal process: the mean, and enough beyond it for its spread.
static double room_for(double mean, double cv2) {
    return ceil(mean + 12.0 * sqrt((cv2 + 1.0) * (mean + 1.0)) + 64.0 * (cv2 + 1.0));
}

static gm_status bursty(const char *spec, const gm_trace_settings *s, double base, double variant, double cv2, gm_trace *out,
                        gm_error *err) {
    if (base + variant <= 0.0 || cv2 > 1000.0) return gm_fail(err, GM_ERR_RANGE, "trace '%.60s': no arrivals, or CV2 above 1000", spec);
    double factor = s->rate > 0.0 ? s->rate / (base + variant) : 1.0;
    base *= factor;
    variant *= factor;
    double room = room_for(variant * s->duration_s, cv2) + ceil(base * s->duration_s) + 1.0;
    gm_status status = gm__trace_reserve(out, room, spec, err);
    if (status != GM_OK) return status;
    for (double i = 1.0; base > 0.0 && i / base < s->duration_s; i++) add(out, i / base, room);
    gm_rng rng = gm_rng_keyed(s->seed, 1, 0, GM_RNG_USER);
    for (double now = 0.0; variant > 0.0;) {
        now += unit_gap(&rng, cv2) / variant;
        if (!(now < s->duration_s)) break;
        add(out, now, room);
    }
    return GM_OK;
}

// The rate goes from `from` to `to` by `acceleration` a second, then stays: unit gaps pushed through the inverse of its integral.
static gm_status ramp(const char *spec, const gm_trace_settings *s, double from, double to, double acceleration, double cv2,
                      gm_trace *out, gm_error *err) {
    if (from <= 0.0 || to < from || cv2 > 1000.0 || (to > from && acceleration <= 0.0))
        return gm_fail(err, GM_ERR_RANGE, "trace '%.60s': 0 < FROM <= TO and a positive acceleration are expected", spec);
    double rise = to > from ? (to - from) / acceleration : 0.0; // seconds
    double area = (from + to) / 2.0 * rise;                     // arrivals meanwhile
    double whole = s->duration_s <= rise ? (from + acceleration * s->duration_s / 2.0) * s->duration_s
                                         : area + to * (s->duration_s - rise);
    double factor = s->rate > 0.0 ? s->rate * s->duration_s / whole : 1.0, room = room_for(whole * factor, cv2);
    gm_status status = gm__trace_reserve(out, room, spec, err);
    gm_rng rng = gm_rng_keyed(s->seed, 2, 0, GM_RNG_USER);
    for (double sum = 0.0; status == GM_OK;) {
        sum += unit_gap(&rng, cv2) / factor;
        double at = sum >= area ? rise + (sum - area) / to : (sqrt(from * from + 2.0 * acceleration * sum) - from) / acceleration;
        if (!(at < s->duration_s)) break;
        add(out, at, room);
    }
    return status;
}

static gm_status read_file(const char *path, uint8_t **bytes, size_t *count, gm_error *err) {
    return gm_file_read_gz(path, GM__TRACE_FILE_MOST, bytes, count, err);
}

// A day's calls a minute, shrunk to the duration.
static gm_status functions(const char *path, const gm_trace_settings *s, double duration_s, gm_trace *out, gm_error *err) {
    uint8_t *bytes = NULL;
    size_t count = 0;
    double total[GM__TRACE_MINUTES], sum = 0.0;
    int minutes = 0;
    gm_status status = read_file(path, &bytes, &count, err);
    if (status == GM_OK) status = gm__trace_minutes(path, bytes, count, total, &minutes, err);
    for (int m = 0; status == GM_OK && m < minutes; m++) sum += total[m];
    if (status == GM_OK && sum < 1.0) status = gm_fail(err, GM_ERR_FORMAT, "%.120s: no calls in any minute", path);
    double factor = s->rate > 0.0 ? s->rate * duration_s / sum : 1.0;
    if (status == GM_OK) status = gm__trace_spread(path, total, minutes, factor, duration_s * 1e9 / minutes, out, err);
    gm_free(bytes);
    return status;
}

static gm_status from_file(const char *path, const gm_trace_settings *s, gm_trace *out, gm_error *err) {
    uint8_t *bytes = NULL;
    size_t count = 0;
    gm_status status = read_file(path, &bytes, &count, err);
    if (status == GM_OK) status = gm_trace_parse(path, bytes, count, out, err);
    gm_free(bytes);
    if (status != GM_OK) return status;
    gm_trace_stats stats = gm_trace_measure(out);
    if (s->rate > 0.0 && stats.rate <= 0.0)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: all arrivals at one time cannot be stretched to a rate", path);
    double stretch = s->rate > 0.0 ? stats.rate / s->rate : 1.0;
    int kept = 0;
    for (; kept < out->count; kept++) {
        double at = (double)out->at_ns[kept] * stretch;
        if (at > 9e18 || (s->duration_s > 0.0 && at > s->duration_s * 1e9)) break;
        if (stretch != 1.0) out->at_ns[kept] = (int64_t)llround(at);
    }
    out->count = kept;
    return GM_OK;
}

static bool is(const char *spec, const char *name) {
    size_t n = strlen(name);
    return strncmp(spec, name, n) == 0 && spec[n] == ':';
}

static gm_status create(const char *spec, const gm_trace_settings *given, gm_trace *out, gm_error *err) {
    gm_trace_settings s = *given;
    double v[4];
    gm_status status;
    if (is(spec, "azure-functions"))
        return functions(strchr(spec, ':') + 1, &s, s.duration_s > 0.0 ? s.duration_s : 120.0, out, err);
    if (!is(spec, "poisson") && !is(spec, "bursty") && !is(spec, "ramp")) return from_file(spec, &s, out, err);
    if (s.duration_s <= 0.0) s.duration_s = 10.0;
    if (is(spec, "poisson")) {
        status = parameters(spec, 1, v, "poisson:RATE", err);
        return status != GM_OK ? status : bursty(spec, &s, 0.0, v[0], 1.0, out, err);
    }
    if (is(spec, "bursty")) {
        status = parameters(spec, 3, v, "bursty:BASE,VARIANT,CV2", err);
        return status != GM_OK ? status : bursty(spec, &s, v[0], v[1], v[2], out, err);
    }
    status = parameters(spec, 4, v, "ramp:FROM,TO,ACCEL,CV2", err);
    return status != GM_OK ? status : ramp(spec, &s, v[0], v[1], v[2], v[3], out, err);
}

gm_status gm_trace_create(const char *spec, const gm_trace_settings *settings, gm_trace *out, gm_error *err) {
    *out = (gm_trace){0};
    if (!(settings->duration_s >= 0.0 && settings->duration_s <= 1e7) || !(settings->rate >= 0.0 && settings->rate <= 1e9))
        return gm_fail(err, GM_ERR_RANGE, "trace: duration %g s (0 to 1e7) or rate %g (0 to 1e9) is out of range",
                       settings->duration_s, settings->rate);
    gm_status status = create(spec, settings, out, err);
    if (status == GM_OK && out->count == 0) status = gm_fail(err, GM_ERR_RANGE, "trace '%.100s': no arrivals in that time", spec);
    if (status != GM_OK) {
        gm_trace_fini(out);
        return status;
    }
    gm__trace_sort(out);
    return GM_OK;
}
