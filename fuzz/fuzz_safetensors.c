// SPDX-License-Identifier: Apache-2.0
// Tensor files and model files: any bytes are read or refused. What was read lies inside the given bytes (or an aligned
// copy), without holes, under names that find it again; a model made of it has finite values.
#include <gamut/tensor.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds) {
    if (!holds) abort();
}

static void check_tensors(const gm_tensor_file *f, const uint8_t *data, size_t bytes) {
    uint64_t total = 0;
    unsigned sum = 0;
    for (int i = 0; i < gm_tensor_count(f); i++) {
        const gm_tensor_info *t = gm_tensor_at(f, i);
        require(t->rank >= 0 && t->rank <= GM_MAX_RANK && gm_tensor_find(f, t->name) == t);
        uint64_t expected = gm_dtype_size(t->type);
        for (int d = 0; d < t->rank; d++) expected *= t->dims[d];
        require(expected == t->bytes && t->bytes <= bytes);
        require(t->bytes == 0 || (uintptr_t)t->data % gm_dtype_size(t->type) == 0);
        const uint8_t *view = t->data;
        bool inside = view >= data && view <= data + bytes;
        require(!inside || t->bytes <= (uint64_t)(data + bytes - view));
        for (uint64_t b = 0; b < t->bytes; b++) sum += view[b]; // a sanitizer sees what does not belong to us
        total += t->bytes;
    }
    require(total <= bytes && (total == 0 || sum + 1 > 0));
}

static void check_model(const gm_model *m) {
    for (size_t i = 0; i < m->graph->floats; i++) require(isfinite(m->params[i]));
    for (int i = 0; i < m->entries; i++) {
        gm_choice c = gm_choice_canonical(&m->graph->space, m->entry[i].choice);
        require(memcmp(&c, &m->entry[i].choice, sizeof c) == 0);
        for (size_t j = 0; j < m->graph->norm_floats; j++) require(m->entry[i].var[j] >= 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gm_tensor_file *f = NULL;
    gm_model *m = NULL;
    gm_error err = {0};
    gm_log_set(GM_LOG_ERROR);
    if (gm_tensor_file_parse(data, bytes, "fuzz", &f, &err) != GM_OK) {
        require(f == NULL && err.text[0] != '\0');
        return 0;
    }
    check_tensors(f, data, bytes);
    if (gm_model_from_tensors(f, "fuzz", &m, &err) == GM_OK) check_model(m);
    else require(m == NULL && err.text[0] != '\0');
    gm_model_destroy(m);
    gm_tensor_file_destroy(f);
    return 0;
}
