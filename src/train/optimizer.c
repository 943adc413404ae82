// SPDX-License-Identifier: Apache-2.0
// SGD with (Nesterov) momentum and AdamW over the contiguous parameter buffer, with the weight average beside it. The
// buffer is cut into pieces of one parameter each; a piece is worked on by one thread and the sums of pieces are added
// in order, so the number of threads leaves no trace.
#include "train/run.h"

#include <math.h>
#include <string.h>

enum { PIECE = 32768 }; // floats: weights, gradients, momentum of a piece stay in the second-level cache

gm_status gm__weights_init(gm__weights *w, float *params, size_t floats, bool v, bool ema, gm_error *err) {
    *w = (gm__weights){.params = params, .m = gm_alloc(floats, sizeof(float))};
    if (v) w->v = gm_alloc(floats, sizeof(float));
    if (ema) w->ema = gm_alloc(floats, sizeof(float));
    if (w->m && (w->v || !v) && (w->ema || !ema)) return GM_OK;
    gm__weights_fini(w);
    return gm_fail(err, GM_ERR_MEMORY, "no memory for the weights of training (%zu floats, up to 3 buffers)", floats);
}

void gm__weights_fini(gm__weights *w) {
    gm_free(w->m);
    gm_free(w->v);
    gm_free(w->ema);
    *w = (gm__weights){0};
}

gm_status gm__optimizer_init(gm__optimizer *o, const gm_graph *g, const gm_train_settings *s, gm_error *err) {
    *o = (gm__optimizer){.settings = s, .kernels = gm_kernels_active()};
    size_t pieces = 0;
    for (int i = 0; i < g->params; i++) pieces += (g->param[i].count + PIECE - 1) / PIECE;
    o->piece = gm_alloc(pieces, sizeof *o->piece);
    o->sum = gm_alloc(pieces, sizeof *o->sum);
    if (!o->piece || !o->sum) {
        gm__optimizer_fini(o);
        return gm_fail(err, GM_ERR_MEMORY, "no memory for the optimizer");
    }
    for (int i = 0; i < g->params; i++) {
        const gm_param *p = &g->param[i];
        for (size_t at = 0; at < p->count; at += PIECE) {
            size_t left = p->count - at;
            o->piece[o->pieces++] = (gm__piece){.offset = p->offset + at, .count = left < PIECE ? left : PIECE,
                                                .decay = p->decay};
        }
    }
    return GM_OK;
}

void gm__optimizer_fini(gm__optimizer *o) {
    gm_free(o->piece);
    gm_free(o->sum);
    *o = (gm__optimizer){0};
}

typedef struct job {
    gm__optimizer *o;
    gm__weights *w;
    float *grads;
    const float *read;
    float scale, lr, bias1, bias2, ema;
} job;

static void sumsq_task(void *context, int begin, int end, int worker) {
    (void)worker;
    job *j = context;
    for (int i = begin; i < end; i++) {
        const gm__piece *p = &j->o->piece[i];
        j->o->sum[i] = j->o->kernels->sumsq(p->count, j->read + p->offset);
    }
}

double gm__optimizer_sumsq(gm__optimizer *o, const float *grads) {
    job j = {.o = o, .read = grads};
    gm_parallel(o->pieces, sumsq_task, &j);
    double sum = 0;
    for (int i = 0; i < o->pieces; i++) sum += o->sum[i];
    return sum;
}

static void step_task(void *context, int begin, int end, int worker) {
    (void)worker;
    job *j = context;
    const gm_kernels *k = j->o->kernels;
    const gm_train_settings *s = j->o->settings;
    for (int i = begin; i < end; i++) {
        const gm__piece *p = &j->o->piece[i];
        size_t n = p->count;
        float *w = j->w->params + p->offset, *g = j->grads + p->offset, *m = j->w->m + p->offset;
        float decay = p->decay ? s->weight_decay : 0;
        if (j->scale < 1) k->scale(n, j->scale, g);
        if (s->optimizer == GM_OPTIMIZER_SGD)
            k->sgd(n, w, g, m, j->lr, s->momentum, decay, s->nesterov);
        else
            k->adamw(n, w, g, m, j->w->v + p->offset, j->lr, s->beta1, s->beta2, s->adam_eps, decay, j->bias1,
                     j->bias2);
        if (j->w->ema) {
            k->scale(n, j->ema, j->w->ema + p->offset);
            k->axpy(n, 1 - j->ema, w, j->w->ema + p->offset);
        }
        memset(g, 0, n * sizeof *g);
    }
}

void gm__optimizer_step(gm__optimizer *o, gm__weights *w, float *grads, double scale, double lr, uint64_t update,
                        uint64_t ema_update) {
    const gm_train_settings *s = o->settings;
    // a short memory at first: the starting weights must not linger in the average
    double young = (1 + (double)ema_update) / (10 + (double)ema_update);
    job j = {.o = o, .w = w, .grads = grads, .scale = (float)scale, .lr = (float)lr,
             .ema = (float)fmin((double)s->ema, young)};
    j.bias1 = (float)(1 - pow((double)s->beta1, (double)update));
    j.bias2 = (float)(1 - pow((double)s->beta2, (double)update));
    gm_parallel(o->pieces, step_task, &j);
}

static void clear_task(void *context, int begin, int end, int worker) {
    (void)worker;
    job *j = context;
    for (int i = begin; i < end; i++) {
        const gm__piece *p = &j->o->piece[i];
        memset(j->grads + p->offset, 0, p->count * sizeof(float));
    }
}

void gm__optimizer_clear(gm__optimizer *o, float *grads) {
    job j = {.o = o, .grads = grads};
    gm_parallel(o->pieces, clear_task, &j);
}
