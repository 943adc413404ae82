// SPDX-License-Identifier: Apache-2.0
// Decoding along a chain, and the newest checkpoint that is whole.
#include "checkpoint/store.h"

#include <string.h>

enum { MOST_CHAIN = 10000, ATTEMPTS = 4 };

void gm__decoded_fini(gm__decoded *d) {
    gm_free(d->image);
    gm__quant_state_destroy(d->state);
    *d = (gm__decoded){0};
}

static gm_status open_number(const char *folder, uint64_t number, char path[GM__PATH], gm__source *source,
                             gm__directory *directory, gm_error *err) {
    gm_status status = gm__store_path(folder, number, path, err);
    if (status == GM_OK) status = gm__source_open(path, source, err);
    if (status != GM_OK) return status;
    if ((status = gm__directory_read(source, directory, err)) == GM_OK && directory->info.number != number) {
        status = gm_fail(err, GM_ERR_FORMAT, "%.150s: it is checkpoint %llu by its own header: renamed?", path,
                         (unsigned long long)directory->info.number);
        gm__directory_fini(directory);
    }
    if (status != GM_OK) gm__source_close(source);
    return status;
}

// The numbers from `number` to the one that stands alone: *chain[0] is `number`. Only directories are read.
static gm_status find_chain(const char *folder, uint64_t number, uint64_t **chain, int *count, gm_error *err) {
    char path[GM__PATH];
    uint64_t wanted = 0; // the identity that the child names
    int room = 0;
    *chain = NULL;
    *count = 0;
    while (number != 0) {
        gm__source source;
        gm__directory d;
        if (*count == room) {
            uint64_t *grown = gm_realloc(*chain, (size_t)room, (size_t)room * 2 + 16, sizeof **chain);
            if (!grown) return gm_fail(err, GM_ERR_MEMORY, "%.180s: no memory for a chain", folder);
            *chain = grown;
            room = room * 2 + 16;
        }
        gm_status status = open_number(folder, number, path, &source, &d, err);
        if (status != GM_OK) return status;
        bool same = *count == 0 || d.info.identity == wanted;
        (*chain)[(*count)++] = number;
        number = d.info.parent; // smaller than number, so this ends
        wanted = d.info.parent_identity;
        gm__directory_fini(&d);
        gm__source_close(&source);
        if (!same)
            return gm_fail(err, GM_ERR_FORMAT, "%.120s: not the checkpoint that its successor was made from", path);
        if (*count == MOST_CHAIN)
            return gm_fail(err, GM_ERR_FORMAT, "%.120s: a chain of more than %d files", path, MOST_CHAIN);
    }
    return GM_OK;
}

// One file of a chain: `at` holds its parent, and then itself.
static gm_status decode_next(const char *folder, uint64_t number, gm__decoded *at, gm_error *err) {
    char path[GM__PATH];
    gm__source source;
    gm__directory d;
    gm__decoded next = {.chain = at->chain + 1};
    gm_status status = open_number(folder, number, path, &source, &d, err);
    if (status != GM_OK) return status;
    // A file may have been replaced since the chain was found.
    if (d.info.parent != at->info.number || (d.info.parent != 0 && d.info.parent_identity != at->info.identity))
        status = gm_fail(err, GM_ERR_FORMAT, "%.120s: not made from the checkpoint that it names", path);
    next.info = d.info;
    if (status == GM_OK)
        status = gm__container_decode(&source, &d, at->image, at->bytes, at->state, &next.image, &next.bytes, &next.state,
                                      err);
    gm__directory_fini(&d);
    gm__source_close(&source);
    if (status != GM_OK) return status;
    gm__decoded_fini(at);
    *at = next;
    return GM_OK;
}

static gm_status load_number(const char *folder, uint64_t number, gm__decoded *out, gm_error *err) {
    uint64_t *chain = NULL;
    int count = 0;
    *out = (gm__decoded){0};
    gm_status status = find_chain(folder, number, &chain, &count, err);
    for (int i = count; i-- > 0 && status == GM_OK;) status = decode_next(folder, chain[i], out, err);
    gm_free(chain);
    if (status != GM_OK) gm__decoded_fini(out);
    return status;
}

static bool is_damage(gm_status status) {
    return status == GM_ERR_FORMAT || status == GM_ERR_NOT_FOUND || status == GM_ERR_IO || status == GM_ERR_UNSUPPORTED ||
           status == GM_ERR_STATE;
}

static gm_status load_newest(const char *folder, gm__decoded *out, bool *again, gm_error *err) {
    uint64_t *numbers = NULL;
    int count = 0, damaged = 0;
    gm_error cause = {0};
    *again = false;
    gm_status status = gm__store_scan(folder, &numbers, &count, err);
    if (status != GM_OK) return status;
    status = GM_ERR_NOT_FOUND;
    for (int i = count; i-- > 0 && status != GM_OK;) {
        cause = (gm_error){0};
        status = load_number(folder, numbers[i], out, &cause);
        if (status == GM_OK) break;
        if (!is_damage(status)) {
            gm_free(numbers);
            return gm_fail(err, status, "%s", cause.text);
        }
        *again = *again || status == GM_ERR_NOT_FOUND; // pruned under our eyes, perhaps
        damaged++;
        gm_log(GM_LOG_WARN, "checkpoint %llu of %s cannot be restored (%s)%s", (unsigned long long)numbers[i], folder,
               cause.text, i > 0 ? "; trying the one before" : "");
    }
    gm_free(numbers);
    if (status == GM_OK) return GM_OK;
    if (count == 0) return gm_fail(err, GM_ERR_NOT_FOUND, "%.180s: no checkpoint there", folder);
    return gm_fail(err, GM_ERR_FORMAT, "%.80s: none of its %d checkpoints can be restored; the newest: %.140s", folder,
                   damaged, cause.text);
}

gm_status gm__store_load(const char *folder, uint64_t number, gm__decoded *out, gm_error *err) {
    *out = (gm__decoded){0};
    gm_status status = GM_OK;
    for (int i = 0; i < ATTEMPTS; i++) {
        bool again = false;
        if (number != 0) {
            status = load_number(folder, number, out, err);
            break;
        }
        status = load_newest(folder, out, &again, err);
        if (status == GM_OK || !again) break;
    }
    return status;
}

gm_status gm_checkpoint_load(const char *folder, uint64_t number, uint8_t **image, size_t *bytes, gm_checkpoint_info *out,
                             gm_error *err) {
    gm__decoded d;
    *image = NULL;
    *bytes = 0;
    gm_status status = gm__store_load(folder, number, &d, err);
    if (status != GM_OK) return status;
    *image = d.image;
    *bytes = d.bytes;
    if (out) *out = d.info;
    d.image = NULL;
    gm__decoded_fini(&d);
    return GM_OK;
}
