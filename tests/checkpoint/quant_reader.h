// SPDX-License-Identifier: Apache-2.0
// A second reader of quantized weights, written from docs/format-checkpoint-quant.md alone and sharing no code with the library
// (XXH64 apart). Slow and plain; for tests.
#ifndef GAMUT_QUANT_READER_H
#define GAMUT_QUANT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { RD_LEVELS = 128, RD_PRUNED = 126, RD_PROTECTED = 127 };

typedef struct rd_tensor {
    const char *name;
    uint64_t kind, count;
    int bins;
    uint16_t centre[126];
} rd_tensor;

typedef struct rd_state { // arrays of the caller, large enough
    int tensors;
    rd_tensor tensor[16];
    uint64_t weights;
    uint8_t *ids;
    uint16_t *kept; // one a weight: its bf16 where the id is 127
} rd_state;

// --- plain numbers
static inline uint64_t rd_u(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}
static inline uint16_t rd_rank(uint16_t b) { return (uint16_t)(b & 0x8000 ? b ^ 0xffff : b ^ 0x8000); }
static inline uint16_t rd_unrank(uint16_t r) { return (uint16_t)(r & 0x8000 ? r ^ 0x8000 : r ^ 0xffff); }
static inline int64_t rd_unzigzag(uint64_t v) { return v & 1 ? -(int64_t)(v / 2) - 1 : (int64_t)(v / 2); }

// --- the range coder
typedef struct rd_model {
    uint32_t fast, slow;
} rd_model;
typedef struct rd_range {
    const uint8_t *data;
    uint64_t bytes, at;
    uint32_t code, range;
} rd_range;
static inline void rd_fresh(rd_model *m, int n) {
    for (int i = 0; i < n; i++) m[i].fast = m[i].slow = 32768;
}
static inline uint32_t rd_byte(rd_range *r) {
    uint32_t b = r->at < r->bytes ? r->data[r->at] : 0;
    r->at++;
    return b;
}
static inline void rd_open(rd_range *r, const uint8_t *data, uint64_t bytes) {
    *r = (rd_range){data, bytes, 0, 0, 0xffffffffu};
    for (int i = 0; i < 4; i++) r->code = r->code << 8 | rd_byte(r);
}
static inline void rd_refill(rd_range *r) {
    while (r->range < 1u << 24) {
        r->range <<= 8;
        r->code = r->code << 8 | rd_byte(r);
    }
}
static inline int rd_bit(rd_range *r, rd_model *m) {
    uint32_t p = (m->fast + m->slow) >> 5, bound = (r->range >> 12) * (p ? p : 1);
    int bit = r->code >= bound;
    if (bit) {
        r->code -= bound;
        r->range -= bound;
        m->fast -= m->fast >> 4;
        m->slow -= m->slow >> 7;
    } else {
        r->range = bound;
        m->fast += (65535 - m->fast) >> 4;
        m->slow += (65535 - m->slow) >> 7;
    }
    rd_refill(r);
    return bit;
}
static inline uint64_t rd_direct(rd_range *r, int bits) {
    uint64_t v = 0;
    for (int i = 0; i < bits; i++) {
        r->range >>= 1;
        uint32_t one = r->code >= r->range;
        if (one) r->code -= r->range;
        v = 2 * v + one;
        rd_refill(r);
    }
    return v;
}
static inline int rd_tree(rd_range *r, rd_model *m, int bits) {
    int node = 1;
    for (int i = 0; i < bits; i++) node = 2 * node + rd_bit(r, &m[node]);
    return node - (1 << bits);
}
static inline uint64_t rd_number(rd_range *r, rd_model *m) {
    int n = rd_tree(r, m, 6);
    return n == 0 ? 0 : (uint64_t)1 << (n - 1) | rd_direct(r, n - 1);
}

// --- sections
static inline bool rd_codebooks(rd_range *r, rd_state *s, const rd_state *last) {
    rd_model same, step[64], gap[64];
    rd_fresh(&same, 1);
    rd_fresh(step, 64);
    rd_fresh(gap, 64);
    for (int i = 0; i < s->tensors; i++) {
        rd_tensor *t = &s->tensor[i];
        bool known = last && last->tensor[i].bins == t->bins;
        if (known && rd_bit(r, &same)) {
            memcpy(t->centre, last->tensor[i].centre, sizeof t->centre);
            continue;
        }
        int64_t rank = 0;
        for (int c = 0; c < t->bins; c++) {
            if (known) rank = rd_rank(last->tensor[i].centre[c]) + rd_unzigzag(rd_number(r, step));
            else if (c == 0) rank = (int64_t)rd_direct(r, 16);
            else rank += rd_unzigzag(rd_number(r, gap));
            if (rank < 0 || rank > 65535) return false;
            t->centre[c] = rd_unrank((uint16_t)rank);
        }
    }
    return true;
}

