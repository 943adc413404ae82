// SPDX-License-Identifier: Apache-2.0
// The blob: head, sizes of chunks, range-coded part, ids, checksum. docs/format-checkpoint-quant.md describes every byte.
#include "checkpoint/quant_blob.h"

#include <math.h>

enum { HEAD = 64, CHECK = 8, VERSION = 3, FLAG_DIFFERENCE = 1 };
static const uint8_t magic[4] = {'G', 'M', 'Q', 'T'};

static void put16(uint8_t *to, uint32_t v) {
    to[0] = (uint8_t)v;
    to[1] = (uint8_t)(v >> 8);
}
static void put32(uint8_t *to, uint32_t v) {
    put16(to, v);
    put16(to + 2, v >> 16);
}
static void put64(uint8_t *to, uint64_t v) {
    put32(to, (uint32_t)v);
    put32(to + 4, (uint32_t)(v >> 32));
}
static uint32_t get32(const uint8_t *b) {
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static uint64_t get64(const uint8_t *b) { return get32(b) | (uint64_t)get32(b + 4) << 32; }

typedef struct head {
    gm__quant_info info;
    uint32_t side, chunks; // bytes of the range-coded part; pieces of ids
} head;

static void head_put(const head *h, uint8_t *to) {
    const gm__quant_config *c = &h->info.config;
    memcpy(to, magic, sizeof magic);
    to[4] = VERSION;
    to[5] = (uint8_t)h->info.coder;
    to[6] = h->info.difference ? FLAG_DIFFERENCE : 0;
    to[7] = c->by_sensitivity;
    put32(to + 8, (uint32_t)h->info.tensors);
    put16(to + 12, (uint32_t)c->bins);
    put16(to + 14, (uint32_t)c->embedding_bins);
    put64(to + 16, h->info.weights);
    put64(to + 24, h->info.shapes);
    put64(to + 32, h->info.parent);
    put64(to + 40, h->info.hash);
    put32(to + 48, gm__bits(c->prune));
    put32(to + 52, gm__bits(c->protect));
    put32(to + 56, h->side);
    put32(to + 60, h->chunks);
}

static gm_status head_get(const uint8_t *blob, size_t bytes, const char *what, head *h, gm_error *err) {
    if (bytes < HEAD + CHECK || memcmp(blob, magic, sizeof magic) != 0)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: not quantized weights (%zu bytes)", what, bytes);
    if (blob[4] != VERSION)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "%.120s: quantized weights of version %d; this program reads version %d", what,
                       blob[4], VERSION);
    if (gm_hash64(blob, bytes - CHECK, 0) != get64(blob + bytes - CHECK))
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: quantized weights are damaged (checksum)", what);
    uint32_t tensors = get32(blob + 8);
    *h = (head){.info = {.version = VERSION, .tensors = (int)(tensors & 0xffffffu),
                         .difference = blob[6] == FLAG_DIFFERENCE, .coder = (gm__quant_coder)blob[5],
                         .config = {.bins = (int)(get32(blob + 12) & 0xffffu), .embedding_bins = (int)(get32(blob + 12) >> 16),
                                    .prune = gm__float(get32(blob + 48)), .protect = gm__float(get32(blob + 52)),
                                    .by_sensitivity = blob[7] == 1},
                         .weights = get64(blob + 16), .shapes = get64(blob + 24), .parent = get64(blob + 32),
                         .hash = get64(blob + 40)},
                .side = get32(blob + 56), .chunks = get32(blob + 60)};
    if (blob[5] > GM__QUANT_HUFFMAN || blob[6] > FLAG_DIFFERENCE || blob[7] > 1 || tensors > GM__QUANT_TENSORS ||
        !gm__quant_config_valid(&h->info.config))
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: quantized weights: the head has a value out of range (coder %d, %d tensors, "
                       "%d bins)", what, blob[5], h->info.tensors, h->info.config.bins);
    return GM_OK;
}

