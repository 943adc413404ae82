// SPDX-License-Identifier: Apache-2.0
// tensor: the safetensors writer. What it writes, the strict reader accepts: the same limits hold.
#include <stdlib.h>
#include <string.h>

#include "tensor/safetensors.h"
#include "tensor/strict_json.h"

typedef struct item {
    char name[GM__MAX_NAME + 1];
    gm_dtype type;
    int rank;
    uint64_t dims[GM_MAX_RANK], bytes;
    const void *data; // or what fill takes
    gm_tensor_fill *fill;
} item;

typedef struct meta {
    char *key, *value; // value behind key, one block
} meta;

struct gm_tensor_writer {
    item *tensor;
    meta *metas;
    int tensors, tensors_cap, meta_count, metas_cap;
};

typedef struct buffer {
    char *text;
    size_t used, cap;
    bool failed;
} buffer;

static void put(buffer *b, const char *bytes, size_t count) {
    if (b->failed) return;
    if (count > b->cap - b->used) {
        size_t cap = b->cap * 2 + count + 256;
        char *grown = gm_realloc(b->text, b->used, cap, 1);
        if (!grown) {
            b->failed = true;
            return;
        }
        b->text = grown;
        b->cap = cap;
    }
    memcpy(b->text + b->used, bytes, count);
    b->used += count;
}

static void put_text(buffer *b, const char *text) { put(b, text, strlen(text)); }

static void put_number(buffer *b, uint64_t v) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    put_text(b, text);
}

static void put_string(buffer *b, const char *s) {
    put(b, "\"", 1);
    for (; *s; s++) {
        char escaped[8];
        if (*s == '"' || *s == '\\') snprintf(escaped, sizeof escaped, "\\%c", *s);
        else if ((unsigned char)*s < 0x20) snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*s);
        else snprintf(escaped, sizeof escaped, "%c", *s);
        put_text(b, escaped);
    }
    put(b, "\"", 1);
}

gm_status gm_tensor_writer_create(gm_tensor_writer **out, gm_error *err) {
    *out = gm_alloc(1, sizeof **out);
    return *out ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for a tensor file");
}

void gm_tensor_writer_destroy(gm_tensor_writer *w) {
    if (!w) return;
    for (int i = 0; i < w->meta_count; i++) gm_free(w->metas[i].key);
    gm_free(w->metas);
    gm_free(w->tensor);
    gm_free(w);
}

// Valid UTF-8 of at most `most` bytes; names must not hold control codes.
static gm_status check_text(const char *text, size_t most, bool name, gm_error *err) {
    size_t length = strlen(text);
    char shown[64];
    bool valid = length <= most;
    for (size_t i = 0; valid && i < length;) {
        size_t n = gm__utf8_length((const uint8_t *)text + i, length - i);
        if (n == 0 || (name && (text[i] == 0x7f || (n == 1 && (unsigned char)text[i] < 0x20) ||
                                (n == 2 && (uint8_t)text[i] == 0xc2 && (uint8_t)text[i + 1] < 0xa0))))
            valid = false;
        i += n;
    }
    if (valid) return GM_OK;
    return gm_fail(err, GM_ERR_ARGUMENT, "tensor file: '%s' is longer than %zu bytes or not plain UTF-8 text",
                   gm__printable(text, shown, sizeof shown), most);
}

gm_status gm_tensor_writer_meta(gm_tensor_writer *w, const char *key, const char *value, gm_error *err) {
    gm_status status = check_text(key, GM__MAX_NAME, true, err);
    if (!status) status = check_text(value, GM__MAX_STRING, false, err);
    if (status) return status;
    for (int i = 0; i < w->meta_count; i++)
        if (strcmp(w->metas[i].key, key) == 0)
            return gm_fail(err, GM_ERR_ARGUMENT, "tensor file: metadata key %s is given twice", key);
    if (w->meta_count == GM__MAX_META)
        return gm_fail(err, GM_ERR_RANGE, "tensor file: more than %d metadata entries", GM__MAX_META);
    if (w->meta_count == w->metas_cap) {
        int cap = w->metas_cap * 2 + 16;
        meta *grown = gm_realloc(w->metas, (size_t)w->metas_cap, (size_t)cap, sizeof *grown);
        if (!grown) return gm_fail(err, GM_ERR_MEMORY, "no memory for a tensor file");
        w->metas = grown;
        w->metas_cap = cap;
    }
    size_t key_bytes = strlen(key) + 1, value_bytes = strlen(value) + 1;
    char *block = gm_alloc(key_bytes + value_bytes, 1);
    if (!block) return gm_fail(err, GM_ERR_MEMORY, "no memory for a tensor file");
    memcpy(block, key, key_bytes);
    memcpy(block + key_bytes, value, value_bytes);
    w->metas[w->meta_count++] = (meta){block, block + key_bytes};
    return GM_OK;
}

