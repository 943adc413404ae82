// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/quant_rans.h"

#include <math.h>
#include <string.h>

static const uint32_t lowest = 1u << 15; // states lie in [2^15, 2^31): division by multiplication is exact below 2^31

static uint32_t four_bits(uint32_t v) { // rounded to 4 significant bits
    int drop = 0;
    while (v >> drop >= 16) drop++;
    return drop > 0 ? (v + (1u << (drop - 1))) >> drop << drop : v;
}

int gm__rans_normalise(const uint32_t *count, int symbols, uint16_t *f) {
    double total = 0;
    int best = 0;
    for (int i = 0; i < symbols; i++) {
        total += count[i];
        if (count[i] > count[best]) best = i;
    }
    uint32_t others = 0;
    for (int i = 0; i < symbols; i++) {
        f[i] = 0;
        if (i == best || !count[i]) continue;
        uint32_t v = four_bits((uint32_t)fmax(1, floor(count[i] / total * GM__RANS_TOTAL + 0.5)));
        f[i] = (uint16_t)v;
        others += v;
    }
    // Rounding up may leave the favourite nothing only when hundreds of symbols share the total: take from the largest.
    while (others >= GM__RANS_TOTAL) {
        int largest = -1;
        for (int i = 0; i < symbols; i++)
            if (i != best && (largest < 0 || f[i] > f[largest])) largest = i;
        uint32_t less = four_bits((uint32_t)f[largest] * 7 / 8);
        if (less >= f[largest]) less = f[largest] - 1u;
        others -= f[largest] - less;
        f[largest] = (uint16_t)less;
    }
    f[best] = (uint16_t)(GM__RANS_TOTAL - others);
    return best;
}

// Division by the frequency as multiplication (Giesen, ryg_rans; exact for states below 2^31): for a frequency of 1 the
// reciprocal 2^32 - 1 gives x - 1, and the bias makes up for it.
void gm__rans_encoder_row(const uint16_t *f, int symbols, gm__rans_encoder *to) {
    uint32_t start = 0;
    for (int i = 0; i < symbols; i++) {
        gm__rans_encoder e = {.frequency = f[i], .bias = start};
        if (f[i] == 1) {
            e.reciprocal = 0xffffffffu;
            e.bias = start + GM__RANS_TOTAL - 1;
        } else if (f[i] > 1) {
            int shift = 0;
            while (f[i] > 1u << shift) shift++;
            e.reciprocal = (uint32_t)((((uint64_t)1 << (shift + 31)) + f[i] - 1) / f[i]);
            e.shift = (uint16_t)(shift - 1);
        }
        start += f[i];
        to[i] = e;
    }
}

void gm__rans_decoder_row(const uint16_t *f, int symbols, uint32_t *to) {
    uint32_t at = 0;
    for (int i = 0; i < symbols; i++)
        for (uint32_t j = 0; j < f[i]; j++) to[at++] = (f[i] - 1u) << 20 | j << 8 | (uint32_t)i;
}

size_t gm__rans_bound(size_t symbols) { return symbols + symbols / 2 + 4 * GM__RANS_LANES + 16; }

typedef struct sink { // grows towards the front
    uint8_t *at;
} sink;

static inline void put_word(sink *s, uint32_t word) {
    s->at -= 2;
    s->at[0] = (uint8_t)word;
    s->at[1] = (uint8_t)(word >> 8);
}

static inline uint32_t encode(uint32_t x, const gm__rans_encoder *e, sink *s) {
    if (x >> 19 >= e->frequency) {
        put_word(s, x);
        x >>= 16;
    }
    uint32_t q = (uint32_t)((uint64_t)x * e->reciprocal >> 32) >> e->shift;
    return x + e->bias + q * (GM__RANS_TOTAL - e->frequency);
}

static inline const gm__rans_encoder *encoder_of(const gm__rans_run *r, size_t i) {
    return &r->row.encoder[r->context ? r->context[i] : 0][r->symbol[i]];
}

// Whole turns of the lanes, from symbol i down to what is left of one. Everything in local variables: a byte that is written might
// be any other, for all the compiler knows.
static size_t encode_turns(const gm__rans_run *r, size_t i, uint32_t *lanes, sink *s) {
    static const uint8_t none[GM__RANS_LANES];
    const gm__rans_encoder *const *row = r->row.encoder;
    const uint8_t *context = r->context, *symbol = r->symbol;
    uint32_t x[GM__RANS_LANES];
    sink out = *s;
    memcpy(x, lanes, sizeof x);
    for (; i >= GM__RANS_LANES; i -= GM__RANS_LANES) {
        const uint8_t *c = context ? context + i - GM__RANS_LANES : none, *v = symbol + i - GM__RANS_LANES;
        for (int l = GM__RANS_LANES - 1; l >= 0; l--) {
            const gm__rans_encoder *e = &row[c[l]][v[l]];
            x[l] = encode(x[l], e, &out);
        }
    }
    memcpy(lanes, x, sizeof x);
    *s = out;
    return i;
}

