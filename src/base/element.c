// SPDX-License-Identifier: Apache-2.0
// Sizes and names of element types.
#include <gamut/base.h>

size_t gm_dtype_size(gm_dtype type) {
    switch (type) {
    case GM_F32: return 4;
    case GM_BF16: return 2;
    case GM_I8: return 1;
    case GM_U8: return 1;
    case GM_I32: return 4;
    case GM_I64: return 8;
    }
    return 0;
}

const char *gm_dtype_name(gm_dtype type) {
    switch (type) {
    case GM_F32: return "f32";
    case GM_BF16: return "bf16";
    case GM_I8: return "i8";
    case GM_U8: return "u8";
    case GM_I32: return "i32";
    case GM_I64: return "i64";
    }
    return "unknown";
}
