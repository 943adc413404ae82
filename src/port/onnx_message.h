// SPDX-License-Identifier: Apache-2.0
// An ONNX graph under construction: one arena of small blocks, the first failure kept, so that operations write their
// nodes one after another and look once.
#ifndef GAMUT_PORT_ONNX_MESSAGE_H
#define GAMUT_PORT_ONNX_MESSAGE_H

#include <gamut/port.h>

#include <onnx.pb-c.h>

enum { GM__ONNX_MAX_NODES = 1 << 16, GM__ONNX_ATTRIBUTES = 8 };

typedef struct gm__onnx {
    const gm_subnet *s;
    bool fold;
    gm_error *err;
    gm_status status;
    void **block; // the arena
    int blocks, blocks_cap;
    Onnx__NodeProto **node;
    Onnx__TensorProto **initializer;
    int nodes, nodes_cap, initializers, initializers_cap;
    // one a node of the graph
    char **value;  // the ONNX value that holds its output; NULL: not in use
    int *follower; // the only node that reads it; -1: none, or several
    bool *folded;  // a norm whose scale and shift are in the convolution before it
} gm__onnx;

// Zeroed; NULL after a failure.
void *gm__onnx_alloc(gm__onnx *x, size_t count, size_t size);
char *gm__onnx_text(gm__onnx *x, const char *format, ...) GM_PRINTF(2, 3);
// A node with one output, whose name is returned (NULL after a failure). Inputs end with NULL.
char *gm__onnx_node(gm__onnx *x, const char *type, char *output, char *const *inputs);
// Attributes of the newest node.
void gm__onnx_int(gm__onnx *x, const char *name, int64_t v);
void gm__onnx_float(gm__onnx *x, const char *name, float v);
void gm__onnx_ints(gm__onnx *x, const char *name, int count, const int64_t *v);
// Constants: the data must live as long as x. Returns the name.
char *gm__onnx_floats(gm__onnx *x, char *name, int rank, const uint64_t *dims, const float *data);
char *gm__onnx_wholes(gm__onnx *x, char *name, int count, const int64_t *v); // copied
char *gm__onnx_scalar(gm__onnx *x, char *name, float v);
void gm__onnx_fini(gm__onnx *x);

// onnx_operators.c: the nodes of one operation; x->value[node] is set. An operation without a form is an error.
void gm__onnx_operation(gm__onnx *x, int node);

#endif
