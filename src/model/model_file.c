// SPDX-License-Identifier: Apache-2.0
// model: the model file (docs/format-model.md): safetensors with the preset, its settings and the norm statistics. The
// network is rebuilt from validated settings; then the file's tensors must match it exactly.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/norms_file.h"

#define FORMAT "gamut-model"
#define VERSION "2" // 1, whose statistics are not shared, is read too

// ---------------------------------------------------------------------------------------------
// What the file says about the space, to be compared when it is read: a preset may change between versions.
static char *space_text(const gm_space *space) {
    enum { KNOB_BYTES = 24 + GM_MAX_VALUES * 18 + 16 };
    size_t size = (size_t)space->knobs * KNOB_BYTES + 1, used = 0;
    char *text = gm_alloc(size, 1);
    for (int k = 0; text && k < space->knobs; k++) {
        const gm_knob *knob = &space->knob[k];
        used += (size_t)snprintf(text + used, size - used, "%s%s=", k ? " " : "", knob->name);
        for (int v = 0; v < knob->count; v++)
            used += (size_t)snprintf(text + used, size - used, "%s%.9g", v ? "," : "", knob->values[v]);
        if (knob->gate_knob >= 0)
            used += (size_t)snprintf(text + used, size - used, "@%s>=%d", space->knob[knob->gate_knob].name,
                                     knob->gate_min);
    }
    return text;
}

// One row a setting: key, place, kind, so that writing and reading cannot differ.
typedef struct setting {
    const char *key;
    size_t offset;
    enum { WHOLE, REAL, REAL32, FLAG } kind;
} setting;
static const setting settings_rows[] = {
    {"classes", offsetof(gm_model_settings, classes), WHOLE},
    {"channels", offsetof(gm_model_settings, channels), WHOLE},
    {"resolution", offsetof(gm_model_settings, resolution), WHOLE},
    {"width", offsetof(gm_model_settings, width), REAL},
    {"transform", offsetof(gm_model_settings, transform), FLAG},
    {"single_resolution", offsetof(gm_model_settings, single_resolution), FLAG},
    {"kernel_fixed", offsetof(gm_model_settings, kernel_fixed), WHOLE},
    {"dropout", offsetof(gm_model_settings, dropout), REAL32},
    {"zero_gamma", offsetof(gm_model_settings, zero_gamma), FLAG},
};
enum { SETTINGS = sizeof settings_rows / sizeof settings_rows[0] };

static double setting_get(const gm_model_settings *s, const setting *row) {
    const char *place = (const char *)s + row->offset;
    switch (row->kind) {
    case WHOLE: return *(const int *)(const void *)place;
    case REAL: return *(const double *)(const void *)place;
    case REAL32: return (double)*(const float *)(const void *)place;
    case FLAG: return *(const bool *)(const void *)place ? 1 : 0;
    }
    return 0;
}

static void setting_put(gm_model_settings *s, const setting *row, double v) {
    char *place = (char *)s + row->offset;
    switch (row->kind) {
    case WHOLE: *(int *)(void *)place = (int)v; break;
    case REAL: *(double *)(void *)place = v; break;
    case REAL32: *(float *)(void *)place = (float)v; break;
    case FLAG: *(bool *)(void *)place = v != 0; break;
    }
}

// ---------------------------------------------------------------------------------------------
// Writing
static gm_status put_number(gm_tensor_writer *w, const char *key, double v, gm_error *err) {
    char text[32];
    snprintf(text, sizeof text, "%.17g", v);
    return gm_tensor_writer_meta(w, key, text, err);
}

