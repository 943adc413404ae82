// SPDX-License-Identifier: Apache-2.0
// Scores of weights, and the thresholds of the tiers. Magnitude is |w|, sensitivity |g w| (first-order Taylor estimate of what
// the loss does when w changes; Inshrinkerator, section on parameter ranking). Quantiles come from counts over the upper bits
// of the float instead of a sort: buckets are 2^-7 wide, so a threshold is within 0.4 % of the exact one, and no logarithm
// is taken. Of more than two million weights a part is counted.
#include "checkpoint/quant_private.h"

#include <math.h>

enum { BATCH = 512, ENOUGH = 1 << 21 };

GM__WIDE static void buckets(const gm__quant_tensor *t, size_t first, size_t n, uint16_t *magnitude, uint16_t *sensitivity) {
    const float *w = t->weights + first, *g = t->importance + (t->importance ? first : 0);
    for (size_t i = 0; i < n; i++) magnitude[i] = (uint16_t)((gm__bits(w[i]) >> 16) & 0x7fffu);
    if (t->source == GM__QUANT_NONE || !t->importance) {
        memcpy(sensitivity, magnitude, n * sizeof *magnitude);
    } else if (t->source == GM__QUANT_SQUARE) {
        for (size_t i = 0; i < n; i++)
            sensitivity[i] = (uint16_t)((gm__bits(sqrtf(fabsf(g[i])) * w[i]) >> 16) & 0x7fffu);
    } else {
        for (size_t i = 0; i < n; i++) sensitivity[i] = (uint16_t)((gm__bits(g[i] * w[i]) >> 16) & 0x7fffu);
    }
}

void gm__score_buckets(const gm__quant_tensor *t, size_t first, size_t n, uint16_t *magnitude, uint16_t *sensitivity) {
    buckets(t, first, n, magnitude, sensitivity);
}

int gm__quant_groups(const gm__quant_tensor *tensor, int tensors, bool parallel, int *first) {
    int groups = parallel ? gm_min(gm_min(gm_threads(), GM__GROUPS), gm_max(tensors, 1)) : 1;
    size_t total = 0, sum = 0;
    for (int i = 0; i < tensors; i++) total += tensor[i].shape.count;
    first[0] = 0;
    for (int i = 0, g = 1; g <= groups; g++) {
        // a tensor belongs to the group in which it starts
        while (i < tensors && (g == groups || (double)sum < (double)total * g / groups)) sum += tensor[i++].shape.count;
        first[g] = i;
    }
    return groups;
}

typedef struct work {
    const gm__quant_tensor *tensor;
    const int *first;
    size_t stride[GM__QUANT_KINDS]; // every so-manieth batch is counted
    gm__scores part[GM__GROUPS];
} work;

static void score_tensor(gm__scores *s, const gm__quant_tensor *t, size_t stride) {
    uint16_t m[BATCH], v[BATCH];
    uint32_t *magnitude = s->magnitude[t->shape.kind], *sensitivity = s->sensitivity[t->shape.kind];
    for (size_t at = 0; at < t->shape.count; at += stride * BATCH) {
        size_t n = t->shape.count - at < BATCH ? t->shape.count - at : BATCH;
        gm__score_buckets(t, at, n, m, v);
        for (size_t i = 0; i < n; i++) { // what is not finite is found by who assigns
            magnitude[m[i]]++;
            sensitivity[v[i]]++;
        }
    }
}

// At least a million weights are counted: a fraction of 0.0005 of them is known to within 5 % of itself (one standard deviation).
static void set_strides(work *w, int tensors) {
    uint64_t weights[GM__QUANT_KINDS] = {0};
    for (int i = 0; i < tensors; i++) weights[w->tensor[i].shape.kind] += w->tensor[i].shape.count;
    for (int k = 0; k < GM__QUANT_KINDS; k++) w->stride[k] = (size_t)(weights[k] / ENOUGH) + 1;
}

static void score_task(void *context, int begin, int end, int worker) {
    (void)worker;
    work *w = context;
    for (int g = begin; g < end; g++)
        for (int i = w->first[g]; i < w->first[g + 1]; i++)
            score_tensor(&w->part[g], &w->tensor[i], w->stride[w->tensor[i].shape.kind]);
}

static gm_status make_room(gm__scores *s, const gm__quant_tensor *tensor, int first, int last, gm_error *err) {
    for (int i = first; i < last; i++) {
        int kind = (int)tensor[i].shape.kind;
        if (s->magnitude[kind]) continue;
        s->magnitude[kind] = gm_alloc(GM__BUCKETS, sizeof(uint32_t));
        s->sensitivity[kind] = gm_alloc(GM__BUCKETS, sizeof(uint32_t));
        if (!s->magnitude[kind] || !s->sensitivity[kind]) return gm_fail(err, GM_ERR_MEMORY, "no memory for scores");
    }
    return GM_OK;
}