typedef struct rd_tables {
    uint32_t row[RD_LEVELS][15][RD_LEVELS];
    int rows[RD_LEVELS], use[16][RD_LEVELS];
} rd_tables;

static inline bool rd_row(rd_range *r, rd_model *favourite, rd_model *which, rd_model (*size)[16], int c, bool difference,
                          int most, uint32_t *row) {
    int best = c;
    if (!difference || !rd_bit(r, favourite)) best = rd_tree(r, which, 7);
    if (best >= RD_LEVELS) return false;
    uint32_t left = 4096;
    for (int id = 0; id < RD_LEVELS; id++) {
        if (id == best || (id >= most && id < RD_PRUNED)) continue;
        int apart = id > c ? id - c : c - id;
        int place = id == RD_PRUNED ? 4 : id == RD_PROTECTED ? 5 : !difference ? 6 : c >= RD_PRUNED ? 7 : apart > 3 ? 3 : apart;
        int n = rd_tree(r, size[place], 4), k = n - 1 < 3 ? n - 1 : 3;
        row[id] = n == 0 ? 0 : n == 1 ? 1 : (uint32_t)((1u << k | rd_direct(r, k)) << (n - 1 - k));
        if (row[id] >= left) return false;
        left -= row[id];
    }
    row[best] = left;
    return true;
}

static inline bool rd_read_tables(rd_range *r, const rd_state *s, bool difference, rd_tables *t) {
    rd_model rows[16], favourite, which[128], size[8][16], use[16];
    int most = 0;
    rd_fresh(rows, 16);
    rd_fresh(&favourite, 1);
    rd_fresh(which, 128);
    rd_fresh(size[0], 128);
    for (int i = 0; i < s->tensors; i++) most = s->tensor[i].bins > most ? s->tensor[i].bins : most;
    memset(t, 0, sizeof *t);
    for (int c = 0; c < (difference ? RD_LEVELS : 1); c++) {
        t->rows[c] = rd_tree(r, rows, 4);
        for (int k = 0; k < t->rows[c]; k++)
            if (!rd_row(r, &favourite, which, size, c, difference, most, t->row[c][k])) return false;
        rd_fresh(use, 16);
        for (int i = 0; i < s->tensors && t->rows[c] > 0; i++)
            if ((t->use[i][c] = rd_tree(r, use, 4)) > t->rows[c]) return false;
    }
    return true;
}

static inline bool rd_rans(rd_state *s, const rd_state *last, const rd_tables *t, const uint8_t *p, uint64_t bytes,
                           uint64_t first, uint64_t end) {
    uint64_t x[8], at = 32, start_of_tensor = 0;
    int tensor = 0;
    if (bytes < 32) return false;
    for (int l = 0; l < 8; l++) x[l] = rd_u(p + 4 * l, 4);
    for (uint64_t j = first; j < end; j++) {
        while (j >= start_of_tensor + s->tensor[tensor].count) start_of_tensor += s->tensor[tensor++].count;
        int context = last ? last->ids[j] : 0, use = t->use[tensor][context], id = 0;
        if (use == 0) return false;
        const uint32_t *row = t->row[context][use - 1];
        uint64_t *state = &x[(j - first) % 8], slot = *state % 4096, start = 0;
        while (slot >= start + row[id]) start += row[id++];
        s->ids[j] = (uint8_t)id;
        *state = row[id] * (*state >> 12) + slot - start;
        if (*state < 32768) {
            if (at + 2 > bytes) return false;
            *state = *state << 16 | rd_u(p + at, 2);
            at += 2;
        }
    }
    for (int l = 0; l < 8; l++)
        if (x[l] != 32768) return false;
    return at == bytes;
}

