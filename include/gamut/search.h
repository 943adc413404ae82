// SPDX-License-Identifier: Apache-2.0
// search: what subnets cost and how good they are, measured (profile) and predicted, and the search for the best ones.
#ifndef GAMUT_SEARCH_H
#define GAMUT_SEARCH_H

#include <gamut/plan.h>
#include <gamut/sched.h>
#include <gamut/train.h>

// Identity of a model's weights: what a profile or measured subnets belong to. Statistics of subnets do not count.
GM_API uint64_t gm_model_hash(const gm_model *m);

// ---------------------------------------------------------------------------------------------
// Profile: latency and accuracy of subnets on this machine (specs: superserve 2.8, 2.9).
typedef struct gm_profile_settings {
    int batches, batch[GM_PROFILE_BATCHES]; // ascending, starts with 1; default 1, 2, 4, 8, 16
    gm_dtype type;                          // of the plan: F32 (default), BF16, I8
    int rounds;                             // timed runs of every (subnet, batch), interleaved; default 40
    int most_seconds;                       // fewer rounds (at least 5) when they would take longer; default 120
    uint64_t seed;                          // of the order in which subnets are timed
    const gm_clock *clock;                  // NULL: the system's
} gm_profile_settings;
GM_API gm_profile_settings gm_profile_settings_default(void);
// Measures calibrated subnets of m (GM_ERR_STATE names one that is not): accuracy on the images `index` of d (NULL: all),
// through the plan of the same type; latency of whole runs. Raw numbers, in the order given: call gm_profile_regularise
// to make them a front. Polls gm_interrupted. Owned by the caller (gm_profile_fini).
GM_API gm_status gm_profile_measure(const gm_model *m, const gm_dataset *d, const int32_t *index, int count,
                                    const gm_choice *choice, int choices, const gm_profile_settings *s, gm_profile *out,
                                    gm_error *err);
// The file: docs/format-profile.md. Written whole or not at all, fully checked on reading. model: gm_model_hash.
GM_API gm_status gm_profile_save(const gm_profile *p, uint64_t model, const char *path, gm_error *err);
GM_API gm_status gm_profile_load(const char *path, gm_profile *out, uint64_t *model, gm_error *err);
GM_API gm_status gm_profile_parse(const char *text, size_t bytes, const char *what, gm_profile *out, uint64_t *model,
                                  gm_error *err);
// Refuses (GM_ERR_STATE) a profile of other weights, and one of another processor, level or number of threads unless
// forced (then a warning is logged). m NULL: the weights are not compared.
GM_API gm_status gm_profile_check(const gm_profile *p, uint64_t model, const gm_model *m, bool force, gm_error *err);

// ---------------------------------------------------------------------------------------------
// Accuracy predictor: inputs - 400 - 400 - 400 - 1 with ReLU on a one-hot form of the choice (specs: training 2.13).
typedef enum gm_encoding {
    GM_ENCODING_SPACE,       // any space: for each knob one input a value; all zero when the knob is switched off
    GM_ENCODING_OFA_MBV3,    // 128: kernels, expands, then 8 resolutions 112, 128, ...
    GM_ENCODING_OFA_RESNET50 // 82: 8 resolutions, the stem flag, widths, expands
} gm_encoding;
// Number of inputs; an error when the layout does not fit the space.
GM_API gm_status gm_encoding_inputs(gm_encoding encoding, const gm_space *space, int *inputs, gm_error *err);
// x[inputs]. An error when the choice has a value that the layout has no place for (a resolution).
GM_API gm_status gm_encode(gm_encoding encoding, const gm_space *space, const gm_choice *choice, float *x, gm_error *err);

typedef struct gm_predictor gm_predictor;
GM_API gm_status gm_predictor_create(gm_encoding encoding, const gm_space *space, uint64_t seed, gm_predictor **out,
                                     gm_error *err);
// From trained layers, ReLU between them; the last has one output. base is added to it. Everything is copied.
typedef struct gm_predictor_layer {
    int inputs, outputs;
    const float *weight; // [outputs][inputs]
    const float *bias;   // [outputs], NULL: none
} gm_predictor_layer;
GM_API gm_status gm_predictor_create_from_tensors(gm_encoding encoding, const gm_space *space, int layers,
                                                  const gm_predictor_layer *layer, double base, gm_predictor **out,
                                                  gm_error *err);
GM_API void gm_predictor_destroy(gm_predictor *p);
// out[count], in the unit of the targets it was trained on.
GM_API gm_status gm_predictor_run(gm_predictor *p, const gm_choice *choice, int count, double *out, gm_error *err);

