// SPDX-License-Identifier: Apache-2.0
// The plan of one pass: sizes and places of values, aux memory and gradients, and the phases in order. Values live for the
// whole pass (backward reads them); gradients share an arena by first fit, freed when their node is done.
#include <string.h>

#include "train/walker.h"

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

static size_t value_bytes(const gm_walker *w, const gm_value *v) {
    size_t size = v->type == GM_F32 ? 4 : gm_dtype_size(w->x.type);
    return aligned((size_t)w->x.batch * (size_t)v->shape.h * (size_t)v->shape.w * (size_t)v->ld * size);
}

static gm_status grow(char **arena, size_t *cap, size_t need, const char *what, gm_error *err) {
    if (need <= *cap) return GM_OK;
    char *block = gm_alloc(need, 1);
    if (!block) return gm_fail(err, GM_ERR_MEMORY, "%zu MiB for %s: use a smaller batch", need >> 20, what);
    gm_free(*arena);
    *arena = block;
    *cap = need;
    return GM_OK;
}

static bool runs(const gm_walker *w, int node) {
    const gm_resolved_node *r = &w->resolved.node[node];
    return r->active && r->source == node;
}

static gm_status place_values(gm_walker *w, gm_error *err) {
    const gm_graph *g = w->graph;
    size_t values = 0, aux = 0, scratch = 0;
    for (int pass = 0; pass < 2; pass++) {
        values = aux = 0;
        for (int i = 0; i < g->nodes; i++) {
            gm_value *v = &w->x.value[i];
            w->x.aux[i] = NULL;
            v->grad = NULL;
            if (!runs(w, i)) continue;
            const gm_op *op = g->node[i].op;
            v->shape = w->resolved.node[i].out;
            v->type = i == w->logits ? GM_F32 : w->x.type;
            v->ld = gm_channel_stride(w->x.type, v->shape.c);
            if (i > 0) { // node 0 is the batch itself
                if (pass) v->data = w->values + values;
                values += value_bytes(w, v);
            }
            size_t bytes = op->aux ? op->aux(g, i, &w->resolved, w->x.batch) : 0;
            if (pass && bytes) w->x.aux[i] = w->aux + aux;
            aux += aligned(bytes);
            if (op->scratch) {
                size_t s = op->scratch(g, i, &w->resolved, w->x.batch, w->x.type);
                if (s > scratch) scratch = s;
            }
        }
        if (pass) break;
        gm_status status = grow(&w->values, &w->values_cap, values, "activations", err);
        if (!status) status = grow(&w->aux, &w->aux_cap, aux, "working memory", err);
        if (!status) status = gm_scratch_reserve(scratch, err);
        if (status) return status;
    }
    return GM_OK;
}

static gm_status push(phase_list *list, phase p, gm_error *err) {
    if (list->count == list->cap) {
        int cap = list->cap ? 2 * list->cap : 256;
        phase *at = gm_realloc(list->at, (size_t)list->cap, (size_t)cap, sizeof *at);
        if (!at) return gm_fail(err, GM_ERR_MEMORY, "the plan of a pass");
        list->at = at;
        list->cap = cap;
    }
    list->at[list->count++] = p;
    return GM_OK;
}

static gm_status plan_forward(gm_walker *w, gm_error *err) {
    gm_status status = GM_OK;
    w->forward.count = 0;
    for (int i = 0; i < w->graph->nodes && !status; i++) {
        const gm_op *op = w->graph->node[i].op;
        if (!runs(w, i)) continue;
        bool statistics = op->forward2 != NULL && w->x.mode != GM_MODE_EVAL;
        if (op->forward && (statistics || !op->forward2))
            status = push(&w->forward, (phase){PHASE_IMAGE, i, op->forward, NULL}, err);
        if (!status && op->forward_sync && statistics)
            status = push(&w->forward, (phase){PHASE_SYNC, i, NULL, op->forward_sync}, err);
        if (!status && op->forward2) status = push(&w->forward, (phase){PHASE_IMAGE, i, op->forward2, NULL}, err);
    }
    return status;
}

// --- gradients
static size_t span_take(gm_walker *w, size_t bytes) {
    for (int i = 0; i < w->free_count; i++) {
        span *s = &w->free_spans[i];
        if (s->bytes < bytes) continue;
        size_t offset = s->offset;
        s->offset += bytes;
        s->bytes -= bytes;
        if (s->bytes == 0) *s = w->free_spans[--w->free_count];
        return offset;
    }
    size_t offset = w->grads_peak;
    w->grads_peak += bytes;
    return offset;
}

