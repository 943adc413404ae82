// SPDX-License-Identifier: Apache-2.0
// One executor: memory for the largest subnet and batch at creation, then runs. A batch is cut over threads by images; what is
// left of it, or a single image, step by step.
#include <stdatomic.h>
#include <string.h>

#include "plan/plan_private.h"

static atomic_int running; // plans in the process that run now: only the first may use the team of threads

static size_t squeeze_bytes(const gm__live *l, int block) {
    size_t c = (size_t)gm_channel_stride(l->in.type, l->g.c), h = (size_t)gm_channel_stride(l->in.type, l->hidden);
    return (size_t)block * (2 * c + h) * gm_dtype_size(l->in.type);
}

static void widen(size_t *most, size_t bytes) {
    if (bytes > *most) *most = gm__align64(bytes);
}

// Rows of one image cut over `parts` threads: the heights that occur, at the upper edge and away from it.
static void widen_for_rows(size_t *most, const gm_conv *whole, int parts, gm_dtype type) {
    gm_conv g = *whole;
    g.n = 1;
    for (g.ho = whole->ho / parts; g.ho <= (whole->ho + parts - 1) / parts; g.ho++)
        for (int inner = 0; inner < 2 && g.ho > 0; inner++) {
            g.y0 = inner ? gm_min(g.pad, whole->ho - g.ho) : 0;
            widen(most, gm_conv_scratch(&g, type));
        }
}

static size_t scratch_of(const gm__live *l, int block, int workers) {
    gm_conv g = l->g;
    size_t most = 64;
    if (l->step->kind == GM__STEP_SQUEEZE) {
        gm_conv reduce = {.n = block, .h = 1, .w = 1, .c = g.c, .ho = 1, .wo = 1, .k = l->hidden, .r = 1, .s = 1, .stride = 1,
                          .ldx = gm_channel_stride(l->in.type, g.c), .ldy = gm_channel_stride(l->in.type, l->hidden)};
        gm_conv expand = {.n = block, .h = 1, .w = 1, .c = l->hidden, .ho = 1, .wo = 1, .k = g.c, .r = 1, .s = 1, .stride = 1,
                          .ldx = reduce.ldy, .ldy = reduce.ldx};
        widen(&most, gm_conv_scratch(&reduce, l->in.type));
        widen(&most, gm_conv_scratch(&expand, l->in.type));
        return most;
    }
    if (l->step->kind != GM__STEP_DENSE && l->step->kind != GM__STEP_DEPTHWISE) return most;
    gm_dtype type = l->step->kind == GM__STEP_DENSE ? l->panels->type : l->in.type;
    g.n = block;
    widen(&most, gm_conv_scratch(&g, type));
    // the cuts over threads: rows of one image, or all positions in one row
    for (int parts = 2; parts <= workers; parts++) widen_for_rows(&most, &l->g, parts, type);
    if (g.r == 1 && g.stride == 1) {
        g.h = g.ho = 1;
        g.w = g.wo = block * l->g.ho * l->g.wo;
        widen(&most, gm_conv_scratch(&g, type));
    }
    return most;
}

// Two steps that run together, a few rows at a time.
static size_t scratch_of_pair(const gm__live *l) {
    gm_conv product = l->g, depthwise = l[1].g;
    size_t most = 64;
    product.n = depthwise.n = product.h = product.ho = 1;
    product.w = product.wo = gm_min(l->g.ho, (l->pair_rows - 1) * depthwise.stride + depthwise.r) * l->g.wo;
    widen(&most, gm_conv_scratch(&product, l->panels->type));
    depthwise.ho = gm_min(depthwise.ho, l->pair_rows);
    for (int inner = 0; inner < 2; inner++) {
        depthwise.y0 = inner ? gm_min(depthwise.pad, l[1].g.ho - depthwise.ho) : 0;
        widen(&most, gm_conv_scratch(&depthwise, l[1].in.type));
    }
    return most;
}

// What the active subnet needs, added to what others needed.
static void measure(gm_plan *p, size_t *input) {
    widen(input, p->place[0].image * (size_t)p->max_batch);
    for (int i = 0; i < p->segments; i++) {
        const gm__segment *s = &p->segment[i];
        for (int j = s->first; j < s->first + s->count; j++) {
            const gm__live *l = &p->live[j];
            if (l->pair_rows) widen(&p->local.bytes[l->out.slot], gm__pair_bytes(l));
            else if (l->out.slot >= 0 && l->out.local) widen(&p->local.bytes[l->out.slot], l->out.image * (size_t)s->block);
            else if (l->out.slot >= 0) widen(&p->shared.bytes[l->out.slot], l->out.image * (size_t)p->max_batch);
            p->fold_floats = gm_max(p->fold_floats, gm_round_up(l->g.k, 16));
            widen(&p->scratch_bytes, scratch_of(l, s->block, p->workers));
            if (l->pair_rows) widen(&p->scratch_bytes, scratch_of_pair(l));
            const gm__operand *operands[] = {&l->in, &l->residual};
            for (int k = 0; k < 2; k++)
                if (operands[k]->place.slot != GM__NOWHERE && operands[k]->type != operands[k]->place.type)
                    widen(&p->convert_bytes[k], operands[k]->image * (size_t)s->block);
            if (l->step->kind == GM__STEP_SQUEEZE) widen(&p->squeeze_bytes, squeeze_bytes(l, s->block));
        }
    }
}

