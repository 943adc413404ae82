// SPDX-License-Identifier: Apache-2.0
// Optimizers and reductions at level AVX2: the body is in optimizer_vec.h.
#include "kernel/vector_fill.h"
#include "kernel/x86/vec_avx2.h"

#include "kernel/x86/math_vec.h"
#include "kernel/x86/rows_vec.h"

#include "kernel/x86/optimizer_vec.h"
