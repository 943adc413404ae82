// SPDX-License-Identifier: Apache-2.0
// All kinds, and which of them a file is.
#include "kinds.h"

#include <string.h>

const gm__kind *const gm__kinds[] = {&gm__kind_training, &gm__kind_fates,   &gm__kind_search,     &gm__kind_profile,
                                     &gm__kind_serving,  &gm__kind_checkpoints, NULL};

const gm__kind *gm__kind_named(const char *name) {
    for (int i = 0; gm__kinds[i] != NULL; i++)
        if (strcmp(gm__kinds[i]->name, name) == 0) return gm__kinds[i];
    return NULL;
}

// What tells the kind: the whole value, or the first line's.
json_t *gm__first_value(gm__bytes file, bool lines) {
    const char *end = lines ? memchr(file.data, '\n', file.bytes) : NULL;
    size_t bytes = end != NULL ? (size_t)(end - file.data) : file.bytes;
    if (lines && bytes > GM__MOST_LINE) return NULL;
    return json_loadb(file.data, bytes, 0, NULL);
}

const gm__kind *gm__kind_of(const json_t *value, bool lines) {
    for (int i = 0; value != NULL && gm__kinds[i] != NULL; i++)
        if (gm__kinds[i]->recognise(value, lines)) return gm__kinds[i];
    return NULL;
}
