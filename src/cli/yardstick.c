// SPDX-License-Identifier: Apache-2.0
#include "yardstick.h"

#include <math.h>
#include <string.h>

// count images of d, copied.
static gm_status take(const gm_dataset *d, const int32_t *index, int count, gm_dataset **out, gm_error *err) {
    size_t bytes = (size_t)d->height * (size_t)d->width * (size_t)d->channels;
    gm_dataset *part = gm_alloc(1, sizeof *part);
    *out = part;
    if (part == NULL) return gm_fail(err, GM_ERR_MEMORY, "no memory for images to measure with");
    *part = (gm_dataset){.images = count,
                         .height = d->height,
                         .width = d->width,
                         .channels = d->channels,
                         .classes = d->classes};
    snprintf(part->name, sizeof part->name, "%s", d->name);
    part->pixels = gm_alloc((size_t)count, bytes);
    part->labels = gm_alloc((size_t)count, sizeof *part->labels);
    if (part->pixels == NULL || part->labels == NULL)
        return gm_fail(err, GM_ERR_MEMORY, "no memory for %d images to measure with", count);
    for (int i = 0; i < count; i++) {
        memcpy(part->pixels + (size_t)i * bytes, d->pixels + (size_t)index[i] * bytes, bytes);
        part->labels[i] = d->labels[index[i]];
    }
    return GM_OK;
}

static void set_inputs(gm_model *m, const gm_augment *given, const gm_dataset *d, const int32_t *train, int count) {
    gm_augment a = *given;
    bool said = false;
    for (int c = 0; c < 4; c++) said = said || a.mean[c] != 0 || a.std[c] != 0;
    if (!said) gm_dataset_moments(d, train, count, a.mean, a.std);
    for (int c = 0; c < 4; c++) {
        m->input_mean[c] = a.mean[c];
        m->input_std[c] = a.std[c] > 0 ? a.std[c] : 1;
    }
}

// The data set is read, what is measured with copied, and the rest let go. model: NULL, or gets what inputs need.
static gm_status take_images(gm__yardstick *y, const gm__recipe *recipe, int images, bool inputs, gm_error *err) {
    const gm_train_settings *s = &recipe->train;
    gm_dataset *d = NULL;
    int32_t *train = NULL, *val = NULL;
    int train_count = 0, val_count = 0;
    const char *dir = s->data_dir[0] != '\0' ? s->data_dir : NULL;
    gm_status status = gm_dataset_load(s->data, dir, GM_PART_TRAIN, s->augment.resolution, &d, err);
    if (status == GM_OK && y->model != NULL &&
        (d->channels != y->model->graph->input_channels || d->classes != y->model->graph->classes)) {
        status = gm_fail(err, GM_ERR_ARGUMENT, "%.80s has %d classes and %d channels, the model %d and %d; choose the set "
                         "it was trained on", s->data, d->classes, d->channels, y->model->graph->classes,
                         y->model->graph->input_channels);
    }
    if (status == GM_OK)
        status = gm_dataset_split(d, s->validation, GM_SPLIT_SEED, &train, &train_count, &val, &val_count, err);
    if (status == GM_OK && val_count == 0)
        status = gm_fail(err, GM_ERR_ARGUMENT, "no images are held out to measure a checkpoint with: set validation");
    if (status == GM_OK && y->model == NULL) { // a recipe leaves open what follows from the data
        gm_model_settings settings = s->model;
        if (settings.classes == 0) settings.classes = d->classes;
        if (settings.channels == 0) settings.channels = d->channels;
        status = gm_model_create(s->preset, &settings, &y->model, err);
    }
    if (status == GM_OK && inputs) set_inputs(y->model, &s->augment, d, train, train_count);
    if (status == GM_OK) status = take(d, val, gm_min(images, val_count), &y->val, err);
    if (status == GM_OK) status = take(d, train, gm_min(GM__YARDSTICK_CALIBRATE, train_count), &y->train, err);
    gm_free(train);
    gm_free(val);
    gm_dataset_destroy(d);
    return status;
}

