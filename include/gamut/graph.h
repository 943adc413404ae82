// SPDX-License-Identifier: Apache-2.0
// graph: the supernet written down once, as data. Nodes name an operation, their inputs and their parameters; every
// size is a function of the choice. Whoever needs the network walks this graph.
#ifndef GAMUT_GRAPH_H
#define GAMUT_GRAPH_H

#include <gamut/kernel.h>
#include <gamut/space.h>

// An elastic size: a table over at most two knobs. value = tables[offset + index(a)*count(b) + index(b)];
// a knob of -1 counts as one value. A constant is a table of one entry.
typedef struct gm_size {
    int16_t knob_a, knob_b;
    int32_t offset, max; // into gm_graph.tables; the largest entry
} gm_size;

// A node or block in use only when choice[knob] >= min (an index); knob -1: always.
typedef struct gm_gate {
    int16_t knob;
    uint8_t min;
} gm_gate;

typedef struct gm_shape { // of a value; sequences use h = tokens, w = 1
    int h, w, c;
} gm_shape;

// Parameters. Masters are f32 in one contiguous buffer (64-byte aligned parts).
typedef enum gm_layout {
    GM_LAYOUT_PANELS, // dense weights, dims (O, I, r, s), layout of gm_panels f32
    GM_LAYOUT_TAPS,   // depthwise, dims (C, 1, r, s): [r*s][round_up(C,16)]
    GM_LAYOUT_PLAIN   // vectors and small matrices, row-major, unpadded
} gm_layout;
typedef enum gm_init { GM_INIT_ZERO, GM_INIT_ONE, GM_INIT_HE_FANOUT, GM_INIT_HE_FANIN, GM_INIT_LINEAR, GM_INIT_IDENTITY,
                       GM_INIT_NORMAL } gm_init; // NORMAL: std 0.02; LINEAR: uniform +-1/sqrt(fan in)
typedef struct gm_param {
    char name[96]; // PyTorch style path, e.g. "blocks.3.conv1.weight"
    gm_layout layout;
    gm_init init;
    bool decay;    // weight decay applies (not to norms and biases)
    int flat;      // panels: few inputs, see gm_panels
    int dims[4];   // as PyTorch orders them (O, I, r, s); unused dims are 1
    int rank;
    size_t offset, count; // in floats, into the contiguous buffer (count includes padding)
} gm_param;

// Between the stored layout and rows as PyTorch orders them (gm_param_elements floats); gm_param_index: where element e
// of the rows is stored. Import writes padding zero.
GM_API size_t gm_param_elements(const gm_param *p);
GM_API size_t gm_param_index(const gm_param *p, size_t e);
GM_API void gm_param_export(const gm_param *p, const float *stored, float *rows);
GM_API void gm_param_import(const gm_param *p, const float *rows, float *stored);

typedef struct gm_op gm_op;

enum { GM_MAX_INPUTS = 3, GM_MAX_NODE_PARAMS = 6 };
typedef struct gm_node {
    const gm_op *op;
    char name[64];
    int input[GM_MAX_INPUTS]; // node numbers, -1 unused; always smaller than this node's number
    int param[GM_MAX_NODE_PARAMS]; // indices into params, -1 unused; meaning: see the operation
    gm_gate gate;
    // attributes; unused ones are zero
    gm_size out;    // active output channels (conv, linear), hidden units (squeeze-excite), resolution (input)
    gm_size kernel; // depthwise: active taps per side
    int stride, pad;
    int taps;       // dense conv and pools: kernel side
    gm_act act;
    bool ceil_mode, transform; // pools; depthwise with learned kernel transform
    int heads_dim;             // attention: width of one head
    float rate;                // dropout
    float eps;                 // norms
} gm_node;

typedef struct gm_graph {
    char family[32];
    gm_space space;
    int nodes, params, tables_used;
    int nodes_cap, params_cap, tables_cap;
    gm_node *node;
    gm_param *param;
    int32_t *tables;
    size_t floats;                // of the contiguous parameter buffer
    int input_channels, classes;  // the input node is node 0; the last node gives the logits
    int norms;                    // number of batch-norm nodes
    size_t norm_floats;           // sum of their widest channel counts
} gm_graph;

