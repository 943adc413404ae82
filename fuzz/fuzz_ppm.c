// SPDX-License-Identifier: Apache-2.0
// GTSRB: a PPM picture, cut and resized, or an annotation file.
#include <string.h>

#include "data/readers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void picture(const uint8_t *data, size_t bytes) {
    gm__picture p;
    gm_error err;
    uint8_t out[8 * 8 * 3];
    if (gm__ppm_decode("input", data, bytes, &p, &err) != GM_OK) return;
    if (p.width < 1 || p.height < 1 || (size_t)p.width * (size_t)p.height * 3 >= bytes)
        __builtin_trap();
    gm__rect part = {p.width / 3, p.height / 3, (p.width + 2) / 3, (p.height + 2) / 3};
    gm__picture_resize(&p, part, 8, out, &err);
    gm__picture_fini(&p);
}

static void annotations(const uint8_t *data, size_t bytes) {
    gm__gtsrb_row *rows;
    gm_error err;
    int count;
    char *text = gm_alloc(bytes + 1, 1); // the reader wants a NUL behind it
    if (!text) return;
    memcpy(text, data, bytes);
    if (gm__gtsrb_csv_parse("input", text, bytes, &rows, &count, &err) == GM_OK)
        for (int i = 0; i < count; i++)
            if (strchr(rows[i].file, '/') || rows[i].label < 0 || rows[i].label > 42 ||
                rows[i].sign.width < 1)
                __builtin_trap();
    gm_free(rows);
    gm_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    picture(data, bytes);
    annotations(data, bytes);
    return 0;
}
