// SPDX-License-Identifier: Apache-2.0
// The predictor from within: a small graph, run and trained by the walker like any other network.
#ifndef GAMUT_SEARCH_PREDICTOR_H
#define GAMUT_SEARCH_PREDICTOR_H

#include <gamut/search.h>

enum { GM__PREDICTOR_BATCH = 256, GM__PREDICTOR_LAYERS = 8 };

struct gm_predictor {
    gm_encoding encoding;
    gm_space space;
    int inputs, layers;
    double base;     // added to the output
    gm_graph *graph; // one input node, then linear layers with ReLU between them
    float *params;   // graph->floats
    gm_walker *walker;
    gm_batch batch;  // GM__PREDICTOR_BATCH rows of inputs
};

// widths[layers + 1]: inputs first, 1 last. bias[layers]. Parameters are zero.
gm_status gm__predictor_new(gm_encoding encoding, const gm_space *space, int layers, const int *widths, const bool *bias,
                            gm_predictor **out, gm_error *err);
// Layer l's weight and bias in the graph (bias NULL: none).
const gm_param *gm__predictor_weight(const gm_predictor *p, int layer);
const gm_param *gm__predictor_bias(const gm_predictor *p, int layer);
// The row of inputs of image i of the batch.
static inline float *gm__predictor_row(gm_predictor *p, int i) { return (float *)p->batch.x + (size_t)i * (size_t)p->batch.ld; }

#endif
