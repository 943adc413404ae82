// SPDX-License-Identifier: Apache-2.0
// How large activations get, for int8 plans: the largest magnitude of each image, summed over images.
#include <string.h>

#include "train/walker.h"

// Magnitudes of IEEE numbers compare like their bits without the sign; integers, so that compilers vectorise it.
static float largest_f32(const float *v, size_t count) {
    uint32_t most = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t u;
        memcpy(&u, v + i, sizeof u);
        u &= 0x7fffffffu;
        most = u > most ? u : most;
    }
    float result;
    memcpy(&result, &most, sizeof result);
    return result;
}

static float largest_bf16(const gm_bf16 *v, size_t count) {
    uint16_t most = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t u = v[i] & 0x7fffu;
        most = u > most ? u : most;
    }
    return gm_bf16_to_f32(most);
}

typedef struct job {
    const gm_walker *w;
    double *sum;
} job;

static void node_task(void *context, int begin, int end, int worker) {
    (void)worker;
    const job *j = context;
    const gm_walker *w = j->w;
    for (int i = begin; i < end; i++) {
        const gm_resolved_node *r = &w->resolved.node[i];
        const char *op = w->graph->node[i].op->name;
        if (!r->active || r->source != i || strcmp(op, "conv") == 0 || strcmp(op, "depthwise") == 0) continue;
        const gm_value *v = &w->x.value[i];
        size_t image = (size_t)v->shape.h * (size_t)v->shape.w * (size_t)v->ld; // tails are zero
        for (int n = 0; n < w->x.batch; n++) {
            size_t at = (size_t)n * image;
            j->sum[i] += (double)(v->type == GM_F32 ? largest_f32((const float *)v->data + at, image)
                                                    : largest_bf16((const gm_bf16 *)v->data + at, image));
        }
    }
}

void gm_walker_add_ranges(const gm_walker *w, double *sum) {
    job j = {w, sum};
    gm_parallel(w->graph->nodes, node_task, &j);
}
