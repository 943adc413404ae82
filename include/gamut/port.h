// SPDX-License-Identifier: Apache-2.0
// port: models in and out. One subnet leaves as ONNX or safetensors; published checkpoints (torch files, safetensors)
// come in as a model. docs/export.md
#ifndef GAMUT_PORT_H
#define GAMUT_PORT_H

#include <gamut/model.h>
#include <gamut/tensor.h>

// ---------------------------------------------------------------------------------------------
// Files of torch.save, read without running anything in them: the legacy stream (before 1.6) and the stored zip. Only
// the values that a state dict needs are understood, everything else is refused with its place (docs/export.md). The
// tensors are those of the dict that was saved, or of its entry "state_dict", "model_state_dict" or "model". Floating
// types become f32, whole ones i64; strides and shared storages are resolved: rows, one copy a tensor.
typedef struct gm_torch_file gm_torch_file;
// data stays the caller's and is needed no more afterwards; what names it in errors.
GM_API gm_status gm_torch_file_parse(const uint8_t *data, size_t bytes, const char *what, gm_torch_file **out,
                                     gm_error *err);
GM_API gm_status gm_torch_file_read(const char *path, gm_torch_file **out, gm_error *err);
GM_API void gm_torch_file_destroy(gm_torch_file *f);
GM_API int gm_torch_count(const gm_torch_file *f);
GM_API const gm_tensor_info *gm_torch_at(const gm_torch_file *f, int i);              // in the order of the file
GM_API const gm_tensor_info *gm_torch_find(const gm_torch_file *f, const char *name); // NULL: absent

// ---------------------------------------------------------------------------------------------
// One subnet as dense tensors, in PyTorch's order of elements and under the names that a plain (not elastic) module of
// this subnet has: "blocks.3.conv.depth_conv.bn.running_var". Slices are copies; a smaller kernel is the centre crop,
// or the stored one after its transforms. Numbers of blocks in lists are those of the subnet: 0, 1, 2... without holes.
enum { GM_SUBNET_MEAN = GM_MAX_NODE_PARAMS, GM_SUBNET_VAR, GM_SUBNET_SLOTS };
typedef struct gm_subnet_tensor {
    char name[112];
    int node, slot; // of the graph; slot: parameter of the node, or GM_SUBNET_MEAN, GM_SUBNET_VAR of a norm
    int rank;
    uint64_t dims[4];
    size_t count;
    const float *data;
} gm_subnet_tensor;
typedef struct gm_subnet {
    const gm_model *model; // must outlive the subnet
    gm_choice choice;      // canonical
    gm_resolved resolved;
    gm_subnet_tensor *tensor;
    int tensors;
    size_t params; // elements, running statistics not counted
    float *data;   // of all tensors
} gm_subnet;
// GM_ERR_STATE when the subnet has norms and no statistics.
GM_API gm_status gm_subnet_create(gm_model *m, const gm_choice *choice, gm_subnet **out, gm_error *err);
GM_API void gm_subnet_destroy(gm_subnet *s);
GM_API const gm_subnet_tensor *gm_subnet_find(const gm_subnet *s, int node, int slot); // NULL: none

// ---------------------------------------------------------------------------------------------
// Export: files are written whole or not at all.
typedef struct gm_export_settings {
    bool fold;                      // ONNX: norms folded into the convolution before them; default true
    const char *const *class_names; // graph->classes texts, or NULL
} gm_export_settings;
GM_API gm_export_settings gm_export_settings_default(void);
// ONNX, opset 13: input "input" (batch, channels, side, side), normalised as the model's input_mean and input_std say;
// output "logits" (batch, classes). GM_ERR_UNSUPPORTED in a build without protobuf-c.
GM_API gm_status gm_export_onnx(const gm_subnet *s, const gm_export_settings *settings, const char *path,
                                gm_error *err);
// safetensors: the tensors, and the network as JSON in the metadata (key "net.config").
GM_API gm_status gm_export_safetensors(const gm_subnet *s, const gm_export_settings *settings, const char *path,
                                       gm_error *err);

// ---------------------------------------------------------------------------------------------
// Import: the file's tensors are those of the supernet, or of one of its subnets (choice), under the names of the
// published files in their elastic or plain spelling; all of them, and nothing else. Classes, input channels
// and, where it says it, the norms' eps (unless set) are the file's; learned kernel transforms are on where the file has them.
typedef struct gm_import_settings {
    gm_model_settings model;
    const char *choice; // NULL: the whole supernet; else the only subnet that will give sense
} gm_import_settings;
GM_API gm_import_settings gm_import_settings_default(void);
typedef struct gm_import_report {
    int tensors;     // taken over
    size_t params;   // elements of the supernet, or of the subnet
    bool statistics; // running statistics were there: the largest subnet, or the one imported, is calibrated
    bool transforms; // the file has kernel matrices
} gm_import_report;
// settings, report: may be NULL.
GM_API gm_status gm_import(const char *path, const char *preset, const gm_import_settings *settings, gm_model **out,
                           gm_import_report *report, gm_error *err);

// What a folder with net.config and run.config of a specialised Once-for-all subnet says (MobileNetV3, Proxyless). Its
// weights are imported with these as settings.
typedef struct gm_net_config {
    char preset[32];
    gm_model_settings model; // one resolution, the width, classes and the norms' eps
    char choice[1024];
} gm_net_config;
GM_API gm_status gm_net_config_read(const char *folder, gm_net_config *out, gm_error *err);

#endif
