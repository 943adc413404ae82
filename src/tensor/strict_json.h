// SPDX-License-Identifier: Apache-2.0
// A reader for the JSON subset of safetensors headers: objects, arrays, strings and whole numbers, each pulled in the
// order that the format demands. Nothing recurses; there is no tree. Stricter than JSON on purpose (specs: hardening 2.2).
#ifndef GAMUT_TENSOR_STRICT_JSON_H
#define GAMUT_TENSOR_STRICT_JSON_H

#include <gamut/base.h>

typedef struct gm__json {
    const uint8_t *text;
    size_t size, at;
    const char *what;  // the file, for errors
    size_t base;       // offset of text in the file, for errors
    char *strings;     // decoded strings, each with its NUL; at least size + 1 bytes
    size_t strings_used;
} gm__json;

gm_status gm__json_fail(const gm__json *j, gm_error *err, const char *expected);
void gm__json_blanks(gm__json *j);
// After blanks: consumes c when it is next.
bool gm__json_accept(gm__json *j, char c);
gm_status gm__json_expect(gm__json *j, char c, gm_error *err);
// A string of at most max_bytes after decoding, without NUL. Names (names = true) have no control codes at all.
gm_status gm__json_string(gm__json *j, size_t max_bytes, bool names, const char **out, gm_error *err);
// 0 to 2^53: digits only, no leading zero, no sign, fraction or exponent.
gm_status gm__json_whole(gm__json *j, uint64_t *out, gm_error *err);
// Length in bytes (1 to 4) of the valid UTF-8 sequence at s, 0 if there is none in `left` bytes.
size_t gm__utf8_length(const uint8_t *s, size_t left);

#endif