gm_status gm__quant_inspect(const uint8_t *blob, size_t bytes, const char *what, gm__quant_info *out, gm_error *err) {
    head h;
    gm_status status = head_get(blob, bytes, what, &h, err);
    if (status == GM_OK) *out = h.info;
    return status;
}

// ---------------------------------------------------------------------------------------------
// Writing
typedef struct parts {
    gm__range_writer side;
    uint8_t *ids;
    uint32_t *size; // of each chunk
    int chunks;
    size_t ids_bytes;
} parts;

static gm_status code_parts(const gm__quant_state *s, const gm__quant_settings *settings, const gm__quant_state *previous,
                            const gm__counts *counts, parts *p, gm__quant_report *report, gm_error *err) {
    gm__tables t = {0};
    gm_status status = GM_OK;
    gm__range_begin(&p->side);
    gm__codebooks_put(&p->side, s, previous);
    report->bytes_codebooks = p->side.bytes;
    if (settings->coder == GM__QUANT_RANS) {
        status = gm__tables_init(&t, s, previous != NULL, err);
        if (status == GM_OK) status = gm__tables_choose(&t, counts, err);
        if (status == GM_OK) gm__tables_put(&p->side, &t);
        report->bytes_tables = p->side.bytes - report->bytes_codebooks;
        if (status == GM_OK) status = gm__ids_encode(s, previous, &t, settings->parallel, &p->ids, &p->size, err);
        p->chunks = gm__ids_chunks(s);
        for (int i = 0; i < p->chunks && status == GM_OK; i++) p->ids_bytes += p->size[i];
    } else {
        status = gm__paper_encode(s, previous, settings->coder, &p->ids, &p->ids_bytes, err);
        p->chunks = 1;
        if (status == GM_OK && p->ids_bytes > UINT32_MAX)
            status = gm_fail(err, GM_ERR_UNSUPPORTED, "more than 4 GiB of ids: use the coder rans");
        if (status == GM_OK && !(p->size = gm_alloc(1, sizeof *p->size)))
            status = gm_fail(err, GM_ERR_MEMORY, "no memory to code weights");
        if (status == GM_OK) p->size[0] = (uint32_t)p->ids_bytes;
    }
    gm__tables_fini(&t);
    if (status != GM_OK) return status;
    size_t before = p->side.bytes;
    gm__kept_put(&p->side, s, previous);
    bool whole = gm__range_end(&p->side);
    report->bytes_protected = p->side.bytes > before ? p->side.bytes - before : 0;
    report->bytes_ids = p->ids_bytes;
    return whole ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to code weights");
}

static gm_status assemble(const gm__quant_state *s, const gm__quant_settings *settings, const gm__quant_state *previous,
                          const parts *p, uint8_t **blob, size_t *bytes, gm_error *err) {
    size_t total = HEAD + 4 * (size_t)p->chunks + p->side.bytes + p->ids_bytes + CHECK;
    uint8_t *to = gm_alloc(total, 1);
    if (!to) return gm_fail(err, GM_ERR_MEMORY, "no memory for a blob of %zu bytes", total);
    head h = {.info = {.tensors = s->tensors, .difference = previous != NULL, .coder = settings->coder, .config = s->config,
                       .weights = s->weights, .shapes = s->shapes, .parent = previous ? previous->hash : 0,
                       .hash = s->hash},
              .side = (uint32_t)p->side.bytes, .chunks = (uint32_t)p->chunks};
    uint8_t *at = to + HEAD;
    head_put(&h, to);
    for (int i = 0; i < p->chunks; i++, at += 4) put32(at, p->size[i]);
    memcpy(at, p->side.data, p->side.bytes);
    if (p->ids_bytes) memcpy(at + p->side.bytes, p->ids, p->ids_bytes);
    put64(to + total - CHECK, gm_hash64(to, total - CHECK, 0));
    *blob = to;
    *bytes = total;
    return GM_OK;
}

