// SPDX-License-Identifier: Apache-2.0
// Distributions of ids. One a (tensor, previous id) fits best but must be written: on a supernet of a few hundred thousand
// weights the tables would cost as much as the ids. So each takes, of the distributions already chosen for that previous id,
// the one that adds the fewest bits, or opens its own when that is cheaper still.
#include "checkpoint/quant_blob.h"

#include <math.h>

enum { ENTRY_BITS = 6, USE_BITS = 4, CLASS_BITS = 4, LEVEL_BITS = 7, PLACES = 8 };

gm_status gm__tables_init(gm__tables *t, const gm__quant_state *s, bool difference, gm_error *err) {
    *t = (gm__tables){.tensors = s->tensors, .contexts = difference ? GM__QUANT_LEVELS : 1};
    for (int i = 0; i < s->tensors; i++) t->levels = gm_max(t->levels, s->part[i].bins);
    t->f = gm_alloc((size_t)t->contexts * GM__TABLE_ROWS, sizeof *t->f);
    t->use = gm_alloc((size_t)t->tensors * (size_t)t->contexts, 1);
    if (t->f && t->use) return GM_OK;
    gm__tables_fini(t);
    return gm_fail(err, GM_ERR_MEMORY, "no memory for tables");
}

void gm__tables_fini(gm__tables *t) {
    gm_free(t->f);
    gm_free(t->use);
    *t = (gm__tables){0};
}

static uint64_t total(const uint32_t *n) {
    uint64_t sum = 0;
    for (int i = 0; i < GM__QUANT_LEVELS; i++) sum += n[i];
    return sum;
}

static double bits_of(const uint32_t *n) { // data and table
    int used = 0;
    for (int i = 0; i < GM__QUANT_LEVELS; i++) used += n[i] > 0;
    return gm__quant_entropy(n, GM__QUANT_LEVELS) + ENTRY_BITS * used + 8;
}

static void sum_of(const uint32_t *a, const uint32_t *b, uint32_t *out) {
    for (int i = 0; i < GM__QUANT_LEVELS; i++) {
        uint64_t v = (uint64_t)a[i] + b[i];
        out[i] = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
    }
}

typedef struct cluster {
    uint32_t n[GM__QUANT_LEVELS];
    double bits;
} cluster;

static void choose_context(gm__tables *t, const gm__counts *counts, int context, cluster *c) {
    int rows = 0;
    for (int i = 0; i < t->tensors; i++) {
        const uint32_t *n = counts[i].n[context];
        uint8_t *use = &t->use[(size_t)i * (size_t)t->contexts + (size_t)context];
        *use = 0;
        if (total(n) == 0) continue;
        uint32_t joined[GM__QUANT_LEVELS];
        double least = rows < GM__TABLE_ROWS ? bits_of(n) : INFINITY, bits = least;
        int best = rows;
        for (int r = 0; r < rows; r++) {
            sum_of(c[r].n, n, joined);
            double with = bits_of(joined), more = with - c[r].bits;
            if (more >= least) continue;
            least = more;
            bits = with;
            best = r;
        }
        if (best == rows) {
            memcpy(c[rows].n, n, sizeof c[rows].n);
            rows++;
        } else {
            sum_of(c[best].n, n, joined);
            memcpy(c[best].n, joined, sizeof joined);
        }
        c[best].bits = bits;
        *use = (uint8_t)(best + 1);
    }
    t->rows[context] = rows;
    for (int r = 0; r < rows; r++)
        t->favourite[context][r] =
            (uint8_t)gm__rans_normalise(c[r].n, GM__QUANT_LEVELS, t->f[context * GM__TABLE_ROWS + r]);
}

gm_status gm__tables_choose(gm__tables *t, const gm__counts *counts, gm_error *err) {
    cluster *c = gm_alloc(GM__TABLE_ROWS, sizeof *c);
    if (!c) return gm_fail(err, GM_ERR_MEMORY, "no memory for tables");
    for (int k = 0; k < t->contexts; k++) {
        memset(c, 0, GM__TABLE_ROWS * sizeof *c);
        choose_context(t, counts, k, c);
    }
    gm_free(c);
    return GM_OK;
}

typedef struct models {
    gm__bit use[1 << USE_BITS], rows[1 << USE_BITS], favourite[2], which[1 << LEVEL_BITS], size[PLACES][1 << CLASS_BITS];
} models;

