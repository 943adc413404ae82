// SPDX-License-Identifier: Apache-2.0
// Torch files as torch.save writes them, for tests: the legacy stream and the stored zip of a dict of tensors.
#ifndef GAMUT_TESTS_PORT_TORCH_WRITER_H
#define GAMUT_TESTS_PORT_TORCH_WRITER_H

#include <gamut/base.h>

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

typedef struct bytes {
    uint8_t *data;
    size_t used, cap;
} bytes;

static void put(bytes *b, const void *data, size_t count) {
    if (b->used + count > b->cap) {
        b->cap = 2 * (b->used + count) + 64;
        b->data = realloc(b->data, b->cap);
    }
    if (count) memcpy(b->data + b->used, data, count);
    b->used += count;
}
static void put_little(bytes *b, uint64_t v, int count) {
    for (int i = 0; i < count; i++) put(b, (uint8_t[]){i < 8 ? (uint8_t)(v >> (8 * i)) : 0}, 1);
}
static void put_op(bytes *b, int op) {
    put_little(b, (uint64_t)op, 1);
}
static void put_string(bytes *b, const char *text) {
    put_op(b, 'X');
    put_little(b, strlen(text), 4);
    put(b, text, strlen(text));
}
static void put_int(bytes *b, int64_t v) {
    if (v >= 0 && v < 256)
        put_op(b, 'K'), put_little(b, (uint64_t)v, 1);
    else if (v >= 0 && v < 65536)
        put_op(b, 'M'), put_little(b, (uint64_t)v, 2);
    else if (v >= INT32_MIN && v <= INT32_MAX)
        put_op(b, 'J'), put_little(b, (uint64_t)v, 4);
    else
        put_op(b, 0x8a), put_op(b, 8), put_little(b, (uint64_t)v, 8);
}
static void put_global(bytes *b, const char *text) { // "module\nname\n"
    put_op(b, 'c');
    put(b, text, strlen(text));
}

typedef struct torch_tensor {
    const char *name;
    const char *type; // "Float", "Long", ...
    int rank;
    int64_t dims[8], strides[8];
    bool strided; // use strides; else rows
    int64_t offset;
    int storage;      // number of the storage, also its key
    int64_t elements; // of the storage
    size_t size;      // bytes of one element
    const void *data; // of the storage
} torch_tensor;

// A tensor of f32 rows in a storage of its own.
static torch_tensor torch_rows(const char *name, int storage, int rank, const uint64_t *dims, const float *data) {
    torch_tensor t = {
        .name = name, .type = "Float", .rank = rank, .storage = storage, .elements = 1, .size = 4, .data = data};
    for (int d = 0; d < rank; d++) {
        t.dims[d] = (int64_t)dims[d];
        t.elements *= (int64_t)dims[d];
    }
    return t;
}

static void put_tuple(bytes *b, int rank, const int64_t *v) {
    if (rank == 0) {
        put_op(b, ')');
        return;
    }
    if (rank > 3) put_op(b, '(');
    for (int d = 0; d < rank; d++) put_int(b, v[d]);
    put_op(b, rank > 3 ? 't' : 0x84 + rank);
}

static void put_tensor(bytes *b, const torch_tensor *t, bool legacy) {
    char text[64];
    int64_t rows[8];
    uint64_t step = 1; // hostile sizes overflow
    for (int d = t->rank - 1; d >= 0; d--) {
        rows[d] = (int64_t)step;
        step *= (uint64_t)t->dims[d];
    }
    put_global(b, "torch._utils\n_rebuild_tensor_v2\n");
    put_op(b, '(');
    put_op(b, '(');
    put_string(b, "storage");
    snprintf(text, sizeof text, "torch\n%sStorage\n", t->type);
    put_global(b, text);
    snprintf(text, sizeof text, "%d", t->storage);
    put_string(b, text);
    put_string(b, "cpu");
    put_int(b, t->elements);
    if (legacy) put_op(b, 'N');
    put_op(b, 't');
    put_op(b, 'Q');
    put_int(b, t->offset);
    put_tuple(b, t->rank, t->dims);
    put_tuple(b, t->rank, t->strided ? t->strides : rows);
    put_op(b, 0x89);
    put_global(b, "collections\nOrderedDict\n");
    put(b, ")R", 2);
    put_op(b, 't');
    put_op(b, 'R');
}

// The pickle of {names: tensors}, or of {"epoch": 7, "state_dict": {...}}.
static void put_object(bytes *b, const torch_tensor *t, int count, bool legacy, bool wrapped) {
    put(b, "\x80\x02", 2);
    if (wrapped) {
        put(b, "}q\0(", 4);
        put_string(b, "epoch");
        put_int(b, 7);
        put_string(b, "best_acc");
        put(b, "G\x40\x52\xc0\0\0\0\0\0", 9); // 75.0
        put_string(b, "state_dict");
    }
    put_global(b, "collections\nOrderedDict\n");
    put(b, ")R(", 3);
    for (int i = 0; i < count; i++) {
        put_string(b, t[i].name);
        put_tensor(b, &t[i], legacy);
    }
    put_op(b, 'u');
    put_op(b, '}');
    put_op(b, 'b'); // _metadata and such
    put(b, "u.", wrapped ? 2 : 0);
    if (!wrapped) put_op(b, '.');
}

static bool first_use(const torch_tensor *t, int i) {
    for (int j = 0; j < i; j++)
        if (t[j].storage == t[i].storage) return false;
    return true;
}

