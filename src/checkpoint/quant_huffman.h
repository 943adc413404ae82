// SPDX-License-Identifier: Apache-2.0
// Bits and canonical Huffman codes, for the published coder. Bits fill bytes from the top.
#ifndef GAMUT_CHECKPOINT_QUANT_HUFFMAN_H
#define GAMUT_CHECKPOINT_QUANT_HUFFMAN_H

#include <gamut/base.h>

typedef struct gm__bit_writer {
    uint8_t *data; // gm_free
    size_t bytes, room;
    uint64_t held;
    int count;
    bool failed;
} gm__bit_writer;
void gm__bits_put(gm__bit_writer *w, uint64_t value, int bits); // 0 to 32
void gm__bits_put_gamma(gm__bit_writer *w, uint32_t value);     // Elias gamma, 1 or more
bool gm__bits_end(gm__bit_writer *w);                           // fills the last byte with zeros; false: out of memory

typedef struct gm__bit_reader {
    const uint8_t *data;
    size_t bytes, at; // at: in bits
    bool broken;      // read beyond the end
} gm__bit_reader;
int gm__bits_get1(gm__bit_reader *r);
uint32_t gm__bits_get(gm__bit_reader *r, int bits); // 0 to 32
uint32_t gm__bits_get_gamma(gm__bit_reader *r);     // 0: broken

enum { GM__HUFFMAN_KEYS = 1 << 17, GM__HUFFMAN_LONGEST = 32 };
typedef struct gm__huffman {
    int symbols;         // in use
    uint32_t *key;       // ascending
    uint8_t *length;     // of each; 0 when there is only one symbol, which then costs nothing
    uint32_t *code;
    // for decoding: symbols sorted by length, then key
    uint32_t *order;     // index into key
    uint32_t first[GM__HUFFMAN_LONGEST + 2], offset[GM__HUFFMAN_LONGEST + 2], counts[GM__HUFFMAN_LONGEST + 2];
} gm__huffman;
// From how often each key occurs (GM__HUFFMAN_KEYS counters).
gm_status gm__huffman_build(gm__huffman *h, const uint32_t *count, gm_error *err);
void gm__huffman_fini(gm__huffman *h);
uint64_t gm__huffman_bits(const gm__huffman *h, const uint32_t *count); // table and data
void gm__huffman_put_table(gm__bit_writer *w, const gm__huffman *h);
// *whole false: no table that may be.
gm_status gm__huffman_get_table(gm__bit_reader *r, gm__huffman *h, bool *whole, gm_error *err);
int gm__huffman_find(const gm__huffman *h, uint32_t key); // index
uint32_t gm__huffman_get(gm__bit_reader *r, const gm__huffman *h); // key

#endif
