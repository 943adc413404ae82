// SPDX-License-Identifier: Apache-2.0
// Shared by the two files that read and write model files.
#ifndef GAMUT_NORMS_FILE_H
#define GAMUT_NORMS_FILE_H

#include <gamut/tensor.h>

#include "model/family.h"

typedef struct gm__reading {
    const char *path;
    const gm_tensor_file *file;
    gm_error *err;
    int version;
    int large; // tensors with values that no healthy training gives
} gm__reading;

// The tensor with exactly this type and shape.
gm_status gm__read_tensor(const gm__reading *r, const char *name, gm_dtype type, int rank, const uint64_t *dims, const void **data);
gm_status gm__check_values(gm__reading *r, const char *name, const float *v, size_t count, bool variance);
// What could not be read back is not written.
gm_status gm__check_finite(const float *v, size_t count, const char *name, gm_error *err);

// Copies that must live until the file is committed.
typedef struct gm__norms_parts {
    const gm_norm_entry **sorted;
    uint8_t *choice, *ranged;
    int32_t *place;
    float *mean, *var;
} gm__norms_parts;
gm_status gm__norms_write(gm_tensor_writer *w, const gm_model *m, gm__norms_parts *p, gm_error *err);
void gm__norms_parts_fini(gm__norms_parts *p);
gm_status gm__norms_read(gm__reading *r, gm_model *m);

#endif
