// SPDX-License-Identifier: Apache-2.0
#include "port/interpreter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "onnx/values.h"

enum { MOST = 8192 };
typedef struct machine {
    array value[MOST];
    int values;
} machine;

static array *find(machine *m, const char *name) {
    for (int i = m->values - 1; i >= 0; i--)
        if (strcmp(m->value[i].name, name) == 0) return &m->value[i];
    return NULL;
}

static array make(const char *name, int rank, const int *dims) {
    array a = {.name = name, .rank = rank, .count = 1};
    for (int d = 0; d < rank; d++) a.count *= (size_t)(a.dims[d] = dims[d]);
    a.data = calloc(a.count + 1, sizeof(float));
    return a;
}

static array like(const char *name, const array *a) {
    return make(name, a->rank, a->dims);
}

static bool add_constant(machine *m, const Onnx__TensorProto *t) {
    int dims[4];
    if (t->n_dims > 4 || !t->has_raw_data || m->values == MOST) return false;
    for (size_t d = 0; d < t->n_dims; d++) dims[d] = (int)t->dims[d];
    array a = make(t->name, (int)t->n_dims, dims);
    bool whole = t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    if (t->raw_data.len != a.count * (whole ? 8 : 4)) {
        free(a.data);
        return false;
    }
    for (size_t i = 0; i < a.count; i++) {
        int64_t v;
        if (whole)
            memcpy(&v, t->raw_data.data + 8 * i, 8), a.data[i] = (float)v;
        else
            memcpy(&a.data[i], t->raw_data.data + 4 * i, 4);
    }
    m->value[m->values++] = a;
    return true;
}

typedef struct window {
    int taps, stride, pad;
} window;

static window window_of(const Onnx__NodeProto *n, int taps) {
    int k[2] = {taps, taps}, s[2] = {1, 1}, p[4] = {0};
    attribute_ints(n, "kernel_shape", k, 2);
    attribute_ints(n, "strides", s, 2);
    attribute_ints(n, "pads", p, 4);
    return (window){k[0], s[0], p[0]};
}

static int outputs(int in, window w, bool ceil) {
    return (in + 2 * w.pad - w.taps + (ceil ? w.stride - 1 : 0)) / w.stride + 1;
}

static array conv(const Onnx__NodeProto *n, const array *x, const array *w, const array *b) {
    window win = window_of(n, w->dims[2]);
    int group = (int)attribute_int(n, "group", 1), each = w->dims[0] / group, h = x->dims[2], width = x->dims[3];
    array y =
        make(n->output[0], 4, (int[]){x->dims[0], w->dims[0], outputs(h, win, false), outputs(width, win, false)});
    float *out = y.data;
    for (int i = 0; i < y.dims[0]; i++)
        for (int o = 0; o < y.dims[1]; o++)
            for (int oy = 0; oy < y.dims[2]; oy++)
                for (int ox = 0; ox < y.dims[3]; ox++) {
                    double sum = b ? (double)b->data[o] : 0;
                    for (int c = 0; c < w->dims[1]; c++)
                        for (int ty = 0; ty < win.taps; ty++)
                            for (int tx = 0; tx < win.taps; tx++) {
                                int iy = oy * win.stride + ty - win.pad, ix = ox * win.stride + tx - win.pad;
                                if (iy < 0 || iy >= h || ix < 0 || ix >= width) continue;
                                int channel = o / each * w->dims[1] + c;
                                sum += (double)x->data[((i * x->dims[1] + channel) * h + iy) * width + ix] *
                                       (double)w->data[((o * w->dims[1] + c) * win.taps + ty) * win.taps + tx];
                            }
                    *out++ = (float)sum;
                }
    return y;
}

static array pool(const Onnx__NodeProto *n, const array *x, bool max) {
    window win = window_of(n, 1);
    bool ceil = attribute_int(n, "ceil_mode", 0);
    int h = x->dims[2], w = x->dims[3];
    array y = make(n->output[0], 4, (int[]){x->dims[0], x->dims[1], outputs(h, win, ceil), outputs(w, win, ceil)});
    float *out = y.data;
    for (int p = 0; p < y.dims[0] * y.dims[1]; p++)
        for (int oy = 0; oy < y.dims[2]; oy++)
            for (int ox = 0; ox < y.dims[3]; ox++) {
                double sum = 0, best = -INFINITY;
                int inside = 0;
                for (int iy = oy * win.stride - win.pad; iy < oy * win.stride - win.pad + win.taps; iy++)
                    for (int ix = ox * win.stride - win.pad; ix < ox * win.stride - win.pad + win.taps; ix++) {
                        if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
                        double v = (double)x->data[(p * h + iy) * w + ix];
                        sum += v;
                        best = fmax(best, v);
                        inside++;
                    }
                *out++ = (float)(max ? best : sum / inside);
            }
    return y;
}

