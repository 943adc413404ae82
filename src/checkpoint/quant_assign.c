// SPDX-License-Identifier: Apache-2.0
// From tensors to ids: tiers by thresholds, a codebook for what is left, the nearest centre by a table over the 16 upper bits
// of the float. Protected comes before pruned: a large weight without gradient must not vanish because sensitivity prunes.
//
// Four things differ from the paper. Centres lie almost evenly, not where weights are dense. They start from the last
// checkpoint's and stay put while they are good. With `stick` a weight keeps its id while it lies beyond the edge of its bin (or
// of a tier), but not as far as the next centre: weights jitter, and those near an edge would migrate back and forth at every
// checkpoint, for no gain in quality. And after a restore thresholds are drawn (quant_dither.c).
#include "checkpoint/quant_private.h"

#include <math.h>

enum { BATCH = 512, RANKS = 65536, SIGN = RANKS / 2, EXACT_POINTS = 384, LLOYD_WARM = 2, LLOYD_COLD = 3, LLOYD_PAPER = 20 };
static const double settled = 1.02; // a codebook is kept while a better one would not save more loss than this

typedef struct room { // of one group
    uint32_t *count;  // RANKS, all 0 between tensors
    uint16_t *table;  // RANKS: centres by the upper bits of the float (fill_table)
    double *x, *w;    // points, RANKS each
    double *mass;     // how many weights each stands for
    float density;    // of the settings
} room;

// Buckets of magnitude in use: the ranks of negative numbers are SIGN - 1 - bucket, of the others SIGN + bucket.
typedef struct span {
    int least, most;
} span;

typedef struct work {
    const gm__quant_tensor *tensor;
    const gm__quant_settings *s;
    const gm__quant_state *previous;
    gm__quant_state *state;
    gm__thresholds threshold[GM__QUANT_KINDS];
    int first[GM__GROUPS + 1];
    room room[GM__GROUPS];
    gm_error error[GM__GROUPS];
} work;

// Prune and protect, in buckets, for weights that were in that tier before and for those that were not.
typedef struct limits {
    int prune, prune_was, magnitude, magnitude_was, sensitivity, sensitivity_was;
} limits;

static limits limits_of(const gm__thresholds *t, gm__quant_kind kind, float stick) {
    // 0 and the first centre c lie c apart: from (0.5 - stick) c to (0.5 + stick) c it is about 6 `stick` octaves.
    int slack = (int)lrintf(fminf(3 * stick, 0.5f) * GM__OCTAVE);
    if (kind == GM__QUANT_SMALL) return (limits){.magnitude = 0}; // all at or above it, but zeros
    return (limits){.prune = gm_max(t->prune - slack, 0), .prune_was = t->prune > 0 ? t->prune + slack : 0,
                    .magnitude = t->protect_magnitude + slack, .magnitude_was = gm_max(t->protect_magnitude - slack, 0),
                    .sensitivity = t->protect_sensitivity + slack,
                    .sensitivity_was = gm_max(t->protect_sensitivity - slack, 0)};
}

// One batch, always of full length and without a branch, so that the compiler makes vectors of it. A limit is the one for weights
// that were in the tier before, or the other one.
static void tiers_of_batch(const uint16_t *m, const uint16_t *v, const uint16_t *by, const uint16_t *before, const limits *l,
                           const uint16_t *dither, uint16_t *tier) {
    uint16_t prune = (uint16_t)l->prune, prune_more = (uint16_t)(l->prune_was - l->prune);
    uint16_t magnitude = (uint16_t)l->magnitude, magnitude_less = (uint16_t)(l->magnitude - l->magnitude_was);
    uint16_t sensitivity = (uint16_t)l->sensitivity, sensitivity_less = (uint16_t)(l->sensitivity - l->sensitivity_was);
    for (int i = 0; i < BATCH; i++) {
        uint16_t kept = before[i] == GM__QUANT_PROTECTED ? 0xffff : 0, gone = before[i] == GM__QUANT_PRUNED ? 0xffff : 0;
        uint16_t at_m = (uint16_t)(magnitude - (magnitude_less & kept));
        uint16_t at_v = (uint16_t)(sensitivity - (sensitivity_less & kept));
        uint16_t at_p = (uint16_t)(prune + (prune_more & gone) + dither[i]);
        uint16_t protect = (uint16_t)((m[i] >= at_m ? 0xffff : 0) | (v[i] >= at_v ? 0xffff : 0));
        uint16_t drop = (uint16_t)(by[i] < at_p ? 0xffff : 0), zero = m[i] == 0 ? 0xffff : 0;
        protect = (uint16_t)(protect & ~zero);
        drop = (uint16_t)((drop | zero) & ~protect);
        tier[i] = (uint16_t)((protect & GM__QUANT_PROTECTED) | (drop & GM__QUANT_PRUNED));
    }
}

