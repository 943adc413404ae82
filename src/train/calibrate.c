// SPDX-License-Identifier: Apache-2.0
// Batch-norm calibration (2.5 of the training specification): exact pooled statistics of one subnet. Every layer
// normalises with its own batch while sums and sums of squares over all positions of all images are collected.
#include <gamut/train.h>

#include <math.h>
#include <string.h>

gm_calibrate_settings gm_calibrate_settings_default(void) {
    return (gm_calibrate_settings){.images = 2000, .batch = 200, .ranges = true, .seed = 1};
}

// A fixed random subset of `index`: the first images of a shuffle.
static int32_t *pick(const int32_t *index, int count, int images, uint64_t seed) {
    int32_t *order = gm_alloc((size_t)count, sizeof *order);
    if (!order) return NULL;
    for (int i = 0; i < count; i++) order[i] = i;
    gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_CALIBRATE);
    for (int i = 0; i < images; i++) {
        int j = i + (int)gm_rng_below(&rng, (uint32_t)(count - i));
        int32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (int i = 0; i < images && index; i++) order[i] = index[order[i]];
    return order;
}

// int8 plans clip at the average of the images' largest values, in the subnet where it is largest: a scale that is safe for every
// calibrated subnet, and that a single odd image does not stretch.
static void widen_ranges(gm_model *m, const double *sum, int images, gm_norm_entry *entry) {
    for (int i = 0; i < m->graph->nodes; i++) m->range[i] = fmaxf(m->range[i], (float)(sum[i] / images));
    entry->ranged = true;
}

static void finish(const gm_model *m, const gm_resolved *r, const gm_norm_sums *sums, gm_norm_entry *entry) {
    const gm_graph *g = m->graph;
    for (size_t i = 0; i < g->norm_floats; i++) {
        entry->mean[i] = 0;
        entry->var[i] = 1;
    }
    for (int i = 0; i < g->nodes; i++) {
        if (!(sums->count[i] > 0)) continue;
        size_t at = m->norm_offset[i];
        for (int c = 0; c < r->node[i].out.c; c++, at++) {
            double mean = sums->sum[at] / sums->count[i], square = sums->sumsq[at] / sums->count[i];
            entry->mean[at] = (float)mean;
            entry->var[at] = (float)fmax(square - mean * mean, 0);
        }
    }
}

gm_status gm_calibrate(gm_model *m, gm_walker *w, const gm_dataset *d, const int32_t *index, int count,
                       const gm_augment *a, const gm_calibrate_settings *s, const gm_choice *choice, gm_error *err) {
    const gm_graph *g = m->graph;
    gm_choice canonical = gm_choice_canonical(&g->space, *choice);
    int available = index ? count : d->images, images = gm_min(s->images, available);
    int batch = gm_min(s->batch, gm_walker_max_batch(w));
    if (images < 1 || batch < 1)
        return gm_fail(err, GM_ERR_RANGE, "calibration on %d images in batches of %d: use at least 1 of each", images,
                       s->batch);
    gm_augment augment = *a;
    augment.resolution = gm_size_value(g, &g->node[0].out, &canonical);
    gm_norm_sums sums = {.sum = gm_alloc(g->norm_floats, sizeof(double)), .sumsq = gm_alloc(g->norm_floats, sizeof(double)),
                         .count = gm_alloc((size_t)g->nodes, sizeof(double))};
    double *ranges = gm_alloc((size_t)g->nodes, sizeof *ranges);
    int32_t *subset = pick(index, available, images, s->seed);
    gm_batch b = {0};
    gm_resolved resolved = {0};
    gm_norm_entry *entry = NULL;
    gm_status status = gm_resolved_init(&resolved, g, err);
    if (status != GM_OK) goto done;
    if (!sums.sum || !sums.sumsq || !sums.count || !subset || !ranges) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory to calibrate");
        goto done;
    }
    int side = gm_max(augment.resolution, gm_max(d->height, d->width));
    if ((status = gm_batch_init(&b, batch, side, d->channels, gm_walker_type(w), err)) != GM_OK) goto done;
    if ((status = gm_resolve(g, &canonical, &resolved, err)) != GM_OK) goto done;
    gm_walker_refresh(w, m->params);
    for (int at = 0; at < images; at += batch) {
        gm_batch_fill(d, subset + at, NULL, gm_min(batch, images - at), &augment, s->seed, 0, at / batch, &b);
        gm_pass pass = {.choice = canonical, .mode = GM_MODE_CALIBRATE, .sums = &sums};
        if ((status = gm_walker_forward(w, &pass, &b, err)) != GM_OK) goto done;
        if (s->ranges) gm_walker_add_ranges(w, ranges);
    }
    if ((status = gm_model_norms_add(m, &canonical, &entry, err)) != GM_OK) goto done;
    finish(m, &resolved, &sums, entry);
    if (s->ranges) widen_ranges(m, ranges, images, entry);
done:
    gm_batch_fini(&b);
    gm_resolved_fini(&resolved);
    gm_free(sums.sum);
    gm_free(sums.sumsq);
    gm_free(sums.count);
    gm_free(subset);
    gm_free(ranges);
    return status;
}