static void merge(gm__scores *to, const gm__scores *from) {
    for (int k = 0; k < GM__QUANT_KINDS; k++) {
        if (!from->magnitude[k]) continue;
        for (int b = 0; b < GM__BUCKETS; b++) {
            to->magnitude[k][b] += from->magnitude[k][b];
            to->sensitivity[k][b] += from->sensitivity[k][b];
        }
    }
}

// Weights that are exactly zero (padding, mostly) are pruned in any case and must not use up the fractions. Their
// sensitivity is zero too.
static void set_zeros_aside(gm__scores *s) {
    for (int k = 0; k < GM__QUANT_KINDS; k++) {
        if (!s->magnitude[k]) continue;
        uint32_t zeros = s->magnitude[k][0];
        s->sensitivity[k][0] -= zeros < s->sensitivity[k][0] ? zeros : s->sensitivity[k][0];
        s->magnitude[k][0] = 0;
        for (int b = 0; b < GM__BUCKETS; b++) s->weights[k] += s->magnitude[k][b];
    }
}

gm_status gm__scores_init(gm__scores *s, const gm__quant_tensor *tensor, int tensors, bool parallel, gm_error *err) {
    int first[GM__GROUPS + 1];
    *s = (gm__scores){0};
    for (int i = 0; i < tensors; i++)
        if ((unsigned)tensor[i].shape.kind >= GM__QUANT_KINDS || tensor[i].shape.count > UINT32_MAX)
            return gm_fail(err, GM_ERR_ARGUMENT, "tensor '%.80s': kind %d or %zu elements are out of range",
                           tensor[i].shape.name, (int)tensor[i].shape.kind, tensor[i].shape.count);
    work *w = gm_alloc(1, sizeof *w);
    if (!w) return gm_fail(err, GM_ERR_MEMORY, "no memory for scores");
    *w = (work){.tensor = tensor, .first = first};
    set_strides(w, tensors);
    int groups = gm__quant_groups(tensor, tensors, parallel, first);
    gm_status status = make_room(s, tensor, 0, tensors, err);
    for (int g = 0; g < groups && status == GM_OK; g++)
        status = make_room(&w->part[g], tensor, first[g], first[g + 1], err);
    if (status == GM_OK) gm__quant_run(parallel, groups, score_task, w);
    for (int g = 0; g < groups; g++) {
        if (status == GM_OK) merge(s, &w->part[g]);
        gm__scores_fini(&w->part[g]);
    }
    gm_free(w);
    if (status == GM_OK) set_zeros_aside(s);
    else gm__scores_fini(s);
    return status;
}

void gm__scores_fini(gm__scores *s) {
    for (int k = 0; k < GM__QUANT_KINDS; k++) {
        gm_free(s->magnitude[k]);
        gm_free(s->sensitivity[k]);
    }
    *s = (gm__scores){0};
}

// The highest bucket below which at most `most` are counted.
static int quantile_below(const uint32_t *count, double most) {
    uint64_t sum = 0;
    for (int b = 0; b < GM__BUCKETS; b++) {
        sum += count[b];
        if ((double)sum > most) return b;
    }
    return GM__BUCKETS;
}

// The lowest bucket from which on at most `most` are counted.
static int quantile_above(const uint32_t *count, double most) {
    uint64_t sum = 0;
    for (int b = GM__BUCKETS - 1; b >= 0; b--) {
        sum += count[b];
        if ((double)sum > most) return b + 1;
    }
    return 0;
}

gm__thresholds gm__score_thresholds(const gm__scores *s, int kind, const gm__quant_config *c) {
    double n = (double)s->weights[kind], prune = (double)c->prune * n, protect = ceil((double)c->protect * n);
    const uint32_t *by = c->by_sensitivity ? s->sensitivity[kind] : s->magnitude[kind];
    if (c->protect <= 0) protect = -1; // nothing lies at or above the end
    gm__thresholds t = {.prune = c->prune > 0 ? quantile_below(by, prune) : 0,
                        .protect_magnitude = quantile_above(s->magnitude[kind], protect),
                        .protect_sensitivity = quantile_above(s->sensitivity[kind], protect)};
    if (protect < 0) t.protect_magnitude = t.protect_sensitivity = GM__BUCKETS;
    return t;
}
