// SPDX-License-Identifier: Apache-2.0
// Shared by the benchmarks: medians, and the arithmetic limit of one core measured in the same run.
#ifndef GAMUT_BENCH_MEASURE_H
#define GAMUT_BENCH_MEASURE_H

#include <gamut/base.h>

// Sorts v; the middle value (mean of the two middle ones for even n).
double measure_median(double *v, int n);
// Operations a second (2 per multiply-accumulate) of the level's widest unit on registers alone, one core; median of
// nine. 0: the level has no unit of its own for the type.
double measure_peak(gm_dtype type, gm_cpu_level level);

// True when --help is among the arguments: usage is then on standard output.
bool measure_help(int argc, char **argv, const char *usage);

#endif
