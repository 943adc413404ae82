// SPDX-License-Identifier: Apache-2.0
#include <gamut/base.h>
#include <xxhash.h>

uint64_t gm_hash64(const void *data, size_t bytes, uint64_t seed) {
    return XXH64(data, bytes, seed);
}
