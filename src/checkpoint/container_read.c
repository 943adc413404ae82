// SPDX-License-Identifier: Apache-2.0
// Reads a checkpoint file. The directory is checked first, every number bounded before it is used; then each block's
// checksum before it is decoded, and each tensor's after.
#include "checkpoint/container_lossy.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { SECTION_BYTES = 5, HASH_BYTES = 16, BLOCK_BYTES = 16, PLANE_BYTES = 8, COUNTS_BYTES = 8 };
// A directory tells of blocks of up to 2 MiB in some 100 bytes; that of the largest image fits easily.
static const uint64_t most_directory = (uint64_t)1 << 28;
// Optimizers keep at most two values a weight; a difference of ids that did not change takes some bytes a tensor.
static const uint64_t most_dropped = 4, most_lossy = 1 << 17;

static gm_status bad(const gm__source *s, gm_error *err, const char *why) {
    return gm_fail(err, GM_ERR_FORMAT, "%.150s: damaged or no checkpoint: %s", s->what, why);
}

// ---------------------------------------------------------------------------------------------
// Where the bytes come from.
static gm_status read_memory(const gm__source *s, uint64_t at, void *to, size_t bytes, gm_error *err) {
    if (at > s->bytes || bytes > s->bytes - at) return bad(s, err, "it is cut short");
    if (bytes > 0) memcpy(to, (const uint8_t *)s->data + at, bytes);
    return GM_OK;
}

gm__source gm__source_memory(const uint8_t *data, size_t bytes, const char *what) {
    return (gm__source){.read = read_memory, .data = data, .fd = -1, .bytes = bytes, .what = what};
}

static gm_status read_file(const gm__source *s, uint64_t at, void *to, size_t bytes, gm_error *err) {
    if (at > s->bytes || bytes > s->bytes - at) return bad(s, err, "it is cut short");
    uint8_t *next = to;
    while (bytes > 0) {
        ssize_t n = pread(s->fd, next, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return gm_fail(err, GM_ERR_IO, "%.150s: cannot read: %s", s->what, strerror(errno));
        if (n == 0) return bad(s, err, "it became shorter while it was read");
        next += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return GM_OK;
}

gm_status gm__source_open(const char *path, gm__source *out, gm_error *err) {
    *out = (gm__source){.read = read_file, .what = path};
    out->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (out->fd < 0)
        return gm_fail(err, errno == ENOENT || errno == ENOTDIR ? GM_ERR_NOT_FOUND : GM_ERR_IO,
                       "%.180s: cannot open: %s", path, strerror(errno));
    struct stat info;
    if (fstat(out->fd, &info) == 0 && S_ISREG(info.st_mode)) {
        out->bytes = (uint64_t)info.st_size;
        return GM_OK;
    }
    gm__source_close(out);
    return gm_fail(err, GM_ERR_ARGUMENT, "%.180s: not a regular file", path);
}

void gm__source_close(gm__source *s) {
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
}

// ---------------------------------------------------------------------------------------------
// The directory.
typedef struct cursor {
    const uint8_t *next;
    size_t left;
} cursor;

// bytes were checked to be there
static uint64_t take(cursor *c, int bytes) {
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;) v = v << 8 | c->next[i];
    c->next += bytes;
    c->left -= (size_t)bytes;
    return v;
}

// Seven bits a byte, the lowest first, in as few bytes as possible.
static bool take_count(cursor *c, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 63 && c->left > 0; shift += 7) {
        uint64_t byte = take(c, 1);
        *out |= (byte & 127) << shift;
        if (byte < 128) return byte > 0 || shift == 0;
    }
    return false;
}

