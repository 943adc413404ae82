// SPDX-License-Identifier: Apache-2.0
// Built instead of picture_png.c where libpng is missing.
#include "data/readers.h"

gm_status gm__png_decode(const char *file, const uint8_t *bytes, size_t count, gm__picture *out,
                         gm_error *err) {
    (void)bytes;
    (void)count;
    (void)out;
    return gm_fail(err, GM_ERR_UNSUPPORTED,
                   "%s: this build reads no PNG files; install libpng-dev and build again", file);
}
