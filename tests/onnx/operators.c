// SPDX-License-Identifier: Apache-2.0
// ONNX operators by our kernels: NCHW tensors go to padded NHWC rows and back; what ONNX allows and our kernels do not have
// (dilation, asymmetric padding, other axes) is refused with its reason, never silently passed.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "onnx/values.h"

#define REFUSE(text)                                                                               \
    do {                                                                                           \
        *reason = (text);                                                                          \
        return 0;                                                                                  \
    } while (0)

typedef struct rows { // n*h*w rows of c channels
    int n, h, w, c, ld;
    float *data;
} rows;

static rows rows_new(int n, int h, int w, int c) {
    rows r = {n, h, w, c, gm_channel_stride(GM_F32, c), NULL};
    r.data = gm_alloc((size_t)n * (size_t)h * (size_t)w * (size_t)r.ld, sizeof(float));
    return r;
}

// 4-D (N,C,H,W) or 2-D (N,C).
static rows rows_of(const value *v) {
    int h = v->rank == 4 ? v->dims[2] : 1, w = v->rank == 4 ? v->dims[3] : 1;
    rows r = rows_new(v->dims[0], h, w, v->dims[1]);
    for (int n = 0; n < r.n; n++)
        for (int c = 0; c < r.c; c++)
            for (int p = 0; p < h * w; p++) r.data[(n * h * w + p) * r.ld + c] = v->data[(n * r.c + c) * h * w + p];
    return r;
}

// A tensor as `count` vectors of its trailing c elements.
static rows rows_flat(const value *v, int c) {
    rows r = rows_new((int)(v->count / (size_t)c), 1, 1, c);
    for (int n = 0; n < r.n; n++) memcpy(r.data + n * r.ld, v->data + n * c, (size_t)c * sizeof(float));
    return r;
}

static double differ(float got, float want) {
    if (!(got == got) || !(want == want)) return 1e30;
    return fabs((double)got - (double)want) / (1.0 + fabs((double)want));
}

static int compare_nchw(rows r, const value *want, double *worst) {
    int hw = r.h * r.w;
    if (want->count != (size_t)r.n * (size_t)r.c * (size_t)hw) *worst = 1e30;
    for (int n = 0; n < r.n && *worst < 1e29; n++)
        for (int p = 0; p < hw; p++) {
            for (int c = 0; c < r.c; c++)
                *worst = fmax(*worst, differ(r.data[(n * hw + p) * r.ld + c], want->data[(n * r.c + c) * hw + p]));
            for (int c = r.c; c < r.ld; c++) *worst = fmax(*worst, fabs((double)r.data[(n * hw + p) * r.ld + c]));
        }
    gm_free(r.data);
    return 1;
}

static int compare_flat(rows r, const value *want, double *worst) {
    if (want->count != (size_t)r.n * (size_t)r.c) *worst = 1e30;
    for (int n = 0; n < r.n && *worst < 1e29; n++)
        for (int c = 0; c < r.c; c++) *worst = fmax(*worst, differ(r.data[n * r.ld + c], want->data[n * r.c + c]));
    gm_free(r.data);
    return 1;
}

static gm_panels pack(const gm_kernels *k, const float *oihw, int o, int i, int r, int s, gm_panels *master) {
    (void)k;
    size_t count = gm_panels_layout(master, GM_F32, o, i, r, s, 0);
    master->data = gm_alloc(count, sizeof(float));
    for (int a = 0; a < o; a++)
        for (int b = 0; b < i; b++)
            for (int t = 0; t < r * s; t++)
                ((float *)master->data)[gm_panels_index(master, a, b, t)] = oihw[(a * i + b) * r * s + t];
    return *master;
}

