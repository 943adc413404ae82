// SPDX-License-Identifier: Apache-2.0
// Torch files, legacy stream and zip: any bytes are read or refused. What was read has names that find it again and
// takes memory in proportion to the file.
#include <gamut/port.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gm_torch_file *f = NULL;
    gm_error err = {0};
    if (gm_torch_file_parse(data, bytes, "fuzz", &f, &err) != GM_OK) {
        require(f == NULL && err.text[0] != '\0');
        return 0;
    }
    uint64_t total = 0;
    unsigned sum = 0;
    require(gm_torch_count(f) > 0);
    for (int i = 0; i < gm_torch_count(f); i++) {
        const gm_tensor_info *t = gm_torch_at(f, i);
        require(t->type == GM_F32 || t->type == GM_I64);
        require(t->rank >= 0 && t->rank <= GM_MAX_RANK && gm_torch_find(f, t->name) == t);
        uint64_t expected = gm_dtype_size(t->type);
        for (int d = 0; d < t->rank; d++) expected *= t->dims[d];
        require(expected == t->bytes);
        const uint8_t *view = t->data;
        for (uint64_t b = 0; b < t->bytes; b++) sum += view[b]; // a sanitizer sees what does not belong to us
        total += t->bytes;
    }
    require(total <= 16 * (uint64_t)bytes + 32768 && sum + 1 > 0);
    gm_torch_file_destroy(f);
    return 0;
}
