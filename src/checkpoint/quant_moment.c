// SPDX-License-Identifier: Apache-2.0
// The optimizer's state. Of a moment only a few digits matter: an update moves by its relative error, and averages forget within
// tens of steps (momentum) or a thousand (second moments). So values are rounded to a few bits of mantissa, whatever their size;
// the exponents, all alike, are entropy coded, mantissa and sign as they are. A logarithmic grid: nothing to fit, no outliers.
#include "checkpoint/quant_blob.h"

#include <math.h>

enum { HEAD = 24, CHECK = 8, VERSION = 1, PIECE = 1 << 18 };
static const uint8_t magic[4] = {'G', 'M', 'Q', 'M'};

gm__moment_settings gm__moment_settings_default(void) {
    return (gm__moment_settings){.mantissa = 2, .octaves = 16, .parallel = true};
}

// Symbol of a value: 0 for zero, else 1 + (octaves below the largest); extra: sign and mantissa bits.
typedef struct grid {
    int mantissa, octaves;
    uint32_t top;   // exponent field of the largest value after rounding
    bool positive;  // no value is negative: no sign is kept
    bool clamp;     // writing: what is too small becomes the smallest, not 0
} grid;

static uint32_t round_bits(float v, int mantissa) { // magnitude, to nearest, ties away from zero
    uint32_t u = gm__bits(v) & 0x7fffffffu, half = 1u << (22 - mantissa);
    uint32_t r = (u + half) & ~(2 * half - 1);
    return r >= 0x7f800000u ? r - 2 * half : r; // the largest floats must not become infinite
}

static uint8_t symbol_of(const grid *g, float v, uint32_t *extra) {
    uint32_t r = round_bits(v, g->mantissa), exponent = r >> 23;
    *extra = (r >> (23 - g->mantissa) & ((1u << g->mantissa) - 1)) | (gm__bits(v) >> 31) << g->mantissa;
    if (exponent > 0 && g->top - exponent < (uint32_t)g->octaves) return (uint8_t)(1 + g->top - exponent);
    uint32_t lowest = (uint32_t)gm_min(g->octaves, (int)g->top);
    if (!g->clamp || v == 0 || lowest == 0) return 0;
    *extra &= 1u << g->mantissa; // its sign
    return (uint8_t)lowest;
}

static float value_of(const grid *g, uint8_t symbol, uint32_t extra) {
    if (symbol == 0) return 0;
    uint32_t exponent = g->top - (symbol - 1u), fraction = extra & ((1u << g->mantissa) - 1);
    return gm__float((extra >> g->mantissa) << 31 | exponent << 23 | fraction << (23 - g->mantissa));
}

static int extra_bits(const grid *g) { return g->mantissa + (g->positive ? 0 : 1); }

// The grid of a tensor; false when a value is not finite.
static bool survey(const float *v, size_t n, grid *g) {
    uint32_t largest = 0, signs = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = gm__bits(v[i]);
        largest = (u & 0x7fffffffu) > largest ? u & 0x7fffffffu : largest;
        signs |= u << 1 ? u : 0; // a negative zero is no negative value
    }
    if (largest >= 0x7f800000u) return false;
    g->top = round_bits(gm__float(largest), g->mantissa) >> 23;
    g->positive = signs >> 31 == 0;
    return true;
}

typedef struct tensor_job {
    grid g;
    const float *from;
    float *to;
    size_t count;
    uint16_t f[GM__RANS_SYMBOLS];
    size_t bytes;       // of its part
    uint8_t *out;       // gm_free
    const uint8_t *in;
    bool failed;
} tensor_job;

// A part: frequencies (range coded, with its length), then pieces: length of the rANS code (4), the code, the extra bits.
static size_t extra_bytes(const grid *g, size_t kept) { return ((size_t)extra_bits(g) * kept + 7) / 8; }

