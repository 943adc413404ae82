// SPDX-License-Identifier: Apache-2.0
// One batch: crop, flip, resize, normalise, cutout, mixup. A pure function of (data, seed, epoch,
// step). Every image draws from a stream named by (seed, epoch, image), so that neither the batch
// size nor the order nor which augmentations are on changes what the others draw.
#include "data/readers.h"

#include <math.h>
#include <string.h>

gm_augment gm_augment_default(void) {
    return (gm_augment){.pad_mode = GM_PAD_ZERO};
}

gm_status gm_batch_init(gm_batch *b, int max_images, int max_size, int channels, gm_dtype type,
                        gm_error *err) {
    memset(b, 0, sizeof *b);
    if (type != GM_F32 && type != GM_BF16)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "batches of type %s: f32 and bf16 are supported",
                       gm_dtype_name(type));
    if (max_images < 1 || max_size < 1 || max_size > GM__IMAGE_SIDE_MAX || channels < 1 ||
        channels > 4)
        return gm_fail(err, GM_ERR_RANGE, "batch of %d images of side %d with %d channels",
                       max_images, max_size, channels);
    size_t element = gm_dtype_size(type), rows;
    b->type = type;
    b->channels = channels;
    b->ld = gm_round_up(channels, (int)(64 / element));
    b->height = b->width = max_size;
    if (gm_mul_size((size_t)max_images, (size_t)max_size * (size_t)max_size, &rows))
        b->x = gm_alloc(rows, (size_t)b->ld * element);
    b->label = gm_alloc((size_t)max_images, 3 * sizeof *b->label); // then label2 and lam of mixup
    if (!b->x || !b->label) {
        gm_batch_fini(b);
        return gm_fail(err, GM_ERR_MEMORY,
                       "out of memory for a batch of %d images of side %d: use a smaller batch",
                       max_images, max_size);
    }
    return GM_OK;
}

void gm_batch_fini(gm_batch *b) {
    if (!b) return;
    gm_free(b->x);
    gm_free(b->label);
    memset(b, 0, sizeof *b);
}

// What one image draws.
typedef struct draw {
    int shift_y, shift_x; // of the crop window, -pad..pad
    bool flip;
    float cut_y, cut_x; // centre of the cut, in [0,1)
} draw;

static draw draw_image(const gm_augment *a, uint64_t seed, int epoch, int image) {
    gm_rng rng = gm_rng_keyed(seed, (uint64_t)epoch, (uint64_t)image, GM_RNG_AUGMENT);
    int pad = gm_min(gm_max(a->crop_pad, 0), GM__IMAGE_SIDE_MAX);
    uint32_t window = 2 * (uint32_t)pad + 1;
    draw r;
    // A multiply instead of gm_rng_below: each draw takes exactly one number (bias below 2^-20).
    r.shift_y = (int)((uint64_t)gm_rng_u32(&rng) * window >> 32) - pad;
    r.shift_x = (int)((uint64_t)gm_rng_u32(&rng) * window >> 32) - pad;
    r.flip = gm_rng_u32(&rng) >> 31;
    r.cut_y = gm_rng_uniform(&rng);
    r.cut_x = gm_rng_uniform(&rng);
    if (a->flip == 2) { // a fixed random half in epoch 0, and each next epoch the other way round
        gm_rng half = gm_rng_keyed(seed, UINT64_MAX, (uint64_t)image, GM_RNG_AUGMENT);
        r.flip = ((gm_rng_u32(&half) >> 31) ^ (uint32_t)epoch) & 1;
    } else if (a->flip == 0) {
        r.flip = false;
    }
    return r;
}

// The stored coordinate that an augmented one shows; -1: padding.
static int32_t source(int at, int side, int shift, bool flip, gm_pad_mode mode) {
    int s = (flip ? side - 1 - at : at) + shift;
    if (s >= 0 && s < side) return s;
    if (mode == GM_PAD_ZERO || side == 1) return -1;
    while (s < 0 || s >= side)
        s = s < 0 ? -s : 2 * (side - 1) - s; // the border pixel is not repeated
    return s;
}

// The stored row that row `at` of the augmented image shows; NULL: padding.
static const uint8_t *stored_row(const gm_dataset *d, const uint8_t *src, int at, const draw *r,
                                 gm_pad_mode mode) {
    int32_t from = source(at, d->height, r->shift_y, false, mode);
    return from < 0 ? NULL : src + (size_t)from * (size_t)(d->width * d->channels);
}

// Normalised value of each pixel byte.
typedef struct levels {
    float f32[4][256];
    gm_bf16 bf16[4][256];
} levels;

