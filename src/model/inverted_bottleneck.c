// SPDX-License-Identifier: Apache-2.0
// model: inverted bottleneck blocks of Once-for-all (Cai et al., ICLR 2020; specs: training 2.2). Names are those of the
// published supernet files (6.2), so that an import needs no table.
#include "model/inverted_bottleneck.h"

#include <math.h>

static const double expands[] = {3, 4, 6}, kernels[] = {3, 5, 7}, depths[] = {2, 3, 4};

// Block j of a stage is in use when the stage keeps more than j blocks; depth index 0 keeps 2.
static gm_gate block_gate(const gm__mb_knobs *knobs, int stage, int j) {
    if (j < 2) return gm__always();
    return (gm_gate){.knob = (int16_t)knobs->depth[stage], .min = (uint8_t)(j - 1)};
}

void gm__mb_add_knobs(gm_builder *b, const gm__mb_body *body, const gm_model_settings *s, gm__mb_knobs *knobs) {
    for (int i = 0; i < body->stages; i++)
        knobs->depth[i] = body->stage[i].blocks > 1
                              ? gm__knob(b, "d", "depth", depths, body->stage[i].blocks - 1, gm__always())
                              : -1;
    int n = 0;
    for (int i = 0; i < body->stages; i++)
        for (int j = 0; j < body->stage[i].blocks; j++)
            knobs->expand[n++] = gm__knob(b, "e", "expand", expands, 3, block_gate(knobs, i, j));
    n = 0;
    for (int i = 0; i < body->stages; i++)
        for (int j = 0; j < body->stage[i].blocks; j++)
            knobs->kernel[n++] =
                s->kernel_fixed ? -1 : gm__knob(b, "k", "kernel", kernels, 3, block_gate(knobs, i, j));
}

static int middle(void *ctx, double expand, double unused) {
    (void)unused;
    return gm__make_divisible(nearbyint(*(const int *)ctx * expand), 8);
}

static int squeeze(void *ctx, double expand, double unused) {
    return gm__make_divisible(middle(ctx, expand, unused) / 4, 8);
}

static int kernel_taps(void *ctx, double kernel, double unused) {
    (void)ctx;
    (void)unused;
    return (int)kernel;
}

typedef struct mb_block {
    int in, out, stride;
    int expand_knob, kernel_knob;
    gm_act act;
    bool squeeze_excite;
} mb_block;

static int emit_block(gm_builder *b, const mb_block *k, const gm_model_settings *s, int x) {
    int in = k->in, y = x;
    gm_size kernel = k->kernel_knob >= 0 ? gm_size_table(b, k->kernel_knob, -1, kernel_taps, NULL)
                                         : gm_size_const(b, s->kernel_fixed);
    y = gm_add_conv(b, "inverted_bottleneck.conv.conv", y, gm_size_table(b, k->expand_knob, -1, middle, &in), 1, 1,
                    false, GM_INIT_HE_FANOUT);
    y = gm_add_norm(b, "inverted_bottleneck.bn.bn", y, -1, k->act, false);
    y = gm_add_depthwise(b, "depth_conv.conv.conv", y, kernel, k->stride, s->transform);
    y = gm_add_norm(b, "depth_conv.bn.bn", y, -1, k->act, false);
    if (k->squeeze_excite)
        y = gm_add_squeeze_excite(b, "depth_conv.se.fc", y, gm_size_table(b, k->expand_knob, -1, squeeze, &in));
    y = gm_add_conv(b, "point_linear.conv.conv", y, gm_size_const(b, k->out), 1, 1, false, GM_INIT_HE_FANOUT);
    bool residual = k->stride == 1 && k->in == k->out;
    return gm_add_norm(b, "point_linear.bn.bn", y, residual ? x : -1, GM_ACT_NONE, residual && s->zero_gamma);
}

// Block 0: depthwise 3x3 and projection, not elastic.
static int emit_block0(gm_builder *b, const gm_model_settings *s, int x, int in, int out, gm_act act) {
    snprintf(b->prefix, sizeof b->prefix, "blocks.0.mobile_inverted_conv.");
    int y = gm_add_depthwise(b, "depth_conv.conv", x, gm_size_const(b, 3), 1, false);
    y = gm_add_norm(b, "depth_conv.bn", y, -1, act, false);
    y = gm_add_conv(b, "point_linear.conv", y, gm_size_const(b, out), 1, 1, false, GM_INIT_HE_FANOUT);
    return gm_add_norm(b, "point_linear.bn", y, in == out ? x : -1, GM_ACT_NONE, in == out && s->zero_gamma);
}

int gm__mb_emit(gm_builder *b, const gm__mb_body *body, const gm_model_settings *s, const gm__mb_knobs *knobs, int x,
                int first_stride) {
    int first = gm__make_divisible(body->first_width * s->width, 8);
    int in = gm__make_divisible(body->block0_width * s->width, 8);
    x = gm_add_conv(b, "first_conv.conv", x, gm_size_const(b, first), 3, first_stride, false, GM_INIT_HE_FANOUT);
    x = gm_add_norm(b, "first_conv.bn", x, -1, body->first_act, false);
    x = emit_block0(b, s, x, first, in, body->stage[0].act);
    int n = 0;
    for (int i = 0; i < body->stages; i++) {
        const gm__mb_stage *stage = &body->stage[i];
        int out = gm__make_divisible(stage->width * s->width, 8);
        for (int j = 0; j < stage->blocks; j++, n++) {
            mb_block block = {.in = in, .out = out, .stride = j == 0 ? stage->stride : 1,
                              .expand_knob = knobs->expand[n], .kernel_knob = knobs->kernel[n],
                              .act = stage->act, .squeeze_excite = stage->squeeze_excite};
            snprintf(b->prefix, sizeof b->prefix, "blocks.%d.mobile_inverted_conv.", n + 1);
            b->gate = block_gate(knobs, i, j);
            int y = emit_block(b, &block, s, x);
            gm_gate gate = b->gate;
            b->gate = gm__always();
            b->prefix[0] = '\0';
            x = gate.knob >= 0 ? gm_add_select(b, gate, y, x) : y;
            in = out;
        }
    }
    return x;
}
