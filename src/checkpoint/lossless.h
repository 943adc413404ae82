// SPDX-License-Identifier: Apache-2.0
// Lossless coding of blocks: a transform on whole elements, byte planes, and each plane raw, constant or zstd
// (docs/format-checkpoint.md, "Blocks"). Exact for every bit pattern.
#ifndef GAMUT_CHECKPOINT_LOSSLESS_H
#define GAMUT_CHECKPOINT_LOSSLESS_H

#include <gamut/base.h>

// A block of 256 Ki elements: a plane of it and what zstd keeps beside stay in the second-level cache.
enum { GM__BLOCK_ELEMENTS = 1 << 18, GM__MOST_PLANES = 8 };

typedef enum gm__transform {
    GM__TRANSFORM_NONE = 0,
    GM__TRANSFORM_ROTATE = 1,     // left by one bit: the exponent fills the highest byte alone
    GM__TRANSFORM_DIFFERENCE = 2, // zigzag of the difference to the parent's element, both mapped to ordered integers
    GM__TRANSFORM_XOR = 3,        // with the parent's element
    GM__TRANSFORMS = 4
} gm__transform;

typedef enum gm__method { GM__METHOD_RAW = 0, GM__METHOD_CONSTANT = 1, GM__METHOD_ZSTD = 2, GM__METHODS = 3 } gm__method;

typedef struct gm__plane {
    uint8_t method, value; // value: of GM__METHOD_CONSTANT
    uint32_t stored;       // bytes in the file
} gm__plane;

typedef struct gm__block {
    uint8_t transform;
    uint32_t elements;
    uint64_t hash; // XXH3-64 of the stored bytes of all planes
    gm__plane plane[GM__MOST_PLANES];
} gm__block;

typedef struct gm__lossless gm__lossless; // contexts and scratch of one thread
gm_status gm__lossless_create(int level, gm__lossless **out, gm_error *err);
void gm__lossless_destroy(gm__lossless *l);

static inline bool gm__width_is_valid(uint32_t width) { return width == 1 || width == 2 || width == 4 || width == 8; }

// data: elements of `width` bytes (little-endian); parent: as many, or NULL. real: IEEE numbers of 2 or 4 bytes. The stored
// bytes stay l's until the next call.
gm_status gm__block_encode(gm__lossless *l, const void *data, const void *parent, uint32_t elements, uint32_t width,
                           bool real, gm__block *out, const uint8_t **stored, size_t *bytes, gm_error *err);
// stored: all planes, one behind the other, hash checked by the caller. GM_ERR_FORMAT: they do not decode. parent may be
// NULL when the transform needs none.
gm_status gm__block_decode(gm__lossless *l, const gm__block *b, const uint8_t *stored, const void *parent, uint32_t width,
                           void *out, gm_error *err);
static inline bool gm__transform_needs_parent(int transform) { return transform >= GM__TRANSFORM_DIFFERENCE; }

// --- lossless_planes.c
// Elements to planes, plane p at planes + p * elements, the highest byte in the last plane. parent may be NULL when the
// transform needs none.
void gm__planes_split(gm__transform transform, const void *data, const void *parent, uint32_t elements, uint32_t width,
                      uint8_t *planes);
void gm__planes_merge(gm__transform transform, const uint8_t *planes, const void *parent, uint32_t elements,
                      uint32_t width, void *out);

#endif
