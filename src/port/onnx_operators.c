// SPDX-License-Identifier: Apache-2.0
// port: one ONNX form an operation. Values are (batch, channels, rows, columns); tokens are positions, so that a linear
// layer over tokens is a 1x1 convolution, and a norm over channels one over axis 1.
#include <math.h>
#include <string.h>

#include "port/onnx_message.h"

static const gm_node *node_of(const gm__onnx *x, int node) {
    return &x->s->model->graph->node[node];
}
static const gm_resolved_node *sizes_of(const gm__onnx *x, int node) {
    return &x->s->resolved.node[node];
}
static char *input_of(const gm__onnx *x, int node, int j) {
    int from = sizes_of(x, node)->from[j];
    return from < 0 ? NULL : x->value[from];
}
static char *part(gm__onnx *x, int node, const char *name) {
    return gm__onnx_text(x, "%s/%s", node_of(x, node)->name, name);
}

// A parameter as a constant under its own name; NULL: the node has none.
static char *constant(gm__onnx *x, int node, int slot) {
    const gm_subnet_tensor *t = gm_subnet_find(x->s, node, slot);
    return t ? gm__onnx_floats(x, gm__onnx_text(x, "%s", t->name), t->rank, t->dims, t->data) : NULL;
}

// ---------------------------------------------------------------------------------------------
// Activations
static char *gate(gm__onnx *x, int node, char *in) { // relu6(x + 3) / 6
    char *out = gm__onnx_node(x, "HardSigmoid", part(x, node, "gate"), (char *const[]){in, NULL});
    gm__onnx_float(x, "alpha", 1.0f / 6);
    gm__onnx_float(x, "beta", 0.5f);
    return out;
}

static char *activate(gm__onnx *x, int node, gm_act act, char *in) {
    char *out = part(x, node, "act");
    switch (act) {
    case GM_ACT_NONE: return in;
    case GM_ACT_RELU: return gm__onnx_node(x, "Relu", out, (char *const[]){in, NULL});
    case GM_ACT_RELU6: {
        char *least = gm__onnx_scalar(x, part(x, node, "least"), 0),
             *most = gm__onnx_scalar(x, part(x, node, "most"), 6);
        return gm__onnx_node(x, "Clip", out, (char *const[]){in, least, most, NULL});
    }
    case GM_ACT_HSWISH: return gm__onnx_node(x, "Mul", out, (char *const[]){in, gate(x, node, in), NULL});
    case GM_ACT_HSIGMOID: return gate(x, node, in);
    case GM_ACT_SIGMOID: return gm__onnx_node(x, "Sigmoid", out, (char *const[]){in, NULL});
    case GM_ACT_SILU: {
        char *sigmoid = gm__onnx_node(x, "Sigmoid", part(x, node, "gate"), (char *const[]){in, NULL});
        return gm__onnx_node(x, "Mul", out, (char *const[]){in, sigmoid, NULL});
    }
    case GM_ACT_GELU: { // x (1 + erf(x / sqrt 2)) / 2
        char *root = gm__onnx_scalar(x, part(x, node, "root"), (float)sqrt(0.5));
        char *one = gm__onnx_scalar(x, part(x, node, "one"), 1),
             *half = gm__onnx_scalar(x, part(x, node, "half"), 0.5f);
        char *v = gm__onnx_node(x, "Mul", part(x, node, "scaled"), (char *const[]){in, root, NULL});
        v = gm__onnx_node(x, "Erf", part(x, node, "erf"), (char *const[]){v, NULL});
        v = gm__onnx_node(x, "Add", part(x, node, "plus"), (char *const[]){v, one, NULL});
        v = gm__onnx_node(x, "Mul", part(x, node, "half_gate"), (char *const[]){v, half, NULL});
        return gm__onnx_node(x, "Mul", out, (char *const[]){in, v, NULL});
    }
    }
    return NULL;
}

static char *act(gm__onnx *x, int node) {
    return activate(x, node, node_of(x, node)->act, input_of(x, node, 0));
}

// ---------------------------------------------------------------------------------------------
// Convolutions and norms
static void square(gm__onnx *x, const char *name, int v) {
    gm__onnx_ints(x, name, 2, (const int64_t[]){v, v});
}

static void window(gm__onnx *x, int taps, int stride, int pad) {
    square(x, "kernel_shape", taps);
    square(x, "strides", stride > 0 ? stride : 1);
    gm__onnx_ints(x, "pads", 4, (const int64_t[]){pad, pad, pad, pad});
}

