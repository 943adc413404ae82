// SPDX-License-Identifier: Apache-2.0
// Isotonic regression by pooling adjacent violators (Barlow, Bartholomew, Bremner, Brunk, 1972); a table by Dykstra's
// projections onto "rows ascend" and "columns ascend" in turn (Dykstra and Robertson, Annals of Statistics, 1982).
#include "sched/isotonic.h"

#include <math.h>
#include <string.h>

void gm__isotonic(double *y, int n, int stride, gm__isotonic_block *block) {
    int blocks = 0;
    for (int i = 0; i < n; i++) {
        gm__isotonic_block next = {y[(size_t)i * (size_t)stride], 1};
        // a mean below that of the block before it: one block
        while (blocks > 0 && block[blocks - 1].sum * next.count > next.sum * block[blocks - 1].count) {
            blocks--;
            next.sum += block[blocks].sum;
            next.count += block[blocks].count;
        }
        block[blocks++] = next;
    }
    int at = 0;
    for (int b = 0; b < blocks; b++)
        for (int i = 0; i < block[b].count; i++, at++)
            y[(size_t)at * (size_t)stride] = block[b].sum / block[b].count;
}

// One half step: y += correction, projection of its rows or columns, correction = what the projection took away.
static void project(double *y, double *correction, int rows, int columns, bool along_rows, gm__isotonic_block *scratch) {
    size_t size = (size_t)rows * (size_t)columns;
    for (size_t i = 0; i < size; i++) {
        y[i] += correction[i];
        correction[i] = y[i];
    }
    int lines = along_rows ? rows : columns;
    for (int l = 0; l < lines; l++) {
        if (along_rows) gm__isotonic(y + (size_t)l * (size_t)columns, columns, 1, scratch);
        else gm__isotonic(y + l, rows, columns, scratch);
    }
    for (size_t i = 0; i < size; i++) correction[i] -= y[i];
}

static void running_maximum(double *y, int rows, int columns) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            double *v = &y[(size_t)r * (size_t)columns + (size_t)c];
            if (r > 0) *v = fmax(*v, v[-columns]);
            if (c > 0) *v = fmax(*v, v[-1]);
        }
}

gm_status gm__isotonic_table(double *y, int rows, int columns, gm_error *err) {
    enum { MOST_STEPS = 200 };
    size_t size = (size_t)rows * (size_t)columns;
    double *corrections = gm_alloc(size, 3 * sizeof *corrections), *before = corrections ? corrections + 2 * size : NULL;
    gm__isotonic_block *scratch = gm_alloc((size_t)gm_max(rows, columns), sizeof *scratch);
    gm_status status = GM_OK;
    if (!corrections || !scratch) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory to smooth a table of %d by %d latencies", rows, columns);
        goto done;
    }
    for (int step = 0; step < MOST_STEPS; step++) {
        memcpy(before, y, size * sizeof *y);
        project(y, corrections, rows, columns, true, scratch);
        project(y, corrections + size, rows, columns, false, scratch);
        double change = 0;
        for (size_t i = 0; i < size; i++) change = fmax(change, fabs(y[i] - before[i]));
        if (change < 1e-9) break;
    }
    running_maximum(y, rows, columns);
done:
    gm_free(corrections);
    gm_free(scratch);
    return status;
}
