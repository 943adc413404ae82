// SPDX-License-Identifier: Apache-2.0
// One picture file as a network reads it, whatever its format.
#include "data/readers.h"

#include <string.h>

static gm_status decode(const char *path, const uint8_t *bytes, size_t count, gm__picture *out, gm_error *err) {
    if (count >= 8 && memcmp(bytes, "\x89PNG", 4) == 0) return gm__png_decode(path, bytes, count, out, err);
    if (count >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0) return gm__jpeg_decode(path, bytes, count, out, err);
    if (count >= 2 && bytes[0] == 'P' && bytes[1] == '6') return gm__ppm_decode(path, bytes, count, out, err);
    return gm_fail(err, GM_ERR_FORMAT, "%.200s: neither PNG nor JPEG nor PPM", path);
}

gm_status gm_picture_read(const char *path, int side, int channels, bool resize, uint8_t *pixels, gm_error *err) {
    uint8_t *bytes = NULL;
    size_t count = 0;
    gm__picture p = {0};
    if (channels != 1 && channels != 3)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "pictures have 1 or 3 channels, the model reads %d", channels);
    size_t area = (size_t)side * (size_t)side;
    uint8_t *rgb = gm_alloc(area, 3);
    gm_status status = rgb ? gm_file_read(path, GM__PICTURE_FILE_MAX, &bytes, &count, err)
                           : gm_fail(err, GM_ERR_MEMORY, "no memory for a picture of %d pixels", side);
    if (!status) status = decode(path, bytes, count, &p, err);
    gm_free(bytes);
    if (!status && !resize && (p.width != side || p.height != side))
        status = gm_fail(err, GM_ERR_ARGUMENT, "%.120s: %dx%d pixels, this subnet reads %dx%d; give --resize to scale its centre square",
                         path, p.width, p.height, side, side);
    int least = gm_min(p.width, p.height);
    gm__rect square = {(p.width - least) / 2, (p.height - least) / 2, least, least};
    if (!status && p.width == side && p.height == side) memcpy(rgb, p.rgb, area * 3);
    else if (!status) status = gm__picture_resize(&p, square, side, rgb, err);
    // grey: the weights of ITU-R BT.601, which PNG and JPEG viewers use; a grey picture stays what it is
    for (size_t i = 0; i < area && !status; i++) {
        const uint8_t *q = rgb + 3 * i;
        if (channels == 3) memcpy(pixels + 3 * i, q, 3);
        else pixels[i] = (uint8_t)((299 * q[0] + 587 * q[1] + 114 * q[2] + 500) / 1000);
    }
    gm__picture_fini(&p);
    gm_free(rgb);
    return status;
}