static array batch_norm(const Onnx__NodeProto *n, const array *x, array *const *in) {
    array y = like(n->output[0], x);
    int area = x->dims[2] * x->dims[3];
    double eps = (double)attribute_float(n, "epsilon", 1e-5f);
    for (size_t e = 0; e < x->count; e++) {
        size_t c = e / (size_t)area % (size_t)x->dims[1];
        y.data[e] = (float)(((double)x->data[e] - (double)in[3]->data[c]) / sqrt((double)in[4]->data[c] + eps) *
                                (double)in[1]->data[c] +
                            (double)in[2]->data[c]);
    }
    return y;
}

// (.., i, k) x (.., k, j) over equal leading dimensions; or rows times a transposed matrix plus a vector.
static array matmul(const Onnx__NodeProto *n, const array *a, const array *b, const array *c, bool transposed) {
    int r = a->rank, rows = a->dims[r - 2], inner = a->dims[r - 1], columns = transposed ? b->dims[0] : b->dims[r - 1];
    int dims[4];
    memcpy(dims, a->dims, sizeof dims);
    dims[r - 1] = columns;
    array y = make(n->output[0], r, dims);
    for (size_t e = 0; e < y.count; e++) {
        size_t j = e % (size_t)columns, i = e / (size_t)columns % (size_t)rows, batch = e / (size_t)(rows * columns);
        double sum = c ? (double)c->data[j] : 0;
        for (size_t k = 0; k < (size_t)inner; k++)
            sum +=
                (double)a->data[(batch * (size_t)rows + i) * (size_t)inner + k] *
                (double)b->data[transposed ? j * (size_t)inner + k : (batch * (size_t)inner + k) * (size_t)columns + j];
        y.data[e] = (float)sum;
    }
    return y;
}

static array transpose(const Onnx__NodeProto *n, const array *x) { // four dimensions
    int perm[4], dims[4], at[4];
    attribute_ints(n, "perm", perm, 4);
    for (int d = 0; d < 4; d++) dims[d] = x->dims[perm[d]];
    array y = make(n->output[0], 4, dims);
    for (size_t e = 0; e < y.count; e++) {
        size_t rest = e;
        for (int d = 3; d >= 0; d--) {
            at[perm[d]] = (int)(rest % (size_t)dims[d]);
            rest /= (size_t)dims[d];
        }
        y.data[e] = x->data[((at[0] * x->dims[1] + at[1]) * x->dims[2] + at[2]) * x->dims[3] + at[3]];
    }
    return y;
}

static array reshape(const Onnx__NodeProto *n, const array *x, const array *shape) {
    int dims[4] = {0}, rank = shape ? (int)shape->count : 2;
    for (int d = 0; shape && d < rank; d++) dims[d] = shape->data[d] == 0 ? x->dims[d] : (int)shape->data[d];
    if (!shape) dims[0] = x->dims[0], dims[1] = (int)(x->count / (size_t)x->dims[0]); // Flatten
    array y = make(n->output[0], rank, dims);
    if (y.count == x->count) memcpy(y.data, x->data, x->count * sizeof(float));
    return y;
}

static array softmax(const Onnx__NodeProto *n, const array *x) {
    array y = like(n->output[0], x);
    size_t c = (size_t)x->dims[x->rank - 1];
    for (size_t row = 0; row < x->count; row += c) {
        double top = -INFINITY, sum = 0;
        for (size_t i = 0; i < c; i++) top = fmax(top, (double)x->data[row + i]);
        for (size_t i = 0; i < c; i++) sum += exp((double)x->data[row + i] - top);
        for (size_t i = 0; i < c; i++) y.data[row + i] = (float)(exp((double)x->data[row + i] - top) / sum);
    }
    return y;
}

static array mean_over_channels(const Onnx__NodeProto *n, const array *x) { // ReduceMean, axes 1
    array y = make(n->output[0], 4, (int[]){x->dims[0], 1, x->dims[2], x->dims[3]});
    int area = x->dims[2] * x->dims[3];
    for (size_t e = 0; e < y.count; e++) {
        double sum = 0;
        for (int c = 0; c < x->dims[1]; c++)
            sum +=
                (double)x->data[(e / (size_t)area * (size_t)x->dims[1] + (size_t)c) * (size_t)area + e % (size_t)area];
        y.data[e] = (float)(sum / x->dims[1]);
    }
    return y;
}

static double apply(const char *op, const Onnx__NodeProto *n, double a, double b) {
    if (strcmp(op, "Relu") == 0) return fmax(a, 0);
    if (strcmp(op, "Sigmoid") == 0) return 1 / (1 + exp(-a));
    if (strcmp(op, "Erf") == 0) return erf(a);
    if (strcmp(op, "Sqrt") == 0) return sqrt(a);
    if (strcmp(op, "HardSigmoid") == 0)
        return fmin(1,
                    fmax(0, (double)attribute_float(n, "alpha", 0.2f) * a + (double)attribute_float(n, "beta", 0.5f)));
    if (strcmp(op, "Add") == 0) return a + b;
    if (strcmp(op, "Sub") == 0) return a - b;
    if (strcmp(op, "Mul") == 0) return a * b;
    if (strcmp(op, "Div") == 0) return a / b;
    return NAN;
}

