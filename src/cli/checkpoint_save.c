// SPDX-License-Identifier: Apache-2.0
// gamut checkpoint save: into a file or a folder, measured before and after when it is made lossy.
#include "checkpoint_save.h"

#include "yardstick.h"

#include <string.h>

enum { PATH_BYTES = 4096 };

typedef struct save_options {
    const char *to, *data, *config, *coder, *optimizer, *metric, *note;
    double max_drop, stick;
    int full_every, images, level;
    bool quantize;
} save_options;

// The recipe beside a model tells the data set and which images were held out.
static gm_status read_recipe(const char *model, const char *data, gm__recipe *recipe, gm_error *err) {
    char path[PATH_BYTES];
    const char *slash = strrchr(model, '/');
    *recipe = gm__recipe_default();
    int folder = slash != NULL ? (int)(slash - model) + 1 : 0;
    if (folder < PATH_BYTES - 32) {
        snprintf(path, sizeof path, "%.*srecipe.yaml", folder, model);
        gm_status status = gm_path_exists(path) ? gm__recipe_read(path, recipe, err) : GM_OK;
        if (status != GM_OK) return status;
    }
    if (data != NULL) {
        snprintf(recipe->train.data, sizeof recipe->train.data, "%s%s", gm_path_is_folder(data) ? "folder:" : "", data);
        recipe->train.data_dir[0] = '\0';
    }
    return GM_OK;
}

static bool is_state(const gm_tensor_file *file) {
    const char *format = gm_tensor_meta(file, "format");
    return format != NULL && strcmp(format, "gamut training state") == 0;
}

static gm_status open_yardstick(gm__yardstick *y, const gm_tensor_file *file, const char *path, const save_options *o,
                                gm_error *err) {
    gm__recipe recipe;
    gm_status status = read_recipe(path, o->data, &recipe, err);
    if (status != GM_OK) return status;
    status = is_state(file) ? gm__yardstick_init(y, &recipe, o->images, err)
                            : gm__yardstick_init_model(y, file, path, &recipe, o->images, err);
    if (status == GM_OK) y->accuracy = strcmp(o->metric, "accuracy") == 0;
    return status;
}

// Into a single file that stands alone, or into a folder.
static gm_status write_to(const char *to, gm_tensor_image *image, const gm_checkpoint_settings *s, const char *note,
                          gm_checkpoint_info *info, gm_error *err) {
    size_t length = strlen(to);
    if (length > 4 && strcmp(to + length - 4, ".gmc") == 0)
        return gm_checkpoint_file_write(to, image->data, image->bytes, s, note, info, err);
    gm_checkpoint_writer *w = NULL;
    gm_status status = gm_checkpoint_writer_create(to, s, &w, err);
    if (status == GM_OK) status = gm_checkpoint_writer_save(w, image, note, err);
    if (status == GM_OK) status = gm_checkpoint_writer_wait(w, info, err);
    gm_checkpoint_writer_destroy(w);
    return status;
}

// Accuracy of the largest subnet (and the smallest), of an image.
static json_t *top1_json(const gm__yardstick *y) {
    json_t *top1 = json_object();
    json_object_set_new(top1, "max", gm__json_number(y->top1[0]));
    if (y->choices > 1) json_object_set_new(top1, "min", gm__json_number(y->top1[1]));
    return top1;
}

static gm_status measure_saved(gm__yardstick *y, const char *to, const gm_checkpoint_info *info, gm_error *err) {
    uint8_t *image = NULL;
    size_t bytes = 0;
    gm_tensor_file *file = NULL;
    gm_status status = gm__checkpoint_read(to, info->number, &image, &bytes, NULL, err);
    if (status == GM_OK) status = gm_tensor_file_parse(image, bytes, to, &file, err);
    if (status == GM_OK) status = gm__yardstick_measure(y, file, err);
    gm_tensor_file_destroy(file);
    gm_free(image);
    return status;
}

static int report_save(const gm__args *args, const char *to, const gm_checkpoint_info *info, double seconds, json_t *before,
                       json_t *after) {
    if (args->json) {
        json_t *all = gm__checkpoint_json(info);
        json_object_set_new(all, "seconds", gm__json_number(seconds));
        json_object_set_new(all, "mb_per_s", gm__json_number(gm__checkpoint_rate(info->image_bytes, seconds)));
        json_object_set_new(all, "top1_before", before != NULL ? before : json_null());
        json_object_set_new(all, "top1_after", after != NULL ? after : json_null());
        return gm__json_print(all);
    }
    char raw[GM__TEXT_SHORT], stored[GM__TEXT_SHORT];
    printf("%s: %sB in %sB, %.2f times smaller (weights %.2f), %.0f MB/s\n", to,
           gm__text_count((double)info->image_bytes, raw), gm__text_count((double)info->bytes, stored),
           gm_checkpoint_ratio(info), gm_checkpoint_ratio_weights(info), gm__checkpoint_rate(info->image_bytes, seconds));
    if (before != NULL && after != NULL) {
        const char *key;
        json_t *value;
        json_object_foreach(before, key, value) {
            printf("top-1 of %s: %.2f %% before, %.2f %% after\n", key, json_number_value(value),
                   json_number_value(json_object_get(after, key)));
        }
    }
    if (info->note[0] != '\0' && info->quantized > 0) printf("%s\n", info->note);
    json_decref(before);
    json_decref(after);
    return GM__EXIT_DONE;
}

