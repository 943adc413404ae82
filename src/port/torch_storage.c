// SPDX-License-Identifier: Apache-2.0
// port: the containers of torch files (specs: training 6.1). The legacy stream is five pickles and then the storages;
// the zip has one entry a storage.
#include "port/torch_storage.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_KEY = 256 };

static int by_key(const void *a, const void *b) {
    const gm__torch_place *x = a, *y = b;
    size_t least = x->key_length < y->key_length ? x->key_length : y->key_length;
    int order = least ? memcmp(x->key, y->key, least) : 0;
    return order ? order : (x->key_length > y->key_length) - (x->key_length < y->key_length);
}

// The third pickle: what machine wrote the file.
static gm_status check_machine(gm__torch_reading *r, size_t *at) {
    gm__pickle p;
    int root = -1;
    gm_status status = gm__pickle_read(&p, r->what, r->data, r->bytes, *at, at, &root, r->err);
    if (!status) {
        int little = gm__pickle_lookup(&p, root, "little_endian");
        if (little < 0 || p.value[little].kind != GM__PICKLE_BOOL || !p.value[little].u.whole)
            status = gm__torch_bad(r, "written on a big-endian machine, or not by torch.save");
    }
    gm__pickle_fini(&p);
    return status;
}

// The type of each storage is said where a tensor uses it: storages by key, of the values of the object.
static gm_status legacy_types(gm__torch_reading *r, gm__torch_place **out, int *count, gm__torch_type **types) {
    const gm__pickle *p = &r->object;
    int n = 0;
    for (int i = 0; i < p->values; i++) n += p->value[i].kind == GM__PICKLE_STORAGE;
    *out = gm_alloc((size_t)n + 1, sizeof **out);
    *types = gm_alloc((size_t)n + 1, sizeof **types);
    if (!*out || !*types) return gm_fail(r->err, GM_ERR_MEMORY, "%s: no memory for its structure", r->what);
    *count = 0;
    for (int i = 0; i < p->values; i++) {
        if (p->value[i].kind != GM__PICKLE_STORAGE) continue;
        const gm__pickle_value *key = &p->value[p->value[i].u.storage.key];
        // `offset` carries the value's number through the sort
        (*out)[(*count)++] =
            (gm__torch_place){key->u.text.text, key->u.text.length, (size_t)i, (size_t)p->value[i].u.storage.elements};
    }
    qsort(*out, (size_t)*count, sizeof **out, by_key);
    int kept = 0;
    for (int i = 0; i < *count; i++) {
        gm__torch_type type = p->value[(*out)[i].offset].u.storage.type;
        if (kept > 0 && by_key(&(*out)[kept - 1], &(*out)[i]) == 0) {
            if ((*types)[kept - 1] != type || (*out)[kept - 1].elements != (*out)[i].elements)
                return gm__torch_bad(r, "one storage with two types or sizes");
            continue;
        }
        (*out)[kept] = (*out)[i];
        (*types)[kept++] = type;
    }
    for (int i = 0; i < kept; i++) (*out)[i].offset = 0; // not met yet; no storage starts at byte 0
    *count = kept;
    return GM_OK;
}

// The fifth pickle lists keys; for each follow the count of elements and the elements.
static gm_status legacy_places(gm__torch_reading *r, size_t at, const gm__torch_type *types) {
    gm__pickle p;
    int root = -1;
    gm_status status = gm__pickle_read(&p, r->what, r->data, r->bytes, at, &at, &root, r->err);
    if (!status && p.value[root].kind != GM__PICKLE_LIST) status = gm__torch_bad(r, "its list of storages is missing");
    if (!status && p.value[root].count != r->legacies)
        status = gm__torch_bad(r, "its list of storages does not match its tensors");
    for (int c = status || p.value[root].count == 0 ? -1 : p.value[root].first; c >= 0 && !status; c = p.cell[c].next) {
        const gm__pickle_value *key = &p.value[p.cell[c].value];
        gm__torch_place wanted = {.key = key->u.text.text, .key_length = key->u.text.length};
        gm__torch_place *found = key->kind != GM__PICKLE_TEXT
                                     ? NULL
                                     : bsearch(&wanted, r->legacy, (size_t)r->legacies, sizeof wanted, by_key);
        if (!found || found->offset != 0) {
            status = gm__torch_bad(r, "its list of storages does not match its tensors");
            break;
        }
        size_t size = gm__torch_type_size(types[found - r->legacy]);
        uint64_t elements = 0;
        if (r->bytes - at < 8) status = gm__torch_bad(r, "cut short within its storages");
        for (int i = 7; i >= 0 && !status; i--) elements = elements << 8 | r->data[at + (size_t)i];
        if (!status && elements != found->elements)
            status = gm__torch_bad(r, "a storage does not have the size that its tensors name");
        if (!status && elements > (r->bytes - at - 8) / size)
            status = gm__torch_bad(r, "cut short within its storages");
        found->offset = at + 8;
        if (!status) at += 8 + (size_t)elements * size;
    }
    gm__pickle_fini(&p);
    return status;
}

