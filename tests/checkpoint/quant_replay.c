// SPDX-License-Identifier: Apache-2.0
// quant_replay RECIPE STORE [KEY=VALUE]...: what a quantized history of the training states in STORE (checkpoints without
// loss, of a run of RECIPE) would have taken, under settings of the recipe: checkpoint.max_drop=0.05 checkpoint.stick=0.5. One
// row a checkpoint and one for all of them; `beside` is the rise on the held-out images that the search did not see. No
// restores: every state is that of the undisturbed run.
#include "cli/run_store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct replay {
    gm__run_store store;
    gm__yardstick all; // twice as many held-out images
    double stored, weights, drop, beside, trials, worst;
    int count;
} replay;

static double number_in(const char *note, const char *key) {
    char quoted[40];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(note, quoted);
    return at ? strtod(at + strlen(quoted), NULL) : NAN;
}

// Losses on more held-out images than the search measures with.
static gm_status losses(replay *r, const gm_tensor_file *image, double *loss, gm_error *err) {
    gm_status status = gm__yardstick_measure(&r->all, image, err);
    memcpy(loss, r->all.loss, sizeof r->all.loss);
    return status;
}

// The worst rise of the loss on the images that the search has not seen: what it measured is in the note.
static double rise_beside(const replay *r, const double *before, const double *after, const char *note) {
    const char *base = strstr(note, "\"base\":["), *figure = strstr(note, "\"figure\":[");
    char *b = base ? (char *)base + 7 : NULL, *f = figure ? (char *)figure + 9 : NULL;
    double n = r->all.val->images, m = b && f ? r->store.yardstick.val->images : 0, worst = -INFINITY;
    for (int i = 0; i < r->all.choices; i++) {
        double part = b && f ? strtod(b + 1, &b) : 0, part_after = b && f ? strtod(f + 1, &f) : 0;
        double old = before[i] * n - part * m;
        worst = fmax(worst, (after[i] * n - part_after * m - old) / old);
    }
    return worst;
}

static gm_status parse(const uint8_t *image, size_t bytes, gm_tensor_file **out, gm_error *err) {
    return gm_tensor_file_parse(image, bytes, "state", out, err);
}

static gm_status one(replay *r, gm_checkpoint_writer *w, const char *from, uint64_t number, gm_error *err) {
    uint8_t *data = NULL, *back = NULL;
    size_t bytes = 0, back_bytes = 0;
    gm_tensor_image *image = NULL;
    gm_checkpoint_info info;
    gm_tensor_file *before = NULL, *after = NULL;
    double base[2], now[2];
    gm_status status = gm_checkpoint_load(from, number, &data, &bytes, &info, err);
    if (status == GM_OK) status = gm_tensor_image_take(data, bytes, &image, err);
    if (status == GM_OK) status = parse(image->data, image->bytes, &before, err);
    if (status == GM_OK) status = losses(r, before, base, err);
    if (status == GM_OK) status = gm_checkpoint_writer_save(w, image, NULL, err);
    if (status == GM_OK) status = gm_checkpoint_writer_wait(w, &info, err);
    if (status == GM_OK) status = gm_checkpoint_load(r->store.folder, info.number, &back, &back_bytes, &info, err);
    if (status == GM_OK) status = parse(back, back_bytes, &after, err);
    if (status == GM_OK) status = losses(r, after, now, err);
    if (status == GM_OK) {
        double beside = rise_beside(r, base, now, info.note);
        const char *config = strstr(info.note, "\"config\":\"");
        printf("%4llu %-58.*s %8.2f %8.4f %8.4f %5.0f %8.3f %9.5f %9.5f\n", (unsigned long long)number, config ? 58 : 5,
               config ? config + 10 : "exact", gm_checkpoint_ratio_weights(&info), number_in(info.note, "drop"), beside,
               number_in(info.note, "trials"), number_in(info.note, "migrated"), number_in(info.note, "error"), number_in(info.note, "moved"));
        fflush(stdout);
        r->count++;
        r->weights += (double)info.raw[GM_CHECKPOINT_WEIGHTS];
        r->stored += (double)info.stored[GM_CHECKPOINT_WEIGHTS];
        r->drop += number_in(info.note, "drop");
        r->trials += number_in(info.note, "trials");
        r->beside += beside;
        r->worst = fmax(r->worst, beside);
    }
    gm_tensor_file_destroy(before);
    gm_tensor_file_destroy(after);
    gm_tensor_image_release(image);
    gm_free(back);
    return status;
}

int main(int argc, char **argv) {
    static replay r;
    gm_error err = {0};
    gm__recipe recipe = gm__recipe_default();
    gm_checkpoint_list list = {0};
    gm_checkpoint_writer *w = NULL;
    char folder[64] = "/tmp/quant-replay-XXXXXX";
    if (argc < 3) {
        fprintf(stderr, "usage: quant_replay RECIPE STORE [checkpoint.KEY=VALUE]...\n");
        return 2;
    }
    gm_status status = gm__recipe_read(argv[1], &recipe, &err);
    for (int i = 3; i < argc && status == GM_OK; i++) status = gm__recipe_set(argv[i], &recipe, &err);
    if (status == GM_OK) status = gm__recipe_set("checkpoint.store=quantized", &recipe, &err);
    if (status == GM_OK) status = gm__recipe_set("checkpoint.keep=0", &recipe, &err);
    gm__recipe_resolve(&recipe);
    if (status == GM_OK && !mkdtemp(folder)) status = gm_fail(&err, GM_ERR_IO, "%s: cannot be made", folder);
    if (status == GM_OK) status = gm__run_store_init(&r.store, &recipe, folder, &err);
    if (status == GM_OK && !r.store.measured) status = gm_fail(&err, GM_ERR_ARGUMENT, "checkpoint.max_drop must be above 0");
    if (status == GM_OK) status = gm__yardstick_init(&r.all, &recipe, 2 * recipe.checkpoint.images, &err);
    if (status == GM_OK) status = gm_checkpoint_list_read(argv[2], &list, &err);
    if (status == GM_OK) status = gm_checkpoint_writer_create(r.store.folder, &r.store.settings, &w, &err);
    printf("%4s %-58s %8s %8s %8s %5s %8s\n", "", "configuration", "ratio", "drop", "beside", "tried", "moved");
    double start = gm_now();
    for (int i = 0; i < list.count && status == GM_OK; i++) status = one(&r, w, argv[2], list.item[i].number, &err);
    double waited, worked;
    if (w) gm_checkpoint_writer_seconds(w, &waited, &worked);
    if (status == GM_OK)
        printf("all: ratio of weights %.2f, mean drop %.4f, beside %.4f (worst %.4f), %.0f trials, %.2f s of %.1f\n", r.weights / r.stored,
               r.drop / r.count, r.beside / r.count, r.worst, r.trials, worked, gm_now() - start);
    else fprintf(stderr, "quant_replay: %s\n", err.text);
    gm_checkpoint_writer_destroy(w);
    if (status == GM_OK) gm_checkpoint_clear(r.store.folder, NULL);
    gm_checkpoint_list_fini(&list);
    gm__run_store_fini(&r.store);
    gm__yardstick_fini(&r.all);
    return status == GM_OK ? 0 : 1;
}
