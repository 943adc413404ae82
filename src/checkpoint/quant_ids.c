// SPDX-License-Identifier: Apache-2.0
// Ids by rANS with the previous id as context. Chunks of a fixed number of weights cross tensors, so that small tensors do not
// pay for the final states, and large models are coded by several threads; the number of threads changes no byte.
#include "checkpoint/quant_blob.h"

// The rows in use, prepared for coding; index of a row: context * GM__TABLE_ROWS + row.
typedef struct prepared {
    gm__rans_encoder (*encoder)[GM__QUANT_LEVELS];
    uint32_t *decoder;                             // GM__RANS_TOTAL a row
    int slot[GM__QUANT_LEVELS * GM__TABLE_ROWS];   // of decoder
} prepared;

typedef struct work {
    const gm__quant_state *s, *previous;
    const gm__tables *t;
    const prepared *rows;
    uint8_t **out;      // encoding: what each chunk became, NULL when there was no memory
    uint32_t *size;     // used of it, or to be read
    const uint8_t *in;  // decoding
    size_t *offset;     // of each chunk in it
    gm__rans_run **run; // room for the runs of a chunk
    const void *(*pointer)[GM__QUANT_LEVELS]; // [tensors]: rows by context
    bool *whole;        // a chunk
} work;

int gm__ids_chunks(const gm__quant_state *s) { return (int)((s->weights + GM__RANS_CHUNK - 1) / GM__RANS_CHUNK); }

static void prepared_fini(prepared *p) {
    gm_free(p->encoder);
    gm_free(p->decoder);
}

// An id after a context that has no row can only be corrupt; it meets a row that says 0, and the hash tells.
static gm_status prepared_init(prepared *p, const gm__tables *t, bool decode, gm_error *err) {
    int used = 1;
    *p = (prepared){0};
    for (int c = 0; c < t->contexts; c++) used += t->rows[c];
    if (decode) p->decoder = gm_alloc((size_t)used * GM__RANS_TOTAL, sizeof *p->decoder);
    else p->encoder = gm_alloc((size_t)used, sizeof *p->encoder);
    if (!p->decoder && !p->encoder) return gm_fail(err, GM_ERR_MEMORY, "no memory for %d tables", used);
    uint16_t none[GM__QUANT_LEVELS] = {GM__RANS_TOTAL};
    for (int c = -1, slot = 0; c < t->contexts; c++) {
        for (int r = 0; r < (c < 0 ? 1 : t->rows[c]); r++, slot++) {
            const uint16_t *f = c < 0 ? none : t->f[c * GM__TABLE_ROWS + r];
            if (c >= 0) p->slot[c * GM__TABLE_ROWS + r] = slot;
            if (decode) gm__rans_decoder_row(f, GM__QUANT_LEVELS, p->decoder + (size_t)slot * GM__RANS_TOTAL);
            else gm__rans_encoder_row(f, GM__QUANT_LEVELS, p->encoder[slot]);
        }
    }
    return GM_OK;
}

static void point(const work *w, int tensor) {
    const gm__tables *t = w->t;
    for (int c = 0; c < GM__QUANT_LEVELS; c++) {
        int use = c < t->contexts ? t->use[(size_t)tensor * (size_t)t->contexts + (size_t)c] : 0;
        int slot = use ? w->rows->slot[c * GM__TABLE_ROWS + use - 1] : 0;
        w->pointer[tensor][c] = w->rows->decoder ? (const void *)(w->rows->decoder + (size_t)slot * GM__RANS_TOTAL)
                                                 : (const void *)w->rows->encoder[slot];
    }
}

// The runs of weights first..last-1: a piece of each tensor.
static int runs_of(const work *w, size_t first, size_t last, gm__rans_run *run) {
    int n = 0, low = 0, high = w->s->tensors;
    while (high - low > 1) { // the last tensor that starts at or before first
        int mid = low + (high - low) / 2;
        if (w->s->part[mid].first <= first) low = mid;
        else high = mid;
    }
    for (int i = low; i < w->s->tensors && w->s->part[i].first < last; i++) {
        const gm__part *p = &w->s->part[i];
        size_t from = p->first > first ? p->first : first, to = p->first + p->count < last ? p->first + p->count : last;
        if (from >= to) continue;
        run[n] = (gm__rans_run){.count = to - from, .context = w->previous ? w->previous->ids + from : NULL,
                                .symbol = w->s->ids + from};
        if (w->rows->decoder) run[n].row.decoder = (const uint32_t *const *)(const void *)w->pointer[i];
        else run[n].row.encoder = (const gm__rans_encoder *const *)(const void *)w->pointer[i];
        n++;
    }
    return n;
}

static size_t chunk_end(const work *w, int chunk) {
    size_t end = ((size_t)chunk + 1) * GM__RANS_CHUNK;
    return end < w->s->weights ? end : w->s->weights;
}

static void encode_task(void *context, int begin, int end, int worker) {
    (void)worker;
    work *w = context;
    size_t room = gm__rans_bound(w->s->weights < GM__RANS_CHUNK ? w->s->weights : GM__RANS_CHUNK);
    uint8_t *to = gm_alloc(room, 1);
    for (int i = begin; i < end && to; i++) {
        int runs = runs_of(w, (size_t)i * GM__RANS_CHUNK, chunk_end(w, i), w->run[i]);
        size_t used = gm__rans_encode(w->run[i], runs, to, room);
        if ((w->out[i] = gm_alloc(used, 1))) memcpy(w->out[i], to + room - used, used);
        w->size[i] = (uint32_t)used;
    }
    gm_free(to);
}

