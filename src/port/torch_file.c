// SPDX-License-Identifier: Apache-2.0
// port: tensors of a torch file. What is allocated is bounded by the length of the file.
#include <stdlib.h>
#include <string.h>

#include <gamut/port.h>

#include "port/torch_storage.h"

enum { MAX_NAME = 256, MOST_PER_BYTE = 2, MOST_SMALL = 4096 };
static const size_t max_file = (size_t)16 << 30;

struct gm_torch_file {
    gm_tensor_info *tensor;
    const gm_tensor_info **by_name;
    void **data; // one block a tensor
    char *names;
    int tensors;
};

static float half_to_f32(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } x = {.u = (uint32_t)(h & 0x7fff) << 13};
    x.f *= 0x1p112f; // rebias, which also makes halves' denormals normal
    if ((h & 0x7c00) == 0x7c00) x.u |= 0x7f800000u;
    x.u |= (uint32_t)(h & 0x8000) << 16;
    return x.f;
}

static void convert(gm__torch_type type, const uint8_t *from, void *to, size_t at) {
    double real;
    float f;
    uint16_t half;
    int64_t whole = 0;
    int32_t i32;
    int16_t i16;
    switch (type) {
    case GM__TORCH_FLOAT: memcpy(&f, from, 4); break;
    case GM__TORCH_DOUBLE: memcpy(&real, from, 8), f = (float)real; break;
    case GM__TORCH_HALF: memcpy(&half, from, 2), f = half_to_f32(half); break;
    case GM__TORCH_BFLOAT16: memcpy(&half, from, 2), f = gm_bf16_to_f32(half); break;
    case GM__TORCH_LONG: memcpy(&whole, from, 8); break;
    case GM__TORCH_INT: memcpy(&i32, from, 4), whole = i32; break;
    case GM__TORCH_SHORT: memcpy(&i16, from, 2), whole = i16; break;
    case GM__TORCH_CHAR: whole = (int8_t)*from; break;
    default: whole = *from; break;
    }
    if (type <= GM__TORCH_BFLOAT16)
        ((float *)to)[at] = f;
    else
        ((int64_t *)to)[at] = whole;
}

// Sizes and strides, and that the last element is inside the storage.
static gm_status read_shape(gm__torch_reading *r, const gm__pickle_value *t, const gm__torch_place *from,
                            gm_tensor_info *info, uint64_t stride[GM_MAX_RANK], uint64_t *count) {
    const gm__pickle *p = &r->object;
    const gm__pickle_value *size = &p->value[t->u.tensor.size], *step = &p->value[t->u.tensor.stride];
    uint64_t last = t->u.tensor.offset < 0 ? UINT64_MAX : (uint64_t)t->u.tensor.offset;
    if (size->count != step->count || size->count > GM_MAX_RANK || last > from->elements)
        return gm_fail(r->err, GM_ERR_FORMAT,
                       "%s: tensor %s: %d sizes and %d strides, or it starts outside its storage", r->what, info->name,
                       size->count, step->count);
    info->rank = size->count;
    *count = 1;
    int s = size->count ? size->first : -1, q = step->count ? step->first : -1;
    bool inside = true;
    for (int d = 0; d < info->rank; d++, s = p->cell[s].next, q = p->cell[q].next) {
        const gm__pickle_value *sv = &p->value[p->cell[s].value], *qv = &p->value[p->cell[q].value];
        if (sv->kind != GM__PICKLE_INT || qv->kind != GM__PICKLE_INT || sv->u.whole < 0 || qv->u.whole < 0 ||
            sv->u.whole > UINT32_MAX)
            return gm_fail(r->err, GM_ERR_FORMAT, "%s: tensor %s: dimension %d has no usable size", r->what, info->name,
                           d);
        info->dims[d] = (uint64_t)sv->u.whole;
        stride[d] = (uint64_t)qv->u.whole;
        uint64_t steps = info->dims[d] > 0 ? info->dims[d] - 1 : 0;
        if (steps > 0 && stride[d] > from->elements / steps)
            inside = false;
        else
            last += steps * stride[d]; // at most 9 times the elements of the storage
        if (*count > 0 && info->dims[d] > r->elements_left / *count)
            *count = r->elements_left + 1;
        else
            *count *= info->dims[d];
    }
    for (int d = 0; d < info->rank; d++)
        if (info->dims[d] == 0) *count = 0;
    if (*count > r->elements_left)
        return gm_fail(r->err, GM_ERR_FORMAT, "%s: tensor %s: far more elements than the file has bytes", r->what,
                       info->name);
    if (*count > 0 && (!inside || last >= from->elements))
        return gm_fail(r->err, GM_ERR_FORMAT, "%s: tensor %s reaches beyond its storage", r->what, info->name);
    return GM_OK;
}