// Window attributes shared by convolutions and pools; false: not ours.
static bool window(const Onnx__NodeProto *n, int *taps, int *stride, int *pad, const value *w) {
    int k[4] = {0}, s[4] = {1, 1}, p[4] = {0}, d[4] = {1, 1};
    if (!attribute_ints(n, "kernel_shape", k, 4)) {
        if (!w) return false;
        k[0] = w->dims[2];
        k[1] = w->dims[3];
    }
    attribute_ints(n, "strides", s, 4);
    attribute_ints(n, "dilations", d, 4);
    const char *automatic = attribute_string(n, "auto_pad", "NOTSET");
    if (strcmp(automatic, "NOTSET") == 0) attribute_ints(n, "pads", p, 4);
    else if (strncmp(automatic, "SAME", 4) == 0 && s[0] == 1 && k[0] % 2 == 1) p[0] = p[1] = p[2] = p[3] = k[0] / 2;
    else if (strcmp(automatic, "VALID") != 0) return false;
    *taps = k[0];
    *stride = s[0];
    *pad = p[0];
    return k[0] == k[1] && s[0] == s[1] && p[0] == p[1] && p[0] == p[2] && p[0] == p[3] && d[0] == 1 && d[1] == 1;
}

static int conv(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    const value *x = &v->input[0], *w = &v->input[1];
    int taps, stride, pad;
    if (x->rank != 4) REFUSE("not 2-D");
    if (!window(v->node, &taps, &stride, &pad, w)) REFUSE("dilated, oblong or asymmetric window");
    int groups = (int)attribute_int(v->node, "group", 1), o = w->dims[0];
    bool depthwise = groups > 1 && groups == x->dims[1] && o == groups;
    if (groups > 1 && !depthwise) REFUSE("groups that are neither one nor one a channel");
    if (depthwise && (taps != 3 || pad != 1)) REFUSE("depthwise without same padding");
    rows in = rows_of(x);
    rows out = rows_new(in.n, (in.h + 2 * pad - taps) / stride + 1, (in.w + 2 * pad - taps) / stride + 1, o);
    gm_conv g = {.n = in.n, .h = in.h, .w = in.w, .c = in.c, .ho = out.h, .wo = out.w, .k = o, .r = taps, .s = taps,
                 .stride = stride, .pad = pad, .ldx = in.ld, .ldy = out.ld};
    void *scratch = gm_alloc(gm_conv_scratch(&g, GM_F32) + 64, 1);
    gm_epilogue e = {.shift = v->inputs > 2 ? v->input[2].data : NULL, .out = GM_F32};
    if (depthwise) {
        float *dw = gm_alloc((size_t)(taps * taps * in.ld), sizeof(float));
        for (int c = 0; c < in.c; c++)
            for (int t = 0; t < taps * taps; t++) dw[t * in.ld + c] = w->data[c * taps * taps + t];
        k->depthwise(GM_F32, &g, in.data, dw, taps, in.ld, &e, out.data, scratch);
        gm_free(dw);
    } else {
        gm_panels master;
        pack(k, w->data, o, in.c, taps, taps, &master);
        k->conv(GM_F32, &g, in.data, &master, &e, out.data, scratch);
        gm_free(master.data);
    }
    gm_free(scratch);
    gm_free(in.data);
    return compare_nchw(out, &v->expected[0], worst);
}