// --- the published coder
typedef struct rd_bits {
    const uint8_t *data;
    uint64_t bytes, at;
} rd_bits;
static inline int rd_b(rd_bits *b) {
    if (b->at >= 8 * b->bytes) {
        b->at++;
        return 0;
    }
    int bit = b->data[b->at / 8] >> (7 - b->at % 8) & 1;
    b->at++;
    return bit;
}
static inline uint64_t rd_gamma(rd_bits *b) {
    int zeros = 0;
    while (!rd_b(b) && zeros < 40) zeros++;
    uint64_t v = 1;
    while (zeros-- > 0) v = 2 * v + (uint64_t)rd_b(b);
    return v;
}
typedef struct rd_huffman {
    int keys;
    uint64_t *key, *code;
    int *length;
} rd_huffman;
static inline void rd_huffman_free(rd_huffman *h) {
    free(h->key);
    free(h->code);
    free(h->length);
    *h = (rd_huffman){0};
}
static inline bool rd_table(rd_bits *b, rd_huffman *h) {
    rd_huffman_free(h);
    h->keys = (int)rd_gamma(b) - 1;
    if (h->keys > 200000) return false;
    size_t n = (size_t)h->keys + 1;
    h->key = calloc(n, sizeof *h->key);
    h->code = calloc(n, sizeof *h->code);
    h->length = calloc(n, sizeof *h->length);
    uint64_t key = 0, code = 0;
    for (int i = 0; i < h->keys; i++) {
        key += rd_gamma(b);
        h->key[i] = key - 1;
        for (int k = 0; k < 6; k++) h->length[i] = 2 * h->length[i] + rd_b(b);
    }
    for (int l = 1; l < 64; l++, code <<= 1)
        for (int i = 0; i < h->keys; i++)
            if (h->length[i] == l) h->code[i] = code++;
    return true;
}
static inline uint64_t rd_key(rd_bits *b, const rd_huffman *h) {
    if (h->keys == 1) return h->key[0];
    uint64_t code = 0;
    for (int l = 1; l < 40; l++) {
        code = 2 * code + (uint64_t)rd_b(b);
        for (int i = 0; i < h->keys; i++)
            if (h->length[i] == l && h->code[i] == code) return h->key[i];
    }
    return UINT64_MAX;
}
static inline int rd_ring(int id, int size) { return id >= RD_PRUNED ? size - 2 + id - RD_PRUNED : id; }

static inline bool rd_paper(rd_state *s, const rd_state *last, int coder, const uint8_t *p, uint64_t bytes) {
    rd_bits b = {p, bytes, 0};
    rd_huffman h = {0};
    bool each = rd_b(&b), ok = true, regroup = coder == 1 && last;
    uint64_t first = 0;
    for (int i = 0; i < s->tensors && ok; first += s->tensor[i++].count) {
        int size = 2 + s->tensor[i].bins;
        if (last && 2 + last->tensor[i].bins > size) size = 2 + last->tensor[i].bins;
        if (each || i == 0) ok = rd_table(&b, &h);
        uint64_t left = 0, key = 0, done = 0;
        for (int stream = 0; stream < (regroup ? RD_LEVELS : 1) && ok; stream++) {
            for (uint64_t j = first; j < first + s->tensor[i].count && ok; j++) {
                if (regroup && last->ids[j] != stream) continue;
                if (left == 0) {
                    key = rd_key(&b, &h);
                    left = 1;
                    rd_bits peek = b; // is a run length next?
                    bool none = coder == 3 || (coder == 1 && !last) || done + 1 == s->tensor[i].count;
                    uint64_t next = none ? 0 : rd_key(&peek, &h);
                    if (next != UINT64_MAX && next % 2 == 1) {
                        left = next / 2;
                        b = peek;
                    }
                }
                left--;
                done++;
                ok = key != UINT64_MAX && key % 2 == 0 && (int)(key / 2) < size;
                int d = (int)(key / 2), value = last ? (rd_ring(last->ids[j], size) - d + size) % size : d;
                s->ids[j] = (uint8_t)(value >= size - 2 ? RD_PRUNED + value - (size - 2) : value);
            }
        }
        ok = ok && left == 0;
    }
    rd_huffman_free(&h);
    return ok && (b.at + 7) / 8 == bytes;
}

// --- the whole
static inline bool rd_kept(rd_range *r, rd_state *s, const rd_state *last) {
    rd_model exponent[256], again[64], high[8];
    rd_fresh(exponent, 256);
    rd_fresh(again, 64);
    rd_fresh(high, 8);
    for (uint64_t j = 0; j < s->weights; j++) {
        if (s->ids[j] != RD_PROTECTED) continue;
        if (last && last->ids[j] == RD_PROTECTED) {
            s->kept[j] = rd_unrank((uint16_t)(rd_rank(last->kept[j]) + rd_unzigzag(rd_number(r, again))));
        } else {
            uint64_t v = rd_direct(r, 1) << 15;
            v |= (uint64_t)rd_tree(r, exponent, 8) << 7;
            v |= (uint64_t)rd_tree(r, high, 3) << 4;
            s->kept[j] = (uint16_t)(v | rd_direct(r, 4));
        }
    }
    return true;
}

