// SPDX-License-Identifier: Apache-2.0
// Pictures of a folder: PNG and JPEG.
#include "data/readers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void use(gm_status status, gm__picture *p) {
    gm_error err;
    uint8_t out[4 * 4 * 3];
    if (status != GM_OK && p->rgb) __builtin_trap();
    if (status == GM_OK) gm__picture_resize(p, (gm__rect){0, 0, p->width, p->height}, 4, out, &err);
    gm__picture_fini(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gm__picture p;
    gm_error err;
    use(gm__png_decode("input", data, bytes, &p, &err), &p);
    use(gm__jpeg_decode("input", data, bytes, &p, &err), &p);
    return 0;
}
