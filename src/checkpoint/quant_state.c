// SPDX-License-Identifier: Apache-2.0
// The state of one checkpoint: what decoding gives, and what the next difference is taken against.
#include "checkpoint/quant_private.h"

#include <math.h>

// Hashes are over little-endian bytes, whatever the machine.
static uint64_t hash_u64(uint64_t v, uint64_t seed) {
    uint8_t b[8];
    for (int i = 0; i < 8; i++) b[i] = (uint8_t)(v >> (8 * i));
    return gm_hash64(b, sizeof b, seed);
}

static const gm__quant_shape *shape_at(const gm__quant_shape *shape, size_t stride, int i) {
    return (const gm__quant_shape *)(const void *)((const char *)shape + stride * (size_t)i);
}

uint64_t gm__quant_shapes(const gm__quant_shape *shape, size_t stride, int tensors) {
    uint64_t h = 0;
    for (int i = 0; i < tensors; i++) {
        const gm__quant_shape *s = shape_at(shape, stride, i);
        h = gm_hash64(s->name, strlen(s->name), h);
        h = hash_u64((uint64_t)s->kind, h);
        h = hash_u64(s->count, h);
    }
    return h;
}

gm_status gm__quant_state_create(const gm__quant_shape *shape, size_t stride, int tensors, const gm__quant_config *c,
                                 gm__quant_state **out, gm_error *err) {
    if (tensors < 0 || tensors > GM__QUANT_TENSORS)
        return gm_fail(err, GM_ERR_ARGUMENT, "%d tensors in a checkpoint (at most %d)", tensors, GM__QUANT_TENSORS);
    size_t weights = 0;
    for (int i = 0; i < tensors; i++) {
        const gm__quant_shape *s = shape_at(shape, stride, i);
        if (!gm_add_size(weights, s->count, &weights) || weights > SIZE_MAX / 16 || (unsigned)s->kind >= GM__QUANT_KINDS)
            return gm_fail(err, GM_ERR_ARGUMENT, "tensor '%.80s': kind %d or %zu elements are out of range", s->name,
                           (int)s->kind, s->count);
    }
    gm__quant_state *s = gm_alloc(1, sizeof *s);
    if (s) *s = (gm__quant_state){.config = *c, .tensors = tensors, .weights = weights};
    if (s) s->part = gm_alloc((size_t)tensors, sizeof *s->part);
    if (s && s->part) s->ids = gm_alloc(weights, 1);
    if (!s || !s->part || !s->ids) {
        gm__quant_state_destroy(s);
        return gm_fail(err, GM_ERR_MEMORY, "no memory for the ids of %zu weights", weights);
    }
    s->shapes = gm__quant_shapes(shape, stride, tensors);
    for (int i = 0, first = 1; i < tensors; i++, first = 0) {
        const gm__quant_shape *from = shape_at(shape, stride, i);
        bool embedding = from->kind == GM__QUANT_EMBEDDING;
        s->part[i] = (gm__part){.first = first ? 0 : s->part[i - 1].first + s->part[i - 1].count, .count = from->count,
                                .kind = from->kind, .bins = embedding ? c->embedding_bins : c->bins};
    }
    *out = s;
    return GM_OK;
}

void gm__quant_state_destroy(gm__quant_state *s) {
    if (!s) return;
    gm_free(s->part);
    gm_free(s->ids);
    gm_free(s->kept);
    gm_free(s);
}

// In bytes, as far as those can count, which makes whole registers of them.
GM__WIDE static size_t count_protected(const uint8_t *ids, size_t n) {
    enum { PIECE = 224 };
    size_t sum = 0;
    for (size_t at = 0; at < n; at += PIECE) {
        size_t end = n - at < PIECE ? n : at + PIECE;
        uint8_t found = 0;
        for (size_t i = at; i < end; i++) found = (uint8_t)(found + (ids[i] == GM__QUANT_PROTECTED));
        sum += found;
    }
    return sum;
}

gm_status gm__quant_state_index(gm__quant_state *s, gm_error *err) {
    s->kept_count = 0;
    for (int i = 0; i < s->tensors; i++) {
        gm__part *p = &s->part[i];
        p->kept_first = s->kept_count;
        p->kept = count_protected(s->ids + p->first, p->count);
        s->kept_count += p->kept;
    }
    gm_free(s->kept);
    s->kept = gm_alloc(s->kept_count, sizeof *s->kept);
    if (!s->kept) return gm_fail(err, GM_ERR_MEMORY, "no memory for %zu protected weights", s->kept_count);
    return GM_OK;
}

