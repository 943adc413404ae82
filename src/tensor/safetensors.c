// SPDX-License-Identifier: Apache-2.0
// tensor: the safetensors reader. Every number is bounded before it is used; nothing outside the given bytes is read;
// what the reference implementation refuses is refused here, and more (specs: hardening 2.1, 2.2).
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/strict_json.h"

typedef struct entry {
    gm_tensor_info info; // first, so that an entry's address is its info's
    uint64_t begin, end;
} entry;

typedef struct pair {
    const char *key, *value;
} pair;

struct gm_tensor_file {
    uint8_t *owned;    // the file's bytes, when read by us
    char *strings;     // decoded names and metadata
    entry *tensor;     // by offset
    entry **by_name;
    pair *meta;        // by key
    void **copies;     // of tensors whose data is not aligned in the buffer
    int tensors, tensors_cap, metas, metas_cap, copied;
};

static const struct {
    gm_dtype type;
    const char *text;
} types[] = {{GM_F32, "F32"}, {GM_BF16, "BF16"}, {GM_I8, "I8"}, {GM_U8, "U8"}, {GM_I32, "I32"}, {GM_I64, "I64"}};

const char *gm__type_text(gm_dtype type) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].type == type) return types[i].text;
    return NULL;
}

bool gm__type_from_text(const char *text, gm_dtype *out) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].text, text) == 0) {
            *out = types[i].type;
            return true;
        }
    return false;
}

bool gm__tensor_bytes(gm_dtype type, int rank, const uint64_t *dims, uint64_t *out) {
    size_t bytes = gm_dtype_size(type);
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        if (dims[i] == 0) empty = true; // the other dimensions must still multiply without overflow
        else if (dims[i] > SIZE_MAX || !gm_mul_size(bytes, (size_t)dims[i], &bytes)) return false;
    }
    *out = empty ? 0 : bytes;
    return true;
}

const char *gm__printable(const char *name, char *text, size_t size) {
    size_t i = 0;
    for (; name[i] && i + 1 < size; i++) text[i] = name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?';
    text[i] = '\0';
    return text;
}

static gm_status no_memory(const gm__json *j, gm_error *err) {
    return gm_fail(err, GM_ERR_MEMORY, "%s: no memory for its header", j->what);
}

static gm_status read_metadata(gm__json *j, gm_tensor_file *f, gm_error *err) {
    gm_status status = gm__json_expect(j, '{', err);
    if (status) return status;
    if (gm__json_accept(j, '}')) return GM_OK;
    do {
        if (f->metas == GM__MAX_META)
            return gm_fail(err, GM_ERR_FORMAT, "%s: more than %d metadata entries", j->what, GM__MAX_META);
        if (f->metas == f->metas_cap) {
            int cap = f->metas_cap * 2 + 16;
            pair *grown = gm_realloc(f->meta, (size_t)f->metas_cap, (size_t)cap, sizeof *grown);
            if (!grown) return no_memory(j, err);
            f->meta = grown;
            f->metas_cap = cap;
        }
        pair *p = &f->meta[f->metas];
        status = gm__json_string(j, GM__MAX_NAME, true, &p->key, err);
        if (!status) status = gm__json_expect(j, ':', err);
        if (!status) status = gm__json_string(j, GM__MAX_STRING, false, &p->value, err);
        if (status) return status;
        f->metas++;
    } while (gm__json_accept(j, ','));
    return gm__json_expect(j, '}', err);
}

static gm_status read_wholes(gm__json *j, uint64_t *out, int most, int *count, gm_error *err) {
    gm_status status = gm__json_expect(j, '[', err);
    if (status) return status;
    *count = 0;
    if (gm__json_accept(j, ']')) return GM_OK;
    do {
        if (*count == most)
            return gm_fail(err, GM_ERR_FORMAT, "%s: header byte %zu: a list has more than %d numbers", j->what,
                           j->base + j->at, most);
        status = gm__json_whole(j, &out[*count], err);
        if (status) return status;
        ++*count;
    } while (gm__json_accept(j, ','));
    return gm__json_expect(j, ']', err);
}

static gm_status bad_tensor(const gm__json *j, gm_error *err, const char *name, const char *why) {
    char text[64];
    return gm_fail(err, GM_ERR_FORMAT, "%s: tensor '%s': %s", j->what, gm__printable(name, text, sizeof text), why);
}

