// SPDX-License-Identifier: Apache-2.0
#include "search/json_fields.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static gm_status complain(const gm__fields *f, const char *key, const char *problem, gm_error *err) {
    return gm_fail(err, GM_ERR_FORMAT, "%.120s: %s%s%s: %s", f->what, f->where, f->where[0] ? "." : "", key, problem);
}

gm_status gm__fields_parse(const char *text, size_t bytes, const char *what, const char *format, json_t **root, gm_error *err) {
    json_error_t problem;
    char found[40];
    int64_t version;
    *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!*root)
        return gm_fail(err, GM_ERR_FORMAT, "%.100s:%d: %.120s", what, problem.line, problem.text);
    gm__fields f = {.object = *root, .what = what};
    if (!json_is_object(*root) || !json_is_string(json_object_get(*root, "format"))) {
        json_decref(*root);
        *root = NULL;
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: this is not a file of the format %s", what, format);
    }
    gm_status status = gm__field_text(&f, "format", found, sizeof found, err);
    if (!status && strcmp(found, format) != 0)
        status = gm_fail(err, GM_ERR_FORMAT, "%.120s: this is a file of the format %s, not %s", what, found, format);
    if (!status) status = gm__field_whole(&f, "version", 0, INT32_MAX, &version, err);
    if (!status && version != 1)
        status = gm_fail(err, GM_ERR_UNSUPPORTED, "%.120s: version %" PRId64 " of the format %s; this build reads 1", what,
                         version, format);
    if (status) {
        json_decref(*root);
        *root = NULL;
    }
    return status;
}

gm_status gm__field_text(const gm__fields *f, const char *key, char *text, size_t size, gm_error *err) {
    const json_t *value = json_object_get(f->object, key);
    if (!json_is_string(value)) return complain(f, key, "a text is expected", err);
    const char *source = json_string_value(value);
    size_t length = json_string_length(value);
    if (length >= size || strlen(source) != length) return complain(f, key, "this text is too long", err);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)source[i] < ' ' || source[i] == 0x7f) return complain(f, key, "a control character", err);
    memcpy(text, source, length + 1);
    return GM_OK;
}

gm_status gm__field_number(const gm__fields *f, const char *key, double least, double most, double *out, gm_error *err) {
    const json_t *value = json_object_get(f->object, key);
    char problem[80];
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= least && number <= most)) {
        snprintf(problem, sizeof problem, "a number from %g to %g is expected", least, most);
        return complain(f, key, problem, err);
    }
    *out = number;
    return GM_OK;
}

gm_status gm__field_whole(const gm__fields *f, const char *key, int64_t least, int64_t most, int64_t *out, gm_error *err) {
    const json_t *value = json_object_get(f->object, key);
    char problem[96];
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most) {
        snprintf(problem, sizeof problem, "a whole number from %" PRId64 " to %" PRId64 " is expected", least, most);
        return complain(f, key, problem, err);
    }
    *out = json_integer_value(value);
    return GM_OK;
}

gm_status gm__field_hash(const gm__fields *f, const char *key, uint64_t *out, gm_error *err) {
    char text[17];
    gm_status status = gm__field_text(f, key, text, sizeof text, err);
    if (status) return status;
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) return complain(f, key, "16 hex digits are expected", err);
    *out = strtoull(text, NULL, 16);
    return GM_OK;
}

gm_status gm__field_array(const gm__fields *f, const char *key, size_t most, const json_t **out, gm_error *err) {
    char problem[64];
    *out = json_object_get(f->object, key);
    if (!json_is_array(*out)) return complain(f, key, "a list is expected", err);
    if (json_array_size(*out) <= most) return GM_OK;
    snprintf(problem, sizeof problem, "more than %zu entries", most);
    return complain(f, key, problem, err);
}

gm_status gm__json_file(json_t *root, const char *path, gm_error *err) {
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(root);
    if (!text) return gm_fail(err, GM_ERR_MEMORY, "%.120s: no memory to write it", path);
    gm_writer *w = NULL;
    gm_status status = gm_writer_open(path, &w, err);
    if (!status) {
        status = gm_writer_write(w, text, strlen(text), err);
        if (!status) status = gm_writer_write(w, "\n", 1, err);
        if (!status) status = gm_writer_commit(w, err);
        else gm_writer_abort(w);
    }
    free(text);
    return status;
}
