// SPDX-License-Identifier: Apache-2.0
// Checkpoint files: any bytes are read or refused; what was read is a safetensors file of the size that was told. Each input is
// tried as it is, and again with its checksums made right, so that what lies behind them is met as well.
#include "checkpoint/container.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds) {
    if (!holds) abort();
}

static uint64_t get(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = n; i-- > 0;) v = v << 8 | p[i];
    return v;
}

static void set64(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_count(uint8_t **at, const uint8_t *end) {
    uint64_t v = 0;
    for (int shift = 0; shift < 63 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) break;
    }
    return v;
}

// The checksums of the blocks, of the directory and of the header.
static void repair(uint8_t *file, size_t bytes) {
    if (bytes < 96) return;
    set64(file + 56, XXH3_64bits(file, 56));
    uint8_t *trailer = file + bytes - 32;
    uint64_t at = get(trailer, 8), size = get(trailer + 8, 8);
    if (at < 64 || at > bytes - 32 || size != bytes - 32 - at || size < 8) return;
    uint8_t *d = file + at + 8, *end = trailer;
    uint64_t block = 64;
    while (end - d >= 5) {
        int kind = d[0];
        uint32_t width = d[2];
        uint64_t blocks = 0;
        d += 4;
        get_count(&d, end);
        if (kind != GM__SECTION_DROPPED && kind != GM__SECTION_QUANT_TENSOR && kind != GM__SECTION_MOMENT_TENSOR) {
            blocks = get_count(&d, end);
            if (end - d < 16) break;
            d += 16;
        }
        if (width == 0 || width > 8) break;
        for (uint64_t i = 0; i < blocks && (size_t)(end - d) >= 16 + width * 8; i++) {
            uint64_t stored = 0;
            for (uint32_t p = 0; p < width; p++) stored += get(d + 16 + p * 8 + 4, 4);
            if (stored > at - block) break;
            set64(d + 8, XXH3_64bits(file + block, (size_t)stored));
            block += stored;
            d += 16 + width * 8;
        }
    }
    set64(trailer + 16, XXH3_64bits(file + at, (size_t)size));
}

// What the differences of the corpus are differences to: the same tensors, with other values.
static void make_parent(gm_tensor_image **image) {
    static const char *const names[] = {"params/a.weight", "momentum/a.weight", "params/a.bias", "momentum/a.bias"};
    static const uint64_t dims[] = {16, 16};
    static float values[256];
    gm_tensor_writer *w = NULL;
    for (int i = 0; i < 256; i++) values[i] = 0.01f * (float)(i - 100);
    if (gm_tensor_writer_create(&w, NULL) != GM_OK) return;
    for (int i = 0; i < 4; i++) gm_tensor_writer_add(w, names[i], GM_F32, i < 2 ? 2 : 1, dims, values, NULL);
    gm_tensor_writer_image(w, image, NULL);
    gm_tensor_writer_destroy(w);
}

static void try_file(const uint8_t *data, size_t bytes) {
    gm__directory d;
    gm__source source = gm__source_memory(data, bytes, "fuzz");
    gm_error err = {0};
    if (gm__directory_read(&source, &d, &err) != GM_OK) {
        require(err.text[0] != '\0');
        return;
    }
    uint8_t *image = NULL;
    gm_tensor_image *parent = NULL;
    size_t image_bytes = 0;
    gm__quant_state *state = NULL;
    if (d.info.image_bytes <= (uint64_t)64 << 20) {
        if (d.flags & GM__FLAG_DELTA) make_parent(&parent);
        gm_status status = gm__container_decode(&source, &d, parent ? parent->data : NULL, parent ? parent->bytes : 0, NULL, &image, &image_bytes, &state, &err);
        require(status == GM_OK ? image != NULL && image_bytes == d.info.image_bytes : image == NULL && state == NULL);
        gm_tensor_file *file = NULL;
        if (status == GM_OK) require(gm_tensor_file_parse(image, image_bytes, "fuzz", &file, &err) == GM_OK);
        gm_tensor_file_destroy(file);
    }
    gm__quant_state_destroy(state);
    gm_free(image);
    gm_tensor_image_release(parent);
    gm__directory_fini(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gm_log_set(GM_LOG_ERROR);
    try_file(data, bytes);
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy) return 0;
    if (bytes) memcpy(copy, data, bytes);
    repair(copy, bytes);
    try_file(copy, bytes);
    free(copy);
    return 0;
}