static void make_levels(levels *t, const gm_augment *a, int channels) {
    for (int c = 0; c < channels; c++) {
        float scale = a->std[c] > 0 ? 1 / a->std[c] : 1;
        for (int v = 0; v < 256; v++) {
            t->f32[c][v] = ((float)v / 255 - a->mean[c]) * scale;
            t->bf16[c][v] = gm_bf16_from_f32(t->f32[c][v]);
        }
    }
}

// One row of pixels at the stored size. src NULL: a row of padding. Only active channels are
// written: tails are zero since gm_batch_init and stay so.
static void fill_row_bf16(const levels *t, const uint8_t *src, const int32_t *column, int width,
                          int channels, int ld, gm_bf16 *out) {
    for (int x = 0; x < width; x++, out += ld) {
        int32_t s = src ? column[x] : -1;
        if (s < 0) {
            for (int c = 0; c < channels; c++) out[c] = 0;
        } else if (channels == 3) {
            const uint8_t *p = src + 3 * s;
            out[0] = t->bf16[0][p[0]];
            out[1] = t->bf16[1][p[1]];
            out[2] = t->bf16[2][p[2]];
        } else {
            for (int c = 0; c < channels; c++) out[c] = t->bf16[c][src[s * channels + c]];
        }
    }
}

static void fill_row_f32(const levels *t, const uint8_t *src, const int32_t *column, int width,
                         int channels, int ld, float *out) {
    for (int x = 0; x < width; x++, out += ld) {
        int32_t s = src ? column[x] : -1;
        for (int c = 0; c < channels; c++) out[c] = s < 0 ? 0 : t->f32[c][src[s * channels + c]];
    }
}

static inline void put(gm_batch *b, size_t at, float value) {
    if (b->type == GM_BF16)
        ((gm_bf16 *)b->x)[at] = gm_bf16_from_f32(value);
    else
        ((float *)b->x)[at] = value;
}

static inline float get(const gm_batch *b, size_t at) {
    return b->type == GM_BF16 ? gm_bf16_to_f32(((const gm_bf16 *)b->x)[at])
                              : ((const float *)b->x)[at];
}

// The two stored coordinates that output `at` of `out` lies between (half-pixel centres), and the
// weight of the second.
static float between(int at, int out, int side, int *low, int *high) {
    float s = ((float)at + 0.5f) * (float)side / (float)out - 0.5f;
    if (s < 0) s = 0;
    *low = gm_min((int)s, side - 1);
    *high = gm_min(*low + 1, side - 1);
    return s - (float)*low;
}

// Rows are first brought out as at the stored size; the last two are kept, as most serve two output
// rows.
static void fill_resized(const gm_dataset *d, const uint8_t *src, const levels *t, const draw *r,
                         const int32_t *column, gm_pad_mode mode, int side, size_t base,
                         gm_batch *b) {
    float line[2][4 * GM__IMAGE_SIDE_MAX], weight[GM__IMAGE_SIDE_MAX];
    int left[GM__IMAGE_SIDE_MAX], right[GM__IMAGE_SIDE_MAX], held[2] = {-1, -1}, near[2],
                                                             channels = d->channels;
    for (int x = 0; x < side; x++) weight[x] = between(x, side, d->width, &left[x], &right[x]);
    for (int y = 0; y < side; y++) {
        float down = between(y, side, d->height, &near[0], &near[1]);
        for (int k = 0; k < 2; k++) {
            int slot = near[k] & 1; // the two are neighbours or the same
            if (held[slot] == near[k]) continue;
            fill_row_f32(t, stored_row(d, src, near[k], r, mode), column, d->width, channels,
                         channels, line[slot]);
            held[slot] = near[k];
        }
        const float *top = line[near[0] & 1], *bottom = line[near[1] & 1];
        for (int x = 0; x < side; x++, base += (size_t)b->ld) {
            int p = left[x] * channels, q = right[x] * channels;
            for (int c = 0; c < channels; c++) {
                float upper = top[p + c] + weight[x] * (top[q + c] - top[p + c]);
                float lower = bottom[p + c] + weight[x] * (bottom[q + c] - bottom[p + c]);
                put(b, base + (size_t)c, upper + down * (lower - upper));
            }
        }
    }
}

static void cut_out(const gm_dataset *d, int side, const draw *r, size_t base, gm_batch *b) {
    side =
        gm_max(gm_min(side, GM__IMAGE_SIDE_MAX) * b->width / d->width, 1); // given in stored pixels
    int y0 = (int)(r->cut_y * (float)b->height) - side / 2,
        x0 = (int)(r->cut_x * (float)b->width) - side / 2;
    for (int y = gm_max(y0, 0); y < gm_min(y0 + side, b->height); y++)
        for (int x = gm_max(x0, 0); x < gm_min(x0 + side, b->width); x++)
            for (int c = 0; c < d->channels; c++)
                put(b, base + (size_t)(y * b->width + x) * (size_t)b->ld + (size_t)c, 0);
}

