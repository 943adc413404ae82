// SPDX-License-Identifier: Apache-2.0
// The operations (one file each) and the few helpers that they share.
#ifndef GAMUT_GRAPH_OPS_H
#define GAMUT_GRAPH_OPS_H

#include <gamut/graph.h>

// The list of operations: adding one touches this list, its file and its test.
#define GM_OP_LIST(X)                                                                              \
    X(input) X(conv) X(linear) X(depthwise) X(norm) X(act) X(squeeze_excite) X(max_pool)           \
    X(avg_pool) X(global_pool) X(dropout) X(add) X(select) X(layer_norm) X(rms_norm) X(attention)

#define GM_OP_DECLARE(name) extern const gm_op gm__op_##name;
GM_OP_LIST(GM_OP_DECLARE)
#undef GM_OP_DECLARE

// The value that input j of a node reads (aliases followed).
static inline gm_value *gm__in(gm_exec *x, int node, int j) {
    return &x->value[x->resolved->node[node].from[j]];
}
static inline gm_value *gm__out(gm_exec *x, int node) { return &x->value[node]; }
static inline bool gm__accumulates(const gm_exec *x, int node, int j) {
    return (x->accumulate[node] >> j) & 1u;
}
static inline int gm__positions(const gm_value *v) { return v->shape.h * v->shape.w; }
// Address of the first row of an image in a buffer laid out like v, elements of `type`.
static inline void *gm__rows(const gm_value *v, void *base, gm_dtype type, int image) {
    size_t row = (size_t)v->ld * gm_dtype_size(type);
    return (char *)base + (size_t)image * (size_t)gm__positions(v) * row;
}
static inline void *gm__data(const gm_value *v, int image) {
    return gm__rows(v, v->data, v->type, image);
}
// Gradients have the type of the pass (the logits' values are f32, their gradients are not).
static inline void *gm__grad(const gm_exec *x, const gm_value *v, int image) {
    return gm__rows(v, v->grad, x->type, image);
}
static inline const float *gm__param(const gm_exec *x, int node, int j) {
    int p = x->graph->node[node].param[j];
    return p < 0 ? NULL : x->params + x->graph->param[p].offset;
}
static inline float *gm__param_grad(const gm_exec *x, int node, int j) {
    int p = x->graph->node[node].param[j];
    return p < 0 ? NULL : x->grads + x->graph->param[p].offset;
}
static inline int gm__groups(int images, int positions) {
    int group = gm_image_group(positions);
    return (images + group - 1) / group;
}
// Cuts a block of memory into 64-byte aligned parts; with base NULL it only counts.
static inline void *gm__carve(char *base, size_t *used, size_t bytes) {
    void *part = base ? base + *used : NULL;
    *used += (bytes + 63) / 64 * 64;
    return part;
}

// out = shape of input 0: the resolve rule of elementwise operations.
gm_status gm__resolve_same(const gm_graph *g, int node, gm_resolved *r, gm_error *err);
// Spatial size after a window: error when nothing is left.
gm_status gm__resolve_window(const gm_graph *g, int node, gm_resolved *r, int taps, int pad,
                             bool ceil_mode, gm_error *err);
// slice rules shared by operations: a vector over the active output channels
void gm__slice_channels(const gm_graph *g, int node, const gm_resolved *r, int j, int extent[4]);
static inline void gm__extent(int extent[4], int a, int b, int c, int d) {
    extent[0] = a, extent[1] = b, extent[2] = c, extent[3] = d;
}
// bias gradient: grad[c] += sum over rows of dy
void gm__bias_grad(gm_exec *x, int rows, int c, const void *dy, int ld, float *grad, float *tmp);

// A dense product seen from an operation: geometry of the active subnet for images [image0, image1).
gm_conv gm__dense_geometry(const gm_exec *x, int node, int images);
// Partition of a weight gradient into units: along the inputs when there are enough, else along output panels.
typedef struct gm__weight_split {
    bool by_input;
    int units, step; // step: input channels a unit
} gm__weight_split;
gm__weight_split gm__split_weights(const gm_conv *g, bool flat);
void gm__dense_wgrad(gm_exec *x, const gm_conv *g, const void *in, const void *dy, int param, int unit0,
                     int unit1, int worker);

#endif
