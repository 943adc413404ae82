// SPDX-License-Identifier: Apache-2.0
// Private to plan/: the steps that a graph is fused into, the table of folded norms, and the state of one executor.
#ifndef GAMUT_PLAN_PRIVATE_H
#define GAMUT_PLAN_PRIVATE_H

#include <gamut/plan.h>

// ---------------------------------------------------------------------------------------------
// Steps: what runs as one kernel call (or a few). Static, the same for all subnets; a step whose nodes a choice leaves out is
// skipped.
typedef enum gm__step_kind {
    GM__STEP_DENSE, // conv or linear
    GM__STEP_DEPTHWISE,
    GM__STEP_NORM,
    GM__STEP_ACT,
    GM__STEP_ADD,
    GM__STEP_SQUEEZE,
    GM__STEP_MAX_POOL,
    GM__STEP_AVG_POOL,
    GM__STEP_GLOBAL_POOL,
} gm__step_kind;

typedef struct gm__step {
    gm__step_kind kind;
    int node, last; // the node that computes; the one whose value is written (a norm or activation fused behind it)
    int norm;       // norm node whose folded pair applies, -1: none
    gm_act act;
} gm__step;

typedef struct gm__steps {
    gm__step *at;
    int count;
    bool *skipped; // of each node: passes its input on (dropout)
} gm__steps;
gm_status gm__steps_create(const gm_graph *g, gm__steps *out, gm_error *err);
void gm__steps_fini(gm__steps *s);
// The node whose value input j of a node is: aliases of the choice and skipped nodes followed; -1: none.
int gm__source(const gm__steps *s, const gm_resolved *r, int node, int j);

// ---------------------------------------------------------------------------------------------
// The SubnetNorm table: one entry a distinct (norm, statistics); subnets with the same upstream part share it. An entry is
// 16 bytes of units, then c = channels rounded up to 16 of each:
//   f32 plans:           scale f32, shift high 16 bits, shift low 8 bits (integers times a unit)
//   bf16 and int8 plans: scale 16 bits (sign, exponent, mantissa, times a unit), shift 16 bits (integers times a unit)
enum { GM__NORM_BYTES = 7, GM__NORM_NARROW_BYTES = 4 }; // a channel
typedef struct gm__norm_table {
    bool narrow;      // the short layout
    int norms;        // of the graph
    int *number;      // of each node among the norms, -1
    uint8_t *data;    // entries
    size_t bytes, cap, unshared;
    uint32_t *entry;  // [subnets][norms]: place in data / 16
    int entries;      // distinct ones
} gm__norm_table;
gm_status gm__norm_table_create(const gm_model *m, const gm__steps *steps, bool narrow, gm__norm_table *out, gm_error *err);
void gm__norm_table_fini(gm__norm_table *t);
static inline const uint8_t *gm__norm_entry_at(const gm__norm_table *t, int subnet, int number) {
    return t->data + (size_t)t->entry[(size_t)subnet * (size_t)t->norms + (size_t)number] * 16;
}
// Entry -> f32, c rounded up to 16.
void gm__norm_expand(const gm__norm_table *t, const uint8_t *entry, int c, float *scale, float *shift);

// ---------------------------------------------------------------------------------------------
// In which type each value is kept and each product is made. int8 plans keep a value in int8 when an int8 product makes it,
// another one reads it, and nobody needs it wide; first layer, classifier, depthwise and squeeze-excite stay in f32. What is
// read in another type than it is kept in is converted on the way.
typedef struct gm__precision {
    gm_dtype wide;   // of everything that is not int8
    gm_dtype *value; // of each node
    float *unit;     // of each node: what 1 stands for in int8
    bool *narrow;    // of each node: a product made in int8
} gm__precision;
gm_status gm__precision_create(const gm_model *m, gm_dtype type, const gm__steps *steps, gm__precision *out, gm_error *err);
void gm__precision_fini(gm__precision *p);

typedef struct gm__taps { // of one depthwise node and kernel size
    const float *w;
    int row, ld;
} gm__taps;
enum { GM__KERNELS = 3 }; // 3, 5, 7

struct gm_packed {
    gm_dtype type;
    gm_graph *graph;
    gm__steps steps;
    int subnets;
    gm_choice *choice;
    gm__norm_table norms;
    gm__precision precision;
    gm_panels *panels;      // one a parameter
    const float **plain;    // one a parameter: vectors and depthwise taps, f32
    gm__taps *taps;         // [nodes][GM__KERNELS]
    char *weights;          // one block for all of them
    size_t weight_bytes;
};
// Panels, vectors and transformed taps, in one block.
gm_status gm__pack_weights(gm_packed *p, const gm_model *m, gm_error *err);