// Gamma(a, 1) after Marsaglia and Tsang (2000); below 1 through Gamma(a + 1) * u^(1/a), in
// logarithms so that it does not vanish for small a.
static double log_gamma_draw(gm_rng *rng, double a) {
    double boost = 0;
    if (a < 1) {
        boost = log(1 - (double)gm_rng_uniform(rng)) / a;
        a += 1;
    }
    double d = a - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = (double)gm_rng_normal(rng), v = 1 + c * x, u = 1 - (double)gm_rng_uniform(rng);
        if (v <= 0) continue;
        v = v * v * v;
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v)) return log(d * v) + boost;
    }
}

// Each image becomes lambda of itself and 1 - lambda of its partner, the batch read backwards.
static void mix_up(const gm_augment *a, uint64_t seed, int epoch, int step, gm_batch *b) {
    gm_rng rng = gm_rng_keyed(seed ^ UINT64_C(0x6d69787570), (uint64_t)epoch, (uint64_t)step,
                              GM_RNG_AUGMENT);
    double alpha = fmin((double)a->mixup, 1000); // beyond, lambda is one half anyway
    double first = log_gamma_draw(&rng, alpha), second = log_gamma_draw(&rng, alpha);
    float lambda = (float)(1 / (1 + exp(second - first)));
    int n = b->images;
    b->label2 = b->label + n;
    b->lam = (float *)(void *)(b->label + 2 * (size_t)n);
    size_t pixels = (size_t)b->height * (size_t)b->width, ld = (size_t)b->ld, image = pixels * ld;
    for (int i = 0; i < n; i++) {
        b->label2[i] = b->label[n - 1 - i];
        b->lam[i] = lambda;
    }
    for (int i = 0; i < n / 2; i++) {
        size_t p = (size_t)i * image, q = (size_t)(n - 1 - i) * image;
        for (size_t k = 0; k < pixels; k++, p += ld, q += ld)
            for (size_t c = 0; c < (size_t)b->channels; c++) {
                float u = get(b, p + c), v = get(b, q + c);
                put(b, p + c, lambda * u + (1 - lambda) * v);
                put(b, q + c, lambda * v + (1 - lambda) * u);
            }
    }
}

void gm_batch_fill(const gm_dataset *d, const int32_t *index, const int32_t *order, int images,
                   const gm_augment *a, uint64_t seed, int epoch, int step, gm_batch *b) {
    levels table;
    int32_t column[GM__IMAGE_SIDE_MAX];
    int side = a->resolution > 0 ? a->resolution : 0;
    bool resized = side && (side != d->width || side != d->height);
    bool random = a->crop_pad > 0 || a->flip || a->cutout > 0;
    make_levels(&table, a, d->channels);
    b->images = images;
    b->height = resized ? side : d->height;
    b->width = resized ? side : d->width;
    b->epoch = epoch;
    b->step = step;
    b->label2 = NULL;
    b->lam = NULL;
    size_t stored = (size_t)d->height * (size_t)d->width * (size_t)d->channels;
    size_t row = (size_t)b->width * (size_t)b->ld;
    for (int i = 0; i < images; i++) {
        int position = order ? order[i] : i, image = index ? index[position] : position;
        const uint8_t *src = d->pixels + (size_t)image * stored;
        size_t base = (size_t)i * (size_t)b->height * row;
        draw r = random ? draw_image(a, seed, epoch, image) : (draw){0};
        b->label[i] = d->labels[image];
        for (int x = 0; x < d->width; x++)
            column[x] = source(x, d->width, r.shift_x, r.flip, a->pad_mode);
        if (resized) fill_resized(d, src, &table, &r, column, a->pad_mode, side, base, b);
        for (int y = 0; y < d->height && !resized; y++) {
            const uint8_t *line = stored_row(d, src, y, &r, a->pad_mode);
            size_t at = base + (size_t)y * row;
            if (b->type == GM_BF16)
                fill_row_bf16(&table, line, column, d->width, d->channels, b->ld,
                              (gm_bf16 *)b->x + at);
            else
                fill_row_f32(&table, line, column, d->width, d->channels, b->ld,
                             (float *)b->x + at);
        }
        if (a->cutout > 0) cut_out(d, a->cutout, &r, base, b);
    }
    if (a->mixup > 0) mix_up(a, seed, epoch, step, b);
}
