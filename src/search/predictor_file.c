// SPDX-License-Identifier: Apache-2.0
// The predictor's file: a safetensors file with a "layerN.weight" (outputs, inputs) and, where there is one, a "layerN.bias"
// a layer, and metadata that says which inputs it reads.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <gamut/tensor.h>

#include "search/predictor.h"

static const char format_name[] = "gamut-predictor";
static const char *const encoding_names[] = {"space", "ofa-mbv3", "ofa-resnet50"};
enum { ENCODINGS = 3 };

gm_status gm_predictor_save(const gm_predictor *p, const char *path, gm_error *err) {
    char base[40];
    snprintf(base, sizeof base, "%.17g", p->base);
    float *rows = gm_alloc(p->graph->floats, sizeof *rows); // padding makes floats at least the elements
    gm_tensor_writer *w = NULL;
    gm_status status = rows ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to write a predictor");
    if (!status) status = gm_tensor_writer_create(&w, err);
    if (!status) status = gm_tensor_writer_meta(w, "format", format_name, err);
    if (!status) status = gm_tensor_writer_meta(w, "version", "1", err);
    if (!status) status = gm_tensor_writer_meta(w, "encoding", encoding_names[p->encoding], err);
    if (!status) status = gm_tensor_writer_meta(w, "base", base, err);
    size_t used = 0;
    for (int i = 0; i < p->graph->params && !status; i++) {
        const gm_param *param = &p->graph->param[i];
        const uint64_t dims[2] = {(uint64_t)param->dims[0], (uint64_t)param->dims[1]};
        gm_param_export(param, p->params + param->offset, rows + used);
        status = gm_tensor_writer_add(w, param->name, GM_F32, param->rank, dims, rows + used, err);
        used += gm_param_elements(param);
    }
    if (!status) status = gm_tensor_writer_commit(w, path, err);
    else gm_tensor_writer_destroy(w);
    gm_free(rows);
    return status;
}

static gm_status read_meta(const gm_tensor_file *f, const char *path, gm_encoding *encoding, double *base, gm_error *err) {
    const char *format = gm_tensor_meta(f, "format"), *version = gm_tensor_meta(f, "version");
    const char *name = gm_tensor_meta(f, "encoding"), *number = gm_tensor_meta(f, "base");
    if (!format || strcmp(format, format_name) != 0)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: this is no predictor file (format is not %s)", path, format_name);
    if (!version || strcmp(version, "1") != 0)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "%.120s: version %.20s of the predictor file; this build reads 1", path,
                       version ? version : "none");
    int e = 0;
    while (e < ENCODINGS && (!name || strcmp(encoding_names[e], name) != 0)) e++;
    if (e == ENCODINGS)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: encoding '%.20s' is not space, ofa-mbv3 or ofa-resnet50", path,
                       name ? name : "");
    char *end = NULL;
    *base = number && number[0] ? strtod(number, &end) : NAN;
    if (!isfinite(*base) || *end != '\0')
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: base '%.40s' is not a number", path, number ? number : "");
    *encoding = (gm_encoding)e;
    return GM_OK;
}

static gm_status read_layers(const gm_tensor_file *f, const char *path, gm_predictor_layer *layer, int *layers, gm_error *err) {
    int tensors = 0;
    for (*layers = 0; *layers < GM__PREDICTOR_LAYERS; ++*layers) {
        char name[32];
        snprintf(name, sizeof name, "layer%d.weight", *layers);
        const gm_tensor_info *w = gm_tensor_find(f, name);
        if (!w) break;
        snprintf(name, sizeof name, "layer%d.bias", *layers);
        const gm_tensor_info *b = gm_tensor_find(f, name);
        if (w->type != GM_F32 || w->rank != 2 || w->dims[0] > 65536 || w->dims[1] > 65536 ||
            (b && (b->type != GM_F32 || b->rank != 1 || b->dims[0] != w->dims[0])))
            return gm_fail(err, GM_ERR_FORMAT, "%.120s: layer %d has a wrong type or shape", path, *layers);
        layer[*layers] =
            (gm_predictor_layer){(int)w->dims[1], (int)w->dims[0], w->data, b ? b->data : NULL};
        tensors += b ? 2 : 1;
    }
    if (tensors != gm_tensor_count(f) || tensors == 0)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: %d tensors, of which %d are layers of a predictor", path,
                       gm_tensor_count(f), tensors);
    return GM_OK;
}

gm_status gm_predictor_load(const char *path, const gm_space *space, gm_predictor **out, gm_error *err) {
    gm_tensor_file *f = NULL;
    gm_predictor_layer layer[GM__PREDICTOR_LAYERS];
    gm_encoding encoding = GM_ENCODING_SPACE;
    gm_error why = {0};
    double base = 0;
    int layers = 0;
    *out = NULL;
    gm_status status = gm_tensor_file_read(path, &f, err);
    if (!status) status = read_meta(f, path, &encoding, &base, err);
    if (!status) status = read_layers(f, path, layer, &layers, err);
    if (!status) {
        status = gm_predictor_create_from_tensors(encoding, space, layers, layer, base, out, &why);
        if (status) gm_fail(err, status, "%.90s: %.150s", path, why.text);
    }
    gm_tensor_file_destroy(f);
    return status;
}
