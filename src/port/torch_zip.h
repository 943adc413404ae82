// SPDX-License-Identifier: Apache-2.0
// The zip archive of torch.save: stored entries only, looked up by name.
#ifndef GAMUT_PORT_TORCH_ZIP_H
#define GAMUT_PORT_TORCH_ZIP_H

#include <gamut/base.h>

typedef struct gm__zip_entry {
    const uint8_t *name; // in the file's bytes, not terminated
    size_t name_length;
    size_t offset, bytes; // of the content
    uint32_t crc;
    bool checked; // the content agrees with crc
} gm__zip_entry;

typedef struct gm__zip {
    gm__zip_entry *entry; // by name
    int entries;
} gm__zip;

gm_status gm__zip_open(const uint8_t *data, size_t bytes, const char *what, gm__zip *out, gm_error *err);
void gm__zip_close(gm__zip *z);
// By name, prefix and rest joined; NULL: absent.
gm__zip_entry *gm__zip_find(const gm__zip *z, const uint8_t *prefix, size_t prefix_length, const uint8_t *rest,
                            size_t rest_length);
// The content's checksum agrees; looked at once an entry.
gm_status gm__zip_check(gm__zip_entry *e, const uint8_t *data, const char *what, gm_error *err);

#endif