static gm_status read_header(const gm__source *s, gm__directory *d, gm_error *err) {
    uint8_t bytes[GM__HEADER_BYTES];
    gm_status status = s->read(s, 0, bytes, sizeof bytes, err);
    if (status != GM_OK) return status;
    if (memcmp(bytes, gm__file_magic, 8) != 0) return bad(s, err, "the first bytes are not those of a checkpoint");
    cursor c = {bytes + 8, sizeof bytes - 8};
    uint64_t version = take(&c, 4);
    if (version != GM__FILE_VERSION)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "%.150s: checkpoint format version %u, this program reads %d", s->what,
                       (unsigned)version, GM__FILE_VERSION);
    gm_checkpoint_info *info = &d->info;
    d->flags = (uint32_t)take(&c, 4);
    info->number = take(&c, 8);
    info->parent = take(&c, 8);
    info->parent_identity = take(&c, 8);
    info->image_bytes = take(&c, 8);
    uint64_t zero = take(&c, 8);
    if (take(&c, 8) != XXH3_64bits(bytes, GM__HEADER_BYTES - 8)) return bad(s, err, "its header fails its checksum");
    bool delta = (d->flags & GM__FLAG_DELTA) != 0;
    if ((d->flags & ~(uint32_t)GM__FLAG_DELTA) != 0 || zero != 0 || info->image_bytes > gm__most_bytes ||
        (!delta && (info->parent != 0 || info->parent_identity != 0)) || (delta && info->parent >= info->number))
        return bad(s, err, "its header makes no sense");
    return GM_OK;
}

static bool read_block(cursor *c, uint32_t width, bool real, bool parent, gm__block *b) {
    if (c->left < BLOCK_BYTES + (size_t)width * PLANE_BYTES) return false;
    uint64_t transform = take(c, 4);
    b->elements = (uint32_t)take(c, 4);
    b->hash = take(c, 8);
    if (transform >= GM__TRANSFORMS || b->elements == 0 || b->elements > GM__BLOCK_ELEMENTS) return false;
    if ((transform == GM__TRANSFORM_ROTATE || transform == GM__TRANSFORM_DIFFERENCE) && !real) return false;
    if (gm__transform_needs_parent((int)transform) && !parent) return false;
    b->transform = (uint8_t)transform;
    for (uint32_t p = 0; p < width; p++) {
        gm__plane *plane = &b->plane[p];
        uint64_t method = take(c, 1), value = take(c, 3);
        plane->stored = (uint32_t)take(c, 4);
        if (method >= GM__METHODS || value > 255) return false;
        plane->method = (uint8_t)method;
        plane->value = (uint8_t)value;
        bool right = method == GM__METHOD_CONSTANT ? plane->stored == 0
                     : method == GM__METHOD_RAW    ? plane->stored == b->elements
                                                   : plane->stored > 0 && plane->stored < b->elements;
        if (!right || (method != GM__METHOD_CONSTANT && value != 0)) return false;
    }
    return true;
}

// blocks: those left of the directory's array
static bool read_section(cursor *c, const gm__directory *d, uint32_t blocks, gm__block *block, gm__section *s) {
    if (c->left < SECTION_BYTES) return false;
    uint64_t kind = take(c, 1), role = take(c, 1);
    s->width = (uint8_t)take(c, 1);
    s->detail = (uint8_t)take(c, 1);
    if (kind == 0 || kind >= GM__SECTION_KINDS || role >= GM_CHECKPOINT_ROLES || !gm__width_is_valid(s->width) ||
        !take_count(c, &s->decoded) || s->decoded > gm__most_bytes)
        return false;
    if (gm__section_has_blocks((int)kind)) {
        uint64_t count;
        if (!take_count(c, &count) || count > blocks || c->left < HASH_BYTES) return false;
        s->blocks = (uint32_t)count;
        s->hash.low = take(c, 8);
        s->hash.high = take(c, 8);
    }
    s->kind = (uint8_t)kind;
    s->role = (uint8_t)role;
    s->block = block;
    bool tensor = kind == GM__SECTION_TENSOR, blob = kind == GM__SECTION_QUANT || kind == GM__SECTION_MOMENTS;
    if (blob && s->decoded == 0) return false;
    if (!gm__section_is_tensor(s->kind) && s->width != 1) return false;
    if (kind == GM__SECTION_QUANT_TENSOR ? s->detail >= GM__QUANT_KINDS : s->detail != 0) return false;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < s->blocks; i++) {
        if (!read_block(c, s->width, tensor && (s->width == 2 || s->width == 4), tensor && (d->flags & GM__FLAG_DELTA),
                        &block[i]))
            return false;
        bytes += (uint64_t)block[i].elements * s->width;
        for (uint32_t p = 0; p < s->width; p++) s->stored += block[i].plane[p].stored;
    }
    if (kind == GM__SECTION_QUANT_TENSOR || kind == GM__SECTION_MOMENT_TENSOR) return s->width == 4;
    return kind == GM__SECTION_DROPPED || bytes == s->decoded;
}

