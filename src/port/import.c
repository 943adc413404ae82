// SPDX-License-Identifier: Apache-2.0
// port: a published supernet (specs: training 6.2) as a model. Names of file and model meet in their plain spelling, so that
// elastic and plain files both fit; every parameter is asked for and nothing may be left over.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <gamut/port.h>
#include <jansson.h>

#include "port/names.h"

enum { MAX_NAME = 256, LISTED = 3 };

typedef struct named {
    char name[MAX_NAME + 1]; // plain
    const gm_tensor_info *tensor;
    bool taken;
} named;

typedef struct source {
    const char *path;
    gm_error *err;
    gm_torch_file *torch;
    gm_tensor_file *safe;
    named *tensor; // by name; counters of batches left out
    int tensors;
} source;

// ---------------------------------------------------------------------------------------------
// The file
static int by_name(const void *a, const void *b) { return strcmp(((const named *)a)->name, ((const named *)b)->name); }

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static const gm_tensor_info *at(const source *s, int i) { return s->torch ? gm_torch_at(s->torch, i) : gm_tensor_at(s->safe, i); }

// A wrapper for several devices puts "module." before every name.
static size_t common_prefix(const source *s, int count) {
    static const char prefix[] = "module.";
    for (int i = 0; i < count; i++)
        if (strncmp(at(s, i)->name, prefix, sizeof prefix - 1) != 0) return 0;
    return sizeof prefix - 1;
}

static gm_status list_tensors(source *s) {
    int count = s->torch ? gm_torch_count(s->torch) : gm_tensor_count(s->safe);
    size_t skip = common_prefix(s, count);
    s->tensor = gm_alloc((size_t)count + 1, sizeof *s->tensor);
    if (!s->tensor) return gm_fail(s->err, GM_ERR_MEMORY, "%s: no memory to import it", s->path);
    for (int i = 0; i < count; i++) {
        const gm_tensor_info *t = at(s, i);
        if (ends_with(t->name, "num_batches_tracked")) continue; // how long the statistics were averaged
        gm__name_plain(t->name + skip, s->tensor[s->tensors].name, sizeof s->tensor->name);
        s->tensor[s->tensors++].tensor = t;
    }
    if (s->tensors) qsort(s->tensor, (size_t)s->tensors, sizeof *s->tensor, by_name);
    for (int i = 1; i < s->tensors; i++)
        if (by_name(&s->tensor[i - 1], &s->tensor[i]) == 0)
            return gm_fail(s->err, GM_ERR_FORMAT, "%s: '%s' and '%s' are the same parameter", s->path,
                           s->tensor[i - 1].tensor->name, s->tensor[i].tensor->name);
    return GM_OK;
}

static gm_status open_source(source *s) {
    static const size_t most = (size_t)16 << 30;
    uint8_t *data = NULL;
    size_t bytes = 0;
    gm_status status = gm_file_read(s->path, most, &data, &bytes, s->err);
    // safetensors starts with the length of its header (below 2^27) and '{'
    bool safe = bytes > 8 && data[8] == '{' && data[4] == 0 && data[5] == 0 && data[6] == 0 && data[7] == 0;
    if (!status && !safe) status = gm_torch_file_parse(data, bytes, s->path, &s->torch, s->err);
    gm_free(data);
    if (!status && safe) status = gm_tensor_file_read(s->path, &s->safe, s->err);
    return status ? status : list_tensors(s);
}

static named *find(const source *s, const char *name) {
    named key;
    gm__name_plain(name, key.name, sizeof key.name);
    return s->tensors ? bsearch(&key, s->tensor, (size_t)s->tensors, sizeof *s->tensor, by_name) : NULL;
}

// ---------------------------------------------------------------------------------------------
// What the file says about the model
static void learn_settings(const source *s, const char *preset, gm_model_settings *settings) {
    for (int i = 0; i < s->tensors; i++) settings->transform |= ends_with(s->tensor[i].name, "_matrix");
    // The classes are the rows of the last node's weight, the channels of the images the inputs of the first one's.
    gm_graph *g = NULL;
    if (gm_model_graph(preset, settings, &g, NULL) != GM_OK) return;
    const gm_node *ends[] = {&g->node[1], &g->node[g->nodes - 1]};
    int *const said[] = {&settings->channels, &settings->classes};
    const uint64_t least[] = {1, 2}, most[] = {4, 65536};
    for (int i = 0; i < 2; i++) {
        const named *weight = ends[i]->param[0] >= 0 ? find(s, g->param[ends[i]->param[0]].name) : NULL;
        const uint64_t dim = weight && weight->tensor->rank >= 2 ? weight->tensor->dims[1 - i] : 0;
        if (*said[i] == 0 && dim >= least[i] && dim <= most[i]) *said[i] = (int)dim;
    }
    gm_graph_destroy(g);
}

