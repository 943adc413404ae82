// SPDX-License-Identifier: Apache-2.0
// The background loader: one thread fills the batch after the one in use. Two slots: the caller
// reads one, the thread writes the other, and a mutex with two conditions hands them over.
#include "data/readers.h"

#include <pthread.h>
#include <string.h>

struct gm_loader {
    const gm_dataset *data;
    const int32_t *index;
    int32_t *order; // of epoch `shuffled`
    int count, batch, steps, shuffled, largest;
    gm_augment augment;
    uint64_t seed;
    int (*resolution)(void *ctx, int epoch, int step);
    void *context;
    int epoch, step; // of the next batch to fill; the thread's own once it runs
    gm_batch slot[2];
    int ready, taken; // batches filled and handed out since creation; at most two are alive
    bool stop, threaded, started;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t filled, freed;
};

gm_status gm_loader_create(const gm_dataset *d, const int32_t *index, int count, int batch,
                           const gm_augment *a, gm_dtype type, uint64_t seed, int epoch, int step,
                           gm_loader **out, gm_error *err) {
    *out = NULL;
    if (batch < 1 || count < batch || (!index && count > d->images))
        return gm_fail(err, GM_ERR_RANGE,
                       "%s: batches of %d from %d images: use a batch of 1 to %d", d->name, batch,
                       count, count);
    if (epoch < 0 || step < 0)
        return gm_fail(err, GM_ERR_RANGE, "%s: cannot start at epoch %d, step %d", d->name, epoch,
                       step);
    gm_loader *l = gm_alloc(1, sizeof *l);
    if (!l) return gm_fail(err, GM_ERR_MEMORY, "out of memory for a loader");
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->freed, NULL);
    l->data = d;
    l->index = index;
    l->count = count;
    l->batch = batch;
    l->steps = count / batch;
    l->shuffled = -1;
    l->augment = *a;
    l->seed = seed;
    l->epoch = epoch + step / l->steps;
    l->step = step % l->steps;
    l->largest = gm_max(gm_max(d->height, d->width), a->resolution);
    gm_status status = GM_OK;
    l->order = gm_alloc((size_t)count, sizeof *l->order);
    if (!l->order)
        status = gm_fail(err, GM_ERR_MEMORY, "out of memory for the order of %d images", count);
    for (int i = 0; i < 2 && status == GM_OK; i++)
        status = gm_batch_init(&l->slot[i], batch, l->largest, d->channels, type, err);
    if (status != GM_OK) {
        gm_loader_destroy(l);
        return status;
    }
    *out = l;
    return GM_OK;
}

void gm_loader_set_resolution(gm_loader *l, int (*fn)(void *ctx, int epoch, int step), void *ctx) {
    l->resolution = fn;
    l->context = ctx;
}

// Fills one slot and moves on to the next step.
static void fill(gm_loader *l, gm_batch *b) {
    if (l->shuffled != l->epoch) {
        gm_shuffle(l->order, l->count, l->seed, l->epoch);
        l->shuffled = l->epoch;
    }
    gm_augment a = l->augment;
    if (l->resolution) {
        // The slots were sized at creation: a larger wish is cut to what they hold.
        int wish = l->resolution(l->context, l->epoch, l->step);
        a.resolution = gm_min(gm_max(wish, 0), l->largest);
    }
    gm_batch_fill(l->data, l->index, l->order + (size_t)l->step * (size_t)l->batch, l->batch, &a,
                  l->seed, l->epoch, l->step, b);
    if (++l->step == l->steps) {
        l->step = 0;
        l->epoch++;
    }
}

static void *work(void *self) {
    gm_loader *l = self;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        // The last batch handed out is still being read, so only one more may exist beside it.
        while (!l->stop && l->ready - gm_max(l->taken - 1, 0) >= 2)
            pthread_cond_wait(&l->freed, &l->lock);
        if (l->stop) break;
        gm_batch *b = &l->slot[l->ready & 1];
        pthread_mutex_unlock(&l->lock);
        fill(l, b);
        pthread_mutex_lock(&l->lock);
        l->ready++;
        pthread_cond_signal(&l->filled);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

const gm_batch *gm_loader_next(gm_loader *l) {
    if (!l->started) {
        l->started = true;
        // Without a thread the batches are the same, only filled while the caller waits.
        l->threaded = pthread_create(&l->thread, NULL, work, l) == 0;
    }
    if (!l->threaded) {
        fill(l, &l->slot[0]);
        return &l->slot[0];
    }
    pthread_mutex_lock(&l->lock);
    l->taken++;
    pthread_cond_signal(&l->freed);
    while (l->ready < l->taken) pthread_cond_wait(&l->filled, &l->lock);
    const gm_batch *b = &l->slot[(l->taken - 1) & 1];
    pthread_mutex_unlock(&l->lock);
    return b;
}

void gm_loader_destroy(gm_loader *l) {
    if (!l) return;
    if (l->threaded) {
        pthread_mutex_lock(&l->lock);
        l->stop = true;
        pthread_cond_signal(&l->freed);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->filled);
    pthread_cond_destroy(&l->freed);
    for (int i = 0; i < 2; i++) gm_batch_fini(&l->slot[i]);
    gm_free(l->order);
    gm_free(l);
}
