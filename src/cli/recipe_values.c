// SPDX-License-Identifier: Apache-2.0
// Values of recipe settings: from text with every check, and back to text that reads as the same
// value.
#include "cli.h"
#include "recipe.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {"auto", "f32", "bf16", NULL};
static const char *const bool_names[] = {"true", "false", "yes", "no", "on", "off", NULL};

static int name_index(const char *const *names, const char *text) {
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], text) == 0) return i;
    }
    return -1;
}

static void append(char *text, size_t size, const char *format, ...) GM_PRINTF(3, 4);
static void append(char *text, size_t size, const char *format, ...) {
    size_t used = strlen(text);
    va_list list;
    va_start(list, format);
    vsnprintf(text + used, size - used, format, list);
    va_end(list);
}

static void append_names(char *text, size_t size, const char *const *names) {
    for (int i = 0; names[i] != NULL; i++) append(text, size, "%s%s", i == 0 ? "" : ", ", names[i]);
}

void gm__setting_allowed(const gm__setting *setting, char text[GM__RECIPE_ALLOWED]) {
    text[0] = '\0';
    switch (setting->kind) {
    case GM__SETTING_INT:
        append(text, GM__RECIPE_ALLOWED, "whole number %.0f to %.0f", setting->min, setting->max);
        break;
    case GM__SETTING_SEED:
        append(text, GM__RECIPE_ALLOWED, "whole number 0 to %" PRIu64, UINT64_MAX);
        break;
    case GM__SETTING_FLOAT:
    case GM__SETTING_DOUBLE:
        append(text, GM__RECIPE_ALLOWED, "number %g to %g", setting->min, setting->max);
        break;
    case GM__SETTING_BOOL: append(text, GM__RECIPE_ALLOWED, "true or false"); break;
    case GM__SETTING_NAME: append_names(text, GM__RECIPE_ALLOWED, setting->names); break;
    case GM__SETTING_TEXT:
        if (setting->names != NULL) {
            append_names(text, GM__RECIPE_ALLOWED, setting->names);
        } else {
            append(text, GM__RECIPE_ALLOWED, "text of %d to %d characters", setting->least,
                   setting->capacity - 1);
        }
        break;
    case GM__SETTING_FLOATS:
        append(text, GM__RECIPE_ALLOWED, "list of %d", setting->least);
        if (setting->least != setting->capacity)
            append(text, GM__RECIPE_ALLOWED, " to %d", setting->capacity);
        append(text, GM__RECIPE_ALLOWED, " numbers %g to %g", setting->min, setting->max);
        break;
    case GM__SETTING_CHOICES:
        append(text, GM__RECIPE_ALLOWED, "list of 1 to %d choices", setting->capacity);
        break;
    case GM__SETTING_TYPE: append_names(text, GM__RECIPE_ALLOWED, type_names); break;
    }
}

// Control characters would break the written recipe and terminals.
static bool is_plain_text(const char *text, int least, int capacity) {
    size_t length = strlen(text);
    if (length < (size_t)least || length >= (size_t)capacity) return false;
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) return false;
    }
    return true;
}

static bool apply_floats(const gm__setting *setting, const char *const *texts, uint32_t count,
                         float *out) {
    float values[8];
    if (count < (uint32_t)setting->least || count > (uint32_t)setting->capacity || count > 8)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        double value;
        if (!gm__parse_number(texts[i], setting->min, setting->max, &value)) return false;
        values[i] = (float)value;
    }
    memset(out, 0, (size_t)setting->capacity * sizeof *out);
    memcpy(out, values, count * sizeof *out);
    return true;
}

static bool apply_choices(const gm__setting *setting, const char *const *texts, uint32_t count,
                          gm_train_settings *out) {
    enum { CAPACITY = (int)sizeof out->eval_choices[0] };
    if (count < (uint32_t)setting->least || count > (uint32_t)setting->capacity) return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_plain_text(texts[i], 1, CAPACITY)) return false;
    }
    memset(out->eval_choices, 0, sizeof out->eval_choices);
    for (uint32_t i = 0; i < count; i++) snprintf(out->eval_choices[i], CAPACITY, "%s", texts[i]);
    out->eval_choice_count = (int)count;
    return true;
}