// ---------------------------------------------------------------------------------------------
// Where a value lies. Values that only their own segment reads live in the worker's memory, which holds one block of images;
// the others hold the whole batch.
typedef struct gm__place {
    int slot;     // GM__INPUT, GM__LOGITS or a slot
    bool local;
    int ld;
    gm_dtype type;
    size_t image; // bytes of one image
} gm__place;
enum { GM__SLOTS = 16, GM__INPUT = -1, GM__LOGITS = -2, GM__NOWHERE = -3 };

typedef struct gm__operand { // a value as a step reads it
    gm__place place;  // slot GM__NOWHERE: none
    gm_dtype type;    // another than the place's: converted first
    int ld, rows, c;  // in that type; positions of an image
    size_t image;
    float unit;       // of the int8 side
} gm__operand;

typedef struct gm__live { // a step of the active subnet
    const gm__step *step;
    gm_conv g; // n is set when it runs
    gm__operand in, residual;
    gm__place out;
    float in_unit, out_unit; // of int8 products
    const gm_panels *panels;
    gm__taps taps;
    const uint8_t *norm;
    const float *bias;
    int hidden; // squeeze-excite
    int pair_rows; // runs together with the next step, so many rows of that one's output at a time; 0: alone
} gm__live;

typedef struct gm__segment {
    int first, count; // live steps
    int block;        // images that go through it together
} gm__segment;

typedef struct gm__slots { // sizes found by trying all subnets
    size_t bytes[GM__SLOTS];
    int used;
} gm__slots;

struct gm_plan {
    const gm_packed *packed;
    const gm_kernels *kernels;
    int max_batch, workers, active;
    gm_resolved resolved;
    gm__live *live;
    int lives;
    gm__segment *segment;
    int segments;
    // of each node, for the active subnet
    gm__place *place;
    int *last_use, *segment_of;
    bool *crosses;
    bool dense_first; // nothing but dense steps reads the images
    // memory
    gm__slots shared, local; // local: bytes of a block
    char *shared_at[GM__SLOTS];
    size_t local_offset[GM__SLOTS], scratch_bytes, squeeze_bytes, convert_bytes[2], worker_bytes, bytes;
    int fold_floats;
    char *memory;  // shared slots, input, logits
    char **worker; // memory of each
    char *input;
    float *logits;
};
// Resolves a subnet into live steps, segments and places; true unless there are too few slots.
bool gm__plan_resolve(gm_plan *p, int subnet);

// One step on images [i0,i1) of the batch; local places hold images from `base` on. part/parts: the cut of a step over
// threads, for single images.
typedef struct gm__slice {
    int i0, i1, base, part, parts, phase;
    char *worker; // scratch
    char *values; // local places
} gm__slice;
void gm__step_run(const gm_plan *p, const gm__live *l, const gm__slice *s);
// A step with pair_rows and the one behind it, on one image; and the bytes of what lies between them meanwhile.
void gm__pair_run(const gm_plan *p, const gm__live *l, const gm__slice *s);
static inline size_t gm__pair_bytes(const gm__live *l) {
    const gm_conv *g = &l[1].g;
    return (size_t)gm_min(l->g.ho, (l->pair_rows - 1) * g->stride + g->r) * (l->out.image / (size_t)l->g.ho);
}
// How many phases a step has when it is cut: all parts of one are done before the next begins.
int gm__step_phases(const gm__live *l);
// Brings the operands of a step into the type that it reads (gm__step_run does so itself when parts is 1).
bool gm__step_converts(const gm__live *l);
void gm__step_convert(const gm_plan *p, const gm__live *l, const gm__slice *s);

// What a worker's memory starts with.
static inline void *gm__worker_scratch(const gm_plan *p, char *worker) {
    (void)p;
    return worker;
}
static inline float *gm__worker_fold(const gm_plan *p, char *worker) {
    return (float *)(void *)(worker + p->scratch_bytes);
}
static inline char *gm__worker_squeeze(const gm_plan *p, char *worker) {
    return worker + p->scratch_bytes + 2 * sizeof(float) * (size_t)p->fold_floats;
}

static inline char *gm__worker_converted(const gm_plan *p, char *worker, int operand) {
    return gm__worker_squeeze(p, worker) + p->squeeze_bytes + (operand ? p->convert_bytes[0] : 0);
}

static inline size_t gm__align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

#endif
