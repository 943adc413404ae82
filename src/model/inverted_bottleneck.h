// SPDX-License-Identifier: Apache-2.0
// Inverted bottleneck blocks with elastic kernel, expand ratio and depth: the body of MobileNetV3 and Proxyless.
#ifndef GAMUT_MODEL_INVERTED_BOTTLENECK_H
#define GAMUT_MODEL_INVERTED_BOTTLENECK_H

#include "model/family.h"

enum { GM__MB_STAGES = 6 };
typedef struct gm__mb_stage {
    int width;  // output channels before the width multiplier
    int blocks; // the first block has the stride; with more than one, 2 to `blocks` are kept
    int stride;
    gm_act act;
    bool squeeze_excite;
} gm__mb_stage;

typedef struct gm__mb_body {
    int first_width, block0_width, stages;
    gm__mb_stage stage[GM__MB_STAGES];
    gm_act first_act;
} gm__mb_body;

typedef struct gm__mb_knobs {
    int depth[GM__MB_STAGES];   // -1: fixed
    int expand[GM__MB_STAGES * 4], kernel[GM__MB_STAGES * 4]; // one a block; kernel -1: fixed
} gm__mb_knobs;

// Knobs d, e, k of all elastic blocks, in this order.
void gm__mb_add_knobs(gm_builder *b, const gm__mb_body *body, const gm_model_settings *s, gm__mb_knobs *knobs);
// First convolution, block 0 and the elastic stages after the input node x. Returns the last node.
int gm__mb_emit(gm_builder *b, const gm__mb_body *body, const gm_model_settings *s, const gm__mb_knobs *knobs, int x,
                int first_stride);

#endif
