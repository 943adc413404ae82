// SPDX-License-Identifier: Apache-2.0
// Reading ONNX test vectors: a folder holds model.onnx and test_data_set_0/{input,output}_N.pb.
#ifndef GAMUT_TESTS_ONNX_VALUES_H
#define GAMUT_TESTS_ONNX_VALUES_H

#include <gamut/kernel.h>

#include "onnx.pb-c.h"

enum { MAX_DIMS = 6, MAX_COUNT = 1 << 24 }; // MAX_COUNT: elements
typedef struct value {
    char name[64];
    int rank;
    int dims[MAX_DIMS];
    size_t count;
    float *data;      // integers are converted (they are small)
    bool is_float;
} value;

typedef struct vector {
    Onnx__ModelProto *model;
    const Onnx__NodeProto *node; // the only one
    value input[8], expected[4];
    int inputs, outputs;
} vector;

// False: not a single-node model of tensors that we read (not an error).
bool vector_open(const char *folder, vector *v);
void vector_close(vector *v);
int64_t attribute_int(const Onnx__NodeProto *n, const char *name, int64_t otherwise);
float attribute_float(const Onnx__NodeProto *n, const char *name, float otherwise);
const char *attribute_string(const Onnx__NodeProto *n, const char *name, const char *otherwise);
// Number of integers in a list attribute (0: absent), copied to out.
int attribute_ints(const Onnx__NodeProto *n, const char *name, int *out, int max);

// Runs the vector on a kernel table. 0: not ours (reason set), 1: run, outputs compared, *worst = largest error.
int run_operator(const gm_kernels *k, const vector *v, const char **reason, double *worst);

#endif
