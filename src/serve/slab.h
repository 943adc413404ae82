// SPDX-License-Identifier: Apache-2.0
// Memory that the server and its workers share: one slot an image in flight, for its values and its logits. Pages that no
// image has touched take no memory; slots are reused last in, first out.
#ifndef GAMUT_SERVE_SLAB_H
#define GAMUT_SERVE_SLAB_H

#include "serve/infer_request.h"

typedef struct gm__slab {
    uint8_t *base; // shared mapping
    size_t bytes, stride, image_bytes;
    int slots, classes;
    int *spare, spares; // the server's; workers look at slots they are told only
} gm__slab;

gm_status gm__slab_init(gm__slab *s, int slots, size_t image_bytes, int classes, gm_error *err);
void gm__slab_fini(gm__slab *s);
int gm__slab_take(gm__slab *s); // -1: none is left
void gm__slab_give(gm__slab *s, int slot);
gm__image *gm__slab_image(const gm__slab *s, int slot);
void *gm__slab_values(const gm__slab *s, int slot);
float *gm__slab_logits(const gm__slab *s, int slot);

#endif
