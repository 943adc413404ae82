// SPDX-License-Identifier: Apache-2.0
// The folder: which files it holds, and what its manifest says of them.
#ifndef GAMUT_CHECKPOINT_STORE_H
#define GAMUT_CHECKPOINT_STORE_H

#include <limits.h>

#include "checkpoint/container.h"
#include "checkpoint/quant.h"

enum { GM__PATH = PATH_MAX };

// What a checkpoint decodes to, and what the next one may be a difference to.
typedef struct gm__decoded {
    uint8_t *image; // owned
    size_t bytes;
    gm__quant_state *state; // owned; NULL: no tensor of it was quantized
    gm_checkpoint_info info;
    int chain; // files behind it: 1 when it stands alone
} gm__decoded;
void gm__decoded_fini(gm__decoded *d);

// --- store_scan.c
gm_status gm__store_path(const char *folder, uint64_t number, char path[GM__PATH], gm_error *err);
// Numbers of the files that are there, ascending. *numbers: gm_free. GM_ERR_NOT_FOUND: no such folder.
gm_status gm__store_scan(const char *folder, uint64_t **numbers, int *count, gm_error *err);
// One writer a folder: *fd holds the lock until it is closed. GM_ERR_STATE: another process has it.
gm_status gm__store_lock(const char *folder, int *fd, gm_error *err);

// --- store_load.c: number 0: the newest whole one
gm_status gm__store_load(const char *folder, uint64_t number, gm__decoded *out, gm_error *err);

// --- store_manifest.c
gm_status gm__manifest_write(const char *folder, const gm_checkpoint_info *item, int count, gm_error *err);
// Numbers that the manifest names. A manifest that is not there or cannot be read gives none.
gm_status gm__manifest_read(const char *folder, uint64_t **numbers, int *count, gm_error *err);

// --- store_prune.c: writes the manifest, too. The caller has the lock. damaged: remove also those that cannot be decoded.
// check: decode the newest before anything is removed (who has just written it knows).
gm_status gm__store_prune(const char *folder, int keep_last, int keep_every, bool damaged, bool check, int *removed,
                          uint64_t *bytes, gm_error *err);

#endif
