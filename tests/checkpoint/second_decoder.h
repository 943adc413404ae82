// SPDX-License-Identifier: Apache-2.0
// A second reader of checkpoint files, written from docs/format-checkpoint.md and sharing no code with the library: hashes by
// xxHash, planes by zstd, JSON by Jansson. It trusts sizes more than the library does; for tests.
#ifndef GAMUT_TESTS_SECOND_DECODER_H
#define GAMUT_TESTS_SECOND_DECODER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "quant_reader.h"

enum { SD_TENSORS = 64 };

typedef struct sd_tensor {
    char name[128], type[8];
    uint64_t begin, end;
} sd_tensor;

typedef struct sd_image {
    uint8_t *bytes;
    uint64_t size, head, identity, number;
    sd_tensor tensor[SD_TENSORS];
    int tensors;
    rd_state quant; // weights > 0: its state
} sd_image;

static inline void sd_free(sd_image *i) {
    free(i->bytes);
    free(i->quant.ids);
    free(i->quant.kept);
    memset(i, 0, sizeof *i);
}

static inline uint64_t sd_u(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static inline int sd_by_place(const void *a, const void *b) {
    const sd_tensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end; // empty ones first
}

static inline bool sd_list(sd_image *i) {
    const char *name;
    json_t *all = json_loadb((const char *)i->bytes + 8, (size_t)i->head - 8, 0, NULL), *t;
    if (!all) return false;
    json_object_foreach(all, name, t) {
        if (strcmp(name, "__metadata__") == 0) continue;
        sd_tensor *to = &i->tensor[i->tensors++];
        json_t *place = json_object_get(t, "data_offsets");
        snprintf(to->name, sizeof to->name, "%s", name);
        snprintf(to->type, sizeof to->type, "%s", json_string_value(json_object_get(t, "dtype")));
        to->begin = (uint64_t)json_integer_value(json_array_get(place, 0));
        to->end = (uint64_t)json_integer_value(json_array_get(place, 1));
    }
    json_decref(all);
    qsort(i->tensor, (size_t)i->tensors, sizeof *i->tensor, sd_by_place);
    return true;
}

static inline const sd_tensor *sd_in_parent(const sd_image *parent, const sd_tensor *t) {
    for (int k = 0; parent && k < parent->tensors; k++) {
        const sd_tensor *p = &parent->tensor[k];
        if (strcmp(p->name, t->name) == 0 && strcmp(p->type, t->type) == 0 && p->end - p->begin == t->end - t->begin) return p;
    }
    return NULL;
}

// One element of n bytes; all arithmetic modulo 2^(8n).
static inline uint64_t sd_undo(int transform, uint64_t u, uint64_t before, int n) {
    uint64_t mask = n == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * n)) - 1, top = UINT64_C(1) << (8 * n - 1);
    if (transform == 1) return (u >> 1 | (u & 1) << (8 * n - 1)) & mask;
    if (transform == 3) return u ^ before;
    if (transform != 2) return u;
    uint64_t m = before & top ? ~before & mask : before | top;
    uint64_t d = (u >> 1) ^ (u & 1 ? mask : 0);
    m = (m + d) & mask;
    return m & top ? m ^ top : ~m & mask;
}

static inline uint64_t sd_count(const uint8_t **d) {
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t byte = *(*d)++;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return v;
    }
}

// The blocks of a section to `to`; d: the directory behind the section's hash; at: the first block in the file.
static inline bool sd_blocks(const uint8_t *file, const uint8_t **d, uint64_t *at, uint32_t blocks, int width,
                             const uint8_t *before, uint8_t *to) {
    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t transform = (uint32_t)sd_u(*d, 4), elements = (uint32_t)sd_u(*d + 4, 4);
        uint64_t hash = sd_u(*d + 8, 8), stored = 0;
        uint8_t *plane[8];
        bool fine = true;
        for (int p = 0; p < width; p++) {
            const uint8_t *about = *d + 16 + 8 * p;
            uint32_t bytes = (uint32_t)sd_u(about + 4, 4);
            plane[p] = malloc(elements);
            if (about[0] == 0) memcpy(plane[p], file + *at + stored, elements);
            else if (about[0] == 1) memset(plane[p], about[1], elements);
            else fine = fine && ZSTD_decompress(plane[p], elements, file + *at + stored, bytes) == elements;
            stored += bytes;
        }
        fine = fine && XXH3_64bits(file + *at, (size_t)stored) == hash && (transform < 2 || before);
        for (uint32_t i = 0; i < elements && fine; i++) {
            uint64_t u = 0;
            for (int p = 0; p < width; p++) u |= (uint64_t)plane[p][i] << (8 * p);
            u = sd_undo((int)transform, u, transform >= 2 ? sd_u(before + (uint64_t)i * (uint64_t)width, width) : 0, width);
            for (int p = 0; p < width; p++) to[(uint64_t)i * (uint64_t)width + (uint64_t)p] = (uint8_t)(u >> (8 * p));
        }
        for (int p = 0; p < width; p++) free(plane[p]);
        if (!fine) return false;
        *at += stored;
        *d += 16 + 8 * width;
        to += (uint64_t)elements * (uint64_t)width;
        if (before) before += (uint64_t)elements * (uint64_t)width;
    }
    return true;
}

