// SPDX-License-Identifier: Apache-2.0
// plan: the inference walker. Weights are packed once for the whole supernet and shared by any number of plans; a plan
// switches between calibrated subnets in place (LayerSelect, WeightSlice, SubnetNorm of SuperServe, NSDI 2025, section 3).
#ifndef GAMUT_PLAN_H
#define GAMUT_PLAN_H

#include <gamut/model.h>

// ---------------------------------------------------------------------------------------------
// What all plans share, read-only once made: packed weights of one element type, and the SubnetNorm table (statistics of
// every calibrated subnet folded to one multiply-add, equal upstream prefixes stored once).
typedef struct gm_packed gm_packed;
// type: F32, BF16, or I8 (the model must hold activation ranges; GM_ERR_STATE names the command that measures them).
// m may be changed or destroyed afterwards.
GM_API gm_status gm_packed_create(const gm_model *m, gm_dtype type, gm_packed **out, gm_error *err);
GM_API void gm_packed_destroy(gm_packed *p); // after all plans over it
GM_API gm_dtype gm_packed_type(const gm_packed *p);
GM_API const gm_graph *gm_packed_graph(const gm_packed *p);
GM_API int gm_packed_subnets(const gm_packed *p);                         // calibrated ones
GM_API const gm_choice *gm_packed_choice(const gm_packed *p, int subnet); // canonical
GM_API int gm_packed_find(const gm_packed *p, const gm_choice *choice);   // -1: not calibrated
typedef struct gm_packed_bytes {
    size_t weights, norms, norms_unshared; // norms_unshared: what the table would take without shared prefixes
} gm_packed_bytes;
GM_API gm_packed_bytes gm_packed_memory(const gm_packed *p);

// ---------------------------------------------------------------------------------------------
// One executor: the buffers of one caller, sized at creation for the largest subnet and batch. Plans over one gm_packed may
// run at once, each on a thread of its own; only a plan that runs alone in the process uses gm_parallel's team.
typedef struct gm_plan gm_plan;
GM_API gm_status gm_plan_create(const gm_packed *packed, int max_batch, gm_plan **out, gm_error *err);
GM_API void gm_plan_destroy(gm_plan *p);
GM_API size_t gm_plan_bytes(const gm_plan *p); // of its own buffers
// Makes a calibrated subnet (0 .. gm_packed_subnets-1) the active one: pointers and counts, no allocation, copy or lock.
GM_API void gm_plan_activate(gm_plan *p, int subnet);
GM_API int gm_plan_active(const gm_plan *p); // -1: none yet
// Where the caller writes the images of the next run, as gm_batch has them: rows of channels [images*side*side][ld], already
// normalised, tail zero. ld: 4 for f32 images of up to 4 channels, else gm_channel_stride. side: what the active subnet reads.
typedef struct gm_plan_input {
    void *x;
    gm_dtype type; // F32 or BF16
    int side, channels, ld;
} gm_plan_input;
GM_API gm_plan_input gm_plan_input_of(gm_plan *p);
// Runs the active subnet on the first images (1 .. max_batch) of the input; logits stay valid until the next run.
GM_API void gm_plan_run(gm_plan *p, int images);
GM_API const float *gm_plan_logits(const gm_plan *p, int *ld); // row i at [i*ld], graph->classes wide

// ---------------------------------------------------------------------------------------------
// The subnet alone: a model of its own with only the weights, taps and statistics that it uses, sizes fixed. Its plans give
// the bits that the supernet's give for the subnet. It has no preset, so it cannot be saved as a model file (export it).
// GM_ERR_STATE: not calibrated.
GM_API gm_status gm_model_extract(gm_model *m, const gm_choice *choice, gm_model **out, gm_error *err);

#endif
