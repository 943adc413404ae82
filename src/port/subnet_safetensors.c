// SPDX-License-Identifier: Apache-2.0
// port: one subnet as safetensors, for PyTorch and others: plain names, and the network in the metadata.
#include <stdlib.h>

#include "port/subnet_json.h"

gm_status gm_export_safetensors(const gm_subnet *s, const gm_export_settings *settings, const char *path,
                                gm_error *err) {
    const gm_export_settings defaults = gm_export_settings_default();
    if (!settings) settings = &defaults;
    gm_tensor_writer *w = NULL;
    char *json = NULL;
    gm_status status = gm_tensor_writer_create(&w, err);
    if (!status && !(json = gm__subnet_json(s, settings)))
        status = gm_fail(err, GM_ERR_MEMORY, "%s: no memory to describe the network", path);
    if (!status) status = gm_tensor_writer_meta(w, "format", "pt", err); // what PyTorch's loaders ask for
    if (!status) status = gm_tensor_writer_meta(w, "producer", "gamut", err);
    if (!status) status = gm_tensor_writer_meta(w, "net.config", json, err);
    for (int i = 0; i < s->tensors && !status; i++) {
        const gm_subnet_tensor *t = &s->tensor[i];
        status = gm_tensor_writer_add(w, t->name, GM_F32, t->rank, t->dims, t->data, err);
    }
    if (!status) {
        status = gm_tensor_writer_commit(w, path, err); // frees w in every case
        w = NULL;
    }
    gm_tensor_writer_destroy(w);
    free(json);
    return status;
}
