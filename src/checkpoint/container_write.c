// SPDX-License-Identifier: Apache-2.0
// Writes a checkpoint file: blocks as they are made, then the directory that tells of them. Nothing of the size of the image
// is allocated here.
#include "checkpoint/container_lossy.h"

#include <string.h>
#include <xxhash.h>

const uint8_t gm__file_magic[8] = {0x89, 'G', 'M', 'C', '\r', '\n', 0x1a, '\n'};
const uint8_t gm__file_end[8] = {'G', 'M', 'C', '-', 'E', 'N', 'D', '\n'};

gm__hash128 gm__hash128_of(const void *data, size_t bytes) {
    XXH128_hash_t h = XXH3_128bits(data, bytes);
    return (gm__hash128){h.low64, h.high64};
}

typedef struct directory_text {
    uint8_t *bytes;
    size_t used, room;
    bool failed;
} directory_text;

typedef struct packing {
    const gm__pack *pack;
    gm_writer *file;
    gm__lossless *coder;
    gm_tensor_file *image, *parent;
    gm__lossy lossy;
    char note[GM_CHECKPOINT_NOTE];
    directory_text text;
    uint32_t sections, blocks;
    uint64_t at;    // in the file
    gm_checkpoint_info info;
    gm_error *err;
} packing;

static void put(directory_text *t, uint64_t value, int bytes) {
    if (t->room - t->used < 8 && !t->failed) {
        size_t room = t->room * 2 + 4096;
        uint8_t *grown = gm_realloc(t->bytes, t->room, room, 1);
        if (grown) {
            t->bytes = grown;
            t->room = room;
        } else {
            t->failed = true;
        }
    }
    for (int i = 0; i < bytes && !t->failed; i++) t->bytes[t->used++] = (uint8_t)(value >> (8 * i));
}

static void put_block(directory_text *t, const gm__block *b, uint32_t width) {
    put(t, b->transform, 4);
    put(t, b->elements, 4);
    put(t, b->hash, 8);
    for (uint32_t p = 0; p < width; p++) {
        put(t, b->plane[p].method, 1);
        put(t, b->plane[p].value, 3);
        put(t, b->plane[p].stored, 4);
    }
}

// Seven bits a byte, the lowest first.
static void put_count(directory_text *t, uint64_t value) {
    for (; value >= 128; value >>= 7) put(t, (value & 127) | 128, 1);
    put(t, value, 1);
}

static void put_section(directory_text *t, gm__section_kind kind, gm_checkpoint_role role, uint32_t width, uint32_t detail,
                        uint64_t bytes) {
    put(t, kind, 1);
    put(t, role, 1);
    put(t, width, 1);
    put(t, detail, 1);
    put_count(t, bytes);
}

// data: `bytes` of them, elements of `width`; parent: as many, or NULL.
static gm_status pack_section(packing *p, gm__section_kind kind, gm_checkpoint_role role, uint32_t width, bool real,
                              const uint8_t *data, size_t bytes, const uint8_t *parent) {
    size_t elements = bytes / width, blocks = (elements + GM__BLOCK_ELEMENTS - 1) / GM__BLOCK_ELEMENTS;
    gm__hash128 hash = gm__hash128_of(data, bytes);
    put_section(&p->text, kind, role, width, 0, bytes);
    put_count(&p->text, blocks);
    put(&p->text, hash.low, 8);
    put(&p->text, hash.high, 8);
    for (size_t at = 0; at < elements; at += GM__BLOCK_ELEMENTS) {
        size_t left = elements - at, n = left < GM__BLOCK_ELEMENTS ? left : GM__BLOCK_ELEMENTS, stored_bytes;
        gm__block b;
        const uint8_t *stored;
        gm_status status = gm__block_encode(p->coder, data + at * width, parent ? parent + at * width : NULL, (uint32_t)n,
                                            width, real, &b, &stored, &stored_bytes, p->err);
        if (status == GM_OK) status = gm_writer_write(p->file, stored, stored_bytes, p->err);
        if (status != GM_OK) return status;
        put_block(&p->text, &b, width);
        p->at += stored_bytes;
        p->blocks++;
    }
    p->sections++;
    return GM_OK;
}

// A tensor whose values are elsewhere, or nowhere: only its place in the image is told.
static void tell_tensor(packing *p, gm__section_kind kind, gm_checkpoint_role role, uint32_t width, uint32_t detail,
                        uint64_t bytes) {
    put_section(&p->text, kind, role, width, detail, bytes);
    p->sections++;
}

