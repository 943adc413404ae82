// SPDX-License-Identifier: Apache-2.0
// Elementwise kernels at level AVX2: the body is in act_vec.h.
#include "kernel/quantize_rows.h"
#include "kernel/vector_fill.h"
#include "kernel/x86/vec_avx2.h"

#include "kernel/x86/math_vec.h"
#include "kernel/x86/rows_vec.h"

#include "kernel/x86/act_vec.h"
