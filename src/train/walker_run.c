// SPDX-License-Identifier: Apache-2.0
// Runs the phases of a plan. Image phases between two serial ones form a segment; each worker takes a range of images
// through the whole segment in blocks that fit its second-level cache, so that what one phase wrote the next still finds there.
#include "train/walker.h"

enum { BLOCK_BYTES = 1 << 20 }; // about half of a 2 MiB L2

typedef struct segment {
    gm_walker *w;
    const phase *first;
    int count;
    int group; // images that are never cut apart
    int block; // images, a multiple of group
} segment;

static size_t image_bytes(const gm_walker *w, int node) {
    const gm_value *v = &w->x.value[node];
    return (size_t)v->shape.h * (size_t)v->shape.w * (size_t)v->ld * gm_dtype_size(w->x.type);
}

static int block_of(const gm_walker *w, const phase *p, int count, int group) {
    size_t bytes = 1;
    for (int i = 0; i < count; i++) {
        bytes += image_bytes(w, p[i].node);
        int from = w->resolved.node[p[i].node].from[0];
        if (i == 0 && from >= 0) bytes += image_bytes(w, from);
    }
    int groups = (int)(BLOCK_BYTES / (bytes * (size_t)group));
    return gm_max(groups, 1) * group;
}

static void segment_task(void *context, int begin, int end, int worker) {
    const segment *s = context;
    int last = gm_min(end * s->group, s->w->x.batch);
    for (int i = begin * s->group; i < last; i += s->block)
        for (int p = 0; p < s->count; p++)
            s->first[p].image(&s->w->x, s->first[p].node, i, gm_min(i + s->block, last), worker);
}

typedef struct weights_job {
    gm_walker *w;
    int node;
} weights_job;

static void weights_task(void *context, int begin, int end, int worker) {
    const weights_job *j = context;
    if (begin < end) j->w->graph->node[j->node].op->backward_weights(&j->w->x, j->node, begin, end, worker);
}

// A segment ends where the size of the maps changes: one block size cannot suit both sides.
static bool joins(const gm_walker *w, const phase *a, const phase *b) {
    const gm_shape *sa = &w->x.value[a->node].shape, *sb = &w->x.value[b->node].shape;
    return b->kind == PHASE_IMAGE && sa->h * sa->w == sb->h * sb->w;
}

void gm__walker_run(gm_walker *w, const phase_list *list) {
    for (int i = 0; i < list->count;) {
        const phase *p = &list->at[i];
        if (p->kind == PHASE_SYNC) {
            p->sync(&w->x, p->node);
            i++;
        } else if (p->kind == PHASE_WEIGHTS) {
            weights_job job = {w, p->node};
            gm_parallel(w->graph->node[p->node].op->weight_units(&w->x, p->node), weights_task, &job);
            i++;
        } else {
            segment s = {.w = w, .first = p, .count = 1};
            while (i + s.count < list->count && joins(w, &p[s.count - 1], &p[s.count])) s.count++;
            const gm_shape *map = &w->x.value[p->node].shape; // of every phase of the segment
            s.group = gm_image_group(map->h * map->w);
            s.block = block_of(w, p, s.count, s.group);
            gm_parallel((w->x.batch + s.group - 1) / s.group, segment_task, &s);
            i += s.count;
        }
    }
}
