// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/quant_range.h"

#include <string.h>

enum { PROBABILITY_BITS = 12, FAST = 4, SLOW = 7 };
static const uint32_t smallest_range = 1u << 24;

void gm__bit_init(gm__bit *bit, int n) {
    for (int i = 0; i < n; i++) bit[i] = (gm__bit){GM__BIT_HALF, GM__BIT_HALF};
}

// Of a 0, in 1 .. 4095.
static uint32_t probability(const gm__bit *b) {
    uint32_t p = ((uint32_t)b->fast + b->slow) >> (17 - PROBABILITY_BITS);
    return p < 1 ? 1 : p;
}

static void adapt(gm__bit *b, int bit) {
    if (bit) {
        b->fast = (uint16_t)(b->fast - (b->fast >> FAST));
        b->slow = (uint16_t)(b->slow - (b->slow >> SLOW));
    } else {
        b->fast = (uint16_t)(b->fast + ((65535 - b->fast) >> FAST));
        b->slow = (uint16_t)(b->slow + ((65535 - b->slow) >> SLOW));
    }
}

void gm__range_begin(gm__range_writer *w) { *w = (gm__range_writer){.range = 0xffffffffu, .pending = 1}; }

static void put_byte(gm__range_writer *w, uint8_t byte) {
    if (w->bytes == w->room && !w->failed) {
        size_t room = w->room ? 2 * w->room : 1024;
        uint8_t *data = gm_realloc(w->data, w->room, room, 1);
        if (data) {
            w->data = data;
            w->room = room;
        } else {
            w->failed = true;
        }
    }
    if (!w->failed) w->data[w->bytes++] = byte;
}

static void shift(gm__range_writer *w) {
    if (w->low < 0xff000000u || w->low > 0xffffffffu) {
        uint8_t carry = (uint8_t)(w->low >> 32), byte = w->cache;
        for (; w->pending > 0; w->pending--, byte = 0xff) {
            if (w->begun) put_byte(w, (uint8_t)(byte + carry));
            w->begun = true; // the very first byte is always 0: low starts at 0 and stays below 2^32
        }
        w->cache = (uint8_t)(w->low >> 24);
    }
    w->pending++;
    w->low = (w->low & 0x00ffffffu) << 8;
}

void gm__range_put(gm__range_writer *w, gm__bit *model, int bit) {
    uint32_t bound = (w->range >> PROBABILITY_BITS) * probability(model);
    if (bit) {
        w->low += bound;
        w->range -= bound;
    } else {
        w->range = bound;
    }
    adapt(model, bit);
    while (w->range < smallest_range) {
        w->range <<= 8;
        shift(w);
    }
}

void gm__range_put_direct(gm__range_writer *w, uint32_t value, int bits) {
    while (bits-- > 0) {
        w->range >>= 1;
        if (value >> bits & 1) w->low += w->range;
        while (w->range < smallest_range) {
            w->range <<= 8;
            shift(w);
        }
    }
}

void gm__range_put_tree(gm__range_writer *w, gm__bit *model, int bits, uint32_t value) {
    uint32_t node = 1;
    while (bits-- > 0) {
        int bit = (int)(value >> bits & 1);
        gm__range_put(w, &model[node], bit);
        node = 2 * node + (uint32_t)bit;
    }
}

static int length(uint32_t v) {
    int n = 0;
    for (; v; v >>= 1) n++;
    return n;
}

void gm__range_put_number(gm__range_writer *w, gm__bit *model, uint32_t value) {
    int n = length(value);
    gm__range_put_tree(w, model, 6, (uint32_t)n);
    if (n > 17) gm__range_put_direct(w, value >> 16 & ((1u << (n - 17)) - 1), n - 17);
    if (n > 1) gm__range_put_direct(w, value & ((1u << gm_min(n - 1, 16)) - 1), gm_min(n - 1, 16));
}

bool gm__range_end(gm__range_writer *w) {
    for (int i = 0; i < 5; i++) shift(w);
    // zeros at the end are what a reader supplies by itself, four of them
    for (int i = 0; i < 4 && w->bytes > 0 && !w->failed && w->data[w->bytes - 1] == 0; i++) w->bytes--;
    return !w->failed;
}

static uint8_t next(gm__range_reader *r) {
    if (r->at < r->end) return *r->at++;
    if (r->missing <= 4) r->missing++;
    return 0;
}

void gm__range_open(gm__range_reader *r, const uint8_t *data, size_t bytes) {
    *r = (gm__range_reader){.at = data, .end = data + bytes, .range = 0xffffffffu};
    for (int i = 0; i < 4; i++) r->code = r->code << 8 | next(r);
}

int gm__range_get(gm__range_reader *r, gm__bit *model) {
    uint32_t bound = (r->range >> PROBABILITY_BITS) * probability(model);
    int bit = r->code >= bound;
    if (bit) {
        r->code -= bound;
        r->range -= bound;
    } else {
        r->range = bound;
    }
    adapt(model, bit);
    while (r->range < smallest_range) {
        r->range <<= 8;
        r->code = r->code << 8 | next(r);
    }
    return bit;
}

uint32_t gm__range_get_direct(gm__range_reader *r, int bits) {
    uint32_t value = 0;
    while (bits-- > 0) {
        r->range >>= 1;
        uint32_t bit = r->code >= r->range;
        r->code -= bit ? r->range : 0;
        value = value << 1 | bit;
        while (r->range < smallest_range) {
            r->range <<= 8;
            r->code = r->code << 8 | next(r);
        }
    }
    return value;
}

uint32_t gm__range_get_tree(gm__range_reader *r, gm__bit *model, int bits) {
    uint32_t node = 1;
    for (int i = 0; i < bits; i++) node = 2 * node + (uint32_t)gm__range_get(r, &model[node]);
    return node - (1u << bits);
}

uint32_t gm__range_get_number(gm__range_reader *r, gm__bit *model) {
    int n = (int)gm__range_get_tree(r, model, 6);
    if (n == 0) return 0;
    if (n > 32) { // no number has that many bits
        r->missing = 5;
        return 0;
    }
    uint32_t value = 1;
    if (n > 17) value = value << (n - 17) | gm__range_get_direct(r, n - 17);
    int low = gm_min(n - 1, 16);
    return value << low | gm__range_get_direct(r, low);
}