// Head first, then perhaps a note and the two blobs, each at most once, then tensors.
static bool in_order(const gm__directory *d, uint32_t i) {
    int kind = d->section[i].kind, before = i > 0 ? d->section[i - 1].kind : 0;
    bool begun = i > 0 && gm__section_is_tensor(before);
    switch ((gm__section_kind)kind) {
    case GM__SECTION_HEAD: return i == 0;
    case GM__SECTION_NOTE: return i == 1 && d->section[i].decoded < GM_CHECKPOINT_NOTE;
    case GM__SECTION_QUANT: return before == GM__SECTION_HEAD || before == GM__SECTION_NOTE;
    case GM__SECTION_MOMENTS: return i > 0 && !begun && before != GM__SECTION_MOMENTS;
    default: return i > 0;
    }
}

// Together the sections are the image, and their blocks fill the file.
static gm_status read_sections(const gm__source *s, cursor *c, gm__directory *d, gm_error *err) {
    gm_checkpoint_info *info = &d->info;
    uint32_t blocks = 0, total = c->left >= COUNTS_BYTES ? 1 : 0, sections = total ? (uint32_t)take(c, 4) : 0;
    total = total ? (uint32_t)take(c, 4) : 0;
    if (sections == 0 || sections > GM__MOST_SECTIONS || sections > c->left / SECTION_BYTES ||
        total > c->left / (BLOCK_BYTES + PLANE_BYTES))
        return bad(s, err, "the counts in its directory make no sense");
    d->section = gm_alloc(sections, sizeof *d->section);
    d->block = gm_alloc((size_t)total + 1, sizeof *d->block);
    if (!d->section || !d->block) return gm_fail(err, GM_ERR_MEMORY, "%.150s: no memory for its directory", s->what);
    uint64_t at = GM__HEADER_BYTES, image = 0, dropped = 0, lossy = 0;
    for (uint32_t i = 0; i < sections; i++) {
        gm__section *section = &d->section[i];
        size_t text = c->left;
        if (!read_section(c, d, total - blocks, d->block + blocks, section) || !in_order(d, i))
            return bad(s, err, "a section of its directory makes no sense");
        d->sections++;
        blocks += section->blocks;
        at += section->stored;
        if (section->kind == GM__SECTION_QUANT) d->quant = (int)i;
        if (section->kind == GM__SECTION_MOMENTS) d->moments = (int)i;
        if (gm__section_is_of_image(section->kind)) image += section->decoded;
        if (section->kind != GM__SECTION_HEAD && section->kind != GM__SECTION_NOTE)
            info->stored[section->role] += section->stored + (text - c->left);
        if (!gm__section_is_tensor(section->kind)) continue;
        if (section->kind == GM__SECTION_DROPPED) dropped += section->decoded;
        else if (section->kind != GM__SECTION_TENSOR) lossy += section->decoded;
        info->dropped += section->kind == GM__SECTION_DROPPED;
        info->quantized += section->kind == GM__SECTION_QUANT_TENSOR;
        info->tensors++;
        info->raw[section->role] += section->decoded;
        if ((section->kind == GM__SECTION_QUANT_TENSOR && !d->quant) ||
            (section->kind == GM__SECTION_MOMENT_TENSOR && !d->moments))
            return bad(s, err, "a lossy tensor has no blob");
    }
    // A small file may not ask for a large image: what is dropped or lossy takes no bytes of its own.
    uint64_t blobs = (d->quant ? d->section[d->quant].decoded : 0) + (d->moments ? d->section[d->moments].decoded : 0);
    if (dropped > most_dropped * (image - dropped) || lossy > most_lossy * blobs)
        return bad(s, err, "it asks for more memory than its size explains");
    if (blocks != total || c->left != 0 || image != info->image_bytes || at != d->blocks_end)
        return bad(s, err, "the sizes in its directory do not add up");
    return GM_OK;
}

