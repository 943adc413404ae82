// SPDX-License-Identifier: Apache-2.0
// Retention: the newest N and every Kth stay, and with them all that they are differences to. The manifest forgets a file
// before it is removed.
#include "checkpoint/store.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int find(const gm_checkpoint_list *list, uint64_t number) {
    for (int i = list->count; i-- > 0;)
        if (list->item[i].number == number) return i;
    return -1;
}

// Keeps i and its ancestors.
static void keep_chain(const gm_checkpoint_list *list, int i, bool *keep) {
    while (i >= 0 && !keep[i]) {
        keep[i] = true;
        i = list->item[i].parent ? find(list, list->item[i].parent) : -1;
    }
}

static bool decodes(const char *folder, uint64_t number) {
    gm__decoded d;
    bool whole = gm__store_load(folder, number, &d, NULL) == GM_OK;
    gm__decoded_fini(&d);
    return whole;
}

// Files that cannot be read are no reason to delete others, nor are they deleted unless that is asked for.
static void choose(const char *folder, const gm_checkpoint_list *list, int keep_last, int keep_every, bool damaged,
                   bool *keep) {
    int kept = 0;
    for (int i = list->count; i-- > 0;) {
        bool readable = list->problem[i][0] == '\0';
        if (!readable || (damaged && !decodes(folder, list->item[i].number))) {
            keep[i] = !damaged;
            continue;
        }
        bool due = keep_every > 0 && list->item[i].number % (uint64_t)keep_every == 0;
        bool all = keep_last <= 0 && keep_every <= 0;
        if (all || kept < keep_last || due || kept == 0) keep_chain(list, i, keep);
        kept++;
    }
}

// A chain that is broken may not be the newest whole one, though its last directory reads well.
static void keep_newest_whole(const char *folder, const gm_checkpoint_list *list, bool *keep) {
    for (int i = list->count; i-- > 0;) {
        if (list->problem[i][0] || !decodes(folder, list->item[i].number)) continue;
        keep_chain(list, i, keep);
        return;
    }
}

static gm_status write_kept(const char *folder, const gm_checkpoint_list *list, const bool *keep, gm_error *err) {
    gm_checkpoint_info *item = gm_alloc((size_t)list->count + 1, sizeof *item);
    if (!item) return gm_fail(err, GM_ERR_MEMORY, "%.180s: no memory for its manifest", folder);
    int count = 0;
    for (int i = 0; i < list->count; i++)
        if (keep[i] && !list->problem[i][0]) item[count++] = list->item[i];
    gm_status status = gm__manifest_write(folder, item, count, err);
    gm_free(item);
    return status;
}

gm_status gm__store_prune(const char *folder, int keep_last, int keep_every, bool damaged, bool check, int *removed,
                          uint64_t *bytes, gm_error *err) {
    gm_checkpoint_list list;
    char path[GM__PATH];
    int gone = 0;
    uint64_t freed = 0;
    gm_status status = gm_checkpoint_list_read(folder, &list, err);
    if (status != GM_OK) return status;
    bool *keep = gm_alloc((size_t)list.count + 1, sizeof *keep);
    if (!keep) status = gm_fail(err, GM_ERR_MEMORY, "%.180s: no memory for its list", folder);
    if (status == GM_OK) {
        choose(folder, &list, keep_last, keep_every, damaged, keep);
        bool some = false;
        for (int i = 0; i < list.count; i++) some = some || !keep[i];
        if (some && check) keep_newest_whole(folder, &list, keep);
        status = write_kept(folder, &list, keep, err);
    }
    for (int i = list.count; i-- > 0 && status == GM_OK;) { // children first: a crash leaves no orphan
        if (keep[i]) continue;
        status = gm__store_path(folder, list.item[i].number, path, err);
        if (status != GM_OK) break;
        if ((status = gm_file_remove(path, err)) != GM_OK) break;
        gone++;
        freed += list.item[i].bytes;
    }
    if (removed) *removed = gone;
    if (bytes) *bytes = freed;
    gm_free(keep);
    gm_checkpoint_list_fini(&list);
    return status;
}

gm_status gm_checkpoint_prune(const char *folder, int keep_last, int keep_every, bool damaged, int *removed, uint64_t *bytes,
                              gm_error *err) {
    int lock = -1;
    if (!gm_path_is_folder(folder)) return gm_fail(err, GM_ERR_NOT_FOUND, "%.180s: no such folder", folder);
    gm_status status = gm__store_lock(folder, &lock, err);
    if (status != GM_OK) return status;
    status = gm__store_prune(folder, keep_last, keep_every, damaged, true, removed, bytes, err);
    close(lock);
    return status;
}

gm_status gm_checkpoint_clear(const char *folder, gm_error *err) {
    char path[GM__PATH];
    uint64_t *numbers = NULL;
    int count = 0, lock = -1;
    if (!gm_path_is_folder(folder)) return GM_OK;
    gm_status status = gm__store_lock(folder, &lock, err);
    if (status != GM_OK) return status;
    if (snprintf(path, sizeof path, "%s/manifest.json", folder) < (int)sizeof path && gm_path_exists(path))
        status = gm_file_remove(path, err);
    if (status == GM_OK) status = gm__store_scan(folder, &numbers, &count, err);
    for (int i = count; i-- > 0 && status == GM_OK;) {
        status = gm__store_path(folder, numbers[i], path, err);
        if (status == GM_OK) status = gm_file_remove(path, err);
    }
    gm_free(numbers);
    close(lock);
    return status;
}
