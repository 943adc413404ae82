// SPDX-License-Identifier: Apache-2.0
// The tensor of an inference request: JSON numbers or little-endian bytes to images with interleaved channels.
#include "serve/infer_request.h"
#include "serve/json_scan.h"

#include <float.h>
#include <math.h>
#include <string.h>

// Where value number k of an image goes.
typedef struct place {
    const gm__infer_request *r;
    size_t values, plane; // of one image; of one channel
} place;

static size_t index_of(const place *p, size_t k) {
    return p->r->planar ? k % p->plane * (size_t)p->r->image.channels + k / p->plane : k;
}

static gm_status not_finite(gm_error *err) {
    return gm_fail(err, GM_ERR_RANGE, "a value of the input is not a finite FP32 number");
}

static bool all_finite(const float *v, size_t count) {
    uint32_t worst = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, v + i, sizeof bits);
        bits &= 0x7fffffffu;
        worst = bits > worst ? bits : worst;
    }
    return worst < 0x7f800000u;
}

static gm_status store(const place *p, void *image, size_t k, double value, gm_error *err) {
    size_t at = index_of(p, k);
    if (p->r->image.pixels) {
        if (!(value >= 0 && value <= 255))
            return gm_fail(err, GM_ERR_RANGE, "a pixel is %g; integer datatypes carry pixels from 0 to 255", value);
        ((uint8_t *)image)[at] = (uint8_t)value;
        return GM_OK;
    }
    float v = fabs(value) <= (double)FLT_MAX ? (float)value : NAN;
    if (!isfinite(v)) return not_finite(err);
    ((float *)image)[at] = v;
    return GM_OK;
}

// Numbers, flat or nested as the shape says.
static gm_status decode_json(const place *p, void *const *dst, gm_error *err) {
    const gm__infer_request *r = p->r;
    gm__scan s = gm__scan_of(r->json, (size_t)(r->json_end - r->json));
    size_t total = p->values * (size_t)r->images, done = 0, image = 0, inside = 0;
    int depth = 0, nested = 0; // nested: the depth that numbers were met at
    int count[4] = {0};
    bool first[4];
    do {
        bool more = true;
        if (depth > 0) {
            gm_status status = gm__scan_more(&s, ']', &first[depth - 1], &more, err);
            if (status != GM_OK) return status;
            if (!more) {
                if (nested > 1 && count[depth - 1] != r->dims[depth - 1])
                    return gm__scan_fail(&s, err, "a nested array of data is not as long as the shape says");
                depth--;
                continue;
            }
            count[depth - 1]++;
        }
        if (gm__scan_peek(&s) == '[') {
            if (depth == r->rank) return gm__scan_fail(&s, err, "data nests deeper than the shape has dimensions");
            s.at++;
            first[depth] = true;
            count[depth++] = 0;
            continue;
        }
        double value = 0;
        bool whole = false;
        gm_status status = gm__scan_number(&s, &value, &whole, err);
        if (status != GM_OK) return status;
        if (nested == 0) nested = depth;
        if (depth != nested || (depth != 1 && depth != r->rank) || done == total)
            return gm__scan_fail(&s, err, done == total ? "data has more values than the shape"
                                                        : "data is neither flat nor nested as the shape says");
        if (r->image.pixels && !whole) return gm__scan_fail(&s, err, "a fraction where the datatype is an integer");
        status = store(p, dst[image], inside, value, err);
        if (status != GM_OK) return status;
        done++;
        if (++inside == p->values) inside = 0, image++;
    } while (depth > 0);
    if (done != total)
        return gm_fail(err, GM_ERR_FORMAT, "data has %zu values, the shape %zu", done, total);
    return GM_OK;
}

static double half(uint16_t v) {
    int exponent = (v >> 10) & 31, mantissa = v & 1023;
    double value = exponent == 31 ? NAN : exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25);
    return v >> 15 ? -value : value;
}

#define LOAD(type)                                                                                                     \
    do {                                                                                                               \
        type v;                                                                                                        \
        memcpy(&v, raw + k * sizeof v, sizeof v);                                                                      \
        return (double)v;                                                                                              \
    } while (0)

static double load(gm__wire type, const uint8_t *raw, size_t k) {
    switch (type) {
    case GM__WIRE_UINT8: return raw[k];
    case GM__WIRE_UINT16: LOAD(uint16_t);
    case GM__WIRE_UINT32: LOAD(uint32_t);
    case GM__WIRE_UINT64: LOAD(uint64_t);
    case GM__WIRE_INT8: LOAD(int8_t);
    case GM__WIRE_INT16: LOAD(int16_t);
    case GM__WIRE_INT32: LOAD(int32_t);
    case GM__WIRE_INT64: LOAD(int64_t);
    case GM__WIRE_FP32: LOAD(float);
    case GM__WIRE_FP64: LOAD(double);
    case GM__WIRE_FP16:
    case GM__WIRE_BF16: break;
    }
    uint16_t v;
    memcpy(&v, raw + k * sizeof v, sizeof v);
    return type == GM__WIRE_FP16 ? half(v) : (double)gm_bf16_to_f32(v);
}

static gm_status decode_raw(const place *p, void *const *dst, gm_error *err) {
    const gm__infer_request *r = p->r;
    for (int i = 0; i < r->images; i++) {
        size_t base = (size_t)i * p->values;
        if (r->type == GM__WIRE_UINT8 && !r->planar) {
            memcpy(dst[i], r->raw + base, p->values);
            continue;
        }
        if (r->type == GM__WIRE_FP32 && !r->planar) {
            memcpy(dst[i], r->raw + base * sizeof(float), p->values * sizeof(float));
            if (!all_finite(dst[i], p->values)) return not_finite(err);
            continue;
        }
        for (size_t k = 0; k < p->values; k++) {
            gm_status status = store(p, dst[i], k, load(r->type, r->raw, base + k), err);
            if (status != GM_OK) return status;
        }
    }
    return GM_OK;
}

gm_status gm__infer_decode(const gm__infer_request *r, void *const *dst, gm_error *err) {
    place p = {.r = r, .plane = (size_t)r->image.height * (size_t)r->image.width};
    p.values = p.plane * (size_t)r->image.channels;
    return r->raw != NULL ? decode_raw(&p, dst, err) : decode_json(&p, dst, err);
}