// ids: 0 for what gets a centre. Counts those by the rank of their upper bits; used: no others. False: something is not finite.
GM__WIDE static bool split_tiers(const gm__quant_tensor *t, const limits *l, bool by_sensitivity, const uint8_t *before,
                                 const gm__dither *d, uint8_t *ids, uint32_t *count, span *used) {
    uint16_t m[BATCH] = {0}, v[BATCH] = {0}, was[BATCH] = {0}, more[BATCH] = {0}, tier[BATCH], rank[BATCH], worst = 0, most = 0, least = UINT16_MAX;
    for (size_t at = 0; at < t->shape.count; at += BATCH) {
        size_t n = t->shape.count - at < BATCH ? t->shape.count - at : BATCH;
        const float *w = t->weights + at;
        gm__score_buckets(t, at, n, m, v);
        for (int i = 0; i < BATCH; i++) { // beyond n: from the batch before
            uint16_t larger = m[i] > v[i] ? m[i] : v[i];
            worst = larger > worst ? larger : worst;
        }
        if (before)
            for (size_t i = 0; i < n; i++) was[i] = before[at + i];
        for (size_t i = 0; i < n && d->seed && l->prune > 0; i++) // modulo 2^16; the sum stays above 0
            more[i] = (uint16_t)gm_max((int)d->prune[gm__dither_draw(d, at + i) >> 24], 1 - l->prune);
        tiers_of_batch(m, v, by_sensitivity ? v : m, was, l, more, tier);
        for (int i = 0; i < BATCH; i++) {
            uint16_t free = tier[i] == 0 ? 0xffff : 0; // masks again
            uint16_t low = (uint16_t)(m[i] | (uint16_t)~free), high = (uint16_t)(m[i] & free);
            least = low < least ? low : least;
            most = high > most ? high : most;
        }
        for (size_t i = 0; i < n; i++) rank[i] = gm__rank16((uint16_t)(gm__bits(w[i]) >> 16));
        for (size_t i = 0; i < n; i++) ids[at + i] = (uint8_t)tier[i];
        for (size_t i = 0; i < n; i++) count[rank[i]] += tier[i] == 0;
    }
    *used = (span){least, most};
    return worst < 0x7f80;
}

static double rank_value(int rank) { // the middle of the bucket
    return (double)gm__float((uint32_t)gm__unrank16((uint16_t)rank) << 16 | 0x8000u);
}

// Training moves all weights of a tensor about as far, and against that movement the width of a bin decides what it costs in bits and what a
// restore loses. So centres should lie evenly, but for the few weights far out: the weight of a point is its width times its density
// to the power of `density` (0.2), where that of k-means is its width times its density.
static int add_point(room *r, int bucket, bool negative, int n) {
    int rank = negative ? SIGN - 1 - bucket : SIGN + bucket;
    if (!r->count[rank]) return n;
    int octave = gm_max(bucket / GM__OCTAVE, 1) - 134; // of the width
    r->x[n] = rank_value(rank);
    r->w[n] = exp2((double)(1 - r->density) * octave) * (double)powf((float)r->count[rank], r->density);
    r->mass[n] = r->count[rank];
    return n + 1;
}

static int points_of(room *r, span used) {
    int n = 0;
    for (int b = used.most; b >= used.least; b--) n = add_point(r, b, true, n);
    for (int b = used.least; b <= used.most; b++) n = add_point(r, b, false, n);
    return n;
}

