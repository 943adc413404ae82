// SPDX-License-Identifier: Apache-2.0
// Softmax and cross entropy at level AVX2: the body is in loss_vec.h.
#include "kernel/vector_fill.h"
#include <math.h>
#include "kernel/x86/vec_avx2.h"

#include "kernel/x86/math_vec.h"
#include "kernel/x86/rows_vec.h"

#include "kernel/x86/loss_vec.h"
