// SPDX-License-Identifier: Apache-2.0
// Norm statistics and activation ranges in a model file (docs/format-model.md). Statistics of a norm depend only on what the
// choice says upstream of it: subnets that agree there have the same bits, and each distinct block is stored once.
#include "model/norms_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char norms_choice[] = "norms.choice", norms_mean[] = "norms.mean", norms_var[] = "norms.var",
                  norms_place[] = "norms.place", norms_ranged[] = "norms.ranged", ranges_name[] = "ranges";

static int by_choice(const void *a, const void *b) {
    return memcmp((*(const gm_norm_entry *const *)a)->choice.index, (*(const gm_norm_entry *const *)b)->choice.index,
                  GM_MAX_KNOBS);
}

// The batch norms in the order of the network.
static int next_norm(const gm_graph *g, int node) {
    while (node < g->nodes && strcmp(g->node[node].op->name, "norm") != 0) node++;
    return node;
}

void gm__norms_parts_fini(gm__norms_parts *p) {
    void *blocks[] = {p->sorted, p->choice, p->ranged, p->place, p->mean, p->var};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) gm_free(blocks[i]);
}

// ---------------------------------------------------------------------------------------------
// Writing
typedef struct pool {
    gm__norms_parts *p;
    size_t used, cap;  // of mean and var
    int64_t *bucket;   // place + 1 of a stored block, by hash
    uint64_t *hash;
    size_t buckets, stored;
} pool;

static gm_status pool_grow(pool *q, size_t more, gm_error *err) {
    if (q->used + more <= q->cap) return GM_OK;
    size_t cap = 2 * q->cap + more + 4096;
    float *mean = gm_realloc(q->p->mean, q->cap, cap, sizeof *mean);
    if (mean) q->p->mean = mean;
    float *var = mean ? gm_realloc(q->p->var, q->cap, cap, sizeof *var) : NULL;
    if (!var) return gm_fail(err, GM_ERR_MEMORY, "no memory to write norm statistics");
    q->p->var = var;
    q->cap = cap;
    return GM_OK;
}

// The place of these statistics, found or added. The norm is part of the key: equal numbers of two norms are a coincidence.
static gm_status pool_put(pool *q, int norm, const float *mean, const float *var, size_t c, int32_t *place, gm_error *err) {
    uint64_t hash = gm_hash64(var, c * sizeof *var, gm_hash64(mean, c * sizeof *mean, (uint64_t)norm << 32 | c));
    size_t slot = hash & (q->buckets - 1);
    for (; q->bucket[slot]; slot = (slot + 1) & (q->buckets - 1)) {
        size_t at = (size_t)(q->bucket[slot] - 1);
        if (q->hash[slot] != hash || q->used - at < c) continue;
        if (memcmp(q->p->mean + at, mean, c * sizeof *mean) || memcmp(q->p->var + at, var, c * sizeof *var)) continue;
        *place = (int32_t)at;
        return GM_OK;
    }
    gm_status status = pool_grow(q, c, err);
    if (!status && q->used + c > INT32_MAX)
        status = gm_fail(err, GM_ERR_RANGE, "more than %d norm statistics: a model file holds no more; calibrate fewer subnets", INT32_MAX);
    if (status) return status;
    memcpy(q->p->mean + q->used, mean, c * sizeof *mean);
    memcpy(q->p->var + q->used, var, c * sizeof *var);
    q->bucket[slot] = (int64_t)q->used + 1;
    q->hash[slot] = hash;
    *place = (int32_t)q->used;
    q->used += c;
    return GM_OK;
}

static gm_status pool_entry(pool *q, const gm_model *m, const gm_norm_entry *e, gm_resolved *r, int32_t *place, gm_error *err) {
    const gm_graph *g = m->graph;
    gm_status status = gm_resolve(g, &e->choice, r, err);
    for (int i = next_norm(g, 0); i < g->nodes && !status; i = next_norm(g, i + 1), place++) {
        *place = -1;
        if (!r->node[i].active) continue;
        size_t at = m->norm_offset[i], c = (size_t)r->node[i].out.c;
        status = pool_put(q, i, e->mean + at, e->var + at, c, place, err);
    }
    return status;
}

static gm_status pool_all(pool *q, const gm_model *m, gm_error *err) {
    size_t n = (size_t)m->entries, norms = (size_t)m->graph->norms;
    for (q->buckets = 1024; q->buckets < 2 * n * norms; q->buckets *= 2) continue;
    q->bucket = gm_alloc(q->buckets, sizeof *q->bucket);
    q->hash = gm_alloc(q->buckets, sizeof *q->hash);
    gm_resolved r = {0};
    gm_status status = gm_resolved_init(&r, m->graph, err);
    if (!status && (!q->bucket || !q->hash)) status = gm_fail(err, GM_ERR_MEMORY, "no memory to write norm statistics");
    for (size_t i = 0; i < n && !status; i++) status = pool_entry(q, m, q->p->sorted[i], &r, q->p->place + i * norms, err);
    gm_resolved_fini(&r);
    gm_free(q->bucket);
    gm_free(q->hash);
    return status;
}

