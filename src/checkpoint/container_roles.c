// SPDX-License-Identifier: Apache-2.0
// What the tensors of an image are to a checkpoint, by their names.
#include "checkpoint/container.h"

#include <string.h>

static bool starts_with(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

bool gm__is_real(gm_dtype type) { return type == GM_F32 || type == GM_BF16; }

bool gm__names_are_state(const gm_tensor_file *f) {
    for (int i = 0; i < gm_tensor_count(f); i++)
        if (starts_with(gm_tensor_at(f, i)->name, "params/")) return true;
    return false;
}

// Statistics of norms and ranges of activations, which a model file has beside its weights (docs/format-model.md).
static bool is_measured(const char *name) { return starts_with(name, "norms.") || strcmp(name, "ranges") == 0; }

gm_checkpoint_role gm__role_of(const gm_tensor_info *t, bool state) {
    if (starts_with(t->name, "momentum/") || starts_with(t->name, "second_moment/")) return GM_CHECKPOINT_OPTIMIZER;
    bool weights = state ? starts_with(t->name, "params/") : gm__is_real(t->type) && !is_measured(t->name);
    return weights ? GM_CHECKPOINT_WEIGHTS : GM_CHECKPOINT_OTHER;
}

double gm_checkpoint_ratio(const gm_checkpoint_info *info) {
    return info->bytes > 0 ? (double)info->image_bytes / (double)info->bytes : 0;
}

double gm_checkpoint_ratio_weights(const gm_checkpoint_info *info) {
    uint64_t stored = info->stored[GM_CHECKPOINT_WEIGHTS];
    return stored > 0 ? (double)info->raw[GM_CHECKPOINT_WEIGHTS] / (double)stored : 0;
}

gm_checkpoint_settings gm_checkpoint_settings_default(void) {
    return (gm_checkpoint_settings){.mode = GM_CHECKPOINT_LOSSLESS, .level = 1, .full_every = 8, .max_drop = 0.01,
                                    .stick = 0.15};
}