static void put32(uint8_t *to, uint32_t v) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(v >> (8 * i));
}
static uint32_t get32(const uint8_t *b) {
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static size_t pack_extras(const grid *g, const uint8_t *symbol, const uint8_t *extra, size_t n, uint8_t *to) {
    int bits = extra_bits(g), held = 0;
    uint32_t word = 0;
    uint8_t *start = to;
    for (size_t i = 0; i < n; i++) {
        if (!symbol[i]) continue;
        word |= (extra[i] & ((1u << bits) - 1)) << held;
        for (held += bits; held >= 8; held -= 8, word >>= 8) *to++ = (uint8_t)word;
    }
    if (held > 0) *to++ = (uint8_t)word;
    return (size_t)(to - start);
}

static void unpack(const grid *g, const uint8_t *symbol, size_t n, const uint8_t *from, float *out) {
    int bits = extra_bits(g), held = 0;
    uint32_t word = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t extra = 0;
        if (symbol[i]) {
            for (; held < bits; held += 8) word |= (uint32_t)*from++ << held;
            extra = word & ((1u << bits) - 1);
            word >>= bits;
            held -= bits;
        }
        out[i] = value_of(g, symbol[i], extra);
    }
}

static void encode_tensor(tensor_job *j) {
    uint32_t count[GM__RANS_SYMBOLS] = {0}, x;
    gm__rans_encoder encoder[GM__RANS_SYMBOLS];
    const gm__rans_encoder *row = encoder;
    size_t piece = j->count < PIECE ? j->count : PIECE, pieces = (j->count + PIECE - 1) / PIECE;
    uint8_t *symbol = gm_alloc(piece, 1), *extra = gm_alloc(piece, 1);
    j->out = gm_alloc(j->count * 3 + pieces * 64 + 64, 1);
    j->failed = !symbol || !extra || !j->out;
    if (j->failed) goto done;
    for (size_t i = 0; i < j->count; i++) count[symbol_of(&j->g, j->from[i], &x)]++;
    (void)gm__rans_normalise(count, j->g.octaves + 1, j->f);
    gm__rans_encoder_row(j->f, j->g.octaves + 1, encoder);
    for (size_t at = 0; at < j->count; at += piece) {
        size_t n = j->count - at < piece ? j->count - at : piece;
        for (size_t i = 0; i < n; i++) {
            symbol[i] = symbol_of(&j->g, j->from[at + i], &x);
            extra[i] = (uint8_t)x;
        }
        gm__rans_run run = {.count = n, .symbol = symbol, .row.encoder = &row};
        uint8_t *to = j->out + j->bytes + 4;
        size_t room = gm__rans_bound(n), used = gm__rans_encode(&run, 1, to, room);
        memmove(to, to + room - used, used);
        put32(to - 4, (uint32_t)used);
        j->bytes += 4 + used + pack_extras(&j->g, symbol, extra, n, to + used);
    }
done:
    gm_free(symbol);
    gm_free(extra);
}

static void encode_task(void *context, int begin, int end, int worker) {
    (void)worker;
    tensor_job *j = context;
    for (int i = begin; i < end; i++) encode_tensor(&j[i]);
}

static void put_grid(gm__range_writer *w, gm__bit *model, const tensor_job *j) {
    gm__range_put_direct(w, j->g.top, 8);
    gm__range_put_direct(w, j->g.positive, 1);
    for (int s = 0; s <= j->g.octaves; s++) gm__range_put_number(w, model, j->f[s]);
}

static bool get_grid(gm__range_reader *r, gm__bit *model, tensor_job *j) {
    uint32_t sum = 0;
    j->g.top = gm__range_get_direct(r, 8);
    j->g.positive = gm__range_get_direct(r, 1);
    for (int s = 0; s <= j->g.octaves; s++) {
        uint32_t f = gm__range_get_number(r, model);
        if (f > GM__RANS_TOTAL) return false;
        if (s > 0 && f > 0 && j->g.top < (uint32_t)s) return false; // below the smallest exponent
        j->f[s] = (uint16_t)f;
        sum += f;
    }
    return sum == GM__RANS_TOTAL && j->g.top < 255 && !gm__range_broken(r);
}