static void count_report(const gm__quant_state *s, const gm__quant_state *previous, const gm__counts *counts,
                         gm__quant_report *r) {
    r->weights = s->weights;
    for (int i = 0; i < s->tensors; i++)
        for (int a = 0; a < GM__QUANT_LEVELS; a++) r->pruned += counts[i].n[a][GM__QUANT_PRUNED];
    r->protected_ = s->kept_count;
    r->centres = r->weights - r->protected_ - r->pruned;
    for (int i = 0; i < s->tensors && previous; i++)
        for (int a = 0; a < GM__QUANT_LEVELS; a++)
            for (int b = 0; b < GM__QUANT_LEVELS; b++) r->migrated += a != b ? counts[i].n[a][b] : 0;
}

gm_status gm__quant_encode(const gm__quant_tensor *tensor, int tensors, const gm__quant_settings *s,
                           const gm__quant_state *previous, uint8_t **blob, size_t *bytes, gm__quant_state **next,
                           gm__quant_report *report, gm_error *err) {
    gm__scores scores = {0};
    gm__quant_state *state = NULL;
    gm__counts *counts = NULL;
    gm__quant_report r = {0};
    parts p = {0};
    if (!gm__quant_config_valid(&s->config) || !(s->stick >= 0 && s->stick <= 0.5f) || !(s->density >= 0 && s->density <= 1) ||
        !(s->sigma >= 0 && s->sigma <= 1) ||
        (unsigned)s->coder > GM__QUANT_HUFFMAN || (unsigned)s->codebook > GM__QUANT_KMEANS)
        return gm_fail(err, GM_ERR_RANGE, "quantizer: a setting is out of range (bins %d, prune %g, protect %g, stick %g, sigma "
                       "%g)", s->config.bins, (double)s->config.prune, (double)s->config.protect, (double)s->stick,
                       (double)s->sigma);
    gm_status status = gm__scores_init(&scores, tensor, tensors, s->parallel, err);
    if (status == GM_OK) status = gm__quant_assign(tensor, tensors, &scores, s, previous, &state, err);
    gm__scores_fini(&scores);
    if (status == GM_OK) status = gm__quant_count(state, previous, s->parallel, &counts, err);
    if (status == GM_OK) status = code_parts(state, s, previous, counts, &p, &r, err);
    if (status == GM_OK) status = assemble(state, s, previous, &p, blob, bytes, err);
    if (status == GM_OK) {
        state->error = gm__quant_error(tensor, state);
        state->hint = s->hint;
    }
    if (status == GM_OK && report) {
        r.bytes = *bytes;
        r.error = state->error;
        count_report(state, previous, counts, &r);
        *report = r;
    }
    gm_free(p.side.data);
    gm_free(p.ids);
    gm_free(p.size);
    gm_free(counts);
    if (status != GM_OK) gm__quant_state_destroy(state);
    else *next = state;
    return status;
}

// ---------------------------------------------------------------------------------------------
// Reading
GM__WIDE static bool ids_valid(const gm__quant_state *s) {
    for (int i = 0; i < s->tensors; i++) {
        const gm__part *p = &s->part[i];
        const uint8_t *ids = s->ids + p->first;
        uint8_t bins = (uint8_t)p->bins, wrong = 0; // bytes and no branch: whole registers at a time
        for (size_t j = 0; j < p->count; j++) {
            uint8_t between = (uint8_t)((ids[j] >= bins) & (ids[j] < GM__QUANT_PRUNED)), beyond = ids[j] >= GM__QUANT_LEVELS;
            wrong = (uint8_t)(wrong | between | beyond);
        }
        if (wrong) return false;
    }
    return true;
}

