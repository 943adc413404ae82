// SPDX-License-Identifier: Apache-2.0
// port: a published supernet, or one subnet (specs: training 6.2), as a model. Names of file and model meet in what
// their spellings have in common, so that elastic and plain files both fit; every tensor of the subnet is asked for
// (the largest one is the whole supernet) and nothing may be left over.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <gamut/port.h>
#include <jansson.h>

#include "port/names.h"
#include "port/subnet_list.h"

enum { MAX_NAME = 256, LISTED = 3 };

typedef struct named {
    char name[MAX_NAME + 1]; // its key
    const gm_tensor_info *tensor;
    bool taken;
} named;

typedef struct source {
    const char *path;
    gm_error *err;
    gm_torch_file *torch;
    gm_tensor_file *safe;
    uint8_t *data; // the file's bytes, which safe looks into
    named *tensor; // by name; counters of batches left out
    int tensors;
} source;

// ---------------------------------------------------------------------------------------------
// The file
static int by_name(const void *a, const void *b) {
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static const gm_tensor_info *at(const source *s, int i) {
    return s->torch ? gm_torch_at(s->torch, i) : gm_tensor_at(s->safe, i);
}

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
        gm__name_key(t->name + skip, s->tensor[s->tensors].name, sizeof s->tensor->name);
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
    size_t bytes = 0;
    gm_status status = gm_file_read(s->path, most, &s->data, &bytes, s->err);
    if (status) return status;
    // safetensors starts with the length of its header (below 2^27) and '{'
    const uint8_t *d = s->data;
    if (bytes > 8 && d[8] == '{' && d[4] == 0 && d[5] == 0 && d[6] == 0 && d[7] == 0) {
        status = gm_tensor_file_parse(d, bytes, s->path, &s->safe, s->err);
    } else {
        status = gm_torch_file_parse(d, bytes, s->path, &s->torch, s->err);
        gm_free(s->data);
        s->data = NULL;
    }
    return status ? status : list_tensors(s);
}

static named *find(const source *s, const char *name) {
    named key;
    gm__name_key(name, key.name, sizeof key.name);
    return s->tensors ? bsearch(&key, s->tensor, (size_t)s->tensors, sizeof *s->tensor, by_name) : NULL;
}

// ---------------------------------------------------------------------------------------------
// What the file says about the model

// What the norms of an exported file add to variances; 0: not said.
static float said_eps(const source *s) {
    const char *text = s->safe ? gm_tensor_meta(s->safe, "net.config") : NULL;
    json_t *net = text ? json_loads(text, 0, NULL) : NULL, *node;
    size_t i;
    float eps = 0;
    json_array_foreach(json_object_get(net, "nodes"), i, node) {
        const char *op = json_string_value(json_object_get(node, "op"));
        if (op && strcmp(op, "norm") == 0) eps = (float)json_number_value(json_object_get(node, "eps"));
    }
    json_decref(net);
    return eps > 0 && eps <= 1 ? eps : 0;
}

