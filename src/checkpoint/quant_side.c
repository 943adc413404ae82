// SPDX-License-Identifier: Apache-2.0
// Codebooks and protected values: small numbers, range coded. A codebook that did not change costs a fraction of a bit; one that
// moved, the steps of its centres; a protected value that was protected before, its step.
#include "checkpoint/quant_blob.h"

static int32_t rank(gm_bf16 v) { return gm__rank16(v); }
static bool finite16(gm_bf16 v) { return (v & 0x7f80u) != 0x7f80u; }

typedef struct models {
    gm__bit same[2], step[64], gap[64];
    gm__bit exponent[256], again[64], high[8];
} models;

static void models_init(models *m) {
    gm__bit_init(m->same, 2);
    gm__bit_init(m->step, 64);
    gm__bit_init(m->gap, 64);
    gm__bit_init(m->exponent, 256);
    gm__bit_init(m->again, 64);
    gm__bit_init(m->high, 8);
}

void gm__codebooks_put(gm__range_writer *w, const gm__quant_state *s, const gm__quant_state *previous) {
    models m;
    models_init(&m);
    for (int i = 0; i < s->tensors; i++) {
        const gm__part *p = &s->part[i], *last = previous ? &previous->part[i] : NULL;
        if (last && last->bins == p->bins) {
            bool same = memcmp(p->centre, last->centre, (size_t)p->bins * sizeof *p->centre) == 0;
            gm__range_put(w, m.same, same);
            for (int c = 0; c < p->bins && !same; c++)
                gm__range_put_number(w, m.step, gm__zigzag(rank(p->centre[c]) - rank(last->centre[c])));
        } else {
            gm__range_put_direct(w, (uint32_t)rank(p->centre[0]), 16);
            for (int c = 1; c < p->bins; c++)
                gm__range_put_number(w, m.gap, gm__zigzag(rank(p->centre[c]) - rank(p->centre[c - 1])));
        }
    }
}

bool gm__codebooks_get(gm__range_reader *r, gm__quant_state *s, const gm__quant_state *previous) {
    models m;
    models_init(&m);
    for (int i = 0; i < s->tensors; i++) {
        gm__part *p = &s->part[i];
        const gm__part *last = previous ? &previous->part[i] : NULL;
        bool known = last && last->bins == p->bins;
        if (known && gm__range_get(r, m.same)) {
            memcpy(p->centre, last->centre, sizeof p->centre);
            continue;
        }
        for (int c = 0; c < p->bins; c++) {
            int64_t from = known ? rank(last->centre[c]) : c > 0 ? rank(p->centre[c - 1]) : 0, to;
            if (!known && c == 0) to = (int64_t)gm__range_get_direct(r, 16);
            else to = from + gm__unzigzag(gm__range_get_number(r, known ? m.step : m.gap));
            if (to < 0 || to > 65535 || gm__range_broken(r)) return false;
            p->centre[c] = gm__unrank16((uint16_t)to);
            if (!finite16(p->centre[c])) return false;
        }
    }
    return true;
}

// Walks the protected of s and, beside them, those of the previous checkpoint.
typedef struct walk {
    const gm__quant_state *s, *previous;
    int tensor;
    size_t at;            // within the tensor
    size_t kept, kept_before;
} walk;

// The next protected weight; *before: its value in the previous checkpoint, or NULL.
static bool next_kept(walk *k, const gm_bf16 **before) {
    for (; k->tensor < k->s->tensors; k->tensor++, k->at = 0) {
        const gm__part *p = &k->s->part[k->tensor];
        const uint8_t *ids = k->s->ids + p->first, *old = k->previous ? k->previous->ids + p->first : NULL;
        while (k->at < p->count) {
            const uint8_t *here = memchr(ids + k->at, GM__QUANT_PROTECTED, p->count - k->at);
            size_t to = here ? (size_t)(here - ids) : p->count;
            if (old) {
                const uint8_t *o = old + k->at, *end = old + to;
                while (o < end && (o = memchr(o, GM__QUANT_PROTECTED, (size_t)(end - o)))) {
                    k->kept_before++;
                    o++;
                }
            }
            k->at = to;
            if (!here) break;
            bool was = old && old[to] == GM__QUANT_PROTECTED;
            *before = was ? &k->previous->kept[k->kept_before++] : NULL;
            k->at++;
            k->kept++;
            return true;
        }
    }
    return false;
}

void gm__kept_put(gm__range_writer *w, const gm__quant_state *s, const gm__quant_state *previous) {
    models m;
    walk k = {.s = s, .previous = previous};
    const gm_bf16 *before;
    models_init(&m);
    while (next_kept(&k, &before)) {
        gm_bf16 v = s->kept[k.kept - 1];
        if (before) {
            gm__range_put_number(w, m.again, gm__zigzag(rank(v) - rank(*before)));
        } else {
            gm__range_put_direct(w, v >> 15, 1);
            gm__range_put_tree(w, m.exponent, 8, v >> 7 & 0xffu);
            gm__range_put_tree(w, m.high, 3, v >> 4 & 7u);
            gm__range_put_direct(w, v & 15u, 4);
        }
    }
}

bool gm__kept_get(gm__range_reader *r, gm__quant_state *s, const gm__quant_state *previous) {
    models m;
    walk k = {.s = s, .previous = previous};
    const gm_bf16 *before;
    models_init(&m);
    while (next_kept(&k, &before)) {
        uint32_t v;
        if (before) {
            int64_t to = (int64_t)rank(*before) + gm__unzigzag(gm__range_get_number(r, m.again));
            if (to < 0 || to > 65535) return false;
            v = gm__unrank16((uint16_t)to);
        } else {
            v = gm__range_get_direct(r, 1) << 15;
            v |= gm__range_get_tree(r, m.exponent, 8) << 7;
            v |= gm__range_get_tree(r, m.high, 3) << 4;
            v |= gm__range_get_direct(r, 4);
        }
        if (!finite16((gm_bf16)v) || gm__range_broken(r)) return false;
        s->kept[k.kept - 1] = (gm_bf16)v;
    }
    return true;
}