// --- building (families use these; builders stop at the first error, kept in b->err)
typedef struct gm_builder {
    gm_graph *graph;
    gm_error err;
    gm_gate gate;      // applied to nodes added from now on
    char prefix[64];   // prepended to node and parameter names, e.g. "blocks.3."
    float norm_eps;    // of the batch norms added from now on; 0: 1e-5
} gm_builder;
GM_API gm_status gm_graph_create(const char *family, gm_graph **out, gm_error *err);
GM_API void gm_graph_destroy(gm_graph *graph);
GM_API gm_size gm_size_const(gm_builder *b, int value);
// fn(value of a, value of b): tabulated at once over all allowed values; knob_b may be -1 (second argument 0)
GM_API gm_size gm_size_table(gm_builder *b, int knob_a, int knob_b, int (*fn)(void *ctx, double a, double bval), void *ctx);
// Each returns the new node's number, or -1 after an error.
GM_API int gm_add_input(gm_builder *b, gm_size resolution, int channels);
GM_API int gm_add_conv(gm_builder *b, const char *name, int x, gm_size out, int taps, int stride, bool bias, gm_init init);
GM_API int gm_add_depthwise(gm_builder *b, const char *name, int x, gm_size kernel, int stride, bool transform);
// y = act(norm(x) + residual); residual -1: none. name + ".weight/.bias" are gamma and beta.
GM_API int gm_add_norm(gm_builder *b, const char *name, int x, int residual, gm_act act, bool zero_gamma);
GM_API int gm_add_act(gm_builder *b, int x, gm_act act);
GM_API int gm_add_squeeze_excite(gm_builder *b, const char *name, int x, gm_size hidden);
GM_API int gm_add_max_pool(gm_builder *b, int x, int taps, int stride, int pad);
GM_API int gm_add_avg_pool(gm_builder *b, int x, int taps, int stride, bool ceil_mode);
GM_API int gm_add_global_pool(gm_builder *b, int x);
GM_API int gm_add_dropout(gm_builder *b, int x, float rate);
GM_API int gm_add_linear(gm_builder *b, const char *name, int x, gm_size out, bool bias);
GM_API int gm_add_add(gm_builder *b, int x, int y);
// Depth elasticity: the value of `inside` when gate holds, else the value of `shortcut` (an alias, no copy).
GM_API int gm_add_select(gm_builder *b, gm_gate gate, int inside, int shortcut);
// Transformer parts: tokens are rows.
GM_API int gm_add_layer_norm(gm_builder *b, const char *name, int x);
GM_API int gm_add_rms_norm(gm_builder *b, const char *name, int x);
// q, k, v: heads * head_dim channels each
GM_API int gm_add_attention(gm_builder *b, int q, int k, int v, int head_dim);
// After the last node: checks the graph, lays the parameters out.
GM_API gm_status gm_graph_finish(gm_builder *b, gm_error *err);

// --- resolution of a choice into sizes
typedef struct gm_resolved_node {
    bool active;
    int source;     // this node, or for a select / inactive alias the node whose value is used instead
    gm_shape in;    // of input 0 (after following aliases)
    gm_shape out;
    int kernel;     // active taps per side
    int hidden;     // squeeze-excite units
    int from[GM_MAX_INPUTS]; // inputs after following aliases, -1 unused
} gm_resolved_node;
typedef struct gm_resolved {
    gm_choice choice;
    int nodes;
    gm_resolved_node *node; // owned
} gm_resolved;
GM_API int gm_size_value(const gm_graph *g, const gm_size *size, const gm_choice *choice);
GM_API gm_status gm_resolved_init(gm_resolved *r, const gm_graph *g, gm_error *err); // allocates for g
GM_API void gm_resolved_fini(gm_resolved *r);
// Allocation free; errors on sizes that vanish (e.g. an image smaller than the network's strides allow).
GM_API gm_status gm_resolve(const gm_graph *g, const gm_choice *choice, gm_resolved *r, gm_error *err);

// --- counting (multiply-add = 1, over conv + linear + squeeze-excite; parameters: norms 2 a channel)
typedef struct gm_cost {
    uint64_t macs, params;
    int layers; // active convolutions and linear layers
} gm_cost;
GM_API gm_status gm_count(const gm_graph *g, const gm_choice *choice, gm_cost *out, gm_error *err);

