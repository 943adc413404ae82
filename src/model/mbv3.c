// SPDX-License-Identifier: Apache-2.0
// model: Once-for-all MobileNetV3 (specs: training 2.2), and its variant for 32x32 images (2.12).
#include "model/inverted_bottleneck.h"

struct gm__mbv3_shape {
    gm__mb_body body;
    int first_stride, final_width, mix_width;
};

#define STAGES(first_stride_)                                                                      \
    {                                                                                              \
        {24, 4, first_stride_, GM_ACT_RELU, false}, {40, 4, 2, GM_ACT_RELU, true},                 \
        {80, 4, 2, GM_ACT_HSWISH, false}, {112, 4, 1, GM_ACT_HSWISH, true},                        \
        {160, 4, 2, GM_ACT_HSWISH, true},                                                          \
    }

const struct gm__mbv3_shape gm__mbv3_imagenet = {
    .body = {.first_width = 16, .block0_width = 16, .stages = 5, .stage = STAGES(2), .first_act = GM_ACT_HSWISH},
    .first_stride = 2, .final_width = 960, .mix_width = 1280};
// Strides of the first convolution and the first stage are 1: total stride 8.
const struct gm__mbv3_shape gm__mbv3_32 = {
    .body = {.first_width = 16, .block0_width = 16, .stages = 5, .stage = STAGES(1), .first_act = GM_ACT_HSWISH},
    .first_stride = 1, .final_width = 960, .mix_width = 1280};

void gm__emit_mbv3(gm_builder *b, const void *shape, const gm_model_settings *s) {
    const struct gm__mbv3_shape *m = shape;
    gm__mb_knobs knobs;
    gm__mb_add_knobs(b, &m->body, s, &knobs);
    int x = gm_add_input(b, gm__resolution_steps(b, s), s->channels);
    x = gm__mb_emit(b, &m->body, s, &knobs, x, m->first_stride);
    x = gm_add_conv(b, "final_expand_layer.conv", x, gm__channels(b, m->final_width * s->width), 1, 1, false,
                    GM_INIT_HE_FANOUT);
    x = gm_add_norm(b, "final_expand_layer.bn", x, -1, GM_ACT_HSWISH, false);
    x = gm_add_global_pool(b, x);
    x = gm_add_conv(b, "feature_mix_layer.conv", x, gm__channels(b, m->mix_width * s->width), 1, 1, false,
                    GM_INIT_HE_FANOUT);
    x = gm_add_act(b, x, GM_ACT_HSWISH);
    gm__classifier(b, s, "classifier.linear", x);
}
