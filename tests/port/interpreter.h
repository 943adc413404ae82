// SPDX-License-Identifier: Apache-2.0
// A naive evaluator of ONNX graphs: plain loops over (batch, channels, rows, columns), written from the operators'
// definitions and independent of our kernels. Only what exported models use.
#ifndef GAMUT_TESTS_PORT_INTERPRETER_H
#define GAMUT_TESTS_PORT_INTERPRETER_H

#include <stdbool.h>
#include <stddef.h>

#include "onnx.pb-c.h"

typedef struct array {
    const char *name;
    int rank, dims[4];
    size_t count;
    float *data; // whole numbers too: they are small
} array;

// Runs the model on its one input. False: *why says what it does not know. The result's data is the caller's (free).
bool onnx_evaluate(const Onnx__ModelProto *model, const float *input, int batch, array *output, const char **why);

#endif
