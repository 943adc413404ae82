// SPDX-License-Identifier: Apache-2.0
// Transforms and byte planes. The loops work on runs of constant length, so that the compiler makes vectors of them.
#include "checkpoint/lossless.h"

#include <string.h>

enum { RUN = 64 };

// Numbers in their order: the difference of two that are near is small, whatever their signs (9.3 of the specification).
static inline uint32_t ordered32(uint32_t u) { return u ^ (uint32_t)((int32_t)u >> 31 | INT32_MIN); }
static inline uint32_t unordered32(uint32_t m) { return m ^ (uint32_t)(~((int32_t)m >> 31) | INT32_MIN); }
static inline uint32_t zigzag32(uint32_t d) { return d << 1 ^ (uint32_t)((int32_t)d >> 31); }
static inline uint32_t unzigzag32(uint32_t z) { return z >> 1 ^ (0u - (z & 1u)); }

static inline uint16_t ordered16(uint16_t u) { return (uint16_t)(u ^ (u & 0x8000u ? 0xffffu : 0x8000u)); }
static inline uint16_t unordered16(uint16_t m) { return (uint16_t)(m ^ (m & 0x8000u ? 0x8000u : 0xffffu)); }
static inline uint16_t zigzag16(uint16_t d) { return (uint16_t)((uint32_t)d << 1 ^ (d & 0x8000u ? 0xffffu : 0u)); }
static inline uint16_t unzigzag16(uint16_t z) { return (uint16_t)(z >> 1 ^ (z & 1u ? 0xffffu : 0u)); }

static void forward32(gm__transform transform, uint32_t *restrict v, const uint32_t *restrict parent) {
    switch (transform) {
    case GM__TRANSFORM_ROTATE:
        for (int i = 0; i < RUN; i++) v[i] = v[i] << 1 | v[i] >> 31;
        break;
    case GM__TRANSFORM_DIFFERENCE:
        for (int i = 0; i < RUN; i++) v[i] = zigzag32(ordered32(v[i]) - ordered32(parent[i]));
        break;
    case GM__TRANSFORM_XOR:
        for (int i = 0; i < RUN; i++) v[i] ^= parent[i];
        break;
    case GM__TRANSFORM_NONE:
    case GM__TRANSFORMS: break;
    }
}

static void backward32(gm__transform transform, uint32_t *restrict v, const uint32_t *restrict parent) {
    switch (transform) {
    case GM__TRANSFORM_ROTATE:
        for (int i = 0; i < RUN; i++) v[i] = v[i] >> 1 | v[i] << 31;
        break;
    case GM__TRANSFORM_DIFFERENCE:
        for (int i = 0; i < RUN; i++) v[i] = unordered32(ordered32(parent[i]) + unzigzag32(v[i]));
        break;
    case GM__TRANSFORM_XOR:
        for (int i = 0; i < RUN; i++) v[i] ^= parent[i];
        break;
    case GM__TRANSFORM_NONE:
    case GM__TRANSFORMS: break;
    }
}

static void forward16(gm__transform transform, uint16_t *restrict v, const uint16_t *restrict parent) {
    switch (transform) {
    case GM__TRANSFORM_ROTATE:
        for (int i = 0; i < RUN; i++) v[i] = (uint16_t)((uint32_t)v[i] << 1 | v[i] >> 15);
        break;
    case GM__TRANSFORM_DIFFERENCE:
        for (int i = 0; i < RUN; i++) v[i] = zigzag16((uint16_t)(ordered16(v[i]) - ordered16(parent[i])));
        break;
    case GM__TRANSFORM_XOR:
        for (int i = 0; i < RUN; i++) v[i] = (uint16_t)(v[i] ^ parent[i]);
        break;
    case GM__TRANSFORM_NONE:
    case GM__TRANSFORMS: break;
    }
}

static void backward16(gm__transform transform, uint16_t *restrict v, const uint16_t *restrict parent) {
    switch (transform) {
    case GM__TRANSFORM_ROTATE:
        for (int i = 0; i < RUN; i++) v[i] = (uint16_t)(v[i] >> 1 | (uint32_t)v[i] << 15);
        break;
    case GM__TRANSFORM_DIFFERENCE:
        for (int i = 0; i < RUN; i++) v[i] = unordered16((uint16_t)(ordered16(parent[i]) + unzigzag16(v[i])));
        break;
    case GM__TRANSFORM_XOR:
        for (int i = 0; i < RUN; i++) v[i] = (uint16_t)(v[i] ^ parent[i]);
        break;
    case GM__TRANSFORM_NONE:
    case GM__TRANSFORMS: break;
    }
}

static void split32(const uint32_t *restrict v, uint8_t *restrict p0, uint8_t *restrict p1, uint8_t *restrict p2,
                    uint8_t *restrict p3) {
    for (int i = 0; i < RUN; i++) p0[i] = (uint8_t)v[i];
    for (int i = 0; i < RUN; i++) p1[i] = (uint8_t)(v[i] >> 8);
    for (int i = 0; i < RUN; i++) p2[i] = (uint8_t)(v[i] >> 16);
    for (int i = 0; i < RUN; i++) p3[i] = (uint8_t)(v[i] >> 24);
}

