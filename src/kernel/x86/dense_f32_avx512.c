// SPDX-License-Identifier: Apache-2.0
// f32 tiles of the dense kernels at level AVX-512: the body is in dense_f32_vec.h.
#include "kernel/x86/vec_avx512.h"

#include "kernel/x86/math_vec.h"

#include "kernel/x86/dense_f32_vec.h"