static inline bool sd_same_hash(const void *data, uint64_t bytes, const uint8_t *said) {
    XXH128_hash_t h = XXH3_128bits(data, (size_t)bytes);
    return h.low64 == sd_u(said, 8) && h.high64 == sd_u(said + 8, 8);
}

// The values of the quantized tensors, whose sections were met, into the image.
static inline bool sd_quantized(sd_image *out, const int *which, const uint8_t *blob, uint64_t bytes, const sd_image *parent) {
    rd_state *q = &out->quant;
    q->ids = calloc(q->weights, 1);
    q->kept = calloc(q->weights, sizeof *q->kept);
    if (!rd_read(blob, bytes, q, parent && parent->quant.weights ? &parent->quant : NULL)) return false;
    uint64_t at = 0;
    for (int i = 0; i < q->tensors; i++) {
        uint8_t *to = out->bytes + out->head + out->tensor[which[i]].begin;
        for (uint64_t j = 0; j < q->tensor[i].count; j++, at++) {
            float v = rd_value(q, i, at);
            memcpy(to + j * 4, &v, 4);
        }
    }
    return true;
}

// parent: of a difference, else NULL. Rounded moments (kinds 7 and 8) are not read.
static inline bool sd_decode(const uint8_t *file, uint64_t bytes, const sd_image *parent, sd_image *out) {
    static const uint8_t first[8] = {0x89, 0x47, 0x4d, 0x43, 0x0d, 0x0a, 0x1a, 0x0a};
    const uint8_t *trailer = file + bytes - 32, *d;
    uint8_t *blob = NULL;
    uint64_t at = 64, place = 0, blob_bytes = 0;
    int tensor = 0, which[SD_TENSORS];
    bool fine = false;
    memset(out, 0, sizeof *out);
    if (bytes < 96 || memcmp(file, first, 8) != 0 || sd_u(file + 8, 4) != 2 || sd_u(file + 56, 8) != XXH3_64bits(file, 56))
        return false;
    if (memcmp(trailer + 24, "GMC-END\n", 8) != 0 || sd_u(trailer, 8) + sd_u(trailer + 8, 8) + 32 != bytes) return false;
    d = file + sd_u(trailer, 8);
    out->identity = sd_u(trailer + 16, 8);
    out->number = sd_u(file + 16, 8);
    if (XXH3_64bits(d, (size_t)sd_u(trailer + 8, 8)) != out->identity) return false;
    if ((sd_u(file + 12, 4) & 1) && (!parent || parent->identity != sd_u(file + 32, 8) || parent->number != sd_u(file + 24, 8)))
        return false;
    out->size = sd_u(file + 40, 8);
    out->bytes = calloc(1, out->size + 1);
    uint32_t sections = (uint32_t)sd_u(d, 4);
    d += 8;
    for (uint32_t s = 0; s < sections; s++) {
        const uint8_t *about = d;
        int kind = about[0], width = about[2];
        bool stored = kind != 4 && kind != 6 && kind != 8;
        d += 4;
        uint64_t decoded = sd_count(&d);
        uint32_t blocks = stored ? (uint32_t)sd_count(&d) : 0;
        const uint8_t *hash = d;
        uint8_t *to = out->bytes + place, *aside = NULL;
        const uint8_t *before = NULL;
        d += stored ? 16 : 0;
        if (kind == 2 || kind == 5 || kind == 7) to = aside = malloc(decoded + 1);
        if (kind == 3 || kind == 4 || kind == 6 || kind == 8) {
            const sd_tensor *t = &out->tensor[tensor++], *p = sd_in_parent(parent, t);
            if (out->head + t->begin != place || t->end - t->begin != decoded) goto done;
            if (p) before = parent->bytes + parent->head + p->begin;
            if (kind == 6) {
                rd_state *q = &out->quant;
                which[q->tensors] = tensor - 1;
                q->tensor[q->tensors++] = (rd_tensor){.name = t->name, .kind = about[3], .count = decoded / 4};
                q->weights += decoded / 4;
            }
        }
        if (!sd_blocks(file, &d, &at, blocks, width, before, to) ||
            (stored && !sd_same_hash(to, decoded, hash))) {
            free(aside);
            goto done;
        }
        if (kind == 1) {
            out->head = decoded;
            if (!sd_list(out)) goto done;
        }
        if (kind == 5) {
            free(blob);
            blob = aside;
            blob_bytes = decoded;
        } else {
            free(aside);
        }
        if (kind != 2 && kind != 5 && kind != 7) place += decoded;
    }
    fine = place == out->size && at == sd_u(trailer, 8) && tensor == out->tensors &&
           (!blob || sd_quantized(out, which, blob, blob_bytes, parent));
done:
    free(blob);
    if (!fine) sd_free(out);
    return fine;
}

#endif
