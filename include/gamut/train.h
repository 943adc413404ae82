// SPDX-License-Identifier: Apache-2.0
// train: the walker (forward and backward over the graph), losses, optimizers, schedules, strategies, calibration.
#ifndef GAMUT_TRAIN_H
#define GAMUT_TRAIN_H

#include <gamut/data.h>
#include <gamut/model.h>
#include <gamut/tensor.h>

// ---------------------------------------------------------------------------------------------
// The walker: one pass of one subnet over one batch. Memory is sized for the largest subnet and batch at creation.
typedef struct gm_walker gm_walker;
GM_API gm_status gm_walker_create(const gm_graph *g, const size_t *norm_offset, gm_dtype type, int max_batch, bool training,
                                  gm_walker **out, gm_error *err);
GM_API void gm_walker_destroy(gm_walker *w);
GM_API size_t gm_walker_bytes(const gm_walker *w);
GM_API int gm_walker_max_batch(const gm_walker *w); // as given at creation
GM_API gm_dtype gm_walker_type(const gm_walker *w);
// After the masters changed: refreshes the packed weights. params must stay valid.
GM_API void gm_walker_refresh(gm_walker *w, const float *params);
// Forward of a subnet. EVAL needs norms. sums: CALIBRATE adds per-channel sums and sums of squares (graph->norm_floats
// doubles each, plus the counts of positions in sum_count[node]).
typedef struct gm_norm_sums {
    double *sum, *sumsq; // graph->norm_floats
    double *count;       // graph->nodes
} gm_norm_sums;
typedef struct gm_pass {
    gm_choice choice;
    gm_mode mode;
    const gm_norm_entry *norms; // EVAL
    gm_norm_sums *sums;         // CALIBRATE
    uint64_t seed, step;        // dropout masks
    bool dropout;
} gm_pass;
GM_API gm_status gm_walker_forward(gm_walker *w, const gm_pass *pass, const gm_batch *batch, gm_error *err);
// Adds, for each node that ran in the last forward, the sum over images of the largest |value| of its output. Products behind
// which a norm stands are left out: nobody keeps their values.
GM_API void gm_walker_add_ranges(const gm_walker *w, double *sum);
// f32 logits of the last forward: row of image i at [i*ld]
GM_API const float *gm_walker_logits(const gm_walker *w, int *ld);
// Gradient of the last TRAIN forward: dlogits like the logits; ADDS to grads (graph->floats).
GM_API gm_status gm_walker_backward(gm_walker *w, const float *dlogits, float *grads, gm_error *err);

// ---------------------------------------------------------------------------------------------
// Calibration: exact pooled batch-norm statistics of a subnet over `images` training images (specs: training 2.5).
typedef struct gm_calibrate_settings {
    int images, batch; // default 2000, 200
    bool ranges;       // widen m->range, for int8 plans (default); else only the statistics
    uint64_t seed;
} gm_calibrate_settings;
GM_API gm_calibrate_settings gm_calibrate_settings_default(void);
// Adds (or replaces) the entry of each choice in m, and widens m->range to its activations when asked to.
GM_API gm_status gm_calibrate(gm_model *m, gm_walker *w, const gm_dataset *d, const int32_t *index, int count,
                              const gm_augment *a, const gm_calibrate_settings *s, const gm_choice *choice, gm_error *err);
typedef struct gm_eval_result {
    gm_choice choice;
    double top1, loss; // top1 in percent
    uint64_t macs;
    int images;
} gm_eval_result;
// Subnet must be calibrated (GM_ERR_STATE otherwise). index NULL: all images.
GM_API gm_status gm_evaluate(gm_model *m, gm_walker *w, const gm_dataset *d, const int32_t *index, int count,
                             const gm_choice *choice, gm_eval_result *out, gm_error *err);
// The same, and of each image the margin (the logit of its class minus the largest of the others) and the loss, where not NULL.
GM_API gm_status gm_evaluate_each(gm_model *m, gm_walker *w, const gm_dataset *d, const int32_t *index, int count,
                                  const gm_choice *choice, float *margin, float *loss, gm_eval_result *out, gm_error *err);

// ---------------------------------------------------------------------------------------------
// Training. One loop, many strategies (specs: training 2.6). See docs/recipes.md for each setting.
typedef enum gm_strategy { GM_STRATEGY_PLAIN, GM_STRATEGY_OFA, GM_STRATEGY_COMPOFA, GM_STRATEGY_BIGNAS,
                           GM_STRATEGY_DEPS } gm_strategy;
