// SPDX-License-Identifier: Apache-2.0
#include "onnx/values.h"

#include <stdlib.h>
#include <string.h>

static bool fill(const Onnx__TensorProto *t, const char *name, value *v) {
    memset(v, 0, sizeof *v);
    snprintf(v->name, sizeof v->name, "%s", name ? name : "");
    if (t->n_dims > MAX_DIMS) return false;
    v->rank = (int)t->n_dims;
    v->count = 1;
    for (size_t i = 0; i < t->n_dims; i++) {
        // Sequences and optional values are other messages: read as tensors, they have any sizes.
        if (t->dims[i] < 0 || t->dims[i] > MAX_COUNT || v->count * (size_t)t->dims[i] > MAX_COUNT) return false;
        v->dims[i] = (int)t->dims[i];
        v->count *= (size_t)t->dims[i];
    }
    v->data = calloc(v->count ? v->count : 1, sizeof(float));
    v->is_float = t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    bool raw = t->has_raw_data;
    for (size_t i = 0; i < v->count; i++) {
        if (v->is_float && raw && t->raw_data.len == 4 * v->count) memcpy(&v->data[i], t->raw_data.data + 4 * i, 4);
        else if (v->is_float && t->n_float_data == v->count) v->data[i] = t->float_data[i];
        else if (t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT64 && raw && t->raw_data.len == 8 * v->count) {
            int64_t n;
            memcpy(&n, t->raw_data.data + 8 * i, 8);
            v->data[i] = (float)n;
        } else if (t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT64 && t->n_int64_data == v->count)
            v->data[i] = (float)t->int64_data[i];
        else if (t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT32 && raw && t->raw_data.len == 4 * v->count) {
            int32_t n;
            memcpy(&n, t->raw_data.data + 4 * i, 4);
            v->data[i] = (float)n;
        } else {
            free(v->data);
            v->data = NULL;
            return false;
        }
    }
    return true;
}

static bool read_value(const char *folder, const char *kind, int i, value *v, bool *present) {
    char path[600];
    uint8_t *data;
    size_t bytes;
    snprintf(path, sizeof path, "%s/test_data_set_0/%s_%d.pb", folder, kind, i);
    *present = gm_path_exists(path);
    if (!*present) return true;
    if (gm_file_read(path, 1u << 26, &data, &bytes, NULL)) return false;
    Onnx__TensorProto *t = onnx__tensor_proto__unpack(NULL, bytes, data);
    bool good = t && fill(t, t->name, v);
    if (t) onnx__tensor_proto__free_unpacked(t, NULL);
    gm_free(data);
    return good;
}

// Inputs in the order of the node: from the data set, or the model's initializers.
static bool read_inputs(const char *folder, vector *v) {
    const Onnx__GraphProto *g = v->model->graph;
    for (size_t i = 0; i < v->node->n_input; i++) {
        if (v->inputs == 8) return false;
        value *in = &v->input[v->inputs++];
        memset(in, 0, sizeof *in);
        const char *name = v->node->input[i];
        if (!name[0]) continue; // optional and absent
        bool found = false;
        for (size_t j = 0; j < g->n_initializer && !found; j++)
            if (strcmp(g->initializer[j]->name, name) == 0) found = fill(g->initializer[j], name, in);
        for (size_t j = 0; j < g->n_input && !found; j++) {
            bool present = false;
            if (strcmp(g->input[j]->name, name) == 0) found = read_value(folder, "input", (int)j, in, &present) && present;
        }
        if (!found) return false;
    }
    return true;
}

bool vector_open(const char *folder, vector *v) {
    char path[512];
    uint8_t *data;
    size_t bytes;
    memset(v, 0, sizeof *v);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (gm_file_read(path, 1u << 26, &data, &bytes, NULL)) return false;
    v->model = onnx__model_proto__unpack(NULL, bytes, data);
    gm_free(data);
    bool good = v->model && v->model->graph && v->model->graph->n_node == 1;
    if (good) v->node = v->model->graph->node[0];
    good = good && read_inputs(folder, v);
    for (int i = 0; good && i < 4; i++) {
        bool present;
        good = read_value(folder, "output", i, &v->expected[i], &present);
        if (!present) break;
        v->outputs++;
    }
    if (!good) vector_close(v);
    return good;
}

void vector_close(vector *v) {
    for (int i = 0; i < 8; i++) free(v->input[i].data);
    for (int i = 0; i < 4; i++) free(v->expected[i].data);
    if (v->model) onnx__model_proto__free_unpacked(v->model, NULL);
    memset(v, 0, sizeof *v);
}

static const Onnx__AttributeProto *attribute(const Onnx__NodeProto *n, const char *name) {
    for (size_t i = 0; i < n->n_attribute; i++)
        if (strcmp(n->attribute[i]->name, name) == 0) return n->attribute[i];
    return NULL;
}
int64_t attribute_int(const Onnx__NodeProto *n, const char *name, int64_t otherwise) {
    const Onnx__AttributeProto *a = attribute(n, name);
    return a ? a->i : otherwise;
}
float attribute_float(const Onnx__NodeProto *n, const char *name, float otherwise) {
    const Onnx__AttributeProto *a = attribute(n, name);
    return a ? a->f : otherwise;
}
const char *attribute_string(const Onnx__NodeProto *n, const char *name, const char *otherwise) {
    const Onnx__AttributeProto *a = attribute(n, name);
    static char text[32];
    if (!a) return otherwise;
    snprintf(text, sizeof text, "%.*s", (int)a->s.len, (const char *)a->s.data);
    return text;
}
int attribute_ints(const Onnx__NodeProto *n, const char *name, int *out, int max) {
    const Onnx__AttributeProto *a = attribute(n, name);
    if (!a) return 0;
    for (size_t i = 0; i < a->n_ints && (int)i < max; i++) out[i] = (int)a->ints[i];
    return (int)a->n_ints;
}
