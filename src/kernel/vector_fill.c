// SPDX-License-Identifier: Apache-2.0
#include "kernel/vector_fill.h"

void gm__vector_fill_ref(gm_kernels *table) {
    gm__depthwise_fill_ref(table);
    gm__tap_transform_fill_ref(table);
    gm__act_fill_ref(table);
    gm__norm_fill_ref(table);
    gm__pool_fill_ref(table);
    gm__loss_fill_ref(table);
    gm__transformer_fill_ref(table);
    gm__attention_fill_ref(table);
    gm__optimizer_fill_ref(table);
}

#if defined(__x86_64__) && defined(__GNUC__)

void gm__vector_fill_avx2(gm_kernels *table) {
    gm__depthwise_fill_avx2(table);
    gm__act_fill_avx2(table);
    gm__norm_fill_avx2(table);
    gm__pool_fill_avx2(table);
    gm__loss_fill_avx2(table);
    gm__optimizer_fill_avx2(table);
}

void gm__vector_fill_avx512(gm_kernels *table) {
    gm__depthwise_fill_avx512(table);
    gm__act_fill_avx512(table);
    gm__norm_fill_avx512(table);
    gm__pool_fill_avx512(table);
    gm__loss_fill_avx512(table);
    gm__optimizer_fill_avx512(table);
}

#endif