static void span_give(gm_walker *w, span s) {
    if (s.bytes == 0) return;
    for (int i = 0; i < w->free_count; i++) { // merge with neighbours; lists are short
        span f = w->free_spans[i];
        if (f.offset + f.bytes != s.offset && s.offset + s.bytes != f.offset) continue;
        s.offset = f.offset < s.offset ? f.offset : s.offset;
        s.bytes += f.bytes;
        w->free_spans[i] = w->free_spans[--w->free_count];
        i = -1;
    }
    w->free_spans[w->free_count++] = s;
}

// Gives each input of the node a gradient buffer, and says whether the node adds to it or writes it first.
static gm_status start_inputs(gm_walker *w, int node, gm_error *err) {
    const gm_op *op = w->graph->node[node].op;
    w->x.accumulate[node] = 0;
    for (int j = 0; j < GM_MAX_INPUTS; j++) {
        int from = w->resolved.node[node].from[j];
        if (from <= 0) continue;
        if (w->started[from]) {
            w->x.accumulate[node] |= (uint8_t)(1u << j);
        } else {
            size_t bytes = value_bytes(w, &w->x.value[from]);
            w->started[from] = 1;
            if (j == 0 && op->in_place && w->grad_span[node].bytes == bytes) { // one stream of memory less
                w->grad_span[from] = w->grad_span[node];
                w->grad_span[node].bytes = 0; // the input gives it back
                continue;
            }
            w->grad_span[from] = (span){span_take(w, bytes), bytes};
        }
    }
    bool writes_first = op->backward2 != NULL || op == gm_op_find("attention");
    if (writes_first && (w->x.accumulate[node] & 1u))
        return gm_fail(err, GM_ERR_UNSUPPORTED, "%s: the input of a %s must have no other reader",
                       w->graph->node[node].name, op->name);
    return GM_OK;
}

static gm_status flush(gm_walker *w, int *pending, int *count, gm_error *err) {
    gm_status status = GM_OK;
    for (int i = 0; i < *count && !status; i++) {
        int node = pending[i];
        const gm_op *op = w->graph->node[node].op;
        if (op->backward_weights) status = push(&w->backward, (phase){PHASE_WEIGHTS, node, NULL, NULL}, err);
        if (!status && op->weights_sync) status = push(&w->backward, (phase){PHASE_SYNC, node, NULL, op->weights_sync}, err);
        span_give(w, w->grad_span[node]);
    }
    *count = 0;
    return status;
}

static gm_status plan_backward(gm_walker *w, gm_error *err) {
    int nodes = w->graph->nodes, count = 0;
    gm_status status = GM_OK;
    int *pending = gm_alloc((size_t)nodes, sizeof *pending);
    if (!pending) return gm_fail(err, GM_ERR_MEMORY, "the plan of a pass");
    memset(w->started, 0, (size_t)nodes);
    w->backward.count = w->free_count = 0;
    w->grads_peak = 0;
    w->started[w->logits] = 1;
    w->grad_span[w->logits].bytes = value_bytes(w, &w->x.value[w->logits]);
    w->grad_span[w->logits].offset = span_take(w, w->grad_span[w->logits].bytes);
    for (int i = nodes - 1; i > 0 && !status; i--) {
        const gm_op *op = w->graph->node[i].op;
        if (!runs(w, i) || !w->started[i]) continue;
        if (op->backward2) { // first the reduction over the whole batch, then the gradient itself
            status = push(&w->backward, (phase){PHASE_IMAGE, i, op->backward, NULL}, err);
            if (!status) status = flush(w, pending, &count, err);
            if (!status) status = push(&w->backward, (phase){PHASE_SYNC, i, NULL, op->backward_sync}, err);
        }
        if (!status) status = start_inputs(w, i, err);
        if (!status)
            status = push(&w->backward, (phase){PHASE_IMAGE, i, op->backward2 ? op->backward2 : op->backward, NULL}, err);
        if (!status && !op->backward2 && op->backward_sync)
            status = push(&w->backward, (phase){PHASE_SYNC, i, NULL, op->backward_sync}, err);
        pending[count++] = i;
    }
    if (!status) status = flush(w, pending, &count, err);
    gm_free(pending);
    if (status) return status;
    status = grow(&w->grads, &w->grads_cap, w->grads_peak, "gradients of activations", err);
    for (int i = 1; i < nodes && !status; i++)
        if (w->started[i]) w->x.value[i].grad = w->grads + w->grad_span[i].offset;
    return status;
}

gm_status gm__walker_plan(gm_walker *w, gm_error *err) {
    gm_status status = place_values(w, err);
    if (!status) status = plan_forward(w, err);
    if (!status && w->x.mode == GM_MODE_TRAIN && w->training) status = plan_backward(w, err);
    return status;
}