bool gm__setting_apply(const gm__setting *setting, const char *const *texts, uint32_t count,
                       gm__recipe *recipe) {
    void *target = (char *)recipe + setting->offset;
    int64_t integer;
    double number;
    int index;
    if (setting->kind == GM__SETTING_FLOATS) return apply_floats(setting, texts, count, target);
    if (setting->kind == GM__SETTING_CHOICES)
        return apply_choices(setting, texts, count, &recipe->train);
    if (count != 1) return false;
    const char *text = texts[0];
    switch (setting->kind) {
    case GM__SETTING_INT:
        if (!gm__parse_integer(text, (int64_t)setting->min, (int64_t)setting->max, &integer))
            return false;
        *(int *)target = (int)integer;
        return true;
    case GM__SETTING_SEED: return gm__parse_unsigned(text, target);
    case GM__SETTING_FLOAT:
        if (!gm__parse_number(text, setting->min, setting->max, &number)) return false;
        *(float *)target = (float)number;
        return true;
    case GM__SETTING_DOUBLE: return gm__parse_number(text, setting->min, setting->max, target);
    case GM__SETTING_BOOL:
        index = name_index(bool_names, text);
        if (index < 0) return false;
        *(bool *)target = index % 2 == 0;
        return true;
    case GM__SETTING_NAME:
        index = name_index(setting->names, text);
        if (index < 0) return false;
        *(int *)target = setting->values != NULL ? setting->values[index] : index;
        return true;
    case GM__SETTING_TEXT:
        if (setting->names != NULL && name_index(setting->names, text) < 0) return false;
        if (!is_plain_text(text, setting->least, setting->capacity)) return false;
        snprintf(target, (size_t)setting->capacity, "%s", text);
        return true;
    case GM__SETTING_TYPE:
        index = name_index(type_names, text);
        if (index < 0) return false;
        recipe->train.type_auto = index == 0;
        recipe->train.type = index == 2 ? GM_BF16 : GM_F32;
        return true;
    case GM__SETTING_FLOATS:
    case GM__SETTING_CHOICES: break;
    }
    return false;
}

// The shortest decimal that reads back as the same value.
static void append_float(char *text, size_t size, float value) {
    char shortest[GM__TEXT_SHORT];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(shortest, sizeof shortest, "%.*g", digits, (double)value);
        if (strtof(shortest, NULL) == value) break;
    }
    append(text, size, "%s", shortest);
}

static void append_double(char *text, size_t size, double value) {
    char shortest[GM__TEXT_SHORT];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(shortest, sizeof shortest, "%.*g", digits, value);
        if (strtod(shortest, NULL) == value) break;
    }
    append(text, size, "%s", shortest);
}

// Single quotes take everything as it is; a quote itself is doubled.
static void append_quoted(char *text, size_t size, const char *value) {
    append(text, size, "'");
    for (; *value != '\0'; value++) append(text, size, *value == '\'' ? "''" : "%c", *value);
    append(text, size, "'");
}

void gm__setting_value(const gm__setting *setting, const gm__recipe *recipe, char *text,
                       size_t size) {
    const void *source = (const char *)recipe + setting->offset;
    text[0] = '\0';
    switch (setting->kind) {
    case GM__SETTING_INT: append(text, size, "%d", *(const int *)source); break;
    case GM__SETTING_SEED: append(text, size, "%" PRIu64, *(const uint64_t *)source); break;
    case GM__SETTING_FLOAT: append_float(text, size, *(const float *)source); break;
    case GM__SETTING_DOUBLE: append_double(text, size, *(const double *)source); break;
    case GM__SETTING_BOOL:
        append(text, size, "%s", *(const bool *)source ? "true" : "false");
        break;
    case GM__SETTING_NAME:
        for (int i = 0; setting->names[i] != NULL; i++) {
            int value = setting->values != NULL ? setting->values[i] : i;
            if (value == *(const int *)source) append(text, size, "%s", setting->names[i]);
        }
        break;
    case GM__SETTING_TEXT: append_quoted(text, size, source); break;
    case GM__SETTING_FLOATS:
        for (int i = 0; i < setting->capacity; i++) {
            append(text, size, "%s", i == 0 ? "[" : ", ");
            append_float(text, size, ((const float *)source)[i]);
        }
        append(text, size, "]");
        break;
    case GM__SETTING_CHOICES:
        if (recipe->train.eval_choice_count == 0) append(text, size, "[");
        for (int i = 0; i < recipe->train.eval_choice_count; i++) {
            append(text, size, "%s", i == 0 ? "[" : ", ");
            append_quoted(text, size, recipe->train.eval_choices[i]);
        }
        append(text, size, "]");
        break;
    case GM__SETTING_TYPE:
        append(text, size, "%s",
               type_names[recipe->train.type_auto         ? 0
                          : recipe->train.type == GM_BF16 ? 2
                                                          : 1]);
        break;
    }
}
