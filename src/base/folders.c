// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <gamut/base.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool gm_path_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool gm_path_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

gm_status gm_folder_create(const char *path, gm_error *err) {
    char part[PATH_MAX];
    if (path[0] == '\0') return gm_fail(err, GM_ERR_ARGUMENT, "the name of a folder is empty");
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return gm_fail(err, GM_ERR_ARGUMENT, "%.100s...: the path is too long", path);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0') continue;
        char end = *p;
        *p = '\0';
        if (mkdir(part, 0777) != 0 && !gm_path_is_folder(part))
            return gm_fail(err, GM_ERR_IO, "%s: cannot create the folder: %s", part,
                           strerror(errno == EEXIST ? ENOTDIR : errno));
        if (end == '\0') return GM_OK;
        *p = end;
    }
}

bool gm_data_folders(bool (*visit)(void *context, const char *folder), void *context) {
    static const char *const usual[] = {"./build/data", "../shared/data", "/usr/share/datasets"};
    const char *list = getenv("GAMUT_DATA");
    if (!list || !*list) {
        for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
            if (visit(context, usual[i])) return true;
        }
        return false;
    }
    char folder[PATH_MAX];
    for (;;) {
        size_t length = strcspn(list, ":");
        if (length > 0 && length < sizeof folder) {
            memcpy(folder, list, length);
            folder[length] = '\0';
            if (visit(context, folder)) return true;
        }
        if (list[length] == '\0') return false;
        list += length + 1;
    }
}
