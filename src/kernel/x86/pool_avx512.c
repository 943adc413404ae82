// SPDX-License-Identifier: Apache-2.0
// Pooling at level AVX512: the body is in pool_vec.h.
#include "kernel/vector_fill.h"
#include <math.h>
#include "kernel/x86/vec_avx512.h"

#include "kernel/x86/math_vec.h"
#include "kernel/x86/rows_vec.h"

#include "kernel/x86/pool_vec.h"
