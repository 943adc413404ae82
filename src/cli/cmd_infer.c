// SPDX-License-Identifier: Apache-2.0
// gamut infer: what a subnet says about pictures, a tensor file, or images of a data set.
#include "cli.h"

#include <gamut/data.h>
#include <gamut/plan.h>
#include <gamut/tensor.h>

#include <inttypes.h>
#include <string.h>

enum { BATCH = 16 };

typedef struct request {
    const char *model, *choice, *type, *data, *data_dir, *split;
    bool resize;
    int top;
    char **input;
    int inputs;
} request;

typedef struct session {
    gm_model *model;
    gm_packed *packed;
    gm_plan *plan;
    gm_plan_input in;
    float *softmax; // [BATCH][ld]
    int ld;
    json_t *rows;
    gm__table *table;
    const request *r;
    const gm_dataset *set; // NULL: pictures or tensors
} session;

static gm_status parse_type(const char *text, gm_dtype *out, gm_error *err) {
    static const struct {
        const char *name;
        gm_dtype type;
    } types[] = {{"f32", GM_F32}, {"bf16", GM_BF16}, {"int8", GM_I8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        *out = types[i].type;
        if (strcmp(text, types[i].name) == 0) return GM_OK;
    }
    return gm_fail(err, GM_ERR_ARGUMENT, "--type: '%.40s' is not f32, bf16 or int8", text);
}

// The subnet by any word for a choice, or by the 16 digits of its id.
static gm_status find_subnet(const session *s, const char *word, int *subnet, gm_error *err) {
    const gm_space *space = &s->model->graph->space;
    char id[GM__TEXT_SHORT];
    for (*subnet = 0; *subnet < gm_packed_subnets(s->packed); ++*subnet) {
        const gm_choice *c = gm_packed_choice(s->packed, *subnet);
        snprintf(id, sizeof id, "%016" PRIx64, gm_choice_id(space, c));
        if (strcmp(id, word) == 0) return GM_OK;
    }
    gm_choice choice;
    gm_status status = gm_choice_parse(space, word, &choice, err);
    if (status != GM_OK) return status;
    *subnet = gm_packed_find(s->packed, &choice);
    if (*subnet >= 0) return GM_OK;
    return gm_fail(err, GM_ERR_STATE,
                   "subnet '%.60s' is not calibrated; run: gamut calibrate %.90s --choices '%.60s'",
                   word, s->r->model, word);
}

static gm_status open_session(session *s, gm_error *err) {
    gm_dtype type;
    int subnet = 0;
    gm_status status = parse_type(s->r->type, &type, err);
    if (status == GM_OK) status = gm_model_load(s->r->model, &s->model, err);
    if (status == GM_OK) status = gm_packed_create(s->model, type, &s->packed, err);
    if (status == GM_OK) status = find_subnet(s, s->r->choice, &subnet, err);
    if (status == GM_OK) status = gm_plan_create(s->packed, BATCH, &s->plan, err);
    if (status != GM_OK) return status;
    gm_plan_activate(s->plan, subnet);
    s->in = gm_plan_input_of(s->plan);
    (void)gm_plan_logits(s->plan, &s->ld);
    s->softmax = gm_alloc((size_t)(BATCH * s->ld), sizeof *s->softmax);
    return s->softmax != NULL ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "out of memory");
}

static void close_session(session *s) {
    gm_plan_destroy(s->plan);
    gm_packed_destroy(s->packed);
    gm_model_destroy(s->model);
    gm_free(s->softmax);
}

// The classes of one image, the most probable first.
static void add_row(session *s, const char *name, const float *probability, int label) {
    int classes = s->model->graph->classes, shown = gm_min(s->r->top, classes);
    int best[GM_MAX_VALUES] = {0};
    for (int k = 0; k < shown; k++) {
        best[k] = -1;
        for (int c = 0; c < classes; c++) {
            bool taken = false;
            for (int q = 0; q < k; q++) taken |= best[q] == c;
            if (!taken && (best[k] < 0 || probability[c] > probability[best[k]])) best[k] = c;
        }
    }
    if (s->table != NULL) {
        for (int k = 0; k < shown; k++) {
            gm__table_cell(s->table, "%s", k == 0 ? name : "");
            if (s->set != NULL && s->set->class_names != NULL)
                gm__table_cell(s->table, "%d %s", best[k], s->set->class_names[best[k]]);
            else gm__table_cell(s->table, "%d", best[k]);
            gm__table_cell(s->table, "%.4f", (double)probability[best[k]]);
        }
        return;
    }
    json_t *row = json_pack("{s:s, s:i, s:o}", "input", name, "class", best[0], "probability",
                            gm__json_number((double)probability[best[0]]));
    if (label >= 0) json_object_set_new(row, "label", json_integer(label));
    if (shown > 1) {
        json_t *top = json_array();
        for (int k = 0; k < shown; k++)
            json_array_append_new(top, json_pack("{s:i, s:o}", "class", best[k], "probability",
                                                 gm__json_number((double)probability[best[k]])));
        json_object_set_new(row, "top", top);
    }
    json_array_append_new(s->rows, row);
}