// A section's blocks into `to`.
static gm_status decode_section(const gm__source *s, const gm__section *section, uint64_t at, gm__lossless *coder,
                                const uint8_t *parent, uint8_t *to, uint8_t *buffer, gm_error *err) {
    const uint8_t *start = to;
    for (uint32_t i = 0; i < section->blocks; i++) {
        const gm__block *b = &section->block[i];
        size_t stored = 0;
        for (uint32_t p = 0; p < section->width; p++) stored += b->plane[p].stored;
        gm_status status = s->read(s, at, buffer, stored, err);
        if (status != GM_OK) return status;
        if (XXH3_64bits(buffer, stored) != b->hash) return bad(s, err, "a block fails its checksum");
        if (gm__transform_needs_parent(b->transform) && !parent)
            return bad(s, err, "a tensor is a difference to one that the parent does not have");
        gm_error cause = {0};
        status = gm__block_decode(coder, b, buffer, parent, section->width, to, &cause);
        if (status == GM_ERR_FORMAT) return bad(s, err, cause.text);
        if (status != GM_OK) return gm_fail(err, status, "%s", cause.text);
        size_t bytes = (size_t)b->elements * section->width;
        if (parent) parent += bytes;
        to += bytes;
        at += stored;
    }
    gm__hash128 hash = gm__hash128_of(start, (size_t)section->decoded);
    if (hash.low != section->hash.low || hash.high != section->hash.high)
        return bad(s, err, "a tensor is not what was saved");
    return GM_OK;
}

static size_t largest_block(const gm__directory *d) {
    size_t most = 1;
    for (int i = 0; i < d->sections; i++)
        for (uint32_t b = 0; b < d->section[i].blocks; b++) {
            size_t stored = 0;
            for (uint32_t p = 0; p < d->section[i].width; p++) stored += d->section[i].block[b].plane[p].stored;
            if (stored > most) most = stored;
        }
    return most;
}

static gm_status read_note(const gm__source *s, gm__directory *d, gm_error *err) {
    if (d->sections < 2 || d->section[1].kind != GM__SECTION_NOTE) return GM_OK;
    uint8_t buffer[GM_CHECKPOINT_NOTE];
    gm__lossless *coder = NULL;
    gm_status status = d->section[1].stored <= sizeof buffer ? gm__lossless_create(1, &coder, err)
                                                             : bad(s, err, "its note is too long");
    if (status == GM_OK)
        status = decode_section(s, &d->section[1], GM__HEADER_BYTES + d->section[0].stored, coder, NULL,
                                (uint8_t *)d->info.note, buffer, err);
    gm__lossless_destroy(coder);
    return status;
}

gm_status gm__directory_read(const gm__source *s, gm__directory *out, gm_error *err) {
    *out = (gm__directory){0};
    uint8_t bytes[GM__TRAILER_BYTES];
    uint8_t *text = NULL;
    gm_status status = read_header(s, out, err);
    if (status != GM_OK) return status;
    if (s->bytes < GM__HEADER_BYTES + GM__TRAILER_BYTES || s->bytes > gm__most_bytes)
        return bad(s, err, "its length makes no sense");
    uint64_t end = s->bytes - GM__TRAILER_BYTES;
    if ((status = s->read(s, end, bytes, sizeof bytes, err)) != GM_OK) return status;
    cursor c = {bytes, sizeof bytes};
    uint64_t at = take(&c, 8), size = take(&c, 8);
    out->info.identity = take(&c, 8);
    out->info.bytes = s->bytes;
    if (memcmp(bytes + 24, gm__file_end, 8) != 0) return bad(s, err, "its end is missing: it was cut");
    if (at < GM__HEADER_BYTES || at > end || size != end - at || size > most_directory)
        return bad(s, err, "the place of its directory makes no sense");
    out->blocks_end = at;
    text = gm_alloc((size_t)size + 1, 1);
    if (!text) return gm_fail(err, GM_ERR_MEMORY, "%.150s: no memory for its directory", s->what);
    status = s->read(s, at, text, (size_t)size, err);
    if (status == GM_OK && XXH3_64bits(text, (size_t)size) != out->info.identity)
        status = bad(s, err, "its directory fails its checksum");
    c = (cursor){text, (size_t)size};
    if (status == GM_OK) status = read_sections(s, &c, out, err);
    if (status == GM_OK) status = read_note(s, out, err);
    gm_free(text);
    if (status != GM_OK) gm__directory_fini(out);
    return status;
}

void gm__directory_fini(gm__directory *d) {
    gm_free(d->section);
    gm_free(d->block);
    *d = (gm__directory){0};
}

