// SPDX-License-Identifier: Apache-2.0
// The SubnetNorm table (SuperServe, NSDI 2025, section 3.1; specs: superserve 2.4 and 8, item 4). Statistics of a norm depend
// only on the part of the choice upstream of it, and calibration is deterministic: subnets that agree upstream have the same
// bits, and the same bits are stored once. Comparing contents instead of choices is exact in both directions.
#include <math.h>
#include <string.h>

#include "plan/plan_private.h"

typedef struct building {
    gm__norm_table *t;
    uint32_t *bucket; // hash table: place in data / 16, plus 1
    uint64_t *hash;   // of what the bucket holds
    size_t buckets;
    uint8_t *entry;   // being made
    float *scale, *shift;
} building;

// Two layouts (plan_private.h). f32 plans: scales as they are, shifts to an absolute error of 2^-24 of the entry's largest one, which is
// what f32 outputs of that size round to; a plain pair of f32 would make 500 subnets of OFA-ResNet50 cost 1.42 supernets, this 1.37.
// bf16 and int8 plans: scales to a relative error of 2^-12 (those under 2^-15 of the largest are 0), shifts to an absolute one of
// 2^-16 of the largest: an eighth and less of what the outputs round to (docs/inference.md).
enum { SHIFT_BITS = 23, SHORT_SHIFT_BITS = 15, SCALE_BITS = 11, SCALE_STEPS = 16, HEAD = 16 };

static size_t entry_bytes(const gm__norm_table *t, int channels) {
    return HEAD + (size_t)gm_round_up(channels, 16) * (t->narrow ? GM__NORM_NARROW_BYTES : GM__NORM_BYTES);
}