static gm_status measure_all(gm_plan *p, size_t *input, gm_error *err) {
    for (int i = 0; i < p->packed->subnets; i++) {
        if (!gm__plan_resolve(p, i))
            return gm_fail(err, GM_ERR_UNSUPPORTED, "subnet %d needs more than %d buffers at once", i, GM__SLOTS);
        measure(p, input);
    }
    p->active = -1;
    return GM_OK;
}

static gm_status lay_out(gm_plan *p, size_t input, gm_error *err) {
    const gm_graph *g = p->packed->graph;
    size_t logits = gm__align64((size_t)p->max_batch * (size_t)gm_channel_stride(p->packed->precision.wide, g->classes) * sizeof(float));
    size_t used = input + logits;
    for (int i = 0; i < GM__SLOTS; i++) used += p->shared.bytes[i];
    p->worker_bytes = (size_t)(gm__worker_converted(p, NULL, 1) - (char *)NULL) + p->convert_bytes[1];
    for (int i = 0; i < GM__SLOTS; i++) {
        p->local_offset[i] = p->worker_bytes;
        p->worker_bytes += p->local.bytes[i];
    }
    p->bytes = used + p->worker_bytes * (size_t)p->workers;
    p->memory = gm_alloc(used, 1);
    p->worker = gm_alloc((size_t)p->workers, sizeof *p->worker);
    bool whole = p->memory && p->worker;
    for (int i = 0; whole && i < p->workers; i++) whole = (p->worker[i] = gm_alloc(p->worker_bytes, 1)) != NULL;
    if (!whole)
        return gm_fail(err, GM_ERR_MEMORY, "%zu MiB for the buffers of a plan of %d images: use a smaller batch", p->bytes >> 20,
                       p->max_batch);
    p->input = p->memory;
    p->logits = (float *)(void *)(p->memory + input);
    char *at = p->memory + input + logits;
    for (int i = 0; i < GM__SLOTS; i++) {
        p->shared_at[i] = at;
        at += p->shared.bytes[i];
    }
    return GM_OK;
}

gm_status gm_plan_create(const gm_packed *packed, int max_batch, gm_plan **out, gm_error *err) {
    enum { MOST_IMAGES = 1 << 16 };
    *out = NULL;
    if (max_batch < 1 || max_batch > MOST_IMAGES)
        return gm_fail(err, GM_ERR_RANGE, "a plan of %d images, allowed are 1 to %d", max_batch, MOST_IMAGES);
    gm_plan *p = gm_alloc(1, sizeof *p);
    if (!p) return gm_fail(err, GM_ERR_MEMORY, "a plan");
    size_t nodes = (size_t)packed->graph->nodes, steps = (size_t)packed->steps.count, input = 64;
    *p = (gm_plan){.packed = packed, .kernels = gm_kernels_active(), .max_batch = max_batch, .workers = gm_threads(), .active = -1};
    p->live = gm_alloc(steps, sizeof *p->live);
    p->segment = gm_alloc(steps, sizeof *p->segment);
    p->place = gm_alloc(nodes, sizeof *p->place);
    p->last_use = gm_alloc(nodes, sizeof *p->last_use);
    p->segment_of = gm_alloc(nodes, sizeof *p->segment_of);
    p->crosses = gm_alloc(nodes, sizeof *p->crosses);
    gm_status status = gm_resolved_init(&p->resolved, packed->graph, err);
    if (!status && (!p->live || !p->segment || !p->place || !p->last_use || !p->segment_of || !p->crosses))
        status = gm_fail(err, GM_ERR_MEMORY, "a plan");
    if (!status) status = measure_all(p, &input, err);
    if (!status) status = lay_out(p, input, err);
    if (status) gm_plan_destroy(p);
    else *out = p;
    return status;
}

void gm_plan_destroy(gm_plan *p) {
    if (!p) return;
    for (int i = 0; p->worker && i < p->workers; i++) gm_free(p->worker[i]);
    void *blocks[] = {p->worker, p->memory, p->live, p->segment, p->place, p->last_use, p->segment_of, p->crosses};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) gm_free(blocks[i]);
    gm_resolved_fini(&p->resolved);
    gm_free(p);
}