// --- execution of one pass (the train and plan walkers own the loop over nodes and phases)
typedef struct gm_exec gm_exec;

typedef enum gm_mode {
    GM_MODE_TRAIN,     // batch statistics, everything kept for backward
    GM_MODE_CALIBRATE, // batch statistics, sums added to the collector
    GM_MODE_EVAL       // given statistics
} gm_mode;

// Image ranges of a node whose output has so many positions start at multiples of this; partial sums over images are kept one a
// group, so that their order of addition depends neither on the threads nor on the cache blocking. Large maps go one by
// one: four of 32x32x144 would leave the second-level cache between two operations.
static inline int gm_image_group(int positions) { return positions >= 128 ? 1 : 4; }

// One operation, one file, one of these. Image phases get an image range; they run on one worker's thread and may be cut
// between any two groups of images without changing the result. sync phases run alone, between image phases. NULL = nothing to do.
struct gm_op {
    const char *name;
    gm_status (*resolve)(const gm_graph *g, int node, gm_resolved *r, gm_error *err); // fills out, kernel, hidden
    void (*cost)(const gm_graph *g, int node, const gm_resolved *r, gm_cost *add);
    // The slice rule: extent[0..3] = the part of parameter j (of node.param) that the subnet uses, in the order of
    // gm_param.dims: a prefix of outputs and inputs, the centre of the taps. Extents of 0: not at all.
    void (*slice)(const gm_graph *g, int node, const gm_resolved *r, int j, int extent[4]);
    void (*prepare)(gm_exec *x, int node); // alone, before the pass: what depends on parameters only
    void (*forward)(gm_exec *x, int node, int image0, int image1, int worker);
    void (*forward_sync)(gm_exec *x, int node);
    void (*forward2)(gm_exec *x, int node, int image0, int image1, int worker);
    void (*backward)(gm_exec *x, int node, int image0, int image1, int worker);
    void (*backward_sync)(gm_exec *x, int node);
    void (*backward2)(gm_exec *x, int node, int image0, int image1, int worker);
    int (*weight_units)(gm_exec *x, int node); // parallel units of the weight gradient, whole batch each
    void (*backward_weights)(gm_exec *x, int node, int unit0, int unit1, int worker);
    void (*weights_sync)(gm_exec *x, int node); // alone, after backward_weights
    size_t (*aux)(const gm_graph *g, int node, const gm_resolved *r, int batch); // bytes of per-pass memory
    size_t (*scratch)(const gm_graph *g, int node, const gm_resolved *r, int batch, gm_dtype type); // bytes a worker
    bool in_place; // backward may write the gradient of input 0 over that of its output, which has the same shape
};

typedef struct gm_value {
    gm_shape shape;
    int ld;            // row stride in elements
    gm_dtype type;
    void *data;        // [batch*h*w][ld]
    void *grad;        // same layout; NULL when no gradient flows
} gm_value;

struct gm_exec {
    const gm_graph *graph;
    const gm_resolved *resolved;
    const gm_kernels *kernels;
    gm_mode mode;
    gm_dtype type;            // of activations and their gradients
    int batch;
    gm_value *value;          // one a node (aliases: use from[] / source)
    void **aux;               // one a node: per-pass memory of the operation
    uint8_t *accumulate;      // one a node: bit j set = add to the gradient of input j, else overwrite
    const float *params;      // master buffer
    float *grads;             // same layout, gradients are added
    gm_panels *panels;        // one a parameter: forward panels in `type` (f32: the masters)
    gm_panels *panels_t;      // transposed, for backward
    // batch norm: given statistics (EVAL) or sums to add to (CALIBRATE), graph->norm_floats each, at norm_offset[node]
    const size_t *norm_offset;
    const float *norm_mean, *norm_var;
    double *norm_sum, *norm_sumsq;
    uint64_t seed, step;      // for dropout masks
    float dropout_scale;      // 0 switches dropout off
};

// All operations; tests iterate over it.
GM_API const gm_op *const *gm_ops(int *count);
GM_API const gm_op *gm_op_find(const char *name);

#endif
