// SPDX-License-Identifier: Apache-2.0
#include "serve/json_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

gm_status gm__scan_fail(const gm__scan *s, gm_error *err, const char *problem) {
    return gm_fail(err, GM_ERR_FORMAT, "the JSON of the request: %s at byte %zu", problem, (size_t)(s->at - s->start));
}

static void blanks(gm__scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r')) s->at++;
}

char gm__scan_peek(gm__scan *s) {
    blanks(s);
    return s->at < s->end ? *s->at : '\0';
}

gm_status gm__scan_expect(gm__scan *s, char c, gm_error *err) {
    if (gm__scan_peek(s) != c || s->at == s->end) {
        char problem[] = "expected 'x'";
        problem[10] = c;
        return gm__scan_fail(s, err, problem);
    }
    s->at++;
    return GM_OK;
}

gm_status gm__scan_more(gm__scan *s, char close, bool *first, bool *more, gm_error *err) {
    char c = gm__scan_peek(s);
    *more = false;
    if (c == close && s->at < s->end) {
        s->at++;
        return GM_OK;
    }
    if (!*first) {
        gm_status status = gm__scan_expect(s, ',', err);
        if (status != GM_OK) return status;
    }
    *first = false;
    *more = true;
    return GM_OK;
}

// Length of the valid UTF-8 sequence at s (1 to 4), 0 if there is none.
static size_t utf8(const unsigned char *s, size_t left) {
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || left < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static bool hex4(gm__scan *s, uint32_t *out) {
    if (s->end - s->at < 4) return false;
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = s->at[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16u;
        if (digit > 15) return false;
        v = v * 16 + digit;
    }
    s->at += 4;
    *out = v;
    return true;
}

static size_t encode(uint32_t v, char out[4]) {
    if (v < 0x80) return out[0] = (char)v, 1;
    if (v < 0x800) return out[0] = (char)(0xc0 | (v >> 6)), out[1] = (char)(0x80 | (v & 63)), 2;
    if (v < 0x10000) {
        out[0] = (char)(0xe0 | (v >> 12));
        out[1] = (char)(0x80 | ((v >> 6) & 63));
        out[2] = (char)(0x80 | (v & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | (v >> 18));
    out[1] = (char)(0x80 | ((v >> 12) & 63));
    out[2] = (char)(0x80 | ((v >> 6) & 63));
    out[3] = (char)(0x80 | (v & 63));
    return 4;
}

// What stands behind a backslash; 0 bytes: no such escape.
static size_t escape(gm__scan *s, char out[4]) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->at == s->end) return 0;
    char c = *s->at++;
    if (c != 'u') {
        const char *found = c == '\0' ? NULL : strchr(from, c);
        if (found == NULL) return 0;
        out[0] = to[found - from];
        return 1;
    }
    uint32_t v = 0, low = 0;
    if (!hex4(s, &v) || v == 0 || (v >= 0xdc00 && v < 0xe000)) return 0;
    if (v >= 0xd800 && v < 0xdc00) {
        if (s->end - s->at < 6 || s->at[0] != '\\' || s->at[1] != 'u') return 0;
        s->at += 2;
        if (!hex4(s, &low) || low < 0xdc00 || low > 0xdfff) return 0;
        v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
    }
    return encode(v, out);
}

// out NULL: only checked.
static gm_status string(gm__scan *s, char *out, size_t room, gm_error *err) {
    gm_status status = gm__scan_expect(s, '"', err);
    if (status != GM_OK) return status;
    size_t used = 0;
    for (;;) {
        if (s->at == s->end) return gm__scan_fail(s, err, "a string without its end");
        unsigned char c = (unsigned char)*s->at;
        char piece[4];
        size_t n;
        if (c == '"') break;
        if (c < 0x20) return gm__scan_fail(s, err, "a control character in a string");
        if (c == '\\') {
            s->at++;
            n = escape(s, piece);
            if (n == 0) return gm__scan_fail(s, err, "an escape that JSON does not have");
        } else {
            n = utf8((const unsigned char *)s->at, (size_t)(s->end - s->at));
            if (n == 0) return gm__scan_fail(s, err, "bytes that are not UTF-8");
            memcpy(piece, s->at, n);
            s->at += n;
        }
        if (out != NULL) {
            if (used + n + 1 > room) return gm__scan_fail(s, err, "a string that is too long");
            memcpy(out + used, piece, n);
        }
        used += n;
    }
    s->at++;
    if (out != NULL) out[used] = '\0';
    return GM_OK;
}

gm_status gm__scan_string(gm__scan *s, char *out, size_t room, gm_error *err) { return string(s, out, room, err); }

gm_status gm__scan_key(gm__scan *s, char *out, size_t room, gm_error *err) {
    gm_status status = string(s, out, room, err);
    return status != GM_OK ? status : gm__scan_expect(s, ':', err);
}

// The text of a number is [at, *end); false when JSON has no such number.
static bool number_text(const gm__scan *s, const char **end, uint64_t *mantissa, int *exponent, int *digits, bool *whole) {
    const char *p = s->at, *stop = s->end;
    if (p < stop && *p == '-') p++;
    if (p == stop || *p < '0' || *p > '9') return false;
    if (*p == '0' && stop - p > 1 && p[1] >= '0' && p[1] <= '9') return false;
    uint64_t m = 0;
    int count = 0, scale = 0;
    *whole = true;
    for (; p < stop && *p >= '0' && *p <= '9'; p++, count++)
        if (count < 19) m = m * 10 + (uint64_t)(*p - '0');
    if (p < stop && *p == '.') {
        *whole = false;
        const char *begin = ++p;
        for (; p < stop && *p >= '0' && *p <= '9'; p++, count++, scale--)
            if (count < 19) m = m * 10 + (uint64_t)(*p - '0');
        if (p == begin) return false;
    }
    if (p < stop && (*p == 'e' || *p == 'E')) {
        *whole = false;
        bool negative = false;
        int e = 0;
        p++;
        if (p < stop && (*p == '+' || *p == '-')) negative = *p++ == '-';
        const char *begin = p;
        for (; p < stop && *p >= '0' && *p <= '9'; p++)
            if (e < 10000) e = e * 10 + (*p - '0');
        if (p == begin) return false;
        scale += negative ? -e : e;
    }
    *end = p;
    *mantissa = m;
    *exponent = scale;
    *digits = count;
    return true;
}

gm_status gm__scan_number(gm__scan *s, double *out, bool *whole, gm_error *err) {
    // Powers of ten that a double holds exactly: with a mantissa below 2^53 one multiplication or division rounds right.
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *end = NULL;
    uint64_t m = 0;
    int e = 0, digits = 0;
    bool is_whole = false;
    if (gm__scan_peek(s) == '\0' || !number_text(s, &end, &m, &e, &digits, &is_whole))
        return gm__scan_fail(s, err, "expected a number");
    double value;
    if (digits <= 19 && m <= (1ull << 53) && e >= -22 && e <= 22) {
        value = e < 0 ? (double)m / power[-e] : (double)m * power[e];
        if (*s->at == '-') value = -value;
    } else {
        char text[64];
        size_t n = (size_t)(end - s->at);
        if (n >= sizeof text) return gm__scan_fail(s, err, "a number of more than 63 characters");
        memcpy(text, s->at, n);
        text[n] = '\0';
        value = strtod(text, NULL);
        if (!isfinite(value)) return gm__scan_fail(s, err, "a number beyond the range of FP64");
    }
    if (whole != NULL) *whole = is_whole && fabs(value) <= 9007199254740992.0;
    s->at = end;
    *out = value;
    return GM_OK;
}

gm_status gm__scan_whole(gm__scan *s, int64_t min, int64_t max, const char *what, int64_t *out, gm_error *err) {
    double value = 0;
    bool whole = false;
    gm_status status = gm__scan_number(s, &value, &whole, err);
    if (status != GM_OK) return status;
    if (!whole || value < (double)min || value > (double)max)
        return gm_fail(err, GM_ERR_RANGE, "%.60s must be a whole number from %lld to %lld", what, (long long)min,
                       (long long)max);
    *out = (int64_t)value;
    return GM_OK;
}

static bool word(gm__scan *s, const char *text) {
    size_t n = strlen(text);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, text, n) != 0) return false;
    s->at += n;
    return true;
}