static void learn_settings(const source *s, const char *preset, gm_model_settings *settings) {
    if (settings->norm_eps == 0) settings->norm_eps = said_eps(s);
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

static bool same_shape(const gm_subnet_tensor *p, const gm_tensor_info *t) {
    bool same = p->rank == t->rank && (t->type == GM_F32 || t->type == GM_BF16);
    for (int d = 0; same && d < p->rank; d++) same = t->dims[d] == p->dims[d];
    return same;
}

static void show_shape(const gm_subnet_tensor *p, const gm_tensor_info *t, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%.60s (", p->name);
    for (int d = 0; d < t->rank && used + 1 < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%llu", d ? "x" : "", (unsigned long long)t->dims[d]);
    if (used + 1 < size) used += (size_t)snprintf(text + used, size - used, ", not ");
    for (int d = 0; d < p->rank && used + 1 < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%llu", d ? "x" : "", (unsigned long long)p->dims[d]);
    if (used + 1 < size) snprintf(text + used, size - used, ")");
}

static gm_subnet_tensor matrix_of(const gm_param *p) {
    gm_subnet_tensor t = {.rank = p->rank, .dims = {(uint64_t)p->dims[0], (uint64_t)p->dims[1], 1, 1}};
    snprintf(t.name, sizeof t.name, "%s", p->name);
    return t;
}

// Every tensor of the subnet is there, of its shape, and nothing else. Nothing of the model's size is made before.
static gm_status check_tensors(source *s, const gm_subnet *list, const char *preset) {
    const gm_graph *g = list->model->graph;
    complaints missing = {0}, misshapen = {0}, extra = {0};
    char text[120];
    for (int i = 0; i < list->tensors + g->params; i++) {
        const bool matrix = i >= list->tensors;
        if (matrix && !ends_with(g->param[i - list->tensors].name, "_matrix")) continue;
        gm_subnet_tensor wanted = matrix ? matrix_of(&g->param[i - list->tensors]) : list->tensor[i];
        named *t = find(s, wanted.name);
        if (t) t->taken = true;
        if (t && !same_shape(&wanted, t->tensor)) {
            show_shape(&wanted, t->tensor, text, sizeof text);
            complain(&misshapen, text);
        }
        // without matrices kernels are cropped; without statistics the subnet is to be calibrated
        if (!t && !matrix && wanted.slot < GM_SUBNET_MEAN) complain(&missing, wanted.name);
    }
    for (int i = 0; i < s->tensors; i++)
        if (!s->tensor[i].taken) complain(&extra, s->tensor[i].tensor->name);
    if (missing.count)
        return gm_fail(s->err, GM_ERR_FORMAT, "%s: %d tensors of %s are missing (another family?): %s", s->path,
                       missing.count, preset, missing.text);
    if (misshapen.count)
        return gm_fail(s->err, GM_ERR_FORMAT, "%s: %d tensors do not have the shape that %s needs (another width?): %s",
                       s->path, misshapen.count, preset, misshapen.text);
    if (extra.count)
        return gm_fail(s->err, GM_ERR_FORMAT, "%s: %d tensors are not in %s: %s", s->path, extra.count, preset,
                       extra.text);
    return GM_OK;
}

// ---------------------------------------------------------------------------------------------
// Values
static gm_status get_floats(const source *s, const gm_tensor_info *t, bool variance, float *rows) {
    size_t count = (size_t)(t->bytes / gm_dtype_size(t->type));
    for (size_t i = 0; i < count; i++) {
        rows[i] = t->type == GM_F32 ? ((const float *)t->data)[i] : gm_bf16_to_f32(((const gm_bf16 *)t->data)[i]);
        if (!isfinite(rows[i]) || (variance && rows[i] < 0))
            return gm_fail(s->err, GM_ERR_FORMAT, "%s: tensor %s: element %zu is %g", s->path, t->name, i,
                           (double)rows[i]);
    }
    return GM_OK;
}

// The slice of a parameter that the subnet uses: prefixes, and the centre of the taps. whole and rows: room for the
// largest.
static gm_status take_slice(const source *s, gm_model *m, const gm_subnet_tensor *t, const gm_param *p, float *whole,
                            float *rows) {
    gm_status status = get_floats(s, find(s, t->name)->tensor, false, rows);
    const size_t side = (size_t)p->dims[2], width = (size_t)p->dims[3];
    const size_t top = (side - (size_t)t->dims[2]) / 2, left = (width - (size_t)t->dims[3]) / 2;
    memset(whole, 0, sizeof *whole * gm_param_elements(p));
    for (size_t o = 0; o < t->dims[0]; o++)
        for (size_t i = 0; i < t->dims[1]; i++)
            for (size_t y = 0; y < t->dims[2]; y++, rows += t->dims[3])
                memcpy(whole + ((o * (size_t)p->dims[1] + i) * side + y + top) * width + left, rows,
                       sizeof *whole * (size_t)t->dims[3]);
    if (!status) gm_param_import(p, whole, m->params + p->offset);
    return status;
}

static gm_status take_matrix(const source *s, gm_model *m, const gm_param *p, float *rows, gm_import_report *report) {
    const named *t = find(s, p->name);
    gm_status status = GM_OK;
    memset(rows, 0, sizeof *rows * gm_param_elements(p));
    for (int k = 0; k < p->dims[0]; k++) rows[k * p->dims[1] + k] = 1; // the identity, where the file has none
    if (t) status = get_floats(s, t->tensor, false, rows);
    if (!status) gm_param_import(p, rows, m->params + p->offset);
    report->tensors += t != NULL;
    report->params += gm_param_elements(p);
    return status;
}

static gm_status take_params(const source *s, gm_model *m, const gm_subnet *list, gm_import_report *report) {
    const gm_graph *g = m->graph;
    float *whole = gm_alloc(g->floats, sizeof *whole), *rows = gm_alloc(g->floats, sizeof *rows);
    gm_status status = whole && rows ? GM_OK : gm_fail(s->err, GM_ERR_MEMORY, "%s: no memory to import it", s->path);
    for (int i = 0; i < list->tensors && !status; i++) {
        const gm_subnet_tensor *t = &list->tensor[i];
        if (t->slot >= GM_SUBNET_MEAN) continue;
        status = take_slice(s, m, t, &g->param[g->node[t->node].param[t->slot]], whole, rows);
        report->tensors++;
        report->params += t->count;
    }
    for (int i = 0; i < g->params && !status; i++)
        if (ends_with(g->param[i].name, "_matrix")) status = take_matrix(s, m, &g->param[i], rows, report);
    gm_free(whole);
    gm_free(rows);
    return status;
}

// Running averages of a supernet's file are those of its largest subnet, if of any.
static gm_status take_statistics(const source *s, gm_model *m, const gm_subnet *list, gm_import_report *report) {
    const gm_graph *g = m->graph;
    gm_norm_entry *entry = NULL;
    bool all = g->norms > 0;
    for (int i = 0; i < list->tensors; i++)
        if (list->tensor[i].slot >= GM_SUBNET_MEAN) all = all && find(s, list->tensor[i].name);
    report->statistics = all;
    if (!all) return GM_OK;
    gm_status status = gm_model_norms_add(m, &list->choice, &entry, s->err);
    for (int i = 0; i < list->tensors && !status; i++) {
        const gm_subnet_tensor *t = &list->tensor[i];
        if (t->slot < GM_SUBNET_MEAN) continue;
        const bool variance = t->slot == GM_SUBNET_VAR;
        float *to = (variance ? entry->var : entry->mean) + m->norm_offset[t->node];
        status = get_floats(s, find(s, t->name)->tensor, variance, to);
        report->tensors++;
    }
    return status;
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

gm_import_settings gm_import_settings_default(void) {
    return (gm_import_settings){0};
}

static gm_status list_of(const gm_model *m, const char *choice, gm_subnet **out, gm_error *err) {
    gm_choice c = gm_choice_max(&m->graph->space);
    gm_status status = choice ? gm_choice_parse(&m->graph->space, choice, &c, err) : GM_OK;
    return status ? status : gm__subnet_list(m, &c, out, err);
}

gm_status gm_import(const char *path, const char *preset, const gm_import_settings *settings, gm_model **out,
                    gm_import_report *report, gm_error *err) {
    source s = {.path = path, .err = err};
    gm_import_report counted = {0};
    gm_import_settings complete = settings ? *settings : gm_import_settings_default();
    gm_model shape = {0}, *m = NULL; // shape: only its graph, before anything of its size is allocated
    gm_subnet *list = NULL;
    *out = NULL;
    gm_status status =
        gm_model_graph(preset, &complete.model, &shape.graph, err); // an unknown family: before a file is read
    gm_graph_destroy(shape.graph);
    shape.graph = NULL;
    if (!status) status = open_source(&s);
    if (!status) learn_settings(&s, preset, &complete.model);
    if (!status) status = gm_model_graph(preset, &complete.model, &shape.graph, err);
    if (!status) status = list_of(&shape, complete.choice, &list, err);
    if (!status) status = check_tensors(&s, list, preset);
    if (!status) status = gm_model_create(preset, &complete.model, &m, err);
    if (!status) {
        counted.transforms = complete.model.transform;
        set_inputs(&s, m);
        status = take_params(&s, m, list, &counted);
    }
    if (!status) status = take_statistics(&s, m, list, &counted);
    gm_subnet_destroy(list);
    gm_graph_destroy(shape.graph);
    gm_free(s.tensor);
    gm_torch_file_destroy(s.torch);
    gm_tensor_file_destroy(s.safe);
    gm_free(s.data);
    if (status)
        gm_model_destroy(m);
    else
        *out = m;
    if (report) *report = counted;
    return status;
}