static int save(const gm__args *args, const save_options *o, gm_checkpoint_settings *s) {
    const char *path = args->positional[0];
    gm_error err = {0};
    gm_tensor_image *image = NULL;
    gm_tensor_file *file = NULL;
    gm__yardstick y = {0};
    gm_checkpoint_quality quality;
    gm_checkpoint_info info;
    json_t *before = NULL, *after = NULL;
    bool measured = o->quantize && (o->max_drop > 0 || o->data != NULL);
    gm_status status = gm_tensor_image_read(path, &image, &err);
    if (status == GM_OK) status = gm_tensor_file_parse(image->data, image->bytes, path, &file, &err);
    if (status == GM_OK && measured) status = open_yardstick(&y, file, path, o, &err);
    if (status == GM_OK && measured && (status = gm__yardstick_measure(&y, file, &err)) == GM_OK) before = top1_json(&y);
    if (measured && o->max_drop > 0) {
        quality = gm__yardstick_quality(&y);
        s->quality = &quality;
    }
    gm_walker_destroy(y.walker); // the next one is made by the thread that writes
    y.walker = NULL;
    double start = gm_now();
    if (status == GM_OK) status = write_to(o->to, image, s, o->note, &info, &err);
    double seconds = gm_now() - start;
    if (status == GM_OK && measured) {
        gm_walker_destroy(y.walker);
        y.walker = NULL;
        if ((status = measure_saved(&y, o->to, &info, &err)) == GM_OK) after = top1_json(&y);
    }
    gm_tensor_file_destroy(file);
    gm_tensor_image_release(image);
    gm__yardstick_fini(&y);
    if (status == GM_OK) return report_save(args, o->to, &info, seconds, before, after);
    json_decref(before);
    json_decref(after);
    return gm__failed(&err);
}

int gm__checkpoint_save(const gm__command *self, int argc, char **argv) {
    gm__args args;
    save_options o = {.full_every = 8, .stick = -1, .images = 1000, .level = 1, .metric = "loss", .optimizer = "round"};
    const gm__option options[] = {
        {"to", "DIR|FILE.gmc", "folder of checkpoints, or a single file that stands alone", GM__OPTION_TEXT, &o.to, 0, 0},
        {"quantize", NULL, "weights through the quantizer (default: without loss)", GM__OPTION_FLAG, &o.quantize, 0, 0},
        {"max-drop", "X", "look for the smallest configuration whose loss rises by at most X (0.01: 1 %)",
         GM__OPTION_NUMBER, &o.max_drop, 1e-6, 10},
        {"metric", "M", "what --max-drop bounds: loss (default) or accuracy", GM__OPTION_TEXT, &o.metric, 0, 0},
        {"config", "TEXT", "a configuration instead of a search, e.g. 'bins=16 prune=0.1'", GM__OPTION_TEXT, &o.config, 0,
         0},
        {"stick", "S", "how far into a neighbouring bin a weight keeps its centre, in widths of the bin (default 0.15)",
         GM__OPTION_NUMBER, &o.stick, 0, 0.5},
        {"coder", "C", "rans (default), paper, rle or huffman", GM__OPTION_TEXT, &o.coder, 0, 0},
        {"optimizer", "O", "with --quantize: keep, drop or round (default) the optimizer's state", GM__OPTION_TEXT,
         &o.optimizer, 0, 0},
        {"data", "D", "data set to measure with (default: that of recipe.yaml beside FILE)", GM__OPTION_TEXT, &o.data, 0,
         0},
        {"images", "N", "held-out images to measure with (default 1000)", GM__OPTION_INT, &o.images, 1, 1000000},
        {"full-every", "N", "stand alone after so many differences (default 8; 1: always)", GM__OPTION_INT, &o.full_every,
         1, 10000},
        {"level", "L", "of zstd, 1 (default) to 19", GM__OPTION_INT, &o.level, 1, 19},
        {"note", "JSON", "an object kept with the checkpoint", GM__OPTION_TEXT, &o.note, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, options, 1, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (o.to == NULL) return gm__usage_error(self, "--to is missing: where to save");
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    static const char *const states[] = {"keep", "drop", "round"};
    int state = 0;
    while (state < 3 && strcmp(o.optimizer, states[state]) != 0) state++;
    if (state == 3) return gm__usage_error(self, "--optimizer: '%s' is not keep, drop or round", o.optimizer);
    if (strcmp(o.metric, "loss") != 0 && strcmp(o.metric, "accuracy") != 0)
        return gm__usage_error(self, "--metric: '%s' is neither loss nor accuracy", o.metric);
    if (!o.quantize && (o.max_drop > 0 || o.stick >= 0 || o.config != NULL || o.coder != NULL || strcmp(o.optimizer, "round") != 0))
        return gm__usage_error(self, "--max-drop, --config, --stick, --coder and --optimizer need --quantize");
    s.mode = o.quantize ? GM_CHECKPOINT_QUANTIZED : GM_CHECKPOINT_LOSSLESS;
    s.optimizer = (gm_checkpoint_optimizer)state;
    s.full_every = o.full_every;
    s.level = o.level;
    s.max_drop = o.max_drop;
    if (o.stick >= 0) s.stick = o.stick;
    if (o.config != NULL) snprintf(s.config, sizeof s.config, "%s", o.config);
    if (o.coder != NULL) snprintf(s.coder, sizeof s.coder, "%s", o.coder);
    return save(&args, &o, &s);
}

