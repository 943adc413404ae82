// SPDX-License-Identifier: Apache-2.0
// The two containers of torch files: where the pickle of the object and the elements of each storage are.
#ifndef GAMUT_PORT_TORCH_STORAGE_H
#define GAMUT_PORT_TORCH_STORAGE_H

#include "port/pickle.h"
#include "port/torch_zip.h"

// Where the elements of a storage lie in the file.
typedef struct gm__torch_place {
    const uint8_t *key;
    size_t key_length;
    size_t offset, elements;
} gm__torch_place;

typedef struct gm__torch_reading {
    const uint8_t *data;
    size_t bytes;
    const char *what;
    gm_error *err;
    gm__pickle object;
    int root, dict;          // among the values of object: all that was saved, and its state dict
    gm__torch_place *legacy; // by key; NULL: zip
    int legacies;
    gm__zip zip;
    const uint8_t *folder; // zip: what the names of entries start with, slash included
    size_t folder_length;
    uint64_t elements_left; // that may still be made
} gm__torch_reading;

// Finds the containers' parts and reads the pickle of the object: r->object, r->root.
gm_status gm__torch_open(gm__torch_reading *r);
void gm__torch_close(gm__torch_reading *r);
// Where a storage's elements are, which must be all there.
gm_status gm__torch_storage(gm__torch_reading *r, const gm__pickle_value *storage, gm__torch_place *out);
gm_status gm__torch_bad(const gm__torch_reading *r, const char *why);

#endif
