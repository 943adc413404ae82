// SPDX-License-Identifier: Apache-2.0
// run: the state of one training run and the parts that work on it.
#ifndef GAMUT_TRAIN_RUN_H
#define GAMUT_TRAIN_RUN_H

#include "train/strategy.h"

// Big buffers of graph->floats each. v: AdamW only; ema: when averaging; else NULL.
typedef struct gm__weights {
    float *params; // a model's
    float *m, *v, *ema;
} gm__weights;
gm_status gm__weights_init(gm__weights *w, float *params, size_t floats, bool v, bool ema, gm_error *err);
void gm__weights_fini(gm__weights *w);

// --- optimizer.c: works on pieces of parameters, in parallel; the same bits for any number of threads.
typedef struct gm__piece {
    size_t offset, count;
    bool decay;
} gm__piece;
typedef struct gm__optimizer {
    const gm_train_settings *settings;
    const gm_kernels *kernels;
    int pieces;
    gm__piece *piece; // owned
    double *sum;      // owned, one a piece
} gm__optimizer;
gm_status gm__optimizer_init(gm__optimizer *o, const gm_graph *g, const gm_train_settings *s, gm_error *err);
void gm__optimizer_fini(gm__optimizer *o);
double gm__optimizer_sumsq(gm__optimizer *o, const float *grads); // not finite when a gradient is not
// One step on gradients times scale; update counts from 1 since the buffers were reset; ema_update from 1 in the run.
// Leaves the gradients zero.
void gm__optimizer_step(gm__optimizer *o, gm__weights *w, float *grads, double scale, double lr, uint64_t update,
                        uint64_t ema_update);
void gm__optimizer_clear(gm__optimizer *o, float *grads);

// --- guard.c: is this loss sane? History of the last losses of slot 0.
enum { GM__GUARD_WINDOW = 64, GM__GUARD_READY = 16, GM__GUARD_STRIKES = 3, GM__GUARD_CALM = 200 };
typedef struct gm__guard {
    int32_t count, next;              // of history
    float history[GM__GUARD_WINDOW];
    int32_t rollbacks, strikes;       // in all; since the last good state
    int32_t calm;                     // steps for which `damp` still applies
    float damp;                       // 1, 1/2, 1/4, ...
} gm__guard;
typedef enum gm__verdict { GM__SANE, GM__SPIKE, GM__NOT_FINITE } gm__verdict;
gm__verdict gm__guard_judge(const gm__guard *g, double spike, int classes, double loss, double sumsq);
void gm__guard_accept(gm__guard *g, double loss);
void gm__guard_forget(gm__guard *g);   // a new phase has losses of its own
void gm__guard_rolled_back(gm__guard *g);

// The small part of the state. Saved and restored with the weights.
typedef struct gm__marks {
    uint64_t step;       // steps done
    uint64_t updates, ema_updates;
    uint64_t macs;       // the cost ledger
    int32_t phase;
    gm__guard guard;
    double loss_sum, accuracy_sum; // of this epoch
    uint64_t sums;                 // steps in these sums
    double loss_mean, accuracy_mean; // smoothed, for observers
    double seconds;                // training time so far
    uint64_t log_bytes;            // length of log.jsonl
} gm__marks;

// Tests look inside through these; all may be NULL.
typedef struct gm__train_hooks {
    bool (*interrupted)(void *self, uint64_t step);
    void (*gradients)(void *self, uint64_t step, float *grads, size_t count);
    void (*planned)(void *self, uint64_t step, const gm__step_plan *plan);
    void *self;
    bool beta_zero; // the gradients of all subnets but the largest weigh nothing
} gm__train_hooks;