static void run_batch(session *s, int images, char (*name)[160], const int *label) {
    gm_plan_run(s->plan, images);
    const float *logits = gm_plan_logits(s->plan, NULL);
    gm_kernels_active()->softmax(images, s->model->graph->classes, logits, s->ld, s->softmax, s->ld);
    for (int i = 0; i < images; i++)
        add_row(s, name[i], s->softmax + i * s->ld, label != NULL ? label[i] : -1);
}

static void put(const session *s, int image, int position, int channel, float v) {
    size_t at = ((size_t)image * (size_t)(s->in.side * s->in.side) + (size_t)position) *
                    (size_t)s->in.ld + (size_t)channel;
    if (s->in.type == GM_F32) ((float *)s->in.x)[at] = v;
    else ((gm_bf16 *)s->in.x)[at] = gm_bf16_from_f32(v);
}

static gm_status read_picture(session *s, const char *path, int image, uint8_t *pixels,
                              gm_error *err) {
    gm_status status = gm_picture_read(path, s->in.side, s->in.channels, s->r->resize, pixels, err);
    for (int q = 0; q < s->in.side * s->in.side && status == GM_OK; q++)
        for (int c = 0; c < s->in.channels; c++) {
            float v = (float)pixels[q * s->in.channels + c] / 255.0f;
            put(s, image, q, c, (v - s->model->input_mean[c]) / s->model->input_std[c]);
        }
    return status;
}

static gm_status infer_pictures(session *s, char **path, int count, gm_error *err) {
    char name[BATCH][160];
    size_t bytes = (size_t)(s->in.side * s->in.side) * (size_t)s->in.channels;
    uint8_t *pixels = gm_alloc(bytes, 1);
    gm_status status = pixels != NULL ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "out of memory");
    for (int first = 0; first < count && status == GM_OK; first += BATCH) {
        int images = gm_min(BATCH, count - first);
        for (int i = 0; i < images && status == GM_OK; i++) {
            snprintf(name[i], sizeof name[i], "%s", path[first + i]);
            status = read_picture(s, path[first + i], i, pixels, err);
        }
        if (status == GM_OK) run_batch(s, images, name, NULL);
    }
    gm_free(pixels);
    return status;
}

// A tensor "input", or the only one: f32 (images, channels, side, side), normalised as the model wants it.
static gm_status infer_tensor(session *s, const char *path, gm_error *err) {
    gm_tensor_file *f = NULL;
    char name[BATCH][160];
    gm_status status = gm_tensor_file_read(path, &f, err);
    if (status != GM_OK) return status;
    const gm_tensor_info *t = gm_tensor_find(f, "input");
    if (t == NULL && gm_tensor_count(f) == 1) t = gm_tensor_at(f, 0);
    uint64_t side = (uint64_t)s->in.side, channels = (uint64_t)s->in.channels;
    bool right = t != NULL && t->type == GM_F32 && t->rank == 4 && t->dims[1] == channels &&
                 t->dims[2] == side && t->dims[3] == side;
    if (!right)
        status = gm_fail(err, GM_ERR_ARGUMENT,
                         "%.100s: needs a tensor 'input' (or only one) of type F32 and shape (images, "
                         "%d, %d, %d)", path, s->in.channels, s->in.side, s->in.side);
    uint64_t plane = side * side, all = right ? t->dims[0] : 0;
    for (uint64_t first = 0; first < all; first += BATCH) {
        int images = (int)(all - first < BATCH ? all - first : BATCH);
        for (int i = 0; i < images; i++) {
            const float *x = (const float *)t->data + (first + (uint64_t)i) * channels * plane;
            snprintf(name[i], sizeof name[i], "%.120s[%" PRIu64 "]", path, first + (uint64_t)i);
            for (int c = 0; c < s->in.channels; c++)
                for (int q = 0; q < (int)plane; q++) put(s, i, q, c, x[(uint64_t)c * plane + (uint64_t)q]);
        }
        run_batch(s, images, name, NULL);
    }
    gm_tensor_file_destroy(f);
    return status;
}

