// SPDX-License-Identifier: Apache-2.0
// The layouts of trace files, told apart by their first line (specs superserve 5.2):
//   TIMESTAMP,...                         Azure LLM traces: date and time of the arrival
//   HashOwner,HashApp,HashFunction,...    Azure Functions 2019: calls a minute, one column a minute
//   app,func,end_timestamp,duration       Azure Functions 2021: seconds
//   a number                              gaps in microseconds, one a line
// Lines end with LF or CRLF, the last one with or without.
#include "serve/trace_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct lines { // what is left of a file
    const char *name;
    const char *at, *end;
    int number;
} lines;
typedef struct text {
    const char *at, *end;
} text;

static bool next_line(lines *in, text *line) {
    if (in->at == in->end) return false;
    const char *newline = memchr(in->at, '\n', (size_t)(in->end - in->at));
    line->at = in->at;
    line->end = newline != NULL ? newline : in->end;
    in->at = newline != NULL ? newline + 1 : in->end;
    if (line->end > line->at && line->end[-1] == '\r') line->end--;
    in->number++;
    return true;
}

static bool next_field(text *line, text *field) {
    if (line->at == NULL) return false;
    const char *comma = memchr(line->at, ',', (size_t)(line->end - line->at));
    field->at = line->at;
    field->end = comma != NULL ? comma : line->end;
    line->at = comma != NULL ? comma + 1 : NULL;
    return true;
}

static bool starts(text line, const char *with) {
    size_t n = strlen(with);
    return (size_t)(line.end - line.at) >= n && memcmp(line.at, with, n) == 0;
}

static bool number(text field, double most, double *out) {
    char copy[48];
    size_t n = (size_t)(field.end - field.at);
    if (n == 0 || n >= sizeof copy) return false;
    memcpy(copy, field.at, n);
    copy[n] = '\0';
    if (strspn(copy, "0123456789.eE+-") != n) return false; // strtod would take hex, infinity and blanks
    char *end;
    *out = strtod(copy, &end);
    return *end == '\0' && *out >= 0.0 && *out <= most;
}

static bool digits(const char **at, const char *end, int n, int low, int high, int *out) {
    *out = 0;
    if (end - *at < n) return false;
    for (int i = 0; i < n; i++, (*at)++) {
        if (**at < '0' || **at > '9') return false;
        *out = *out * 10 + (**at - '0');
    }
    return *out >= low && *out <= high;
}

static bool literal(const char **at, const char *end, char c) {
    if (*at == end || **at != c) return false;
    (*at)++;
    return true;
}

// Days since 1970-01-01 in the Gregorian calendar; years from 1970 on.
static int64_t days(int year, int month, int day) {
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t y = year - 1, leap = y / 4 - y / 100 + y / 400;
    bool leaps = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return y * 365 + leap + before[month - 1] + (leaps && month > 2 ? 1 : 0) + day - 1 - 719162;
}

// "2023-11-16 18:17:03.9799600", the fraction of any length, Z or +00:00 behind it allowed.
static bool timestamp(text field, int64_t *ns) {
    const char *at = field.at, *end = field.end;
    int year, month, day, hour, minute, second;
    if (!digits(&at, end, 4, 1970, 2200, &year) || !literal(&at, end, '-') || !digits(&at, end, 2, 1, 12, &month) ||
        !literal(&at, end, '-') || !digits(&at, end, 2, 1, 31, &day) || at == end || (*at != ' ' && *at != 'T'))
        return false;
    at++;
    if (!digits(&at, end, 2, 0, 23, &hour) || !literal(&at, end, ':') || !digits(&at, end, 2, 0, 59, &minute) ||
        !literal(&at, end, ':') || !digits(&at, end, 2, 0, 60, &second))
        return false;
    int64_t fraction = 0, unit = 1000000000;
    if (at < end && *at == '.')
        for (at++; at < end && *at >= '0' && *at <= '9'; at++) {
            unit /= 10;
            fraction += unit * (*at - '0');
        }
    text rest = {at, end};
    if (at != end && !(starts(rest, "Z") && end - at == 1) && !(starts(rest, "+00:00") && end - at == 6)) return false;
    *ns = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    *ns = *ns * 1000000000 + fraction;
    return true;
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void gm__trace_sort(gm_trace *t) {
    bool sorted = true;
    for (int i = 1; i < t->count && sorted; i++) sorted = t->at_ns[i - 1] <= t->at_ns[i];
    if (!sorted) qsort(t->at_ns, (size_t)t->count, sizeof *t->at_ns, compare);
}

gm_status gm__trace_reserve(gm_trace *t, double count, const char *what, gm_error *err) {
    if (!(count >= 0.0 && count <= GM_TRACE_MOST))
        return gm_fail(err, GM_ERR_RANGE, "%.120s: %.0f arrivals, at most %d: ask for a shorter time or a lower rate", what, count,
                       GM_TRACE_MOST);
    *t = (gm_trace){.at_ns = gm_alloc((size_t)count + 1, sizeof *t->at_ns)};
    return t->at_ns != NULL ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "%.120s: no memory for %.0f arrivals", what, count);
}

void gm_trace_fini(gm_trace *t) {
    gm_free(t->at_ns);
    *t = (gm_trace){0};
}

static gm_status bad(const lines *in, const char *what, gm_error *err) {
    return gm_fail(err, GM_ERR_FORMAT, "%.120s: line %d: %s", in->name, in->number, what);
}