static gm_status pack_tensor(packing *p, int number, int *quantized, const uint8_t *data, bool state) {
    const gm_tensor_info *t = gm_tensor_at(p->image, number), *before;
    gm_checkpoint_role role = gm__role_of(t, state);
    uint32_t width = (uint32_t)gm_dtype_size(t->type);
    uint64_t at = p->at, text = p->text.used;
    gm_status status = GM_OK;
    switch (p->lossy.use ? (gm__use)p->lossy.use[number] : GM__USE_EXACT) {
    case GM__USE_EXACT:
        before = gm__parent_tensor(p->parent, t);
        status = pack_section(p, GM__SECTION_TENSOR, role, width, gm__is_real(t->type), data, (size_t)t->bytes,
                              before ? before->data : NULL);
        break;
    case GM__USE_QUANT:
        tell_tensor(p, GM__SECTION_QUANT_TENSOR, role, width, p->lossy.shape[(*quantized)++].kind, t->bytes);
        p->info.quantized++;
        break;
    case GM__USE_MOMENT: tell_tensor(p, GM__SECTION_MOMENT_TENSOR, role, width, 0, t->bytes); break;
    case GM__USE_DROP:
        tell_tensor(p, GM__SECTION_DROPPED, role, width, 0, t->bytes);
        p->info.dropped++;
        break;
    }
    p->info.tensors++;
    p->info.raw[role] += t->bytes;
    p->info.stored[role] += p->at - at + (p->text.used - text);
    return status;
}

static gm_status pack_blob(packing *p, gm__section_kind kind, gm_checkpoint_role role, const uint8_t *blob, size_t bytes) {
    if (!blob) return GM_OK;
    uint64_t at = p->at, text = p->text.used;
    gm_status status = pack_section(p, kind, role, 1, false, blob, bytes, NULL);
    p->info.stored[role] += p->at - at + (p->text.used - text);
    return status;
}

static gm_status pack_image(packing *p, size_t head) {
    const uint8_t *data = p->pack->image + head;
    const gm__lossy *l = &p->lossy;
    bool state = gm__names_are_state(p->image);
    int quantized = 0;
    gm_status status = pack_section(p, GM__SECTION_HEAD, GM_CHECKPOINT_OTHER, 1, false, p->pack->image, head, NULL);
    if (status == GM_OK && p->note[0])
        status = pack_section(p, GM__SECTION_NOTE, GM_CHECKPOINT_OTHER, 1, false, (const uint8_t *)p->note,
                              strlen(p->note), NULL);
    if (status == GM_OK) status = pack_blob(p, GM__SECTION_QUANT, GM_CHECKPOINT_WEIGHTS, l->blob, l->blob_bytes);
    if (status == GM_OK)
        status = pack_blob(p, GM__SECTION_MOMENTS, GM_CHECKPOINT_OPTIMIZER, l->moment_blob, l->moment_bytes);
    for (int i = 0; i < gm_tensor_count(p->image) && status == GM_OK; i++) {
        status = pack_tensor(p, i, &quantized, data, state);
        data += gm_tensor_at(p->image, i)->bytes;
    }
    return status;
}

// The writer's object, and in it what the quantizer says.
static gm_status make_note(packing *p, const char *path) {
    const char *given = p->pack->note ? p->pack->note : "", *report = p->lossy.report;
    size_t length = strlen(given);
    while (length > 0 && strchr(" \n", given[length - 1])) length--;
    bool object = length >= 2 && given[0] == '{' && given[length - 1] == '}';
    int n;
    if (!report[0]) n = snprintf(p->note, sizeof p->note, "%s", given);
    else if (!object) n = snprintf(p->note, sizeof p->note, "{\"quantizer\":%s}", report);
    else
        n = snprintf(p->note, sizeof p->note, "%.*s%s\"quantizer\":%s}", (int)(length - 1), given, length > 2 ? "," : "",
                     report);
    if ((length == 0 || object) && n >= 0 && (size_t)n < sizeof p->note) return GM_OK;
    return gm_fail(p->err, GM_ERR_ARGUMENT, "%.100s: the note of a checkpoint is a JSON object of fewer than %d bytes", path,
                   GM_CHECKPOINT_NOTE);
}

