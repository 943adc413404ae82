// SPDX-License-Identifier: Apache-2.0
// A growing byte buffer from malloc (the HTTP library frees bodies with free). After a failed allocation it stays failed
// and swallows what is added.
#ifndef GAMUT_SERVE_TEXT_H
#define GAMUT_SERVE_TEXT_H

#include <gamut/base.h>

typedef struct gm__text {
    char *data;
    size_t bytes, room;
    bool failed;
} gm__text;

void gm__text_add(gm__text *t, const void *data, size_t bytes);
void gm__text_print(gm__text *t, const char *format, ...) GM_PRINTF(2, 3); // at most 1000 characters
void gm__text_json(gm__text *t, const char *string);                       // quoted and escaped
// A number as JSON has it: null when not finite.
void gm__text_number(gm__text *t, double value);
void gm__text_fini(gm__text *t);

#endif
