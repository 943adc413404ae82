// SPDX-License-Identifier: Apache-2.0
// What the parts of gamut checkpoint share.
#ifndef GAMUT_CHECKPOINT_SAVE_H
#define GAMUT_CHECKPOINT_SAVE_H

#include "cli.h"

#include <gamut/checkpoint.h>

int gm__checkpoint_save(const gm__command *self, int argc, char **argv); // gamut checkpoint save

double gm__checkpoint_rate(uint64_t bytes, double seconds); // MB/s
json_t *gm__checkpoint_json(const gm_checkpoint_info *info);
// What a file or a folder (number 0: its newest) restores to.
gm_status gm__checkpoint_read(const char *from, uint64_t number, uint8_t **image, size_t *bytes, gm_checkpoint_info *info,
                              gm_error *err);

#endif