// Neighbouring points as one, until there are few enough for the exact method; into xs, ws.
static int coarsen(const double *x, const double *w, int n, double *xs, double *ws) {
    int each = (n + EXACT_POINTS - 1) / EXACT_POINTS, m = 0;
    for (int i = 0; i < n; m++) {
        double mass = 0, sum = 0;
        for (int j = 0; j < each && i < n; j++, i++) {
            mass += w[i];
            sum += w[i] * x[i];
        }
        xs[m] = sum / mass;
        ws[m] = mass;
    }
    return m;
}

static gm_status exact_centres(const double *x, const double *w, int n, float *centre, int k, gm_error *err) {
    double xs[EXACT_POINTS], ws[EXACT_POINTS];
    int m = coarsen(x, w, n, xs, ws);
    gm_status status = gm__cluster_exact(xs, ws, m, centre, k, err);
    if (status == GM_OK) gm__cluster_lloyd(x, w, n, centre, k, LLOYD_COLD);
    return status;
}

static void round_centres(float *centre, int k) {
    for (int c = 0; c < k; c++) centre[c] = gm_bf16_to_f32(gm_bf16_from_f32(centre[c]));
}

// From the last codebook, which stays while another would not serve the weights better, each counted once: those that were just restored
// are at its centres, and some far out, which count for more than once else, must not move it.
static gm_status warm_centres(const room *r, int n, const gm__part *last, float *centre, int k, gm_error *err) {
    const double *x = r->x, *w = r->w;
    gm_status status = exact_centres(x, w, n, centre, k, err);
    if (status != GM_OK || !last) return status;
    float old[GM__QUANT_BINS], moved[GM__QUANT_BINS];
    int bins = last->bins;
    for (int c = 0; c < bins; c++) old[c] = moved[c] = gm_bf16_to_f32(last->centre[c]);
    if (bins > k) gm__cluster_shrink(x, w, n, moved, bins, k);
    else if (gm__cluster_grow(x, w, n, moved, bins, k) < k) return GM_OK;
    gm__cluster_lloyd(x, w, n, moved, k, LLOYD_WARM);
    round_centres(centre, k);
    round_centres(moved, k);
    double error = fmin(gm__cluster_loss(x, r->mass, n, centre, k), gm__cluster_loss(x, r->mass, n, moved, k));
    if (bins == k && gm__cluster_loss(x, r->mass, n, old, k) <= settled * error) {
        memcpy(centre, old, (size_t)k * sizeof *centre);
        return GM_OK;
    }
    // else the weights may have moved away: start anew
    if (gm__cluster_loss(x, w, n, moved, k) <= 1.25 * gm__cluster_loss(x, w, n, centre, k))
        memcpy(centre, moved, (size_t)k * sizeof *centre);
    return GM_OK;
}

// As published: two sides of the sketch, weights of frequency and size, k-means++, Lloyd.
static gm_status paper_centres(const gm__quant_tensor *t, const uint8_t *ids, const gm__quant_settings *s, int tensor,
                               room *r, float *centre, int k, gm_error *err) {
    gm__sketch side[2];
    memset(side, 0, sizeof side);
    gm_status status = gm__sketch_init(&side[0], 0.01, err);
    if (status == GM_OK) status = gm__sketch_init(&side[1], 0.01, err);
    if (status != GM_OK) goto done;
    for (size_t i = 0; i < t->shape.count; i++)
        if (ids[i] == 0) gm__sketch_add(&side[t->weights[i] > 0], fabsf(t->weights[i]));
    int n = 0, buckets = side[0].buckets;
    double all = 0, size = 0, most = 0, largest = 0;
    for (int i = 0; i < 2 * buckets; i++) {
        bool positive = i >= buckets;
        int b = positive ? i - buckets : buckets - 1 - i;
        double c = (double)side[positive].count[b], v = gm__sketch_value(&side[0], b + side[0].lowest);
        if (c <= 0) continue;
        r->x[n] = positive ? v : -v;
        r->w[n++] = c;
        all += c;
        size += v;
        most = fmax(most, c);
        largest = fmax(largest, v);
    }
    double sigma = (double)s->sigma, by_count = s->by_max ? most : all, by_size = s->by_max ? largest : size;
    for (int i = 0; i < n; i++) r->w[i] = sigma * r->w[i] / by_count + (1 - sigma) * fabs(r->x[i]) / by_size;
    if (n > 0) {
        gm_rng rng = gm_rng_keyed(s->seed, (uint64_t)tensor, t->shape.count, GM_RNG_USER);
        gm__cluster_seed(r->x, r->w, n, centre, k, &rng);
        gm__cluster_lloyd(r->x, r->w, n, centre, k, LLOYD_PAPER);
    }
done:
    gm__sketch_fini(&side[0]);
    gm__sketch_fini(&side[1]);
    return status;
}

