// SPDX-License-Identifier: Apache-2.0
// The files of a store: their names, the lock, and the list of what they hold.
#include "checkpoint/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char suffix[] = ".gmc";

gm_status gm__store_path(const char *folder, uint64_t number, char path[GM__PATH], gm_error *err) {
    int n = snprintf(path, GM__PATH, "%s/%08llu%s", folder, (unsigned long long)number, suffix);
    if (n < GM__PATH) return GM_OK;
    return gm_fail(err, GM_ERR_ARGUMENT, "%.100s...: the path is too long", folder);
}

// NNNNNNNN.gmc, 8 digits or more, from 1.
static bool number_of(const char *name, uint64_t *number) {
    size_t digits = strspn(name, "0123456789");
    if (digits < 8 || digits > 18 || (digits > 8 && name[0] == '0') || strcmp(name + digits, suffix) != 0) return false;
    *number = strtoull(name, NULL, 10);
    return *number > 0;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

gm_status gm__store_scan(const char *folder, uint64_t **numbers, int *count, gm_error *err) {
    *numbers = NULL;
    *count = 0;
    DIR *dir = opendir(folder);
    if (!dir)
        return gm_fail(err, errno == ENOENT || errno == ENOTDIR ? GM_ERR_NOT_FOUND : GM_ERR_IO,
                       "%.180s: cannot open the folder of checkpoints: %s", folder, strerror(errno));
    gm_status status = GM_OK;
    int room = 0;
    errno = 0;
    for (struct dirent *entry = readdir(dir); entry && status == GM_OK; entry = readdir(dir)) {
        uint64_t number;
        if (!number_of(entry->d_name, &number)) continue;
        if (*count == room) {
            uint64_t *grown = gm_realloc(*numbers, (size_t)room, (size_t)room * 2 + 64, sizeof **numbers);
            if (!grown) {
                status = gm_fail(err, GM_ERR_MEMORY, "%.180s: no memory for its list", folder);
                break;
            }
            *numbers = grown;
            room = room * 2 + 64;
        }
        (*numbers)[(*count)++] = number;
        errno = 0;
    }
    if (status == GM_OK && errno != 0)
        status = gm_fail(err, GM_ERR_IO, "%.180s: cannot read the folder: %s", folder, strerror(errno));
    closedir(dir);
    if (status != GM_OK) {
        gm_free(*numbers);
        *numbers = NULL;
        *count = 0;
    }
    if (*count > 1) qsort(*numbers, (size_t)*count, sizeof **numbers, ascending);
    return status;
}

gm_status gm__store_lock(const char *folder, int *fd, gm_error *err) {
    char path[GM__PATH];
    if (snprintf(path, sizeof path, "%s/.lock", folder) >= (int)sizeof path)
        return gm_fail(err, GM_ERR_ARGUMENT, "%.100s...: the path is too long", folder);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (*fd < 0) return gm_fail(err, GM_ERR_IO, "%.180s: cannot write there: %s", folder, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0) return GM_OK;
    bool held = errno == EWOULDBLOCK;
    gm_status status = held ? gm_fail(err, GM_ERR_STATE, "%.150s: another process writes checkpoints there; wait until it "
                                      "ends, or use another folder", folder)
                            : gm_fail(err, GM_ERR_IO, "%.180s: cannot lock it: %s", folder, strerror(errno));
    close(*fd);
    *fd = -1;
    return status;
}

// ---------------------------------------------------------------------------------------------
static gm_status read_items(const char *folder, const uint64_t *numbers, int count, gm_checkpoint_list *out,
                            gm_error *err) {
    out->item = gm_alloc((size_t)count + 1, sizeof *out->item);
    out->problem = gm_alloc((size_t)count + 1, sizeof *out->problem);
    if (!out->item || !out->problem) return gm_fail(err, GM_ERR_MEMORY, "%.180s: no memory for its list", folder);
    for (int i = 0; i < count; i++) {
        char path[GM__PATH];
        gm_error cause = {0};
        gm_status status = gm__store_path(folder, numbers[i], path, err);
        if (status != GM_OK) return status;
        gm_checkpoint_info *item = &out->item[out->count];
        status = gm_checkpoint_file_info(path, item, &cause);
        if (status == GM_ERR_MEMORY) return gm_fail(err, status, "%s", cause.text);
        if (status == GM_ERR_NOT_FOUND) continue; // pruned just now
        if (status == GM_OK && item->number != numbers[i]) {
            status = GM_ERR_FORMAT;
            snprintf(cause.text, sizeof cause.text, "it is checkpoint %llu by its own header: renamed?",
                     (unsigned long long)item->number);
        }
        if (status != GM_OK) {
            *item = (gm_checkpoint_info){.number = numbers[i]};
            snprintf(out->problem[out->count], sizeof out->problem[0], "%.159s", cause.text);
        }
        out->count++;
    }
    return GM_OK;
}

static bool contains(const uint64_t *numbers, int count, uint64_t wanted) {
    return count > 0 && bsearch(&wanted, numbers, (size_t)count, sizeof *numbers, ascending) != NULL;
}

gm_status gm_checkpoint_list_read(const char *folder, gm_checkpoint_list *out, gm_error *err) {
    *out = (gm_checkpoint_list){0};
    uint64_t *numbers = NULL, *named = NULL;
    int count = 0, names = 0;
    // The manifest first: what a writer adds in between is in the scan, what it prunes has left the manifest before.
    gm_status status = gm__manifest_read(folder, &named, &names, err);
    if (status == GM_OK) status = gm__store_scan(folder, &numbers, &count, err);
    if (status == GM_OK) status = read_items(folder, numbers, count, out, err);
    for (int i = 0; i < names && status == GM_OK; i++) {
        if (contains(numbers, count, named[i])) continue;
        if (!out->missing_number) out->missing_number = gm_alloc((size_t)names, sizeof *out->missing_number);
        if (!out->missing_number) status = gm_fail(err, GM_ERR_MEMORY, "%.180s: no memory for its list", folder);
        else out->missing_number[out->missing++] = named[i];
    }
    gm_free(numbers);
    gm_free(named);
    if (status != GM_OK) gm_checkpoint_list_fini(out);
    return status;
}

void gm_checkpoint_list_fini(gm_checkpoint_list *list) {
    gm_free(list->item);
    gm_free(list->problem);
    gm_free(list->missing_number);
    *list = (gm_checkpoint_list){0};
}
