// SPDX-License-Identifier: Apache-2.0
// The published coder (Inshrinkerator, delta encoding) and its ablations. Ids lie on a ring of B levels, B the larger number of
// levels of the two checkpoints, pruned B-2 and protected B-1; D = (previous - current) mod B. Coder paper: the D of a tensor
// regrouped by previous id, values and run lengths in one alphabet, Huffman. rle: not regrouped. huffman: no run lengths.
// A first checkpoint: its ids, as they are. Decoding is (previous - D) mod B; the paper adds, which cannot be meant.
//
// Left open there: which streams share a Huffman table. Here one table serves the blob, or one each tensor, whichever is
// smaller on the whole. Runs end at 65,535.
#include "checkpoint/quant_blob.h"
#include "checkpoint/quant_huffman.h"

enum { LONGEST_RUN = 65535 };

// Alphabet: value v is key 2 v, run length n is key 2 n + 1 and follows the value it repeats.
typedef struct tokens {
    uint32_t *key;
    size_t count, room;
    size_t *end; // of each tensor
    bool failed;
} tokens;

static void add(tokens *t, uint32_t key) {
    if (t->count == t->room && !t->failed) {
        size_t room = t->room ? 2 * t->room : 4096;
        uint32_t *grown = gm_realloc(t->key, t->room, room, sizeof *grown);
        t->failed = grown == NULL;
        if (grown) {
            t->key = grown;
            t->room = room;
        }
    }
    if (!t->failed) t->key[t->count++] = key;
}

static int ring_size(const gm__part *p, const gm__part *last) { return gm_max(p->bins, last ? last->bins : 0) + 2; }
static int to_ring(int id, int size) { return id >= GM__QUANT_PRUNED ? size - 2 + (id - GM__QUANT_PRUNED) : id; }
static int from_ring(int v, int size) { return v >= size - 2 ? GM__QUANT_PRUNED + (v - (size - 2)) : v; }

static uint32_t value_of(const uint8_t *ids, const uint8_t *before, size_t i, int size) {
    int current = to_ring(ids[i], size);
    return (uint32_t)(before ? (to_ring(before[i], size) - current + size) % size : current);
}

// Positions of a tensor in the order of the streams, and where each stream ends.
typedef struct order {
    uint32_t *at;
    size_t end[GM__QUANT_LEVELS];
    int streams;
} order;

static void order_tensor(order *o, const gm__part *p, const uint8_t *before, bool regroup) {
    if (!before || !regroup) {
        o->streams = 1;
        o->end[0] = p->count;
        return;
    }
    size_t next[GM__QUANT_LEVELS] = {0};
    o->streams = GM__QUANT_LEVELS;
    for (size_t i = 0; i < p->count; i++) next[before[i]]++;
    size_t sum = 0;
    for (int b = 0; b < GM__QUANT_LEVELS; b++) {
        size_t n = next[b];
        next[b] = sum;
        o->end[b] = sum += n;
    }
    for (size_t i = 0; i < p->count; i++) o->at[next[before[i]]++] = (uint32_t)i;
}

// gm_alloc of the largest tensor's positions; NULL at *at when the coder does not regroup.
static gm_status order_init(order *o, const gm__quant_state *s, bool regroup, gm_error *err) {
    size_t most = 0;
    for (int i = 0; i < s->tensors; i++) most = s->part[i].count > most ? s->part[i].count : most;
    *o = (order){0};
    if (!regroup) return GM_OK;
    if (most > UINT32_MAX) return gm_fail(err, GM_ERR_UNSUPPORTED, "a tensor of more than 2^32 weights: use the coder rans");
    o->at = gm_alloc(most, sizeof *o->at);
    return o->at ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to regroup %zu ids", most);
}

static void tokens_of(tokens *t, const gm__part *p, const uint8_t *ids, const uint8_t *before, int size, const order *o,
                      bool regroup, bool runs) {
    size_t i = 0;
    for (int stream = 0; stream < o->streams; stream++) {
        while (i < o->end[stream]) {
            uint32_t v = value_of(ids, before, regroup ? o->at[i] : i, size);
            size_t n = 1;
            while (runs && n < LONGEST_RUN && i + n < o->end[stream] &&
                   value_of(ids, before, regroup ? o->at[i + n] : i + n, size) == v)
                n++;
            add(t, 2 * v);
            if (n > 1) add(t, 2 * (uint32_t)n + 1);
            i += n;
        }
    }
    (void)p;
}

static void count_keys(const tokens *t, size_t from, size_t to, uint32_t *count) {
    memset(count, 0, GM__HUFFMAN_KEYS * sizeof *count);
    for (size_t i = from; i < to; i++) count[t->key[i]]++;
}

static void put_tokens(gm__bit_writer *w, const gm__huffman *h, const tokens *t, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        int k = gm__huffman_find(h, t->key[i]);
        gm__bits_put(w, h->code[k], h->length[k]);
    }
}

// One table a tensor, or one for all: writes (w) or only adds up the bits (w NULL).
static gm_status write_all(gm__bit_writer *w, const tokens *t, int tensors, bool each, uint32_t *count, uint64_t *bits,
                           gm_error *err) {
    int tables = each ? tensors : 1;
    *bits = 1;
    for (int i = 0; i < tables; i++) {
        size_t from = each && i > 0 ? t->end[i - 1] : 0, to = each ? t->end[i] : t->count;
        gm__huffman h;
        count_keys(t, from, to, count);
        gm_status status = gm__huffman_build(&h, count, err);
        if (status != GM_OK) return status;
        *bits += gm__huffman_bits(&h, count);
        if (w) gm__huffman_put_table(w, &h);
        if (w) put_tokens(w, &h, t, from, to);
        gm__huffman_fini(&h);
    }
    return GM_OK;
}

