// SPDX-License-Identifier: Apache-2.0
// Isotonic regression: the non-decreasing sequence, or table, that is nearest to given numbers.
#ifndef GAMUT_SCHED_ISOTONIC_H
#define GAMUT_SCHED_ISOTONIC_H

#include <gamut/base.h>

typedef struct gm__isotonic_block { // a run of equal values in the making
    double sum;
    int count;
} gm__isotonic_block;
// y[0], y[stride], ... (n of them) become the non-decreasing sequence with the least sum of squared changes (pool
// adjacent violators). scratch: n blocks.
void gm__isotonic(double *y, int n, int stride, gm__isotonic_block *scratch);
// The same for a table [rows][columns] that must not decrease along either (Dykstra's alternating projections, ended by
// a running maximum, which makes it exact). Fails when memory is short.
gm_status gm__isotonic_table(double *y, int rows, int columns, gm_error *err);

#endif