static gm_status write_header(packing *p) {
    const gm__pack *k = p->pack;
    uint8_t bytes[GM__HEADER_BYTES];
    directory_text t = {.bytes = bytes, .room = sizeof bytes + 8};
    memcpy(bytes, gm__file_magic, 8);
    t.used = 8;
    put(&t, GM__FILE_VERSION, 4);
    put(&t, k->delta ? GM__FLAG_DELTA : 0, 4);
    put(&t, k->number, 8);
    put(&t, k->delta ? k->parent_number : 0, 8);
    put(&t, k->delta ? k->parent_identity : 0, 8);
    put(&t, k->bytes, 8);
    put(&t, 0, 8);
    put(&t, XXH3_64bits(bytes, t.used), 8);
    p->at = GM__HEADER_BYTES;
    return gm_writer_write(p->file, bytes, sizeof bytes, p->err);
}

static gm_status write_directory(packing *p) {
    directory_text *t = &p->text;
    if (t->failed) return gm_fail(p->err, GM_ERR_MEMORY, "no memory for the directory of a checkpoint");
    for (int i = 0; i < 4; i++) {
        t->bytes[i] = (uint8_t)(p->sections >> (8 * i));
        t->bytes[4 + i] = (uint8_t)(p->blocks >> (8 * i));
    }
    uint8_t bytes[GM__TRAILER_BYTES];
    directory_text trailer = {.bytes = bytes, .room = sizeof bytes + 8};
    p->info.identity = XXH3_64bits(t->bytes, t->used);
    put(&trailer, p->at, 8);
    put(&trailer, t->used, 8);
    put(&trailer, p->info.identity, 8);
    memcpy(bytes + 24, gm__file_end, 8);
    gm_status status = gm_writer_write(p->file, t->bytes, t->used, p->err);
    if (status == GM_OK) status = gm_writer_write(p->file, bytes, sizeof bytes, p->err);
    p->info.bytes = p->at + t->used + sizeof bytes;
    return status;
}

gm_status gm__container_write(const char *path, const gm__pack *pack, gm__packed *out, gm_error *err) {
    packing p = {.pack = pack, .err = err};
    size_t head = 0;
    *out = (gm__packed){0};
    gm_status status = gm_tensor_file_parse(pack->image, pack->bytes, path, &p.image, err);
    if (status == GM_OK && pack->delta && pack->parent && *pack->parent)
        status = gm_tensor_file_parse((*pack->parent)->data, (*pack->parent)->bytes, path, &p.parent, err);
    for (int i = 8; i-- > 0 && status == GM_OK;) head = head << 8 | pack->image[i]; // was parsed, so it is in bounds
    head += 8;
    if (status == GM_OK)
        status = gm__lossy_make(p.image, head, pack, &p.lossy, err);
    if (status == GM_OK) status = make_note(&p, path);
    if (status == GM_OK) status = gm__lossless_create(pack->settings->level, &p.coder, err);
    if (status == GM_OK) status = gm_writer_open(path, &p.file, err);
    if (status == GM_OK) status = write_header(&p);
    put(&p.text, 0, 8); // the counts, filled in at the end
    if (status == GM_OK) status = pack_image(&p, head);
    if (status == GM_OK) status = write_directory(&p);
    if (status == GM_OK) {
        status = gm_writer_commit(p.file, err); // frees it in every case
        p.file = NULL;
    }
    if (status == GM_OK) {
        p.info.number = pack->number;
        p.info.parent = pack->delta ? pack->parent_number : 0;
        p.info.parent_identity = pack->delta ? pack->parent_identity : 0;
        p.info.image_bytes = pack->bytes;
        memcpy(p.info.note, p.note, sizeof p.note);
        out->info = p.info;
        // The file is there: what fails from here on costs only the next difference.
        gm_tensor_file_destroy(p.parent);
        p.parent = NULL;
        if (pack->parent) {
            gm_tensor_image_release(*pack->parent);
            *pack->parent = NULL;
        }
        if (pack->followed) out->parent = gm__parent_make(p.image, pack->bytes, p.info.quantized == 0);
        out->state = p.lossy.state;
        p.lossy.state = NULL;
    }
    gm__lossy_fini(&p.lossy);
    gm_writer_abort(p.file);
    gm__lossless_destroy(p.coder);
    gm_tensor_file_destroy(p.image);
    gm_tensor_file_destroy(p.parent);
    gm_free(p.text.bytes);
    return status;
}
