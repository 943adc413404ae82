// SPDX-License-Identifier: Apache-2.0
// IDX files of images and of labels.
#include "data/readers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    for (int dims = 1; dims <= 3; dims += 2) {
        gm__idx idx;
        gm_error err;
        if (gm__idx_parse("input", data, bytes, dims, &idx, &err) != GM_OK) continue;
        size_t need = idx.offset;
        size_t values = 1;
        for (int i = 0; i < dims; i++) values *= idx.size[i];
        if (need + values != bytes) __builtin_trap();
    }
    return 0;
}
