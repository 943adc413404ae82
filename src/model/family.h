// SPDX-License-Identifier: Apache-2.0
// What the families share: the preset table and small helpers for emitting graphs.
#ifndef GAMUT_MODEL_FAMILY_H
#define GAMUT_MODEL_FAMILY_H

#include <gamut/model.h>

typedef struct gm__preset {
    const char *name, *text;
    // Emits the network of this preset into b (knobs first). s is complete: no zero means "default" any more. Errors
    // stay in b->err.
    void (*emit)(gm_builder *b, const void *shape, const gm_model_settings *s);
    const void *shape; // the family's own table
    gm_model_settings defaults;
} gm__preset;
#define GM__NORM_EPS 1e-5f // where neither the preset, nor the settings, nor a model file say another
const gm__preset *gm__preset_find(const char *name, gm_error *err);
// The preset's defaults where settings has zeros, and range checks.
gm_status gm__settings_complete(const gm__preset *preset, const gm_model_settings *settings, gm_model_settings *out,
                                gm_error *err);

// Channel rounding of the MobileNet line: nearest multiple of `divisor`, at least one, never under 90 % of v.
int gm__make_divisible(double v, int divisor);
// A knob added through a builder (its number, or -1 after an error).
int gm__knob(gm_builder *b, const char *group, const char *kind, const double *values, int count, gm_gate gate);
// A size constant after rounding to a multiple of 8.
gm_size gm__channels(gm_builder *b, double v);
// The size of the input image: the knob r over `values` up to s->resolution, or a constant.
gm_size gm__resolution(gm_builder *b, const gm_model_settings *s, const double *values, int count);
// Steps of 4 from 128 (or wider steps, where GM_MAX_VALUES would not do) up to s->resolution.
gm_size gm__resolution_steps(gm_builder *b, const gm_model_settings *s);
// Dropout (when the settings ask for it) and the classifier.
int gm__classifier(gm_builder *b, const gm_model_settings *s, const char *name, int x);
static inline gm_gate gm__always(void) { return (gm_gate){.knob = -1}; }

// --- families: emit functions and their tables
extern const struct gm__mbv3_shape gm__mbv3_imagenet, gm__mbv3_32;
void gm__emit_mbv3(gm_builder *b, const void *shape, const gm_model_settings *s);
void gm__emit_proxyless(gm_builder *b, const void *shape, const gm_model_settings *s);
void gm__emit_resnet50(gm_builder *b, const void *shape, const gm_model_settings *s);
extern const struct gm__resnet_small_shape gm__resnet_28, gm__resnet_32;
void gm__emit_resnet_small(gm_builder *b, const void *shape, const gm_model_settings *s);

// As gm_model_norms_add, for a choice that is known to be new; mean and var are left zero.
gm_status gm__model_norms_append(gm_model *m, const gm_choice *choice, gm_norm_entry **out, gm_error *err);

#endif