static gm_status join(const tensor_job *job, int tensors, uint64_t shapes, const gm__moment_settings *s, uint8_t **blob,
                      size_t *bytes, gm_error *err) {
    gm__range_writer side;
    gm__bit model[64];
    gm_status status = GM_OK;
    gm__range_begin(&side);
    gm__bit_init(model, 64);
    for (int i = 0; i < tensors; i++) put_grid(&side, model, &job[i]);
    bool whole = gm__range_end(&side);
    size_t total = HEAD + 8 * (size_t)tensors + side.bytes + CHECK;
    for (int i = 0; i < tensors; i++) total += job[i].bytes;
    uint8_t *to = whole ? gm_alloc(total, 1) : NULL, *at = to;
    if (!to) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory for %zu bytes of moments", total);
        goto done;
    }
    memcpy(at, magic, sizeof magic);
    at[4] = VERSION;
    at[5] = (uint8_t)s->mantissa;
    at[6] = (uint8_t)s->octaves;
    put32(at + 8, (uint32_t)tensors);
    put32(at + 12, (uint32_t)side.bytes);
    put32(at + 16, (uint32_t)shapes);
    put32(at + 20, (uint32_t)(shapes >> 32));
    at += HEAD;
    for (int i = 0; i < tensors; i++, at += 8) {
        put32(at, (uint32_t)job[i].bytes);
        put32(at + 4, (uint32_t)((uint64_t)job[i].bytes >> 32));
    }
    if (side.bytes) memcpy(at, side.data, side.bytes);
    at += side.bytes;
    for (int i = 0; i < tensors; at += job[i].bytes, i++)
        if (job[i].bytes) memcpy(at, job[i].out, job[i].bytes);
    uint64_t check = gm_hash64(to, total - CHECK, 0);
    put32(at, (uint32_t)check);
    put32(at + 4, (uint32_t)(check >> 32));
    *blob = to;
    *bytes = total;
done:
    gm_free(side.data);
    return status;
}

gm_status gm__moment_encode(const gm__quant_shape *shape, const float *const *value, int tensors,
                            const gm__moment_settings *s, uint8_t **blob, size_t *bytes, gm_error *err) {
    if (s->mantissa < 0 || s->mantissa > 7 || s->octaves < 1 || s->octaves > 28 || tensors < 0 || tensors > GM__QUANT_TENSORS)
        return gm_fail(err, GM_ERR_RANGE, "moments: %d bits of mantissa (0 to 7), %d octaves (1 to 28), %d tensors", s->mantissa,
                       s->octaves, tensors);
    tensor_job *job = gm_alloc((size_t)tensors, sizeof *job);
    if (!job) return gm_fail(err, GM_ERR_MEMORY, "no memory for moments");
    gm_status status = GM_OK;
    for (int i = 0; i < tensors && status == GM_OK; i++) {
        job[i] = (tensor_job){.g = {.mantissa = s->mantissa, .octaves = s->octaves}, .from = value[i],
                              .count = shape[i].count};
        bool finite = survey(value[i], shape[i].count, &job[i].g);
        job[i].g.clamp = s->clamp || job[i].g.positive; // without negative values: a second moment
        if (!finite)
            status = gm_fail(err, GM_ERR_NUMERIC, "'%.100s': a moment is not finite: save without loss", shape[i].name);
    }
    if (status == GM_OK) gm__quant_run(s->parallel, tensors, encode_task, job);
    for (int i = 0; i < tensors && status == GM_OK; i++)
        if (job[i].failed) status = gm_fail(err, GM_ERR_MEMORY, "no memory to code '%.100s'", shape[i].name);
    if (status == GM_OK)
        status = join(job, tensors, gm__quant_shapes(shape, sizeof *shape, tensors), s, blob, bytes, err);
    for (int i = 0; i < tensors; i++) gm_free(job[i].out);
    gm_free(job);
    return status;
}

// ---------------------------------------------------------------------------------------------
typedef struct decode_job {
    tensor_job *job;
    bool *whole; // one a tensor
} decode_job;

static bool decode_tensor(tensor_job *j, gm_status *status) {
    size_t piece = j->count < PIECE ? j->count : PIECE, at = 0, used = 0;
    uint8_t *symbol = gm_alloc(piece, 1);
    uint32_t *table = gm_alloc(GM__RANS_TOTAL, sizeof *table);
    const uint32_t *row = table;
    bool whole = symbol && table;
    if (!whole) *status = GM_ERR_MEMORY;
    else gm__rans_decoder_row(j->f, j->g.octaves + 1, table);
    while (whole && at < j->count) {
        size_t n = j->count - at < piece ? j->count - at : piece, kept = 0;
        size_t code = j->bytes - used >= 4 ? get32(j->in + used) : SIZE_MAX;
        gm__rans_run run = {.count = n, .symbol = symbol, .row.decoder = &row};
        whole = code <= j->bytes - used - 4 && gm__rans_decode(&run, 1, j->in + used + 4, code);
        if (!whole) break;
        for (size_t i = 0; i < n; i++) kept += symbol[i] > 0;
        used += 4 + code;
        whole = j->bytes - used >= extra_bytes(&j->g, kept);
        if (!whole) break;
        unpack(&j->g, symbol, n, j->in + used, j->to + at);
        used += extra_bytes(&j->g, kept);
        at += n;
    }
    gm_free(symbol);
    gm_free(table);
    return whole && used == j->bytes;
}

