// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_BASE_PHILOX_H
#define GAMUT_BASE_PHILOX_H

#include <stdint.h>

// The bare block function, for tests against its published vectors.
void gm__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