static gm_status put_metadata(gm_tensor_writer *w, const gm_model *m, gm_error *err) {
    gm_status status = gm_tensor_writer_meta(w, "format", FORMAT, err);
    if (!status) status = gm_tensor_writer_meta(w, "version", VERSION, err);
    if (!status) status = gm_tensor_writer_meta(w, "preset", m->preset, err);
    for (int i = 0; i < SETTINGS && !status; i++)
        status = put_number(w, settings_rows[i].key, setting_get(&m->settings, &settings_rows[i]), err);
    // files from before this key have the usual value, so only another one is said
    if (!status && m->settings.norm_eps != GM__NORM_EPS) status = put_number(w, "norm_eps", (double)m->settings.norm_eps, err);
    for (int c = 0; c < m->graph->input_channels && !status; c++) {
        char key[24];
        snprintf(key, sizeof key, "input_mean.%d", c);
        status = put_number(w, key, (double)m->input_mean[c], err);
        snprintf(key, sizeof key, "input_std.%d", c);
        if (!status) status = put_number(w, key, (double)m->input_std[c], err);
    }
    if (!status) status = gm_tensor_writer_meta(w, "data", m->data, err);
    if (status) return status;
    char *space = space_text(&m->graph->space);
    if (!space) return gm_fail(err, GM_ERR_MEMORY, "no memory to describe the space of %s", m->preset);
    status = gm_tensor_writer_meta(w, "space", space, err);
    gm_free(space);
    return status;
}

gm_status gm__check_finite(const float *v, size_t count, const char *name, gm_error *err) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(v[i]))
            return gm_fail(err, GM_ERR_NUMERIC, "model not written: element %zu of %s is %g (training diverged?)", i, name,
                           (double)v[i]);
    return GM_OK;
}

// Copies of the weights in the file's order; they must live until it is committed.
static gm_status add_params(gm_tensor_writer *w, const gm_model *m, float **copies, gm_error *err) {
    const gm_graph *g = m->graph;
    *copies = gm_alloc(g->floats, sizeof **copies);
    if (!*copies) return gm_fail(err, GM_ERR_MEMORY, "no memory to write %zu parameters", g->floats);
    float *rows = *copies;
    gm_status status = GM_OK;
    for (int i = 0; i < g->params && !status; i++) {
        const gm_param *param = &g->param[i];
        uint64_t dims[4];
        for (int d = 0; d < 4; d++) dims[d] = (uint64_t)param->dims[d];
        gm_param_export(param, m->params + param->offset, rows);
        status = gm__check_finite(rows, gm_param_elements(param), param->name, err);
        if (!status) status = gm_tensor_writer_add(w, param->name, GM_F32, param->rank, dims, rows, err);
        rows += gm_param_elements(param);
    }
    return status;
}

gm_status gm_model_save(const gm_model *m, const char *path, gm_error *err) {
    gm_tensor_writer *w = NULL;
    gm__norms_parts norms = {0};
    float *rows = NULL;
    gm_status status = gm_tensor_writer_create(&w, err);
    if (!status) status = put_metadata(w, m, err);
    if (!status) status = add_params(w, m, &rows, err);
    if (!status) status = gm__norms_write(w, m, &norms, err);
    if (!status) {
        status = gm_tensor_writer_commit(w, path, err); // frees w in every case
        w = NULL;
    }
    gm_tensor_writer_destroy(w);
    gm__norms_parts_fini(&norms);
    gm_free(rows);
    return status;
}

// ---------------------------------------------------------------------------------------------
// Reading
static gm_status get_text(const gm__reading *r, const char *key, const char **out) {
    *out = gm_tensor_meta(r->file, key);
    return *out ? GM_OK
                : gm_fail(r->err, GM_ERR_FORMAT, "%s: metadata '%s' is missing: not a Gamut model file, or damaged",
                          r->path, key);
}

static gm_status get_number(const gm__reading *r, const char *key, double least, double most, bool whole, double *out) {
    const char *text;
    gm_status status = get_text(r, key, &text);
    if (status) return status;
    char *end = NULL;
    *out = strtod(text, &end);
    // strtod also takes hexadecimal, names and blanks; the file has none of them
    if (text[0] == '\0' || *end != '\0' || strspn(text, "0123456789+-.e") != strlen(text) || !(*out >= least) ||
        !(*out <= most) || (whole && *out != floor(*out)))
        return gm_fail(r->err, GM_ERR_FORMAT, "%s: metadata %s='%.20s' is not a%s number from %g to %g", r->path, key,
                       text, whole ? " whole" : "", least, most);
    return GM_OK;
}

