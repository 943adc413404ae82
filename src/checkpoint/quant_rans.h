// SPDX-License-Identifier: Apache-2.0
// rANS (Duda, arXiv 1311.2540; 32-bit states with 16-bit words as in Giesen, arXiv 1402.3392): eight states take turns, so that
// eight symbols are in flight and vector code fits. A row is a distribution over at most 256 symbols, in 4096ths.
#ifndef GAMUT_CHECKPOINT_QUANT_RANS_H
#define GAMUT_CHECKPOINT_QUANT_RANS_H

#include <gamut/base.h>

enum { GM__RANS_BITS = 12, GM__RANS_TOTAL = 1 << GM__RANS_BITS, GM__RANS_LANES = 8, GM__RANS_SYMBOLS = 256,
       GM__RANS_CHUNK = 1 << 20 }; // symbols that are coded together: chunks are independent

// From counts to frequencies; every symbol that occurs gets at least 1. No counts: all to symbol 0. Frequencies keep 4
// significant bits, which is what is written; only the favourite's, which makes up the total, has more. Returns the favourite:
// the symbol counted most, the lowest of equals.
int gm__rans_normalise(const uint32_t *count, int symbols, uint16_t *f);

typedef struct gm__rans_encoder { // of one symbol in one row
    uint32_t reciprocal;
    uint16_t frequency, shift;
    uint32_t bias;
} gm__rans_encoder;
void gm__rans_encoder_row(const uint16_t *f, int symbols, gm__rans_encoder *to); // symbols entries
// frequency << 20 | (slot - start) << 8 | symbol would need 33 bits for a frequency of 4096: stored less 1.
void gm__rans_decoder_row(const uint16_t *f, int symbols, uint32_t *to); // GM__RANS_TOTAL entries

// A run of symbols in one context scheme: symbol i is coded by row[context ? context[i] : 0].
typedef struct gm__rans_run {
    size_t count;
    const uint8_t *context; // NULL: always row[0]
    uint8_t *symbol;        // read when encoding, written when decoding
    union {
        const gm__rans_encoder *const *encoder; // a row each
        const uint32_t *const *decoder;
    } row;
} gm__rans_run;
// Bytes that the runs may need at most: 12 bits a symbol and the states.
size_t gm__rans_bound(size_t symbols);
// Encodes the runs one after another, as one chunk, to the end of to (of `room` bytes); returns the bytes used.
size_t gm__rans_encode(const gm__rans_run *run, int runs, uint8_t *to, size_t room);
bool gm__rans_decode(const gm__rans_run *run, int runs, const uint8_t *from, size_t bytes); // false: corrupt

#endif
