// SPDX-License-Identifier: Apache-2.0
// What a client reads of an inference response, and of the head of any HTTP response. Pure, fuzzed.
#ifndef GAMUT_SERVE_INFER_RESPONSE_H
#define GAMUT_SERVE_INFER_RESPONSE_H

#include <gamut/serve.h>

typedef struct gm__response_head {
    int status;
    size_t head_bytes, body_bytes;
    size_t json_bytes; // Inference-Header-Content-Length; 0: none
    bool closes;       // the server ends the connection
} gm__response_head;
// false and GM_OK: more bytes are needed. Only responses with a Content-Length are read.
gm_status gm__response_read_head(const char *bytes, size_t count, bool *whole, gm__response_head *out, gm_error *err);

typedef struct gm__infer_response {
    uint64_t subnet;  // 0: not told
    double accuracy;  // NAN: not told
    int batch, queue_us, compute_us; // -1: not told
    gm_outcome outcome; // as the server says; MET when it says nothing
    int answer;       // class of the first image: the first output's value, or the place of its largest; -1: none
} gm__infer_response;
// Also of an error's body.
gm_status gm__infer_response_parse(const char *json, size_t bytes, gm__infer_response *out, gm_error *err);

#endif
