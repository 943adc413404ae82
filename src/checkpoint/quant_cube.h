// SPDX-License-Identifier: Apache-2.0
// The configuration cube: axes bins, prune, protect, each ordered from cheap to precise; searched for the cheapest point that
// keeps the bound. Knows nothing of weights: cost and feasibility are asked for.
#ifndef GAMUT_CHECKPOINT_QUANT_CUBE_H
#define GAMUT_CHECKPOINT_QUANT_CUBE_H

#include <gamut/base.h>

enum { GM__CUBE_AXES = 3, GM__CUBE_CELLS = 12 * 6 * 5 };
typedef struct gm__cell {
    int at[GM__CUBE_AXES]; // 0 cheapest
} gm__cell;
extern const int gm__cube_size[GM__CUBE_AXES]; // 12, 6, 5
int gm__cell_number(const gm__cell *c);        // 0 .. GM__CUBE_CELLS-1
gm__cell gm__cell_at(int number);

typedef struct gm__cube_questions {
    gm_status (*cost)(void *self, const gm__cell *c, double *bits, gm_error *err);
    // *stop: the budget is used up; no answer
    gm_status (*feasible)(void *self, const gm__cell *c, bool *yes, bool *stop, gm_error *err);
    void *self;
} gm__cube_questions;

// All start with *best_bits (INFINITY: none known) and improve on it; *found tells whether they did. Each asks about a cell at
// most once.
// Guided: the cheapest feasible point of a box's diagonal, by halving; if precision is monotone along the axes, nothing at or
// below the last infeasible point is feasible and nothing at or above the feasible one is cheaper; the rest is cut into boxes.
gm_status gm__cube_guided(const gm__cube_questions *q, gm__cell *best, double *best_bits, bool *found, gm_error *err);
gm_status gm__cube_brute(const gm__cube_questions *q, gm__cell *best, double *best_bits, bool *found, gm_error *err);

#endif