// What a norm does to a channel, in double as the walker folds it.
static void scale_shift(const gm__onnx *x, int norm, size_t c, double *scale, double *shift) {
    const float *gamma = gm_subnet_find(x->s, norm, 0)->data, *beta = gm_subnet_find(x->s, norm, 1)->data;
    const float *mean = gm_subnet_find(x->s, norm, GM_SUBNET_MEAN)->data,
                *var = gm_subnet_find(x->s, norm, GM_SUBNET_VAR)->data;
    *scale = (double)gamma[c] / sqrt((double)var[c] + (double)node_of(x, norm)->eps);
    *shift = (double)beta[c] - (double)mean[c] * *scale;
}

// The convolution with the norm behind it folded in.
static char *folded_conv(gm__onnx *x, int node, int norm, char *in) {
    const gm_subnet_tensor *w = gm_subnet_find(x->s, node, 0), *b = gm_subnet_find(x->s, node, 1);
    size_t outputs = (size_t)w->dims[0], each = w->count / outputs;
    float *weight = gm__onnx_alloc(x, w->count, sizeof *weight), *bias = gm__onnx_alloc(x, outputs, sizeof *bias);
    if (!weight || !bias) return NULL;
    bool biased = b && !node_of(x, node)->transform; // slot 1 of an elastic kernel is a matrix
    for (size_t o = 0; o < outputs; o++) {
        double scale, shift;
        scale_shift(x, norm, o, &scale, &shift);
        for (size_t e = 0; e < each; e++) weight[o * each + e] = (float)((double)w->data[o * each + e] * scale);
        bias[o] = (float)(shift + (biased ? (double)b->data[o] * scale : 0));
    }
    x->folded[norm] = true;
    char *weights = gm__onnx_floats(x, gm__onnx_text(x, "%s", w->name), w->rank, w->dims, weight);
    char *biases = gm__onnx_floats(x, part(x, node, "bias"), 1, w->dims, bias);
    return gm__onnx_node(x, "Conv", part(x, node, "folded"), (char *const[]){in, weights, biases, NULL});
}

static char *convolve(gm__onnx *x, int node, int pad, int groups) {
    const gm_node *n = node_of(x, node);
    char *in = input_of(x, node, 0), *out;
    int next = x->follower[node];
    bool fold =
        x->fold && next >= 0 && strcmp(node_of(x, next)->op->name, "norm") == 0 && sizes_of(x, next)->from[0] == node;
    if (fold) {
        out = folded_conv(x, node, next, in);
    } else {
        char *weight = constant(x, node, 0), *bias = n->transform ? NULL : constant(x, node, 1);
        out = gm__onnx_node(x, "Conv", gm__onnx_text(x, "%s", n->name), (char *const[]){in, weight, bias, NULL});
    }
    window(x, sizes_of(x, node)->kernel, n->stride, pad);
    gm__onnx_int(x, "group", groups);
    return out;
}

static char *conv(gm__onnx *x, int node) {
    return convolve(x, node, node_of(x, node)->pad, 1);
}
static char *depthwise(gm__onnx *x, int node) {
    return convolve(x, node, sizes_of(x, node)->kernel / 2, sizes_of(x, node)->out.c);
}

static char *norm(gm__onnx *x, int node) {
    const gm_node *n = node_of(x, node);
    char *v = input_of(x, node, 0), *residual = input_of(x, node, 1);
    if (!x->folded[node]) {
        char *const in[] = {v,
                            constant(x, node, 0),
                            constant(x, node, 1),
                            constant(x, node, GM_SUBNET_MEAN),
                            constant(x, node, GM_SUBNET_VAR),
                            NULL};
        v = gm__onnx_node(x, "BatchNormalization", part(x, node, "norm"), in);
        gm__onnx_float(x, "epsilon", n->eps);
    }
    if (residual) v = gm__onnx_node(x, "Add", part(x, node, "sum"), (char *const[]){v, residual, NULL});
    return activate(x, node, n->act, v);
}

