// SPDX-License-Identifier: Apache-2.0
// Pulls values out of JSON text in place: no tree, no allocation, no recursion. Why not jansson, which reads everything
// else: it makes a heap object of every number, and one request holds 150,000 of them; all requests share a thread.
#ifndef GAMUT_SERVE_JSON_SCAN_H
#define GAMUT_SERVE_JSON_SCAN_H

#include <gamut/base.h>

enum { GM__SCAN_DEPTH = 16 }; // specs: hardening 5.2

typedef struct gm__scan {
    const char *start, *at, *end;
} gm__scan;

static inline gm__scan gm__scan_of(const char *text, size_t bytes) {
    return (gm__scan){text, text, text + bytes};
}
// "... at byte N"; returns GM_ERR_FORMAT
gm_status gm__scan_fail(const gm__scan *s, gm_error *err, const char *problem);
char gm__scan_peek(gm__scan *s); // after blanks; 0 at the end
gm_status gm__scan_expect(gm__scan *s, char c, gm_error *err);
// Inside an object or array whose opening was consumed: *more says whether a member follows; the closing mark is consumed.
// *first starts as true.
gm_status gm__scan_more(gm__scan *s, char close, bool *first, bool *more, gm_error *err);
// A string, decoded to UTF-8 with a NUL, of less than `room` bytes and without NUL inside.
gm_status gm__scan_string(gm__scan *s, char *out, size_t room, gm_error *err);
// A key and its colon.
gm_status gm__scan_key(gm__scan *s, char *out, size_t room, gm_error *err);
// A finite number; *whole (may be NULL): written without fraction and exponent and within +-2^53.
gm_status gm__scan_number(gm__scan *s, double *out, bool *whole, gm_error *err);
gm_status gm__scan_whole(gm__scan *s, int64_t min, int64_t max, const char *what, int64_t *out, gm_error *err);
gm_status gm__scan_bool(gm__scan *s, bool *out, gm_error *err);
// Any one value, checked for its form, nested at most GM__SCAN_DEPTH deep below `depth`.
gm_status gm__scan_skip(gm__scan *s, int depth, gm_error *err);
gm_status gm__scan_end(gm__scan *s, gm_error *err); // nothing but blanks is left

#endif
