// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_SPACE_PRIVATE_H
#define GAMUT_SPACE_PRIVATE_H

#include <gamut/space.h>

// Whether the choice's values of the gates above this knob (all levels) switch it on.
bool gm__knob_in_use(const gm_space *space, const gm_choice *choice, int knob);

#endif