static gm_status add(gm_tensor_writer *w, const char *name, gm_dtype type, int rank, const uint64_t *dims,
                     const void *data, gm_tensor_fill *fill, gm_error *err) {
    uint64_t bytes;
    gm_status status = check_text(name, GM__MAX_NAME, true, err);
    if (status) return status;
    if (rank < 0 || rank > GM_MAX_RANK || !gm__type_text(type) || strcmp(name, "__metadata__") == 0 ||
        !gm__tensor_bytes(type, rank, dims, &bytes) || bytes > gm__max_file || (bytes > 0 && !data && !fill))
        return gm_fail(err, GM_ERR_ARGUMENT, "tensor file: tensor %s has a name, rank, type or size that cannot be stored",
                       name);
    if (w->tensors == GM_MAX_TENSORS)
        return gm_fail(err, GM_ERR_RANGE, "tensor file: more than %d tensors", GM_MAX_TENSORS);
    if (w->tensors == w->tensors_cap) {
        int cap = w->tensors_cap * 2 + 64;
        item *grown = gm_realloc(w->tensor, (size_t)w->tensors_cap, (size_t)cap, sizeof *grown);
        if (!grown) return gm_fail(err, GM_ERR_MEMORY, "no memory for a tensor file");
        w->tensor = grown;
        w->tensors_cap = cap;
    }
    item *t = &w->tensor[w->tensors++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->type = type;
    t->rank = rank;
    for (int i = 0; i < rank; i++) t->dims[i] = dims[i];
    t->bytes = bytes;
    t->data = data;
    t->fill = fill;
    return GM_OK;
}

gm_status gm_tensor_writer_add(gm_tensor_writer *w, const char *name, gm_dtype type, int rank, const uint64_t *dims,
                               const void *data, gm_error *err) {
    return add(w, name, type, rank, dims, data, NULL, err);
}

gm_status gm_tensor_writer_add_filled(gm_tensor_writer *w, const char *name, gm_dtype type, int rank, const uint64_t *dims,
                                      gm_tensor_fill *fill, const void *context, gm_error *err) {
    return add(w, name, type, rank, dims, context, fill, err);
}

static void put_tensor(buffer *b, const item *t, uint64_t *at) {
    put_string(b, t->name);
    put_text(b, ":{\"dtype\":");
    put_string(b, gm__type_text(t->type));
    put_text(b, ",\"shape\":[");
    for (int i = 0; i < t->rank; i++) {
        if (i) put(b, ",", 1);
        put_number(b, t->dims[i]);
    }
    put_text(b, "],\"data_offsets\":[");
    put_number(b, *at);
    put(b, ",", 1);
    *at += t->bytes;
    put_number(b, *at);
    put_text(b, "]}");
}

// Tensors of wide types come first, so that every tensor is aligned to its own type.
static const size_t widths[] = {8, 4, 2, 1};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

static void put_header(buffer *b, const gm_tensor_writer *w) {
    const char *separator = "";
    uint64_t at = 0;
    put(b, "\0\0\0\0\0\0\0\0{", GM__LENGTH_BYTES + 1);
    if (w->meta_count > 0) {
        put_text(b, "\"__metadata__\":{");
        for (int i = 0; i < w->meta_count; i++) {
            put_text(b, i ? "," : "");
            put_string(b, w->metas[i].key);
            put_text(b, ":");
            put_string(b, w->metas[i].value);
        }
        put_text(b, "}");
        separator = ",";
    }
    for (int k = 0; k < WIDTHS; k++)
        for (int i = 0; i < w->tensors; i++)
            if (gm_dtype_size(w->tensor[i].type) == widths[k]) {
                put_text(b, separator);
                put_tensor(b, &w->tensor[i], &at);
                separator = ",";
            }
    put_text(b, "}");
    while (!b->failed && b->used % 64 != 0) put_text(b, " "); // data starts on a cache line
    for (int i = 0; !b->failed && i < GM__LENGTH_BYTES; i++)
        b->text[i] = (char)((uint64_t)(b->used - GM__LENGTH_BYTES) >> (8 * i));
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const item *const *)a)->name, (*(const item *const *)b)->name);
}