size_t gm__rans_encode(const gm__rans_run *run, int runs, uint8_t *to, size_t room) {
    uint32_t x[GM__RANS_LANES];
    size_t total = 0;
    sink s = {to + room};
    for (int l = 0; l < GM__RANS_LANES; l++) x[l] = lowest;
    for (int k = 0; k < runs; k++) total += run[k].count;
    for (int k = runs - 1; k >= 0; k--) { // last symbol first
        const gm__rans_run *r = &run[k];
        size_t i = r->count;
        total -= r->count; // number of the run's first symbol: which lane it has
        for (; i > 0 && (total + i) % GM__RANS_LANES != 0; i--) {
            size_t lane = (total + i - 1) % GM__RANS_LANES;
            x[lane] = encode(x[lane], encoder_of(r, i - 1), &s);
        }
        i = encode_turns(r, i, x, &s);
        for (; i > 0; i--) {
            size_t lane = (total + i - 1) % GM__RANS_LANES;
            x[lane] = encode(x[lane], encoder_of(r, i - 1), &s);
        }
    }
    for (int l = GM__RANS_LANES - 1; l >= 0; l--) {
        put_word(&s, x[l] >> 16);
        put_word(&s, x[l]);
    }
    return (size_t)(to + room - s.at);
}

typedef struct source {
    const uint8_t *at, *end;
    bool broken;
} source;

static inline uint32_t decode(uint32_t x, const uint32_t *row, uint8_t *symbol) {
    uint32_t e = row[x & (GM__RANS_TOTAL - 1)];
    *symbol = (uint8_t)e;
    return ((e >> 20) + 1) * (x >> GM__RANS_BITS) + (e >> 8 & (GM__RANS_TOTAL - 1));
}

static inline uint32_t refill(uint32_t x, source *s) {
    if (x >= lowest) return x;
    if (s->end - s->at < 2) {
        s->broken = true;
        return lowest;
    }
    x = x << 16 | s->at[0] | (uint32_t)s->at[1] << 8;
    s->at += 2;
    return x;
}

static inline const uint32_t *decoder_of(const gm__rans_run *r, size_t i) {
    return r->row.decoder[r->context ? r->context[i] : 0];
}

static size_t decode_slowly(const gm__rans_run *r, size_t i, size_t end, size_t before, uint32_t *x, source *s) {
    for (; i < end && !s->broken; i++) {
        size_t lane = (before + i) % GM__RANS_LANES;
        x[lane] = refill(decode(x[lane], decoder_of(r, i), &r->symbol[i]), s);
    }
    return i;
}

// Whole turns of the lanes, without a check of the end: needs 16 bytes ahead of s->at.
static size_t decode_turns(const gm__rans_run *r, size_t i, uint32_t *lanes, source *s) {
    const uint8_t *at = s->at, *safe = s->end - 2 * GM__RANS_LANES;
    const uint8_t *context = r->context;
    uint32_t x[GM__RANS_LANES];
    memcpy(x, lanes, sizeof x);
    for (; i + GM__RANS_LANES <= r->count && at <= safe; i += GM__RANS_LANES) {
        for (int l = 0; l < GM__RANS_LANES; l++) {
            uint32_t v = decode(x[l], r->row.decoder[context ? context[i + (size_t)l] : 0], &r->symbol[i + (size_t)l]);
            uint32_t filled = v << 16 | at[0] | (uint32_t)at[1] << 8;
            bool more = v < lowest;
            x[l] = more ? filled : v;
            at += more ? 2 : 0;
        }
    }
    memcpy(lanes, x, sizeof x);
    s->at = at;
    return i;
}

bool gm__rans_decode(const gm__rans_run *run, int runs, const uint8_t *from, size_t bytes) {
    uint32_t x[GM__RANS_LANES];
    size_t before = 0;
    if (bytes < sizeof x) return false;
    source s = {from + sizeof x, from + bytes, false};
    for (int l = 0; l < GM__RANS_LANES; l++) {
        const uint8_t *b = from + 4 * l;
        x[l] = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        if (x[l] < lowest || x[l] >> 31) return false;
    }
    for (int k = 0; k < runs; k++) {
        const gm__rans_run *r = &run[k];
        size_t lead = (GM__RANS_LANES - before % GM__RANS_LANES) % GM__RANS_LANES;
        size_t i = decode_slowly(r, 0, lead < r->count ? lead : r->count, before, x, &s);
        if (s.end - s.at >= 2 * GM__RANS_LANES) i = decode_turns(r, i, x, &s);
        decode_slowly(r, i, r->count, before, x, &s);
        before += r->count;
    }
    bool whole = !s.broken && s.at == s.end;
    for (int l = 0; l < GM__RANS_LANES; l++) whole = whole && x[l] == lowest;
    return whole;
}