// y = alpha x w + beta c, w (K,N) or with transB (N,K)
static int gemm(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    const value *x = &v->input[0], *w = &v->input[1], *c = v->inputs > 2 ? &v->input[2] : NULL;
    if (x->rank != 2 || w->rank != 2) REFUSE("not matrices");
    if (attribute_int(v->node, "transA", 0)) REFUSE("transposed left side");
    bool transposed = attribute_int(v->node, "transB", 0) != 0;
    int o = w->dims[transposed ? 0 : 1], i = w->dims[transposed ? 1 : 0];
    float *oi = gm_alloc((size_t)(o * i), sizeof(float)), *scale = gm_alloc((size_t)o, sizeof(float));
    for (int a = 0; a < o; a++)
        for (int b = 0; b < i; b++) oi[a * i + b] = transposed ? w->data[a * i + b] : w->data[b * o + a];
    rows in = rows_of(x), out = rows_new(in.n, 1, 1, o), add = rows_new(in.n, 1, 1, o);
    for (int a = 0; a < o; a++) scale[a] = attribute_float(v->node, "alpha", 1.0f);
    float beta = attribute_float(v->node, "beta", 1.0f);
    for (int n = 0; c && c->data && n < in.n; n++)
        for (int a = 0; a < o; a++) {
            int cols = c->rank > 0 ? c->dims[c->rank - 1] : 1, lines = c->rank > 1 ? c->dims[0] : 1;
            add.data[n * add.ld + a] = beta * c->data[(lines > 1 ? n : 0) * cols + (cols > 1 ? a : 0)];
        }
    gm_conv g = {.n = in.n, .h = 1, .w = 1, .c = i, .ho = 1, .wo = 1, .k = o, .r = 1, .s = 1, .stride = 1, .ldx = in.ld,
                 .ldy = out.ld};
    gm_panels master;
    pack(k, oi, o, i, 1, 1, &master);
    void *scratch = gm_alloc(gm_conv_scratch(&g, GM_F32) + 64, 1);
    gm_epilogue e = {.scale = scale, .residual = add.data, .ldr = add.ld, .out = GM_F32};
    k->conv(GM_F32, &g, in.data, &master, &e, out.data, scratch);
    void *blocks[] = {scratch, master.data, oi, scale, in.data, add.data};
    for (int b = 0; b < 6; b++) gm_free(blocks[b]);
    return compare_flat(out, &v->expected[0], worst);
}

static int pool(const gm_kernels *k, const vector *v, const char **reason, double *worst, bool max) {
    int taps, stride, pad;
    if (v->input[0].rank != 4 || !v->input[0].is_float) REFUSE("not 2-D float");
    if (v->outputs > 1) REFUSE("indices asked for");
    if (!window(v->node, &taps, &stride, &pad, NULL)) REFUSE("dilated, oblong or asymmetric window");
    if (!max && pad && attribute_int(v->node, "count_include_pad", 0)) REFUSE("padding counted");
    rows in = rows_of(&v->input[0]);
    int extra = attribute_int(v->node, "ceil_mode", 0) ? stride - 1 : 0;
    rows out = rows_new(in.n, (in.h + 2 * pad - taps + extra) / stride + 1, (in.w + 2 * pad - taps + extra) / stride + 1,
                        in.c);
    gm_conv g = {.n = in.n, .h = in.h, .w = in.w, .c = in.c, .ho = out.h, .wo = out.w, .k = in.c, .r = taps, .s = taps,
                 .stride = stride, .pad = pad, .ldx = in.ld, .ldy = out.ld};
    uint8_t *arg = gm_alloc((size_t)(out.n * out.h * out.w * out.ld), 1);
    if (max) k->max_pool(GM_F32, &g, in.data, out.data, arg);
    else k->avg_pool(GM_F32, &g, in.data, out.data);
    gm_free(arg);
    gm_free(in.data);
    return compare_nchw(out, &v->expected[0], worst);
}

static int global_pool(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    if (v->input[0].rank != 4) REFUSE("not 2-D");
    rows in = rows_of(&v->input[0]), out = rows_new(in.n, 1, 1, in.c);
    k->global_pool(GM_F32, in.n, in.h * in.w, in.c, in.data, in.ld, out.data, out.ld);
    gm_free(in.data);
    return compare_nchw(out, &v->expected[0], worst);
}

static int act(const gm_kernels *k, const vector *v, const char **reason, double *worst, gm_act a) {
    const value *x = &v->input[0];
    if (!x->rank || !x->is_float) REFUSE("a scalar or not float");
    rows in = rows_flat(x, x->dims[x->rank - 1]), out = rows_new(in.n, 1, 1, in.c);
    k->act(GM_F32, a, in.n, in.c, in.data, in.ld, out.data, out.ld);
    gm_free(in.data);
    return compare_flat(out, &v->expected[0], worst);
}

