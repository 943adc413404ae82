// SPDX-License-Identifier: Apache-2.0
// What the files of the quantizer share.
#ifndef GAMUT_CHECKPOINT_QUANT_PRIVATE_H
#define GAMUT_CHECKPOINT_QUANT_PRIVATE_H

#include "checkpoint/quant.h"

#include <string.h>

// Loops over weights that wider registers make faster are compiled twice; the loader takes what the processor has. The same bits
// either way: nothing is contracted (-ffp-contract=off). Not under sanitizers, which start after the loader. For
// static functions: of others the compiler would export the choice.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define GM__WIDE __attribute__((target_clones("avx2", "default")))
#else
#define GM__WIDE
#endif

// --- quant_state.c
typedef struct gm__part { // one tensor of a state
    size_t first, count;  // its ids
    gm__quant_kind kind;
    int bins;
    gm_bf16 centre[GM__QUANT_BINS];
    size_t kept_first, kept; // its protected values
} gm__part;

struct gm__quant_state {
    gm__quant_config config;
    int tensors;
    gm__part *part;
    size_t weights;
    uint8_t *ids;        // of all tensors, one after another
    size_t kept_count;
    gm_bf16 *kept;       // protected values in the order of the ids
    uint64_t shapes, hash;
    double error;        // of the weights that it was made of, and what their search told; zeros when decoded
    gm__quant_hint hint;
};

uint64_t gm__quant_shapes(const gm__quant_shape *shape, size_t stride, int tensors); // hash; stride in bytes
// Parts with counts and bins, ids all 0. GM_ERR_ARGUMENT: a shape that no file may have.
gm_status gm__quant_state_create(const gm__quant_shape *shape, size_t stride, int tensors, const gm__quant_config *c,
                                 gm__quant_state **out, gm_error *err);
gm_status gm__quant_state_index(gm__quant_state *s, gm_error *err); // counts the protected, makes room for their values
void gm__quant_state_seal(gm__quant_state *s);                      // computes the hash
// Mean of (weight - decoded)^2 over mean of weight^2, summed tensor by tensor.
double gm__quant_error(const gm__quant_tensor *tensor, const gm__quant_state *s);
void gm__quant_run(bool parallel, int units, gm_task *task, void *context);
bool gm__quant_config_valid(const gm__quant_config *c);

