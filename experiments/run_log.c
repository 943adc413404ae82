// SPDX-License-Identifier: Apache-2.0
#include "run_log.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { MAX_BYTES = 64 << 20 };

typedef struct reader {
    run_log *log;
    size_t capacity;
    double epoch_step, epoch_macs; // of the last epoch event
} reader;

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static gm_status add_point(reader *r, const json_t *o, gm_error *err) {
    const char *choice = json_string_value(json_object_get(o, "choice"));
    const char *split = json_string_value(json_object_get(o, "split"));
    if (choice == NULL || split == NULL || isnan(number(o, "top1")))
        return gm_fail(err, GM_ERR_FORMAT, "an evaluation without choice, split or top1");
    if (r->log->count == r->capacity) {
        size_t capacity = r->capacity * 2 + 64;
        log_point *points = gm_realloc(r->log->points, r->capacity, capacity, sizeof *points);
        if (points == NULL) return gm_fail(err, GM_ERR_MEMORY, "out of memory");
        r->log->points = points;
        r->capacity = capacity;
    }
    log_point *p = &r->log->points[r->log->count++];
    *p = (log_point){.step = number(o, "step"), .epoch = number(o, "epoch"), .top1 = number(o, "top1"),
                     .subnet_macs = number(o, "macs"), .macs_spent = NAN};
    snprintf(p->choice, sizeof p->choice, "%s", choice);
    snprintf(p->split, sizeof p->split, "%s", split);
    if (p->step == r->epoch_step) p->macs_spent = r->epoch_macs;
    return GM_OK;
}

// The evaluations behind the last step come before the line that knows what the run has cost.
static void add_end(reader *r, const json_t *o) {
    run_log *log = r->log;
    double steps = number(o, "steps");
    log->ended = true;
    log->macs_spent = number(o, "macs_spent");
    log->seconds = number(o, "seconds");
    log->images_per_second = number(o, "images_per_second");
    log->peak_bytes = number(o, "peak_bytes");
    log->rollbacks = number(o, "rollbacks");
    for (size_t i = 0; i < log->count; i++)
        if (log->points[i].step == steps) log->points[i].macs_spent = log->macs_spent;
}

static gm_status add_event(reader *r, const json_t *o, gm_error *err) {
    const char *event = json_string_value(json_object_get(o, "event"));
    if (event == NULL) return gm_fail(err, GM_ERR_FORMAT, "not an event");
    if (strcmp(event, "eval") == 0) return add_point(r, o, err);
    if (strcmp(event, "end") == 0) add_end(r, o);
    if (strcmp(event, "epoch") == 0) {
        r->epoch_step = number(o, "step");
        r->epoch_macs = number(o, "macs_spent");
    }
    return GM_OK;
}

gm_status run_log_read(const char *folder, run_log *out, gm_error *err) {
    char path[1024];
    uint8_t *data = NULL;
    size_t bytes = 0;
    gm_error cause = {0};
    *out = (run_log){0};
    reader r = {.log = out, .epoch_step = NAN};
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    if (!gm_path_exists(path)) return gm_fail(err, GM_ERR_NOT_FOUND, "%.200s does not exist", path);
    gm_status status = gm_file_read(path, MAX_BYTES, &data, &bytes, err);
    if (status != GM_OK) return status;
    int line = 1;
    // What follows the last line feed was being written when the run was killed.
    for (char *at = (char *)data, *end; status == GM_OK && (end = strchr(at, '\n')) != NULL; at = end + 1, line++) {
        json_t *o = json_loadb(at, (size_t)(end - at), 0, NULL);
        status = add_event(&r, o, &cause); // takes NULL for what is no event either
        json_decref(o);
        if (status != GM_OK) gm_fail(err, status, "%.150s:%d: %.80s", path, line, cause.text);
    }
    gm_free(data);
    return status;
}

void run_log_fini(run_log *log) {
    gm_free(log->points);
    *log = (run_log){0};
}

const log_point *run_log_last(const run_log *log, const char *split, const char *choice) {
    for (size_t i = log->count; i-- > 0;)
        if (strcmp(log->points[i].split, split) == 0 && strcmp(log->points[i].choice, choice) == 0)
            return &log->points[i];
    return NULL;
}
