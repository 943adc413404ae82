// SPDX-License-Identifier: Apache-2.0
// The table that cmake/embed.cmake writes at build time.
#ifndef GAMUT_WEB_ASSETS_H
#define GAMUT_WEB_ASSETS_H

#include <gamut/web.h>

extern const gm_web_asset gm__web_assets[]; // ends with a NULL name

#endif