// Order-preserving map of the 16 upper bits of a float to 0..65535, and back.
static inline uint16_t gm__rank16(uint16_t bits) {
    return (uint16_t)(bits ^ (bits & 0x8000u ? 0xffffu : 0x8000u));
}
static inline uint16_t gm__unrank16(uint16_t rank) {
    return (uint16_t)(rank ^ (rank & 0x8000u ? 0x8000u : 0xffffu));
}
static inline uint32_t gm__bits(float v) {
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}
static inline float gm__float(uint32_t u) {
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

// --- quant_score.c: scores in buckets: the 15 bits below the sign (exponent and 7 bits of mantissa), 128 buckets an octave.
enum { GM__BUCKETS = 32768, GM__OCTAVE = 128 };
typedef struct gm__scores {
    uint64_t weights[GM__QUANT_KINDS];                  // that were counted, less those that are zero
    uint32_t *magnitude[GM__QUANT_KINDS];               // GM__BUCKETS each; NULL: kind absent
    uint32_t *sensitivity[GM__QUANT_KINDS];
} gm__scores;
gm_status gm__scores_init(gm__scores *s, const gm__quant_tensor *tensor, int tensors, bool parallel, gm_error *err);
void gm__scores_fini(gm__scores *s);
// Bucket numbers of |w| and of the sensitivity, n at a time.
void gm__score_buckets(const gm__quant_tensor *t, size_t first, size_t n, uint16_t *magnitude, uint16_t *sensitivity);
typedef struct gm__thresholds { // of one kind, in buckets
    int prune;                  // pruned: score below
    int protect_magnitude, protect_sensitivity; // protected: score at or above
} gm__thresholds;
gm__thresholds gm__score_thresholds(const gm__scores *s, int kind, const gm__quant_config *c);
// Runs of whole tensors with about the same number of weights: group g has tensors first[g] to first[g+1]-1.
enum { GM__GROUPS = 16 };
int gm__quant_groups(const gm__quant_tensor *tensor, int tensors, bool parallel, int *first);

// --- quant_sketch.c: the paper's sketch (a simplified DDSketch): buckets of relative width, one side, a zero apart.
typedef struct gm__sketch {
    double alpha, log_gamma;
    int lowest, buckets;
    uint64_t *count; // buckets
    uint64_t zeros;
} gm__sketch;
gm_status gm__sketch_init(gm__sketch *s, double alpha, gm_error *err); // alpha in [0.001, 0.5]
void gm__sketch_fini(gm__sketch *s);
int gm__sketch_bucket(const gm__sketch *s, double x); // x > 0
double gm__sketch_value(const gm__sketch *s, int bucket);
void gm__sketch_add(gm__sketch *s, float x); // x >= 0, finite

// --- quant_codebook.c: one-dimensional clustering of n points x (ascending) with weights w into k centres (ascending).
double gm__cluster_loss(const double *x, const double *w, int n, const float *centre, int k); // weighted squared error
// Exact; GM_ERR_MEMORY. Fewer points than centres: the last is repeated.
gm_status gm__cluster_exact(const double *x, const double *w, int n, float *centre, int k, gm_error *err);
void gm__cluster_lloyd(const double *x, const double *w, int n, float *centre, int k, int steps);
// From k centres to `to`: the cell is cut in two that saves most, or the neighbours joined that lose least, until there are
// enough (grow: or no cell has two points; the number is returned).
int gm__cluster_grow(const double *x, const double *w, int n, float *centre, int k, int to);
void gm__cluster_shrink(const double *x, const double *w, int n, float *centre, int k, int to);
void gm__cluster_seed(const double *x, const double *w, int n, float *centre, int k, gm_rng *rng); // k-means++, n >= 1

// --- quant_dither.c: thresholds of a weight's own, for the checkpoints after a restore.
enum { GM__DITHER_STEPS = 256 };
typedef struct gm__dither {
    uint32_t seed;                   // 0: none
    int16_t prune[GM__DITHER_STEPS]; // added to the prune threshold, in buckets, by the upper bits of the draw
} gm__dither;
// For tensor number `tensor`; last, before: its part of the previous checkpoint and its ids there, or NULL.
gm__dither gm__dither_of(uint64_t seed, int tensor, const gm__quant_tensor *t, const gm__part *last, const uint8_t *before);
// Uniform over 32 bits, and evenly spread over neighbouring elements as well: multiples of the golden ratio.
static inline uint32_t gm__dither_draw(const gm__dither *d, size_t element) {
    return (uint32_t)element * 0x9e3779b1u + d->seed;
}
// ids that are 0 become the centre below or above the weight. nearest: by the upper bits of the float, in the lower 8. pruned: weights
// near 0 have a tier of their own.
void gm__dither_ids(const gm__dither *d, const gm__quant_tensor *t, const gm__part *p, bool pruned, const uint16_t *nearest,
                    uint8_t *ids);
static inline gm_bf16 gm__dither_bf16(const gm__dither *d, size_t element, float v) { // v finite
    return (gm_bf16)((gm__bits(v) + (gm__dither_draw(d, element) >> 16)) >> 16);
}

// --- quant_assign.c: from tensors to ids. GM_ERR_NUMERIC when a weight or importance is not finite.
gm_status gm__quant_assign(const gm__quant_tensor *tensor, int tensors, const gm__scores *scores,
                           const gm__quant_settings *s, const gm__quant_state *previous, gm__quant_state **out,
                           gm_error *err);

// --- quant_counts.c: how often each id follows each previous one. [previous][id]; previous 0 when there is none.
typedef struct gm__counts {
    uint32_t n[GM__QUANT_LEVELS][GM__QUANT_LEVELS];
} gm__counts;
gm_status gm__quant_count(const gm__quant_state *s, const gm__quant_state *previous, bool parallel, gm__counts **out,
                          gm_error *err); // one a tensor
double gm__quant_entropy(const uint32_t *count, int n); // total bits of these symbols
// Bits a weight: entropy of the ids, codebooks, protected values.
double gm__quant_bits(const gm__quant_state *s, const gm__quant_state *previous, const gm__counts *counts);

#endif
