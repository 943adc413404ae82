// SPDX-License-Identifier: Apache-2.0
// Canonical Huffman codes over sparse alphabets. A table is written as the keys in ascending order (Elias gamma of the gaps)
// and 6 bits of code length each.
#include "checkpoint/quant_huffman.h"

#include <string.h>

enum { LENGTH_BITS = 6 };

static void put_byte(gm__bit_writer *w, uint8_t byte) {
    if (w->bytes == w->room && !w->failed) {
        size_t room = w->room ? 2 * w->room : 4096;
        uint8_t *data = gm_realloc(w->data, w->room, room, 1);
        w->failed = data == NULL;
        if (data) {
            w->data = data;
            w->room = room;
        }
    }
    if (!w->failed) w->data[w->bytes++] = byte;
}

void gm__bits_put(gm__bit_writer *w, uint64_t value, int bits) {
    if (bits == 0) return;
    w->held = w->held << bits | (value & (((uint64_t)1 << bits) - 1));
    w->count += bits;
    while (w->count >= 8) {
        w->count -= 8;
        put_byte(w, (uint8_t)(w->held >> w->count));
    }
}

static int bit_length(uint32_t v) {
    int n = 0;
    for (; v; v >>= 1) n++;
    return n;
}

void gm__bits_put_gamma(gm__bit_writer *w, uint32_t value) {
    int n = bit_length(value);
    gm__bits_put(w, 0, n - 1);
    gm__bits_put(w, value, n);
}

bool gm__bits_end(gm__bit_writer *w) {
    if (w->count > 0) gm__bits_put(w, 0, 8 - w->count);
    return !w->failed;
}

int gm__bits_get1(gm__bit_reader *r) {
    if (r->at >= 8 * r->bytes) {
        r->broken = true;
        return 0;
    }
    int bit = r->data[r->at >> 3] >> (7 - (r->at & 7)) & 1;
    r->at++;
    return bit;
}

uint32_t gm__bits_get(gm__bit_reader *r, int bits) {
    uint32_t v = 0;
    while (bits-- > 0) v = v << 1 | (uint32_t)gm__bits_get1(r);
    return v;
}

uint32_t gm__bits_get_gamma(gm__bit_reader *r) {
    int zeros = 0;
    while (!r->broken && !gm__bits_get1(r)) zeros++;
    if (r->broken || zeros > 31) {
        r->broken = true;
        return 0;
    }
    return (uint32_t)((1u << zeros) | gm__bits_get(r, zeros));
}

static gm_status make_room(gm__huffman *h, int symbols, gm_error *err) {
    size_t n = (size_t)symbols;
    *h = (gm__huffman){.symbols = symbols, .key = gm_alloc(n, sizeof *h->key), .length = gm_alloc(n, 1),
                       .code = gm_alloc(n, sizeof *h->code), .order = gm_alloc(n, sizeof *h->order)};
    if (h->key && h->length && h->code && h->order) return GM_OK;
    gm__huffman_fini(h);
    return gm_fail(err, GM_ERR_MEMORY, "no memory for a table of %d codes", symbols);
}

void gm__huffman_fini(gm__huffman *h) {
    gm_free(h->key);
    gm_free(h->length);
    gm_free(h->code);
    gm_free(h->order);
    *h = (gm__huffman){0};
}

// Codes from lengths. False unless they use up all codes exactly.
static bool number(gm__huffman *h) {
    memset(h->counts, 0, sizeof h->counts);
    uint32_t at = 0;
    uint64_t code = 0, used = 0;
    if (h->symbols == 1) {
        h->order[0] = 0;
        return h->length[0] == 0;
    }
    for (int i = 0; i < h->symbols; i++) {
        if (h->length[i] < 1 || h->length[i] > GM__HUFFMAN_LONGEST) return false;
        h->counts[h->length[i]]++;
        used += (uint64_t)1 << (GM__HUFFMAN_LONGEST - h->length[i]);
    }
    if (used != (uint64_t)1 << GM__HUFFMAN_LONGEST) return false;
    for (int l = 1; l <= GM__HUFFMAN_LONGEST; l++) {
        code <<= 1;
        h->first[l] = (uint32_t)code;
        h->offset[l] = at;
        for (int i = 0; i < h->symbols && h->counts[l] > 0; i++) {
            if (h->length[i] != l) continue;
            h->code[i] = (uint32_t)code++;
            h->order[at++] = (uint32_t)i;
        }
    }
    return true;
}

// Heap of nodes by weight; equal weights by number, so that the codes depend on the counts alone.
static bool before(const uint64_t *weight, uint32_t a, uint32_t b) {
    return weight[a] != weight[b] ? weight[a] < weight[b] : a < b;
}
static void sift_down(uint32_t *heap, int n, int i, const uint64_t *weight) {
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(weight, heap[child + 1], heap[child])) child++;
        if (!before(weight, heap[child], heap[i])) return;
        uint32_t swap = heap[i];
        heap[i] = heap[child];
        heap[child] = swap;
    }
}