static gm_status choose(gm__yardstick *y, const char *const *names, int count, gm_error *err) {
    gm_status status = GM_OK;
    for (int i = 0; i < count && status == GM_OK; i++)
        status = gm_choice_parse(&y->model->graph->space, names[i], &y->choice[i], err);
    y->choices = count;
    return status;
}

gm_status gm__yardstick_init(gm__yardstick *y, const gm__recipe *recipe, int images, gm_error *err) {
    static const char *const ends[] = {"max", "min"};
    const gm_train_settings *s = &recipe->train;
    const char *single = s->choice;
    *y = (gm__yardstick){.type = s->type};
    if (s->type_auto) y->type = gm_cpu_active() >= GM_CPU_AVX512 ? GM_BF16 : GM_F32;
    snprintf(y->what, sizeof y->what, "%s", s->data);
    gm_status status = take_images(y, recipe, images, true, err);
    bool alone = s->strategy == GM_STRATEGY_PLAIN;
    if (status == GM_OK) status = choose(y, alone ? &single : ends, alone || recipe->checkpoint.subnets == 1 ? 1 : 2, err);
    if (status != GM_OK) gm__yardstick_fini(y);
    return status;
}

gm_status gm__yardstick_init_model(gm__yardstick *y, const gm_tensor_file *file, const char *what, const gm__recipe *recipe,
                                   int images, gm_error *err) {
    static const char *const ends[] = {"max", "min"};
    *y = (gm__yardstick){.type = gm_cpu_active() >= GM_CPU_AVX512 ? GM_BF16 : GM_F32};
    snprintf(y->what, sizeof y->what, "%s", recipe->train.data);
    gm_status status = gm_model_from_tensors(file, what, &y->model, err);
    if (status == GM_OK) status = take_images(y, recipe, images, false, err);
    if (status == GM_OK) status = choose(y, ends, 2, err);
    if (status == GM_OK)
        y->stored = gm_model_norms(y->model, &y->choice[0]) && gm_model_norms(y->model, &y->choice[1]);
    if (status != GM_OK) gm__yardstick_fini(y);
    return status;
}

void gm__yardstick_fini(gm__yardstick *y) {
    gm_walker_destroy(y->walker);
    gm_dataset_destroy(y->val);
    gm_dataset_destroy(y->train);
    gm_model_destroy(y->model);
    for (int i = 0; i < GM__YARDSTICK_CHOICES; i++) gm_free(y->base[i]);
    gm_free(y->now);
    *y = (gm__yardstick){0};
}

static const gm_param *find_param(const gm_graph *g, const char *name) {
    static const char prefix[] = "params/";
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) name += sizeof prefix - 1;
    for (int i = 0; i < g->params; i++) {
        if (strcmp(g->param[i].name, name) == 0) return &g->param[i];
    }
    return NULL;
}

static gm_status load(gm__yardstick *y, const gm_tensor_file *image, gm_error *err) {
    const gm_graph *g = y->model->graph;
    for (int i = 0; i < g->params; i++) {
        char name[128];
        snprintf(name, sizeof name, "params/%s", g->param[i].name);
        const gm_tensor_info *t = gm_tensor_find(image, name);
        if (t == NULL) t = gm_tensor_find(image, g->param[i].name);
        if (t == NULL || t->type != GM_F32 || t->bytes != gm_param_elements(&g->param[i]) * sizeof(float))
            return gm_fail(err, GM_ERR_FORMAT, "the checkpoint has no tensor %s of the network of the recipe",
                           g->param[i].name);
        gm_param_import(&g->param[i], t->data, y->model->params + g->param[i].offset);
    }
    return GM_OK;
}

double gm__beyond_doubt(const float *before, const float *now, int n) {
    double was = 0, is = 0, square = 0;
    for (int i = 0; i < n; i++) {
        was += (double)before[i] / n;
        is += (double)now[i] / n;
    }
    for (int i = 0; i < n; i++) {
        double d = (double)now[i] - (double)before[i] - (is - was);
        square += d * d;
    }
    return is > was && n > 1 ? fmax(is - sqrt(square / n / (n - 1)), was) : is;
}