static int batch_norm(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    const value *x = &v->input[0], *gamma = &v->input[1], *beta = &v->input[2], *mean = &v->input[3], *var = &v->input[4];
    if (x->rank != 4) REFUSE("not 2-D");
    rows in = rows_of(x), out = rows_new(in.n, in.h, in.w, in.c);
    bool training = attribute_int(v->node, "training_mode", 0) != 0;
    float eps = attribute_float(v->node, "epsilon", 1e-5f), momentum = attribute_float(v->node, "momentum", 0.9f);
    float *m = gm_alloc((size_t)(6 * in.c), sizeof(float)), *s = m + in.c, *scale = s + in.c, *shift = scale + in.c;
    int count = in.n * in.h * in.w;
    if (training) k->norm_stats(GM_F32, count, in.c, in.data, in.ld, m, s);
    for (int c = 0; c < in.c; c++) {
        float mu = mean->data[c], sigma = var->data[c];
        if (training) {
            mu = m[c] / (float)count;
            sigma = s[c] / (float)count - mu * mu;
            *worst = fmax(*worst, differ(mean->data[c] * momentum + mu * (1 - momentum), v->expected[1].data[c]));
            *worst = fmax(*worst, differ(var->data[c] * momentum + sigma * (1 - momentum), v->expected[2].data[c]));
        }
        scale[c] = gamma->data[c] / sqrtf(sigma + eps);
        shift[c] = beta->data[c] - mu * scale[c];
    }
    k->norm_apply(GM_F32, count, in.c, in.data, in.ld, scale, shift, NULL, 0, GM_ACT_NONE, out.data, out.ld);
    gm_free(m);
    gm_free(in.data);
    return compare_nchw(out, &v->expected[0], worst);
}

static int layer_norm(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    const value *x = &v->input[0];
    int axis = (int)attribute_int(v->node, "axis", -1), c = 1;
    (void)reason;
    for (int i = axis < 0 ? axis + x->rank : axis; i < x->rank; i++) c *= x->dims[i];
    rows in = rows_flat(x, c), out = rows_new(in.n, 1, 1, c);
    float *mean = gm_alloc((size_t)(2 * in.n), sizeof(float)), *rstd = mean + in.n;
    k->layer_norm(GM_F32, in.n, c, in.data, in.ld, v->input[1].data, v->input[2].data,
                  attribute_float(v->node, "epsilon", 1e-5f), out.data, out.ld, mean, rstd);
    for (int n = 0; n < in.n && v->outputs == 3; n++) {
        *worst = fmax(*worst, differ(mean[n], v->expected[1].data[n]));
        *worst = fmax(*worst, differ(rstd[n], v->expected[2].data[n]));
    }
    gm_free(mean);
    gm_free(in.data);
    return compare_flat(out, &v->expected[0], worst);
}

static int softmax(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    const value *x = &v->input[0];
    int axis = (int)attribute_int(v->node, "axis", -1);
    if (axis != -1 && axis != x->rank - 1) REFUSE("another axis than the last");
    rows in = rows_flat(x, x->dims[x->rank - 1]), out = rows_new(in.n, 1, 1, in.c);
    k->softmax(in.n, in.c, in.data, in.ld, out.data, out.ld);
    gm_free(in.data);
    return compare_flat(out, &v->expected[0], worst);
}

static int cross_entropy(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    const value *x = &v->input[0];
    char how[32];
    snprintf(how, sizeof how, "%s", attribute_string(v->node, "reduction", "mean"));
    if (x->rank != 2) REFUSE("more than one position a sample");
    if (v->inputs > 2) REFUSE("class weights");
    if (attribute_int(v->node, "ignore_index", -1) >= 0) REFUSE("an ignored class");
    rows in = rows_of(x);
    int *label = gm_alloc((size_t)in.n, sizeof(int));
    float *loss = gm_alloc((size_t)in.n, sizeof(float)), sum = 0;
    for (int n = 0; n < in.n; n++) label[n] = (int)v->input[1].data[n];
    k->cross_entropy(in.n, in.c, in.data, in.ld, label, NULL, NULL, 0.0f, 1.0f, loss, NULL, 0);
    for (int n = 0; n < in.n; n++) {
        sum += loss[n];
        if (strcmp(how, "none") == 0) *worst = fmax(*worst, differ(loss[n], v->expected[0].data[n]));
    }
    if (strcmp(how, "mean") == 0) sum /= (float)in.n;
    if (strcmp(how, "none") != 0) *worst = fmax(*worst, differ(sum, v->expected[0].data[0]));
    gm_free(label);
    gm_free(loss);
    gm_free(in.data);
    return 1;
}

