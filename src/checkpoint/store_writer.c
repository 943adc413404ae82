// SPDX-License-Identifier: Apache-2.0
// Saving in the background. Of the last checkpoint the exact tensors are held that the next is a difference to, and of a quantized one the
// quantizer's state.
#include "checkpoint/store.h"

#include <jansson.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

// A restore came late when so many checkpoints in a row before it had weights that filled their bins. Nearest centres then keep of a drift
// nearly what draws keep (test_quant_dither: .87 and .90 with restores eight checkpoints apart).
enum { SETTLED = 3 };

struct gm_checkpoint_writer {
    char folder[GM__PATH];
    gm_checkpoint_settings settings;
    int lock;
    uint64_t next; // number of the next file
    uint64_t resumed; // the checkpoint that the weights to be saved went on from; 0: none
    bool early;       // and it had not settled since the restore before
    gm__decoded last;         // on disk; without its image
    gm_tensor_image *parent;  // its tensors (gm__parent_make); NULL: none to be a difference to
    gm_tensor_image *newest;  // its image when the writer was made, until it is asked for, or the first save
    gm_tensor_image *image;   // being written
    char note[GM_CHECKPOINT_NOTE];
    // the thread
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool mutex_made, started, busy, stop;
    gm_status status; // of the last save
    gm_error error;
    double waited, worked;
};

// After the file is in place: manifest and retention. What fails here costs no checkpoint.
static void tidy(gm_checkpoint_writer *w) {
    gm_error cause = {0};
    gm_status status =
        gm__store_prune(w->folder, w->settings.keep_last, w->settings.keep_every, false, false, NULL, NULL, &cause);
    if (status != GM_OK) gm_log(GM_LOG_WARN, "%s: the checkpoint is saved, its manifest is not: %s", w->folder, cause.text);
}

static gm_status write_one(gm_checkpoint_writer *w, gm_error *err) {
    char path[GM__PATH];
    gm__packed packed;
    bool delta = (w->parent || w->last.state) && w->last.chain < w->settings.full_every;
    // A delta whose parent someone removed would be lost: look before relying on it.
    gm_status status = gm__store_path(w->folder, w->last.info.number, path, err);
    if (status == GM_OK && delta && !gm_path_exists(path)) delta = false;
    if (status == GM_OK) status = gm__store_path(w->folder, w->next, path, err);
    if (status != GM_OK) return status;
    const gm__pack pack = {.image = w->image->data, .bytes = w->image->bytes, .followed = true, .delta = delta,
                           .parent = &w->parent, .number = w->next, .parent_number = w->last.info.number,
                           .parent_identity = w->last.info.identity, .parent_state = delta ? w->last.state : NULL,
                           .last = w->last.state, .resumed = w->resumed, .early = w->early, .note = w->note, .settings = &w->settings};
    status = gm__container_write(path, &pack, &packed, err);
    if (status != GM_OK) return status;
    int chain = delta ? w->last.chain + 1 : 1;
    gm__decoded_fini(&w->last);
    w->last = (gm__decoded){.state = packed.state, .info = packed.info, .chain = chain};
    w->parent = packed.parent;
    w->next++;
    tidy(w);
    return GM_OK;
}

static void *work(void *self) {
    gm_checkpoint_writer *w = self;
    gm_thread_alone(true); // measuring runs a walker while another thread trains
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        while (!w->busy && !w->stop) pthread_cond_wait(&w->changed, &w->mutex);
        if (!w->busy) break;
        pthread_mutex_unlock(&w->mutex);
        double start = gm_thread_seconds();
        gm_error error = {0};
        gm_status status = write_one(w, &error);
        gm_tensor_image_release(w->image);
        w->image = NULL;
        pthread_mutex_lock(&w->mutex);
        w->worked += gm_thread_seconds() - start;
        w->status = status;
        w->error = error;
        w->busy = false;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->mutex);
    gm_thread_alone(false);
    return NULL;
}

// Training goes on from the last checkpoint, as it was restored. A file that does not say whether it had settled had not.
static void go_on(gm_checkpoint_writer *w) {
    json_t *note = w->last.info.note[0] ? json_loads(w->last.info.note, 0, NULL) : NULL;
    w->resumed = w->last.info.number;
    w->early = json_integer_value(json_object_get(json_object_get(note, "quantizer"), "settled")) < SETTLED;
    json_decref(note);
}

// What is there already: the next number, and the newest whole checkpoint as the one to be a difference to.
static gm_status take_over(gm_checkpoint_writer *w, gm_error *err) {
    uint64_t *numbers = NULL;
    int count = 0;
    gm_status status = gm__store_scan(w->folder, &numbers, &count, err);
    if (status != GM_OK) return status;
    w->next = count > 0 ? numbers[count - 1] + 1 : 1;
    gm_free(numbers);
    if (count == 0) return GM_OK;
    gm_error cause = {0};
    status = gm__store_load(w->folder, 0, &w->last, &cause);
    if (status == GM_ERR_MEMORY) return gm_fail(err, status, "%s", cause.text);
    go_on(w);
    if (status != GM_OK) return GM_OK; // none of them whole: the next one stands alone
    uint8_t *image = w->last.image;
    w->last.image = NULL;
    gm_tensor_file *newest = NULL;
    status = gm_tensor_image_take(image, w->last.bytes, &w->newest, err);
    if (status == GM_OK) status = gm_tensor_file_parse(w->newest->data, w->newest->bytes, w->folder, &newest, err);
    bool weights = w->last.info.quantized == 0 || w->settings.mode == GM_CHECKPOINT_LOSSLESS; // a quantized one follows its state
    if (status == GM_OK) w->parent = gm__parent_make(newest, w->newest->bytes, weights);
    gm_tensor_file_destroy(newest);
    return status;
}

