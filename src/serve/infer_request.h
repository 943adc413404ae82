// SPDX-License-Identifier: Apache-2.0
// The inference request of the Open Inference Protocol (version 2, with Triton's binary tensors): bytes in, checked struct
// out. Pure: it knows neither sockets nor queues, and is fuzzed.
#ifndef GAMUT_SERVE_INFER_REQUEST_H
#define GAMUT_SERVE_INFER_REQUEST_H

#include <gamut/base.h>

enum { GM__ID_BYTES = 128, GM__OUTPUTS = 3, GM__CHANNELS_MAX = 4, GM__PRIORITY_MAX = 1000 };
static const int64_t GM__TIMEOUT_MAX_US = 3600ll * 1000000; // an hour

typedef enum gm__wire { // datatypes of the protocol that the one input may have
    GM__WIRE_UINT8, GM__WIRE_UINT16, GM__WIRE_UINT32, GM__WIRE_UINT64, GM__WIRE_INT8, GM__WIRE_INT16, GM__WIRE_INT32,
    GM__WIRE_INT64, GM__WIRE_FP16, GM__WIRE_BF16, GM__WIRE_FP32, GM__WIRE_FP64
} gm__wire;
typedef enum gm__output { GM__OUTPUT_CLASS, GM__OUTPUT_PROBABILITIES, GM__OUTPUT_LOGITS } gm__output;
extern const char *const gm__output_names[GM__OUTPUTS];

// What a request is checked against.
typedef struct gm__input_rules {
    int channels, side; // of the model
    int max_side;       // of an image in a request
    int max_images;     // in one request
    bool strict;        // refuse fields and parameters that are not known
} gm__input_rules;

// One image as it lies in a slot: rows of interleaved channels, UINT8 pixels or normalised FP32.
typedef struct gm__image {
    int32_t height, width, channels;
    bool pixels;
} gm__image;

typedef struct gm__infer_request {
    bool has_id;
    char id[GM__ID_BYTES];
    int64_t timeout_us; // from arrival; 0: not given
    int priority;       // 1 is the highest, GM__PRIORITY_MAX the lowest; 0: not given
    double min_accuracy; // percent; 0: not given
    gm__wire type;
    int images;
    gm__image image; // of each
    bool planar;     // NCHW
    int asked;       // outputs, in the order of the request
    gm__output output[GM__OUTPUTS];
    bool binary[GM__OUTPUTS];
    // The tensor, inside the body: raw little-endian, or the JSON text of "data" (then rank and dims tell how it may nest).
    const uint8_t *raw;
    const char *json, *json_end;
    int rank, dims[4];
} gm__infer_request;

// header_bytes: the length of the JSON when binary data follows (Inference-Header-Content-Length), else body_bytes. Errors:
// GM_ERR_UNSUPPORTED for what the protocol has and this server has not, else FORMAT and RANGE.
gm_status gm__infer_parse(const char *body, size_t body_bytes, size_t header_bytes, const gm__input_rules *rules,
                          gm__infer_request *out, gm_error *err);
size_t gm__image_bytes(const gm__image *image); // pixels: 1 a value, else 4
// Writes image i to dst[i], gm__image_bytes each.
gm_status gm__infer_decode(const gm__infer_request *r, void *const *dst, gm_error *err);

#endif