static gm_status get_identity(gm__reading *r, const char **preset, gm_model_settings *s) {
    const char *format, *version;
    gm_status status = get_text(r, "format", &format);
    if (!status) status = get_text(r, "version", &version);
    if (!status && strcmp(format, FORMAT) != 0)
        status = gm_fail(r->err, GM_ERR_FORMAT, "%s: format '%.20s' is not " FORMAT, r->path, format);
    if (!status && strcmp(version, VERSION) != 0 && strcmp(version, "1") != 0)
        status = gm_fail(r->err, GM_ERR_UNSUPPORTED, "%s: model format version %.20s, this program reads 1 and " VERSION,
                         r->path, version);
    if (!status) r->version = version[0] - '0';
    if (!status) status = get_text(r, "preset", preset);
    *s = gm_model_settings_default();
    for (int i = 0; i < SETTINGS && !status; i++) {
        const setting *row = &settings_rows[i];
        double v = 0;
        bool whole = row->kind == WHOLE || row->kind == FLAG;
        status = get_number(r, row->key, row->kind == FLAG ? 0 : -1e6, row->kind == FLAG ? 1 : 1e6, whole, &v);
        if (!status) setting_put(s, row, v);
    }
    double eps = (double)GM__NORM_EPS;
    if (!status && gm_tensor_meta(r->file, "norm_eps")) status = get_number(r, "norm_eps", 1e-12, 1, false, &eps);
    s->norm_eps = (float)eps;
    return status;
}

static gm_status get_inputs(const gm__reading *r, gm_model *m) {
    gm_status status = GM_OK;
    for (int c = 0; c < m->graph->input_channels && !status; c++) {
        char key[24];
        double v = 0;
        snprintf(key, sizeof key, "input_mean.%d", c);
        status = get_number(r, key, -1e6, 1e6, false, &v);
        m->input_mean[c] = (float)v;
        snprintf(key, sizeof key, "input_std.%d", c);
        if (!status) status = get_number(r, key, 1e-6, 1e6, false, &v);
        m->input_std[c] = (float)v;
    }
    const char *data = NULL;
    if (!status) status = get_text(r, "data", &data);
    if (!status && strlen(data) >= sizeof m->data)
        status = gm_fail(r->err, GM_ERR_FORMAT, "%s: metadata data: the name is longer than %zu bytes", r->path,
                         sizeof m->data - 1);
    if (!status) snprintf(m->data, sizeof m->data, "%s", data);
    return status;
}

static gm_status check_space(const gm__reading *r, const gm_model *m) {
    const char *said;
    gm_status status = get_text(r, "space", &said);
    if (status) return status;
    char *ours = space_text(&m->graph->space);
    if (!ours) return gm_fail(r->err, GM_ERR_MEMORY, "%s: no memory to compare its space", r->path);
    if (strcmp(said, ours) != 0)
        status = gm_fail(r->err, GM_ERR_UNSUPPORTED,
                         "%s: its knobs are not those of preset %s in this version: read it with the version that wrote it",
                         r->path, m->preset);
    gm_free(ours);
    return status;
}

gm_status gm__read_tensor(const gm__reading *r, const char *name, gm_dtype type, int rank, const uint64_t *dims,
                            const void **data) {
    const gm_tensor_info *t = gm_tensor_find(r->file, name);
    if (!t) return gm_fail(r->err, GM_ERR_FORMAT, "%s: tensor %s is missing", r->path, name);
    bool same = t->type == type && t->rank == rank;
    for (int d = 0; same && d < rank; d++) same = t->dims[d] == dims[d];
    if (!same)
        return gm_fail(r->err, GM_ERR_FORMAT, "%s: tensor %s does not have the type and shape that preset and settings need",
                       r->path, name);
    *data = t->data;
    return GM_OK;
}

