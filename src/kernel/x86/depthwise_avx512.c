// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution at level AVX512: the body is in depthwise_vec.h.
#include "kernel/vector_fill.h"
#include "kernel/x86/vec_avx512.h"

#include "kernel/x86/math_vec.h"
#include "kernel/x86/rows_vec.h"

#include "kernel/x86/depthwise_vec.h"