static gm_status add_ranges(gm_tensor_writer *w, const gm_model *m, gm__norms_parts *p, gm_error *err) {
    const uint64_t nodes[] = {(uint64_t)m->graph->nodes}, entries[] = {(uint64_t)m->entries};
    bool any = false;
    for (int i = 0; i < m->entries; i++) any |= p->sorted[i]->ranged;
    if (!any) return GM_OK;
    p->ranged = gm_alloc((size_t)m->entries, 1);
    if (!p->ranged) return gm_fail(err, GM_ERR_MEMORY, "no memory to write activation ranges");
    for (int i = 0; i < m->entries; i++) p->ranged[i] = p->sorted[i]->ranged;
    gm_status status = gm__check_finite(m->range, (size_t)m->graph->nodes, ranges_name, err);
    if (!status) status = gm_tensor_writer_add(w, norms_ranged, GM_U8, 1, entries, p->ranged, err);
    if (!status) status = gm_tensor_writer_add(w, ranges_name, GM_F32, 1, nodes, m->range, err);
    return status;
}

gm_status gm__norms_write(gm_tensor_writer *w, const gm_model *m, gm__norms_parts *p, gm_error *err) {
    size_t n = (size_t)m->entries, knobs = (size_t)m->graph->space.knobs, norms = (size_t)m->graph->norms;
    if (n == 0) return GM_OK;
    p->sorted = gm_alloc(n, sizeof *p->sorted);
    p->choice = gm_alloc(n, knobs);
    p->place = gm_alloc(n * norms + 1, sizeof *p->place);
    if (!p->sorted || !p->choice || !p->place)
        return gm_fail(err, GM_ERR_MEMORY, "no memory to write the norm statistics of %d subnets", m->entries);
    for (size_t i = 0; i < n; i++) p->sorted[i] = &m->entry[i];
    qsort(p->sorted, n, sizeof *p->sorted, by_choice);
    for (size_t i = 0; i < n; i++) memcpy(p->choice + i * knobs, p->sorted[i]->choice.index, knobs);
    pool q = {.p = p};
    gm_status status = pool_all(&q, m, err);
    if (status) return status;
    const uint64_t choices[] = {n, knobs}, places[] = {n, norms}, statistics[] = {q.used};
    status = gm__check_finite(p->mean, q.used, norms_mean, err);
    if (!status) status = gm__check_finite(p->var, q.used, norms_var, err);
    if (!status) status = gm_tensor_writer_add(w, norms_choice, GM_U8, 2, choices, p->choice, err);
    if (!status) status = gm_tensor_writer_add(w, norms_place, GM_I32, 2, places, p->place, err);
    if (!status) status = gm_tensor_writer_add(w, norms_mean, GM_F32, 1, statistics, p->mean, err);
    if (!status) status = gm_tensor_writer_add(w, norms_var, GM_F32, 1, statistics, p->var, err);
    if (!status) status = add_ranges(w, m, p, err);
    return status;
}

// ---------------------------------------------------------------------------------------------
// Reading
typedef struct tables {
    size_t n, total;
    const uint8_t *choice, *ranged;
    const int32_t *place;
    const float *mean, *var, *range;
} tables;

static size_t expected_tensors(const gm__reading *r, const gm_tensor_info *choice) {
    if (!choice) return 0;
    if (r->version == 1) return 3;
    return gm_tensor_find(r->file, norms_ranged) ? 6 : 4;
}

static gm_status get_tables(gm__reading *r, const gm_model *m, tables *t) {
    const gm_tensor_info *info = gm_tensor_find(r->file, norms_choice), *means = gm_tensor_find(r->file, norms_mean);
    size_t more = expected_tensors(r, info);
    if ((size_t)gm_tensor_count(r->file) != (size_t)m->graph->params + more)
        return gm_fail(r->err, GM_ERR_FORMAT, "%s: %d tensors, preset %s has %d parameters and its norm tables %zu", r->path,
                       gm_tensor_count(r->file), m->preset, m->graph->params, more);
    if (!info) return GM_OK;
    t->n = info->rank == 2 ? (size_t)info->dims[0] : 0;
    t->total = r->version > 1 && means && means->rank == 1 ? (size_t)means->dims[0] : t->n * m->graph->norm_floats;
    const uint64_t choices[] = {t->n, (uint64_t)m->graph->space.knobs}, places[] = {t->n, (uint64_t)m->graph->norms};
    const uint64_t old[] = {t->n, m->graph->norm_floats}, flat[] = {t->total}, nodes[] = {(uint64_t)m->graph->nodes};
    const void *choice = NULL, *mean = NULL, *var = NULL, *place = NULL, *ranged = NULL, *range = NULL;
    int rank = r->version == 1 ? 2 : 1;
    const uint64_t *statistics = r->version == 1 ? old : flat;
    gm_status status = gm__read_tensor(r, norms_choice, GM_U8, 2, choices, &choice);
    if (!status && r->version > 1) status = gm__read_tensor(r, norms_place, GM_I32, 2, places, &place);
    if (!status) status = gm__read_tensor(r, norms_mean, GM_F32, rank, statistics, &mean);
    if (!status) status = gm__read_tensor(r, norms_var, GM_F32, rank, statistics, &var);
    if (!status && more == 6) status = gm__read_tensor(r, norms_ranged, GM_U8, 1, choices, &ranged);
    if (!status && more == 6) status = gm__read_tensor(r, ranges_name, GM_F32, 1, nodes, &range);
    // the tensors are inside the file, so n * floats cannot overflow
    if (!status) status = gm__check_values(r, norms_mean, mean, t->total, false);
    if (!status) status = gm__check_values(r, norms_var, var, t->total, true);
    if (!status && range) status = gm__check_values(r, ranges_name, range, nodes[0], true);
    *t = (tables){t->n, t->total, choice, ranged, place, mean, var, range};
    return status;
}

