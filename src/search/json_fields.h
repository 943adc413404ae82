// SPDX-License-Identifier: Apache-2.0
// Fields of a JSON object, each with its check. `what` names the file, `where` the object in it ("subnets[3]"; "" the top).
#ifndef GAMUT_SEARCH_JSON_FIELDS_H
#define GAMUT_SEARCH_JSON_FIELDS_H

#include <gamut/base.h>
#include <jansson.h>

typedef struct gm__fields {
    const json_t *object;
    const char *what;
    char where[48];
} gm__fields;

// Parses the text of a file whose `format` and `version` (1) must be these.
gm_status gm__fields_parse(const char *text, size_t bytes, const char *what, const char *format, json_t **root, gm_error *err);
// Plain text without control characters; at most size-1 bytes.
gm_status gm__field_text(const gm__fields *f, const char *key, char *text, size_t size, gm_error *err);
gm_status gm__field_number(const gm__fields *f, const char *key, double least, double most, double *out, gm_error *err);
gm_status gm__field_whole(const gm__fields *f, const char *key, int64_t least, int64_t most, int64_t *out, gm_error *err);
gm_status gm__field_hash(const gm__fields *f, const char *key, uint64_t *out, gm_error *err); // 16 hex digits
gm_status gm__field_array(const gm__fields *f, const char *key, size_t most, const json_t **out, gm_error *err);
// Writes root to a file, whole or not at all, and drops the reference; root may be NULL (memory).
gm_status gm__json_file(json_t *root, const char *path, gm_error *err);

#endif