// Lengths of the leaves; weight and parent have 2n entries, heap n. Returns the longest.
static int lengths(gm__huffman *h, uint64_t *weight, uint32_t *parent, uint32_t *heap) {
    int n = h->symbols, size = n, next = n, longest = 0;
    for (int i = 0; i < n; i++) heap[i] = (uint32_t)i;
    for (int i = n / 2 - 1; i >= 0; i--) sift_down(heap, n, i, weight);
    while (size > 1) {
        uint32_t a = heap[0];
        heap[0] = heap[--size];
        sift_down(heap, size, 0, weight);
        uint32_t b = heap[0];
        weight[next] = weight[a] + weight[b];
        parent[a] = parent[b] = (uint32_t)next;
        heap[0] = (uint32_t)next++;
        sift_down(heap, size, 0, weight);
    }
    for (int i = 0; i < n; i++) {
        int depth = 0;
        for (uint32_t at = (uint32_t)i; at != (uint32_t)next - 1; at = parent[at]) depth++;
        h->length[i] = (uint8_t)gm_min(depth, 255);
        longest = gm_max(longest, depth);
    }
    return longest;
}

gm_status gm__huffman_build(gm__huffman *h, const uint32_t *count, gm_error *err) {
    int n = 0;
    for (int k = 0; k < GM__HUFFMAN_KEYS; k++) n += count[k] > 0;
    gm_status status = make_room(h, n, err);
    if (status != GM_OK || n == 0) return status;
    for (int k = 0, i = 0; k < GM__HUFFMAN_KEYS; k++)
        if (count[k]) h->key[i++] = (uint32_t)k;
    uint64_t *weight = gm_alloc(2 * (size_t)n, sizeof *weight);
    uint32_t *parent = gm_alloc(3 * (size_t)n, sizeof *parent);
    if (!weight || !parent) status = gm_fail(err, GM_ERR_MEMORY, "no memory for a table of %d codes", n);
    // Codes that get too long: flatter counts, until they are not.
    for (int flat = 0; status == GM_OK; flat++) {
        for (int i = 0; i < n; i++) weight[i] = (count[h->key[i]] >> flat) + (flat > 0);
        if (lengths(h, weight, parent, parent + 2 * n) <= GM__HUFFMAN_LONGEST) break;
    }
    gm_free(weight);
    gm_free(parent);
    if (status == GM_OK) (void)number(h);
    else gm__huffman_fini(h);
    return status;
}

int gm__huffman_find(const gm__huffman *h, uint32_t key) {
    int low = 0, high = h->symbols;
    while (high - low > 1) {
        int mid = low + (high - low) / 2;
        if (h->key[mid] <= key) low = mid;
        else high = mid;
    }
    return low;
}

uint64_t gm__huffman_bits(const gm__huffman *h, const uint32_t *count) {
    uint64_t bits = 2 * (uint64_t)bit_length((uint32_t)h->symbols + 1) - 1;
    for (int i = 0; i < h->symbols; i++) {
        uint32_t gap = i > 0 ? h->key[i] - h->key[i - 1] : h->key[i] + 1;
        bits += 2 * (uint64_t)bit_length(gap) - 1 + LENGTH_BITS + (uint64_t)h->length[i] * count[h->key[i]];
    }
    return bits;
}

void gm__huffman_put_table(gm__bit_writer *w, const gm__huffman *h) {
    gm__bits_put_gamma(w, (uint32_t)h->symbols + 1);
    for (int i = 0; i < h->symbols; i++) {
        gm__bits_put_gamma(w, i > 0 ? h->key[i] - h->key[i - 1] : h->key[i] + 1);
        gm__bits_put(w, h->length[i], LENGTH_BITS);
    }
}

gm_status gm__huffman_get_table(gm__bit_reader *r, gm__huffman *h, bool *whole, gm_error *err) {
    uint32_t n = gm__bits_get_gamma(r);
    *h = (gm__huffman){0};
    // a symbol takes 7 bits at least: no table larger than what is left
    *whole = n > 0 && n - 1 <= GM__HUFFMAN_KEYS && (uint64_t)(n - 1) * 7 <= 8 * (uint64_t)r->bytes - r->at;
    if (!*whole) return GM_OK;
    gm_status status = make_room(h, (int)(n - 1), err);
    if (status != GM_OK) return status;
    uint64_t key = 0;
    for (int i = 0; i < h->symbols && *whole; i++) {
        key += gm__bits_get_gamma(r);
        h->length[i] = (uint8_t)gm__bits_get(r, LENGTH_BITS);
        *whole = !r->broken && key <= GM__HUFFMAN_KEYS;
        h->key[i] = (uint32_t)key - 1;
    }
    *whole = *whole && (h->symbols == 0 || number(h));
    return GM_OK;
}

uint32_t gm__huffman_get(gm__bit_reader *r, const gm__huffman *h) {
    if (h->symbols == 1) return h->key[0];
    uint32_t code = 0;
    for (int l = 1; l <= GM__HUFFMAN_LONGEST && !r->broken; l++) {
        code = code << 1 | (uint32_t)gm__bits_get1(r);
        if (code - h->first[l] < h->counts[l]) return h->key[h->order[h->offset[l] + (code - h->first[l])]];
    }
    r->broken = true;
    return 0;
}