static gm_status read_llm(lines *in, gm_trace *out, gm_error *err) {
    text line, field;
    while (next_line(in, &line)) {
        int64_t ns;
        if (line.at == line.end) continue;
        if (!next_field(&line, &field) || !timestamp(field, &ns))
            return bad(in, "the first field is not a time like 2023-11-16 18:17:03.9799600", err);
        out->at_ns[out->count++] = ns;
    }
    return GM_OK;
}

static gm_status read_functions_2021(lines *in, gm_trace *out, gm_error *err) {
    text line, app, func, end, duration;
    while (next_line(in, &line)) {
        double stop, took;
        if (line.at == line.end) continue;
        if (!next_field(&line, &app) || !next_field(&line, &func) || !next_field(&line, &end) || !next_field(&line, &duration) ||
            !number(end, 1e9, &stop) || !number(duration, 1e9, &took))
            return bad(in, "app,func,end_timestamp,duration with seconds is expected", err);
        out->at_ns[out->count++] = (int64_t)llround((stop - took) * 1e9);
    }
    return GM_OK;
}

static gm_status read_intervals(lines *in, gm_trace *out, gm_error *err) {
    text line;
    double now = 0.0;
    while (next_line(in, &line)) {
        double gap;
        if (line.at == line.end) continue;
        if (!number(line, 1e12, &gap)) return bad(in, "a gap in microseconds is expected", err);
        now += gap * 1e3;
        if (now > 1e18) return bad(in, "the arrivals span more than 30 years", err);
        out->at_ns[out->count++] = (int64_t)llround(now);
    }
    return GM_OK;
}

gm_status gm__trace_minutes(const char *name, const uint8_t *bytes, size_t count, double total[GM__TRACE_MINUTES], int *minutes,
                            gm_error *err) {
    lines in = {name, (const char *)bytes, (const char *)bytes + count, 0};
    text line, field;
    *minutes = 0;
    if (!next_line(&in, &line) || !starts(line, "HashOwner,HashApp,HashFunction,Trigger,1"))
        return bad(&in, "columns HashOwner,HashApp,HashFunction,Trigger,1,2,... are expected", err);
    for (int i = 0; next_field(&line, &field); i++)
        if (i >= 4) ++*minutes;
    if (*minutes > GM__TRACE_MINUTES) return bad(&in, "more than 1440 minutes", err);
    memset(total, 0, GM__TRACE_MINUTES * sizeof *total);
    while (next_line(&in, &line)) {
        if (line.at == line.end) continue;
        int i = 0;
        bool good = true;
        for (; good && next_field(&line, &field); i++) {
            double calls = 0.0;
            if (i < 4) continue;
            good = i < 4 + *minutes && number(field, 1e9, &calls);
            if (good) total[i - 4] += calls;
        }
        if (!good || i != 4 + *minutes) return bad(&in, "four texts and one count a minute are expected", err);
    }
    return GM_OK;
}

gm_status gm__trace_spread(const char *name, const double *total, int minutes, double factor, double minute_ns, gm_trace *out,
                           gm_error *err) {
    double sum = 0.0, due = 0.0;
    for (int m = 0; m < minutes; m++) sum += total[m] * factor;
    gm_status status = gm__trace_reserve(out, ceil(sum), name, err);
    for (int m = 0; status == GM_OK && m < minutes; m++) {
        due += total[m] * factor;
        int calls = (int)(llround(due) - out->count);
        for (int i = 0; i < calls; i++)
            out->at_ns[out->count++] = (int64_t)llround(minute_ns * (m + (i + 0.5) / calls));
    }
    return status;
}

static gm_status read_any(const char *name, const uint8_t *bytes, size_t count, gm_trace *out, gm_error *err) {
    lines in = {name, (const char *)bytes, (const char *)bytes + count, 0};
    text line = {0};
    double value, total[GM__TRACE_MINUTES];
    int minutes = 0;
    size_t newlines = 0;
    for (size_t i = 0; i < count; i++) newlines += bytes[i] == '\n';
    if (!next_line(&in, &line)) return bad(&in, "the file is empty", err);
    if (starts(line, "HashOwner,")) {
        gm_status status = gm__trace_minutes(name, bytes, count, total, &minutes, err);
        return status != GM_OK ? status : gm__trace_spread(name, total, minutes, 1.0, 60e9, out, err);
    }
    gm_status status = gm__trace_reserve(out, (double)newlines + 1.0, name, err);
    if (status != GM_OK) return status;
    if (starts(line, "TIMESTAMP,")) return read_llm(&in, out, err);
    if (starts(line, "app,func,end_timestamp,duration")) return read_functions_2021(&in, out, err);
    if (!number(line, 1e12, &value))
        return bad(&in, "not a trace: an Azure LLM or Functions table, or gaps in microseconds one a line, are known", err);
    in = (lines){name, (const char *)bytes, (const char *)bytes + count, 0};
    return read_intervals(&in, out, err);
}

gm_status gm_trace_parse(const char *name, const uint8_t *bytes, size_t count, gm_trace *out, gm_error *err) {
    *out = (gm_trace){0};
    gm_status status = read_any(name, bytes, count, out, err);
    if (status == GM_OK && out->count == 0) status = gm_fail(err, GM_ERR_FORMAT, "%.120s: holds no arrivals", name);
    if (status != GM_OK) {
        gm_trace_fini(out);
        return status;
    }
    gm__trace_sort(out);
    // Gaps keep their first one: it is part of the file. Dates start with the first arrival.
    int64_t origin = out->at_ns[0] > 1000000000000000000 || out->at_ns[0] < 0 ? out->at_ns[0] : 0;
    for (int i = 0; i < out->count; i++) out->at_ns[i] -= origin;
    return GM_OK;
}
