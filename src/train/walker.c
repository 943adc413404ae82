// SPDX-License-Identifier: Apache-2.0
// The walker: one pass of one subnet over one batch, forward and backward (see the public header).
#include "train/walker.h"

#include <string.h>

static bool is_panels(const gm_graph *g, int p) { return g->param[p].layout == GM_LAYOUT_PANELS; }

// Layout of a parameter's panels in a type; transposed ones exchange outputs and inputs.
static size_t panels_of(const gm_param *p, gm_dtype type, bool transposed, gm_panels *out) {
    int o = p->dims[0], i = p->dims[1];
    return gm_panels_layout(out, type, transposed ? i : o, transposed ? o : i, p->dims[2], p->dims[3],
                            transposed ? 0 : p->flat);
}

static int panel_count(const gm_panels *p) { return (p->outputs + 15) / 16; }

// f32 reads its masters in place; everything else is packed into one block.
static gm_status create_panels(gm_walker *w, gm_error *err) {
    const gm_graph *g = w->graph;
    for (int pass = 0; pass < 2; pass++) {
        size_t used = 0;
        int units = 0;
        for (int t = 0; t < 2; t++) {
            gm_panels *list = t ? w->x.panels_t : w->x.panels;
            for (int p = 0; p < g->params; p++) {
                w->unit_first[t * g->params + p] = units;
                bool wanted = is_panels(g, p) && (t == 0 || (w->training && !g->param[p].flat));
                if (!wanted) continue;
                size_t count = panels_of(&g->param[p], w->x.type, t == 1, &list[p]);
                if (t == 0 && w->x.type == GM_F32) continue;
                if (pass) list[p].data = w->packed + used;
                used += (count * gm_dtype_size(w->x.type) + 63) / 64 * 64;
                units += panel_count(&list[p]);
            }
        }
        w->unit_first[2 * g->params] = units;
        if (pass) break;
        w->packed_bytes = used;
        w->packed = gm_alloc(used ? used : 1, 1);
        if (!w->packed) return gm_fail(err, GM_ERR_MEMORY, "%zu MiB for packed weights", used >> 20);
    }
    return GM_OK;
}

gm_status gm_walker_create(const gm_graph *g, const size_t *norm_offset, gm_dtype type, int max_batch, bool training,
                           gm_walker **out, gm_error *err) {
    *out = NULL;
    if (type != GM_F32 && type != GM_BF16)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "activations of type %s: use f32 or bf16", gm_dtype_name(type));
    if (max_batch < 1) return gm_fail(err, GM_ERR_ARGUMENT, "batch of %d images", max_batch);
    gm_walker *w = gm_alloc(1, sizeof *w);
    if (!w) return gm_fail(err, GM_ERR_MEMORY, "a walker");
    size_t nodes = (size_t)g->nodes, params = (size_t)g->params;
    w->graph = w->x.graph = g;
    w->training = training;
    w->max_batch = max_batch;
    w->logits = g->nodes - 1;
    w->x.type = type;
    w->x.norm_offset = norm_offset;
    w->x.kernels = gm_kernels_active();
    w->x.value = gm_alloc(nodes, sizeof *w->x.value);
    w->x.aux = gm_alloc(nodes, sizeof *w->x.aux);
    w->x.accumulate = gm_alloc(nodes, 1);
    w->x.panels = gm_alloc(params, sizeof *w->x.panels);
    w->x.panels_t = gm_alloc(params, sizeof *w->x.panels_t);
    w->unit_first = gm_alloc(2 * params + 1, sizeof *w->unit_first);
    w->started = gm_alloc(nodes, 1);
    w->grad_span = gm_alloc(nodes, sizeof *w->grad_span);
    w->free_spans = gm_alloc(nodes + 1, sizeof *w->free_spans);
    gm_status status = GM_OK;
    if (!w->x.value || !w->x.aux || !w->x.accumulate || !w->x.panels || !w->x.panels_t || !w->unit_first || !w->started ||
        !w->grad_span || !w->free_spans)
        status = gm_fail(err, GM_ERR_MEMORY, "a walker");
    if (!status) status = gm_resolved_init(&w->resolved, g, err);
    w->x.resolved = &w->resolved;
    if (!status) status = create_panels(w, err);
    // Memory for the largest subnet and batch now, so that training meets no surprise later.
    gm_choice max = gm_choice_max(&g->space);
    if (!status) status = gm_resolve(g, &max, &w->resolved, err);
    w->x.batch = max_batch;
    w->x.mode = training ? GM_MODE_TRAIN : GM_MODE_EVAL;
    if (!status) status = gm__walker_plan(w, err);
    if (status) {
        gm_walker_destroy(w);
        return status;
    }
    *out = w;
    return GM_OK;
}

void gm_walker_destroy(gm_walker *w) {
    if (!w) return;
    void *blocks[] = {w->x.value, w->x.aux, w->x.accumulate, w->x.panels, w->x.panels_t, w->unit_first, w->started,
                      w->grad_span, w->free_spans, w->values, w->aux, w->grads, w->packed, w->forward.at, w->backward.at};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) gm_free(blocks[i]);
    gm_resolved_fini(&w->resolved);
    gm_free(w);
}

size_t gm_walker_bytes(const gm_walker *w) { return w->values_cap + w->aux_cap + w->grads_cap + w->packed_bytes; }