static void decode_task(void *context, int begin, int end, int worker) {
    (void)worker;
    work *w = context;
    for (int i = begin; i < end; i++) {
        int runs = runs_of(w, (size_t)i * GM__RANS_CHUNK, chunk_end(w, i), w->run[i]);
        w->whole[i] = gm__rans_decode(w->run[i], runs, w->in + w->offset[i], w->size[i]);
    }
}

static void work_fini(work *w, int chunks) {
    for (int i = 0; i < chunks; i++) {
        if (w->out) gm_free(w->out[i]);
        if (w->run) gm_free(w->run[i]);
    }
    gm_free(w->out);
    gm_free(w->run);
    gm_free(w->offset);
    gm_free(w->whole);
    gm_free((void *)w->pointer);
}

// Every chunk has room for its own runs; on the whole there are as many as tensors and chunks.
static gm_status work_init(work *w, int chunks, gm_error *err) {
    size_t n = (size_t)chunks;
    w->out = gm_alloc(n, sizeof *w->out);
    w->run = gm_alloc(n, sizeof *w->run);
    w->offset = gm_alloc(n, sizeof *w->offset);
    w->whole = gm_alloc(n, sizeof *w->whole);
    w->pointer = gm_alloc((size_t)w->s->tensors, sizeof *w->pointer);
    bool ok = w->out && w->run && w->offset && w->whole && w->pointer;
    for (int i = 0, t = 0; i < chunks && ok; i++) {
        int runs = 1;
        size_t last = chunk_end(w, i);
        while (t < w->s->tensors && w->s->part[t].first < last) {
            t++;
            runs++;
        }
        ok = (w->run[i] = gm_alloc((size_t)runs + 1, sizeof(gm__rans_run))) != NULL;
    }
    if (!ok) return gm_fail(err, GM_ERR_MEMORY, "no memory to code %zu ids", w->s->weights);
    for (int i = 0; i < w->s->tensors; i++) point(w, i);
    return GM_OK;
}

gm_status gm__ids_encode(const gm__quant_state *s, const gm__quant_state *previous, const gm__tables *t, bool parallel,
                         uint8_t **data, uint32_t **size, gm_error *err) {
    int chunks = gm__ids_chunks(s);
    prepared rows;
    work w = {.s = s, .previous = previous, .t = t, .rows = &rows};
    size_t total = 0;
    uint8_t *all = NULL;
    gm_status status = prepared_init(&rows, t, false, err);
    if (status == GM_OK) status = work_init(&w, chunks, err);
    if (status == GM_OK && !(w.size = gm_alloc((size_t)chunks, sizeof *w.size)))
        status = gm_fail(err, GM_ERR_MEMORY, "no memory to code ids");
    if (status != GM_OK) goto done;
    gm__quant_run(parallel, chunks, encode_task, &w);
    for (int i = 0; i < chunks && status == GM_OK; i++)
        if (!w.out[i]) status = gm_fail(err, GM_ERR_MEMORY, "no memory to code ids");
    if (status != GM_OK) goto done;
    for (int i = 0; i < chunks; i++) total += w.size[i];
    if (!(all = gm_alloc(total, 1))) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory for %zu bytes of ids", total);
        goto done;
    }
    for (int i = 0; i < chunks; i++) {
        memcpy(all + w.offset[i], w.out[i], w.size[i]);
        if (i + 1 < chunks) w.offset[i + 1] = w.offset[i] + w.size[i];
    }
    *data = all;
    *size = w.size;
    w.size = NULL;
done:
    gm_free(w.size);
    work_fini(&w, chunks);
    prepared_fini(&rows);
    return status;
}

gm_status gm__ids_decode(gm__quant_state *s, const gm__quant_state *previous, const gm__tables *t, const uint8_t *data,
                         const uint32_t *size, bool parallel, bool *whole, gm_error *err) {
    int chunks = gm__ids_chunks(s);
    prepared rows;
    uint32_t *sizes = gm_alloc((size_t)chunks, sizeof *sizes);
    work w = {.s = s, .previous = previous, .t = t, .rows = &rows, .in = data, .size = sizes};
    gm_status status = prepared_init(&rows, t, true, err);
    if (status == GM_OK && !sizes) status = gm_fail(err, GM_ERR_MEMORY, "no memory to read ids");
    if (status == GM_OK) status = work_init(&w, chunks, err);
    if (status != GM_OK) goto done;
    for (int i = 0; i < chunks; i++) {
        sizes[i] = size[i];
        if (i + 1 < chunks) w.offset[i + 1] = w.offset[i] + size[i];
    }
    gm__quant_run(parallel, chunks, decode_task, &w);
    *whole = true;
    for (int i = 0; i < chunks; i++) *whole = *whole && w.whole[i];
done:
    gm_free(sizes);
    work_fini(&w, chunks);
    prepared_fini(&rows);
    return status;
}