size_t gm_plan_bytes(const gm_plan *p) { return p->bytes; }
int gm_plan_active(const gm_plan *p) { return p->active; }

void gm_plan_activate(gm_plan *p, int subnet) {
    if (subnet >= 0 && subnet < p->packed->subnets && subnet != p->active) (void)gm__plan_resolve(p, subnet);
}

gm_plan_input gm_plan_input_of(gm_plan *p) {
    int active = p->active;
    gm_shape s = active < 0 ? (gm_shape){0, 0, p->packed->graph->input_channels} : p->resolved.node[0].out;
    return (gm_plan_input){.x = p->input, .type = p->place[0].type, .side = s.h, .channels = s.c, .ld = p->place[0].ld};
}

const float *gm_plan_logits(const gm_plan *p, int *ld) {
    if (ld) *ld = gm_channel_stride(p->packed->precision.wide, p->packed->graph->classes);
    return p->logits;
}

// ---------------------------------------------------------------------------------------------
typedef struct job {
    gm_plan *p;
    const gm__segment *segment;
    int i0, i1, parts, phase;
    const gm__live *live;
} job;

static void run_pair(const gm_plan *p, const gm__live *l, const gm__slice *block) {
    gm__slice one = *block;
    for (one.i0 = block->i0; one.i0 < block->i1; one.i0++) {
        one.i1 = one.i0 + 1;
        gm__pair_run(p, l, &one);
    }
}

// Unit u: the u-th share of the images, through a segment block by block.
static void images_task(void *context, int begin, int end, int worker) {
    (void)worker;
    const job *j = context;
    int images = j->i1 - j->i0;
    for (int u = begin; u < end; u++) {
        int first = j->i0 + (int)((int64_t)images * u / j->parts), last = j->i0 + (int)((int64_t)images * (u + 1) / j->parts);
        for (int i = first; i < last; i += j->segment->block) {
            gm__slice s = {.i0 = i, .i1 = gm_min(i + j->segment->block, last), .base = i, .parts = 1, .worker = j->p->worker[u],
                           .values = j->p->worker[u]};
            for (int k = 0; k < j->segment->count; k++) {
                const gm__live *l = &j->p->live[j->segment->first + k];
                if (l->pair_rows) {
                    run_pair(j->p, l, &s);
                    k++;
                } else {
                    gm__step_run(j->p, l, &s);
                }
            }
        }
    }
}

// Unit u: one part of a step. Local values lie in the memory of the first worker; scratch is that of each.
static void parts_task(void *context, int begin, int end, int worker) {
    (void)worker;
    const job *j = context;
    for (int u = begin; u < end; u++) {
        gm__slice s = {.i0 = j->i0, .i1 = j->i1, .base = j->i0, .part = u, .parts = j->parts, .phase = j->phase,
                       .worker = j->p->worker[u], .values = j->p->worker[0]};
        if (j->live->pair_rows) gm__pair_run(j->p, j->live, &s);
        else gm__step_run(j->p, j->live, &s);
    }
}

static void convert_task(void *context, int begin, int end, int worker) {
    (void)worker;
    const job *j = context;
    for (int u = begin; u < end; u++) {
        gm__slice s = {.i0 = j->i0, .i1 = j->i1, .base = j->i0, .part = u, .parts = j->parts, .values = j->p->worker[0]};
        gm__step_convert(j->p, j->live, &s);
    }
}

static void run_images(gm_plan *p, int i0, int i1, int parts) {
    for (int i = 0; i < p->segments && i0 < i1; i++) {
        job j = {.p = p, .segment = &p->segment[i], .i0 = i0, .i1 = i1, .parts = parts};
        if (parts > 1) gm_parallel(parts, images_task, &j);
        else images_task(&j, 0, 1, 0);
    }
}

// A few images one after the other, each step cut over the threads.
static void run_parts(gm_plan *p, int i0, int i1, int parts) {
    for (int i = i0; i < i1; i++)
        for (int k = 0; k < p->lives; k++) {
            job j = {.p = p, .i0 = i, .i1 = i + 1, .parts = parts, .live = &p->live[k]};
            if (gm__step_converts(j.live)) gm_parallel(parts, convert_task, &j);
            for (; j.phase < gm__step_phases(j.live); j.phase++) gm_parallel(parts, parts_task, &j);
            if (j.live->pair_rows) k++;
        }
}

void gm_plan_run(gm_plan *p, int images) {
    if (p->active < 0 || images < 1) return;
    images = gm_min(images, p->max_batch);
    bool alone = atomic_fetch_add(&running, 1) == 0;
    int parts = alone ? gm_min(p->workers, gm_threads()) : 1;
    int even = images / parts * parts;
    run_images(p, 0, even, parts);
    run_parts(p, even, images, parts);
    atomic_fetch_sub(&running, 1);
}