static gm_status read_tensor(gm__torch_reading *r, int value, gm_tensor_info *info, void **data) {
    const gm__pickle_value *t = &r->object.value[value], *storage = &r->object.value[t->u.tensor.storage];
    gm__torch_type type = storage->u.storage.type;
    uint64_t stride[GM_MAX_RANK] = {0}, count = 0, index[GM_MAX_RANK] = {0};
    gm__torch_place from;
    gm_status status = gm__torch_storage(r, storage, &from);
    if (!status) status = read_shape(r, t, &from, info, stride, &count);
    if (status) return status;
    r->elements_left -= count;
    info->type = type <= GM__TORCH_BFLOAT16 ? GM_F32 : GM_I64;
    info->bytes = count * gm_dtype_size(info->type);
    *data = gm_alloc((size_t)info->bytes + 1, 1);
    if (!*data) return gm_fail(r->err, GM_ERR_MEMORY, "%s: no memory for tensor %s", r->what, info->name);
    info->data = *data;
    const size_t size = gm__torch_type_size(type);
    const uint8_t *first = r->data + from.offset + (size_t)t->u.tensor.offset * size;
    uint64_t at = 0;
    for (uint64_t e = 0; e < count; e++) {
        convert(type, first + at * size, *data, (size_t)e);
        for (int d = info->rank - 1; d >= 0; d--) {
            at += stride[d];
            if (++index[d] < info->dims[d]) break;
            at -= stride[d] * info->dims[d];
            index[d] = 0;
        }
    }
    return GM_OK;
}

static gm_status copy_name(gm__torch_reading *r, const gm__pickle_value *key, gm_tensor_info *info, char **names) {
    const uint8_t *text = key->u.text.text;
    bool plain = key->u.text.length > 0 && key->u.text.length <= MAX_NAME;
    for (size_t i = 0; plain && i < key->u.text.length; i++) plain = text[i] > 0x20 && text[i] < 0x7f;
    if (!plain) return gm__torch_bad(r, "the name of a tensor is empty, longer than 256 bytes, or not plain text");
    memcpy(*names, text, key->u.text.length);
    info->name = *names;
    *names += key->u.text.length + 1;
    return GM_OK;
}

static int by_tensor_name(const void *a, const void *b) {
    return strcmp((*(const gm_tensor_info *const *)a)->name, (*(const gm_tensor_info *const *)b)->name);
}

// The dict whose values are the tensors: the object itself, or one of its entries.
static gm_status choose_dict(gm__torch_reading *r) {
    static const char *const wrappers[] = {"state_dict", "model_state_dict", "model"};
    r->dict = r->root;
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
        int inner = gm__pickle_lookup(&r->object, r->root, wrappers[i]);
        if (inner < 0 || r->object.value[inner].kind != GM__PICKLE_DICT) continue;
        r->dict = inner;
        break;
    }
    if (r->object.value[r->dict].kind == GM__PICKLE_DICT) return GM_OK;
    return gm__torch_bad(r, "holds no dict of tensors: save the state dict of the module");
}