static char *squeeze_excite(gm__onnx *x, int node) {
    char *in = input_of(x, node, 0);
    char *v = gm__onnx_node(x, "GlobalAveragePool", part(x, node, "pool"), (char *const[]){in, NULL});
    char *const reduce[] = {v, constant(x, node, 0), constant(x, node, 1), NULL};
    v = gm__onnx_node(x, "Conv", part(x, node, "reduce"), reduce);
    v = gm__onnx_node(x, "Relu", part(x, node, "hidden"), (char *const[]){v, NULL});
    char *const expand[] = {v, constant(x, node, 2), constant(x, node, 3), NULL};
    v = gm__onnx_node(x, "Conv", part(x, node, "expand"), expand);
    return gm__onnx_node(x, "Mul", gm__onnx_text(x, "%s", node_of(x, node)->name),
                         (char *const[]){in, gate(x, node, v), NULL});
}

// ---------------------------------------------------------------------------------------------
// Pools, linear layers, sums
static char *plain(gm__onnx *x, int node, const char *type) {
    return gm__onnx_node(x, type, gm__onnx_text(x, "%s", node_of(x, node)->name),
                         (char *const[]){input_of(x, node, 0), NULL});
}

static char *pool(gm__onnx *x, int node, const char *type) {
    const gm_node *n = node_of(x, node);
    char *out = plain(x, node, type);
    window(x, n->taps, n->stride, n->pad);
    gm__onnx_int(x, "ceil_mode", n->ceil_mode);
    return out;
}

static char *max_pool(gm__onnx *x, int node) {
    return pool(x, node, "MaxPool");
}

static char *avg_pool(gm__onnx *x, int node) { // a window's part inside the image counts alone
    char *out = pool(x, node, "AveragePool");
    gm__onnx_int(x, "count_include_pad", 0);
    return out;
}

static char *global_pool(gm__onnx *x, int node) {
    return plain(x, node, "GlobalAveragePool");
}

// One position: rows of an image's vector; several: tokens, each by itself.
static char *linear(gm__onnx *x, int node) {
    const gm_shape in = sizes_of(x, node)->in;
    const gm_subnet_tensor *w = gm_subnet_find(x->s, node, 0);
    char *name = gm__onnx_text(x, "%s", node_of(x, node)->name);
    if (in.h * in.w > 1) {
        const uint64_t dims[] = {w->dims[0], w->dims[1], 1, 1};
        char *weight = gm__onnx_floats(x, gm__onnx_text(x, "%s", w->name), 4, dims, w->data);
        return gm__onnx_node(x, "Conv", name,
                             (char *const[]){input_of(x, node, 0), weight, constant(x, node, 1), NULL});
    }
    char *flat = gm__onnx_node(x, "Flatten", part(x, node, "flat"), (char *const[]){input_of(x, node, 0), NULL});
    char *rows = part(x, node, "rows");
    gm__onnx_node(x, "Gemm", rows, (char *const[]){flat, constant(x, node, 0), constant(x, node, 1), NULL});
    gm__onnx_int(x, "transB", 1);
    // back to four dimensions for what follows, which the last node needs not
    if (node == x->s->model->graph->nodes - 1) return rows;
    char *shape = gm__onnx_wholes(x, part(x, node, "shape"), 4, (const int64_t[]){0, (int64_t)w->dims[0], 1, 1});
    return gm__onnx_node(x, "Reshape", name, (char *const[]){rows, shape, NULL});
}

static char *add(gm__onnx *x, int node) {
    return gm__onnx_node(x, "Add", gm__onnx_text(x, "%s", node_of(x, node)->name),
                         (char *const[]){input_of(x, node, 0), input_of(x, node, 1), NULL});
}

static char *dropout(gm__onnx *x, int node) {
    return input_of(x, node, 0);
} // nothing, once trained

// ---------------------------------------------------------------------------------------------
// Transformers
static char *mean_over_channels(gm__onnx *x, int node, const char *name, char *in) {
    char *out = gm__onnx_node(x, "ReduceMean", part(x, node, name), (char *const[]){in, NULL});
    gm__onnx_ints(x, "axes", 1, (const int64_t[]){1});
    gm__onnx_int(x, "keepdims", 1);
    return out;
}

static char *channel_vector(gm__onnx *x, int node, int slot) {
    const gm_subnet_tensor *t = gm_subnet_find(x->s, node, slot);
    const uint64_t dims[] = {1, t->dims[0], 1, 1};
    return gm__onnx_floats(x, gm__onnx_text(x, "%s", t->name), 4, dims, t->data);
}

