// SPDX-License-Identifier: Apache-2.0
#include "search/runner.h"

#include <string.h>

static int largest_side(const gm_graph *g) { return g->node[0].out.max; }

static gm_status make_noise(gm__runner *r, const gm_graph *g, gm_error *err) {
    int side = largest_side(g), channels = g->input_channels, ld = gm_plan_input_of(r->plan).ld;
    size_t rows = (size_t)r->most * (size_t)side * (size_t)side;
    r->noise_bytes = rows * (size_t)ld * gm_dtype_size(r->input_type);
    r->noise = gm_alloc(rows, (size_t)ld * gm_dtype_size(r->input_type));
    if (!r->noise) return gm_fail(err, GM_ERR_MEMORY, "no memory for %d images of %dx%d", r->most, side, side);
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_SEARCH);
    for (size_t i = 0; i < rows; i++)
        for (int c = 0; c < channels; c++) {
            float v = gm_rng_normal(&rng);
            size_t at = i * (size_t)ld + (size_t)c;
            if (r->input_type == GM_F32) ((float *)r->noise)[at] = v;
            else ((gm_bf16 *)r->noise)[at] = gm_bf16_from_f32(v);
        }
    return GM_OK;
}

gm_status gm__runner_init(gm__runner *r, const gm_model *m, gm_dtype type, int most_images, const gm_clock *clock, gm_error *err) {
    *r = (gm__runner){.most = most_images, .clock = clock ? clock : gm_clock_system()};
    gm_status status = gm_packed_create(m, type, &r->packed, err);
    if (!status && gm_packed_subnets(r->packed) == 0)
        status = gm_fail(err, GM_ERR_STATE, "no subnet of this model is calibrated; run: gamut calibrate MODEL --choices max min");
    if (!status) status = gm_plan_create(r->packed, most_images, &r->plan, err);
    if (!status) {
        gm_plan_activate(r->plan, 0);
        r->input_type = gm_plan_input_of(r->plan).type;
        status = make_noise(r, gm_packed_graph(r->packed), err);
    }
    if (status) gm__runner_fini(r);
    return status;
}

void gm__runner_fini(gm__runner *r) {
    gm_plan_destroy(r->plan);
    gm_packed_destroy(r->packed);
    gm_batch_fini(&r->batch);
    gm_free(r->noise);
    *r = (gm__runner){0};
}

gm_status gm__runner_find(const gm__runner *r, const gm_choice *choice, int *subnet, gm_error *err) {
    char text[512];
    *subnet = gm_packed_find(r->packed, choice);
    if (*subnet >= 0) return GM_OK;
    if (gm_choice_print(&gm_packed_graph(r->packed)->space, choice, text, sizeof text, NULL)) text[0] = '\0';
    return gm_fail(err, GM_ERR_STATE, "subnet '%.150s' is not calibrated: run `gamut calibrate` for it first", text);
}

// The same rows for every size: noise has no edges.
static void give_noise(gm__runner *r, int images) {
    gm_plan_input in = gm_plan_input_of(r->plan);
    size_t bytes = (size_t)images * (size_t)in.side * (size_t)in.side * (size_t)in.ld * gm_dtype_size(in.type);
    memcpy(in.x, r->noise, bytes < r->noise_bytes ? bytes : r->noise_bytes);
}

double gm__runner_time(gm__runner *r, int subnet, int images) {
    gm_plan_activate(r->plan, subnet);
    give_noise(r, images);
    gm_plan_run(r->plan, images);
    give_noise(r, images); // a plan may use the room of its input for something else
    double start = r->clock->now(r->clock->self);
    gm_plan_run(r->plan, images);
    return r->clock->now(r->clock->self) - start;
}

static int count_right(gm__runner *r, int images, int classes) {
    int ld, right = 0;
    const float *logits = gm_plan_logits(r->plan, &ld);
    for (int i = 0; i < images; i++) {
        const float *row = logits + (size_t)i * (size_t)ld;
        int best = 0;
        for (int c = 1; c < classes; c++)
            if (row[c] > row[best]) best = c;
        right += best == r->batch.label[i];
    }
    return right;
}

gm_status gm__runner_accuracy(gm__runner *r, int subnet, const gm_model *m, const gm_dataset *d, const int32_t *index, int count,
                              double *top1, gm_error *err) {
    int images = index ? count : d->images, right = 0;
    if (images < 1) return gm_fail(err, GM_ERR_RANGE, "%s: no images to evaluate on", d->name);
    gm_plan_activate(r->plan, subnet);
    gm_plan_input in = gm_plan_input_of(r->plan);
    gm_augment a = {.resolution = in.side};
    memcpy(a.mean, m->input_mean, sizeof a.mean);
    memcpy(a.std, m->input_std, sizeof a.std);
    int32_t *order = gm_alloc((size_t)r->most, sizeof *order);
    gm_status status = order ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to evaluate");
    int side = gm_max(largest_side(m->graph), gm_max(d->height, d->width));
    if (!status && !r->batch.x) status = gm_batch_init(&r->batch, r->most, side, d->channels, in.type, err);
    r->batch.ld = in.ld;
    for (int at = 0; at < images && !status; at += r->most) {
        int n = gm_min(r->most, images - at);
        if (gm_interrupted()) status = gm_fail(err, GM_ERR_INTERRUPTED, "interrupted while accuracy was measured");
        for (int i = 0; i < n; i++) order[i] = at + i;
        gm_batch_fill(d, index, order, n, &a, 0, 0, 0, &r->batch);
        memcpy(in.x, r->batch.x, (size_t)n * (size_t)in.side * (size_t)in.side * (size_t)in.ld * gm_dtype_size(in.type));
        gm_plan_run(r->plan, n);
        right += count_right(r, n, m->graph->classes);
    }
    gm_free(order);
    *top1 = 100.0 * right / images;
    return status;
}