typedef enum gm_optimizer { GM_OPTIMIZER_SGD, GM_OPTIMIZER_ADAMW } gm_optimizer;
typedef enum gm_schedule { GM_SCHEDULE_COSINE, GM_SCHEDULE_LINEAR, GM_SCHEDULE_CONSTANT } gm_schedule;
typedef enum gm_sort { GM_SORT_FREE, GM_SORT_BANDED, GM_SORT_NONE } gm_sort;
// How the gradients of a step's subnets become one: their sum; each element divided by the sum of the weights of the
// subnets that use it; or by its square root.
typedef enum gm_aggregation { GM_AGGREGATION_SUM, GM_AGGREGATION_AVG, GM_AGGREGATION_AVG_SQRT } gm_aggregation;
// Where training states go instead of DIR/state.safetensors: a history of them, perhaps compressed (docs/checkpoints.md).
typedef struct gm_train_mark { // when a state was taken
    uint64_t step;
    double epoch, seconds, loss;
    double lr; // of the last step, as a share of the recipe's
} gm_train_mark;
typedef struct gm_train_store {
    double every; // epochs between states; 0: by checkpoint_seconds
    int restores; // for experiments: so many times, evenly spaced, the run goes on from what was saved just then
    // Is there a run that was begun and not ended?
    bool (*unfinished)(void *self);
    // A new run begins: what is there of another one goes.
    gm_status (*begin)(void *self, gm_error *err);
    // state: held by the run, which writes to it no more while others hold it. wait: return only when it is on disk.
    gm_status (*save)(void *self, gm_tensor_image *state, const gm_train_mark *mark, bool wait, gm_error *err);
    gm_status (*load)(void *self, gm_tensor_image **out, gm_error *err); // *out: the caller's to release
    // The model is written: the run has ended.
    gm_status (*finish)(void *self, gm_error *err);
    void *self;
} gm_train_store;

typedef struct gm_train_settings {
    char preset[32];
    gm_model_settings model;
    char data[512], data_dir[512]; // gm_dataset_load's name; dir may be empty
    int validation;                // images held out of training for choices; default 5000
    gm_augment augment;            // mean/std are measured when all zero
    gm_strategy strategy;
    char choice[256];              // plain: the subnet to train; default "max"
    char sampler[16];              // "random" (independent) or "compofa" (coupled)
    double epochs;                 // total; may be fractional
    int batch;                     // images a step
    gm_optimizer optimizer;
    float lr, momentum, weight_decay, beta1, beta2, adam_eps;
    bool nesterov;
    gm_schedule schedule;
    float warmup;                  // epochs of linear warm-up
    float final_lr;                // floor, as a fraction of lr
    float label_smoothing;
    float kd_temperature, kd_ratio; // in-place or teacher distillation; kd_ratio: OFA's weight
    int subnets;                   // trained in one step once shrinking began (sandwich S); default 4
    float delay, ramp;             // deps: fractions of epochs; default 0.5 and 0.02
    int early_resolution;          // side of images in pixels during the first `early_part` of the steps (progressive
                                   // resizing), for nets of one resolution; 0: as later
    float early_part;              // default 0.5
    gm_sort sort;                  // deps, ofa: channel sort
    gm_aggregation aggregation;    // default sum
    float phase_epochs[6];         // ofa: share of the epochs of each phase (full, kernel, depth 1, depth 2, expand 1, 2)
    float phase_lr[6];             // ofa: lr of each phase as a fraction of lr
    float clip;                    // global gradient norm; 0: off
    float spike;                   // roll back when loss > spike * running median; 0: off; default 3
    float ema;                     // weight average (per step decay), 0: off; the averaged weights are what is saved
    double max_macs;               // the run ends when the cost ledger reaches this, schedules included; epochs is then
                                   // ignored; 0: epochs count
    int calibrate_images;
    char eval_choices[8][128];     // evaluated at the end
    int eval_choice_count;
    int eval_every;                // epochs between validations of max and min; 0: only at the end
    bool eval_all;                 // those validations: all of eval_choices
    gm_dtype type;                 // activations: F32 or BF16
    bool type_auto;                // BF16 where the processor multiplies it, else F32
    uint64_t seed;
    double checkpoint_seconds;     // between training states on disk; default 60
    char init[512];                // a model file of the same network to start from; empty: random weights
    const gm_train_store *store;   // default NULL: state.safetensors
    int tta;                       // reserved 0
} gm_train_settings;
GM_API gm_train_settings gm_train_settings_default(void);
// The validation split is the same for every run seed: gm_dataset_split(train, validation, GM_SPLIT_SEED).
enum { GM_SPLIT_SEED = 1 };

typedef struct gm_train_status { // for observers, after every step
    double epoch, epochs, loss, accuracy; // accuracy of the largest subnet on recent training batches, percent
    double images_per_second, seconds_left, macs_spent, lr, beta;
    uint64_t step, steps;
} gm_train_status;
typedef struct gm_train_observer {
    void (*step)(void *self, const gm_train_status *s);
    void *self;
} gm_train_observer;
typedef struct gm_train_result {
    gm_eval_result val[8], test[8];
    int choices;
    double macs_spent, seconds, images_per_second;
    size_t peak_bytes; // resident set high-water mark
    uint64_t steps;
    int rollbacks;
} gm_train_result;
// dir receives model.safetensors, state.safetensors (while unfinished), log.jsonl. resume: continue from dir's state, bit for bit.
// test: also evaluate on the test set at the end (once).
GM_API gm_status gm_train(const gm_train_settings *s, const char *dir, bool resume, bool test,
                          const gm_train_observer *observer, gm_train_result *out, gm_error *err);

#endif
