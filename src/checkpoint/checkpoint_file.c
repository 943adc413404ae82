// SPDX-License-Identifier: Apache-2.0
// Checkpoints as single files, and models out of them.
#include "checkpoint/store.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

gm_status gm_checkpoint_file_write(const char *path, const uint8_t *image, size_t bytes, const gm_checkpoint_settings *s,
                                   const char *note, gm_checkpoint_info *out, gm_error *err) {
    const gm__pack pack = {.image = image, .bytes = bytes, .settings = s, .note = note};
    gm__packed packed;
    gm_status status = gm__container_write(path, &pack, &packed, err);
    if (status == GM_OK && out) *out = packed.info;
    gm__quant_state_destroy(packed.state);
    return status;
}

gm_status gm_checkpoint_file_info(const char *path, gm_checkpoint_info *out, gm_error *err) {
    gm__source source;
    gm__directory d;
    gm_status status = gm__source_open(path, &source, err);
    if (status != GM_OK) return status;
    if ((status = gm__directory_read(&source, &d, err)) == GM_OK) {
        *out = d.info;
        gm__directory_fini(&d);
    }
    gm__source_close(&source);
    return status;
}

gm_status gm_checkpoint_file_read(const char *path, uint8_t **image, size_t *bytes, gm_checkpoint_info *out,
                                  gm_error *err) {
    gm__source source;
    gm__directory d;
    gm__quant_state *state = NULL;
    *image = NULL;
    *bytes = 0;
    gm_status status = gm__source_open(path, &source, err);
    if (status != GM_OK) return status;
    status = gm__directory_read(&source, &d, err);
    if (status == GM_OK) {
        if (d.flags & GM__FLAG_DELTA)
            status = gm_fail(err, GM_ERR_UNSUPPORTED, "%.120s: is a difference to checkpoint %llu: restore it from its folder "
                             "(gamut checkpoint restore)", path, (unsigned long long)d.info.parent);
        else status = gm__container_decode(&source, &d, NULL, 0, NULL, image, bytes, &state, err);
        if (status == GM_OK && out) *out = d.info;
        gm__quant_state_destroy(state);
        gm__directory_fini(&d);
    }
    gm__source_close(&source);
    return status;
}

bool gm_checkpoint_is_file(const char *path) {
    uint8_t first[8];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return false;
    bool same = read(fd, first, sizeof first) == (ssize_t)sizeof first && memcmp(first, gm__file_magic, sizeof first) == 0;
    close(fd);
    return same;
}

static gm_status unpack(const char *path, uint8_t **image, size_t *bytes, gm_error *err) {
    return gm_checkpoint_file_read(path, image, bytes, NULL, err);
}

void gm_checkpoint_enable_models(void) { gm_model_container(gm__file_magic, unpack); }