static inline bytes torch_legacy(const torch_tensor *t, int count, bool wrapped) {
    static const uint8_t head[] = {0x80, 2,    0x8a, 10,  0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a,
                                   0xa8, 0x50, 0x19, '.', 0x80, 2,    'M',  0xe9, 3,    '.'};
    bytes b = {0};
    char text[16];
    put(&b, head, sizeof head);
    put(&b, "\x80\x02}(", 4);
    put_string(&b, "protocol_version");
    put_int(&b, 1001);
    put_string(&b, "little_endian");
    put_op(&b, 0x88);
    put(&b, "u.", 2);
    put_object(&b, t, count, true, wrapped);
    put(&b, "\x80\x02](", 4);
    for (int i = 0; i < count; i++) {
        if (!first_use(t, i)) continue;
        snprintf(text, sizeof text, "%d", t[i].storage);
        put_string(&b, text);
    }
    put(&b, "e.", 2);
    for (int i = 0; i < count; i++) {
        if (!first_use(t, i)) continue;
        put_little(&b, (uint64_t)t[i].elements, 8);
        put(&b, t[i].data, (size_t)t[i].elements * t[i].size);
    }
    return b;
}

typedef struct zip_writer {
    bytes file, directory;
    int entries;
    bool wide; // sizes and places in 64-bit fields, as beyond 4 GiB
} zip_writer;

static void zip_add(zip_writer *z, const char *name, const void *data, size_t count) {
    uint32_t crc = (uint32_t)crc32(0, data, (uInt)count);
    size_t at = z->file.used, length = strlen(name);
    put_little(&z->file, 0x04034b50, 4);
    put_little(&z->file, 20, 2);
    for (int i = 0; i < 4; i++) put_little(&z->file, 0, 2); // flags, stored, time, date
    put_little(&z->file, crc, 4);
    put_little(&z->file, count, 4);
    put_little(&z->file, count, 4);
    put_little(&z->file, length, 2);
    size_t padding = (64 - (z->file.used + 2 + length) % 64) % 64;
    if (padding < 4) padding += 64;
    put_little(&z->file, padding, 2);
    put(&z->file, name, length);
    put_little(&z->file, 0x4246, 2); // what torch names its padding
    put_little(&z->file, padding - 4, 2);
    for (size_t i = 4; i < padding; i++) put_op(&z->file, 'Z');
    put(&z->file, data, count);
    put_little(&z->directory, 0x02014b50, 4);
    for (int i = 0; i < 6; i++) put_little(&z->directory, 0, 2);
    put_little(&z->directory, crc, 4);
    put_little(&z->directory, z->wide ? UINT32_MAX : count, 4);
    put_little(&z->directory, z->wide ? UINT32_MAX : count, 4);
    put_little(&z->directory, length, 2);
    put_little(&z->directory, z->wide ? 28 : 0, 2);
    for (int i = 0; i < 3; i++) put_little(&z->directory, 0, 2);
    put_little(&z->directory, 0, 4);
    put_little(&z->directory, z->wide ? UINT32_MAX : at, 4);
    put(&z->directory, name, length);
    if (z->wide) put_little(&z->directory, 1, 2), put_little(&z->directory, 24, 2);
    for (int i = 0; z->wide && i < 3; i++) put_little(&z->directory, i < 2 ? count : at, 8);
    z->entries++;
}

static bytes zip_finish(zip_writer *z) {
    size_t at = z->file.used;
    put(&z->file, z->directory.data, z->directory.used);
    if (z->wide) {
        size_t record = z->file.used;
        put_little(&z->file, 0x06064b50, 4);
        put_little(&z->file, 44, 8);
        put_little(&z->file, 0, 12);
        put_little(&z->file, (uint64_t)z->entries, 8);
        put_little(&z->file, (uint64_t)z->entries, 8);
        put_little(&z->file, z->directory.used, 8);
        put_little(&z->file, at, 8);
        put_little(&z->file, 0x07064b50, 4);
        put_little(&z->file, 0, 4);
        put_little(&z->file, record, 8);
        put_little(&z->file, 1, 4);
    }
    put_little(&z->file, 0x06054b50, 4);
    put_little(&z->file, 0, 4);
    put_little(&z->file, z->wide ? UINT16_MAX : (uint64_t)z->entries, 2);
    put_little(&z->file, z->wide ? UINT16_MAX : (uint64_t)z->entries, 2);
    put_little(&z->file, z->wide ? UINT32_MAX : z->directory.used, 4);
    put_little(&z->file, z->wide ? UINT32_MAX : at, 4);
    put_little(&z->file, 0, 2);
    free(z->directory.data);
    return z->file;
}

static inline bytes torch_zip_as(const torch_tensor *t, int count, bool wrapped, bool wide) {
    zip_writer z = {.wide = wide};
    bytes object = {0};
    char text[48];
    put_object(&object, t, count, false, wrapped);
    zip_add(&z, "archive/data.pkl", object.data, object.used);
    zip_add(&z, "archive/byteorder", "little", 6);
    for (int i = 0; i < count; i++) {
        if (!first_use(t, i)) continue;
        snprintf(text, sizeof text, "archive/data/%d", t[i].storage);
        zip_add(&z, text, t[i].data, (size_t)t[i].elements * t[i].size);
    }
    zip_add(&z, "archive/version", "3\n", 2);
    free(object.data);
    return zip_finish(&z);
}

static inline bytes torch_zip(const torch_tensor *t, int count, bool wrapped) {
    return torch_zip_as(t, count, wrapped, false);
}

#endif
