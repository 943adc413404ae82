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
