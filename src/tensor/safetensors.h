// SPDX-License-Identifier: Apache-2.0
// Constants of the safetensors container that reader and writer share.
#ifndef GAMUT_TENSOR_SAFETENSORS_H
#define GAMUT_TENSOR_SAFETENSORS_H

#include <gamut/tensor.h>

enum {
    GM__LENGTH_BYTES = 8,          // u64: header bytes
    GM__MAX_HEADER = 100000000,    // as the reference implementation
    GM__MAX_META = 65536,          // metadata pairs
    GM__MAX_NAME = 256,            // bytes of a name or key
    GM__MAX_STRING = 16 << 20      // bytes of a metadata value
};
// Largest file that is read.
static const uint64_t gm__max_file = (uint64_t)16 << 30;

// "F32" and so on; NULL / false for types that gm_dtype does not have.
const char *gm__type_text(gm_dtype type);
bool gm__type_from_text(const char *text, gm_dtype *out);
// Bytes of a tensor; false when they do not fit in 64 bits (or size_t). Zero dimensions are legal.
bool gm__tensor_bytes(gm_dtype type, int rank, const uint64_t *dims, uint64_t *out);
// A name from a file made safe to print: printable ASCII, everything else as '?'.
const char *gm__printable(const char *name, char *text, size_t size);

#endif