typedef struct gm__run {
    gm_train_settings copy;            // with what follows from the data filled in
    const gm_train_settings *settings; // &copy
    const gm__train_hooks *hooks;      // NULL: none
    const char *dir;
    gm_dtype type;
    gm_model *model; // its params are live.params while training
    gm_model *early_model; // the same net for images of early_resolution; NULL: none
    gm_walker *walker, *early_walker;
    gm__context context;
    gm__optimizer optimizer;
    gm__weights live;
    gm__marks marks, marks_good;
    gm_tensor_image *good; // all of the last sane state, as of marks_good, as it is saved (state.c)
    double lr; // of the last step, as a share of the settings'
    float *grads;

    // distillation
    float *teacher; // weights, NULL before the phase that takes it
    gm_walker *teacher_walker, *early_teacher_walker;
    gm_norm_sums teacher_sums;
    int classes, ld_soft;
    float *soft, *soft_teacher, *dlogits_extra, *row_loss; // [batch][ld_soft], row_loss [batch]
    float *dlogits;
    int ld_dlogits;
    // data
    const gm_dataset *data;
    int32_t *train_index, *val_index;
    int train_count, val_count;
    gm_augment augment; // with measured mean and std
    uint64_t snapshot_every;
    double expected_macs; // of the whole run
    FILE *log;
} gm__run;

// --- step.c: forward and backward of one step's subnets.
typedef struct gm__step_result {
    double loss, accuracy; // of slot 0
    bool finite;           // all losses
} gm__step_result;
gm_status gm__train_step(gm__run *r, const gm_batch *b, const gm__step_plan *p, gm__step_result *out, gm_error *err);
gm_status gm__teacher_take(gm__run *r, const float *weights, gm_error *err);

// --- aggregate.c: divides each element of grads by the weights of the plan's subnets that use it (avg), or the root (avg_sqrt).
gm_status gm__aggregate(const gm_graph *g, gm_aggregation how, const gm__step_plan *p, float *grads, gm_error *err);

// --- sort.c: see there. buffers: those to permute alike (the first is the weights that decide); NULL ones are skipped.
gm_status gm__sort_channels(const gm_graph *g, int stage, float *const *buffers, int count, gm_error *err);
int gm__sort_banded_stage(const gm_graph *g); // the stage of the published DepS (all but the last ratio kept)

// --- state.c
gm_status gm__state_take(gm__run *r, gm_error *err); // of now: good, marks_good
gm_status gm__state_go_back(gm__run *r, gm_error *err); // the buffers of good into live; marks stay
// Of r->good, r->marks_good, to the settings' store or the folder. wait: return only when it is on disk.
gm_status gm__state_save(const gm__run *r, bool wait, gm_error *err);
gm_status gm__state_load(gm__run *r, gm_error *err); // into live and good; GM_ERR_NOT_FOUND: none there
bool gm__state_exists(const gm__run *r);
gm_status gm__state_remove(const gm__run *r, gm_error *err); // the run has ended
void gm__state_path(const char *dir, char *path, size_t size);

// --- settings.c
gm_status gm__settings_check(const gm_train_settings *s, gm_error *err);
// "name=value\n" of every field that changes the weights: two runs with the same text give the same bits.
gm_status gm__settings_text(const gm_train_settings *s, gm_dtype type, char *text, size_t size, gm_error *err);

// --- log.c
gm_status gm__log_open(gm__run *r, bool resume, gm_error *err);
void gm__log_line(gm__run *r, const char *format, ...) GM_PRINTF(2, 3); // appends one line to log.jsonl

// --- finish.c: validation during the run, and calibration, evaluation and the model file at its end.
gm_status gm__evaluate_now(gm__run *r, gm_error *err);
gm_status gm__finish(gm__run *r, const gm_dataset *test, gm_train_result *out, gm_error *err);
bool gm__run_interrupted(const gm__run *r);

// --- run.c: everything that is made once. r must not move afterwards.
gm_status gm__run_init(gm__run *r, const gm_train_settings *s, const gm_dataset *data, const char *dir,
                       const gm__train_hooks *hooks, gm_error *err);
void gm__run_fini(gm__run *r); // also after a failed init

// --- loop.c: gm_train on data sets in memory. test NULL: no test.
gm_status gm__train_with(const gm_train_settings *s, const gm_dataset *train, const gm_dataset *test, const char *dir,
                         bool resume, const gm_train_observer *observer, const gm__train_hooks *hooks,
                         gm_train_result *out, gm_error *err);

#endif