static void pack_task(void *context, int begin, int end, int worker) {
    (void)worker;
    gm_walker *w = context;
    int params = w->graph->params;
    for (int k = 0; k < 2 * params; k++) {
        int first = gm_max(begin, w->unit_first[k]), last = gm_min(end, w->unit_first[k + 1]);
        if (first >= last) continue;
        int p = k % params;
        gm_panels master;
        panels_of(&w->graph->param[p], GM_F32, false, &master);
        master.data = (float *)(uintptr_t)(w->x.params + w->graph->param[p].offset);
        gm_panels *dst = k < params ? &w->x.panels[p] : &w->x.panels_t[p];
        (k < params ? w->x.kernels->pack : w->x.kernels->pack_t)(&master, dst, first - w->unit_first[k],
                                                                last - w->unit_first[k]);
    }
}

void gm_walker_refresh(gm_walker *w, const float *params) {
    w->x.params = params;
    for (int p = 0; w->x.type == GM_F32 && p < w->graph->params; p++)
        if (is_panels(w->graph, p)) w->x.panels[p].data = (float *)(uintptr_t)(params + w->graph->param[p].offset);
    gm_parallel(w->unit_first[2 * w->graph->params], pack_task, w);
}

static gm_status check_batch(const gm_walker *w, const gm_batch *b, gm_error *err) {
    gm_shape want = w->resolved.node[0].out;
    if (b->images < 1 || b->images > w->max_batch)
        return gm_fail(err, GM_ERR_RANGE, "a batch of %d images: this walker takes 1 to %d", b->images, w->max_batch);
    if (b->type != w->x.type)
        return gm_fail(err, GM_ERR_ARGUMENT, "a batch of type %s given to a walker of type %s", gm_dtype_name(b->type),
                       gm_dtype_name(w->x.type));
    if (b->height != want.h || b->width != want.w || b->channels != want.c)
        return gm_fail(err, GM_ERR_ARGUMENT, "images of %dx%dx%d: the subnet takes %dx%dx%d", b->height, b->width,
                       b->channels, want.h, want.w, want.c);
    return GM_OK;
}

static void count_positions(gm_walker *w, const gm_pass *pass) {
    for (int i = 0; i < w->graph->nodes; i++) {
        const gm_shape *s = &w->x.value[i].shape;
        bool norm = w->graph->node[i].op == gm_op_find("norm");
        if (norm && w->resolved.node[i].active) pass->sums->count[i] += (double)w->x.batch * s->h * s->w;
    }
}

gm_status gm_walker_forward(gm_walker *w, const gm_pass *pass, const gm_batch *b, gm_error *err) {
    w->forward_done = false;
    if (!w->x.params) return gm_fail(err, GM_ERR_STATE, "forward before gm_walker_refresh");
    if (pass->mode == GM_MODE_EVAL && !pass->norms && w->graph->norms > 0)
        return gm_fail(err, GM_ERR_STATE, "evaluation of an uncalibrated subnet: calibrate it first");
    if (pass->mode == GM_MODE_CALIBRATE && !pass->sums)
        return gm_fail(err, GM_ERR_ARGUMENT, "calibration needs a place for its sums");
    gm_status status = gm_resolve(w->graph, &pass->choice, &w->resolved, err);
    if (!status) status = check_batch(w, b, err);
    if (status) return status;
    w->x.mode = pass->mode;
    w->x.batch = b->images;
    w->x.norm_mean = pass->norms ? pass->norms->mean : NULL;
    w->x.norm_var = pass->norms ? pass->norms->var : NULL;
    w->x.norm_sum = pass->sums ? pass->sums->sum : NULL;
    w->x.norm_sumsq = pass->sums ? pass->sums->sumsq : NULL;
    w->x.seed = pass->seed;
    w->x.step = pass->step;
    w->x.dropout_scale = pass->dropout ? 1.0f : 0.0f;
    status = gm__walker_plan(w, err);
    if (status) return status;
    w->x.value[0].data = b->x;
    w->x.value[0].ld = b->ld;
    for (int i = 0; i < w->graph->nodes; i++) {
        const gm_resolved_node *r = &w->resolved.node[i];
        if (r->active && r->source == i && w->graph->node[i].op->prepare) w->graph->node[i].op->prepare(&w->x, i);
    }
    gm__walker_run(w, &w->forward);
    if (pass->mode == GM_MODE_CALIBRATE) count_positions(w, pass);
    w->forward_done = pass->mode == GM_MODE_TRAIN;
    return GM_OK;
}

const float *gm_walker_logits(const gm_walker *w, int *ld) {
    const gm_value *v = &w->x.value[w->logits];
    if (ld) *ld = v->ld;
    return v->data;
}

gm_status gm_walker_backward(gm_walker *w, const float *dlogits, float *grads, gm_error *err) {
    if (!w->training || !w->forward_done)
        return gm_fail(err, GM_ERR_STATE, "backward without a training forward before it");
    gm_value *v = &w->x.value[w->logits];
    size_t count = (size_t)w->x.batch * (size_t)v->ld;
    if (w->x.type == GM_F32)
        memcpy(v->grad, dlogits, count * sizeof *dlogits);
    else
        w->x.kernels->convert(GM_F32, w->x.type, count, dlogits, v->grad);
    w->x.grads = grads;
    gm__walker_run(w, &w->backward);
    w->forward_done = false;
    return GM_OK;
}
