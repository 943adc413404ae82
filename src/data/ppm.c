// SPDX-License-Identifier: Apache-2.0
// PPM, binary form (P6, 8 bits): "P6", width, height, 255 as text with white space and # comments
// between, one white space, then RGB bytes. https://netpbm.sourceforge.net/doc/ppm.html describes
// it.
#include "data/readers.h"

#include <string.h>

void gm__picture_fini(gm__picture *p) {
    gm_free(p->rgb);
    *p = (gm__picture){0};
}

gm_status gm__picture_init(gm__picture *p, const char *file, size_t at, uint32_t width,
                           uint32_t height, gm_error *err) {
    *p = (gm__picture){0};
    if (width < 1 || height < 1 || width > GM__DECODE_SIDE_MAX || height > GM__DECODE_SIDE_MAX ||
        (uint64_t)width * height > GM__DECODE_PIXELS_MAX)
        return gm_fail(
            err, GM_ERR_FORMAT,
            "%s: offset %zu: picture of %u x %u; sides of 1 to %d and %d pixels are supported",
            file, at, width, height, GM__DECODE_SIDE_MAX, GM__DECODE_PIXELS_MAX);
    p->rgb = gm_alloc((size_t)width * height, 3);
    if (!p->rgb)
        return gm_fail(err, GM_ERR_MEMORY, "%s: out of memory for %u x %u pixels", file, width,
                       height);
    p->width = (int)width;
    p->height = (int)height;
    return GM_OK;
}

static bool is_space(uint8_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// The next decimal number from *at, which ends up behind it. False: none, or too large.
static bool number(const uint8_t *bytes, size_t count, size_t *at, uint32_t *value) {
    size_t i = *at;
    while (i < count && (is_space(bytes[i]) || bytes[i] == '#')) {
        if (bytes[i] == '#')
            while (i < count && bytes[i] != '\n') i++;
        else
            i++;
    }
    *at = i;
    *value = 0;
    for (; i < count && bytes[i] >= '0' && bytes[i] <= '9'; i++) {
        *value = *value * 10 + (uint32_t)(bytes[i] - '0');
        if (*value > 65535) return false;
    }
    bool found = i > *at;
    *at = i;
    return found;
}

gm_status gm__ppm_decode(const char *file, const uint8_t *bytes, size_t count, gm__picture *out,
                         gm_error *err) {
    *out = (gm__picture){0};
    if (count < 2 || bytes[0] != 'P' || bytes[1] != '6')
        return gm_fail(err, GM_ERR_FORMAT, "%s: offset 0: not a binary PPM (P6)", file);
    static const char *const field[3] = {"width", "height", "maximum"};
    uint32_t value[3];
    size_t at = 2;
    for (int i = 0; i < 3; i++) {
        if (at >= count || (!is_space(bytes[at]) && bytes[at] != '#') ||
            !number(bytes, count, &at, &value[i]))
            return gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: no valid %s in the PPM header",
                           file, at, field[i]);
    }
    if (value[2] != 255)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "%s: offset %zu: maximum %u; only 255 is supported",
                       file, at, value[2]);
    if (at >= count || !is_space(bytes[at]))
        return gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: the PPM header does not end here", file,
                       at);
    at++;
    uint64_t need = (uint64_t)value[0] * value[1] * 3; // below 3 * 2^32
    if (count - at < need)
        return gm_fail(err, GM_ERR_FORMAT, "%s: cut at offset %zu: %u x %u pixels need %llu bytes",
                       file, count, value[0], value[1], (unsigned long long)(at + need));
    gm_status status = gm__picture_init(out, file, 2, value[0], value[1], err);
    if (status == GM_OK) memcpy(out->rgb, bytes + at, (size_t)need);
    return status;
}