// ---------------------------------------------------------------------------------------------
// Complaints: how many there are, and the first few.
typedef struct complaints {
    int count;
    char text[140];
} complaints;

static void complain(complaints *c, const char *what) {
    size_t used = strlen(c->text);
    if (c->count++ < LISTED) snprintf(c->text + used, sizeof c->text - used, "%s%s", used ? ", " : "", what);
}

static bool same_shape(const gm_param *p, const gm_tensor_info *t) {
    bool same = p->rank == t->rank;
    for (int d = 0; same && d < p->rank; d++) same = t->dims[d] == (uint64_t)p->dims[d];
    return same;
}

static void show_shape(const gm_param *p, const gm_tensor_info *t, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%.60s (", p->name);
    for (int d = 0; d < t->rank && used + 1 < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%llu", d ? "x" : "", (unsigned long long)t->dims[d]);
    if (used + 1 < size) used += (size_t)snprintf(text + used, size - used, ", not ");
    for (int d = 0; d < p->rank && used + 1 < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%d", d ? "x" : "", p->dims[d]);
    if (used + 1 < size) snprintf(text + used, size - used, ")");
}

// Running statistics belong to a norm of the model.
static void claim_statistics(const source *s, const gm_graph *g, const char *suffix) {
    const gm_op *norm = gm_op_find("norm");
    for (int i = 0; i < g->nodes; i++) {
        char name[MAX_NAME];
        if (g->node[i].op != norm) continue;
        snprintf(name, sizeof name, "%s%s", g->node[i].name, suffix);
        named *t = find(s, name);
        if (t) t->taken = true;
    }
}

// Every parameter has its tensor, of its shape, and every tensor its parameter. Nothing of the model's size is made before.
static gm_status check_tensors(source *s, const gm_graph *g, const char *preset) {
    complaints missing = {0}, misshapen = {0}, extra = {0};
    for (int i = 0; i < g->params; i++) {
        const gm_param *p = &g->param[i];
        named *t = find(s, p->name);
        char text[120];
        if (!t && ends_with(p->name, "_matrix")) continue; // stays the identity
        if (!t) complain(&missing, p->name);
        else if (!same_shape(p, t->tensor) || (t->tensor->type != GM_F32 && t->tensor->type != GM_BF16)) {
            show_shape(p, t->tensor, text, sizeof text);
            complain(&misshapen, text);
        }
        if (t) t->taken = true;
    }
    claim_statistics(s, g, ".running_mean");
    claim_statistics(s, g, ".running_var");
    for (int i = 0; i < s->tensors; i++)
        if (!s->tensor[i].taken) complain(&extra, s->tensor[i].tensor->name);
    if (missing.count)
        return gm_fail(s->err, GM_ERR_FORMAT, "%s: %d tensors of %s are missing (another family?): %s", s->path, missing.count, preset, missing.text);
    if (misshapen.count)
        return gm_fail(s->err, GM_ERR_FORMAT, "%s: %d tensors do not have the shape that %s needs (another width?): %s", s->path,
                       misshapen.count, preset, misshapen.text);
    if (extra.count)
        return gm_fail(s->err, GM_ERR_FORMAT, "%s: %d tensors are not in %s: %s", s->path, extra.count, preset, extra.text);
    return GM_OK;
}

// ---------------------------------------------------------------------------------------------
// Values
static gm_status get_floats(const source *s, const gm_tensor_info *t, bool variance, float *rows) {
    size_t count = (size_t)(t->bytes / gm_dtype_size(t->type));
    for (size_t i = 0; i < count; i++) {
        rows[i] = t->type == GM_F32 ? ((const float *)t->data)[i] : gm_bf16_to_f32(((const gm_bf16 *)t->data)[i]);
        if (!isfinite(rows[i]) || (variance && rows[i] < 0))
            return gm_fail(s->err, GM_ERR_FORMAT, "%s: tensor %s: element %zu is %g", s->path, t->name, i, (double)rows[i]);
    }
    return GM_OK;
}

static gm_status take_params(const source *s, gm_model *m, gm_import_report *report) {
    const gm_graph *g = m->graph;
    float *rows = gm_alloc(g->floats, sizeof *rows);
    if (!rows) return gm_fail(s->err, GM_ERR_MEMORY, "%s: no memory to import it", s->path);
    gm_status status = GM_OK;
    for (int i = 0; i < g->params && !status; i++) {
        const gm_param *p = &g->param[i];
        const named *t = find(s, p->name);
        report->params += gm_param_elements(p);
        if (!t) continue;
        status = get_floats(s, t->tensor, false, rows);
        if (!status) gm_param_import(p, rows, m->params + p->offset);
        report->tensors++;
    }
    gm_free(rows);
    return status;
}

// The statistics of one norm, mean or variance; false: the file does not have them as a vector of all channels.
static bool take_statistic(const source *s, const gm_model *m, int node, const char *suffix, float *to, gm_status *status) {
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%s%s", m->graph->node[node].name, suffix);
    const named *t = find(s, name);
    const gm_param *gamma = &m->graph->param[m->graph->node[node].param[0]];
    if (!t || !same_shape(gamma, t->tensor) || (t->tensor->type != GM_F32 && t->tensor->type != GM_BF16)) return false;
    *status = get_floats(s, t->tensor, strcmp(suffix, ".running_var") == 0, to + m->norm_offset[node]);
    return true;
}

// Running averages of a supernet's file are those of its largest subnet, if of any.
static gm_status take_statistics(const source *s, gm_model *m, gm_import_report *report) {
    const gm_graph *g = m->graph;
    const gm_op *norm = gm_op_find("norm");
    gm_choice max = gm_choice_max(&g->space);
    gm_norm_entry *entry = NULL;
    gm_status status = gm_model_norms_add(m, &max, &entry, s->err);
    bool all = g->norms > 0;
    for (int i = 0; i < g->nodes && !status; i++) {
        if (g->node[i].op != norm) continue;
        all &= take_statistic(s, m, i, ".running_mean", entry->mean, &status);
        if (!status) all &= take_statistic(s, m, i, ".running_var", entry->var, &status);
    }
    if (status) return status;
    report->statistics = all;
    if (all) report->tensors += 2 * g->norms;
    else gm_model_norms_clear(m);
    return GM_OK;
}

// How the network saw its images: as an exported file says, else as the published networks saw ImageNet.
static bool said_inputs(const source *s, gm_model *m) {
    const char *text = s->safe ? gm_tensor_meta(s->safe, "net.config") : NULL;
    json_t *net = text ? json_loads(text, 0, NULL) : NULL, *mean = json_object_get(net, "mean"),
           *deviation = json_object_get(net, "std");
    const size_t channels = (size_t)m->graph->input_channels;
    bool said = json_array_size(mean) == channels && json_array_size(deviation) == channels;
    for (size_t c = 0; c < channels && said; c++) {
        double a = json_number_value(json_array_get(mean, c)), b = json_number_value(json_array_get(deviation, c));
        said = fabs(a) <= 1e6 && b >= 1e-6 && b <= 1e6;
        if (!said) break;
        m->input_mean[c] = (float)a;
        m->input_std[c] = (float)b;
    }
    const char *data = json_string_value(json_object_get(net, "data"));
    if (said && data && strlen(data) < sizeof m->data) snprintf(m->data, sizeof m->data, "%s", data);
    json_decref(net);
    return said;
}

static void set_inputs(const source *s, gm_model *m) {
    static const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
    if (said_inputs(s, m) || m->graph->input_channels != 3) return;
    for (int c = 0; c < 3; c++) {
        m->input_mean[c] = mean[c];
        m->input_std[c] = deviation[c];
    }
    snprintf(m->data, sizeof m->data, "imagenet");
}

gm_status gm_import(const char *path, const char *preset, const gm_model_settings *settings, gm_model **out,
                    gm_import_report *report, gm_error *err) {
    source s = {.path = path, .err = err};
    gm_import_report counted = {0};
    gm_model_settings complete = settings ? *settings : gm_model_settings_default();
    gm_graph *g = NULL;
    gm_model *m = NULL;
    *out = NULL;
    gm_status status = gm_model_graph(preset, &complete, &g, err); // an unknown family is said before a file is read
    gm_graph_destroy(g);
    g = NULL;
    if (!status) status = open_source(&s);
    if (!status) learn_settings(&s, preset, &complete);
    if (!status) status = gm_model_graph(preset, &complete, &g, err);
    if (!status) status = check_tensors(&s, g, preset);
    if (!status) status = gm_model_create(preset, &complete, &m, err);
    if (!status) {
        gm_model_init_params(m, 1); // identity matrices, where the file has none
        counted.transforms = complete.transform;
        set_inputs(&s, m);
        status = take_params(&s, m, &counted);
    }
    if (!status) status = take_statistics(&s, m, &counted);
    gm_graph_destroy(g);
    gm_free(s.tensor);
    gm_torch_file_destroy(s.torch);
    gm_tensor_file_destroy(s.safe);
    if (status) gm_model_destroy(m);
    else *out = m;
    if (report) *report = counted;
    return status;
}
