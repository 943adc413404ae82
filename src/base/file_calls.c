// SPDX-License-Identifier: Apache-2.0
#include "base/file_calls.h"

#include <fcntl.h>
#include <unistd.h>

static int open_file(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }
static int open_folder(const char *path) { return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); }

const gm__file_calls gm__file_calls_system = {.open = open_file, .open_folder = open_folder, .write = write,
                                              .truncate = ftruncate, .sync = fsync, .rename = rename, .unlink = unlink,
                                              .close = close};
const gm__file_calls *gm__file_calls_now = &gm__file_calls_system;
