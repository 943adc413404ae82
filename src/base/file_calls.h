// SPDX-License-Identifier: Apache-2.0
// The system calls by which files are changed. Tests put their own in place: to fail the n-th one, to stop there, or to
// remember what had reached the disk when the power went.
#ifndef GAMUT_BASE_FILE_CALLS_H
#define GAMUT_BASE_FILE_CALLS_H

#include <gamut/base.h>

#include <sys/types.h>

typedef struct gm__file_calls {
    int (*open)(const char *path, int flags, mode_t mode); // of a file to be written
    int (*open_folder)(const char *path);                  // to be synced
    ssize_t (*write)(int fd, const void *data, size_t bytes);
    int (*truncate)(int fd, off_t length);
    int (*sync)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*close)(int fd);
} gm__file_calls;
extern const gm__file_calls gm__file_calls_system;
// Those in use; set only while nothing is being written.
extern const gm__file_calls *gm__file_calls_now;

#endif