static void merge32(uint32_t *restrict v, const uint8_t *restrict p0, const uint8_t *restrict p1,
                    const uint8_t *restrict p2, const uint8_t *restrict p3) {
    for (int i = 0; i < RUN; i++)
        v[i] = (uint32_t)p0[i] | (uint32_t)p1[i] << 8 | (uint32_t)p2[i] << 16 | (uint32_t)p3[i] << 24;
}

static void split16(const uint16_t *restrict v, uint8_t *restrict p0, uint8_t *restrict p1) {
    for (int i = 0; i < RUN; i++) p0[i] = (uint8_t)v[i];
    for (int i = 0; i < RUN; i++) p1[i] = (uint8_t)(v[i] >> 8);
}

static void merge16(uint16_t *restrict v, const uint8_t *restrict p0, const uint8_t *restrict p1) {
    for (int i = 0; i < RUN; i++) v[i] = (uint16_t)(p0[i] | p1[i] << 8);
}

// Bytes and 8-byte integers: small tensors, so plainly. Only XOR is defined for them.
static void split_bytes(gm__transform transform, const uint8_t *data, const uint8_t *parent, uint32_t elements,
                        uint32_t width, uint8_t *planes) {
    bool delta = transform == GM__TRANSFORM_XOR;
    for (uint32_t p = 0; p < width; p++)
        for (size_t i = 0; i < elements; i++) {
            size_t at = i * width + p;
            planes[(size_t)p * elements + i] = (uint8_t)(delta ? data[at] ^ parent[at] : data[at]);
        }
}

static void merge_bytes(gm__transform transform, const uint8_t *planes, const uint8_t *parent, uint32_t elements,
                        uint32_t width, uint8_t *out) {
    bool delta = transform == GM__TRANSFORM_XOR;
    for (uint32_t p = 0; p < width; p++)
        for (size_t i = 0; i < elements; i++) {
            size_t at = i * width + p;
            uint8_t v = planes[(size_t)p * elements + i];
            out[at] = (uint8_t)(delta ? v ^ parent[at] : v);
        }
}

// A run shorter than RUN goes through buffers of full length.
void gm__planes_split(gm__transform transform, const void *data, const void *parent, uint32_t elements, uint32_t width,
                      uint8_t *planes) {
    const uint8_t *from = data, *base = parent;
    if (width != 2 && width != 4) {
        split_bytes(transform, data, parent, elements, width, planes);
        return;
    }
    for (uint32_t at = 0; at < elements; at += RUN) {
        uint32_t n = elements - at < RUN ? elements - at : RUN;
        uint8_t part[4][RUN], *to[4];
        union { uint32_t u32[RUN]; uint16_t u16[RUN]; } v, before;
        if (n < RUN) {
            memset(&v, 0, sizeof v);
            memset(&before, 0, sizeof before);
        }
        memcpy(&v, from + (size_t)at * width, (size_t)n * width);
        if (base) memcpy(&before, base + (size_t)at * width, (size_t)n * width);
        for (uint32_t p = 0; p < width; p++) to[p] = n < RUN ? part[p] : planes + (size_t)p * elements + at;
        if (width == 4) {
            forward32(transform, v.u32, before.u32);
            split32(v.u32, to[0], to[1], to[2], to[3]);
        } else {
            forward16(transform, v.u16, before.u16);
            split16(v.u16, to[0], to[1]);
        }
        for (uint32_t p = 0; p < width && n < RUN; p++) memcpy(planes + (size_t)p * elements + at, part[p], n);
    }
}

void gm__planes_merge(gm__transform transform, const uint8_t *planes, const void *parent, uint32_t elements,
                      uint32_t width, void *out) {
    const uint8_t *base = parent;
    uint8_t *to = out;
    if (width != 2 && width != 4) {
        merge_bytes(transform, planes, parent, elements, width, out);
        return;
    }
    for (uint32_t at = 0; at < elements; at += RUN) {
        uint32_t n = elements - at < RUN ? elements - at : RUN;
        uint8_t part[4][RUN];
        const uint8_t *from[4];
        union { uint32_t u32[RUN]; uint16_t u16[RUN]; } v, before;
        if (n < RUN) memset(&before, 0, sizeof before);
        if (base) memcpy(&before, base + (size_t)at * width, (size_t)n * width);
        for (uint32_t p = 0; p < width; p++) {
            from[p] = planes + (size_t)p * elements + at;
            if (n == RUN) continue;
            memset(part[p], 0, RUN);
            memcpy(part[p], from[p], n);
            from[p] = part[p];
        }
        if (width == 4) {
            merge32(v.u32, from[0], from[1], from[2], from[3]);
            backward32(transform, v.u32, before.u32);
        } else {
            merge16(v.u16, from[0], from[1]);
            backward16(transform, v.u16, before.u16);
        }
        memcpy(to + (size_t)at * width, &v, (size_t)n * width);
    }
}
