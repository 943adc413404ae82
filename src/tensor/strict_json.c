// SPDX-License-Identifier: Apache-2.0
#include "tensor/strict_json.h"

#include <string.h>

gm_status gm__json_fail(const gm__json *j, gm_error *err, const char *expected) {
    if (j->at >= j->size)
        return gm_fail(err, GM_ERR_FORMAT, "%s: header ends at byte %zu where %s is needed", j->what, j->base + j->at,
                       expected);
    return gm_fail(err, GM_ERR_FORMAT, "%s: header byte %zu (0x%02x): %s is needed", j->what, j->base + j->at,
                   j->text[j->at], expected);
}

void gm__json_blanks(gm__json *j) {
    while (j->at < j->size && (j->text[j->at] == ' ' || j->text[j->at] == '\t' || j->text[j->at] == '\n' ||
                               j->text[j->at] == '\r'))
        j->at++;
}

bool gm__json_accept(gm__json *j, char c) {
    gm__json_blanks(j);
    if (j->at >= j->size || j->text[j->at] != (uint8_t)c) return false;
    j->at++;
    return true;
}

gm_status gm__json_expect(gm__json *j, char c, gm_error *err) {
    const char expected[] = {'\'', c, '\'', '\0'};
    return gm__json_accept(j, c) ? GM_OK : gm__json_fail(j, err, expected);
}

size_t gm__utf8_length(const uint8_t *s, size_t left) {
    if (left == 0) return 0;
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > left) return 0;
    // shortest forms only, no surrogates, nothing above U+10FFFF: all decided by the second byte
    uint8_t low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80, high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < n; i++)
        if (s[i] < 0x80 || s[i] > 0xbf) return 0;
    return n;
}

static bool hex4(const gm__json *j, size_t at, uint32_t *out) {
    if (j->size - at < 4) return false;
    *out = 0;
    for (size_t i = at; i < at + 4; i++) {
        uint8_t c = j->text[i];
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10 : 16;
        if (digit > 15) return false;
        *out = *out << 4 | digit;
    }
    return true;
}

// "\uXXXX" or a surrogate pair of them, j->at behind the first 'u'.
static bool unicode_escape(gm__json *j, uint32_t *code) {
    uint32_t low;
    if (!hex4(j, j->at, code)) return false;
    j->at += 4;
    if (*code >= 0xdc00 && *code <= 0xdfff) return false;
    if (*code < 0xd800 || *code > 0xdbff) return true;
    if (j->size - j->at < 6 || j->text[j->at] != '\\' || j->text[j->at + 1] != 'u' || !hex4(j, j->at + 2, &low) ||
        low < 0xdc00 || low > 0xdfff)
        return false;
    j->at += 6;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static size_t encode_utf8(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(n == 2 ? 0xc0 | code : n == 3 ? 0xe0 | code : 0xf0 | code);
    return n;
}

// One character, escaped or not, into out; 0 on a malformed one.
static size_t next_character(gm__json *j, char out[4]) {
    if (j->text[j->at] < 0x20) return 0;
    if (j->text[j->at] != '\\') {
        size_t n = gm__utf8_length(j->text + j->at, j->size - j->at);
        memcpy(out, j->text + j->at, n);
        j->at += n;
        return n;
    }
    static const char escapes[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (j->size - j->at < 2) return 0;
    uint8_t c = j->text[j->at + 1];
    uint32_t code;
    if (c == 'u') {
        size_t start = j->at;
        j->at += 2;
        if (unicode_escape(j, &code)) return encode_utf8(code, out);
        j->at = start;
        return 0;
    }
    const char *found = c ? strchr(escapes, c) : NULL;
    if (!found) return 0;
    out[0] = values[found - escapes];
    j->at += 2;
    return 1;
}

static bool is_control(const char *c, size_t n) {
    // C0, DEL, and C1 (U+0080 to U+009F), which terminals obey as well
    return (n == 1 && ((uint8_t)c[0] < 0x20 || c[0] == 0x7f)) ||
           (n == 2 && (uint8_t)c[0] == 0xc2 && (uint8_t)c[1] < 0xa0);
}

gm_status gm__json_string(gm__json *j, size_t max_bytes, bool names, const char **out, gm_error *err) {
    gm_status status = gm__json_expect(j, '"', err);
    if (status) return status;
    char *start = j->strings + j->strings_used;
    size_t used = 0;
    while (j->at < j->size && j->text[j->at] != '"') {
        char c[4];
        size_t n = next_character(j, c);
        if (n == 0) return gm__json_fail(j, err, "a valid character of a string");
        if ((n == 1 && c[0] == '\0') || (names && is_control(c, n)))
            return gm__json_fail(j, err, "a string without control codes before this");
        if (n > max_bytes - used)
            return gm_fail(err, GM_ERR_FORMAT, "%s: header byte %zu: a string is longer than %zu bytes", j->what,
                           j->base + j->at, max_bytes);
        memcpy(start + used, c, n);
        used += n;
    }
    if (j->at >= j->size) return gm__json_fail(j, err, "the end of a string");
    j->at++;
    start[used] = '\0';
    j->strings_used += used + 1; // at most what the text took: two quotes paid for the NUL
    *out = start;
    return GM_OK;
}

gm_status gm__json_whole(gm__json *j, uint64_t *out, gm_error *err) {
    const uint64_t most = (uint64_t)1 << 53;
    gm__json_blanks(j);
    size_t start = j->at;
    uint64_t value = 0;
    while (j->at < j->size && j->text[j->at] >= '0' && j->text[j->at] <= '9') {
        value = value * 10 + (uint64_t)(j->text[j->at] - '0');
        if (value > most) return gm__json_fail(j, err, "a number of at most 2^53");
        j->at++;
    }
    if (j->at == start) return gm__json_fail(j, err, "a whole number without sign");
    if (j->text[start] == '0' && j->at - start > 1) return gm__json_fail(j, err, "a number without leading zeros");
    *out = value;
    return GM_OK;
}
