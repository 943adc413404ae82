// SPDX-License-Identifier: Apache-2.0
// model: the list of presets, and settings completed from them.
#include <math.h>
#include <string.h>

#include "model/family.h"

#define IMAGENET                                                                                   \
    .classes = 1000, .channels = 3, .resolution = 224
#define TINY(classes_, channels_, resolution_)                                                     \
    .classes = (classes_), .channels = (channels_), .resolution = (resolution_), .single_resolution = true

// name, text, emit function, its table, defaults
#define PRESETS_LIST(X)                                                                            \
    X("mbv3", "Once-for-all MobileNetV3, width 1.0, 224x224 (= mbv3-w1.0)", gm__emit_mbv3,         \
      &gm__mbv3_imagenet, IMAGENET, .width = 1.0, .dropout = 0.1f)                                 \
    X("mbv3-w1.0", "Once-for-all MobileNetV3, width 1.0, 224x224", gm__emit_mbv3,                  \
      &gm__mbv3_imagenet, IMAGENET, .width = 1.0, .dropout = 0.1f)                                 \
    X("mbv3-w1.2", "Once-for-all MobileNetV3, width 1.2, 224x224", gm__emit_mbv3,                  \
      &gm__mbv3_imagenet, IMAGENET, .width = 1.2, .dropout = 0.1f)                                 \
    X("mbv3-32", "Once-for-all MobileNetV3 for 32x32 images, 10 classes", gm__emit_mbv3,           \
      &gm__mbv3_32, TINY(10, 3, 32), .width = 1.0, .dropout = 0.1f)                                \
    X("resnet50", "Once-for-all ResNet50-D: elastic depth, width and expand, 224x224",             \
      gm__emit_resnet50, NULL, IMAGENET, .width = 1.0, .dropout = -1.0f)                           \
    X("resnet-28", "small residual net for 28x28 grey images, 10 classes (Fashion-MNIST)",         \
      gm__emit_resnet_small, &gm__resnet_28, TINY(10, 1, 28), .width = 1.0, .dropout = -1.0f)      \
    X("resnet-32", "small residual net for 32x32 colour images, 10 classes (CIFAR-10)",            \
      gm__emit_resnet_small, &gm__resnet_32, TINY(10, 3, 32), .width = 1.0, .dropout = -1.0f)      \
    X("proxyless", "Once-for-all Proxyless, width 1.3, 224x224", gm__emit_proxyless, NULL,         \
      IMAGENET, .width = 1.3, .dropout = -1.0f, .norm_eps = 1e-3f)

static const gm__preset presets[] = {
#define PRESET_ROW(name_, text_, emit_, shape_, ...)                                               \
    {.name = name_, .text = text_, .emit = emit_, .shape = shape_, .defaults = {__VA_ARGS__}},
    PRESETS_LIST(PRESET_ROW)
};
enum { PRESETS = sizeof presets / sizeof presets[0] };

static const char *const preset_texts[] = {
#define PRESET_TEXT(name_, text_, emit_, shape_, ...) name_, text_,
    PRESETS_LIST(PRESET_TEXT) NULL
};

const char *const *gm_model_presets(void) { return preset_texts; }

const gm__preset *gm__preset_find(const char *name, gm_error *err) {
    char names[160] = "";
    size_t used = 0;
    for (int i = 0; i < PRESETS; i++) {
        if (strcmp(presets[i].name, name) == 0) return &presets[i];
        int n = snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", presets[i].name);
        if (n > 0 && (size_t)n < sizeof names - used) used += (size_t)n;
    }
    gm_fail(err, GM_ERR_NOT_FOUND, "unknown family '%.40s', there are: %s", name, names);
    return NULL;
}

gm_model_settings gm_model_settings_default(void) { return (gm_model_settings){0}; }

gm_status gm__settings_complete(const gm__preset *preset, const gm_model_settings *settings, gm_model_settings *out,
                                gm_error *err) {
    const gm_model_settings *d = &preset->defaults;
    gm_model_settings s = settings ? *settings : gm_model_settings_default();
    if (s.classes == 0) s.classes = d->classes;
    if (s.channels == 0) s.channels = d->channels;
    if (s.resolution == 0) s.resolution = d->resolution;
    if (s.width == 0) s.width = d->width;
    if (s.dropout == 0) s.dropout = d->dropout;
    if (s.norm_eps == 0) s.norm_eps = d->norm_eps > 0 ? d->norm_eps : GM__NORM_EPS;
    s.single_resolution |= d->single_resolution;
    if (s.classes < 2 || s.classes > 65536)
        return gm_fail(err, GM_ERR_RANGE, "%s: %d classes, allowed are 2 to 65536", preset->name, s.classes);
    if (s.channels < 1 || s.channels > 4)
        return gm_fail(err, GM_ERR_RANGE, "%s: %d input channels, allowed are 1 to 4", preset->name, s.channels);
    if (s.resolution < 8 || s.resolution > 4096)
        return gm_fail(err, GM_ERR_RANGE, "%s: images of %d pixels, allowed are 8 to 4096", preset->name,
                       s.resolution);
    if (!isfinite(s.width) || s.width < 0.05 || s.width > 8)
        return gm_fail(err, GM_ERR_RANGE, "%s: width multiplier %g, allowed are 0.05 to 8", preset->name, s.width);
    if (!isfinite(s.dropout) || s.dropout > 0.95f)
        return gm_fail(err, GM_ERR_RANGE, "%s: dropout %g, allowed are 0 to 0.95 (negative: none)", preset->name,
                       (double)s.dropout);
    if (s.kernel_fixed != 0 && s.kernel_fixed != 3 && s.kernel_fixed != 5 && s.kernel_fixed != 7)
        return gm_fail(err, GM_ERR_RANGE, "%s: fixed kernel %d, allowed are 3, 5, 7 (0: elastic)", preset->name,
                       s.kernel_fixed);
    if (!(s.norm_eps >= 1e-12f && s.norm_eps <= 1))
        return gm_fail(err, GM_ERR_RANGE, "%s: norms that add %g to variances, allowed are 1e-12 to 1", preset->name,
                       (double)s.norm_eps);
    *out = s;
    return GM_OK;
}

gm_status gm_model_graph(const char *preset, const gm_model_settings *settings, gm_graph **out, gm_error *err) {
    const gm__preset *p = gm__preset_find(preset, err);
    if (!p) return GM_ERR_NOT_FOUND;
    gm_model_settings s;
    gm_status status = gm__settings_complete(p, settings, &s, err);
    if (status) return status;
    gm_graph *g = NULL;
    status = gm_graph_create(p->name, &g, err);
    if (status) return status;
    gm_builder b = {.graph = g, .gate = {.knob = -1}, .norm_eps = s.norm_eps};
    p->emit(&b, p->shape, &s);
    status = gm_graph_finish(&b, err);
    if (status) gm_graph_destroy(g);
    else *out = g;
    return status;
}