// ---------------------------------------------------------------------------------------------
// The image.
typedef struct decoding {
    const gm__source *source;
    const gm__directory *directory;
    gm__lossless *coder;
    gm_tensor_file *image, *parent; // image: of the head; its data do not count
    uint8_t *bytes, *buffer;
    uint8_t *blob[2];     // quantized weights, moments
    size_t blob_bytes[2];
} decoding;

// Section 0 is the head, so number 0 in the directory means that there is no blob.
static gm_status decode_blob(decoding *x, const gm__section *section, uint64_t at, int which, gm_error *err) {
    if (section->blocks == 0) return GM_OK;
    x->blob[which] = gm_alloc((size_t)section->decoded, 1);
    if (!x->blob[which]) return gm_fail(err, GM_ERR_MEMORY, "%.150s: no memory for a blob", x->source->what);
    x->blob_bytes[which] = (size_t)section->decoded;
    return decode_section(x->source, section, at, x->coder, NULL, x->blob[which], x->buffer, err);
}

static gm_status decode_tensors(decoding *x, gm_error *err) {
    const gm__directory *d = x->directory;
    uint64_t at = GM__HEADER_BYTES;
    size_t place = 0;
    int tensor = 0;
    for (int i = 0; i < d->sections; i++) {
        const gm__section *section = &d->section[i];
        if (gm__section_is_tensor(section->kind)) {
            const gm_tensor_info *t = gm_tensor_at(x->image, tensor++);
            if (!t || t->bytes != section->decoded || gm_dtype_size(t->type) != section->width)
                return bad(x->source, err, "its tensors are not those of its header");
            const gm_tensor_info *before = gm__parent_tensor(x->parent, t);
            gm_status status = GM_OK;
            if (section->kind == GM__SECTION_TENSOR)
                status = decode_section(x->source, section, at, x->coder, before ? before->data : NULL, x->bytes + place,
                                        x->buffer, err);
            if (status != GM_OK) return status;
        }
        if (i > 0 && (i == d->quant || i == d->moments)) {
            gm_status status = decode_blob(x, section, at, i == d->quant ? 0 : 1, err);
            if (status != GM_OK) return status;
        }
        at += section->stored;
        if (gm__section_is_of_image(section->kind)) place += (size_t)section->decoded;
    }
    if (tensor != gm_tensor_count(x->image)) return bad(x->source, err, "its tensors are not those of its header");
    return GM_OK;
}

gm_status gm__container_decode(const gm__source *s, const gm__directory *d, const uint8_t *parent, size_t parent_bytes,
                               const gm__quant_state *parent_state, uint8_t **image, size_t *bytes,
                               gm__quant_state **state, gm_error *err) {
    *image = NULL;
    *state = NULL;
    *bytes = 0;
    decoding x = {.source = s, .directory = d};
    size_t size = (size_t)d->info.image_bytes;
    gm_status status = gm__lossless_create(1, &x.coder, err);
    x.bytes = gm_alloc(size + 1, 1);
    x.buffer = gm_alloc(largest_block(d), 1);
    if (status == GM_OK && (!x.bytes || !x.buffer))
        status = gm_fail(err, GM_ERR_MEMORY, "%.150s: no memory for the %zu bytes that it holds", s->what, size);
    if (status == GM_OK)
        status = decode_section(s, &d->section[0], GM__HEADER_BYTES, x.coder, NULL, x.bytes, x.buffer, err);
    if (status == GM_OK) status = gm_tensor_file_parse(x.bytes, size, s->what, &x.image, err);
    if (status == GM_OK && parent) status = gm_tensor_file_parse(parent, parent_bytes, s->what, &x.parent, err);
    if (status == GM_OK) status = decode_tensors(&x, err);
    if (status == GM_OK && (d->quant || d->moments))
        status = gm__lossy_decode(s, d, x.image, x.bytes, parent_state, x.blob[0], x.blob_bytes[0], x.blob[1],
                                  x.blob_bytes[1], state, err);
    if (status == GM_OK) {
        *image = x.bytes;
        *bytes = size;
        x.bytes = NULL;
    }
    gm_free(x.bytes);
    gm_free(x.buffer);
    gm_free(x.blob[0]);
    gm_free(x.blob[1]);
    gm__lossless_destroy(x.coder);
    gm_tensor_file_destroy(x.image);
    gm_tensor_file_destroy(x.parent);
    return status;
}
