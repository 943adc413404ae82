// SPDX-License-Identifier: Apache-2.0
// log.jsonl: one JSON object a line, flushed at once. A resumed run cuts the lines that its lost steps had written.
#include "train/run.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

gm_status gm__log_open(gm__run *r, bool resume, gm_error *err) {
    char path[1024];
    snprintf(path, sizeof path, "%s/log.jsonl", r->dir);
    r->log = fopen(path, resume ? "r+" : "w");
    if (!r->log && resume) r->log = fopen(path, "w");
    if (!r->log)
        return gm_fail(err, GM_ERR_IO, "cannot write %.180s: %s", path, strerror(errno));
    if (!resume) return GM_OK;
    fseek(r->log, 0, SEEK_END);
    long end = ftell(r->log), keep = (long)r->marks.log_bytes;
    if (end > keep && (ftruncate(fileno(r->log), keep) != 0 || fseek(r->log, 0, SEEK_END) != 0))
        return gm_fail(err, GM_ERR_IO, "cannot shorten %.180s: %s", path, strerror(errno));
    return GM_OK;
}

void gm__log_line(gm__run *r, const char *format, ...) {
    if (!r->log) return;
    va_list list;
    va_start(list, format);
    vfprintf(r->log, format, list);
    va_end(list);
    fputc('\n', r->log);
    fflush(r->log);
    long at = ftell(r->log);
    if (at > 0) r->marks.log_bytes = (uint64_t)at;
}
