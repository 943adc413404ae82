// SPDX-License-Identifier: Apache-2.0
// tensor: named tensors in a file (the safetensors container), read with every check and written whole.
#ifndef GAMUT_TENSOR_H
#define GAMUT_TENSOR_H

#include <gamut/base.h>

#include <stdatomic.h>

enum { GM_MAX_RANK = 8, GM_MAX_TENSORS = 65536 };

typedef struct gm_tensor_info {
    const char *name; // owned by the file
    gm_dtype type;
    int rank;
    uint64_t dims[GM_MAX_RANK];
    uint64_t bytes;
    const void *data; // inside the file's buffer, or a copy where that is not aligned for the type
} gm_tensor_info;

typedef struct gm_tensor_file gm_tensor_file;
// Parses a buffer that stays the caller's (fuzz target) or reads a file. `what` names it in errors.
GM_API gm_status gm_tensor_file_parse(const uint8_t *data, size_t bytes, const char *what, gm_tensor_file **out, gm_error *err);
GM_API gm_status gm_tensor_file_read(const char *path, gm_tensor_file **out, gm_error *err);
GM_API void gm_tensor_file_destroy(gm_tensor_file *f);
GM_API int gm_tensor_count(const gm_tensor_file *f);
GM_API const gm_tensor_info *gm_tensor_at(const gm_tensor_file *f, int i);
GM_API const gm_tensor_info *gm_tensor_find(const gm_tensor_file *f, const char *name); // NULL: absent
GM_API const char *gm_tensor_meta(const gm_tensor_file *f, const char *key);            // NULL: absent

// Writing: declare all tensors and metadata, then commit (data pointers are read at commit).
typedef struct gm_tensor_writer gm_tensor_writer;
GM_API gm_status gm_tensor_writer_create(gm_tensor_writer **out, gm_error *err);
GM_API gm_status gm_tensor_writer_meta(gm_tensor_writer *w, const char *key, const char *value, gm_error *err);
GM_API gm_status gm_tensor_writer_add(gm_tensor_writer *w, const char *name, gm_dtype type, int rank, const uint64_t *dims,
                                      const void *data, gm_error *err);
// The same for a tensor that is made when it is needed: fill writes its bytes to `to` (aligned to 64 bytes, or as the tensor
// lies in an image). context must live until then.
typedef void gm_tensor_fill(const void *context, void *to);
GM_API gm_status gm_tensor_writer_add_filled(gm_tensor_writer *w, const char *name, gm_dtype type, int rank,
                                             const uint64_t *dims, gm_tensor_fill *fill, const void *context, gm_error *err);
GM_API gm_status gm_tensor_writer_commit(gm_tensor_writer *w, const char *path, gm_error *err); // frees w in every case
GM_API void gm_tensor_writer_destroy(gm_tensor_writer *w);

// The bytes of such a file in memory, shared: who holds an image reads it, and nobody writes to one that others hold, too.
typedef struct gm_tensor_image {
    uint8_t *data;
    size_t bytes, room;
    atomic_int holders;
} gm_tensor_image;
// What commit would write, into *image: NULL, or one that the caller holds, which is written over when nobody else does and given up otherwise.
GM_API gm_status gm_tensor_writer_image(const gm_tensor_writer *w, gm_tensor_image **image, gm_error *err);
// Out of bytes that are there already, allocated with gm_alloc; they are the image's from now on, or freed when this fails.
GM_API gm_status gm_tensor_image_take(uint8_t *data, size_t bytes, gm_tensor_image **out, gm_error *err);
GM_API gm_status gm_tensor_image_read(const char *path, gm_tensor_image **out, gm_error *err); // any bytes: parsing checks them
GM_API gm_tensor_image *gm_tensor_image_hold(gm_tensor_image *image);
GM_API void gm_tensor_image_release(gm_tensor_image *image); // the last one frees it; NULL allowed

#endif