static gm_status read_tensors(gm__torch_reading *r, gm_torch_file *f) {
    const gm__pickle *p = &r->object;
    const gm__pickle_value *dict = &p->value[r->dict];
    size_t name_bytes = 0, most = 0;
    for (int c = dict->count ? dict->first : -1; c >= 0; c = p->cell[p->cell[c].next].next) {
        const gm__pickle_value *key = &p->value[p->cell[c].value], *value = &p->value[p->cell[p->cell[c].next].value];
        if (key->kind != GM__PICKLE_TEXT || value->kind != GM__PICKLE_TENSOR) continue;
        name_bytes += (key->u.text.length < MAX_NAME ? key->u.text.length : MAX_NAME) + 1;
        most++;
    }
    if (most > GM_MAX_TENSORS) return gm__torch_bad(r, "more than 65536 tensors");
    f->tensor = gm_alloc(most + 1, sizeof *f->tensor);
    f->by_name = gm_alloc(most + 1, sizeof *f->by_name);
    f->data = gm_alloc(most + 1, sizeof *f->data);
    char *names = f->names = gm_alloc(name_bytes + 1, 1);
    if (!f->tensor || !f->by_name || !f->data || !f->names)
        return gm_fail(r->err, GM_ERR_MEMORY, "%s: no memory for its %zu tensors", r->what, most);
    gm_status status = GM_OK;
    for (int c = dict->count ? dict->first : -1; c >= 0 && !status; c = p->cell[p->cell[c].next].next) {
        const gm__pickle_value *key = &p->value[p->cell[c].value];
        int value = p->cell[p->cell[c].next].value, i = f->tensors;
        if (key->kind != GM__PICKLE_TEXT || p->value[value].kind != GM__PICKLE_TENSOR) continue;
        status = copy_name(r, key, &f->tensor[i], &names);
        if (!status) status = read_tensor(r, value, &f->tensor[i], &f->data[i]);
        f->by_name[i] = &f->tensor[i];
        f->tensors++;
    }
    if (status) return status;
    if (f->tensors == 0) return gm__torch_bad(r, "holds no tensors: save the state dict of the module");
    qsort(f->by_name, (size_t)f->tensors, sizeof *f->by_name, by_tensor_name);
    for (int i = 1; i < f->tensors; i++)
        if (by_tensor_name(&f->by_name[i - 1], &f->by_name[i]) == 0)
            return gm_fail(r->err, GM_ERR_FORMAT, "%s: two tensors are named %s", r->what, f->by_name[i]->name);
    return GM_OK;
}

gm_status gm_torch_file_parse(const uint8_t *data, size_t bytes, const char *what, gm_torch_file **out, gm_error *err) {
    // Views may share elements, a state dict hardly does: more than this is a file made to exhaust memory.
    gm__torch_reading r = {.data = data,
                           .bytes = bytes,
                           .what = what,
                           .err = err,
                           .elements_left = (uint64_t)bytes * MOST_PER_BYTE + MOST_SMALL};
    *out = NULL;
    if (bytes > max_file) return gm_fail(err, GM_ERR_RANGE, "%s: larger than 16 GiB", what);
    gm_torch_file *f = gm_alloc(1, sizeof *f);
    if (!f) return gm_fail(err, GM_ERR_MEMORY, "%s: no memory to read it", what);
    gm_status status = gm__torch_open(&r);
    if (!status) status = choose_dict(&r);
    if (!status) status = read_tensors(&r, f);
    gm__torch_close(&r);
    if (status)
        gm_torch_file_destroy(f);
    else
        *out = f;
    return status;
}

gm_status gm_torch_file_read(const char *path, gm_torch_file **out, gm_error *err) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    *out = NULL;
    gm_status status = gm_file_read(path, max_file, &data, &bytes, err);
    if (!status) status = gm_torch_file_parse(data, bytes, path, out, err);
    gm_free(data);
    return status;
}

void gm_torch_file_destroy(gm_torch_file *f) {
    if (!f) return;
    for (int i = 0; f->data && i < f->tensors; i++) gm_free(f->data[i]);
    gm_free(f->data);
    gm_free(f->by_name);
    gm_free(f->tensor);
    gm_free(f->names);
    gm_free(f);
}

int gm_torch_count(const gm_torch_file *f) {
    return f->tensors;
}

const gm_tensor_info *gm_torch_at(const gm_torch_file *f, int i) {
    return i < 0 || i >= f->tensors ? NULL : &f->tensor[i];
}

const gm_tensor_info *gm_torch_find(const gm_torch_file *f, const char *name) {
    gm_tensor_info key = {.name = name};
    const gm_tensor_info *wanted = &key;
    const gm_tensor_info **found = bsearch(&wanted, f->by_name, (size_t)f->tensors, sizeof *f->by_name, by_tensor_name);
    return found ? *found : NULL;
}