// {"dtype": ..., "shape": [...], "data_offsets": [begin, end]} in any order, each once, nothing else.
static gm_status read_tensor(gm__json *j, entry *e, gm_error *err) {
    enum { TYPE = 1, SHAPE = 2, OFFSETS = 4 };
    unsigned seen = 0;
    uint64_t offsets[2];
    gm_status status = gm__json_expect(j, '{', err);
    if (status) return status;
    do {
        const char *key, *text;
        int count = 0;
        unsigned bit = 0;
        status = gm__json_string(j, GM__MAX_NAME, true, &key, err);
        if (!status) status = gm__json_expect(j, ':', err);
        if (status) return status;
        if (strcmp(key, "dtype") == 0) {
            bit = TYPE;
            status = gm__json_string(j, GM__MAX_NAME, true, &text, err);
            if (!status && !gm__type_from_text(text, &e->info.type))
                return bad_tensor(j, err, e->info.name, "unknown dtype, known are F32, BF16, I8, U8, I32, I64");
        } else if (strcmp(key, "shape") == 0) {
            bit = SHAPE;
            status = read_wholes(j, e->info.dims, GM_MAX_RANK, &e->info.rank, err);
        } else if (strcmp(key, "data_offsets") == 0) {
            bit = OFFSETS;
            status = read_wholes(j, offsets, 2, &count, err);
            if (!status && count != 2) return bad_tensor(j, err, e->info.name, "data_offsets needs two numbers");
        }
        if (status) return status;
        if (bit == 0) return bad_tensor(j, err, e->info.name, "unknown key beside dtype, shape, data_offsets");
        if (seen & bit) return bad_tensor(j, err, e->info.name, "a key is given twice");
        seen |= bit;
    } while (gm__json_accept(j, ','));
    status = gm__json_expect(j, '}', err);
    if (status) return status;
    if (seen != (TYPE | SHAPE | OFFSETS))
        return bad_tensor(j, err, e->info.name, "dtype, shape and data_offsets are all needed");
    e->begin = offsets[0];
    e->end = offsets[1];
    if (e->end < e->begin) return bad_tensor(j, err, e->info.name, "data_offsets end before they begin");
    if (!gm__tensor_bytes(e->info.type, e->info.rank, e->info.dims, &e->info.bytes))
        return bad_tensor(j, err, e->info.name, "the shape is too large for any file");
    if (e->info.bytes != e->end - e->begin)
        return bad_tensor(j, err, e->info.name, "data_offsets do not fit dtype and shape");
    return GM_OK;
}

static gm_status read_header(gm__json *j, gm_tensor_file *f, gm_error *err) {
    bool has_metadata = false;
    if (j->size == 0 || j->text[0] != '{') return gm__json_fail(j, err, "'{' as the first byte of the header");
    j->at = 1;
    if (!gm__json_accept(j, '}')) {
        do {
            const char *name;
            gm_status status = gm__json_string(j, GM__MAX_NAME, true, &name, err);
            if (!status) status = gm__json_expect(j, ':', err);
            if (status) return status;
            if (strcmp(name, "__metadata__") == 0) {
                if (has_metadata) return bad_tensor(j, err, name, "given twice");
                has_metadata = true;
                status = read_metadata(j, f, err);
                if (status) return status;
                continue;
            }
            if (f->tensors == GM_MAX_TENSORS)
                return gm_fail(err, GM_ERR_FORMAT, "%s: more than %d tensors", j->what, GM_MAX_TENSORS);
            if (f->tensors == f->tensors_cap) {
                int cap = f->tensors_cap * 2 + 16;
                entry *grown = gm_realloc(f->tensor, (size_t)f->tensors_cap, (size_t)cap, sizeof *grown);
                if (!grown) return no_memory(j, err);
                f->tensor = grown;
                f->tensors_cap = cap;
            }
            entry *e = &f->tensor[f->tensors];
            e->info.name = name;
            status = read_tensor(j, e, err);
            if (status) return status;
            f->tensors++;
        } while (gm__json_accept(j, ','));
        gm_status status = gm__json_expect(j, '}', err);
        if (status) return status;
    }
    for (; j->at < j->size; j->at++)
        if (j->text[j->at] != ' ') return gm__json_fail(j, err, "nothing but spaces after the header's end");
    return GM_OK;
}

static int by_offset(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(entry *const *)a)->info.name, (*(entry *const *)b)->info.name);
}

static int by_key(const void *a, const void *b) { return strcmp(((const pair *)a)->key, ((const pair *)b)->key); }

// Names and keys are unique: found by sorting, so that hostile names cannot make it quadratic.
static gm_status check_unique(const gm__json *j, gm_tensor_file *f, gm_error *err) {
    f->by_name = gm_alloc((size_t)f->tensors + 1, sizeof(entry *));
    if (!f->by_name) return no_memory(j, err);
    for (int i = 0; i < f->tensors; i++) f->by_name[i] = &f->tensor[i];
    if (f->tensors) qsort(f->by_name, (size_t)f->tensors, sizeof(entry *), by_name);
    for (int i = 1; i < f->tensors; i++)
        if (by_name(&f->by_name[i - 1], &f->by_name[i]) == 0)
            return bad_tensor(j, err, f->by_name[i]->info.name, "the name is given twice");
    if (f->metas) qsort(f->meta, (size_t)f->metas, sizeof(pair), by_key);
    for (int i = 1; i < f->metas; i++)
        if (by_key(&f->meta[i - 1], &f->meta[i]) == 0)
            return bad_tensor(j, err, f->meta[i].key, "the metadata key is given twice");
    return GM_OK;
}