typedef struct gm_predictor_settings {
    int epochs, batch;       // default 150, 64
    float lr, weight_decay;  // Adam, on targets scaled to a deviation of 1; default 1e-3, 1e-2
    double held_out;         // fraction that judges, not trained on; default 0.2
    uint64_t seed;           // of the split and the order
} gm_predictor_settings;
GM_API gm_predictor_settings gm_predictor_settings_default(void);
typedef struct gm_predictor_report {
    int trained, held_out;
    double tau, rmse; // on the held-out samples: Kendall's tau-b, root mean square error; NaN without any
} gm_predictor_report;
GM_API gm_status gm_predictor_fit(gm_predictor *p, const gm_choice *choice, const double *target, int count,
                                  const gm_predictor_settings *s, gm_predictor_report *report, gm_error *err);
// A safetensors file. Loading checks everything against the space.
GM_API gm_status gm_predictor_save(const gm_predictor *p, const char *path, gm_error *err);
GM_API gm_status gm_predictor_load(const char *path, const gm_space *space, gm_predictor **out, gm_error *err);

// Kendall's tau-b: rank correlation, ties allowed; NaN when one side is constant. O(n^2).
GM_API double gm_kendall_tau(int n, const double *a, const double *b);

// ---------------------------------------------------------------------------------------------
// Latency as a sum over operations.
// (a) Published tables of Once-for-all (YAML; specs: training 2.14): for graphs of the mbv3 and proxyless families, at the
// resolution and WIDTH of the table (the Note10 ones are of width 1.2).
typedef struct gm_latency_table gm_latency_table;
GM_API gm_status gm_latency_table_parse(const char *text, size_t bytes, const char *what, gm_latency_table **out,
                                        gm_error *err);
GM_API gm_status gm_latency_table_read(const char *path, gm_latency_table **out, gm_error *err);
GM_API void gm_latency_table_destroy(gm_latency_table *t);
GM_API int gm_latency_table_rows(const gm_latency_table *t);
GM_API bool gm_latency_table_find(const gm_latency_table *t, const char *key, double *ms);
// GM_ERR_NOT_FOUND names the first operation that the table does not have.
GM_API gm_status gm_latency_table_sum(const gm_latency_table *t, const gm_graph *g, const gm_choice *choice, double *ms,
                                      gm_error *err);

// (b) A table of this machine, keyed by node and resolved geometry. Its entries are estimated from whole runs of sampled
// subnets: an operation timed alone finds its weights and inputs in the cache, or does not, unlike the operation in
// its network. Entries are never negative; those that no sample had cost what their MACs suggest.
typedef struct gm_latency_model gm_latency_model;
typedef struct gm_latency_report {
    int operations, trained, held_out;
    double tau, error; // on held-out samples: Kendall's tau-b, mean of |predicted/measured - 1|; NaN without any
} gm_latency_report;
GM_API gm_status gm_latency_model_fit(const gm_graph *g, const gm_choice *choice, const double *ms, int count,
                                      gm_latency_model **out, gm_latency_report *report, gm_error *err);
GM_API void gm_latency_model_destroy(gm_latency_model *l);
GM_API gm_status gm_latency_model_run(gm_latency_model *l, const gm_choice *choice, double *ms, gm_error *err);

// ---------------------------------------------------------------------------------------------
// Evolution with a constraint (specs: training 2.15), and Pareto fronts.
typedef struct gm_evolution_settings {
    int population, iterations;          // default 100, 500
    double mutation, mutation_resolution; // probability that a knob is redrawn; default 0.1, 0.5
    double parents, mutated;             // ratios: kept as parents 0.25; children by mutation 0.5, the rest by crossover
    int tries;                           // draws per child before one is pulled towards the cheapest subnet; default 100
    uint64_t seed;
} gm_evolution_settings;
GM_API gm_evolution_settings gm_evolution_settings_default(void);
typedef struct gm_evolution_problem {
    const gm_space *space;
    // value[count] of subnets, larger is better
    gm_status (*values)(void *self, const gm_choice *choice, int count, double *value, gm_error *err);
    gm_status (*cost)(void *self, const gm_choice *choice, double *cost, gm_error *err);
    const char *unit; // of the cost, for errors: "ms", "MACs"
    void *self;
} gm_evolution_problem;
typedef struct gm_candidate {
    gm_choice choice; // canonical
    double value, cost;
} gm_candidate;
// The best of the last population, at most `most`, distinct, best first. first (may be NULL): candidates of an earlier
// search to begin with; those too expensive are left out. GM_ERR_RANGE names the cost of the smallest subnet when even
// that one is above max_cost. Polls gm_interrupted.
GM_API gm_status gm_evolve(const gm_evolution_problem *problem, const gm_evolution_settings *s, double max_cost,
                           const gm_candidate *first, int firsts, gm_candidate *best, int most, int *count, gm_error *err);
