// SPDX-License-Identifier: Apache-2.0
// port: the directory of a stored zip archive. Sizes and places come from the central directory (with its 64-bit
// extension), and every one is checked against the length of the file before it is used.
#include "port/torch_zip.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

enum { END_BYTES = 22, CENTRAL_BYTES = 46, LOCAL_BYTES = 30, MAX_COMMENT = 65535, MAX_ENTRIES = 1 << 18 };
static const uint32_t end_magic = 0x06054b50, central_magic = 0x02014b50, local_magic = 0x04034b50;

static uint64_t number(const uint8_t *from, int bytes) {
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | from[i];
    return v;
}

static gm_status bad(gm_error *err, const char *what, size_t at, const char *why) {
    return gm_fail(err, GM_ERR_FORMAT, "%s: byte %zu: zip archive: %s", what, at, why);
}

// The end record: the last one whose comment reaches exactly to the end of the file.
static bool find_end(const uint8_t *data, size_t bytes, size_t *at) {
    if (bytes < END_BYTES) return false;
    size_t last = bytes - END_BYTES, first = last > MAX_COMMENT ? last - MAX_COMMENT : 0;
    for (size_t i = last + 1; i-- > first;)
        if (number(data + i, 4) == end_magic && number(data + i + 20, 2) == bytes - END_BYTES - i) {
            *at = i;
            return true;
        }
    return false;
}

// Fields of 0xffffffff are in the extra field 1, eight bytes each, in this order: size, packed size, place.
static bool extended(const uint8_t *extra, size_t length, uint64_t field[3]) {
    while (length >= 4) {
        size_t id = (size_t)number(extra, 2), size = (size_t)number(extra + 2, 2);
        if (size > length - 4) return false;
        if (id == 1) {
            const uint8_t *from = extra + 4;
            for (int i = 0; i < 3; i++) {
                if (field[i] != UINT32_MAX) continue;
                if (size < 8) return false;
                field[i] = number(from, 8);
                from += 8;
                size -= 8;
            }
            return true;
        }
        extra += 4 + size;
        length -= 4 + size;
    }
    return true;
}

// One entry of the central directory at `at`; *next: the one after it. limit: where the directory ends.
static gm_status read_entry(const uint8_t *data, size_t at, size_t limit, const char *what, gm__zip_entry *e,
                            size_t *next, gm_error *err) {
    if (limit - at < CENTRAL_BYTES || number(data + at, 4) != central_magic)
        return bad(err, what, at, "its directory is damaged");
    const uint8_t *c = data + at;
    size_t name = (size_t)number(c + 28, 2), extra = (size_t)number(c + 30, 2), comment = (size_t)number(c + 32, 2);
    if (name + extra + comment > limit - at - CENTRAL_BYTES) return bad(err, what, at, "its directory is damaged");
    uint64_t field[3] = {number(c + 24, 4), number(c + 20, 4), number(c + 42, 4)};
    if (!extended(c + CENTRAL_BYTES + name, extra, field)) return bad(err, what, at, "a damaged 64-bit size");
    if (number(c + 8, 2) & 1) return bad(err, what, at, "an encrypted entry");
    if (number(c + 10, 2) != 0 || field[0] != field[1])
        return bad(err, what, at, "a compressed entry: torch.save stores them as they are");
    *e = (gm__zip_entry){.name = c + CENTRAL_BYTES, .name_length = name, .crc = (uint32_t)number(c + 16, 4)};
    *next = at + CENTRAL_BYTES + name + extra + comment;
    // The local header stands before the content; contents lie before the directory.
    if (field[2] > limit || limit - field[2] < LOCAL_BYTES || number(data + field[2], 4) != local_magic)
        return bad(err, what, at, "an entry that lies outside the file");
    size_t content = (size_t)field[2] + LOCAL_BYTES;
    size_t skip = (size_t)number(data + field[2] + 26, 2) + (size_t)number(data + field[2] + 28, 2);
    if (skip > limit - content || field[0] > limit - content - skip)
        return bad(err, what, at, "an entry that lies outside the file");
    e->offset = content + skip;
    e->bytes = (size_t)field[0];
    return GM_OK;
}

