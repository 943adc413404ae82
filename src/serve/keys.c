// SPDX-License-Identifier: Apache-2.0
#include "serve/keys.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { KEYS = 64, KEY_BYTES = 256, FILE_BYTES = 65536 };

struct gm__keys {
    int count;
    char key[KEYS][KEY_BYTES]; // padded with zeros
};

static gm_status add(gm__keys *k, const char *text, size_t bytes, const char *where, gm_error *err) {
    while (bytes > 0 && (text[bytes - 1] == '\r' || text[bytes - 1] == ' ')) bytes--;
    if (bytes == 0 || text[0] == '#') return GM_OK;
    if (bytes < 8 || bytes >= KEY_BYTES)
        return gm_fail(err, GM_ERR_FORMAT, "%.100s: an API key has %zu characters; it must have 8 to %d", where, bytes,
                       KEY_BYTES - 1);
    if (k->count == KEYS) return gm_fail(err, GM_ERR_RANGE, "%.100s: more than %d API keys", where, KEYS);
    memcpy(k->key[k->count++], text, bytes);
    return GM_OK;
}

static gm_status read_file(gm__keys *k, const char *file, gm_error *err) {
    struct stat info;
    uint8_t *data = NULL;
    size_t bytes = 0;
    gm_status status = gm_file_read(file, FILE_BYTES, &data, &bytes, err);
    if (status != GM_OK) return status;
    if (stat(file, &info) != 0 || (info.st_mode & 077) != 0)
        status = gm_fail(err, GM_ERR_STATE, "%.120s: others may read these API keys; run: chmod 600 %.80s", file, file);
    for (size_t at = 0; at < bytes && status == GM_OK;) {
        const char *line = (const char *)data + at;
        size_t length = strcspn(line, "\n");
        status = add(k, line, length, file, err);
        at += length + 1;
    }
    if (status == GM_OK && k->count == 0) status = gm_fail(err, GM_ERR_FORMAT, "%.150s: no API key in it", file);
    gm_free(data);
    return status;
}

gm_status gm__keys_read(const char *file, gm__keys **out, gm_error *err) {
    const char *single = getenv("GAMUT_API_KEY");
    *out = NULL;
    if (file == NULL && (single == NULL || single[0] == '\0')) return GM_OK;
    gm__keys *k = gm_alloc(1, sizeof *k);
    if (k == NULL) return gm_fail(err, GM_ERR_MEMORY, "no memory for API keys");
    gm_status status = file != NULL ? read_file(k, file, err) : add(k, single, strlen(single), "GAMUT_API_KEY", err);
    if (status != GM_OK) {
        gm__keys_destroy(k);
        return status;
    }
    *out = k;
    return GM_OK;
}

void gm__keys_destroy(gm__keys *k) {
    if (k == NULL) return;
    explicit_bzero(k, sizeof *k);
    gm_free(k);
}

bool gm__keys_accept(const gm__keys *k, const char *authorization) {
    static const char scheme[] = "Bearer ";
    char given[KEY_BYTES] = {0};
    bool well = authorization != NULL && strncasecmp(authorization, scheme, sizeof scheme - 1) == 0;
    const char *key = well ? authorization + sizeof scheme - 1 : "";
    size_t bytes = strlen(key);
    well = well && bytes > 0 && bytes < KEY_BYTES;
    if (well) memcpy(given, key, bytes);
    bool found = false;
    for (int i = 0; i < KEYS; i++) { // all of them, and every byte
        unsigned differs = 0;
        for (int b = 0; b < KEY_BYTES; b++) differs |= (unsigned)(unsigned char)(given[b] ^ k->key[i][b]);
        found |= differs == 0;
    }
    return found && well;
}