static gm_status codebook(const work *w, int i, room *r, span used, const uint8_t *ids, const gm__part *last, gm_error *err) {
    gm__part *p = &w->state->part[i];
    float centre[GM__QUANT_BINS] = {0};
    gm_status status = GM_OK;
    int n = points_of(r, used);
    if (n == 0) { // nothing to represent: whatever costs least
        if (last && last->bins == p->bins) memcpy(p->centre, last->centre, sizeof p->centre);
        return GM_OK;
    }
    if (w->s->codebook == GM__QUANT_KMEANS)
        status = paper_centres(&w->tensor[i], ids, w->s, i, r, centre, p->bins, err);
    else
        status = warm_centres(r, n, w->s->codebook == GM__QUANT_WARM ? last : NULL, centre, p->bins, err);
    for (int c = 0; c < p->bins; c++) p->centre[c] = gm_bf16_from_f32(centre[c]);
    return status;
}

// For every rank in use, by the bits of the float: the nearest centre, and above 8 bits the other one whose bin, widened by `stick` of the
// gap between the two, holds the rank as well (or the nearest again). A bin is not widened beyond the next centre, so there is at most one.
static void fill_table(const gm__part *p, span used, float stick, uint16_t *table) {
    double centre[GM__QUANT_BINS];
    int c = 0, last = p->bins - 1, buckets = used.most - used.least + 1;
    for (int i = 0; i <= last; i++) centre[i] = (double)gm_bf16_to_f32(p->centre[i]);
    for (int i = 0; i < 2 * buckets; i++) { // upwards
        int rank = i < buckets ? SIGN - 1 - used.most + i : SIGN + used.least + i - buckets, other;
        double x = rank_value(rank), reach = 0.5 + (double)stick;
        for (; c < last && x > (centre[c] + centre[c + 1]) / 2; c++) {}
        other = c;
        if (stick > 0 && c > 0 && x <= centre[c - 1] + reach * (centre[c] - centre[c - 1])) other = c - 1;
        else if (stick > 0 && c < last && x >= centre[c + 1] - reach * (centre[c + 1] - centre[c])) other = c + 1;
        table[gm__unrank16((uint16_t)rank)] = (uint16_t)(c | other << 8);
    }
}

static void clear_counts(uint32_t *count, span used) {
    size_t bytes = (size_t)(used.most - used.least + 1) * sizeof *count;
    memset(count + SIGN - 1 - used.most, 0, bytes);
    memset(count + SIGN + used.least, 0, bytes);
}

// before: the previous ids, which stay where the table lets them. Masks: a branch on jitter is mispredicted. For weights that
// have a tier the table holds anything.
GM__WIDE static void nearest(const gm__quant_tensor *t, const uint8_t *before, const uint16_t *table, uint8_t *ids) {
    for (size_t at = 0; at < t->shape.count; at += BATCH) {
        size_t n = t->shape.count - at < BATCH ? t->shape.count - at : BATCH;
        const float *w = t->weights + at;
        uint16_t entry[BATCH];
        uint8_t first[BATCH], other[BATCH], was[BATCH], *id = ids + at;
        for (size_t i = 0; i < n; i++) entry[i] = table[gm__bits(w[i]) >> 16];
        for (size_t i = 0; i < n; i++) first[i] = (uint8_t)entry[i];
        for (size_t i = 0; i < n; i++) other[i] = (uint8_t)(entry[i] >> 8);
        memcpy(was, before + at, n);
        for (size_t i = 0; i < n; i++) { // in bytes, which makes whole registers of them
            uint8_t stays = (uint8_t)-(was[i] == other[i]), tier = (uint8_t)-(id[i] != 0);
            uint8_t centre = (uint8_t)((other[i] & stays) | (first[i] & (uint8_t)~stays));
            id[i] = (uint8_t)(id[i] | (centre & (uint8_t)~tier));
        }
    }
}

