// SPDX-License-Identifier: Apache-2.0
// The quantizer of checkpoints: named f32 tensors to a small blob and back, and the search for its configuration. Pure
// functions: no file, no clock, no log line. Method: Inshrinkerator (SoCC 2024); what differs from it, and why, is in
// docs/checkpoint-quantizer.md; the bytes are described in docs/format-checkpoint-quant.md.
//
// How a store uses it:
//   saving   gm__quant_search(tensors, previous state, last state, quality)          -> configuration
//            gm__quant_encode(tensors, settings, previous state)                      -> blob + next state
//            after the commit, the next state takes the place of the previous one
//   reading  gm__quant_decode(blob, shapes, previous state) -> next state; along a chain only ids are decoded;
//            gm__quant_values(state, i, out) gives the weights of the last one
//   resuming the state that decoding gave is, bit for bit, the one that encoding gave
// Only tensors for which gm__quant_takes says yes belong here; all others (a NaN or an infinity)
// are the store's own, and stay exact.
#ifndef GAMUT_CHECKPOINT_QUANT_H
#define GAMUT_CHECKPOINT_QUANT_H

#include <gamut/base.h>

enum {
    GM__QUANT_TENSORS = 65536,  // most tensors of a blob
    GM__QUANT_BINS = 126,       // most centres of a tensor
    GM__QUANT_KINDS = 16,       // layer types
    GM__QUANT_SMALLEST = 256,   // tensors of fewer weights are not worth a codebook
    GM__QUANT_CONFIG_TEXT = 64, // bytes that any printed configuration fits in
};

// Layer types. The prune threshold is one per type, over all its tensors; embeddings have their own number of bins.
typedef enum gm__quant_kind {
    GM__QUANT_CONV = 0, GM__QUANT_DEPTHWISE = 1, GM__QUANT_LINEAR = 2, GM__QUANT_ATTENTION = 3, GM__QUANT_EMBEDDING = 4,
    GM__QUANT_OTHER = 5, GM__QUANT_SMALL = 6 // one dimension, or few elements: no codebook, all are protected
} gm__quant_kind;

// What a reader must know of a tensor beforehand (from the manifest); it bounds what decoding may allocate.
typedef struct gm__quant_shape {
    const char *name;    // identifies the tensor; part of the hash that a blob is checked against
    gm__quant_kind kind;
    size_t count;        // elements, any layout: the quantizer looks at no dimension
} gm__quant_shape;

// What importance says of a weight's gradient.
typedef enum gm__quant_source {
    GM__QUANT_NONE,    // nothing: importance is NULL, magnitude stands in for sensitivity
    GM__QUANT_AVERAGE, // a signed average: SGD's momentum or Adam's first moment
    GM__QUANT_SQUARE   // an average of squares: Adam's second moment; its root is taken
} gm__quant_source;

typedef struct gm__quant_tensor {
    gm__quant_shape shape;
    const float *weights;    // shape.count
    const float *importance; // shape.count, or NULL
    gm__quant_source source; // the same for all tensors of a kind
} gm__quant_tensor;

// True when the tensor may be made lossy: all its elements are finite.
bool gm__quant_takes(size_t count, const float *weights);

// ---------------------------------------------------------------------------------------------
// Settings.
typedef struct gm__quant_config { // one point of the cube
    int bins;            // the search takes 5, 6, 8, 10, 12, 15, 20, 28, 40, 62, 90, 126
    int embedding_bins;  // 16, 32
    float prune;         // fraction of a kind that becomes 0: 0, .1, .2, .3, .4, .5
    float protect;       // fraction kept as bf16, by each of the two scores: .0005, .005, .01, .05, .2
    bool by_sensitivity; // prune by sensitivity instead of magnitude
} gm__quant_config;
// "bins=8 embedding=16 prune=0.3 protect=0.0005 by=sensitivity", and back (GM_ERR_ARGUMENT names what is wrong).
void gm__quant_config_print(const gm__quant_config *c, char *text, size_t size);
gm_status gm__quant_config_parse(const char *text, gm__quant_config *out, gm_error *err);

typedef enum gm__quant_coder {
    GM__QUANT_RANS = 0,    // ours: rANS with the previous id as context
    GM__QUANT_PAPER = 1,   // as published: ring difference, regrouped by previous id, run lengths and Huffman
    GM__QUANT_RLE = 2,     // ablation: the same, not regrouped
    GM__QUANT_HUFFMAN = 3, // ablation: Huffman of the ring difference
} gm__quant_coder;
// "rans", "paper", "rle", "huffman"; GM_ERR_ARGUMENT lists them.
const char *gm__quant_coder_name(gm__quant_coder coder);
gm_status gm__quant_coder_parse(const char *text, gm__quant_coder *out, gm_error *err);

