// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_PORT_SUBNET_LIST_H
#define GAMUT_PORT_SUBNET_LIST_H

#include <gamut/port.h>

// A subnet's tensors with names, places and sizes, but without values: of m only the graph is looked at.
gm_status gm__subnet_list(const gm_model *m, const gm_choice *choice, gm_subnet **out, gm_error *err);

#endif
