// SPDX-License-Identifier: Apache-2.0
// A file appears whole or not at all: written beside under another name, synced, renamed over the
// old one, and the folder synced so that the new name survives a power cut too.
#include "base/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <gamut/base.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 18, MOST_WRITERS = 64 };

struct gm_writer {
    char path[PATH_MAX];   // the file, symbolic links followed
    char beside[PATH_MAX]; // where it is written
    int fd;
    bool failed; // a write failed: never commit
    size_t used;
    uint8_t buffer[BUFFER_BYTES];
};

// Follows a symbolic link, so that the link stays and its target is replaced; refuses what is no
// regular file (renaming over /dev/null would replace the device).
static gm_status resolve(gm_writer *w, const char *path, mode_t *mode, gm_error *err) {
    *mode = 0;
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode)) {
        if (!realpath(path, w->path))
            return gm_fail(err, GM_ERR_IO, "%s: cannot follow the link: %s", path, strerror(errno));
    } else if (snprintf(w->path, sizeof w->path, "%s", path) >= (int)sizeof w->path) {
        return gm_fail(err, GM_ERR_ARGUMENT, "%.100s...: the path is too long", path);
    }
    if (stat(w->path, &info) != 0) return GM_OK; // a new file
    if (!S_ISREG(info.st_mode))
        return gm_fail(err, GM_ERR_ARGUMENT, "%s: exists and is not a regular file", path);
    *mode = info.st_mode & 07777;
    return GM_OK;
}

// Opens FOLDER/.NAME.part, or .NAME.part1 and so on while other writers hold the former. What a
// killed process left behind is not locked: it is used again, so leftovers never pile up.
static gm_status open_beside(gm_writer *w, gm_error *err) {
    const char *slash = strrchr(w->path, '/');
    int folder = slash ? (int)(slash - w->path) + 1 : 0;
    for (int i = 0; i < MOST_WRITERS; i++) {
        char number[8] = "";
        if (i > 0) snprintf(number, sizeof number, "%d", i);
        int length = snprintf(w->beside, sizeof w->beside, "%.*s.%s.part%s", folder, w->path,
                              w->path + folder, number);
        if (length >= (int)sizeof w->beside) errno = ENAMETOOLONG;
        w->fd = length < (int)sizeof w->beside
                    ? gm__file_calls_now->open(w->beside, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)
                    : -1;
        if (w->fd < 0)
            return gm_fail(err, GM_ERR_IO, "%s: cannot write: %s", w->path, strerror(errno));
        // Locked by us, and still the file of that name (its writer may have renamed it just now).
        struct stat opened, named;
        if (flock(w->fd, LOCK_EX | LOCK_NB) == 0 && fstat(w->fd, &opened) == 0 &&
            S_ISREG(opened.st_mode) && stat(w->beside, &named) == 0 &&
            opened.st_ino == named.st_ino && opened.st_dev == named.st_dev &&
            gm__file_calls_now->truncate(w->fd, 0) == 0)
            return GM_OK;
        gm__file_calls_now->close(w->fd);
        w->fd = -1;
    }
    return gm_fail(err, GM_ERR_STATE, "%s: %d writers at work on it already", w->path, MOST_WRITERS);
}

gm_status gm_writer_open(const char *path, gm_writer **out, gm_error *err) {
    *out = NULL;
    gm_writer *w = gm_alloc(1, sizeof *w);
    if (!w) return gm_fail(err, GM_ERR_MEMORY, "%s: no memory to write it", path);
    w->fd = -1;
    mode_t mode;
    gm_status status = resolve(w, path, &mode, err);
    if (status == GM_OK) status = open_beside(w, err);
    if (status == GM_OK && mode != 0 && fchmod(w->fd, mode) != 0)
        status = gm_fail(err, GM_ERR_IO, "%s: cannot keep its mode: %s", path, strerror(errno));
    if (status != GM_OK) {
        gm_writer_abort(w);
        return status;
    }
    *out = w;
    return GM_OK;
}

