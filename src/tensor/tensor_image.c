// SPDX-License-Identifier: Apache-2.0
#include "tensor/safetensors.h"

gm_status gm_tensor_image_take(uint8_t *data, size_t bytes, gm_tensor_image **out, gm_error *err) {
    *out = gm_alloc(1, sizeof **out);
    if (!*out) {
        gm_free(data);
        return gm_fail(err, GM_ERR_MEMORY, "no memory for an image of %zu bytes", bytes);
    }
    (*out)->data = data;
    (*out)->bytes = (*out)->room = bytes;
    atomic_init(&(*out)->holders, 1);
    return GM_OK;
}

gm_status gm_tensor_image_read(const char *path, gm_tensor_image **out, gm_error *err) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    gm_status status = gm_file_read(path, (size_t)gm__max_file, &data, &bytes, err);
    return status == GM_OK ? gm_tensor_image_take(data, bytes, out, err) : status;
}

gm_tensor_image *gm_tensor_image_hold(gm_tensor_image *image) {
    atomic_fetch_add_explicit(&image->holders, 1, memory_order_relaxed);
    return image;
}

void gm_tensor_image_release(gm_tensor_image *image) {
    if (!image || atomic_fetch_sub_explicit(&image->holders, 1, memory_order_acq_rel) > 1) return;
    gm_free(image->data);
    gm_free(image);
}