static int add(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    const value *a = &v->input[0], *b = &v->input[1];
    if (a->count != b->count || !a->is_float || !a->rank) REFUSE("broadcast, scalar or not float");
    rows x = rows_flat(a, a->dims[a->rank - 1]), y = rows_flat(b, a->dims[a->rank - 1]), out = rows_new(x.n, 1, 1, x.c);
    k->add(GM_F32, x.n, x.c, x.data, x.ld, y.data, y.ld, out.data, out.ld);
    gm_free(x.data);
    gm_free(y.data);
    return compare_flat(out, &v->expected[0], worst);
}

static int gather(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    const value *table = &v->input[0], *index = &v->input[1];
    if (attribute_int(v->node, "axis", 0) != 0) REFUSE("another axis than the first");
    int c = (int)(table->count / (size_t)table->dims[0]), n = (int)index->count;
    int *id = gm_alloc((size_t)n, sizeof(int));
    for (int i = 0; i < n; i++) {
        id[i] = (int)index->data[i];
        if (id[i] < 0) {
            gm_free(id);
            REFUSE("negative indices");
        }
    }
    rows in = rows_flat(table, c), out = rows_new(n, 1, 1, c);
    k->embedding(GM_F32, n, c, id, in.data, in.ld, out.data, out.ld);
    gm_free(in.data);
    gm_free(id);
    return compare_flat(out, &v->expected[0], worst);
}

int run_operator(const gm_kernels *k, const vector *v, const char **reason, double *worst) {
    const char *op = v->node->op_type;
    *worst = 0;
    *reason = "an operator that we do not have";
    if (strcmp(op, "Conv") == 0) return conv(k, v, reason, worst);
    if (strcmp(op, "Gemm") == 0 || strcmp(op, "MatMul") == 0) return gemm(k, v, reason, worst);
    if (strcmp(op, "MaxPool") == 0) return pool(k, v, reason, worst, true);
    if (strcmp(op, "AveragePool") == 0) return pool(k, v, reason, worst, false);
    if (strcmp(op, "GlobalAveragePool") == 0) return global_pool(k, v, reason, worst);
    if (strcmp(op, "Relu") == 0) return act(k, v, reason, worst, GM_ACT_RELU);
    if (strcmp(op, "Sigmoid") == 0) return act(k, v, reason, worst, GM_ACT_SIGMOID);
    if (strcmp(op, "HardSwish") == 0) return act(k, v, reason, worst, GM_ACT_HSWISH);
    if (strcmp(op, "HardSigmoid") == 0) {
        if (fabsf(attribute_float(v->node, "alpha", 0.2f) - 1.0f / 6.0f) > 1e-6f) REFUSE("slope other than 1/6");
        return act(k, v, reason, worst, GM_ACT_HSIGMOID);
    }
    if (strcmp(op, "BatchNormalization") == 0) return batch_norm(k, v, reason, worst);
    if (strcmp(op, "LayerNormalization") == 0) return layer_norm(k, v, reason, worst);
    if (strcmp(op, "Softmax") == 0) return softmax(k, v, reason, worst);
    if (strcmp(op, "SoftmaxCrossEntropyLoss") == 0) return cross_entropy(k, v, reason, worst);
    if (strcmp(op, "Add") == 0) return add(k, v, reason, worst);
    if (strcmp(op, "Gather") == 0) return gather(k, v, reason, worst);
    return 0;
}