// No holes, no overlaps, all of the data section. Unaligned tensors get an aligned copy (a cast would be undefined).
static gm_status place(const gm__json *j, gm_tensor_file *f, const uint8_t *data, uint64_t bytes, gm_error *err) {
    uint64_t at = 0;
    if (f->tensors) qsort(f->tensor, (size_t)f->tensors, sizeof(entry), by_offset);
    for (int i = 0; i < f->tensors; i++) {
        entry *e = &f->tensor[i];
        if (e->begin != at)
            return bad_tensor(j, err, e->info.name, e->begin < at ? "overlaps another one" : "leaves a hole before it");
        if (e->end > bytes) return bad_tensor(j, err, e->info.name, "ends behind the end of the file");
        at = e->end;
    }
    if (at != bytes)
        return gm_fail(err, GM_ERR_FORMAT, "%s: %llu bytes behind the last tensor", j->what,
                       (unsigned long long)(bytes - at));
    f->copies = gm_alloc((size_t)f->tensors + 1, sizeof *f->copies);
    if (!f->copies) return no_memory(j, err);
    for (int i = 0; i < f->tensors; i++) {
        entry *e = &f->tensor[i];
        const uint8_t *from = data + e->begin;
        if (e->info.bytes > 0 && (uintptr_t)from % gm_dtype_size(e->info.type) != 0) {
            void *copy = gm_alloc((size_t)e->info.bytes, 1);
            if (!copy) return gm_fail(err, GM_ERR_MEMORY, "%s: no memory for an unaligned tensor", j->what);
            memcpy(copy, from, (size_t)e->info.bytes);
            f->copies[f->copied++] = copy;
            from = copy;
        }
        e->info.data = from;
    }
    return GM_OK;
}

gm_status gm_tensor_file_parse(const uint8_t *data, size_t bytes, const char *what, gm_tensor_file **out,
                               gm_error *err) {
    *out = NULL;
    if (bytes < GM__LENGTH_BYTES)
        return gm_fail(err, GM_ERR_FORMAT, "%s: %zu bytes are no safetensors file, at least %d are needed", what, bytes,
                       GM__LENGTH_BYTES);
    if (bytes > gm__max_file)
        return gm_fail(err, GM_ERR_FORMAT, "%s: %zu bytes are more than 16 GiB", what, bytes);
    uint64_t header = 0;
    for (int i = GM__LENGTH_BYTES; i-- > 0;) header = header << 8 | data[i];
    if (header > GM__MAX_HEADER || header > bytes - GM__LENGTH_BYTES)
        return gm_fail(err, GM_ERR_FORMAT, "%s: header of %llu bytes in a file of %zu (limit %d); not safetensors or cut",
                       what, (unsigned long long)header, bytes, GM__MAX_HEADER);

    gm_tensor_file *f = gm_alloc(1, sizeof *f);
    gm__json j = {.text = data + GM__LENGTH_BYTES, .size = (size_t)header, .what = what, .base = GM__LENGTH_BYTES};
    gm_status status = GM_OK;
    if (f) f->strings = j.strings = gm_alloc((size_t)header + 1, 1);
    if (!f || !f->strings) status = no_memory(&j, err);
    if (!status) status = read_header(&j, f, err);
    size_t start = GM__LENGTH_BYTES + (size_t)header;
    if (!status) status = place(&j, f, data + start, bytes - start, err);
    if (!status) status = check_unique(&j, f, err); // after place, which moves the entries
    if (status) gm_tensor_file_destroy(f);
    else *out = f;
    return status;
}

gm_status gm_tensor_file_read(const char *path, gm_tensor_file **out, gm_error *err) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    *out = NULL;
    gm_status status = gm_file_read(path, (size_t)gm__max_file, &data, &bytes, err);
    if (!status) status = gm_tensor_file_parse(data, bytes, path, out, err);
    if (status) gm_free(data);
    else (*out)->owned = data;
    return status;
}

void gm_tensor_file_destroy(gm_tensor_file *f) {
    if (!f) return;
    for (int i = 0; i < f->copied; i++) gm_free(f->copies[i]);
    gm_free(f->copies);
    gm_free(f->by_name);
    gm_free(f->tensor);
    gm_free(f->meta);
    gm_free(f->strings);
    gm_free(f->owned);
    gm_free(f);
}

int gm_tensor_count(const gm_tensor_file *f) { return f->tensors; }

const gm_tensor_info *gm_tensor_at(const gm_tensor_file *f, int i) {
    return i < 0 || i >= f->tensors ? NULL : &f->tensor[i].info;
}

const gm_tensor_info *gm_tensor_find(const gm_tensor_file *f, const char *name) {
    entry key = {.info.name = name}, *wanted = &key;
    entry *const *found =
        f->tensors ? bsearch(&wanted, f->by_name, (size_t)f->tensors, sizeof(entry *), by_name) : NULL;
    return found ? &(*found)->info : NULL;
}

const char *gm_tensor_meta(const gm_tensor_file *f, const char *key) {
    pair wanted = {.key = key};
    const pair *found = f->metas ? bsearch(&wanted, f->meta, (size_t)f->metas, sizeof(pair), by_key) : NULL;
    return found ? found->value : NULL;
}