static const uint8_t legacy_magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                       0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

static gm_status open_legacy(gm__torch_reading *r, int *root) {
    gm__pickle version;
    gm__torch_type *types = NULL;
    size_t at = sizeof legacy_magic;
    gm_status status = gm__pickle_read(&version, r->what, r->data, r->bytes, at, &at, root, r->err);
    if (!status && (version.value[*root].kind != GM__PICKLE_INT || version.value[*root].u.whole != 1001))
        status = gm__torch_bad(r, "a version of torch's old format other than 1001");
    gm__pickle_fini(&version);
    if (!status) status = check_machine(r, &at);
    if (!status) status = gm__pickle_read(&r->object, r->what, r->data, r->bytes, at, &at, root, r->err);
    if (!status) status = legacy_types(r, &r->legacy, &r->legacies, &types);
    if (!status) status = legacy_places(r, at, types);
    gm_free(types);
    return status;
}

// "NAME/data.pkl" is the entry with the pickle; storages are beside it.
static gm_status open_zip(gm__torch_reading *r, int *root) {
    static const char pickle_name[] = "data.pkl", order_name[] = "byteorder";
    const size_t length = sizeof pickle_name - 1;
    gm__zip_entry *pickle = NULL;
    gm_status status = gm__zip_open(r->data, r->bytes, r->what, &r->zip, r->err);
    for (int i = 0; i < r->zip.entries && !pickle && !status; i++) {
        gm__zip_entry *e = &r->zip.entry[i];
        if (e->name_length <= length || memcmp(e->name + e->name_length - length, pickle_name, length) != 0) continue;
        if (e->name[e->name_length - length - 1] != '/') continue;
        pickle = e;
        r->folder = e->name;
        r->folder_length = e->name_length - length;
    }
    if (!status && !pickle) status = gm__torch_bad(r, "a zip archive without data.pkl: not made by torch.save");
    if (status) return status;
    const gm__zip_entry *order =
        gm__zip_find(&r->zip, r->folder, r->folder_length, (const uint8_t *)order_name, strlen(order_name));
    if (order && (order->bytes != 6 || memcmp(r->data + order->offset, "little", 6) != 0))
        return gm__torch_bad(r, "written on a big-endian machine");
    size_t end;
    status = gm__zip_check(pickle, r->data, r->what, r->err);
    if (!status)
        status = gm__pickle_read(&r->object, r->what, r->data, pickle->offset + pickle->bytes, pickle->offset, &end,
                                 root, r->err);
    return status;
}

gm_status gm__torch_storage(gm__torch_reading *r, const gm__pickle_value *storage, gm__torch_place *out) {
    const gm__pickle_value *key = &r->object.value[storage->u.storage.key];
    size_t size = gm__torch_type_size(storage->u.storage.type);
    *out = (gm__torch_place){.key = key->u.text.text, .key_length = key->u.text.length};
    if (r->legacy) {
        const gm__torch_place *found = bsearch(out, r->legacy, (size_t)r->legacies, sizeof *out, by_key);
        *out = *found; // every storage among the values is there
        return GM_OK;
    }
    uint8_t name[MAX_KEY] = "data/";
    if (out->key_length > sizeof name - 5) return gm__torch_bad(r, "the name of a storage is too long");
    memcpy(name + 5, out->key, out->key_length);
    gm__zip_entry *e = gm__zip_find(&r->zip, r->folder, r->folder_length, name, 5 + out->key_length);
    if (!e) return gm__torch_bad(r, "a storage is missing in the archive");
    if ((uint64_t)storage->u.storage.elements > e->bytes / size)
        return gm__torch_bad(r, "a storage does not have the size that its tensors name");
    out->offset = e->offset;
    out->elements = (size_t)storage->u.storage.elements;
    return gm__zip_check(e, r->data, r->what, r->err);
}

gm_status gm__torch_bad(const gm__torch_reading *r, const char *why) {
    return gm_fail(r->err, GM_ERR_FORMAT, "%s: %s", r->what, why);
}

gm_status gm__torch_open(gm__torch_reading *r) {
    if (r->bytes >= 4 && memcmp(r->data, "PK\3\4", 4) == 0) return open_zip(r, &r->root);
    if (r->bytes >= sizeof legacy_magic && memcmp(r->data, legacy_magic, sizeof legacy_magic) == 0)
        return open_legacy(r, &r->root);
    return gm__torch_bad(r, "not a file of torch.save (neither its zip nor its older stream)");
}

void gm__torch_close(gm__torch_reading *r) {
    gm__pickle_fini(&r->object);
    gm__zip_close(&r->zip);
    gm_free(r->legacy);
    r->legacy = NULL;
}
