// SPDX-License-Identifier: Apache-2.0
// gamut calibrate: norm statistics for subnets, added to the model file.
#include "choice_list.h"
#include "cli.h"
#include "workbench.h"

#include <string.h>
#include <sys/stat.h>

enum { SAVE_SECONDS = 60 }; // an interruption of any kind costs no more than this

typedef struct outcome {
    int calibrated, kept, entries; // kept: had been calibrated before
    uint64_t statistics, stored;
    long long bytes;
    double seconds;
} outcome;

// Whole: with the ranges that int8 needs. Those of an older file are measured again.
static bool is_whole(gm_model *m, const gm_choice *choice) {
    const gm_norm_entry *e = gm_model_norms(m, choice);
    return e != NULL && e->ranged;
}

static gm_status calibrate_all(gm__workbench *b, const gm__choice_list *list,
                               gm_calibrate_settings settings, bool again, const char *path,
                               outcome *out, gm_error *err) {
    double start = gm_now(), saved = start;
    gm_augment augment = b->recipe.train.augment;
    // As training calibrates: mixed or masked images have other statistics than those to come.
    augment.mixup = 0;
    augment.cutout = 0;
    memcpy(augment.mean, b->model->input_mean, sizeof augment.mean);
    memcpy(augment.std, b->model->input_std, sizeof augment.std);
    gm_progress *progress = NULL;
    gm_status status = gm_progress_create("calibrate", (uint64_t)list->count, &progress, err);
    for (int i = 0; i < list->count && status == GM_OK && !gm_interrupted(); i++) {
        if (!again && is_whole(b->model, &list->choice[i])) {
            out->kept++;
            continue;
        }
        status = gm_calibrate(b->model, b->walker, b->data, b->train, b->train_count, &augment,
                              &settings, &list->choice[i], err);
        if (status == GM_OK) {
            out->calibrated++;
            gm_progress_update(progress, (uint64_t)i + 1, NULL);
        }
        if (status == GM_OK && gm_now() - saved > SAVE_SECONDS) {
            status = gm_model_save(b->model, path, err);
            saved = gm_now();
        }
    }
    gm_progress_destroy(progress);
    // Interrupted: what is calibrated is kept.
    if (status == GM_OK && out->calibrated > 0) status = gm_model_save(b->model, path, err);
    struct stat file;
    out->bytes = stat(path, &file) == 0 ? (long long)file.st_size : 0;
    out->entries = b->model->entries;
    if (status == GM_OK)
        status = gm_model_norms_sharing(b->model, &out->statistics, &out->stored, err);
    out->seconds = gm_now() - start;
    if (status == GM_OK && out->calibrated + out->kept < list->count) {
        status = gm_fail(err, GM_ERR_INTERRUPTED,
                         "interrupted: %d of %d subnets were calibrated and saved; repeat the "
                         "command for the rest",
                         out->calibrated + out->kept, list->count);
    }
    return status;
}

// shared: statistics that are stored for another subnet already.
static int report(const gm__args *args, const outcome *out, const char *path) {
    uint64_t shared = out->statistics - out->stored;
    if (args->json) {
        return gm__json_print(
            json_pack("{s:i, s:i, s:i, s:I, s:I, s:I, s:o}", "entries", out->entries, "calibrated",
                      out->calibrated, "kept", out->kept, "shared", (json_int_t)shared, "stored",
                      (json_int_t)out->stored, "bytes", (json_int_t)out->bytes, "seconds",
                      gm__json_number(out->seconds)));
    }
    char time[GM__TEXT_SHORT], size[GM__TEXT_SHORT];
    printf("%d subnets calibrated in %s", out->calibrated, gm__text_time(out->seconds, time));
    if (out->kept > 0) printf(", %d were calibrated already", out->kept);
    printf("; %s holds %d, %sB, %.0f %% of the statistics shared\n", path, out->entries,
           gm__text_count((double)out->bytes, size),
           out->statistics > 0 ? 100.0 * (double)shared / (double)out->statistics : 0.0);
    return GM__EXIT_DONE;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    gm__workbench bench = {0};
    gm__workbench_settings settings = {.held_out = -1, .part = GM_PART_TRAIN};
    gm_calibrate_settings calibrate = gm_calibrate_settings_default();
    gm__list words = {0};
    gm__choice_list choices = {0};
    int images = 0;
    bool again = false;
    const gm__option options[] = {
        {"choices", "C...", "subnets, 'all', or a file with one choice a line", GM__OPTION_LIST,
         &words, 0, 0},
        {"data", "D", "data set by name, or a folder (default: what the model was trained on)",
         GM__OPTION_TEXT, &settings.data, 0, 0},
        {"data-dir", "DIR", "folder that holds the data set", GM__OPTION_TEXT, &settings.data_dir,
         0, 0},
        {"images", "N", "training images behind the statistics (default: the recipe's)",
         GM__OPTION_INT, &images, 1, 100000000},
        {"held-out", "N", "validation images (default: as in recipe.yaml beside MODEL)",
         GM__OPTION_INT, &settings.held_out, 0, 100000000},
        {"type", "T", "auto, f32 or bf16 (default auto)", GM__OPTION_TEXT, &settings.type, 0, 0},
        {"again", NULL, "also those that are calibrated already (other images or another seed)",
         GM__OPTION_FLAG, &again, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, options, 1, 1 << 20, argc, argv, &args);
    if (status == GM__EXIT_NONE && words.count == 0) {
        status = gm__usage_error(self, "--choices is missing, e.g. --choices max min");
    }
    if (status != GM__EXIT_NONE) {
        gm__list_free(&words);
        return status;
    }
    settings.model = args.positional[0];
    outcome out = {0};
    gm_status result = gm__workbench_open(&settings, &bench, &err);
    const gm_space *space = result == GM_OK ? &bench.model->graph->space : NULL;
    // Words after MODEL belong to --choices too: `--choices max min`.
    for (int i = 0; i < words.count && result == GM_OK; i++)
        result = gm__choice_list_add(&choices, space, words.item[i], &err);
    for (int i = 1; i < args.count && result == GM_OK; i++) {
        result = gm__choice_list_add(&choices, space, args.positional[i], &err);
    }
    if (result == GM_OK) {
        if (args.seed_given) calibrate.seed = args.seed;
        calibrate.images = images > 0 ? images : bench.recipe.train.calibrate_images;
        result = calibrate_all(&bench, &choices, calibrate, again, settings.model, &out,
                               &err);
    }
    status = result == GM_OK ? report(&args, &out, settings.model) : gm__failed(&err);
    gm__choice_list_free(&choices);
    gm__workbench_close(&bench);
    gm__list_free(&words);
    return status;
}

const gm__command gm__cmd_calibrate = {
    .name = "calibrate",
    .arguments = "MODEL [--data D] --choices FILE|all|C...",
    .summary = "norm statistics for subnets, into the model file",
    .detail = "A subnet with batch norm can be run only with statistics of its own. This measures "
              "them on training\n"
              "images and adds them to MODEL (written whole, or not at all). 'all' takes every "
              "subnet of a space of at\n"
              "most 2,000; the file of a search, its front. Subnets that are calibrated are "
              "skipped, and what is done is\n"
              "saved every minute: an interrupted command is repeated. The ranges of activations "
              "that int8 needs are\n"
              "measured on the way. Each subnet is measured on all threads.",
    .example =
        "  gamut calibrate runs/fashion-mnist/model.safetensors --choices max min uniform:d=1\n"
        "  gamut calibrate model.safetensors --data cifar10 --choices front.txt",
    .run = run,
};