static gm_status check_names(const gm_tensor_writer *w, const char *path, gm_error *err) {
    const item **sorted = gm_alloc((size_t)w->tensors + 1, sizeof *sorted);
    if (!sorted) return gm_fail(err, GM_ERR_MEMORY, "%s: no memory for its header", path);
    gm_status status = GM_OK;
    for (int i = 0; i < w->tensors; i++) sorted[i] = &w->tensor[i];
    if (w->tensors) qsort(sorted, (size_t)w->tensors, sizeof *sorted, by_name);
    for (int i = 1; i < w->tensors && !status; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            status = gm_fail(err, GM_ERR_ARGUMENT, "%s: two tensors are named %s", path, sorted[i]->name);
    gm_free(sorted);
    return status;
}

static gm_status make_header(buffer *b, const gm_tensor_writer *w, const char *path, gm_error *err) {
    gm_status status = check_names(w, path, err);
    if (status) return status;
    put_header(b, w);
    if (b->failed) return gm_fail(err, GM_ERR_MEMORY, "%s: no memory for its header", path);
    if (b->used - GM__LENGTH_BYTES > GM__MAX_HEADER)
        return gm_fail(err, GM_ERR_RANGE, "%s: its header would have %zu bytes, at most %d are allowed", path,
                       b->used - GM__LENGTH_BYTES, GM__MAX_HEADER);
    return GM_OK;
}

// Room for `bytes` in *image, which nobody else holds then.
static gm_status make_room(gm_tensor_image **image, size_t bytes, gm_error *err) {
    if (*image && (atomic_load_explicit(&(*image)->holders, memory_order_acquire) > 1 || (*image)->room < bytes)) {
        gm_tensor_image_release(*image);
        *image = NULL;
    }
    if (*image) return GM_OK;
    uint8_t *data = gm_alloc(bytes, 1);
    if (!data) return gm_fail(err, GM_ERR_MEMORY, "no memory for a tensor file of %zu bytes", bytes);
    return gm_tensor_image_take(data, bytes, image, err);
}

gm_status gm_tensor_writer_image(const gm_tensor_writer *w, gm_tensor_image **image, gm_error *err) {
    buffer b = {0};
    gm_status status = make_header(&b, w, "tensor file in memory", err);
    size_t size = b.used;
    for (int i = 0; i < w->tensors && !status; i++)
        if (!gm_add_size(size, (size_t)w->tensor[i].bytes, &size))
            status = gm_fail(err, GM_ERR_RANGE, "tensor file in memory: too large");
    if (!status) status = make_room(image, size, err);
    if (!status) {
        uint8_t *to = (*image)->data + b.used;
        memcpy((*image)->data, b.text, b.used);
        for (int k = 0; k < WIDTHS; k++)
            for (int i = 0; i < w->tensors; i++)
                if (gm_dtype_size(w->tensor[i].type) == widths[k] && w->tensor[i].bytes > 0) {
                    if (w->tensor[i].fill) w->tensor[i].fill(w->tensor[i].data, to);
                    else memcpy(to, w->tensor[i].data, (size_t)w->tensor[i].bytes);
                    to += w->tensor[i].bytes;
                }
        (*image)->bytes = size;
    }
    gm_free(b.text);
    return status;
}

// *room is as large as the largest tensor that is made.
static gm_status write_tensor(gm_writer *file, const item *t, uint8_t **room, size_t *size, gm_error *err) {
    if (!t->fill) return gm_writer_write(file, t->data, (size_t)t->bytes, err);
    if (t->bytes > *size) {
        gm_free(*room);
        *room = gm_alloc((size_t)t->bytes, 1);
        *size = *room ? (size_t)t->bytes : 0;
        if (!*room) return gm_fail(err, GM_ERR_MEMORY, "no memory for tensor %s", t->name);
    }
    t->fill(t->data, *room);
    return gm_writer_write(file, *room, (size_t)t->bytes, err);
}

gm_status gm_tensor_writer_commit(gm_tensor_writer *w, const char *path, gm_error *err) {
    buffer b = {0};
    uint8_t *room = NULL;
    size_t size = 0;
    gm_writer *file = NULL;
    gm_status status = make_header(&b, w, path, err);
    if (!status) status = gm_writer_open(path, &file, err);
    if (!status) status = gm_writer_write(file, b.text, b.used, err);
    for (int k = 0; k < WIDTHS; k++)
        for (int i = 0; i < w->tensors && !status; i++)
            if (gm_dtype_size(w->tensor[i].type) == widths[k] && w->tensor[i].bytes > 0)
                status = write_tensor(file, &w->tensor[i], &room, &size, err);
    gm_free(room);
    if (!status) {
        status = gm_writer_commit(file, err); // frees it in every case
        file = NULL;
    }
    gm_writer_abort(file);
    gm_free(b.text);
    gm_tensor_writer_destroy(w);
    return status;
}