// Previous ids as those of the new codebook, of another size: the nearest centre of each, UINT8_MAX for tiers. *out: NULL when there is no memory.
static void translate(const gm__part *last, const gm__part *p, const uint8_t *before, uint8_t **out) {
    uint8_t to[256];
    memset(to, UINT8_MAX, sizeof to);
    for (int b = 0; b < last->bins; b++) {
        float was = gm_bf16_to_f32(last->centre[b]);
        int best = 0;
        for (int c = 1; c < p->bins; c++)
            if (fabsf(gm_bf16_to_f32(p->centre[c]) - was) < fabsf(gm_bf16_to_f32(p->centre[best]) - was)) best = c;
        to[b] = (uint8_t)best;
    }
    *out = gm_alloc(p->count, 1);
    for (size_t i = 0; *out && i < p->count; i++) (*out)[i] = to[before[i]];
}

static gm_status assign_tensor(const work *w, int i, room *r, gm_error *err) {
    const gm__quant_tensor *t = &w->tensor[i];
    gm__part *p = &w->state->part[i];
    const gm__part *last = w->previous ? &w->previous->part[i] : NULL;
    const uint8_t *before = last ? w->previous->ids + last->first : NULL;
    uint8_t *ids = w->state->ids + p->first;
    gm__dither d = gm__dither_of(w->s->dither, i, t, last, before);
    float stick = before && !d.seed ? w->s->stick : 0;
    limits l = limits_of(&w->threshold[t->shape.kind], t->shape.kind, stick);
    span used;
    if (!split_tiers(t, &l, w->s->config.by_sensitivity, before, &d, ids, r->count, &used))
        return gm_fail(err, GM_ERR_NUMERIC, "a weight, a gradient or their product is not finite: save without loss");
    gm_status status = codebook(w, i, r, used, ids, last, err);
    if (status != GM_OK) return status;
    if (used.least > used.most) return GM_OK; // every weight has a tier
    clear_counts(r->count, used);
    fill_table(p, used, stick, r->table);
    if (d.seed) {
        gm__dither_ids(&d, t, p, l.prune > 0, r->table, ids);
        return GM_OK;
    }
    uint8_t *translated = NULL;
    if (last && last->bins != p->bins) {
        translate(last, p, before, &translated);
        if (!translated) return gm_fail(err, GM_ERR_MEMORY, "no memory to assign weights");
    }
    nearest(t, translated ? translated : before ? before : ids, r->table, ids);
    gm_free(translated);
    return GM_OK;
}

static void assign_task(void *context, int begin, int end, int worker) {
    (void)worker;
    work *w = context;
    for (int g = begin; g < end; g++)
        for (int i = w->first[g]; i < w->first[g + 1]; i++)
            if (assign_tensor(w, i, &w->room[g], &w->error[g]) != GM_OK) break;
}

// The next protected weight at or after `at`; NULL: there is none.
static const uint8_t *next_protected(const uint8_t *at, const uint8_t *end) {
    return memchr(at, GM__QUANT_PROTECTED, (size_t)(end - at));
}

// A protected value stays, too, while it has moved by less than a step: half of what takes a weight to another centre, on average in
// its tensor; where there are no centres, twice `stick` of what the tensor's values moved by. After a restore it moves by such steps, at random.
static float step_of(const gm__quant_tensor *t, const gm__part *p, float stick, const uint8_t *before, const gm_bf16 *old) {
    if (p->kind != GM__QUANT_SMALL)
        return (0.5f + stick) / 2 * (gm_bf16_to_f32(p->centre[p->bins - 1]) - gm_bf16_to_f32(p->centre[0])) / (float)(p->bins - 1);
    double moved = 0;
    for (size_t i = 0; i < p->count; i++) {
        double d = (double)t->weights[i] - (before[i] == GM__QUANT_PROTECTED ? (double)gm_bf16_to_f32(*old++) : 0);
        moved += d * d;
    }
    return 2 * stick * (float)sqrt(moved / (double)gm_max((int)p->count, 1));
}

