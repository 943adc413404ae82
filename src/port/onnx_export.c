// SPDX-License-Identifier: Apache-2.0
// port: one subnet as an ONNX model, by a walk over the graph; nothing here knows a family.
#include <string.h>

#include "port/onnx_message.h"

enum { IR_VERSION = 7, OPSET = 13 };
static const size_t max_packed = (size_t)INT32_MAX; // of a protobuf message

static bool in_use(const gm_subnet *s, int node) {
    return s->resolved.node[node].active && s->resolved.node[node].source == node;
}

// follower[i]: the only reader of node i's value, else -1.
static void find_followers(gm__onnx *x, int last) {
    const gm_graph *g = x->s->model->graph;
    enum { SEVERAL = -2 };
    for (int i = 0; i < g->nodes; i++) x->follower[i] = -1;
    for (int i = 0; i < g->nodes; i++) {
        if (!in_use(x->s, i)) continue;
        for (int j = 0; j < GM_MAX_INPUTS; j++) {
            int from = x->s->resolved.node[i].from[j];
            if (from >= 0) x->follower[from] = x->follower[from] == -1 ? i : SEVERAL;
        }
    }
    x->follower[last] = SEVERAL; // the output is read outside
}

static Onnx__ValueInfoProto *value_info(gm__onnx *x, const char *name, int rank, const int *dims) {
    Onnx__ValueInfoProto *v = gm__onnx_alloc(x, 1, sizeof *v);
    Onnx__TypeProto *type = gm__onnx_alloc(x, 1, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = gm__onnx_alloc(x, 1, sizeof *tensor);
    Onnx__TensorShapeProto *shape = gm__onnx_alloc(x, 1, sizeof *shape);
    Onnx__TensorShapeProto__Dimension **dim = gm__onnx_alloc(x, (size_t)rank, sizeof *dim);
    if (x->status) return NULL;
    onnx__value_info_proto__init(v);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    for (int d = 0; d < rank; d++) {
        dim[d] = gm__onnx_alloc(x, 1, sizeof **dim);
        char *batch = dims[d] < 0 ? gm__onnx_text(x, "batch") : NULL;
        if (x->status) return NULL;
        onnx__tensor_shape_proto__dimension__init(dim[d]);
        dim[d]->value_case = batch ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM
                                   : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        if (batch)
            dim[d]->dim_param = batch;
        else
            dim[d]->dim_value = dims[d];
    }
    shape->dim = dim;
    shape->n_dim = (size_t)rank;
    tensor->has_elem_type = true;
    tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    v->name = gm__onnx_text(x, "%s", name);
    v->type = type;
    return v;
}

// A list of numbers, or of texts, with commas.
static char *joined_floats(gm__onnx *x, const float *v, int count) {
    char *text = gm__onnx_text(x, "%s", "");
    for (int i = 0; i < count && !x->status; i++) text = gm__onnx_text(x, "%s%s%.9g", text, i ? "," : "", (double)v[i]);
    return text;
}

static char *joined_texts(gm__onnx *x, const char *const *texts, int count) {
    size_t bytes = 1, used = 0;
    for (int i = 0; i < count; i++) bytes += strlen(texts[i]) + 1;
    char *all = gm__onnx_alloc(x, bytes, 1);
    for (int i = 0; all && i < count; i++)
        used += (size_t)snprintf(all + used, bytes - used, "%s%s", i ? "," : "", texts[i]);
    return all;
}

enum { METADATA = 7 };
static Onnx__StringStringEntryProto **metadata(gm__onnx *x, const gm_export_settings *settings, size_t *count) {
    const gm_model *m = x->s->model;
    const gm_graph *g = m->graph;
    char choice[1024];
    x->status = gm_choice_print(&g->space, &x->s->choice, choice, sizeof choice, x->err);
    char *id = gm__onnx_text(x, "%016llx", (unsigned long long)gm_choice_id(&g->space, &x->s->choice));
    char *const rows[METADATA][2] = {
        {"gamut.family", gm__onnx_text(x, "%s", m->preset)},
        {"gamut.choice", gm__onnx_text(x, "%s", choice)},
        {"gamut.id", id},
        {"input.mean", joined_floats(x, m->input_mean, g->input_channels)},
        {"input.std", joined_floats(x, m->input_std, g->input_channels)},
        {"data", m->data[0] ? gm__onnx_text(x, "%s", m->data) : NULL},
        {"classes", settings->class_names ? joined_texts(x, settings->class_names, g->classes) : NULL},
    };
    Onnx__StringStringEntryProto **list = gm__onnx_alloc(x, METADATA, sizeof *list);
    for (int i = 0; i < METADATA && !x->status; i++) {
        if (!rows[i][1]) continue;
        Onnx__StringStringEntryProto *e = list[*count] = gm__onnx_alloc(x, 1, sizeof *e);
        if (!e) break;
        onnx__string_string_entry_proto__init(e);
        e->key = rows[i][0];
        e->value = rows[i][1];
        ++*count;
    }
    return list;
}

static gm_status write_model(gm__onnx *x, const gm_export_settings *settings, int last, const char *path) {
    const gm_graph *g = x->s->model->graph;
    const gm_shape in = x->s->resolved.node[0].out;
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = {&opset};
    Onnx__ValueInfoProto *input = value_info(x, "input", 4, (const int[]){-1, in.c, in.h, in.w});
    Onnx__ValueInfoProto *output = value_info(x, "logits", 2, (const int[]){-1, x->s->resolved.node[last].out.c});
    size_t properties = 0;
    Onnx__StringStringEntryProto **property = x->status ? NULL : metadata(x, settings, &properties);
    char *version = gm__onnx_text(x, "%s", gm_version()), *name = gm__onnx_text(x, "%s", g->family);
    if (x->status) return x->status;
    opset.domain = "";
    opset.has_version = true;
    opset.version = OPSET;
    graph.name = name;
    graph.node = x->node;
    graph.n_node = (size_t)x->nodes;
    graph.initializer = x->initializer;
    graph.n_initializer = (size_t)x->initializers;
    graph.input = &input;
    graph.output = &output;
    graph.n_input = graph.n_output = 1;
    model.has_ir_version = true;
    model.ir_version = IR_VERSION;
    model.opset_import = opsets;
    model.n_opset_import = 1;
    model.producer_name = "gamut";
    model.producer_version = version;
    model.graph = &graph;
    model.metadata_props = property;
    model.n_metadata_props = properties;
    size_t bytes = onnx__model_proto__get_packed_size(&model);
    if (bytes > max_packed)
        return gm_fail(x->err, GM_ERR_RANGE, "%s: %zu bytes, an ONNX file has at most 2 GiB", path, bytes);
    uint8_t *packed = gm__onnx_alloc(x, bytes, 1);
    if (!packed) return x->status;
    onnx__model_proto__pack(&model, packed);
    return gm_file_write(path, packed, bytes, x->err);
}

gm_status gm_export_onnx(const gm_subnet *s, const gm_export_settings *settings, const char *path, gm_error *err) {
    const gm_graph *g = s->model->graph;
    const gm_export_settings defaults = gm_export_settings_default();
    if (!settings) settings = &defaults;
    gm__onnx x = {.s = s, .fold = settings->fold, .err = err};
    const int last = s->resolved.node[g->nodes - 1].source;
    x.value = gm__onnx_alloc(&x, (size_t)g->nodes, sizeof *x.value);
    x.follower = gm__onnx_alloc(&x, (size_t)g->nodes, sizeof *x.follower);
    x.folded = gm__onnx_alloc(&x, (size_t)g->nodes, sizeof *x.folded);
    if (!x.status) find_followers(&x, last);
    if (!x.status) x.value[0] = gm__onnx_text(&x, "input");
    for (int i = 1; i < g->nodes && !x.status; i++)
        if (in_use(s, i)) gm__onnx_operation(&x, i);
    // the last value under the name that programs ask for
    if (!x.status && s->resolved.node[last].out.h * s->resolved.node[last].out.w != 1)
        x.status = gm_fail(err, GM_ERR_UNSUPPORTED, "%s: its output is a map, not one row an image", g->family);
    char *logits = gm__onnx_text(&x, "logits");
    if (!x.status) gm__onnx_node(&x, "Flatten", logits, (char *const[]){x.value[last], NULL});
    gm_status status = x.status ? x.status : write_model(&x, settings, last, path);
    gm__onnx_fini(&x);
    return status;
}