static gm_status write_all(gm_writer *w, const uint8_t *data, size_t bytes, gm_error *err) {
    while (bytes > 0) {
        ssize_t n = gm__file_calls_now->write(w->fd, data, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            w->failed = true;
            return gm_fail(err, GM_ERR_IO, "%s: cannot write: %s; nothing there was changed",
                           w->path, strerror(n == 0 ? ENOSPC : errno));
        }
        data += n;
        bytes -= (size_t)n;
    }
    return GM_OK;
}

static gm_status flush(gm_writer *w, gm_error *err) {
    size_t bytes = w->used;
    w->used = 0;
    return write_all(w, w->buffer, bytes, err);
}

gm_status gm_writer_write(gm_writer *w, const void *data, size_t bytes, gm_error *err) {
    if (w->failed)
        return gm_fail(err, GM_ERR_STATE, "%s: an earlier write failed; nothing there was changed",
                       w->path);
    if (bytes > BUFFER_BYTES - w->used) {
        gm_status status = flush(w, err);
        if (status != GM_OK) return status;
    }
    if (bytes > BUFFER_BYTES) return write_all(w, data, bytes, err);
    if (bytes > 0) memcpy(w->buffer + w->used, data, bytes);
    w->used += bytes;
    return GM_OK;
}

static gm_status sync_folder(const char *path, gm_error *err) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash) {
        strcpy(folder, ".");
    } else if (slash == folder) {
        slash[1] = '\0';
    } else {
        *slash = '\0';
    }
    int fd = gm__file_calls_now->open_folder(folder);
    // Some file systems cannot sync a folder (EINVAL), and one may be writable but not readable.
    bool failed = fd >= 0 && gm__file_calls_now->sync(fd) != 0 && errno != EINVAL && errno != EROFS;
    int reason = errno;
    if (fd >= 0) gm__file_calls_now->close(fd);
    if (!failed) return GM_OK;
    return gm_fail(err, GM_ERR_IO, "%s: changed, but its folder cannot be synced: %s", path,
                   strerror(reason));
}

gm_status gm_writer_commit(gm_writer *w, gm_error *err) {
    if (w->failed) {
        gm_status status = gm_fail(err, GM_ERR_STATE,
                                   "%s: an earlier write failed; nothing there was changed", w->path);
        gm_writer_abort(w);
        return status;
    }
    gm_status status = flush(w, err);
    if (status == GM_OK && gm__file_calls_now->sync(w->fd) != 0)
        status = gm_fail(err, GM_ERR_IO, "%s: cannot sync: %s; nothing there was changed", w->path,
                         strerror(errno));
    if (status == GM_OK && gm__file_calls_now->rename(w->beside, w->path) != 0)
        status = gm_fail(err, GM_ERR_IO, "%s: cannot put the new file in place: %s", w->path,
                         strerror(errno));
    if (status != GM_OK) {
        gm_writer_abort(w);
        return status;
    }
    gm__file_calls_now->close(w->fd);
    status = sync_folder(w->path, err);
    gm_free(w);
    return status;
}

void gm_writer_abort(gm_writer *w) {
    if (!w) return;
    if (w->fd >= 0) {
        gm__file_calls_now->unlink(w->beside); // while still locked, so it is our own
        gm__file_calls_now->close(w->fd);
    }
    gm_free(w);
}

gm_status gm_file_remove(const char *path, gm_error *err) {
    if (gm__file_calls_now->unlink(path) != 0) {
        if (errno == ENOENT) return GM_OK;
        return gm_fail(err, GM_ERR_IO, "%s: cannot remove it: %s", path, strerror(errno));
    }
    return sync_folder(path, err);
}

gm_status gm_file_write(const char *path, const void *data, size_t bytes, gm_error *err) {
    gm_writer *w;
    gm_status status = gm_writer_open(path, &w, err);
    if (status != GM_OK) return status;
    status = gm_writer_write(w, data, bytes, err);
    if (status == GM_OK) return gm_writer_commit(w, err);
    gm_writer_abort(w);
    return status;
}
