// SPDX-License-Identifier: Apache-2.0
// model: Once-for-all ResNet50-D (specs: training 2.4). Knobs: d1 the extra stem convolution {0, 2}, d2..d5 extra blocks a
// stage {0, 1, 2}; e one a block; w1 and w2 the stem's two widths, w3..w6 one a stage.
#include <math.h>

#include "model/family.h"

enum { STAGES = 4, EXTRA = 2, MAX_BLOCKS = 6 };
static const int stage_width[STAGES] = {256, 512, 1024, 2048}, base_depth[STAGES] = {2, 2, 4, 2};
static const double stem_depths[] = {0, 2}, extra_depths[] = {0, 1, 2}, expands[] = {0.2, 0.25, 0.35},
                    widths[] = {0.65, 0.8, 1.0}, resolutions[] = {128, 144, 160, 176, 192, 224, 240, 256};

typedef struct knobs {
    int stem, depth[STAGES], expand[STAGES][MAX_BLOCKS], stem_width[2], width[STAGES];
} knobs;

static gm_gate block_gate(const knobs *k, int stage, int j) {
    if (j < base_depth[stage]) return gm__always();
    return (gm_gate){.knob = (int16_t)k->depth[stage], .min = (uint8_t)(j - base_depth[stage] + 1)};
}

static knobs add_knobs(gm_builder *b) {
    knobs k;
    k.stem = gm__knob(b, "d", "depth", stem_depths, 2, gm__always());
    for (int i = 0; i < STAGES; i++) k.depth[i] = gm__knob(b, "d", "depth", extra_depths, 3, gm__always());
    for (int i = 0; i < STAGES; i++)
        for (int j = 0; j < base_depth[i] + EXTRA; j++)
            k.expand[i][j] = gm__knob(b, "e", "expand", expands, 3, block_gate(&k, i, j));
    for (int i = 0; i < 2; i++) k.stem_width[i] = gm__knob(b, "w", "width", widths, 3, gm__always());
    for (int i = 0; i < STAGES; i++) k.width[i] = gm__knob(b, "w", "width", widths, 3, gm__always());
    return k;
}

// ctx: the width before the elastic multiplier
static int scaled(void *ctx, double multiplier, double unused) {
    (void)unused;
    return gm__make_divisible(*(const double *)ctx * multiplier, 8);
}

// The bottleneck's middle width is a fraction of the stage's ACTIVE output width.
static int middle(void *ctx, double multiplier, double expand) {
    return gm__make_divisible(nearbyint(scaled(ctx, multiplier, 0) * expand), 8);
}

static int conv_norm(gm_builder *b, const char *name, int x, gm_size out, int taps, int stride, int residual,
                     gm_act act, bool zero_gamma) {
    char text[40];
    snprintf(text, sizeof text, "%s.conv.conv", name);
    x = gm_add_conv(b, text, x, out, taps, stride, false, GM_INIT_HE_FANOUT);
    snprintf(text, sizeof text, "%s.bn.bn", name);
    return gm_add_norm(b, text, x, residual, act, zero_gamma);
}

static int emit_stem(gm_builder *b, const knobs *k, const gm_model_settings *s, int x) {
    double inner = 32 * s->width, outer = 64 * s->width;
    gm_size inner_size = gm_size_table(b, k->stem_width[0], -1, scaled, &inner);
    x = conv_norm(b, "input_stem.0", x, inner_size, 3, 2, -1, GM_ACT_RELU, false);
    gm_gate gate = {.knob = (int16_t)k->stem, .min = 1}; // depth value 2 keeps it (2.4: "inverted name")
    b->gate = gate;
    int y = conv_norm(b, "input_stem.1.conv", x, inner_size, 3, 1, -1, GM_ACT_RELU, false);
    y = gm_add_add(b, y, x);
    b->gate = gm__always();
    x = gm_add_select(b, gate, y, x);
    x = conv_norm(b, "input_stem.2", x, gm_size_table(b, k->stem_width[1], -1, scaled, &outer), 3, 1, -1, GM_ACT_RELU,
                  false);
    return gm_add_max_pool(b, x, 3, 2, 1);
}

static int emit_block(gm_builder *b, const knobs *k, const gm_model_settings *s, int x, int stage, int j) {
    double width = stage_width[stage] * s->width;
    gm_size out = gm_size_table(b, k->width[stage], -1, scaled, &width);
    gm_size mid = gm_size_table(b, k->width[stage], k->expand[stage][j], middle, &width);
    int stride = j == 0 && stage > 0 ? 2 : 1, shortcut = x;
    if (j == 0) {
        if (stride > 1) shortcut = gm_add_avg_pool(b, shortcut, stride, stride, true);
        shortcut = conv_norm(b, "downsample", shortcut, out, 1, 1, -1, GM_ACT_NONE, false);
    }
    x = conv_norm(b, "conv1", x, mid, 1, 1, -1, GM_ACT_RELU, false);
    x = conv_norm(b, "conv2", x, mid, 3, stride, -1, GM_ACT_RELU, false);
    return conv_norm(b, "conv3", x, out, 1, 1, shortcut, GM_ACT_RELU, s->zero_gamma);
}

void gm__emit_resnet50(gm_builder *b, const void *shape, const gm_model_settings *s) {
    (void)shape;
    knobs k = add_knobs(b);
    int x = gm_add_input(b, gm__resolution(b, s, resolutions, 8), s->channels);
    x = emit_stem(b, &k, s, x);
    int n = 0;
    for (int i = 0; i < STAGES; i++)
        for (int j = 0; j < base_depth[i] + EXTRA; j++) {
            gm_gate gate = b->gate = block_gate(&k, i, j);
            snprintf(b->prefix, sizeof b->prefix, "blocks.%d.", n++);
            int y = emit_block(b, &k, s, x, i, j);
            b->gate = gm__always();
            b->prefix[0] = '\0';
            x = gate.knob >= 0 ? gm_add_select(b, gate, y, x) : y;
        }
    x = gm_add_global_pool(b, x);
    gm__classifier(b, s, "classifier.linear.linear", x);
}
