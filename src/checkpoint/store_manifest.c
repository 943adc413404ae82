// SPDX-License-Identifier: Apache-2.0
// manifest.json: the list of a store's checkpoints, for people and programs, and to notice that a file was lost. Written after
// a checkpoint is in place and before one is removed, so that whatever it names should be there.
#include "checkpoint/store.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MANIFEST = 64 << 20 };
static const char format[] = "gamut checkpoint store";

static json_t *item_json(const gm_checkpoint_info *i) {
    char file[32], identity[32];
    snprintf(file, sizeof file, "%08llu.gmc", (unsigned long long)i->number);
    snprintf(identity, sizeof identity, "%016llx", (unsigned long long)i->identity);
    json_t *item = json_pack("{s:I, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:i, s:i}", "number", (json_int_t)i->number, "file",
                             file, "identity", identity, "parent", (json_int_t)i->parent, "bytes", (json_int_t)i->bytes,
                             "image_bytes", (json_int_t)i->image_bytes, "ratio", gm_checkpoint_ratio(i), "ratio_weights",
                             gm_checkpoint_ratio_weights(i), "quantized", i->quantized, "dropped", i->dropped);
    json_t *note = i->note[0] ? json_loads(i->note, 0, NULL) : NULL;
    if (item && note) json_object_set_new(item, "note", note);
    return item;
}

gm_status gm__manifest_write(const char *folder, const gm_checkpoint_info *item, int count, gm_error *err) {
    char path[GM__PATH];
    if (snprintf(path, sizeof path, "%s/manifest.json", folder) >= (int)sizeof path)
        return gm_fail(err, GM_ERR_ARGUMENT, "%.100s...: the path is too long", folder);
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, item_json(&item[i]));
    json_t *all = json_pack("{s:s, s:i, s:o}", "format", format, "version", 1, "checkpoints", list);
    char *text = all ? json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(all);
    if (!text) return gm_fail(err, GM_ERR_MEMORY, "%.180s: no memory for its manifest", folder);
    gm_status status = gm_file_write(path, text, strlen(text), err);
    free(text);
    return status;
}

gm_status gm__manifest_read(const char *folder, uint64_t **numbers, int *count, gm_error *err) {
    char path[GM__PATH];
    uint8_t *data = NULL;
    size_t bytes = 0;
    *numbers = NULL;
    *count = 0;
    if (snprintf(path, sizeof path, "%s/manifest.json", folder) >= (int)sizeof path) return GM_OK;
    if (gm_file_read(path, MOST_MANIFEST, &data, &bytes, NULL) != GM_OK) return GM_OK;
    json_t *all = json_loadb((const char *)data, bytes, JSON_REJECT_DUPLICATES, NULL);
    gm_free(data);
    const char *said = json_string_value(json_object_get(all, "format"));
    json_t *list = said && strcmp(said, format) == 0 ? json_object_get(all, "checkpoints") : NULL;
    size_t n = json_array_size(list);
    gm_status status = GM_OK;
    if (n > 0 && !(*numbers = gm_alloc(n, sizeof **numbers)))
        status = gm_fail(err, GM_ERR_MEMORY, "%.180s: no memory for its manifest", folder);
    for (size_t i = 0; i < n && status == GM_OK; i++) {
        json_int_t number = json_integer_value(json_object_get(json_array_get(list, i), "number"));
        if (number > 0) (*numbers)[(*count)++] = (uint64_t)number;
    }
    json_decref(all);
    return status;
}
