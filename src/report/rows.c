// SPDX-License-Identifier: Apache-2.0
// JSON objects to rows, with every value checked before it is used.
#include "kinds.h"

#include <math.h>
#include <string.h>

const gm__report_table gm__table_setting = {
    "setting", {{"key", GM__TEXT, true, 0, 0}, {"value", GM__TEXT, true, 0, 0}}};

static gm_status cell_of(const json_t *value, const gm__column *column, const char *where, gm__cell *cell, gm_error *err) {
    *cell = (gm__cell){0};
    if (value == NULL || json_is_null(value)) {
        if (!column->required) return GM_OK;
        return gm_fail(err, GM_ERR_FORMAT, "%.60s: '%s' is missing", where, column->name);
    }
    cell->filled = true;
    if (column->kind == GM__TEXT) {
        cell->text = json_string_value(value);
        if (cell->text == NULL) return gm_fail(err, GM_ERR_FORMAT, "%.60s: '%s' is not a text", where, column->name);
        if (strlen(cell->text) > GM__MOST_TEXT)
            return gm_fail(err, GM_ERR_RANGE, "%.60s: '%s' is longer than %d bytes", where, column->name, GM__MOST_TEXT);
        return GM_OK;
    }
    if (json_is_boolean(value)) cell->number = json_is_true(value) ? 1 : 0;
    else if (json_is_number(value)) cell->number = json_number_value(value);
    else return gm_fail(err, GM_ERR_FORMAT, "%.60s: '%s' is not a number", where, column->name);
    if (!(cell->number >= column->min && cell->number <= column->max))
        return gm_fail(err, GM_ERR_RANGE, "%.60s: '%s' is %g; allowed: %g to %g", where, column->name, cell->number,
                       column->min, column->max);
    if (column->kind == GM__INTEGER) cell->number = nearbyint(cell->number);
    return GM_OK;
}

gm_status gm__row_of(const json_t *object, const gm__report_table *table, const gm__cell *fixed, const char *where,
                     const gm__sink *sink, gm_error *err) {
    gm__cell cells[GM__MOST_COLUMNS] = {0};
    if (!json_is_object(object)) return gm_fail(err, GM_ERR_FORMAT, "%.60s is not an object", where);
    for (int i = 0; i < GM__MOST_COLUMNS && table->column[i].name != NULL; i++) {
        if (fixed != NULL && fixed[i].filled) {
            cells[i] = fixed[i];
            continue;
        }
        gm_status status = cell_of(json_object_get(object, table->column[i].name), &table->column[i], where, &cells[i], err);
        if (status != GM_OK) return status;
    }
    return sink->row(sink->context, table, cells, err);
}

gm_status gm__rows_of(const json_t *array, const gm__report_table *table, const gm__cell *fixed, const char *name,
                      const gm__sink *sink, gm_error *err) {
    if (!json_is_array(array)) return gm_fail(err, GM_ERR_FORMAT, "'%.40s' is not an array", name);
    gm_status status = GM_OK;
    for (size_t i = 0; i < json_array_size(array) && status == GM_OK; i++) {
        char where[64];
        snprintf(where, sizeof where, "%.40s[%zu]", name, i);
        status = gm__row_of(json_array_get(array, i), table, fixed, where, sink, err);
    }
    return status;
}

gm_status gm__setting_row(const char *key, const char *value, const gm__sink *sink, gm_error *err) {
    char kept_key[128], kept_value[GM__MOST_TEXT];
    snprintf(kept_key, sizeof kept_key, "%s", key);
    snprintf(kept_value, sizeof kept_value, "%s", value);
    const gm__cell cells[] = {{true, 0, kept_key}, {true, 0, kept_value}};
    return sink->row(sink->context, &gm__table_setting, cells, err);
}

gm_status gm__settings_of(const json_t *object, const char *prefix, const gm__sink *sink, gm_error *err) {
    const char *key;
    const json_t *value;
    gm_status status = GM_OK;
    // The cast: jansson's macro wants a json_t it may change, and changes nothing.
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        char text[GM__MOST_TEXT] = "", name[128];
        snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", key);
        if (json_is_string(value)) snprintf(text, sizeof text, "%s", json_string_value(value));
        else if (json_is_integer(value)) snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        else if (json_is_real(value)) snprintf(text, sizeof text, "%.12g", json_real_value(value));
        else if (json_is_boolean(value)) snprintf(text, sizeof text, "%s", json_is_true(value) ? "true" : "false");
        else continue;
        status = gm__setting_row(name, text, sink, err);
        if (status != GM_OK) break;
    }
    return status;
}

gm_status gm__parse_json(gm__bytes file, json_t **out, gm_error *err) {
    json_error_t problem;
    *out = json_loadb(file.data, file.bytes, JSON_REJECT_DUPLICATES, &problem);
    if (*out != NULL) return GM_OK;
    return gm_fail(err, GM_ERR_FORMAT, "line %d: %.120s", problem.line, problem.text);
}

void gm__nothing_beside(const char *path, const json_t *value, char *out, size_t bytes) {
    (void)path, (void)value, (void)bytes;
    out[0] = '\0';
}

gm_status gm__each_line(gm__bytes lines, gm_status (*visit)(void *context, const json_t *object, const char *where, gm_error *err),
                        void *context, gm_error *err) {
    gm_status status = GM_OK;
    const char *at = lines.data, *all = lines.data + lines.bytes, *end;
    for (int line = 1; status == GM_OK && (end = memchr(at, '\n', (size_t)(all - at))) != NULL; at = end + 1, line++) {
        char where[32];
        json_error_t problem;
        snprintf(where, sizeof where, "line %d", line);
        if (end == at) continue;
        if (end - at > GM__MOST_LINE)
            return gm_fail(err, GM_ERR_RANGE, "%s is longer than %d bytes", where, GM__MOST_LINE);
        json_t *object = json_loadb(at, (size_t)(end - at), JSON_REJECT_DUPLICATES, &problem);
        if (object == NULL) return gm_fail(err, GM_ERR_FORMAT, "%s is no JSON object: %.100s", where, problem.text);
        status = visit(context, object, where, err);
        json_decref(object);
    }
    return status;
}