gm_status gm__check_values(gm__reading *r, const char *name, const float *v, size_t count, bool variance) {
    bool large = false;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(v[i]) || (variance && v[i] < 0))
            return gm_fail(r->err, GM_ERR_FORMAT, "%s: tensor %s: element %zu is %g", r->path, name, i, (double)v[i]);
        large |= fabsf(v[i]) > 1e6f;
    }
    if (large && r->large++ == 0)
        gm_log(GM_LOG_WARN, "%s: tensor %s, perhaps others, has values above 1e6 (training diverged?)", r->path, name);
    return GM_OK;
}

static gm_status get_param(const gm__reading *r, const gm_param *p, const void **data) {
    uint64_t dims[4];
    for (int d = 0; d < 4; d++) dims[d] = (uint64_t)p->dims[d];
    return gm__read_tensor(r, p->name, GM_F32, p->rank, dims, data);
}

// Before anything of the model's size is allocated: settings of a small file must not ask for a huge network.
static gm_status check_shapes(const gm__reading *r, const char *preset, const gm_model_settings *settings) {
    gm_graph *g = NULL;
    gm_status status = gm_model_graph(preset, settings, &g, r->err);
    const void *data;
    for (int i = 0; !status && i < g->params; i++) status = get_param(r, &g->param[i], &data);
    gm_graph_destroy(g);
    return status;
}

static gm_status get_params(gm__reading *r, gm_model *m) {
    gm_status status = GM_OK;
    for (int i = 0; i < m->graph->params && !status; i++) {
        const gm_param *p = &m->graph->param[i];
        const void *data;
        status = get_param(r, p, &data);
        if (!status) status = gm__check_values(r, p->name, data, gm_param_elements(p), false);
        if (!status) gm_param_import(p, data, m->params + p->offset);
    }
    return status;
}

gm_status gm_model_from_tensors(const gm_tensor_file *file, const char *path, gm_model **out, gm_error *err) {
    gm__reading r = {.path = path, .file = file, .err = err};
    const char *preset = NULL;
    gm_model_settings settings;
    gm_model *m = NULL;
    *out = NULL;
    gm_status status = get_identity(&r, &preset, &settings);
    if (!status) status = check_shapes(&r, preset, &settings);
    if (!status) status = gm_model_create(preset, &settings, &m, err);
    if (!status) status = check_space(&r, m);
    if (!status) status = get_inputs(&r, m);
    if (!status) status = get_params(&r, m);
    if (!status) status = gm__norms_read(&r, m);
    if (status) gm_model_destroy(m);
    else *out = m;
    return status;
}

static struct {
    uint8_t magic[8];
    gm_model_unpack *unpack; // NULL: none
} container;

void gm_model_container(const uint8_t magic[8], gm_model_unpack *unpack) {
    memcpy(container.magic, magic, sizeof container.magic);
    container.unpack = unpack;
}

static bool is_container(const char *path) {
    uint8_t first[sizeof container.magic];
    FILE *f = container.unpack ? fopen(path, "rb") : NULL;
    bool same = f && fread(first, 1, sizeof first, f) == sizeof first && memcmp(first, container.magic, sizeof first) == 0;
    if (f) fclose(f);
    return same;
}

gm_status gm_model_load(const char *path, gm_model **out, gm_error *err) {
    gm_tensor_file *file = NULL;
    uint8_t *image = NULL;
    size_t bytes = 0;
    *out = NULL;
    gm_status status = GM_OK;
    if (is_container(path)) {
        status = container.unpack(path, &image, &bytes, err);
        if (!status) status = gm_tensor_file_parse(image, bytes, path, &file, err);
    } else {
        status = gm_tensor_file_read(path, &file, err);
    }
    if (!status) status = gm_model_from_tensors(file, path, out, err);
    gm_tensor_file_destroy(file);
    gm_free(image);
    return status;
}
