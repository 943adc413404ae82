// SPDX-License-Identifier: Apache-2.0
// API keys: from a file that only its owner can read, or from $GAMUT_API_KEY.
#ifndef GAMUT_SERVE_KEYS_H
#define GAMUT_SERVE_KEYS_H

#include <gamut/base.h>

typedef struct gm__keys gm__keys;
// file NULL: the environment. *out is NULL when there are no keys at all.
gm_status gm__keys_read(const char *file, gm__keys **out, gm_error *err);
void gm__keys_destroy(gm__keys *k);
// authorization: the value of that header, or NULL. Takes the same time whatever is wrong.
bool gm__keys_accept(const gm__keys *k, const char *authorization);

#endif