gm_tensor_image *gm_checkpoint_writer_newest(gm_checkpoint_writer *w, gm_checkpoint_info *out) {
    gm_tensor_image *newest = w->newest;
    if (newest && out) *out = w->last.info;
    w->newest = NULL;
    return newest;
}

gm_status gm_checkpoint_writer_create(const char *folder, const gm_checkpoint_settings *s, gm_checkpoint_writer **out,
                                      gm_error *err) {
    *out = NULL;
    if (s->level < 1 || s->level > 19 || s->full_every < 1 || s->keep_last < 0 || s->keep_every < 0)
        return gm_fail(err, GM_ERR_RANGE, "checkpoint settings: level %d (1 to 19), full_every %d (from 1), keep_last %d, "
                       "keep_every %d (from 0)", s->level, s->full_every, s->keep_last, s->keep_every);
    gm_status status = gm_folder_create(folder, err);
    if (status != GM_OK) return status;
    gm_checkpoint_writer *w = gm_alloc(1, sizeof *w);
    if (!w) return gm_fail(err, GM_ERR_MEMORY, "%.180s: no memory to write checkpoints", folder);
    w->lock = -1;
    w->settings = *s;
    if (snprintf(w->folder, sizeof w->folder, "%s", folder) >= (int)sizeof w->folder)
        status = gm_fail(err, GM_ERR_ARGUMENT, "%.100s...: the path is too long", folder);
    if (status == GM_OK) status = gm__store_lock(folder, &w->lock, err);
    if (status == GM_OK) status = take_over(w, err);
    if (status == GM_OK) {
        w->mutex_made = pthread_mutex_init(&w->mutex, NULL) == 0 && pthread_cond_init(&w->changed, NULL) == 0;
        w->started = w->mutex_made && pthread_create(&w->thread, NULL, work, w) == 0;
        if (!w->started) status = gm_fail(err, GM_ERR_MEMORY, "%.180s: cannot start the thread that writes", folder);
    }
    if (status != GM_OK) gm_checkpoint_writer_destroy(w);
    else *out = w;
    return status;
}

// Returns the error of the save that ended, once.
static gm_status settle(gm_checkpoint_writer *w, gm_error *err) {
    double start = gm_now();
    pthread_mutex_lock(&w->mutex);
    while (w->busy) pthread_cond_wait(&w->changed, &w->mutex);
    gm_status status = w->status;
    if (status != GM_OK) gm_fail(err, status, "%s", w->error.text);
    w->status = GM_OK;
    w->waited += gm_now() - start;
    pthread_mutex_unlock(&w->mutex);
    return status;
}

gm_status gm_checkpoint_writer_save(gm_checkpoint_writer *w, gm_tensor_image *image, const char *note, gm_error *err) {
    gm_status status = settle(w, err);
    if (status != GM_OK) return status;
    if (note && strlen(note) >= sizeof w->note)
        return gm_fail(err, GM_ERR_ARGUMENT, "a note of a checkpoint has at most %zu bytes", sizeof w->note - 1);
    snprintf(w->note, sizeof w->note, "%s", note ? note : "");
    gm_tensor_image_release(w->newest);
    w->newest = NULL;
    pthread_mutex_lock(&w->mutex);
    w->image = gm_tensor_image_hold(image);
    w->busy = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    return GM_OK;
}

gm_status gm_checkpoint_writer_wait(gm_checkpoint_writer *w, gm_checkpoint_info *out, gm_error *err) {
    gm_status status = settle(w, err);
    if (status == GM_OK && out) *out = w->last.info;
    return status;
}

void gm_checkpoint_writer_bound(gm_checkpoint_writer *w, double max_drop) {
    pthread_mutex_lock(&w->mutex);
    while (w->busy) pthread_cond_wait(&w->changed, &w->mutex);
    w->settings.max_drop = max_drop;
    pthread_mutex_unlock(&w->mutex);
}

void gm_checkpoint_writer_resumed(gm_checkpoint_writer *w) {
    pthread_mutex_lock(&w->mutex);
    while (w->busy) pthread_cond_wait(&w->changed, &w->mutex);
    go_on(w);
    pthread_mutex_unlock(&w->mutex);
}

void gm_checkpoint_writer_seconds(const gm_checkpoint_writer *w, double *waited, double *worked) {
    *waited = w->waited;
    *worked = w->worked;
}

void gm_checkpoint_writer_destroy(gm_checkpoint_writer *w) {
    if (!w) return;
    if (w->started) {
        pthread_mutex_lock(&w->mutex);
        w->stop = true;
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->mutex);
        pthread_join(w->thread, NULL); // it ends what it has begun
    }
    if (w->mutex_made) {
        pthread_mutex_destroy(&w->mutex);
        pthread_cond_destroy(&w->changed);
    }
    if (w->lock >= 0) close(w->lock);
    gm__decoded_fini(&w->last);
    gm_tensor_image_release(w->parent);
    gm_tensor_image_release(w->newest);
    gm_tensor_image_release(w->image);
    gm_free(w);
}
