// SPDX-License-Identifier: Apache-2.0
// The training state: state.safetensors beside the model while a run is unfinished. What is saved is the last good state
// that the guard keeps in memory, as the image of the file: it is taken at steps that depend on the settings only, so a run that resumes
// from it repeats a few steps and then has the same bits as one that was never disturbed, rollbacks included. Buffers are stored as
// tensors of their own, in the order of the model file: what compresses states can tell a layer from a bias.
#include "train/run.h"

#include <gamut/tensor.h>

#include <string.h>
#include <unistd.h>

enum { MARKS = 20, VERSION = 2 };

void gm__state_path(const char *dir, char *path, size_t size) { snprintf(path, size, "%s/state.safetensors", dir); }

static int64_t from_double(double v) {
    int64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double to_double(int64_t bits) {
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void pack(const gm__marks *m, uint64_t steps, int64_t *to) {
    const gm__guard *g = &m->guard;
    int64_t list[MARKS] = {VERSION, (int64_t)steps, (int64_t)m->step, (int64_t)m->updates, (int64_t)m->ema_updates,
                           (int64_t)m->macs, m->phase, g->count, g->next, g->rollbacks, g->strikes, g->calm,
                           from_double((double)g->damp), from_double(m->loss_sum), from_double(m->accuracy_sum),
                           (int64_t)m->sums, from_double(m->loss_mean), from_double(m->accuracy_mean),
                           from_double(m->seconds), (int64_t)m->log_bytes};
    memcpy(to, list, sizeof list);
}

static void unpack(const int64_t *from, const float *history, gm__marks *m) {
    *m = (gm__marks){.step = (uint64_t)from[2], .updates = (uint64_t)from[3], .ema_updates = (uint64_t)from[4],
                     .macs = (uint64_t)from[5], .phase = (int32_t)from[6], .loss_sum = to_double(from[13]),
                     .accuracy_sum = to_double(from[14]), .sums = (uint64_t)from[15], .loss_mean = to_double(from[16]),
                     .accuracy_mean = to_double(from[17]), .seconds = to_double(from[18]),
                     .log_bytes = (uint64_t)from[19]};
    m->guard = (gm__guard){.count = (int32_t)from[7], .next = (int32_t)from[8], .rollbacks = (int32_t)from[9],
                           .strikes = (int32_t)from[10], .calm = (int32_t)from[11], .damp = (float)to_double(from[12])};
    memcpy(m->guard.history, history, sizeof m->guard.history);
}

// A parameter out of one of the big buffers.
typedef struct filling {
    const gm_param *param;
    const float *stored;
} filling;

static void fill(const void *context, void *to) {
    const filling *f = context;
    gm_param_export(f->param, f->stored, to);
}

enum { BUFFERS = 5, MOST_NAME = 128 };
static const char *const buffer_name[BUFFERS] = {"params", "momentum", "second_moment", "average", "teacher"};

static gm_status add_buffer(gm_tensor_writer *writer, const gm_graph *g, const char *name, const float *data,
                            filling *filled, gm_error *err) {
    gm_status status = GM_OK;
    for (int i = 0; i < g->params && status == GM_OK; i++) {
        const gm_param *p = &g->param[i];
        char full[MOST_NAME];
        uint64_t dims[4];
        for (int d = 0; d < 4; d++) dims[d] = (uint64_t)p->dims[d];
        snprintf(full, sizeof full, "%s/%s", name, p->name);
        filled[i] = (filling){p, data + p->offset};
        status = gm_tensor_writer_add_filled(writer, full, GM_F32, p->rank, dims, fill, &filled[i], err);
    }
    return status;
}

static gm_status describe(const gm__run *r, gm_tensor_writer *writer, const int64_t *marks, filling *filled, gm_error *err) {
    char text[4096];
    const gm__weights *w = &r->live;
    const gm_graph *g = r->model->graph;
    const float *const data[BUFFERS] = {w->params, w->m, w->v, w->ema, r->marks.phase > 0 ? r->teacher : NULL};
    uint64_t count = MARKS, window = GM__GUARD_WINDOW;
    gm_status status = gm__settings_text(r->settings, r->type, text, sizeof text, err);
    if (status == GM_OK) status = gm_tensor_writer_meta(writer, "format", "gamut training state", err);
    if (status == GM_OK) status = gm_tensor_writer_meta(writer, "settings", text, err);
    if (status == GM_OK) status = gm_tensor_writer_add(writer, "marks", GM_I64, 1, &count, marks, err);
    if (status == GM_OK) status = gm_tensor_writer_add(writer, "losses", GM_F32, 1, &window, r->marks.guard.history, err);
    for (int i = 0; i < BUFFERS && status == GM_OK; i++)
        if (data[i]) status = add_buffer(writer, g, buffer_name[i], data[i], filled + (size_t)i * (size_t)g->params, err);
    return status;
}

gm_status gm__state_take(gm__run *r, gm_error *err) {
    int64_t marks[MARKS];
    gm_tensor_writer *writer = NULL;
    pack(&r->marks, r->context.steps, marks);
    filling *filled = gm_alloc((size_t)BUFFERS * (size_t)r->model->graph->params, sizeof *filled);
    gm_status status = filled ? gm_tensor_writer_create(&writer, err) : gm_fail(err, GM_ERR_MEMORY, "no memory for a state");
    if (status == GM_OK) status = describe(r, writer, marks, filled, err);
    if (status == GM_OK) status = gm_tensor_writer_image(writer, &r->good, err);
    if (status == GM_OK) r->marks_good = r->marks;
    gm_tensor_writer_destroy(writer);
    gm_free(filled);
    return status;
}

gm_status gm__state_save(const gm__run *r, bool wait, gm_error *err) {
    char path[1024];
    const gm_train_store *store = r->settings->store;
    const gm__marks *m = &r->marks_good;
    gm__state_path(r->dir, path, sizeof path);
    if (!store) return gm_file_write(path, r->good->data, r->good->bytes, err);
    gm_train_mark mark = {.step = m->step, .epoch = (double)m->step / (double)r->context.steps_per_epoch,
                          .seconds = m->seconds, .loss = m->loss_mean, .lr = r->lr};
    return store->save(store->self, r->good, &mark, wait, err);
}

bool gm__state_exists(const gm__run *r) {
    char path[1024];
    const gm_train_store *store = r->settings->store;
    if (store) return store->unfinished(store->self);
    gm__state_path(r->dir, path, sizeof path);
    return gm_path_exists(path);
}

gm_status gm__state_remove(const gm__run *r, gm_error *err) {
    char path[1024];
    const gm_train_store *store = r->settings->store;
    if (store) return store->finish(store->self, err);
    gm__state_path(r->dir, path, sizeof path);
    unlink(path);
    return GM_OK;
}

// A tensor of exactly this type and length.
static const void *need(const gm_tensor_file *f, const char *path, const char *name, gm_dtype type, uint64_t count,
                        gm_error *err) {
    const gm_tensor_info *t = gm_tensor_find(f, name);
    if (t && t->type == type && t->rank == 1 && t->dims[0] == count) return t->data;
    gm_fail(err, GM_ERR_FORMAT, "%.120s: '%s' is missing or not %llu elements of type %s: not a state of this run; "
            "remove it to start again", path, name, (unsigned long long)count, gm_dtype_name(type));
    return NULL;
}

// The parameters of a big buffer, each with its own type and shape.
static gm_status need_buffer(const gm_tensor_file *f, const char *path, const gm_graph *g, const char *name, float *to,
                             gm_error *err) {
    for (int i = 0; i < g->params; i++) {
        const gm_param *p = &g->param[i];
        char full[MOST_NAME];
        snprintf(full, sizeof full, "%s/%s", name, p->name);
        const gm_tensor_info *t = gm_tensor_find(f, full);
        bool same = t && t->type == GM_F32 && t->rank == p->rank;
        for (int d = 0; same && d < p->rank; d++) same = t->dims[d] == (uint64_t)p->dims[d];
        if (!same)
            return gm_fail(err, GM_ERR_FORMAT, "%.100s: '%.100s' is missing or has another shape: not a state of this run; "
                           "remove it to start again", path, full);
        gm_param_import(p, t->data, to + p->offset);
    }
    return GM_OK;
}

// The first line in which the settings differ.
static gm_status differs(const char *path, const char *saved, const char *wanted, gm_error *err) {
    while (*saved && *wanted) {
        size_t a = strcspn(saved, "\n"), b = strcspn(wanted, "\n");
        if (a != b || memcmp(saved, wanted, a) != 0)
            return gm_fail(err, GM_ERR_ARGUMENT, "%.80s was written with %.*s, now it is %.*s: resume with the same "
                           "settings, or train in another folder", path, (int)gm_min((int)a, 50), saved,
                           (int)gm_min((int)b, 50), wanted);
        saved += a + (saved[a] == '\n');
        wanted += b + (wanted[b] == '\n');
    }
    return gm_fail(err, GM_ERR_ARGUMENT, "%.80s was written by another version of the settings: train in another folder",
                   path);
}

// The buffers that the run has.
static gm_status read_buffers(gm__run *r, const gm_tensor_file *f, const char *path, gm_error *err) {
    gm_status status = GM_OK;
    float *const to[] = {r->live.params, r->live.m, r->live.v, r->live.ema};
    for (int i = 0; i < (int)(sizeof to / sizeof *to) && status == GM_OK; i++)
        if (to[i]) status = need_buffer(f, path, r->model->graph, buffer_name[i], to[i], err);
    return status;
}

static gm_status read_teacher(gm__run *r, const gm_tensor_file *f, const char *path, gm_error *err) {
    const gm_graph *g = r->model->graph;
    char first[MOST_NAME];
    snprintf(first, sizeof first, "teacher/%s", g->param[0].name);
    if (!gm_tensor_find(f, first)) return GM_OK;
    gm_status status = need_buffer(f, path, g, "teacher", r->live.params, err); // is overwritten later: room for a moment
    return status == GM_OK ? gm__teacher_take(r, r->live.params, err) : status;
}

static gm_status read_state(gm__run *r, const gm_tensor_file *f, const char *path, gm_error *err) {
    char text[4096];
    const char *saved = gm_tensor_meta(f, "settings");
    gm_status status = gm__settings_text(r->settings, r->type, text, sizeof text, err);
    if (status != GM_OK) return status;
    if (!saved) return gm_fail(err, GM_ERR_FORMAT, "%.160s is not a training state", path);
    if (strcmp(saved, text) != 0) return differs(path, saved, text, err);
    const void *data = need(f, path, "marks", GM_I64, MARKS, err);
    const void *history = data ? need(f, path, "losses", GM_F32, GM__GUARD_WINDOW, err) : NULL;
    if (!history) return GM_ERR_FORMAT;
    int64_t marks[MARKS];
    float losses[GM__GUARD_WINDOW];
    memcpy(marks, data, sizeof marks);
    memcpy(losses, history, sizeof losses);
    if (marks[0] != VERSION || marks[1] != (int64_t)r->context.steps || marks[2] < 0 || marks[2] > marks[1] ||
        marks[6] < 0 || marks[6] >= r->context.phases || marks[7] < 0 || marks[7] > GM__GUARD_WINDOW || marks[8] < 0 ||
        marks[8] >= GM__GUARD_WINDOW)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s does not belong to this run (step %lld of %lld, here of %llu)", path,
                       (long long)marks[2], (long long)marks[1], (unsigned long long)r->context.steps);
    unpack(marks, losses, &r->marks);
    if (r->marks.phase > 0 && r->model->graph->params > 0 && (status = read_teacher(r, f, path, err)) != GM_OK) return status;
    return read_buffers(r, f, path, err);
}

gm_status gm__state_go_back(gm__run *r, gm_error *err) {
    gm_tensor_file *file = NULL;
    gm_status status = gm_tensor_file_parse(r->good->data, r->good->bytes, "the last good state", &file, err);
    if (status == GM_OK) status = read_buffers(r, file, "the last good state", err);
    gm_tensor_file_destroy(file);
    return status;
}

gm_status gm__state_load(gm__run *r, gm_error *err) {
    char path[1024];
    const gm_train_store *store = r->settings->store;
    gm_tensor_image *image = NULL;
    gm_tensor_file *file = NULL;
    gm__state_path(r->dir, path, sizeof path);
    if (!store && !gm_path_exists(path)) return gm_fail(err, GM_ERR_NOT_FOUND, "%.200s does not exist", path);
    if (store) snprintf(path, sizeof path, "the newest checkpoint of %.900s", r->dir);
    gm_status status = store ? store->load(store->self, &image, err) : gm_tensor_image_read(path, &image, err);
    if (status == GM_OK) status = gm_tensor_file_parse(image->data, image->bytes, path, &file, err);
    if (status == GM_OK) status = read_state(r, file, path, err);
    gm_tensor_file_destroy(file);
    gm_tensor_image_release(image);
    return status == GM_OK ? gm__state_take(r, err) : status;
}
