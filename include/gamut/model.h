// SPDX-License-Identifier: Apache-2.0
// model: families (each emits a graph) and the model file (safetensors with Gamut's metadata).
#ifndef GAMUT_MODEL_H
#define GAMUT_MODEL_H

#include <gamut/graph.h>
#include <gamut/tensor.h>

// What a recipe may set. Zero = the preset's own value.
typedef struct gm_model_settings {
    int classes;         // default 10 for the small presets, 1000 for the ImageNet ones
    int channels;        // input channels, default 3 (resnet-28: 1)
    int resolution;      // largest (or only) input size; default the preset's
    double width;        // width multiplier, default the preset's
    bool transform;      // elastic kernels through learned matrices (2.3 of specs: training)
    bool single_resolution; // drop the resolution knob: only `resolution`
    int kernel_fixed;    // 0, or 3/5/7: no kernel knob (DepS trains with 7 only)
    float dropout;       // before the classifier; < 0: none; 0: the preset's
    bool zero_gamma;     // last norm of each residual block starts at 0
    float norm_eps;      // what batch norms add to variances; default 1e-5, proxyless 1e-3, as published
} gm_model_settings;
GM_API gm_model_settings gm_model_settings_default(void);

// preset: "mbv3", "mbv3-w1.0", "mbv3-w1.2", "mbv3-32", "resnet50", "resnet-28", "resnet-32", "proxyless". An unknown name
// is an error that lists them.
GM_API gm_status gm_model_graph(const char *preset, const gm_model_settings *settings, gm_graph **out, gm_error *err);
// NULL-terminated list of {name, one-line description} pairs.
GM_API const char *const *gm_model_presets(void);

// --- a model in memory: graph + parameters + statistics of calibrated subnets
typedef struct gm_norm_entry {
    gm_choice choice; // canonical
    float *mean, *var; // graph->norm_floats each; only the active channels are meaningful, the rest 0 and 1
    bool ranged;       // its activations are counted in the model's range
} gm_norm_entry;
typedef struct gm_model {
    char preset[32];
    gm_model_settings settings;
    gm_graph *graph;     // owned
    float *params;       // owned, graph->floats
    size_t *norm_offset; // one a node (offset of its statistics), owned
    int entries, entries_cap;
    gm_norm_entry *entry; // owned
    // One a node: the largest |value| of its output, on average over images, in the calibrated subnet where that is largest; 0:
    // not measured. int8 plans need it (docs/inference.md).
    float *range; // owned, graph->nodes
    // how the inputs were prepared: (pixel/255 - mean[c]) / std[c]
    float input_mean[4], input_std[4];
    char data[32];       // name of the data set
} gm_model;
GM_API gm_status gm_model_create(const char *preset, const gm_model_settings *settings, gm_model **out, gm_error *err);
GM_API void gm_model_destroy(gm_model *m);
GM_API void gm_model_init_params(gm_model *m, uint64_t seed);
GM_API gm_norm_entry *gm_model_norms(gm_model *m, const gm_choice *choice); // NULL: not calibrated
// Mean 0 and variance 1, new or started over. Entries may move when another one is added: keep no pointers to them.
GM_API gm_status gm_model_norms_add(gm_model *m, const gm_choice *choice, gm_norm_entry **out, gm_error *err);
GM_API void gm_model_norms_clear(gm_model *m); // after the weights changed
// Statistics (a channel of a norm of a subnet) that are calibrated, and how many of them are distinct blocks' and so are stored.
GM_API gm_status gm_model_norms_sharing(const gm_model *m, uint64_t *calibrated, uint64_t *stored, gm_error *err);
// Model file: docs/format-model.md. Whole or not at all; fully checked on reading (specs: hardening 2.2).
GM_API gm_status gm_model_save(const gm_model *m, const char *path, gm_error *err);
GM_API gm_status gm_model_load(const char *path, gm_model **out, gm_error *err);
// The same for a file that was read already; what names it in errors.
GM_API gm_status gm_model_from_tensors(const gm_tensor_file *file, const char *what, gm_model **out, gm_error *err);
// Another container of model files: when the first 8 bytes of a path are these, gm_model_load asks unpack for the model file
// in it (*image: gm_free). One such container; set at the start of a program.
typedef gm_status gm_model_unpack(const char *path, uint8_t **image, size_t *bytes, gm_error *err);
GM_API void gm_model_container(const uint8_t magic[8], gm_model_unpack *unpack);

#endif
