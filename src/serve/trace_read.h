// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_SERVE_TRACE_READ_H
#define GAMUT_SERVE_TRACE_READ_H

#include <gamut/serve.h>

enum { GM__TRACE_FILE_MOST = 1 << 30, GM__TRACE_MINUTES = 1440 };

gm_status gm__trace_reserve(gm_trace *t, double count, const char *what, gm_error *err); // t->count stays 0
void gm__trace_sort(gm_trace *t);
// Calls a minute table (Azure Functions 2019): sums over all functions. minutes: how many columns there are.
gm_status gm__trace_minutes(const char *name, const uint8_t *bytes, size_t count, double total[GM__TRACE_MINUTES], int *minutes,
                            gm_error *err);
// The minutes one after another, each `minute_ns` long, its arrivals evenly spread; counts times factor, rounded so that the
// running total stays exact.
gm_status gm__trace_spread(const char *name, const double *total, int minutes, double factor, double minute_ns, gm_trace *out,
                           gm_error *err);

#endif