typedef enum gm__quant_codebook {
    GM__QUANT_WARM = 0,   // exact centres of the histogram first, then two Lloyd steps from the last checkpoint's
    GM__QUANT_EXACT = 1,  // exact centres every time
    GM__QUANT_KMEANS = 2, // as published: weighted k-means++ on the sketch, seeded
} gm__quant_codebook;

enum { GM__QUANT_METRICS = 8 }; // most figures that one call of `quality` gives
// What the search for one checkpoint knows, and that for the next one is helped by; zeros: nothing.
typedef struct gm__quant_hint {
    double moved;                  // what training moved the weights by since the checkpoint before: squared, over their own square
    double strain;                 // of the configuration that was chosen
    double base[GM__QUANT_METRICS]; // figures of the weights as they are
    int settled;                   // checkpoints in a row, up to this one, whose weights had filled the bins of the one before
} gm__quant_hint;

typedef struct gm__quant_settings {
    gm__quant_config config;     // default: 16 bins, 16, prune 0.1 by magnitude, protect 0.0005
    gm__quant_coder coder;       // default rans
    gm__quant_codebook codebook; // default warm
    float density;               // default 0.2: centres lie where this power of the density of weights says; 0: evenly, 1: as in k-means
    float sigma;                 // default 0.2: share of the frequency in a weight of k-means (codebook kmeans only)
    bool by_max;                 // k-means weights divided by their maximum instead of their sum; default false
    float stick;                 // default 0.15: a weight keeps its previous id while it lies within this share of the
                                 // neighbouring bin, or three times that of an octave of a threshold; 0: as published. 0 to 0.5
    uint64_t dither;             // default 0: none. Else weights go to one of the two centres around them at
                                 // random, the nearer the likelier, so that on average nothing is lost; of this seed. In tensors whose
                                 // weights do not fill their bins evenly yet; no `stick` there
    bool parallel;               // default true: use gm_parallel; false: stay on the calling thread. Same bytes
    uint64_t seed;               // of k-means++
    gm__quant_hint hint;         // default 0: what the search told, for the search of the next checkpoint
} gm__quant_settings;
gm__quant_settings gm__quant_settings_default(void);

// ---------------------------------------------------------------------------------------------
// The state of one checkpoint: ids (a byte a weight), codebooks, protected values, configuration. Never changed once made,
// so threads may share it.
typedef struct gm__quant_state gm__quant_state;
void gm__quant_state_destroy(gm__quant_state *s); // NULL allowed
const gm__quant_config *gm__quant_state_config(const gm__quant_state *s);
uint64_t gm__quant_state_hash(const gm__quant_state *s);  // of everything that decoding gives
const gm__quant_hint *gm__quant_state_hint(const gm__quant_state *s); // zeros when it was decoded
const uint8_t *gm__quant_state_ids(const gm__quant_state *s, int tensor); // levels: centre 0..bins-1, or the two below
enum { GM__QUANT_PRUNED = GM__QUANT_BINS, GM__QUANT_PROTECTED, GM__QUANT_LEVELS };
// The decoded weights of a tensor; out has as many floats as its shape says.
void gm__quant_values(const gm__quant_state *s, int tensor, float *out);
// Whether the weights lie anywhere in the bins that `last` has, not near its centres, as they do for some time after a restore.
bool gm__quant_filled(const gm__quant_tensor *tensor, int tensors, const gm__quant_state *last);

// ---------------------------------------------------------------------------------------------
// Coding.
typedef struct gm__quant_report { // of one blob
    uint64_t weights, centres, pruned, protected_; // how many of each
    uint64_t migrated;                             // ids that differ from the previous checkpoint's (delta only)
    uint64_t bytes;                                // of the blob, and of that:
    uint64_t bytes_ids, bytes_tables, bytes_codebooks, bytes_protected;
    double error;                                  // mean of (weight - decoded)^2 over mean of weight^2
} gm__quant_report;

// previous NULL: the blob stands alone; else it is a difference, and needs exactly that state for reading (tensors must be
// the same). *blob: gm_free. *next: destroy. report may be NULL. GM_ERR_NUMERIC: a weight or importance is not finite.
gm_status gm__quant_encode(const gm__quant_tensor *tensor, int tensors, const gm__quant_settings *s,
                           const gm__quant_state *previous, uint8_t **blob, size_t *bytes, gm__quant_state **next,
                           gm__quant_report *report, gm_error *err);
// Any bytes are read or refused (GM_ERR_FORMAT; GM_ERR_STATE when the blob belongs to another previous state). Allocates no
// more than about two bytes a weight of the shapes. `what` names the blob in errors. parallel: use gm_parallel.
gm_status gm__quant_decode(const uint8_t *blob, size_t bytes, const char *what, const gm__quant_shape *shape, int tensors,
                           const gm__quant_state *previous, bool parallel, gm__quant_state **next, gm_error *err);