gm_status gm__paper_encode(const gm__quant_state *s, const gm__quant_state *previous, gm__quant_coder coder, uint8_t **data,
                           size_t *bytes, gm_error *err) {
    bool regroup = coder == GM__QUANT_PAPER && previous, runs = coder != GM__QUANT_HUFFMAN && (previous || coder == GM__QUANT_RLE);
    tokens t = {.end = gm_alloc((size_t)s->tensors, sizeof *t.end)};
    uint32_t *count = gm_alloc(GM__HUFFMAN_KEYS, sizeof *count);
    gm__bit_writer w = {0};
    uint64_t one = 0, each = 0, used = 0;
    order o;
    gm_status status = order_init(&o, s, regroup, err);
    if (status == GM_OK && (!t.end || !count)) status = gm_fail(err, GM_ERR_MEMORY, "no memory to code ids");
    for (int i = 0; i < s->tensors && status == GM_OK; i++) {
        const gm__part *p = &s->part[i], *last = previous ? &previous->part[i] : NULL;
        const uint8_t *before = previous ? previous->ids + p->first : NULL;
        order_tensor(&o, p, before, regroup);
        tokens_of(&t, p, s->ids + p->first, before, ring_size(p, last), &o, regroup, runs);
        t.end[i] = t.count;
        if (t.failed) status = gm_fail(err, GM_ERR_MEMORY, "no memory for %zu tokens", t.count);
    }
    if (status == GM_OK) status = write_all(NULL, &t, s->tensors, false, count, &one, err);
    if (status == GM_OK) status = write_all(NULL, &t, s->tensors, true, count, &each, err);
    if (status == GM_OK) {
        gm__bits_put(&w, each < one, 1);
        status = write_all(&w, &t, s->tensors, each < one, count, &used, err);
    }
    if (status == GM_OK && !gm__bits_end(&w)) status = gm_fail(err, GM_ERR_MEMORY, "no memory to code ids");
    gm_free(o.at);
    gm_free(t.key);
    gm_free(t.end);
    gm_free(count);
    if (status != GM_OK) {
        gm_free(w.data);
        return status;
    }
    *data = w.data;
    *bytes = w.bytes;
    return GM_OK;
}

// ---------------------------------------------------------------------------------------------
static bool put_value(uint8_t *ids, const uint8_t *before, size_t i, uint32_t v, int size) {
    if (v >= (uint32_t)size) return false;
    int current = before ? (to_ring(before[i], size) - (int)v + size) % size : (int)v;
    ids[i] = (uint8_t)from_ring(current, size);
    return true;
}

// A value is followed by a run length only if its neighbour in the stream is the same: one key must be looked ahead.
typedef struct reader {
    gm__bit_reader bits;
    const gm__huffman *h;
    bool ahead;
    uint32_t key;
} reader;

static uint32_t next_key(reader *r) {
    if (r->ahead) {
        r->ahead = false;
        return r->key;
    }
    return gm__huffman_get(&r->bits, r->h);
}

static bool read_tensor(reader *r, const gm__part *p, uint8_t *ids, const uint8_t *before, int size, const order *o,
                        bool regroup, bool runs) {
    size_t i = 0;
    for (int stream = 0; stream < o->streams; stream++) {
        while (i < o->end[stream]) {
            uint32_t key = next_key(r);
            size_t n = 1;
            if (key & 1 || r->bits.broken) return false;
            bool more = i + 1 < p->count; // the last token of a tensor is followed by another table, perhaps
            if (runs && more) {
                r->key = gm__huffman_get(&r->bits, r->h);
                r->ahead = true;
                if (r->key & 1) {
                    n = r->key >> 1;
                    r->ahead = false;
                }
            }
            if (n < 1 || n > o->end[stream] - i || r->bits.broken) return false;
            for (; n > 0; n--, i++)
                if (!put_value(ids, before, regroup ? o->at[i] : i, key >> 1, size)) return false;
        }
    }
    return true;
}

gm_status gm__paper_decode(gm__quant_state *s, const gm__quant_state *previous, gm__quant_coder coder, const uint8_t *data,
                           size_t bytes, bool *whole, gm_error *err) {
    bool regroup = coder == GM__QUANT_PAPER && previous, runs = coder != GM__QUANT_HUFFMAN && (previous || coder == GM__QUANT_RLE);
    reader r = {.bits = {.data = data, .bytes = bytes}};
    gm__huffman h = {0};
    order o;
    gm_status status = order_init(&o, s, regroup, err);
    bool each = status == GM_OK && gm__bits_get1(&r.bits);
    *whole = true;
    for (int i = 0; i < s->tensors && status == GM_OK && *whole; i++) {
        const gm__part *p = &s->part[i], *last = previous ? &previous->part[i] : NULL;
        const uint8_t *before = previous ? previous->ids + p->first : NULL;
        if (each || i == 0) {
            gm__huffman_fini(&h);
            status = gm__huffman_get_table(&r.bits, &h, whole, err);
            r.h = &h;
        }
        if (status != GM_OK || !*whole || p->count == 0) continue;
        order_tensor(&o, p, before, regroup);
        *whole = h.symbols > 0 && read_tensor(&r, p, s->ids + p->first, before, ring_size(p, last), &o, regroup, runs);
    }
    // what is left is less than a byte, of zeros
    if (*whole && status == GM_OK) *whole = !r.ahead && !r.bits.broken && (r.bits.at + 7) / 8 == bytes;
    while (*whole && status == GM_OK && r.bits.at < 8 * bytes) *whole = gm__bits_get1(&r.bits) == 0;
    gm__huffman_fini(&h);
    gm_free(o.at);
    return status;
}
