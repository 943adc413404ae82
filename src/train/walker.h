// SPDX-License-Identifier: Apache-2.0
// Private to the walker: the plan of one pass (where values lie, which phases run in which order) and its memory.
#ifndef GAMUT_TRAIN_WALKER_H
#define GAMUT_TRAIN_WALKER_H

#include <gamut/train.h>

typedef enum phase_kind { PHASE_IMAGE, PHASE_SYNC, PHASE_WEIGHTS } phase_kind;
typedef struct phase {
    phase_kind kind;
    int node;
    void (*image)(gm_exec *x, int node, int image0, int image1, int worker);
    void (*sync)(gm_exec *x, int node);
} phase;

typedef struct span { // of the gradient arena
    size_t offset, bytes;
} span;

typedef struct phase_list {
    phase *at;
    int count, cap;
} phase_list;

struct gm_walker {
    const gm_graph *graph;
    bool training;
    int max_batch;
    gm_exec x;
    gm_resolved resolved;
    int logits; // node
    bool forward_done;
    // arenas
    char *values, *aux, *grads;
    size_t values_cap, aux_cap, grads_cap;
    // packed weights: one block for all parameters
    char *packed;
    size_t packed_bytes;
    int *unit_first; // packing units: panels of forward params, then of transposed ones; [2*params + 1]
    // the plan of the current pass
    phase_list forward, backward;
    uint8_t *started; // gradient of a node's value was written to
    span *grad_span;
    span *free_spans;
    int free_count;
    size_t grads_peak;
};

// Fills value shapes, offsets, phases for the choice and batch already resolved in w; grows arenas when needed.
gm_status gm__walker_plan(gm_walker *w, gm_error *err);
// Cuts a list of phases into segments and runs them: image phases by cache blocks in parallel, the rest in between.
void gm__walker_run(gm_walker *w, const phase_list *list);

#endif