static int compare(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length) {
    size_t least = a_length < b_length ? a_length : b_length;
    int order = least ? memcmp(a, b, least) : 0;
    return order ? order : (a_length > b_length) - (a_length < b_length);
}

static int by_name(const void *a, const void *b) {
    const gm__zip_entry *x = a, *y = b;
    return compare(x->name, x->name_length, y->name, y->name_length);
}

gm_status gm__zip_open(const uint8_t *data, size_t bytes, const char *what, gm__zip *out, gm_error *err) {
    size_t end = 0;
    *out = (gm__zip){0};
    if (!find_end(data, bytes, &end)) return bad(err, what, bytes, "its directory is missing: cut short?");
    // The 32-bit fields do for any number of entries and any directory that starts below 4 GiB; beyond that the 64-bit
    // end record says where it starts. Its locator stands right before the end record.
    uint64_t count = number(data + end + 10, 2), size = number(data + end + 12, 4), at = number(data + end + 16, 4);
    if (end >= 20 + 56 && number(data + end - 20, 4) == 0x07064b50) {
        uint64_t record = number(data + end - 12, 8);
        if (record > end - 20 - 56 || number(data + record, 4) != 0x06064b50)
            return bad(err, what, end, "a damaged 64-bit directory");
        count = number(data + record + 32, 8);
        size = number(data + record + 40, 8);
        at = number(data + record + 48, 8);
    }
    if (at > end || size > end - at || count > MAX_ENTRIES || count * CENTRAL_BYTES > size)
        return bad(err, what, end, "its directory lies outside the file");
    out->entry = gm_alloc((size_t)count + 1, sizeof *out->entry);
    if (!out->entry) return gm_fail(err, GM_ERR_MEMORY, "%s: no memory for its directory", what);
    gm_status status = GM_OK;
    size_t next = (size_t)at;
    for (uint64_t i = 0; i < count && !status; i++) {
        status = read_entry(data, next, (size_t)(at + size), what, &out->entry[i], &next, err);
        out->entries++;
    }
    if (status)
        gm__zip_close(out);
    else
        qsort(out->entry, (size_t)out->entries, sizeof *out->entry, by_name);
    for (int i = 1; i < out->entries; i++)
        if (by_name(&out->entry[i - 1], &out->entry[i]) == 0) {
            gm__zip_close(out);
            return bad(err, what, end, "two entries of one name");
        }
    return status;
}

void gm__zip_close(gm__zip *z) {
    gm_free(z->entry);
    *z = (gm__zip){0};
}

gm__zip_entry *gm__zip_find(const gm__zip *z, const uint8_t *prefix, size_t prefix_length, const uint8_t *rest,
                            size_t rest_length) {
    int low = 0, high = z->entries;
    while (low < high) {
        int middle = (low + high) / 2;
        gm__zip_entry *e = &z->entry[middle];
        size_t head = e->name_length < prefix_length ? e->name_length : prefix_length;
        int order = compare(e->name, head, prefix, prefix_length);
        if (order == 0) order = compare(e->name + head, e->name_length - head, rest, rest_length);
        if (order == 0) return e;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

gm_status gm__zip_check(gm__zip_entry *e, const uint8_t *data, const char *what, gm_error *err) {
    if (e->checked) return GM_OK;
    uLong crc = crc32(0, NULL, 0);
    for (size_t done = 0; done < e->bytes;) {
        size_t step = e->bytes - done < (1u << 30) ? e->bytes - done : (1u << 30);
        crc = crc32(crc, data + e->offset + done, (uInt)step);
        done += step;
    }
    e->checked = (uint32_t)crc == e->crc;
    return e->checked ? GM_OK : bad(err, what, e->offset, "an entry whose checksum does not agree: damaged");
}
