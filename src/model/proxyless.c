// SPDX-License-Identifier: Apache-2.0
// model: Once-for-all Proxyless (specs: training 6.2): inverted bottlenecks with ReLU6, no squeeze-and-excite.
#include "model/inverted_bottleneck.h"

static const gm__mb_body body = {
    .first_width = 32,
    .block0_width = 16,
    .stages = 6,
    .stage = {{24, 4, 2, GM_ACT_RELU6, false},
              {40, 4, 2, GM_ACT_RELU6, false},
              {80, 4, 2, GM_ACT_RELU6, false},
              {96, 4, 1, GM_ACT_RELU6, false},
              {192, 4, 2, GM_ACT_RELU6, false},
              {320, 1, 1, GM_ACT_RELU6, false}},
    .first_act = GM_ACT_RELU6,
};
enum { MIX_WIDTH = 1280 };

void gm__emit_proxyless(gm_builder *b, const void *shape, const gm_model_settings *s) {
    (void)shape;
    gm__mb_knobs knobs;
    gm__mb_add_knobs(b, &body, s, &knobs);
    int x = gm_add_input(b, gm__resolution_steps(b, s), s->channels);
    x = gm__mb_emit(b, &body, s, &knobs, x, 2);
    x = gm_add_conv(b, "feature_mix_layer.conv", x, gm__channels(b, MIX_WIDTH * s->width), 1, 1, false,
                    GM_INIT_HE_FANOUT);
    x = gm_add_norm(b, "feature_mix_layer.bn", x, -1, GM_ACT_RELU6, false);
    x = gm_add_global_pool(b, x);
    gm__classifier(b, s, "classifier.linear", x);
}
