// SPDX-License-Identifier: Apache-2.0
// How often each id follows each previous one: decides the tables of the coder, and tells the search what a configuration
// costs without coding it.
#include "checkpoint/quant_private.h"

#include <math.h>

typedef struct work {
    const gm__quant_state *s, *previous;
    gm__counts *counts;
} work;

static void count_tensor(const gm__quant_state *s, const gm__quant_state *previous, int i, gm__counts *c) {
    const gm__part *p = &s->part[i];
    const uint8_t *ids = s->ids + p->first;
    if (!previous) {
        uint32_t n[4][GM__QUANT_LEVELS] = {{0}};
        for (size_t j = 0; j < p->count; j++) n[j & 3][ids[j]]++;
        for (int l = 0; l < GM__QUANT_LEVELS; l++) c->n[0][l] = n[0][l] + n[1][l] + n[2][l] + n[3][l];
        return;
    }
    // Neighbours often have the same pair, and adding to one counter twice in a row waits for memory: two tables.
    const uint8_t *before = previous->ids + p->first;
    gm__counts other;
    memset(&other, 0, sizeof other);
    size_t j = 0;
    for (; j + 2 <= p->count; j += 2) {
        c->n[before[j]][ids[j]]++;
        other.n[before[j + 1]][ids[j + 1]]++;
    }
    if (j < p->count) c->n[before[j]][ids[j]]++;
    for (int a = 0; a < GM__QUANT_LEVELS; a++)
        for (int b = 0; b < GM__QUANT_LEVELS; b++) c->n[a][b] += other.n[a][b];
}

static void count_task(void *context, int begin, int end, int worker) {
    (void)worker;
    const work *w = context;
    for (int i = begin; i < end; i++) count_tensor(w->s, w->previous, i, &w->counts[i]);
}

gm_status gm__quant_count(const gm__quant_state *s, const gm__quant_state *previous, bool parallel, gm__counts **out,
                          gm_error *err) {
    work w = {.s = s, .previous = previous, .counts = gm_alloc((size_t)s->tensors, sizeof *w.counts)};
    if (!w.counts) return gm_fail(err, GM_ERR_MEMORY, "no memory to count the ids of %d tensors", s->tensors);
    gm__quant_run(parallel, s->tensors, count_task, &w);
    *out = w.counts;
    return GM_OK;
}

double gm__quant_entropy(const uint32_t *count, int n) {
    double total = 0, sum = 0;
    for (int i = 0; i < n; i++) {
        if (!count[i]) continue;
        total += count[i];
        sum += count[i] * log2(count[i]);
    }
    return total > 0 ? total * log2(total) - sum : 0;
}

double gm__quant_bits(const gm__quant_state *s, const gm__quant_state *previous, const gm__counts *counts) {
    double bits = 0;
    for (int i = 0; i < s->tensors; i++) {
        const gm__part *p = &s->part[i];
        bool same = previous && previous->part[i].bins == p->bins &&
                    memcmp(previous->part[i].centre, p->centre, sizeof p->centre) == 0;
        for (int c = 0; c < GM__QUANT_LEVELS; c++) bits += gm__quant_entropy(counts[i].n[c], GM__QUANT_LEVELS);
        bits += same ? 1 : 12.0 * p->bins;
        // a value that was protected before costs the difference only
        double again = previous ? counts[i].n[GM__QUANT_PROTECTED][GM__QUANT_PROTECTED] : 0;
        bits += 12 * ((double)p->kept - again) + 4 * again;
    }
    return s->weights > 0 ? bits / (double)s->weights : 0;
}
