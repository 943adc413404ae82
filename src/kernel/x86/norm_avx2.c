// SPDX-License-Identifier: Apache-2.0
// Batch norm at level AVX2: the body is in norm_vec.h.
#include "kernel/vector_fill.h"
#include "kernel/x86/vec_avx2.h"

#include "kernel/x86/math_vec.h"
#include "kernel/x86/rows_vec.h"

#include "kernel/x86/norm_vec.h"