static void keep_values(const gm__quant_tensor *t, const gm__part *p, const gm__dither *d, float stick,
                        const gm__quant_state *previous, const gm__part *last, gm__quant_state *s) {
    const uint8_t *ids = s->ids + p->first, *end = ids + p->count;
    const uint8_t *before = last ? previous->ids + last->first : NULL, *passed = NULL;
    const gm_bf16 *old = last ? previous->kept + last->kept_first : NULL;
    gm_bf16 *kept = s->kept + p->kept_first;
    float step = last && stick > 0 ? step_of(t, p, stick, before, old) : 0;
    if (step > 0) passed = next_protected(before, before + p->count);
    for (const uint8_t *at = ids; (at = next_protected(at, end)); at++) {
        size_t i = (size_t)(at - ids);
        float w = t->weights[i];
        for (; passed && passed < before + i; old++) passed = next_protected(passed + 1, before + p->count);
        if (passed && passed == before + i) {
            float was = gm_bf16_to_f32(*old), steps = (w - was) / step;
            if (d->seed) w = was + step * floorf(steps + (float)gm__dither_draw(d, i) * 0x1p-32f);
            else if (fabsf(steps) < 1) w = was;
        }
        gm_bf16 v = d->seed ? gm__dither_bf16(d, i, w) : gm_bf16_from_f32(w);
        *kept++ = (v & 0x7fffu) == 0x7f80u ? (gm_bf16)(v - 1) : v; // the largest floats would round to infinity
    }
}

static gm_status room_init(room *r, float density, gm_error *err) {
    *r = (room){.density = density, .count = gm_alloc(RANKS, sizeof *r->count), .table = gm_alloc(RANKS, sizeof *r->table),
                .x = gm_alloc(RANKS, sizeof *r->x), .w = gm_alloc(RANKS, sizeof *r->w),
                .mass = gm_alloc(RANKS, sizeof *r->mass)};
    return r->count && r->table && r->x && r->w && r->mass ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to assign weights");
}

static void room_fini(room *r) {
    gm_free(r->count);
    gm_free(r->table);
    gm_free(r->x);
    gm_free(r->w);
    gm_free(r->mass);
}

gm_status gm__quant_assign(const gm__quant_tensor *tensor, int tensors, const gm__scores *scores,
                           const gm__quant_settings *s, const gm__quant_state *previous, gm__quant_state **out,
                           gm_error *err) {
    gm__quant_state *state = NULL;
    work *w = gm_alloc(1, sizeof *w);
    if (!w) return gm_fail(err, GM_ERR_MEMORY, "no memory to assign weights");
    const gm__quant_shape *shape = tensors > 0 ? &tensor->shape : NULL;
    gm_status status = gm__quant_state_create(shape, sizeof *tensor, tensors, &s->config, &state, err);
    if (status != GM_OK) goto done;
    if (previous && previous->shapes != state->shapes) {
        status = gm_fail(err, GM_ERR_STATE, "the previous checkpoint has other tensors: start a new chain");
        goto done;
    }
    *w = (work){.tensor = tensor, .s = s, .previous = previous, .state = state};
    for (int k = 0; k < GM__QUANT_KINDS; k++)
        if (scores->magnitude[k]) w->threshold[k] = gm__score_thresholds(scores, k, &s->config);
    int groups = gm__quant_groups(tensor, tensors, s->parallel, w->first);
    for (int g = 0; g < groups && status == GM_OK; g++) status = room_init(&w->room[g], s->density, err);
    if (status == GM_OK) gm__quant_run(s->parallel, groups, assign_task, w);
    for (int g = 0; g < groups && status == GM_OK; g++)
        if (w->error[g].status != GM_OK) status = gm_fail(err, w->error[g].status, "%s", w->error[g].text);
    if (status == GM_OK) status = gm__quant_state_index(state, err);
    for (int i = 0; i < tensors && status == GM_OK; i++) {
        const gm__part *last = previous ? &previous->part[i] : NULL;
        gm__dither d = gm__dither_of(s->dither, i, &tensor[i], last, last ? previous->ids + last->first : NULL);
        keep_values(&tensor[i], &state->part[i], &d, s->stick, previous, last, state);
    }
    if (status == GM_OK) gm__quant_state_seal(state);
done:
    for (int g = 0; g < GM__GROUPS; g++) room_fini(&w->room[g]);
    gm_free(w);
    if (status != GM_OK) gm__quant_state_destroy(state);
    else *out = state;
    return status;
}
