// SPDX-License-Identifier: Apache-2.0
// A binary range coder with adaptive probabilities, for the small numbers of a blob (tables, codebooks, protected values):
// no tables of its own, so it pays from the first number on. Coder as in LZMA (Pavlov): 32-bit range, carries resolved by a
// cached byte; probabilities of 12 bits, the mean of a fast and a slow estimate.
#ifndef GAMUT_CHECKPOINT_QUANT_RANGE_H
#define GAMUT_CHECKPOINT_QUANT_RANGE_H

#include <gamut/base.h>

typedef struct gm__bit { // adaptive probability that a bit is 0
    uint16_t fast, slow; // 16 bits; start at one half
} gm__bit;
enum { GM__BIT_HALF = 32768 };
void gm__bit_init(gm__bit *bit, int n);

typedef struct gm__range_writer {
    uint8_t *data; // gm_free
    size_t bytes, room;
    uint64_t low;
    uint32_t range;
    uint8_t cache;
    uint64_t pending;
    bool begun, failed; // failed: out of memory
} gm__range_writer;
void gm__range_begin(gm__range_writer *w);
void gm__range_put(gm__range_writer *w, gm__bit *model, int bit);
void gm__range_put_direct(gm__range_writer *w, uint32_t value, int bits); // equally likely, 0 to 16 bits
void gm__range_put_tree(gm__range_writer *w, gm__bit *model, int bits, uint32_t value); // model: 1 << bits
// Any number: how many bits it has (tree of 6 bits), then those below the first.
void gm__range_put_number(gm__range_writer *w, gm__bit *model, uint32_t value); // model: 64
bool gm__range_end(gm__range_writer *w); // false: out of memory

typedef struct gm__range_reader {
    const uint8_t *at, *end;
    uint32_t code, range;
    int missing; // bytes read beyond the end: more than 4 cannot come from a whole stream
} gm__range_reader;
void gm__range_open(gm__range_reader *r, const uint8_t *data, size_t bytes);
int gm__range_get(gm__range_reader *r, gm__bit *model);
uint32_t gm__range_get_direct(gm__range_reader *r, int bits);
uint32_t gm__range_get_tree(gm__range_reader *r, gm__bit *model, int bits);
uint32_t gm__range_get_number(gm__range_reader *r, gm__bit *model);
static inline bool gm__range_broken(const gm__range_reader *r) { return r->missing > 4; }

static inline uint32_t gm__zigzag(int32_t v) { return (uint32_t)v << 1 ^ (v < 0 ? 0xffffffffu : 0); }
static inline int32_t gm__unzigzag(uint32_t v) { return (int32_t)(v >> 1) ^ -(int32_t)(v & 1); }

#endif