void gm__quant_state_seal(gm__quant_state *s) {
    uint64_t h = gm_hash64(s->ids, s->weights, 0);
    for (int i = 0; i < s->tensors; i++) {
        uint8_t bytes[1 + 2 * GM__QUANT_BINS];
        bytes[0] = (uint8_t)s->part[i].bins;
        for (int b = 0; b < s->part[i].bins; b++) {
            bytes[1 + 2 * b] = (uint8_t)s->part[i].centre[b];
            bytes[2 + 2 * b] = (uint8_t)(s->part[i].centre[b] >> 8);
        }
        h = gm_hash64(bytes, 1 + 2 * (size_t)s->part[i].bins, h);
    }
    for (size_t i = 0; i < s->kept_count;) { // in pieces of 512 values
        uint8_t bytes[1024];
        size_t n = 0;
        for (; i < s->kept_count && n < sizeof bytes; i++, n += 2) {
            bytes[n] = (uint8_t)s->kept[i];
            bytes[n + 1] = (uint8_t)(s->kept[i] >> 8);
        }
        h = gm_hash64(bytes, n, h);
    }
    s->hash = h;
}

const gm__quant_config *gm__quant_state_config(const gm__quant_state *s) { return &s->config; }
uint64_t gm__quant_state_hash(const gm__quant_state *s) { return s->hash; }
const gm__quant_hint *gm__quant_state_hint(const gm__quant_state *s) { return &s->hint; }
const uint8_t *gm__quant_state_ids(const gm__quant_state *s, int tensor) { return s->ids + s->part[tensor].first; }

void gm__quant_values(const gm__quant_state *s, int tensor, float *out) {
    const gm__part *p = &s->part[tensor];
    const uint8_t *ids = s->ids + p->first;
    float value[GM__QUANT_LEVELS] = {0};
    for (int b = 0; b < p->bins; b++) value[b] = gm_bf16_to_f32(p->centre[b]);
    for (size_t i = 0; i < p->count; i++) out[i] = value[ids[i] & (GM__QUANT_LEVELS - 1)]; // not GM__WIDE: gathering is slower here
    const gm_bf16 *kept = s->kept + p->kept_first;
    for (const uint8_t *at = ids, *end = ids + p->count; (at = memchr(at, GM__QUANT_PROTECTED, (size_t)(end - at)));)
        out[at++ - ids] = gm_bf16_to_f32(*kept++);
}

// Squares of n weights, and of what their ids make of them; sums of SUMS of them side by side, which a register can hold.
GM__WIDE static void add_squares(const float *w, const uint8_t *ids, const float *value, size_t n, double *all, double *wrong) {
    enum { SUMS = 4 };
    double a[SUMS] = {0}, b[SUMS] = {0};
    size_t j = 0;
    for (; j + SUMS <= n; j += SUMS) {
        double x[SUMS], y[SUMS];
        for (int k = 0; k < SUMS; k++) x[k] = (double)w[j + (size_t)k];
        for (int k = 0; k < SUMS; k++) y[k] = x[k] - (double)value[ids[j + (size_t)k] & (GM__QUANT_LEVELS - 1)];
        for (int k = 0; k < SUMS; k++) a[k] += x[k] * x[k];
        for (int k = 0; k < SUMS; k++) b[k] += y[k] * y[k];
    }
    for (; j < n; j++) {
        double x = (double)w[j], y = x - (double)value[ids[j] & (GM__QUANT_LEVELS - 1)];
        a[0] += x * x;
        b[0] += y * y;
    }
    *all += (a[0] + a[1]) + (a[2] + a[3]);
    *wrong += (b[0] + b[1]) + (b[2] + b[3]);
}

double gm__quant_error(const gm__quant_tensor *tensor, const gm__quant_state *s) {
    double all = 0, wrong = 0;
    for (int i = 0; i < s->tensors; i++) {
        const gm__part *p = &s->part[i];
        const uint8_t *ids = s->ids + p->first, *end = ids + p->count;
        const gm_bf16 *kept = s->kept + p->kept_first;
        float value[GM__QUANT_LEVELS] = {0}; // protected: 0, corrected below
        double tensor_all = 0, tensor_wrong = 0;
        for (int b = 0; b < p->bins; b++) value[b] = gm_bf16_to_f32(p->centre[b]);
        add_squares(tensor[i].weights, ids, value, p->count, &tensor_all, &tensor_wrong);
        for (const uint8_t *at = ids; (at = memchr(at, GM__QUANT_PROTECTED, (size_t)(end - at)));) {
            double w = (double)tensor[i].weights[at++ - ids], left = w - (double)gm_bf16_to_f32(*kept++);
            tensor_wrong += left * left - w * w;
        }
        all += tensor_all;
        wrong += fmax(tensor_wrong, 0);
    }
    return all > 0 ? wrong / all : 0;
}

void gm__quant_run(bool parallel, int units, gm_task *task, void *context) {
    if (parallel) gm_parallel(units, task, context);
    else if (units > 0) task(context, 0, units, 0);
}