gm_status gm__scan_bool(gm__scan *s, bool *out, gm_error *err) {
    (void)gm__scan_peek(s);
    if (word(s, "true")) return *out = true, GM_OK;
    if (word(s, "false")) return *out = false, GM_OK;
    return gm__scan_fail(s, err, "expected true or false");
}

static gm_status skip_scalar(gm__scan *s, char c, gm_error *err) {
    double ignored;
    if (c == '"') return string(s, NULL, 0, err);
    if (c == 't' || c == 'f' || c == 'n') {
        if (word(s, "true") || word(s, "false") || word(s, "null")) return GM_OK;
        return gm__scan_fail(s, err, "expected a value");
    }
    return gm__scan_number(s, &ignored, NULL, err);
}

gm_status gm__scan_skip(gm__scan *s, int depth, gm_error *err) {
    bool object[GM__SCAN_DEPTH], first[GM__SCAN_DEPTH];
    int open = 0;
    do {
        gm_status status = GM_OK;
        if (open > 0) {
            bool more = false;
            status = gm__scan_more(s, object[open - 1] ? '}' : ']', &first[open - 1], &more, err);
            if (status != GM_OK) return status;
            if (!more) {
                open--;
                continue;
            }
            if (object[open - 1]) {
                status = string(s, NULL, 0, err);
                if (status == GM_OK) status = gm__scan_expect(s, ':', err);
                if (status != GM_OK) return status;
            }
        }
        char c = gm__scan_peek(s);
        if (c == '{' || c == '[') {
            if (depth + open >= GM__SCAN_DEPTH) return gm__scan_fail(s, err, "values nested more than 16 deep");
            object[open] = c == '{';
            first[open++] = true;
            s->at++;
        } else {
            status = skip_scalar(s, c, err);
        }
        if (status != GM_OK) return status;
    } while (open > 0);
    return GM_OK;
}

gm_status gm__scan_end(gm__scan *s, gm_error *err) {
    blanks(s);
    return s->at == s->end ? GM_OK : gm__scan_fail(s, err, "something after the end");
}
