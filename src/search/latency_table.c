// SPDX-License-Identifier: Apache-2.0
// Published latency tables (specs: training 2.14): a YAML map of operations to count, mean and spread. What is read is
// the one shape that these files have; anything else is an error with its line.
#include <gamut/search.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 16 << 20, MOST_ROWS = 100000, MOST_KEY = 159 };

typedef struct row {
    char key[MOST_KEY + 1];
    double mean;
    bool has_mean;
} row;

struct gm_latency_table {
    row *row; // sorted by key
    int rows, capacity;
};

typedef struct reader {
    const char *what;
    int line;
    gm_latency_table *table;
} reader;

static gm_status complain(const reader *r, gm_error *err, const char *problem) {
    return gm_fail(err, GM_ERR_FORMAT, "%.120s:%d: %s", r->what, r->line, problem);
}

static gm_status add_row(reader *r, const char *key, size_t length, gm_error *err) {
    gm_latency_table *t = r->table;
    if (length == 0 || length > MOST_KEY) return complain(r, err, "the name of an operation has 1 to 159 characters");
    for (size_t i = 0; i < length; i++)
        if (key[i] <= ' ' || key[i] > '~' || strchr("\"'{}[]#&*!|>%@`", key[i]))
            return complain(r, err, "a character that no name of an operation has");
    if (t->rows > 0 && !t->row[t->rows - 1].has_mean) return complain(r, err, "the operation before this one has no mean");
    if (t->rows == MOST_ROWS) return complain(r, err, "more than 100000 operations");
    if (t->rows == t->capacity) {
        int capacity = t->capacity * 2 + 64;
        row *grown = gm_realloc(t->row, (size_t)t->capacity, (size_t)capacity, sizeof *grown);
        if (!grown) return gm_fail(err, GM_ERR_MEMORY, "%.120s: no memory for its rows", r->what);
        t->row = grown;
        t->capacity = capacity;
    }
    row *next = &t->row[t->rows++];
    *next = (row){0};
    memcpy(next->key, key, length);
    return GM_OK;
}

// "  name: number"
static gm_status read_value(reader *r, const char *line, size_t length, gm_error *err) {
    char name[16], text[40], *end = NULL;
    const char *colon = memchr(line, ':', length);
    gm_latency_table *t = r->table;
    if (t->rows == 0) return complain(r, err, "a value before the first operation");
    if (!colon || colon == line || (size_t)(colon - line) >= sizeof name)
        return complain(r, err, "expected `mean: NUMBER`, or count, std or var");
    snprintf(name, sizeof name, "%.*s", (int)(colon - line), line);
    const char *value = colon + 1;
    while (value < line + length && *value == ' ') value++;
    size_t left = (size_t)(line + length - value);
    if (left == 0 || left >= sizeof text) return complain(r, err, "a number is expected behind the colon");
    memcpy(text, value, left);
    text[left] = '\0';
    double number = strspn(text, "0123456789.+-eE") == left ? strtod(text, &end) : NAN;
    if (!isfinite(number) || *end != '\0' || number < 0) return complain(r, err, "a number of at least 0 is expected");
    row *last = &t->row[t->rows - 1];
    if (strcmp(name, "mean") == 0) {
        if (last->has_mean) return complain(r, err, "a second mean of the same operation");
        if (number > 1e9) return complain(r, err, "a latency above 1e9 ms");
        last->mean = number;
        last->has_mean = true;
    } else if (strcmp(name, "count") != 0 && strcmp(name, "std") != 0 && strcmp(name, "var") != 0) {
        return complain(r, err, "only count, mean, std and var are known");
    }
    return GM_OK;
}

static gm_status read_line(reader *r, const char *line, size_t length, gm_error *err) {
    while (length > 0 && (line[length - 1] == '\r' || line[length - 1] == ' ')) length--;
    if (length == 0 || line[0] == '#') return GM_OK;
    if (line[0] == ' ') {
        while (length > 0 && line[0] == ' ') {
            line++;
            length--;
        }
        return read_value(r, line, length, err);
    }
    if (line[length - 1] != ':') return complain(r, err, "expected `OPERATION:`");
    return add_row(r, line, length - 1, err);
}

static int by_key(const void *a, const void *b) { return strcmp(((const row *)a)->key, ((const row *)b)->key); }

gm_status gm_latency_table_parse(const char *text, size_t bytes, const char *what, gm_latency_table **out, gm_error *err) {
    *out = NULL;
    reader r = {.what = what, .table = gm_alloc(1, sizeof *r.table)};
    if (!r.table) return gm_fail(err, GM_ERR_MEMORY, "%.120s: no memory", what);
    gm_status status = GM_OK;
    for (size_t at = 0; at < bytes && !status;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t length = end ? (size_t)(end - text) - at : bytes - at;
        r.line++;
        status = read_line(&r, text + at, length, err);
        at += length + 1;
    }
    gm_latency_table *t = r.table;
    if (!status && t->rows == 0) status = gm_fail(err, GM_ERR_FORMAT, "%.120s: no operation in it", what);
    if (!status && !t->row[t->rows - 1].has_mean) status = complain(&r, err, "the last operation has no mean");
    if (!status) qsort(t->row, (size_t)t->rows, sizeof *t->row, by_key);
    for (int i = 1; i < t->rows && !status; i++)
        if (by_key(&t->row[i - 1], &t->row[i]) == 0)
            status = gm_fail(err, GM_ERR_FORMAT, "%.90s: the operation %.120s is there twice", what, t->row[i].key);
    if (status) gm_latency_table_destroy(t);
    else *out = t;
    return status;
}

gm_status gm_latency_table_read(const char *path, gm_latency_table **out, gm_error *err) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    *out = NULL;
    gm_status status = gm_file_read(path, MOST_BYTES, &data, &bytes, err);
    if (!status) status = gm_latency_table_parse((const char *)data, bytes, path, out, err);
    gm_free(data);
    return status;
}

void gm_latency_table_destroy(gm_latency_table *t) {
    if (!t) return;
    gm_free(t->row);
    gm_free(t);
}

int gm_latency_table_rows(const gm_latency_table *t) { return t->rows; }

bool gm_latency_table_find(const gm_latency_table *t, const char *key, double *ms) {
    row wanted;
    if (strlen(key) > MOST_KEY) return false;
    snprintf(wanted.key, sizeof wanted.key, "%s", key);
    const row *found = bsearch(&wanted, t->row, (size_t)t->rows, sizeof wanted, by_key);
    if (found) *ms = found->mean;
    return found != NULL;
}
