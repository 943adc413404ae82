// SPDX-License-Identifier: Apache-2.0
// What a walker was made for.
#include "train/walker.h"

int gm_walker_max_batch(const gm_walker *w) { return w->max_batch; }

gm_dtype gm_walker_type(const gm_walker *w) { return w->x.type; }
