// SPDX-License-Identifier: Apache-2.0
#include "serve/slab.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { HEAD = 64, LINE = 64 };

gm_status gm__slab_init(gm__slab *s, int slots, size_t image_bytes, int classes, gm_error *err) {
    size_t stride = 0, logits = 0, bytes = 0;
    *s = (gm__slab){.slots = slots, .classes = classes};
    if (!gm_add_size(image_bytes, LINE, &s->image_bytes) || !gm_mul_size((size_t)classes, sizeof(float), &logits) ||
        !gm_add_size(s->image_bytes, logits, &stride) || !gm_add_size(stride, HEAD + LINE, &stride))
        return gm_fail(err, GM_ERR_RANGE, "images of %zu bytes are too large to be served", image_bytes);
    s->image_bytes = s->image_bytes / LINE * LINE;
    s->stride = stride / LINE * LINE;
    if (!gm_mul_size(s->stride, (size_t)slots, &bytes) || bytes > (size_t)1 << 44)
        return gm_fail(err, GM_ERR_RANGE, "%d images of %zu bytes are too many; use a shorter queue", slots, image_bytes);
    s->spare = gm_alloc((size_t)slots, sizeof *s->spare);
    if (s->spare == NULL) return gm_fail(err, GM_ERR_MEMORY, "no memory for a queue of %d images", slots);
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        gm__slab_fini(s);
        return gm_fail(err, GM_ERR_MEMORY, "no memory to share for a queue of %d images of %zu bytes: %s; use a shorter queue",
                       slots, image_bytes, strerror(errno));
    }
    s->base = base;
    s->bytes = bytes;
    for (int i = slots - 1; i >= 0; i--) gm__slab_give(s, i);
    return GM_OK;
}

void gm__slab_fini(gm__slab *s) {
    if (s->base != NULL) munmap(s->base, s->bytes);
    gm_free(s->spare);
    *s = (gm__slab){0};
}

int gm__slab_take(gm__slab *s) { return s->spares > 0 ? s->spare[--s->spares] : -1; }
void gm__slab_give(gm__slab *s, int slot) { s->spare[s->spares++] = slot; }

static uint8_t *slot_at(const gm__slab *s, int slot) { return s->base + (size_t)slot * s->stride; }
gm__image *gm__slab_image(const gm__slab *s, int slot) { return (gm__image *)(void *)slot_at(s, slot); }
void *gm__slab_values(const gm__slab *s, int slot) { return slot_at(s, slot) + HEAD; }
float *gm__slab_logits(const gm__slab *s, int slot) {
    return (float *)(void *)(slot_at(s, slot) + HEAD + s->image_bytes);
}
