// SPDX-License-Identifier: Apache-2.0
#include "port/onnx_message.h"

#include <string.h>

static bool failed(gm__onnx *x) {
    if (!x->status) x->status = gm_fail(x->err, GM_ERR_MEMORY, "no memory for an ONNX graph");
    return true;
}

static bool room(gm__onnx *x, void ***array, int used, int *cap) {
    if (x->status) return false;
    if (used < *cap) return true;
    int grown_cap = *cap * 2 + 256;
    void **grown = gm_realloc(*array, (size_t)*cap, (size_t)grown_cap, sizeof *grown);
    if (!grown) return !failed(x);
    *array = grown;
    *cap = grown_cap;
    return true;
}

void *gm__onnx_alloc(gm__onnx *x, size_t count, size_t size) {
    if (!room(x, &x->block, x->blocks, &x->blocks_cap)) return NULL;
    void *block = gm_alloc(count, size);
    if (!block)
        failed(x);
    else
        x->block[x->blocks++] = block;
    return block;
}

void gm__onnx_fini(gm__onnx *x) {
    for (int i = 0; i < x->blocks; i++) gm_free(x->block[i]);
    gm_free(x->block);
    gm_free(x->node);
    gm_free(x->initializer);
}

char *gm__onnx_text(gm__onnx *x, const char *format, ...) {
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, list);
    char *text = length < 0 ? NULL : gm__onnx_alloc(x, (size_t)length + 1, 1);
    if (text) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(list);
    return text;
}

char *gm__onnx_node(gm__onnx *x, const char *type, char *output, char *const *inputs) {
    void **list = (void **)x->node;
    if (!room(x, &list, x->nodes, &x->nodes_cap)) return NULL;
    x->node = (Onnx__NodeProto **)list;
    size_t count = 0;
    while (inputs[count]) count++;
    Onnx__NodeProto *n = gm__onnx_alloc(x, 1, sizeof *n);
    if (!n) return NULL;
    onnx__node_proto__init(n);
    n->input = gm__onnx_alloc(x, count + 1, sizeof *n->input);
    n->output = gm__onnx_alloc(x, 1, sizeof *n->output);
    n->attribute = gm__onnx_alloc(x, GM__ONNX_ATTRIBUTES, sizeof *n->attribute);
    n->op_type = gm__onnx_text(x, "%s", type);
    n->name = gm__onnx_text(x, "%s", output ? output : "");
    if (x->status || !output) return NULL;
    memcpy(n->input, inputs, count * sizeof *n->input);
    n->n_input = count;
    n->output[0] = output;
    n->n_output = 1;
    x->node[x->nodes++] = n;
    return output;
}

static Onnx__AttributeProto *attribute(gm__onnx *x, const char *name, Onnx__AttributeProto__AttributeType type) {
    Onnx__AttributeProto *a = gm__onnx_alloc(x, 1, sizeof *a);
    if (!a || x->nodes == 0 || x->node[x->nodes - 1]->n_attribute == GM__ONNX_ATTRIBUTES) return NULL;
    onnx__attribute_proto__init(a);
    a->name = gm__onnx_text(x, "%s", name);
    a->has_type = true;
    a->type = type;
    if (x->status) return NULL;
    Onnx__NodeProto *n = x->node[x->nodes - 1];
    n->attribute[n->n_attribute++] = a;
    return a;
}

void gm__onnx_int(gm__onnx *x, const char *name, int64_t v) {
    Onnx__AttributeProto *a = attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (!a) return;
    a->has_i = true;
    a->i = v;
}

void gm__onnx_float(gm__onnx *x, const char *name, float v) {
    Onnx__AttributeProto *a = attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (!a) return;
    a->has_f = true;
    a->f = v;
}

void gm__onnx_ints(gm__onnx *x, const char *name, int count, const int64_t *v) {
    int64_t *copy = gm__onnx_alloc(x, (size_t)count, sizeof *copy);
    Onnx__AttributeProto *a = copy ? attribute(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS) : NULL;
    if (!a) return;
    memcpy(copy, v, (size_t)count * sizeof *copy);
    a->ints = copy;
    a->n_ints = (size_t)count;
}

// bytes: little endian, as the machines that this builds for have them
static char *constant(gm__onnx *x, char *name, int32_t type, int rank, const uint64_t *dims, const void *data,
                      size_t bytes) {
    void **list = (void **)x->initializer;
    if (!room(x, &list, x->initializers, &x->initializers_cap)) return NULL;
    x->initializer = (Onnx__TensorProto **)list;
    Onnx__TensorProto *t = gm__onnx_alloc(x, 1, sizeof *t);
    int64_t *sizes = gm__onnx_alloc(x, (size_t)rank + 1, sizeof *sizes);
    if (!t || !sizes || !name) return NULL;
    onnx__tensor_proto__init(t);
    for (int d = 0; d < rank; d++) sizes[d] = (int64_t)dims[d];
    t->name = name;
    t->dims = sizes;
    t->n_dims = (size_t)rank;
    t->has_data_type = true;
    t->data_type = type;
    t->has_raw_data = true;
    t->raw_data.data = (uint8_t *)(uintptr_t)data;
    t->raw_data.len = bytes;
    x->initializer[x->initializers++] = t;
    return name;
}

char *gm__onnx_floats(gm__onnx *x, char *name, int rank, const uint64_t *dims, const float *data) {
    size_t count = 1;
    for (int d = 0; d < rank; d++) count *= (size_t)dims[d];
    return data ? constant(x, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, rank, dims, data, count * sizeof *data)
                : NULL;
}

char *gm__onnx_wholes(gm__onnx *x, char *name, int count, const int64_t *v) {
    int64_t *copy = gm__onnx_alloc(x, (size_t)count, sizeof *copy);
    if (!copy) return NULL;
    memcpy(copy, v, (size_t)count * sizeof *copy);
    return constant(x, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, (const uint64_t[]){(uint64_t)count}, copy,
                    (size_t)count * sizeof *copy);
}

char *gm__onnx_scalar(gm__onnx *x, char *name, float v) {
    float *copy = gm__onnx_alloc(x, 1, sizeof *copy);
    if (!copy) return NULL;
    *copy = v;
    return constant(x, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, 0, NULL, copy, sizeof *copy);
}
