// SPDX-License-Identifier: Apache-2.0
// Between the container and the quantizer: which tensors are made lossy, the blobs that stand for them, and back.
#ifndef GAMUT_CHECKPOINT_CONTAINER_LOSSY_H
#define GAMUT_CHECKPOINT_CONTAINER_LOSSY_H

#include "checkpoint/container.h"

typedef enum gm__use { GM__USE_EXACT = 0, GM__USE_QUANT = 1, GM__USE_MOMENT = 2, GM__USE_DROP = 3 } gm__use;

typedef struct gm__lossy {
    uint8_t *use;         // one a tensor of the image, gm__use; NULL: all exact
    gm__quant_shape *shape; // of the tensors of use QUANT, in their order
    int quantized, moments;
    uint8_t *blob, *moment_blob; // NULL: none
    size_t blob_bytes, moment_bytes;
    gm__quant_state *state; // what the blob decodes to
    char report[768];       // a JSON object about what was chosen, "" when nothing was quantized
} gm__lossy;
// head: bytes before the first tensor. Of pack: settings, parent_state, last, resumed.
gm_status gm__lossy_make(const gm_tensor_file *image, size_t head, const gm__pack *pack, gm__lossy *out, gm_error *err);
void gm__lossy_fini(gm__lossy *l);

// The values of all lossy tensors of d into bytes (the image, whose head is there). blob: reads a section whole.
gm_status gm__lossy_decode(const gm__source *s, const gm__directory *d, const gm_tensor_file *image, uint8_t *bytes,
                           const gm__quant_state *previous, const uint8_t *blob, size_t blob_bytes,
                           const uint8_t *moment_blob, size_t moment_bytes, gm__quant_state **next, gm_error *err);

#endif