static void models_init(models *m) {
    gm__bit_init(m->use, 1 << USE_BITS);
    gm__bit_init(m->rows, 1 << USE_BITS);
    gm__bit_init(m->favourite, 2);
    gm__bit_init(m->which, 1 << LEVEL_BITS);
    gm__bit_init(&m->size[0][0], PLACES << CLASS_BITS);
}

// Where an id stands, seen from the previous one: neighbours are far likelier than distant bins.
static int place(int context, bool difference, int level) {
    if (level == GM__QUANT_PRUNED) return 4;
    if (level == GM__QUANT_PROTECTED) return 5;
    if (!difference) return 6;
    if (context >= GM__QUANT_PRUNED) return 7;
    int d = level > context ? level - context : context - level;
    return gm_min(d, 3);
}

static bool exists(const gm__tables *t, int level) { return level < t->levels || level >= GM__QUANT_PRUNED; }

static int bit_length(uint32_t v) {
    int n = 0;
    for (; v; v >>= 1) n++;
    return n;
}

static void row_put(gm__range_writer *w, models *m, const gm__tables *t, int context, int row) {
    const uint16_t *f = t->f[context * GM__TABLE_ROWS + row];
    bool difference = t->contexts > 1;
    int favourite = t->favourite[context][row];
    if (difference) gm__range_put(w, m->favourite, favourite == context);
    if (!difference || favourite != context) gm__range_put_tree(w, m->which, LEVEL_BITS, (uint32_t)favourite);
    for (int l = 0; l < GM__QUANT_LEVELS; l++) {
        if (l == favourite || !exists(t, l)) continue;
        int n = bit_length(f[l]); // 0 to 12
        gm__range_put_tree(w, m->size[place(context, difference, l)], CLASS_BITS, (uint32_t)n);
        if (n > 1) {
            int bits = gm_min(n - 1, 3);
            gm__range_put_direct(w, f[l] >> (n - 1 - bits) & ((1u << bits) - 1), bits);
        }
    }
}

static bool row_get(gm__range_reader *r, models *m, const gm__tables *t, int context, uint16_t *f) {
    bool difference = t->contexts > 1;
    bool same = difference && gm__range_get(r, m->favourite);
    int favourite = same ? context : (int)gm__range_get_tree(r, m->which, LEVEL_BITS);
    if (favourite >= GM__QUANT_LEVELS || !exists(t, favourite)) return false;
    uint32_t others = 0;
    for (int l = 0; l < GM__QUANT_LEVELS; l++) {
        f[l] = 0;
        if (l == favourite || !exists(t, l)) continue;
        int n = (int)gm__range_get_tree(r, m->size[place(context, difference, l)], CLASS_BITS);
        if (n > GM__RANS_BITS) return false;
        if (n == 0) continue;
        int bits = gm_min(n - 1, 3);
        f[l] = (uint16_t)((1u << bits | gm__range_get_direct(r, bits)) << (n - 1 - bits));
        others += f[l];
    }
    if (others >= GM__RANS_TOTAL || gm__range_broken(r)) return false;
    f[favourite] = (uint16_t)(GM__RANS_TOTAL - others);
    return true;
}

void gm__tables_put(gm__range_writer *w, const gm__tables *t) {
    models m;
    models_init(&m);
    for (int c = 0; c < t->contexts; c++) {
        gm__range_put_tree(w, m.rows, USE_BITS, (uint32_t)t->rows[c]);
        for (int r = 0; r < t->rows[c]; r++) row_put(w, &m, t, c, r);
        gm__bit_init(m.use, 1 << USE_BITS);
        for (int i = 0; i < t->tensors && t->rows[c] > 0; i++)
            gm__range_put_tree(w, m.use, USE_BITS, t->use[(size_t)i * (size_t)t->contexts + (size_t)c]);
    }
}

bool gm__tables_get(gm__range_reader *r, gm__tables *t) {
    models m;
    models_init(&m);
    for (int c = 0; c < t->contexts; c++) {
        t->rows[c] = (int)gm__range_get_tree(r, m.rows, USE_BITS);
        for (int k = 0; k < t->rows[c]; k++)
            if (!row_get(r, &m, t, c, t->f[c * GM__TABLE_ROWS + k])) return false;
        gm__bit_init(m.use, 1 << USE_BITS);
        for (int i = 0; i < t->tensors && t->rows[c] > 0; i++) {
            uint32_t use = gm__range_get_tree(r, m.use, USE_BITS);
            if ((int)use > t->rows[c]) return false;
            t->use[(size_t)i * (size_t)t->contexts + (size_t)c] = (uint8_t)use;
        }
        if (gm__range_broken(r)) return false;
    }
    return true;
}
