// SPDX-License-Identifier: Apache-2.0
// Inference requests: any bytes are read or refused with a reason, and what was read fits its images. The first two bytes
// say how much of the rest is JSON (0: all).
#include "serve/infer_request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    enum { SIDE = 16, IMAGES = 4 };
    gm__infer_request request;
    gm_error err = {0};
    if (bytes < 2) return 0;
    size_t header = (size_t)data[0] | (size_t)data[1] << 8;
    const gm__input_rules rules = {.channels = data[0] & 1 ? 3 : 1, .side = 4, .max_side = SIDE, .max_images = IMAGES, .strict = (data[1] & 128) != 0};
    data += 2;
    bytes -= 2;
    header &= 0x7fff;
    if (gm__infer_parse((const char *)data, bytes, header == 0 ? bytes : header, &rules, &request, &err) != GM_OK) {
        if (err.text[0] == '\0') abort(); // refused without a word
        return 0;
    }
    size_t image = gm__image_bytes(&request.image);
    if (request.images < 1 || request.images > IMAGES || image > (size_t)SIDE * SIDE * 3 * sizeof(float)) abort();
    void *dst[IMAGES] = {NULL};
    for (int i = 0; i < request.images; i++) dst[i] = malloc(image);
    if (gm__infer_decode(&request, dst, &err) != GM_OK && err.text[0] == '\0') abort();
    for (int i = 0; i < request.images; i++) free(dst[i]);
    return 0;
}