static float largest(const float *x, int n) {
    float most = 0;
    for (int i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

// The power of two that makes integers of so many bits of numbers up to `most`.
static float unit_of(float most, int bits) {
    int exponent = 0;
    (void)frexpf(most, &exponent);
    return ldexpf(1.0f, gm_max(exponent - bits, -100));
}

static void put_wide(uint8_t *entry, size_t wide, const float *scale, const float *shift, int channels) {
    const float unit = unit_of(largest(shift, channels), SHIFT_BITS);
    memcpy(entry, &unit, sizeof unit);
    memcpy(entry + HEAD, scale, (size_t)channels * sizeof *scale);
    for (int c = 0; c < channels; c++) {
        long q = lrintf(shift[c] / unit);
        uint32_t v = (uint32_t)(int32_t)(q > 0x7fffff ? 0x7fffff : q);
        uint16_t high = (uint16_t)(v >> 8);
        memcpy(entry + HEAD + 4 * wide + 2 * (size_t)c, &high, sizeof high);
        entry[HEAD + 6 * wide + (size_t)c] = (uint8_t)v;
    }
}

static void get_wide(const uint8_t *entry, size_t wide, float *scale, float *shift) {
    const uint16_t *high = (const uint16_t *)(const void *)(entry + HEAD + 4 * wide);
    const uint8_t *low = entry + HEAD + 6 * wide;
    float unit;
    memcpy(&unit, entry, sizeof unit);
    memcpy(scale, entry + HEAD, wide * sizeof *scale);
    for (size_t i = 0; i < wide; i += 16)
        for (size_t j = 0; j < 16; j++)
            shift[i + j] = (float)(int32_t)((uint32_t)(int32_t)(int16_t)high[i + j] << 8 | low[i + j]) * unit;
}

// A short scale: sign, four bits of exponent, eleven of mantissa, of numbers from 1 up to 2^16 in units of the entry; all 0: 0.
enum { SCALE_ONE = 127 << SCALE_BITS };

static uint16_t short_scale(float in_units) {
    uint32_t bits;
    float size = fabsf(in_units);
    memcpy(&bits, &size, sizeof bits);
    int32_t code = (int32_t)((bits + (1u << (22 - SCALE_BITS))) >> (23 - SCALE_BITS)) - SCALE_ONE;
    return (uint16_t)(gm_min(gm_max(code, 0), 0x7fff) | (in_units < 0 ? 0x8000 : 0));
}

static void put_narrow(uint8_t *entry, size_t wide, const float *scale, const float *shift, int channels) {
    const float units[2] = {unit_of(largest(scale, channels), SCALE_STEPS), unit_of(largest(shift, channels), SHORT_SHIFT_BITS)};
    memcpy(entry, units, sizeof units);
    for (int c = 0; c < channels; c++) {
        const uint16_t code = short_scale(scale[c] / units[0]);
        const int16_t q = (int16_t)gm_min((int)lrintf(shift[c] / units[1]), INT16_MAX);
        memcpy(entry + HEAD + 2 * (size_t)c, &code, sizeof code);
        memcpy(entry + HEAD + 2 * (wide + (size_t)c), &q, sizeof q);
    }
}

static void get_narrow(const uint8_t *entry, size_t wide, float *scale, float *shift) {
    const uint16_t *code = (const uint16_t *)(const void *)(entry + HEAD);
    const int16_t *q = (const int16_t *)(const void *)(code + wide);
    float units[2];
    memcpy(units, entry, sizeof units);
    for (size_t i = 0; i < wide; i += 16)
        for (size_t j = 0; j < 16; j++) {
            const uint32_t size = code[i + j] & 0x7fffu, sign = (code[i + j] & 0x8000u) << 16;
            const uint32_t bits = sign | (size ? (size + SCALE_ONE) << (23 - SCALE_BITS) : 0);
            float value;
            memcpy(&value, &bits, sizeof value);
            scale[i + j] = value * units[0];
            shift[i + j] = (float)q[i + j] * units[1];
        }
}

void gm__norm_expand(const gm__norm_table *t, const uint8_t *entry, int c, float *scale, float *shift) {
    const size_t wide = (size_t)gm_round_up(c, 16);
    if (t->narrow) get_narrow(entry, wide, scale, shift);
    else get_wide(entry, wide, scale, shift);
}

// y = gamma*(x + bias - mean)/sqrt(var + eps) + beta as x*scale + shift.
static void fold(const gm_model *m, int node, const float *bias, const gm_norm_entry *e, int channels, building *b) {
    const gm_node *n = &m->graph->node[node];
    const float *gamma = m->params + m->graph->param[n->param[0]].offset;
    const float *beta = m->params + m->graph->param[n->param[1]].offset;
    const float *mean = e->mean + m->norm_offset[node], *var = e->var + m->norm_offset[node];
    const size_t wide = (size_t)gm_round_up(channels, 16);
    memset(b->entry, 0, entry_bytes(b->t, channels));
    for (int c = 0; c < channels; c++) {
        double scale = (double)gamma[c] / sqrt((double)var[c] + (double)n->eps);
        b->scale[c] = (float)scale;
        b->shift[c] = (float)((double)beta[c] - ((double)mean[c] - (bias ? (double)bias[c] : 0.0)) * scale);
    }
    if (b->t->narrow) put_narrow(b->entry, wide, b->scale, b->shift, channels);
    else put_wide(b->entry, wide, b->scale, b->shift, channels);
}

static gm_status grow_buckets(building *b, gm_error *err) {
    size_t grown = b->buckets ? 2 * b->buckets : 1024;
    uint32_t *bucket = gm_alloc(grown, sizeof *bucket);
    uint64_t *hash = gm_alloc(grown, sizeof *hash);
    if (!bucket || !hash) {
        gm_free(bucket);
        gm_free(hash);
        return gm_fail(err, GM_ERR_MEMORY, "no memory for the norm table");
    }
    for (size_t i = 0; i < b->buckets; i++) {
        if (!b->bucket[i]) continue;
        size_t at = b->hash[i] & (grown - 1);
        while (bucket[at]) at = (at + 1) & (grown - 1);
        bucket[at] = b->bucket[i];
        hash[at] = b->hash[i];
    }
    gm_free(b->bucket);
    gm_free(b->hash);
    b->bucket = bucket;
    b->hash = hash;
    b->buckets = grown;
    return GM_OK;
}

static gm_status append(building *b, size_t bytes, uint32_t *place, gm_error *err) {
    gm__norm_table *t = b->t;
    if (t->bytes + bytes > t->cap) {
        size_t cap = t->cap + t->cap / 2 + bytes + (64 << 10);
        if (cap / 16 > UINT32_MAX) return gm_fail(err, GM_ERR_RANGE, "norm table of %zu MiB: calibrate fewer subnets", cap >> 20);
        uint8_t *data = gm_realloc(t->data, t->cap, cap, 1);
        if (!data) return gm_fail(err, GM_ERR_MEMORY, "%zu MiB for the norm table", cap >> 20);
        t->data = data;
        t->cap = cap;
    }
    memcpy(t->data + t->bytes, b->entry, bytes);
    *place = (uint32_t)(t->bytes / 16);
    t->bytes += bytes;
    t->entries++;
    return GM_OK;
}

// The entry with these bytes, found or added.
static gm_status intern(building *b, size_t bytes, uint64_t key, uint32_t *place, gm_error *err) {
    gm_status status = (size_t)b->t->entries * 2 >= b->buckets ? grow_buckets(b, err) : GM_OK;
    if (status) return status;
    uint64_t hash = gm_hash64(b->entry, bytes, key);
    size_t at = hash & (b->buckets - 1);
    for (; b->bucket[at]; at = (at + 1) & (b->buckets - 1)) {
        *place = b->bucket[at] - 1;
        if (b->hash[at] == hash && b->t->bytes - (size_t)*place * 16 >= bytes &&
            memcmp(b->t->data + (size_t)*place * 16, b->entry, bytes) == 0)
            return GM_OK;
    }
    status = append(b, bytes, place, err);
    if (status) return status;
    b->bucket[at] = *place + 1;
    b->hash[at] = hash;
    return GM_OK;
}

static gm_status add_subnet(building *b, const gm_model *m, const gm__steps *steps, int subnet, gm_resolved *r, gm_error *err) {
    gm__norm_table *t = b->t;
    const gm_graph *g = m->graph;
    gm_status status = gm_resolve(g, &m->entry[subnet].choice, r, err);
    for (int i = 0; i < steps->count && !status; i++) {
        const gm__step *s = &steps->at[i];
        if (s->norm < 0 || !r->node[s->norm].active) continue;
        int bias = s->kind == GM__STEP_DENSE ? g->node[s->node].param[1] : -1, c = r->node[s->norm].out.c;
        size_t bytes = entry_bytes(t, c);
        fold(m, s->norm, bias >= 0 ? m->params + g->param[bias].offset : NULL, &m->entry[subnet], c, b);
        t->unshared += bytes;
        status = intern(b, bytes, (uint64_t)t->number[s->norm] << 32 | (uint64_t)c,
                        &t->entry[(size_t)subnet * (size_t)t->norms + (size_t)t->number[s->norm]], err);
    }
    return status;
}

gm_status gm__norm_table_create(const gm_model *m, const gm__steps *steps, bool narrow, gm__norm_table *out, gm_error *err) {
    const gm_graph *g = m->graph;
    *out = (gm__norm_table){.narrow = narrow, .number = gm_alloc((size_t)g->nodes, sizeof *out->number)};
    int widest = 0;
    for (int i = 0; out->number && i < g->nodes; i++) {
        out->number[i] = -1;
        if (strcmp(g->node[i].op->name, "norm") != 0) continue;
        out->number[i] = out->norms++;
        widest = gm_max(widest, g->param[g->node[i].param[0]].dims[0]);
    }
    building b = {.t = out, .entry = gm_alloc(entry_bytes(out, widest), 1), .scale = gm_alloc((size_t)widest + 1, sizeof *b.scale),
                  .shift = gm_alloc((size_t)widest + 1, sizeof *b.shift)};
    out->entry = gm_alloc((size_t)m->entries * (size_t)out->norms + 1, sizeof *out->entry);
    gm_resolved r = {0};
    gm_status status = gm_resolved_init(&r, g, err);
    if (!status && (!out->number || !out->entry || !b.entry || !b.scale || !b.shift))
        status = gm_fail(err, GM_ERR_MEMORY, "no memory for the norm table of %d subnets", m->entries);
    for (int i = 0; i < m->entries && !status; i++) status = add_subnet(&b, m, steps, i, &r, err);
    if (!status && out->bytes < out->cap) { // give back what was taken in advance
        uint8_t *data = gm_realloc(out->data, out->cap, out->bytes, 1);
        if (data) {
            out->data = data;
            out->cap = out->bytes;
        }
    }
    gm_resolved_fini(&r);
    gm_free(b.bucket);
    gm_free(b.hash);
    gm_free(b.entry);
    gm_free(b.scale);
    gm_free(b.shift);
    if (status) gm__norm_table_fini(out);
    return status;
}

void gm__norm_table_fini(gm__norm_table *t) {
    gm_free(t->number);
    gm_free(t->data);
    gm_free(t->entry);
    *t = (gm__norm_table){0};
}
