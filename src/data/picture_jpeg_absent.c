// SPDX-License-Identifier: Apache-2.0
// Built instead of picture_jpeg.c where libjpeg is missing.
#include "data/readers.h"

gm_status gm__jpeg_decode(const char *file, const uint8_t *bytes, size_t count, gm__picture *out,
                          gm_error *err) {
    (void)bytes;
    (void)count;
    (void)out;
    return gm_fail(err, GM_ERR_UNSUPPORTED,
                   "%s: this build reads no JPEG files; install libjpeg-dev and build again", file);
}
