// SPDX-License-Identifier: Apache-2.0
// run_store: the checkpoints of a training run, in DIR/checkpoints, as its recipe asks for them.
#ifndef GAMUT_RUN_STORE_H
#define GAMUT_RUN_STORE_H

#include "yardstick.h"

typedef struct gm__run_store {
    char folder[4096], marker[4096], model[4096]; // DIR/checkpoints, its file `running`, DIR/model.safetensors
    gm_checkpoint_settings settings;
    gm_checkpoint_quality quality;
    gm__yardstick yardstick;
    bool measured;   // yardstick is in use
    double early;    // what the bound is larger by at the peak learning rate
    double warmup;   // epochs; the bound is that of the peak until then
    gm_checkpoint_writer *writer;
    bool saved;      // the writer took a checkpoint of this step
    uint64_t step;
    gm_train_store hooks;
} gm__run_store;

// What a recipe's section `checkpoint` says, as settings of a store; false: it asks for none.
bool gm__recipe_checkpoint_settings(const gm__recipe *recipe, gm_checkpoint_settings *out);
// recipe must live as long. Without a store in it: s->hooks.self stays NULL.
gm_status gm__run_store_init(gm__run_store *s, const gm__recipe *recipe, const char *dir, gm_error *err);
void gm__run_store_fini(gm__run_store *s);
// The relative rise that is allowed at a point of the training. lr: of its peak, 0 to 1.
double gm__run_store_bound(const gm__run_store *s, double epoch, double lr);
// DIR holds a run with checkpoints that was begun and not ended.
bool gm__run_store_unfinished(const char *dir);

#endif
