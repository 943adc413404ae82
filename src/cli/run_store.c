// SPDX-License-Identifier: Apache-2.0
#include "run_store.h"

#include <math.h>
#include <string.h>

static void set_paths(gm__run_store *s, const char *dir) {
    snprintf(s->folder, sizeof s->folder, "%.4000s/checkpoints", dir);
    snprintf(s->marker, sizeof s->marker, "%.4000s/checkpoints/running", dir);
    snprintf(s->model, sizeof s->model, "%.4000s/model.safetensors", dir);
}

// A run that was stopped before its first checkpoint has nothing to continue from. The marker may get lost when a folder is
// copied: checkpoints without a model are an unfinished run as well.
static bool unfinished(void *self) {
    const gm__run_store *s = self;
    gm_checkpoint_list list;
    if (!gm_path_exists(s->marker) && gm_path_exists(s->model)) return false;
    if (gm_checkpoint_list_read(s->folder, &list, NULL) != GM_OK) return false;
    bool some = list.count > 0;
    gm_checkpoint_list_fini(&list);
    return some;
}

bool gm__run_store_unfinished(const char *dir) {
    gm__run_store s;
    set_paths(&s, dir);
    return unfinished(&s);
}

static gm_status begin(void *self, gm_error *err) {
    gm__run_store *s = self;
    gm_status status = gm_folder_create(s->folder, err);
    if (status == GM_OK) status = gm_checkpoint_clear(s->folder, err);
    return status == GM_OK ? gm_file_write(s->marker, "", 0, err) : status;
}

static gm_status open_writer(gm__run_store *s, gm_error *err) {
    if (s->writer != NULL) return GM_OK;
    return gm_checkpoint_writer_create(s->folder, &s->settings, &s->writer, err);
}

// Squared: so falls what is left of the training to mend what a restore disturbs.
double gm__run_store_bound(const gm__run_store *s, double epoch, double lr) {
    double rate = epoch < s->warmup ? 1 : fmin(lr, 1);
    return s->settings.max_drop + s->early * rate * rate;
}

// A checkpoint that could not be written (a full disk) is told and training goes on: the one before is whole, and the next
// may succeed. Who waits for it (an interrupted run) gets the error. A step whose checkpoint is there needs no second one: as nothing
// has moved since, its quantizer would take the finest configuration, four times the bytes for the weights.
static gm_status save(void *self, gm_tensor_image *state, const gm_train_mark *mark, bool wait, gm_error *err) {
    gm__run_store *s = self;
    char note[256];
    gm_error cause = {0};
    snprintf(note, sizeof note, "{\"step\":%llu,\"epoch\":%.4f,\"seconds\":%.2f,\"loss\":%.6g}",
             (unsigned long long)mark->step, mark->epoch, mark->seconds, mark->loss);
    gm_status status = open_writer(s, err);
    if (status != GM_OK) return status;
    if (gm_checkpoint_writer_wait(s->writer, NULL, &cause) != GM_OK)
        gm_log(GM_LOG_WARN, "a checkpoint was not saved, the one before is whole; training goes on: %s", cause.text);
    else if (s->saved && s->step == mark->step)
        return GM_OK;
    gm_checkpoint_writer_bound(s->writer, gm__run_store_bound(s, mark->epoch, mark->lr));
    status = gm_checkpoint_writer_save(s->writer, state, note, err);
    s->saved = status == GM_OK;
    s->step = mark->step;
    return status == GM_OK && wait ? gm_checkpoint_writer_wait(s->writer, NULL, err) : status;
}

static gm_status load(void *self, gm_tensor_image **out, gm_error *err) {
    gm__run_store *s = self;
    uint8_t *image = NULL;
    size_t bytes = 0;
    gm_checkpoint_info info;
    gm_status status = open_writer(s, err);
    if (status != GM_OK) return status;
    gm_checkpoint_writer_resumed(s->writer);
    *out = gm_checkpoint_writer_newest(s->writer, &info);
    if (*out == NULL) {
        status = gm_checkpoint_load(s->folder, 0, &image, &bytes, &info, err);
        if (status == GM_OK) status = gm_tensor_image_take(image, bytes, out, err);
        if (status != GM_OK) return status;
    }
    gm_log(GM_LOG_INFO, "continuing from checkpoint %llu%s", (unsigned long long)info.number,
           info.quantized > 0 ? ", whose weights were quantized" : "");
    return GM_OK;
}

static gm_status finish(void *self, gm_error *err) {
    gm__run_store *s = self;
    gm_error cause = {0};
    double waited, worked;
    if (s->writer != NULL && gm_checkpoint_writer_wait(s->writer, NULL, &cause) != GM_OK)
        gm_log(GM_LOG_WARN, "the last checkpoint was not saved (the model is): %s", cause.text);
    if (s->writer != NULL) {
        gm_checkpoint_writer_seconds(s->writer, &waited, &worked);
        gm_log(GM_LOG_INFO, "checkpoints: training waited %.2f s for them, a thread worked %.1f s on them", waited, worked);
    }
    return gm_file_remove(s->marker, err);
}

bool gm__recipe_checkpoint_settings(const gm__recipe *recipe, gm_checkpoint_settings *out) {
    static const char *const coders[] = {"rans", "paper", "rle", "huffman"};
    const gm__recipe_checkpoint *c = &recipe->checkpoint;
    *out = gm_checkpoint_settings_default();
    out->mode = c->store == GM__STORE_QUANTIZED ? GM_CHECKPOINT_QUANTIZED : GM_CHECKPOINT_LOSSLESS;
    out->optimizer = (gm_checkpoint_optimizer)c->optimizer;
    out->full_every = c->full_every;
    out->keep_last = c->keep;
    out->keep_every = c->keep_every;
    out->max_drop = c->max_drop;
    out->distortion = c->distortion;
    out->stick = c->stick;
    out->most_trials = c->trials;
    snprintf(out->coder, sizeof out->coder, "%s", coders[c->coder]);
    return c->store != GM__STORE_NONE;
}

gm_status gm__run_store_init(gm__run_store *s, const gm__recipe *recipe, const char *dir, gm_error *err) {
    *s = (gm__run_store){0};
    set_paths(s, dir);
    if (!gm__recipe_checkpoint_settings(recipe, &s->settings)) return GM_OK;
    if (s->settings.mode == GM_CHECKPOINT_QUANTIZED && recipe->checkpoint.max_drop > 0) {
        gm_status status = gm__yardstick_init(&s->yardstick, recipe, recipe->checkpoint.images, err);
        if (status != GM_OK) return status;
        s->yardstick.accuracy = recipe->checkpoint.metric == 1;
        s->early = fmax(recipe->checkpoint.early_drop - recipe->checkpoint.max_drop, 0);
        s->warmup = (double)recipe->train.warmup;
        s->measured = true;
        s->quality = gm__yardstick_quality(&s->yardstick);
        s->settings.quality = &s->quality;
    }
    s->hooks = (gm_train_store){.every = recipe->checkpoint.every,
                                .restores = recipe->checkpoint.restores,
                                .unfinished = unfinished,
                                .begin = begin,
                                .save = save,
                                .load = load,
                                .finish = finish,
                                .self = s};
    return GM_OK;
}

void gm__run_store_fini(gm__run_store *s) {
    gm_checkpoint_writer_destroy(s->writer);
    if (s->measured) gm__yardstick_fini(&s->yardstick);
    *s = (gm__run_store){0};
}