// Indices of the points that no other one dominates (cost no higher, value no lower, one of them better), by ascending
// cost; of equal points the first. Returns how many, or -1 when memory is short.
GM_API int gm_pareto(int n, const double *cost, const double *value, int *index);
// The most that front A's value falls behind front B's at any cost of B (0: nowhere). Costs and values of the points of
// each; a cost below all of A's compares with A's cheapest point.
GM_API double gm_front_gap(int a_count, const double *a_cost, const double *a_value, int b_count, const double *b_cost,
                           const double *b_value);

// ---------------------------------------------------------------------------------------------
// The whole search: measure samples, predict, evolve at several constraints, measure what was found.
typedef enum gm_objective { GM_OBJECTIVE_MACS, GM_OBJECTIVE_LATENCY } gm_objective;
enum { GM_EXHAUSTIVE_LIMIT = 4000 };
typedef struct gm_search_settings {
    gm_objective objective;
    double max_cost;        // MACs or ms; 0: none
    int samples;            // subnets measured to train the predictor; default 300
    int sample_images;      // validation images each, the same for all: those that tell subnets apart (search/strata.h); default 600
    int sample_calibrate;   // training images behind their statistics; default 800
    int calibrate_images;   // behind those of the front; default 2000
    int batch;              // of calibration and evaluation; default 200
    int predictor_epochs;   // default 150
    int levels, iterations; // constraints along the front, and generations of the evolution at each; default 12, 40
    int candidates;         // subnets measured at the end; default 240
    int judges;             // samples measured in full too, to judge the others and the predictor; at most a fifth; default 40
    gm_dtype type;          // of accuracy and latency: F32 (default) or BF16
    int latency_batch;      // images a run; default 1
    int latency_samples;    // subnets timed for the table of this machine; default 150
    bool exhaustive;        // every subnet (at most GM_EXHAUSTIVE_LIMIT), measured like a front: the truth
    uint64_t seed;
    gm_augment augment;     // of calibration
    const char *cache;      // file of measured subnets, read and extended (docs/search.md); NULL: none
    gm_latency_table *const *table; // published tables (one a resolution) instead of this machine's
    int tables;
} gm_search_settings;
GM_API gm_search_settings gm_search_settings_default(void);

typedef struct gm_search_point {
    gm_choice choice;
    uint64_t macs;
    double top1;       // measured, percent
    int images;        // behind top1
    double predicted;  // top1 by the predictor; NaN without one
    double latency_ms; // of one run of latency_batch images: measured p50, or by the table; NaN: not known
    bool timed;        // latency_ms was measured
} gm_search_point;
typedef struct gm_search_result {
    int front_count, evaluated_count;
    gm_search_point *front;     // ascending cost; calibrated in the model; measured on all validation images. Owned
    gm_search_point *evaluated; // samples, then candidates (the front among them). Owned
    int samples, candidates;    // of evaluated
    int measured;               // subnets measured by this call; the others came from the cache
    int predictions;            // subnets that the evolution asked the predictor about
    gm_predictor_report predictor;
    gm_latency_report latency;  // of the table of this machine
    double sampling_tau;        // the judges as samples against the same in full; NaN: none
    int judged;                 // predictor.tau and rmse are of these, too, against their accuracy in full
    double front_tau;           // predicted against measured accuracy of the candidates
    double seconds;
} gm_search_result;
// Adds the statistics of all candidates (the front among them) to m. train, val: indices into d.
GM_API gm_status gm_search(gm_model *m, const gm_dataset *d, const int32_t *train, int train_count, const int32_t *val,
                           int val_count, const gm_search_settings *s, gm_search_result *out, gm_error *err);
GM_API void gm_search_result_fini(gm_search_result *r);
// The result as a file (docs/search.md), whole or not at all; what it belongs to is written beside it. gap: how far the
// front falls behind the truth `gap_to` (NULL: not compared).
GM_API gm_status gm_search_save(const gm_search_result *r, const gm_model *m, const gm_search_settings *s, const char *data,
                                const char *gap_to, double gap, const char *path, gm_error *err);
// Reads front and evaluated back, the other members are zero. model: gm_model_hash.
GM_API gm_status gm_search_load(const char *path, const gm_space *space, gm_search_result *out, uint64_t *model, gm_error *err);
GM_API gm_status gm_search_parse(const char *text, size_t bytes, const char *what, const gm_space *space, gm_search_result *out,
                                 uint64_t *model, gm_error *err);
// The most accuracy (percent) that r's front falls behind the best of truth's evaluated subnets at any cost up to max_cost
// (0: none). Subnets of the front that truth measured count with truth's numbers, so that both sides were measured alike.
GM_API gm_status gm_search_gap(const gm_search_result *r, const gm_search_result *truth, const gm_space *space,
                               gm_objective objective, double max_cost, double *gap, gm_error *err);

#endif