static gm_status check_head(const head *h, size_t bytes, const char *what, const gm__quant_state *s,
                            const gm__quant_state *previous, gm_error *err) {
    if (h->info.tensors != s->tensors || h->info.weights != s->weights || h->info.shapes != s->shapes)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: quantized weights of %d tensors (%llu weights), expected %d (%zu) or other "
                       "names", what, h->info.tensors, (unsigned long long)h->info.weights, s->tensors, s->weights);
    if (h->info.difference && !previous)
        return gm_fail(err, GM_ERR_STATE, "%.120s: needs the checkpoint before it", what);
    if (h->info.difference && (previous->hash != h->info.parent || previous->shapes != s->shapes))
        return gm_fail(err, GM_ERR_STATE, "%.120s: belongs to another previous checkpoint", what);
    uint32_t chunks = h->info.coder == GM__QUANT_RANS ? (uint32_t)gm__ids_chunks(s) : 1;
    if (h->chunks != chunks || bytes - HEAD - CHECK < 4 * (size_t)chunks ||
        bytes - HEAD - CHECK - 4 * (size_t)chunks < h->side)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: quantized weights: %u pieces (expected %u) or %u bytes of tables do not fit",
                       what, h->chunks, chunks, h->side);
    return GM_OK;
}

static gm_status decode_parts(const uint8_t *blob, size_t bytes, const head *h, const char *what, gm__quant_state *s,
                              const gm__quant_state *previous, bool parallel, gm_error *err) {
    const uint8_t *sizes = blob + HEAD, *side = sizes + 4 * (size_t)h->chunks, *ids = side + h->side;
    size_t left = bytes - CHECK - (size_t)(ids - blob), sum = 0;
    gm__range_reader r;
    gm__tables t = {0};
    gm_status status = GM_OK;
    bool whole = true;
    uint32_t *size = gm_alloc(h->chunks, sizeof *size);
    if (!size) return gm_fail(err, GM_ERR_MEMORY, "no memory to read %.120s", what);
    for (uint32_t i = 0; i < h->chunks; i++) {
        size[i] = get32(sizes + 4 * (size_t)i);
        sum += size[i];
    }
    whole = sum == left;
    gm__range_open(&r, side, h->side);
    whole = whole && gm__codebooks_get(&r, s, previous);
    if (whole && h->info.coder == GM__QUANT_RANS) {
        status = gm__tables_init(&t, s, previous != NULL, err);
        whole = status == GM_OK && gm__tables_get(&r, &t);
        if (whole) status = gm__ids_decode(s, previous, &t, ids, size, parallel, &whole, err);
    } else if (whole) {
        status = gm__paper_decode(s, previous, h->info.coder, ids, left, &whole, err);
    }
    whole = whole && status == GM_OK && ids_valid(s);
    if (whole) status = gm__quant_state_index(s, err);
    whole = whole && status == GM_OK && gm__kept_get(&r, s, previous) && !gm__range_broken(&r) && r.at == r.end;
    if (whole) gm__quant_state_seal(s);
    if (status == GM_OK && (!whole || s->hash != h->info.hash))
        status = gm_fail(err, GM_ERR_FORMAT, "%.120s: quantized weights are damaged (%s)", what,
                         whole ? "hash of the decoded ids" : "impossible codes");
    gm__tables_fini(&t);
    gm_free(size);
    return status;
}

gm_status gm__quant_decode(const uint8_t *blob, size_t bytes, const char *what, const gm__quant_shape *shape, int tensors,
                           const gm__quant_state *previous, bool parallel, gm__quant_state **next, gm_error *err) {
    head h;
    gm__quant_state *s = NULL;
    gm_status status = head_get(blob, bytes, what, &h, err);
    if (status == GM_OK) status = gm__quant_state_create(shape, sizeof *shape, tensors, &h.info.config, &s, err);
    if (status != GM_OK) return status;
    status = check_head(&h, bytes, what, s, previous, err);
    if (status == GM_OK)
        status = decode_parts(blob, bytes, &h, what, s, h.info.difference ? previous : NULL, parallel, err);
    if (status != GM_OK) gm__quant_state_destroy(s);
    else *next = s;
    return status;
}
