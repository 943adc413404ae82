// SPDX-License-Identifier: Apache-2.0
#ifndef GAMUT_PORT_SUBNET_JSON_H
#define GAMUT_PORT_SUBNET_JSON_H

#include <gamut/port.h>

// The network of a subnet as one JSON text (docs/export.md), to be freed with free(); NULL: no memory.
char *gm__subnet_json(const gm_subnet *s, const gm_export_settings *settings);

#endif