// v / sqrt(mean(v^2) + eps) * gamma
static char *scaled_rows(gm__onnx *x, int node, char *v) {
    char *eps = gm__onnx_scalar(x, part(x, node, "eps"), node_of(x, node)->eps);
    char *power = gm__onnx_node(x, "Mul", part(x, node, "square"), (char *const[]){v, v, NULL});
    power = mean_over_channels(x, node, "power", power);
    power = gm__onnx_node(x, "Add", part(x, node, "power_eps"), (char *const[]){power, eps, NULL});
    power = gm__onnx_node(x, "Sqrt", part(x, node, "root"), (char *const[]){power, NULL});
    v = gm__onnx_node(x, "Div", part(x, node, "unit"), (char *const[]){v, power, NULL});
    return gm__onnx_node(x, "Mul", part(x, node, "scaled"), (char *const[]){v, channel_vector(x, node, 0), NULL});
}

static char *rms_norm(gm__onnx *x, int node) {
    return scaled_rows(x, node, input_of(x, node, 0));
}

static char *layer_norm(gm__onnx *x, int node) {
    char *in = input_of(x, node, 0), *mean = mean_over_channels(x, node, "mean", in);
    char *v = gm__onnx_node(x, "Sub", part(x, node, "centred"), (char *const[]){in, mean, NULL});
    v = scaled_rows(x, node, v);
    return gm__onnx_node(x, "Add", gm__onnx_text(x, "%s", node_of(x, node)->name),
                         (char *const[]){v, channel_vector(x, node, 1), NULL});
}

// softmax(q^T k / sqrt d) over the tokens of each head; heads are (batch, heads, width, tokens).
static char *attention(gm__onnx *x, int node) {
    static const char *const names[] = {"q", "k", "v"};
    const gm_shape s = sizes_of(x, node)->out;
    const int width = node_of(x, node)->heads_dim, heads = s.c / width;
    const int64_t split[] = {0, heads, width, s.h * s.w}, whole[] = {0, s.c, s.h, s.w}, swap[] = {0, 1, 3, 2};
    char *head[3], *shape = gm__onnx_wholes(x, part(x, node, "heads"), 4, split);
    for (int j = 0; j < 3; j++)
        head[j] =
            gm__onnx_node(x, "Reshape", part(x, node, names[j]), (char *const[]){input_of(x, node, j), shape, NULL});
    char *q = gm__onnx_node(x, "Transpose", part(x, node, "q_rows"), (char *const[]){head[0], NULL});
    gm__onnx_ints(x, "perm", 4, swap);
    char *p = gm__onnx_node(x, "MatMul", part(x, node, "products"), (char *const[]){q, head[1], NULL});
    char *scale = gm__onnx_scalar(x, part(x, node, "scale"), 1.0f / sqrtf((float)width));
    p = gm__onnx_node(x, "Mul", part(x, node, "scores"), (char *const[]){p, scale, NULL});
    p = gm__onnx_node(x, "Softmax", part(x, node, "shares"), (char *const[]){p, NULL});
    gm__onnx_int(x, "axis", -1);
    p = gm__onnx_node(x, "Transpose", part(x, node, "shares_rows"), (char *const[]){p, NULL});
    gm__onnx_ints(x, "perm", 4, swap);
    char *y = gm__onnx_node(x, "MatMul", part(x, node, "mixed"), (char *const[]){head[2], p, NULL});
    char *back = gm__onnx_wholes(x, part(x, node, "shape"), 4, whole);
    return gm__onnx_node(x, "Reshape", gm__onnx_text(x, "%s", node_of(x, node)->name), (char *const[]){y, back, NULL});
}

// ---------------------------------------------------------------------------------------------
static const struct {
    const char *op;
    char *(*emit)(gm__onnx *x, int node);
} forms[] = {
    {"conv", conv},
    {"linear", linear},
    {"depthwise", depthwise},
    {"norm", norm},
    {"act", act},
    {"squeeze_excite", squeeze_excite},
    {"max_pool", max_pool},
    {"avg_pool", avg_pool},
    {"global_pool", global_pool},
    {"dropout", dropout},
    {"add", add},
    {"layer_norm", layer_norm},
    {"rms_norm", rms_norm},
    {"attention", attention},
};

void gm__onnx_operation(gm__onnx *x, int node) {
    for (size_t i = 0; i < sizeof forms / sizeof forms[0] && !x->status; i++)
        if (strcmp(node_of(x, node)->op->name, forms[i].op) == 0) {
            x->value[node] = forms[i].emit(x, node);
            return;
        }
    if (!x->status)
        x->status = gm_fail(x->err, GM_ERR_UNSUPPORTED, "%s: the operation %s has no ONNX form in this version",
                            node_of(x, node)->name, node_of(x, node)->op->name);
}