typedef struct gm__quant_info { // the head of a blob, for `inspect`: readable without the previous state
    int version, tensors;
    bool difference; // needs the state whose hash is `parent`
    gm__quant_coder coder;
    gm__quant_config config;
    uint64_t shapes, parent, hash, weights;
} gm__quant_info;
gm_status gm__quant_inspect(const uint8_t *blob, size_t bytes, const char *what, gm__quant_info *out, gm_error *err);

// ---------------------------------------------------------------------------------------------
// The search. quality is given decoded weights, tensor by tensor (all other parameters stay as they are), and measures what it was
// given last: `metrics` figures, LOWER IS BETTER: losses, or accuracies with a minus sign. Several figures when several
// subnets are bounded (the largest and the smallest): the worst one decides.
typedef struct gm__quant_quality {
    gm_status (*put)(void *self, int tensor, const float *weights, gm_error *err);
    gm_status (*measure)(void *self, double *figure, gm_error *err);
    void *self;
    int metrics; // 1 to GM__QUANT_METRICS
} gm__quant_quality;

typedef struct gm__quant_trial { // one evaluation
    gm__quant_config config;
    bool fresh;    // with `stick` 0 in place of that of the settings
    double error;  // of the weights, squared, relative
    double bits;   // a weight, entropy of the ids (given the previous ones) with codebooks and protected values
    double figure[GM__QUANT_METRICS];
    double drop;   // worst relative rise of a figure; may be negative
    double strain; // worst rise over what it may be: max_drop, or half of what training lowered that figure by, relatively, since
                   // the last checkpoint
    bool feasible; // strain <= 1, and error within the bound on it
} gm__quant_trial;

typedef enum gm__quant_method {
    GM__QUANT_GUIDED,    // the whole cube, as published for a first checkpoint
    GM__QUANT_PREDICTED, // near the last configuration, by the error of the weights; when that finds nothing the cube, or the finest after a first one
    GM__QUANT_BRUTE
} gm__quant_method;

typedef struct gm__quant_search_settings {
    double max_drop;         // default 0.05, relative
    double distortion;       // the error of the weights may be this many times what training moved them by since the last
                             // checkpoint (or 0.001, if that is more); default 0: as large as max_drop allows
    bool restored;           // the weights went on from the last state as it was decoded, not from what it was made of
    int distance;            // of the neighbourhood, in steps of the cube; default 2
    int most_trials;         // 0: no limit; the search then ends with the best found so far
    gm__quant_method method; // default predicted
} gm__quant_search_settings;
gm__quant_search_settings gm__quant_search_settings_default(void);

typedef struct gm__quant_search_result {
    bool found;              // false: no configuration keeps the bound; save without loss
    gm__quant_trial chosen;
    gm__quant_trial trial[512]; // in order
    int trials;
    bool guided;             // the whole cube was searched
    gm__quant_hint hint;     // for the next one
    double max_error;        // the bound that follows from it; INFINITY: none
} gm__quant_search_result;
// s->config is ignored; everything else of s is used for the trials, so that what is measured is what encode writes.
// last: of the checkpoint before this one or NULL, whether or not this one is a difference to it.
gm_status gm__quant_search(const gm__quant_tensor *tensor, int tensors, const gm__quant_settings *s,
                           const gm__quant_state *previous, const gm__quant_state *last,
                           const gm__quant_search_settings *search, const gm__quant_quality *quality,
                           gm__quant_search_result *out, gm_error *err);

// ---------------------------------------------------------------------------------------------
// The optimizer's state (momentum, first and second moments): floats rounded to `mantissa` bits of mantissa; values more than
// `octaves` powers of two below the tensor's largest become 0, or the smallest that is kept (second moments: an update divides
// by their root); coded without a previous checkpoint, for moments
// forget within a few steps. Relative error of what is kept: at most 2^-(mantissa+1).
typedef struct gm__moment_settings {
    int mantissa; // 0 to 7, default 2
    int octaves;  // 1 to 28, default 16
    bool clamp;   // too small becomes the smallest instead of 0; default false; tensors without a negative value
                  // (second moments) always do so
    bool parallel;
} gm__moment_settings;
gm__moment_settings gm__moment_settings_default(void);
// shape[i].count values at value[i]. GM_ERR_NUMERIC: one is not finite (then: lossless).
gm_status gm__moment_encode(const gm__quant_shape *shape, const float *const *value, int tensors,
                            const gm__moment_settings *s, uint8_t **blob, size_t *bytes, gm_error *err);
gm_status gm__moment_decode(const uint8_t *blob, size_t bytes, const char *what, const gm__quant_shape *shape, int tensors,
                            bool parallel, float *const *value, gm_error *err);

#endif