static bool one_of(const char *op, const char *list) { // " A B C "
    char word[40];
    snprintf(word, sizeof word, " %s ", op);
    return strstr(list, word) != NULL;
}

// The second value stretches to the first's shape: dimensions aligned at the end, each equal or 1.
static array elementwise(const Onnx__NodeProto *n, const array *a, const array *b) {
    array y = like(n->output[0], a);
    for (size_t e = 0; e < a->count; e++) {
        size_t rest = e, from = 0, step = 1;
        for (int d = a->rank - 1, q = b ? b->rank - 1 : -1; q >= 0; d--, q--) {
            size_t at = rest % (size_t)a->dims[d];
            rest /= (size_t)a->dims[d];
            from += (b->dims[q] == 1 ? 0 : at) * step;
            step *= (size_t)b->dims[q];
        }
        y.data[e] = (float)apply(n->op_type, n, (double)a->data[e], b ? (double)b->data[from] : 0);
    }
    return y;
}

static array run(const Onnx__NodeProto *n, array *const *in) {
    const char *op = n->op_type;
    if (strcmp(op, "Conv") == 0) return conv(n, in[0], in[1], in[2]);
    if (strcmp(op, "BatchNormalization") == 0) return batch_norm(n, in[0], in);
    if (strcmp(op, "MaxPool") == 0 || strcmp(op, "AveragePool") == 0) return pool(n, in[0], op[0] == 'M');
    if (strcmp(op, "Gemm") == 0) return matmul(n, in[0], in[1], in[2], true);
    if (strcmp(op, "MatMul") == 0) return matmul(n, in[0], in[1], NULL, false);
    if (strcmp(op, "Flatten") == 0) return reshape(n, in[0], NULL);
    if (strcmp(op, "Reshape") == 0) return reshape(n, in[0], in[1]);
    if (strcmp(op, "Transpose") == 0) return transpose(n, in[0]);
    if (strcmp(op, "Softmax") == 0) return softmax(n, in[0]);
    if (strcmp(op, "ReduceMean") == 0) return mean_over_channels(n, in[0]);
    array y = {0};
    if (strcmp(op, "GlobalAveragePool") == 0) {
        y = make(n->output[0], 4, (int[]){in[0]->dims[0], in[0]->dims[1], 1, 1});
        size_t area = (size_t)(in[0]->dims[2] * in[0]->dims[3]);
        for (size_t e = 0; e < y.count; e++) {
            double sum = 0;
            for (size_t p = 0; p < area; p++) sum += (double)in[0]->data[e * area + p];
            y.data[e] = (float)(sum / (double)area);
        }
    } else if (strcmp(op, "Clip") == 0) {
        y = like(n->output[0], in[0]);
        for (size_t e = 0; e < y.count; e++) y.data[e] = fminf(fmaxf(in[0]->data[e], in[1]->data[0]), in[2]->data[0]);
    } else if (one_of(op, " Relu Sigmoid Erf Sqrt HardSigmoid Add Sub Mul Div ")) {
        bool second = in[1] && in[1]->count > in[0]->count; // commutative ones may have the small value first
        y = elementwise(n, in[second], in[!second]);
    }
    return y;
}

bool onnx_evaluate(const Onnx__ModelProto *model, const float *input, int batch, array *output, const char **why) {
    const Onnx__GraphProto *g = model->graph;
    machine *m = calloc(1, sizeof *m);
    bool good = g->n_input == 1 && g->n_output == 1 && g->n_node < MOST / 2;
    *why = "inputs or outputs";
    for (size_t i = 0; good && i < g->n_initializer; i++) good = add_constant(m, g->initializer[i]);
    if (good) {
        const Onnx__TensorShapeProto *shape = g->input[0]->type->tensor_type->shape;
        int dims[4] = {batch};
        for (size_t d = 1; d < 4; d++) dims[d] = (int)shape->dim[d]->dim_value;
        m->value[m->values] = make(g->input[0]->name, 4, dims);
        memcpy(m->value[m->values].data, input, m->value[m->values].count * sizeof(float));
        m->values++;
    }
    for (size_t i = 0; good && i < g->n_node; i++) {
        array *in[8] = {0};
        for (size_t j = 0; good && j < g->node[i]->n_input; j++) good = (in[j] = find(m, g->node[i]->input[j])) != NULL;
        *why = g->node[i]->op_type;
        good = good && !find(m, g->node[i]->output[0]) && m->values < MOST; // names are given once
        if (good) m->value[m->values] = run(g->node[i], in);
        good = good && m->value[m->values++].data;
    }
    array *last = good ? find(m, g->output[0]->name) : NULL;
    if (last) {
        *output = *last;
        last->data = NULL;
    }
    for (int i = 0; i < m->values; i++) free(m->value[i].data);
    free(m);
    return last != NULL;
}