static gm_status make_lists(gm__yardstick *y, gm_error *err) {
    size_t n = (size_t)y->val->images;
    bool made = y->now || (y->now = gm_alloc(n, sizeof *y->now));
    for (int i = 0; i < y->choices; i++) made = made && (y->base[i] || (y->base[i] = gm_alloc(n, sizeof *y->base[i])));
    return made ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for images to measure with");
}

// What choice i is measured as; the first time of a checkpoint it becomes the base.
static double figure_of(gm__yardstick *y, int i) {
    if (!y->based) memcpy(y->base[i], y->now, (size_t)y->val->images * sizeof *y->now);
    return gm__beyond_doubt(y->base[i], y->now, y->val->images);
}

static gm_status measure_now(gm__yardstick *y, double *figure, gm_error *err) {
    enum { BATCH = 25 }; // with the network's activations that measuring needs, memory
    gm_model *m = y->model;
    gm_status status = GM_OK;
    if ((status = make_lists(y, err)) != GM_OK) return status;
    if (y->walker == NULL) // here, so that it is made by the thread that uses it
        status = gm_walker_create(m->graph, m->norm_offset, y->type, BATCH, false, &y->walker, err);
    gm_calibrate_settings c = gm_calibrate_settings_default();
    c.images = y->train->images;
    c.ranges = false;
    gm_augment a = {0};
    for (int i = 0; i < 4; i++) {
        a.mean[i] = m->input_mean[i];
        a.std[i] = m->input_std[i];
    }
    for (int i = 0; i < y->choices && status == GM_OK; i++) {
        gm_eval_result r;
        if (!y->stored && m->graph->norms > 0)
            status = gm_calibrate(m, y->walker, y->train, NULL, y->train->images, &a, &c, &y->choice[i], err);
        float *margin = y->accuracy ? y->now : NULL, *loss = y->accuracy ? NULL : y->now;
        if (status == GM_OK)
            status = gm_evaluate_each(m, y->walker, y->val, NULL, y->val->images, &y->choice[i], margin, loss, &r, err);
        if (status != GM_OK) break;
        y->top1[i] = r.top1;
        y->loss[i] = r.loss;
        for (int k = 0; margin != NULL && k < y->val->images; k++) margin[k] = margin[k] > 0 ? -100.0f : 0; // minus the accuracy
        if (figure != NULL) figure[i] = figure_of(y, i);
    }
    y->based = y->based || figure != NULL;
    return status;
}

gm_status gm__yardstick_measure(gm__yardstick *y, const gm_tensor_file *image, gm_error *err) {
    gm_status status = load(y, image, err);
    return status == GM_OK ? measure_now(y, NULL, err) : status;
}

static gm_status begin(void *self, const gm_tensor_file *image, gm_error *err) {
    gm__yardstick *y = self;
    y->based = false;
    return load(y, image, err);
}

static gm_status put(void *self, const char *name, const float *weights, gm_error *err) {
    gm__yardstick *y = self;
    const gm_param *p = find_param(y->model->graph, name);
    if (p == NULL) return gm_fail(err, GM_ERR_FORMAT, "the network of the recipe has no parameter %.100s", name);
    gm_param_import(p, weights, y->model->params + p->offset);
    return GM_OK;
}

static gm_status measure(void *self, double *figure, gm_error *err) { return measure_now(self, figure, err); }

// The walker's panels are a copy of the weights: what follows, coding, needs the memory.
static void end(void *self) {
    gm__yardstick *y = self;
    gm_walker_destroy(y->walker);
    y->walker = NULL;
}

gm_checkpoint_quality gm__yardstick_quality(gm__yardstick *y) {
    return (gm_checkpoint_quality){.begin = begin, .put = put, .measure = measure, .figures = y->choices, .self = y, .end = end};
}