static inline uint64_t rd_shapes(const rd_state *s) {
    uint64_t h = 0;
    for (int i = 0; i < s->tensors; i++) {
        uint8_t b[8];
        h = XXH64(s->tensor[i].name, strlen(s->tensor[i].name), h);
        for (int k = 0; k < 8; k++) b[k] = (uint8_t)(s->tensor[i].kind >> 8 * k);
        h = XXH64(b, 8, h);
        for (int k = 0; k < 8; k++) b[k] = (uint8_t)(s->tensor[i].count >> 8 * k);
        h = XXH64(b, 8, h);
    }
    return h;
}

static inline uint64_t rd_hash(const rd_state *s) {
    uint64_t h = XXH64(s->ids, s->weights, 0);
    uint8_t b[1024];
    for (int i = 0; i < s->tensors; i++) {
        b[0] = (uint8_t)s->tensor[i].bins;
        for (int c = 0; c < s->tensor[i].bins; c++) {
            b[1 + 2 * c] = (uint8_t)s->tensor[i].centre[c];
            b[2 + 2 * c] = (uint8_t)(s->tensor[i].centre[c] >> 8);
        }
        h = XXH64(b, 1 + 2 * (size_t)s->tensor[i].bins, h);
    }
    size_t n = 0;
    for (uint64_t j = 0; j < s->weights; j++) {
        if (s->ids[j] != RD_PROTECTED) continue;
        b[n++] = (uint8_t)s->kept[j];
        b[n++] = (uint8_t)(s->kept[j] >> 8);
        if (n == sizeof b) h = XXH64(b, n, h), n = 0;
    }
    return n ? XXH64(b, n, h) : h;
}

// s: tensors, names, kinds, counts and arrays filled in. last: the previous state, or NULL.
static inline bool rd_read(const uint8_t *p, uint64_t bytes, rd_state *s, const rd_state *last) {
    if (bytes < 72 || memcmp(p, "GMQT", 4) != 0 || p[4] != 3) return false;
    if (XXH64(p, bytes - 8, 0) != rd_u(p + bytes - 8, 8)) return false;
    int coder = p[5];
    const rd_state *from = p[6] ? last : NULL;
    if ((p[6] && !last) || (int)rd_u(p + 8, 4) != s->tensors || rd_u(p + 16, 8) != s->weights) return false;
    if (rd_u(p + 24, 8) != rd_shapes(s) || (from && rd_u(p + 32, 8) != rd_hash(from))) return false;
    for (int i = 0; i < s->tensors; i++)
        s->tensor[i].bins = (int)rd_u(p + (s->tensor[i].kind == 4 ? 14 : 12), 2);
    uint64_t side = rd_u(p + 56, 4), pieces = rd_u(p + 60, 4), at = 64 + 4 * pieces + side;
    rd_range r;
    rd_open(&r, p + 64 + 4 * pieces, side);
    if (!rd_codebooks(&r, s, from)) return false;
    rd_tables *t = malloc(sizeof *t);
    bool ok = t != NULL;
    if (coder == 0) ok = ok && rd_read_tables(&r, s, from != NULL, t);
    for (uint64_t i = 0; i < pieces && ok; i++) {
        uint64_t n = rd_u(p + 64 + 4 * i, 4), first = i << 20, end = first + (1 << 20);
        if (coder == 0) ok = rd_rans(s, from, t, p + at, n, first, end < s->weights ? end : s->weights);
        else ok = rd_paper(s, from, coder, p + at, n);
        at += n;
    }
    free(t);
    return ok && at == bytes - 8 && rd_kept(&r, s, from) && r.at >= r.bytes && r.at <= r.bytes + 4 &&
           rd_hash(s) == rd_u(p + 40, 8);
}

static inline float rd_value(const rd_state *s, int tensor, uint64_t j) { // j: among all weights
    uint16_t b = s->ids[j] == RD_PRUNED ? 0 : s->ids[j] == RD_PROTECTED ? s->kept[j] : s->tensor[tensor].centre[s->ids[j]];
    uint32_t u = (uint32_t)b << 16;
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

#endif