static void decode_task(void *context, int begin, int end, int worker) {
    (void)worker;
    decode_job *d = context;
    for (int i = begin; i < end; i++) {
        gm_status status = GM_OK;
        d->whole[i] = decode_tensor(&d->job[i], &status);
        d->job[i].failed = status != GM_OK;
    }
}

// Sizes and grids; false: they do not fit.
static bool open_parts(const uint8_t *blob, size_t bytes, tensor_job *job, int tensors) {
    const uint8_t *at = blob + HEAD + 8 * (size_t)tensors;
    uint64_t left = bytes - HEAD - CHECK - 8 * (uint64_t)tensors, side = get32(blob + 12);
    gm__range_reader r;
    gm__bit model[64];
    if (side > left) return false;
    left -= side;
    gm__range_open(&r, at, side);
    gm__bit_init(model, 64);
    at += side;
    for (int i = 0; i < tensors; i++) {
        uint64_t part = get32(blob + HEAD + 8 * (size_t)i) | (uint64_t)get32(blob + HEAD + 8 * (size_t)i + 4) << 32;
        if (part > left || !get_grid(&r, model, &job[i])) return false;
        job[i].in = at;
        job[i].bytes = (size_t)part;
        at += part;
        left -= part;
    }
    return left == 0 && r.at == r.end && !gm__range_broken(&r);
}

gm_status gm__moment_decode(const uint8_t *blob, size_t bytes, const char *what, const gm__quant_shape *shape, int tensors,
                            bool parallel, float *const *value, gm_error *err) {
    if (bytes < HEAD + CHECK || memcmp(blob, magic, sizeof magic) != 0)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: not moments of an optimizer (%zu bytes)", what, bytes);
    if (blob[4] != VERSION)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "%.120s: moments of version %d; this program reads version %d", what, blob[4],
                       VERSION);
    uint64_t check = get32(blob + bytes - 8) | (uint64_t)get32(blob + bytes - 4) << 32;
    uint64_t shapes = get32(blob + 16) | (uint64_t)get32(blob + 20) << 32;
    if (gm_hash64(blob, bytes - CHECK, 0) != check)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: moments are damaged (checksum)", what);
    if (tensors < 0 || get32(blob + 8) != (uint32_t)tensors || shapes != gm__quant_shapes(shape, sizeof *shape, tensors) ||
        blob[5] > 7 || blob[6] < 1 || blob[6] > 28 || (bytes - HEAD - CHECK) / 8 < (size_t)tensors)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: moments of %u tensors, expected %d or other names", what, get32(blob + 8),
                       tensors);
    decode_job d = {.job = gm_alloc((size_t)tensors, sizeof *d.job), .whole = gm_alloc((size_t)tensors, sizeof *d.whole)};
    gm_status status = GM_OK;
    if (!d.job || !d.whole) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory to read %.120s", what);
        goto done;
    }
    for (int i = 0; i < tensors; i++)
        d.job[i] = (tensor_job){.g = {.mantissa = blob[5], .octaves = blob[6]}, .to = value[i], .count = shape[i].count};
    if (!open_parts(blob, bytes, d.job, tensors)) {
        status = gm_fail(err, GM_ERR_FORMAT, "%.120s: moments are damaged (sizes or frequencies)", what);
        goto done;
    }
    gm__quant_run(parallel, tensors, decode_task, &d);
    for (int i = 0; i < tensors && status == GM_OK; i++) {
        if (d.job[i].failed) status = gm_fail(err, GM_ERR_MEMORY, "no memory to read '%.100s'", shape[i].name);
        else if (!d.whole[i])
            status = gm_fail(err, GM_ERR_FORMAT, "%.100s: moments of '%.80s' are damaged", what, shape[i].name);
    }
done:
    gm_free(d.job);
    gm_free(d.whole);
    return status;
}