static gm_status put_entry(gm__reading *r, gm_model *m, const tables *t, size_t row, gm_resolved *resolved, gm_norm_entry *e) {
    const gm_graph *g = m->graph;
    if (r->version == 1) {
        memcpy(e->mean, t->mean + row * g->norm_floats, g->norm_floats * sizeof(float));
        memcpy(e->var, t->var + row * g->norm_floats, g->norm_floats * sizeof(float));
        return GM_OK;
    }
    for (size_t i = 0; i < g->norm_floats; i++) e->var[i] = 1;
    gm_status status = gm_resolve(g, &e->choice, resolved, r->err);
    if (status) return status;
    const int32_t *place = t->place + row * (size_t)g->norms;
    for (int i = next_norm(g, 0); i < g->nodes; i = next_norm(g, i + 1), place++) {
        bool active = resolved->node[i].active;
        size_t c = active ? (size_t)resolved->node[i].out.c : 0, at = (size_t)gm_max(*place, 0);
        if (active != (*place >= 0) || c > t->total || at > t->total - c)
            return gm_fail(r->err, GM_ERR_FORMAT, "%s: %s: row %zu: %d for %s does not fit the choice or the tables", r->path,
                           norms_place, row, *place, g->node[i].name);
        memcpy(e->mean + m->norm_offset[i], t->mean + at, c * sizeof(float));
        memcpy(e->var + m->norm_offset[i], t->var + at, c * sizeof(float));
    }
    return GM_OK;
}

static gm_status check_choice(const gm__reading *r, const gm_model *m, const tables *t, size_t row, gm_choice *last) {
    const gm_space *space = &m->graph->space;
    size_t knobs = (size_t)space->knobs;
    gm_choice c = {{0}};
    memcpy(c.index, t->choice + row * knobs, knobs);
    bool valid = row == 0 || memcmp(last->index, c.index, sizeof c.index) < 0; // ascending, so unique
    for (size_t k = 0; k < knobs; k++) valid = valid && c.index[k] < space->knob[k].count;
    gm_choice canonical = gm_choice_canonical(space, c);
    if (!valid || memcmp(&canonical, &c, sizeof c) != 0)
        return gm_fail(r->err, GM_ERR_FORMAT, "%s: %s: row %zu is out of range, not canonical, or not above the row before it",
                       r->path, norms_choice, row);
    *last = c;
    return GM_OK;
}

gm_status gm__norms_read(gm__reading *r, gm_model *m) {
    const size_t most = (size_t)8 << 30; // shared blocks let a small file ask for a lot
    tables t = {0};
    gm_choice last = {{0}};
    gm_resolved resolved = {0};
    gm_status status = get_tables(r, m, &t);
    if (!status && t.n > most / (m->graph->norm_floats * 2 * sizeof(float) + 1))
        status = gm_fail(r->err, GM_ERR_RANGE, "%s: the statistics of %zu subnets need more than 8 GiB", r->path, t.n);
    if (!status) status = gm_resolved_init(&resolved, m->graph, r->err);
    for (size_t i = 0; i < t.n && !status; i++) {
        gm_norm_entry *e = NULL;
        status = check_choice(r, m, &t, i, &last);
        if (!status) status = gm__model_norms_append(m, &last, &e, r->err);
    }
    for (size_t i = 0; i < t.n && !status; i++) {
        gm_norm_entry *e = &m->entry[i];
        if (!status) status = put_entry(r, m, &t, i, &resolved, e);
        if (!status && t.ranged) e->ranged = t.ranged[i] == 1;
    }
    if (!status && t.range) memcpy(m->range, t.range, (size_t)m->graph->nodes * sizeof *m->range);
    gm_resolved_fini(&resolved);
    return status;
}
