// SPDX-License-Identifier: Apache-2.0
// strategy: what a step trains. A strategy is a table of phases and a pure function from a step to its plan, so that a
// resumed run, an estimate of the cost and a test all see the same draws.
#ifndef GAMUT_TRAIN_STRATEGY_H
#define GAMUT_TRAIN_STRATEGY_H

#include <gamut/train.h>

enum { GM__MAX_PHASES = 6, GM__MAX_SLOTS = 64 };

typedef enum gm__loss {
    GM__LOSS_LABELS,   // cross entropy with the labels
    GM__LOSS_IN_PLACE, // soft targets of slot 0 of the same step
    GM__LOSS_TEACHER   // kd_ratio * soft targets of the teacher + labels
} gm__loss;

typedef struct gm__slot { // one subnet of a step
    gm_choice choice;
    gm__loss loss;
    double beta; // weight of its gradient
    bool dropout;
} gm__slot;

typedef struct gm__step_plan {
    int slots, phase;
    gm__slot slot[GM__MAX_SLOTS];
    double lr;
} gm__step_plan;

typedef struct gm__phase {
    const char *name;
    uint64_t begin, end;       // steps [begin, end)
    uint64_t lr_begin, lr_end; // the span of its learning-rate schedule
    uint64_t warmup;           // steps
    double lr;                 // peak
    int sort_stage;            // on entry: channel sort of this stage; -1: none
    bool take_teacher;         // on entry: the weights of now become the teacher
    bool reset_momentum;       // on entry
    int subnets;               // drawn in a step
    uint8_t low[GM_MAX_KNOBS]; // smallest index that a draw may give each knob
} gm__phase;

// Everything a plan depends on.
typedef struct gm__context {
    const gm_train_settings *settings;
    const gm_graph *graph;
    const gm_graph *early_graph; // the same for smaller images, set before the number of steps; NULL: none
    uint64_t steps, steps_per_epoch;
    uint64_t early;              // steps on early_graph
    int phases;
    gm__phase phase[GM__MAX_PHASES];
    gm_choice max, min, fixed; // fixed: what `plain` trains
    int resolution_knob;       // -1: one resolution
    uint64_t delay, ramp;      // deps, in steps
    double beta_scale;         // 1; tests set 0
} gm__context;

typedef struct gm__strategy {
    const char *name;
    gm_status (*init)(gm__context *c, gm_error *err); // fills the phases from c->steps
    void (*plan)(const gm__context *c, uint64_t step, gm__step_plan *out);
} gm__strategy;

extern const gm__strategy gm__strategy_plain, gm__strategy_ofa, gm__strategy_compofa, gm__strategy_bignas,
    gm__strategy_deps;
const gm__strategy *gm__strategy_find(gm_strategy s);

// --- helpers of strategies (plan.c)
// Fills the fields that do not depend on the number of steps, then sets the number of steps and the phases.
gm_status gm__context_init(gm__context *c, const gm_train_settings *s, const gm_graph *g, uint64_t steps_per_epoch,
                           gm_error *err);
const gm_graph *gm__graph_at(const gm__context *c, uint64_t step);
gm_status gm__context_set_steps(gm__context *c, uint64_t steps, gm_error *err);
const gm__strategy *gm__context_strategy(const gm__context *c);
gm__phase *gm__phase_add(gm__context *c, const char *name, uint64_t begin, uint64_t end, double lr);
int gm__phase_at(const gm__context *c, uint64_t step);
double gm__phase_lr(const gm__context *c, const gm__phase *p, uint64_t step);
gm_choice gm__draw(const gm__context *c, const uint8_t *low, uint64_t step, int slot);
int gm__step_resolution_index(const gm__context *c, uint64_t step); // of the whole batch; -1: one resolution
int gm__step_resolution(const gm__context *c, uint64_t step);       // in pixels
void gm__slot_add(const gm__context *c, gm__step_plan *p, uint64_t step, gm_choice choice, gm__loss loss, double beta,
                  bool dropout);
// Largest, smallest, then random subnets distilled in place, with gradient weight beta.
void gm__plan_sandwich(const gm__context *c, uint64_t step, int phase, double beta, gm__step_plan *out);

// --- ledger.c
// Steps of the run: from epochs, or the number that fits max_macs.
gm_status gm__context_plan_length(gm__context *c, gm_error *err);
// Multiply-accumulates of step number `step` (x 3 for training, x 1 for the teacher's forward), for the ledger.
gm_status gm__step_macs(const gm__context *c, uint64_t step, const gm__step_plan *p, uint64_t *macs, gm_error *err);
// Expected cost of all steps from a sample of them, at most `samples` a phase (exact for shorter phases).
gm_status gm__expected_macs(const gm__context *c, uint64_t from, int samples, double *macs, gm_error *err);

// --- schedule.c: learning rate at `step` of `span` steps, the first `warmup` of which rise linearly.
double gm__schedule_lr(gm_schedule kind, double peak, double floor, uint64_t step, uint64_t span, uint64_t warmup);
// DepS: weight of the subnets' gradients at a step of the shrinking phase (2.12 of the training specification).
double gm__deps_beta(const gm__context *c, uint64_t step);

#endif
