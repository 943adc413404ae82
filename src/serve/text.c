// SPDX-License-Identifier: Apache-2.0
#include "serve/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void gm__text_add(gm__text *t, const void *data, size_t bytes) {
    if (t->failed || bytes == 0) return;
    if (t->room - t->bytes < bytes) {
        size_t room = 0;
        if (!gm_add_size(t->bytes, bytes, &room) || !gm_mul_size(room, 2, &room)) {
            t->failed = true;
            return;
        }
        if (room < 512) room = 512;
        char *grown = realloc(t->data, room);
        if (grown == NULL) {
            t->failed = true;
            return;
        }
        t->data = grown;
        t->room = room;
    }
    memcpy(t->data + t->bytes, data, bytes);
    t->bytes += bytes;
}

void gm__text_print(gm__text *t, const char *format, ...) {
    char line[1001];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    if (n < 0 || (size_t)n >= sizeof line) {
        t->failed = true;
        return;
    }
    gm__text_add(t, line, (size_t)n);
}

void gm__text_json(gm__text *t, const char *string) {
    gm__text_add(t, "\"", 1);
    for (const char *s = string; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            char pair[2] = {'\\', *s};
            gm__text_add(t, pair, 2);
        } else if (c < 0x20) {
            gm__text_print(t, "\\u%04x", c);
        } else {
            gm__text_add(t, s, 1);
        }
    }
    gm__text_add(t, "\"", 1);
}

void gm__text_number(gm__text *t, double value) {
    if (isfinite(value))
        gm__text_print(t, "%.9g", value);
    else
        gm__text_add(t, "null", 4);
}

void gm__text_fini(gm__text *t) {
    free(t->data);
    *t = (gm__text){0};
}
