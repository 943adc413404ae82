// SPDX-License-Identifier: Apache-2.0
// Workers that run subnets: images from slots to the plan's input, exactly as evaluation prepares them.
#include <gamut/plan.h>
#include <gamut/serve.h>

#include <string.h>

struct gm_serve_plans {
    const gm_packed *packed;
    int *subnet; // of the packed weights, by index of the profile
    float mean[4], std[4];
    int classes;
};

gm_status gm_serve_plans_create(const gm_packed *packed, const gm_profile *profile, const float mean[4], const float std[4],
                                gm_serve_plans **out, gm_error *err) {
    const gm_graph *graph = gm_packed_graph(packed);
    gm_serve_plans *p = gm_alloc(1, sizeof *p);
    if (p == NULL) return gm_fail(err, GM_ERR_MEMORY, "no memory for a server");
    p->packed = packed;
    p->classes = graph->classes;
    memcpy(p->mean, mean, sizeof p->mean);
    memcpy(p->std, std, sizeof p->std);
    p->subnet = gm_alloc((size_t)profile->subnets, sizeof *p->subnet);
    gm_status status = p->subnet != NULL ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for a server");
    for (int i = 0; i < profile->subnets && status == GM_OK; i++) {
        gm_choice choice;
        status = gm_choice_parse(&graph->space, profile->subnet[i].choice, &choice, err);
        if (status != GM_OK) break;
        p->subnet[i] = gm_packed_find(packed, &choice);
        if (p->subnet[i] < 0)
            status = gm_fail(err, GM_ERR_STATE, "subnet '%.100s' of the profile is not calibrated; run: gamut calibrate MODEL --choices '%.60s'",
                             profile->subnet[i].choice, profile->subnet[i].choice);
    }
    if (status != GM_OK) {
        gm_serve_plans_destroy(p);
        return status;
    }
    *out = p;
    return GM_OK;
}

void gm_serve_plans_destroy(gm_serve_plans *p) {
    if (p == NULL) return;
    gm_free(p->subnet);
    gm_free(p);
}

// ---------------------------------------------------------------------------------------------
// In the worker
typedef struct executor {
    const gm_serve_plans *plans;
    gm_plan *plan;
} executor;

static gm_status open_plans(const void *context, int max_batch, void **out, gm_error *err) {
    executor *e = gm_alloc(1, sizeof *e);
    if (e == NULL) return gm_fail(err, GM_ERR_MEMORY, "no memory for a worker");
    e->plans = context;
    gm_status status = gm_plan_create(e->plans->packed, max_batch, &e->plan, err);
    // Every subnet once, so that no request pays for what happens the first time.
    for (int i = 0; status == GM_OK && i < gm_packed_subnets(e->plans->packed); i++) {
        gm_plan_activate(e->plan, i);
        gm_plan_run(e->plan, 1);
    }
    if (status != GM_OK)
        gm_free(e);
    else
        *out = e;
    return status;
}

static void close_plans(void *context) {
    executor *e = context;
    gm_plan_destroy(e->plan);
    gm_free(e);
}

static void put(const gm_plan_input *in, size_t at, float value) {
    if (in->type == GM_BF16)
        ((gm_bf16 *)in->x)[at] = gm_bf16_from_f32(value);
    else
        ((float *)in->x)[at] = value;
}

// Floats come normalised; of another size they are resized between pixel centres, as stored images are.
static void place_floats(const gm_plan_input *in, size_t base, const gm_serve_image *m) {
    const float *x = m->data;
    double sy = (double)m->height / in->side, sx = (double)m->width / in->side;
    for (int row = 0; row < in->side; row++) {
        double fy = (row + 0.5) * sy - 0.5;
        int y0 = fy > 0 ? (int)fy : 0, y1 = gm_min(y0 + 1, m->height - 1);
        float wy = fy > 0 ? (float)(fy - y0) : 0;
        for (int column = 0; column < in->side; column++) {
            double fx = (column + 0.5) * sx - 0.5;
            int x0 = fx > 0 ? (int)fx : 0, x1 = gm_min(x0 + 1, m->width - 1);
            float wx = fx > 0 ? (float)(fx - x0) : 0;
            size_t to = base + ((size_t)row * (size_t)in->side + (size_t)column) * (size_t)in->ld;
            const float *a = x + ((size_t)y0 * (size_t)m->width + (size_t)x0) * (size_t)m->channels;
            const float *b = x + ((size_t)y0 * (size_t)m->width + (size_t)x1) * (size_t)m->channels;
            const float *c = x + ((size_t)y1 * (size_t)m->width + (size_t)x0) * (size_t)m->channels;
            const float *d = x + ((size_t)y1 * (size_t)m->width + (size_t)x1) * (size_t)m->channels;
            for (int k = 0; k < m->channels; k++) {
                float upper = a[k] + (b[k] - a[k]) * wx, lower = c[k] + (d[k] - c[k]) * wx;
                put(in, to + (size_t)k, upper + (lower - upper) * wy);
            }
        }
    }
}

static void place_pixels(const gm_serve_plans *p, const gm_plan_input *in, size_t base, const gm_serve_image *m) {
    int32_t label = 0;
    int place = 0;
    gm_dataset one = {.images = 1, .height = m->height, .width = m->width, .channels = m->channels,
                      .pixels = (uint8_t *)(uintptr_t)m->data, .labels = &label};
    gm_augment augment = gm_augment_default();
    augment.resolution = in->side;
    memcpy(augment.mean, p->mean, sizeof augment.mean);
    memcpy(augment.std, p->std, sizeof augment.std);
    gm_batch batch = {.channels = m->channels, .ld = in->ld, .type = in->type, .label = &place,
                      .x = (uint8_t *)in->x + base * gm_dtype_size(in->type)};
    gm_batch_fill(&one, NULL, NULL, 1, &augment, 0, 0, 0, &batch);
}

static void run_plans(void *context, int subnet, int images, const gm_serve_image *image, float *const *logits) {
    executor *e = context;
    gm_plan_activate(e->plan, e->plans->subnet[subnet]);
    gm_plan_input in = gm_plan_input_of(e->plan);
    size_t stride = (size_t)in.side * (size_t)in.side * (size_t)in.ld;
    for (int i = 0; i < images; i++) {
        if (image[i].pixels)
            place_pixels(e->plans, &in, (size_t)i * stride, &image[i]);
        else
            place_floats(&in, (size_t)i * stride, &image[i]);
    }
    gm_plan_run(e->plan, images);
    int ld = 0;
    const float *from = gm_plan_logits(e->plan, &ld);
    for (int i = 0; i < images; i++) memcpy(logits[i], from + (size_t)i * (size_t)ld, (size_t)e->plans->classes * sizeof(float));
}

gm_serve_backend gm_serve_plans_backend(const gm_serve_plans *p) {
    return (gm_serve_backend){.context = p, .open = open_plans, .run = run_plans, .close = close_plans};
}
