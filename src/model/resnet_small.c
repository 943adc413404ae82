// SPDX-License-Identifier: Apache-2.0
// model: small residual supernets for 28x28 and 32x32 images. Plain 3x3 convolutions: depthwise ones are bound by memory,
// and a CPU reaches accuracy faster with dense ones (specs: training 8.3). The first stage halves the map at once: at full
// size the same network would cost 80 M multiply-adds a picture instead of 22 M (resnet-28). One table a preset says the shape.
#include <math.h>

#include "model/family.h"

enum { MAX_STAGES = 4, MAX_STAGE_BLOCKS = 6, MAX_EXPANDS = 6 };

struct gm__resnet_small_shape {
    int stem_width, stages;
    struct {
        int width, blocks; // 1 to `blocks` are kept
        int stride;        // of the first block
    } stage[MAX_STAGES];
    int expands;
    double expand[MAX_EXPANDS]; // of a block's middle width, relative to its output width
};

const struct gm__resnet_small_shape gm__resnet_28 = {
    .stem_width = 32,
    .stages = 3,
    .stage = {{32, 2, 2}, {64, 2, 2}, {128, 2, 2}},
    .expands = 3,
    .expand = {0.25, 0.5, 1.0},
};
const struct gm__resnet_small_shape gm__resnet_32 = {
    .stem_width = 64,
    .stages = 3,
    .stage = {{128, 2, 2}, {256, 2, 2}, {256, 2, 2}},
    .expands = 3,
    .expand = {0.25, 0.5, 1.0},
};

typedef struct knobs {
    int depth[MAX_STAGES], expand[MAX_STAGES][MAX_STAGE_BLOCKS];
} knobs;

static gm_gate block_gate(const knobs *k, int stage, int j) {
    if (j == 0) return gm__always();
    return (gm_gate){.knob = (int16_t)k->depth[stage], .min = (uint8_t)j};
}

static knobs add_knobs(gm_builder *b, const struct gm__resnet_small_shape *m) {
    static const double depths[MAX_STAGE_BLOCKS] = {1, 2, 3, 4, 5, 6};
    knobs k;
    for (int i = 0; i < m->stages; i++)
        k.depth[i] = gm__knob(b, "d", "depth", depths, m->stage[i].blocks, gm__always());
    for (int i = 0; i < m->stages; i++)
        for (int j = 0; j < m->stage[i].blocks; j++)
            k.expand[i][j] = gm__knob(b, "e", "expand", m->expand, m->expands, block_gate(&k, i, j));
    return k;
}

static int middle(void *ctx, double expand, double unused) {
    (void)unused;
    return gm__make_divisible(nearbyint(*(const int *)ctx * expand), 8);
}

static int emit_block(gm_builder *b, const gm_model_settings *s, int x, int in, int out, int stride, int expand_knob) {
    int width = out, shortcut = x;
    if (stride > 1 || in != out) {
        if (stride > 1) shortcut = gm_add_avg_pool(b, shortcut, stride, stride, true);
        shortcut = gm_add_conv(b, "shortcut.conv", shortcut, gm_size_const(b, out), 1, 1, false, GM_INIT_HE_FANOUT);
        shortcut = gm_add_norm(b, "shortcut.norm", shortcut, -1, GM_ACT_NONE, false);
    }
    x = gm_add_conv(b, "conv1", x, gm_size_table(b, expand_knob, -1, middle, &width), 3, stride, false,
                    GM_INIT_HE_FANOUT);
    x = gm_add_norm(b, "norm1", x, -1, GM_ACT_RELU, false);
    x = gm_add_conv(b, "conv2", x, gm_size_const(b, out), 3, 1, false, GM_INIT_HE_FANOUT);
    return gm_add_norm(b, "norm2", x, shortcut, GM_ACT_RELU, s->zero_gamma);
}

void gm__emit_resnet_small(gm_builder *b, const void *shape, const gm_model_settings *s) {
    const struct gm__resnet_small_shape *m = shape;
    knobs k = add_knobs(b, m);
    int in = gm__make_divisible(m->stem_width * s->width, 8);
    int x = gm_add_input(b, gm__resolution_steps(b, s), s->channels);
    x = gm_add_conv(b, "stem.conv", x, gm_size_const(b, in), 3, 1, false, GM_INIT_HE_FANOUT);
    x = gm_add_norm(b, "stem.norm", x, -1, GM_ACT_RELU, false);
    for (int i = 0; i < m->stages; i++) {
        int out = gm__make_divisible(m->stage[i].width * s->width, 8);
        for (int j = 0; j < m->stage[i].blocks; j++) {
            gm_gate gate = b->gate = block_gate(&k, i, j);
            snprintf(b->prefix, sizeof b->prefix, "stages.%d.blocks.%d.", i, j);
            int y = emit_block(b, s, x, in, out, j == 0 ? m->stage[i].stride : 1, k.expand[i][j]);
            b->gate = gm__always();
            b->prefix[0] = '\0';
            x = gate.knob >= 0 ? gm_add_select(b, gate, y, x) : y;
            in = out;
        }
    }
    x = gm_add_global_pool(b, x);
    gm__classifier(b, s, "classifier", x);
}
