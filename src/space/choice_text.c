// SPDX-License-Identifier: Apache-2.0
// space: the text form of choices, e.g. "d=2,3,4 e=0.25,0.35 r=224", and its short words.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "space/space_private.h"

// Appends to text; false when it does not fit.
static bool append(char *text, size_t size, size_t *used, const char *format, ...) GM_PRINTF(4, 5);
static bool append(char *text, size_t size, size_t *used, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + *used, size - *used, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= size - *used) return false;
    *used += (size_t)n;
    return true;
}

gm_status gm_choice_print(const gm_space *space, const gm_choice *choice, char *text, size_t size, gm_error *err) {
    gm_choice c = gm_choice_canonical(space, *choice);
    size_t used = 0;
    bool fits = size > 0;
    if (fits) text[0] = '\0';
    for (int k = 0; fits && k < space->knobs; k++) {
        const gm_knob *knob = &space->knob[k];
        if (c.index[k] >= knob->count)
            return gm_fail(err, GM_ERR_RANGE, "choice: knob %s has index %d, it has %d values", knob->name, c.index[k],
                           knob->count);
        bool first = k == 0 || knob[-1].group != knob->group;
        fits = (first ? append(text, size, &used, "%s%s=", k ? " " : "", space->group[knob->group].name)
                      : append(text, size, &used, ",")) &&
               append(text, size, &used, "%.9g", knob->values[c.index[k]]);
    }
    if (!fits) return gm_fail(err, GM_ERR_RANGE, "text of a choice: a buffer of %zu bytes is too small", size);
    return GM_OK;
}

// "2, 3, 4"; ends with "..." when it does not fit.
static const char *allowed(const gm_knob *knob, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < knob->count; i++)
        if (!append(text, size - 4, &used, "%s%.9g", i ? ", " : "", knob->values[i])) {
            snprintf(text + used, size - used, "...");
            break;
        }
    return text;
}

static gm_status set_value(const gm_space *space, int k, const char *word, size_t length, gm_choice *out,
                           gm_error *err) {
    const gm_knob *knob = &space->knob[k];
    char copy[32], list[160], *end = copy;
    double value = NAN;
    if (length > 0 && length < sizeof copy) {
        memcpy(copy, word, length);
        copy[length] = '\0';
        // strtod also reads hexadecimal, "inf" and leading blanks: none of these is a value
        if (strspn(copy, "0123456789.+-e") == length) value = strtod(copy, &end);
        if (*end != '\0') value = NAN;
    }
    for (int i = 0; i < knob->count; i++)
        if (fabs(value - knob->values[i]) <= 1e-9 * fabs(knob->values[i])) {
            out->index[k] = (uint8_t)i;
            return GM_OK;
        }
    return gm_fail(err, GM_ERR_ARGUMENT, "choice: %s=%.*s is not possible, allowed: %s", knob->name,
                   (int)(length < 24 ? length : 24), word, allowed(knob, list, sizeof list));
}

static const char *group_list(const gm_space *space, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (int g = 0; g < space->groups; g++)
        if (!append(text, size, &used, "%s%s (%s)", g ? ", " : "", space->group[g].name, space->group[g].kind)) break;
    return text;
}

// "d=2,3,4" or (single) "d=4": one group with its values. seen: bit per group.
static gm_status parse_group(const gm_space *space, const char *word, size_t length, bool single, unsigned *seen,
                             gm_choice *out, gm_error *err) {
    char list[160];
    const char *equals = memchr(word, '=', length);
    int shown = (int)(length < 24 ? length : 24);
    if (!equals)
        return gm_fail(err, GM_ERR_ARGUMENT,
                       "choice: '%.*s' is no choice: give max, min, random:SEED, uniform:..., or GROUP=VALUES, groups: %s",
                       shown, word, group_list(space, list, sizeof list));
    size_t name = (size_t)(equals - word);
    int group = -1, first = -1, knobs = 0;
    for (int g = 0; g < space->groups; g++)
        if (strlen(space->group[g].name) == name && memcmp(space->group[g].name, word, name) == 0) group = g;
    if (group < 0)
        return gm_fail(err, GM_ERR_ARGUMENT, "choice: unknown group '%.*s', allowed: %s",
                       (int)(name < 24 ? name : 24), word, group_list(space, list, sizeof list));
    if (*seen & 1u << group)
        return gm_fail(err, GM_ERR_ARGUMENT, "choice: group %s is given twice", space->group[group].name);
    *seen |= 1u << group;
    for (int k = 0; k < space->knobs; k++)
        if (space->knob[k].group == group) {
            if (first < 0) first = k;
            knobs++;
        }

    const char *value = equals + 1, *end = word + length;
    int values = 1;
    for (const char *c = value; c < end; c++) values += *c == ',';
    if (values != knobs && values != 1)
        return gm_fail(err, GM_ERR_ARGUMENT, "choice: group %s has %d values, it needs %d (or one for all)",
                       space->group[group].name, values, knobs);
    if (single && values != 1)
        return gm_fail(err, GM_ERR_ARGUMENT, "choice: 'uniform' takes one value for group %s",
                       space->group[group].name);
    for (int i = 0; i < knobs; i++) {
        const char *comma = memchr(value, ',', (size_t)(end - value));
        gm_status status =
            set_value(space, first + i, value, (size_t)((comma ? comma : end) - value), out, err);
        if (status) return status;
        if (comma) value = comma + 1;
    }
    return GM_OK;
}

static gm_status parse_random(const gm_space *space, const char *seed, gm_choice *out, gm_error *err) {
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(seed, &end, 10);
    if (seed[0] < '0' || seed[0] > '9' || *end != '\0' || errno)
        return gm_fail(err, GM_ERR_ARGUMENT, "choice: 'random:%.24s' needs a whole number from 0 to 2^64-1", seed);
    gm_rng rng = gm_rng_keyed((uint64_t)number, 0, 0, GM_RNG_USER);
    *out = gm_choice_random(space, &rng);
    return GM_OK;
}

gm_status gm_choice_parse(const gm_space *space, const char *text, gm_choice *out, gm_error *err) {
    static const char random[] = "random:", uniform[] = "uniform:", blanks[] = " \t\n";
    text += strspn(text, blanks);
    if (strncmp(text, random, sizeof random - 1) == 0) return parse_random(space, text + sizeof random - 1, out, err);
    bool single = strncmp(text, uniform, sizeof uniform - 1) == 0;
    const char *separators = single ? "," : blanks;
    if (single) text += sizeof uniform - 1;

    gm_choice c = {{0}};
    for (int k = 0; k < space->knobs; k++) c.index[k] = (uint8_t)(space->knob[k].count - 1);
    size_t length = strlen(text);
    while (length > 0 && strchr(blanks, text[length - 1])) length--;
    if (!single && length == 3 && memcmp(text, "min", 3) == 0) c = gm_choice_min(space);
    else if (single || length != 3 || memcmp(text, "max", 3) != 0) {
        unsigned seen = 0;
        size_t at = 0;
        do {
            size_t word = strcspn(text + at, separators);
            if (word > length - at) word = length - at;
            gm_status status = parse_group(space, text + at, word, single, &seen, &c, err);
            if (status) return status;
            at += word;
            if (at < length) at += single ? 1 : strspn(text + at, blanks);
        } while (at < length);
    }
    *out = gm_choice_canonical(space, c);
    return GM_OK;
}