// Inputs are numbers of images of the data set.
static gm_status infer_set(session *s, gm_error *err) {
    const request *r = s->r;
    gm_dataset *d = NULL;
    gm_part part = strcmp(r->split, "train") == 0 ? GM_PART_TRAIN : GM_PART_TEST;
    gm_status status = gm_dataset_load(r->data, r->data_dir, part, 0, &d, err);
    if (status == GM_OK && d->channels != s->in.channels)
        status = gm_fail(err, GM_ERR_ARGUMENT, "%.60s: images have %d channels, the model reads %d",
                         r->data, d->channels, s->in.channels);
    if (status == GM_OK && !r->resize && (d->width != s->in.side || d->height != s->in.side))
        status = gm_fail(err, GM_ERR_ARGUMENT,
                         "%.60s: images of %dx%d, this subnet reads %dx%d; give --resize to scale them",
                         r->data, d->width, d->height, s->in.side, s->in.side);
    s->set = status == GM_OK && d->classes == s->model->graph->classes ? d : NULL;
    gm_augment a = gm_augment_default();
    memcpy(a.mean, s->model->input_mean, sizeof a.mean);
    memcpy(a.std, s->model->input_std, sizeof a.std);
    a.resolution = s->in.side;
    for (int first = 0; first < r->inputs && status == GM_OK; first += BATCH) {
        int images = gm_min(BATCH, r->inputs - first), label[BATCH];
        int32_t index[BATCH];
        char name[BATCH][160];
        for (int i = 0; i < images && status == GM_OK; i++) {
            int64_t n = 0;
            if (!gm__parse_integer(r->input[first + i], 0, d->images - 1, &n))
                status = gm_fail(err, GM_ERR_RANGE, "'%.40s' is not the number of an image of %.40s: 0 to %d",
                                 r->input[first + i], r->data, d->images - 1);
            index[i] = (int32_t)n;
            snprintf(name[i], sizeof name[i], "%.100s %s %d", r->data, r->split, index[i]);
        }
        if (status != GM_OK) break;
        gm_batch b = {.ld = s->in.ld, .channels = d->channels, .type = s->in.type, .x = s->in.x, .label = label};
        gm_batch_fill(d, index, NULL, images, &a, 1, 0, 0, &b);
        run_batch(s, images, name, s->set != NULL ? label : NULL);
    }
    s->set = NULL;
    gm_dataset_destroy(d);
    return status;
}

static bool is_tensor_file(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot != NULL && strcmp(dot, ".safetensors") == 0;
}

static gm_status infer_files(session *s, gm_error *err) {
    gm_status status = GM_OK;
    for (int i = 0; i < s->r->inputs && status == GM_OK;) {
        int pictures = 0;
        while (i + pictures < s->r->inputs && !is_tensor_file(s->r->input[i + pictures])) pictures++;
        status = pictures > 0 ? infer_pictures(s, s->r->input + i, pictures, err)
                              : infer_tensor(s, s->r->input[i], err);
        i += gm_max(pictures, 1);
    }
    return status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    request r = {.type = "f32", .split = "test", .top = 1};
    const gm__option options[] = {
        {"choice", "C", "the subnet: max, min, uniform:d=4,e=6, the full form, or its id", GM__OPTION_TEXT,
         &r.choice, 0, 0},
        {"type", "T", "f32, bf16 or int8 (default f32)", GM__OPTION_TEXT, &r.type, 0, 0},
        {"top", "N", "show the N most probable classes (default 1)", GM__OPTION_INT, &r.top, 1, GM_MAX_VALUES},
        {"resize", NULL, "scale images to the size that the subnet reads", GM__OPTION_FLAG, &r.resize, 0, 0},
        {"data", "D", "inputs are numbers of images of this data set", GM__OPTION_TEXT, &r.data, 0, 0},
        {"data-dir", "DIR", "folder that holds the data set", GM__OPTION_TEXT, &r.data_dir, 0, 0},
        {"split", "train|test", "part of the data set (default test)", GM__OPTION_TEXT, &r.split, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, options, 2, 1 << 20, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (r.choice == NULL) return gm__usage_error(self, "--choice is missing, e.g. --choice max");
    if (strcmp(r.split, "train") != 0 && strcmp(r.split, "test") != 0)
        return gm__usage_error(self, "--split: '%s' is neither train nor test", r.split);
    static const char *const titles[] = {"INPUT", "CLASS", "PROBABILITY"};
    r.model = args.positional[0];
    r.input = args.positional + 1;
    r.inputs = args.count - 1;
    session s = {.r = &r, .rows = json_array(), .table = args.json ? NULL : gm__table_create(3, titles, "llr")};
    gm_status result = open_session(&s, &err);
    if (result == GM_OK) result = r.data != NULL ? infer_set(&s, &err) : infer_files(&s, &err);
    close_session(&s);
    if (result != GM_OK) {
        gm__table_free(s.table);
        json_decref(s.rows);
        return gm__failed(&err);
    }
    if (args.json) return gm__json_print(s.rows);
    json_decref(s.rows);
    return gm__table_print(s.table);
}

const gm__command gm__cmd_infer = {
    .name = "infer",
    .arguments = "MODEL --choice C INPUT...",
    .summary = "what a subnet says about pictures or a tensor file",
    .detail = "INPUT: PNG, JPEG or PPM files of the size that the subnet reads (--resize scales others), a .safetensors\n"
              "file with a normalised f32 tensor (images, channels, rows, columns), or with --data numbers of images.",
    .example = "  gamut infer runs/fashion-mnist/model.safetensors --choice max shoe.png --resize --top 3\n"
               "  gamut infer model.safetensors --choice uniform:d=1 --data fashion-mnist --split test 0 1 2",
    .run = run,
};
