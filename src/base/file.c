// SPDX-License-Identifier: Apache-2.0
// Reading whole files, plain or compressed, within a bound.
#include <errno.h>
#include <fcntl.h>
#include <gamut/base.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static gm_status read_all(int fd, const char *path, uint8_t *data, size_t bytes, gm_error *err) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = read(fd, data + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return gm_fail(err, GM_ERR_IO, "%s: cannot read at byte %zu: %s", path, done,
                           strerror(errno));
        if (n == 0)
            return gm_fail(err, GM_ERR_IO, "%s: ended at byte %zu of %zu; was it being written?",
                           path, done, bytes);
        done += (size_t)n;
    }
    return GM_OK;
}

gm_status gm_file_read(const char *path, size_t max_bytes, uint8_t **data, size_t *bytes,
                       gm_error *err) {
    *data = NULL;
    *bytes = 0;
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        bool missing = errno == ENOENT || errno == ENOTDIR;
        return gm_fail(err, missing ? GM_ERR_NOT_FOUND : GM_ERR_IO, "%s: cannot open: %s", path,
                       strerror(errno));
    }
    gm_status status = GM_OK;
    uint8_t *block = NULL;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        status = gm_fail(err, GM_ERR_IO, "%s: cannot look at it: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        status = gm_fail(err, GM_ERR_ARGUMENT, "%s: not a regular file", path);
        goto done;
    }
    uint64_t size = (uint64_t)info.st_size;
    if (size > max_bytes || size > SIZE_MAX - 1) {
        status = gm_fail(err, GM_ERR_RANGE, "%s: has %llu bytes, at most %zu are read", path,
                         (unsigned long long)size, max_bytes);
        goto done;
    }
    block = gm_alloc((size_t)size + 1, 1);
    if (!block) {
        status = gm_fail(err, GM_ERR_MEMORY, "%s: no memory for its %llu bytes", path,
                         (unsigned long long)size);
        goto done;
    }
    status = read_all(fd, path, block, (size_t)size, err);
    if (status != GM_OK) goto done;
    *data = block;
    *bytes = (size_t)size;
    block = NULL;
done:
    gm_free(block);
    close(fd);
    return status;
}

static void *zlib_alloc(void *unused, unsigned count, unsigned size) {
    (void)unused;
    return gm_alloc(count, size);
}

static void zlib_free(void *unused, void *block) {
    (void)unused;
    gm_free(block);
}

// Room for the expanded bytes: the trailer's count (modulo 2^32, one member only) where it can be
// true (deflate expands at most 1032 times), so that a usual file needs one block of the right size.
static size_t first_room(const uint8_t *packed, size_t packed_bytes, size_t max_bytes) {
    size_t said = 0;
    if (packed_bytes >= 18) {
        const uint8_t *t = packed + packed_bytes - 4;
        said = (size_t)t[0] | (size_t)t[1] << 8 | (size_t)t[2] << 16 | (size_t)t[3] << 24;
    }
    if (said == 0 || said / 1032 > packed_bytes) said = packed_bytes;
    return said < max_bytes ? said : max_bytes;
}

typedef struct expansion {
    uint8_t *block; // room + 1 bytes: the one more tells "too long" from "just fits", and ends as NUL
    size_t room;
    size_t used;
} expansion;

static gm_status grow(expansion *e, const char *path, size_t max_bytes, gm_error *err) {
    if (e->room >= max_bytes)
        return gm_fail(err, GM_ERR_RANGE, "%s: expands to more than %zu bytes", path, max_bytes);
    size_t room = e->room < max_bytes / 2 ? e->room * 2 : max_bytes;
    if (room < 4096) room = max_bytes < 4096 ? max_bytes : 4096;
    uint8_t *block = gm_realloc(e->block, e->used, room + 1, 1);
    if (!block) return gm_fail(err, GM_ERR_MEMORY, "%s: no memory to expand it", path);
    e->block = block;
    e->room = room;
    return GM_OK;
}

// Runs over all members of the packed bytes.
static gm_status expand(expansion *e, z_stream *z, const char *path, const uint8_t *packed,
                        size_t packed_bytes, size_t max_bytes, gm_error *err) {
    for (size_t read = 0;;) {
        const size_t step = 1u << 30; // zlib counts in 32 bits
        uInt in = (uInt)(packed_bytes - read < step ? packed_bytes - read : step);
        uInt out = (uInt)(e->room + 1 - e->used < step ? e->room + 1 - e->used : step);
        z->next_in = (z_const Bytef *)(uintptr_t)(packed + read);
        z->avail_in = in;
        z->next_out = e->block + e->used;
        z->avail_out = out;
        int result = inflate(z, Z_NO_FLUSH);
        read += in - z->avail_in;
        e->used += out - z->avail_out;
        if (result == Z_MEM_ERROR)
            return gm_fail(err, GM_ERR_MEMORY, "%s: no memory to expand it", path);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return gm_fail(err, GM_ERR_FORMAT, "%s: damaged gzip data before byte %zu: %s", path,
                           read, z->msg ? z->msg : "not gzip");
        if (e->used > e->room) {
            gm_status status = grow(e, path, max_bytes, err);
            if (status != GM_OK) return status;
        }
        if (result == Z_STREAM_END) {
            if (read == packed_bytes) return GM_OK;
            inflateReset(z); // another member follows
        } else if (read == packed_bytes && z->avail_out > 0) {
            return gm_fail(err, GM_ERR_FORMAT, "%s: cut short: gzip data end at byte %zu", path,
                           read);
        }
    }
}

gm_status gm_file_read_gz(const char *path, size_t max_bytes, uint8_t **data, size_t *bytes,
                          gm_error *err) {
    size_t length = strlen(path);
    if (length < 3 || strcmp(path + length - 3, ".gz") != 0)
        return gm_file_read(path, max_bytes, data, bytes, err);
    *data = NULL;
    *bytes = 0;
    // Incompressible data grow by far less than an eighth; the header holds a name and a comment.
    size_t most_packed;
    if (!gm_add_size(max_bytes, max_bytes / 8 + (1u << 16), &most_packed)) most_packed = SIZE_MAX;
    if (max_bytes == SIZE_MAX) max_bytes--;
    uint8_t *packed;
    size_t packed_bytes;
    gm_status status = gm_file_read(path, most_packed, &packed, &packed_bytes, err);
    if (status != GM_OK) return status;
    z_stream z = {.zalloc = zlib_alloc, .zfree = zlib_free};
    expansion e = {.room = first_room(packed, packed_bytes, max_bytes)};
    e.block = gm_alloc(e.room + 1, 1);
    if (!e.block || inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) {
        status = gm_fail(err, GM_ERR_MEMORY, "%s: no memory to expand it", path);
        goto done;
    }
    status = expand(&e, &z, path, packed, packed_bytes, max_bytes, err);
    inflateEnd(&z);
    if (status != GM_OK) goto done;
    e.block[e.used] = 0;
    *data = e.block;
    *bytes = e.used;
    e.block = NULL;
done:
    gm_free(e.block);
    gm_free(packed);
    return status;
}
