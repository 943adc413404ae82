// SPDX-License-Identifier: Apache-2.0
// HTTP responses as the load generator reads them: lengths stay inside what came, JSON is read or refused.
#include "serve/infer_response.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gm__response_head head;
    gm__infer_response response;
    gm_error err = {0};
    bool whole = false;
    const char *text = (const char *)data;
    if (gm__response_read_head(text, bytes, &whole, &head, &err) != GM_OK) {
        if (err.text[0] == '\0') abort();
        return 0;
    }
    if (!whole) return 0;
    if (head.head_bytes + head.body_bytes > bytes || head.json_bytes > head.body_bytes) abort();
    size_t json = head.json_bytes > 0 ? head.json_bytes : head.body_bytes;
    if (gm__infer_response_parse(text + head.head_bytes, json, &response, &err) != GM_OK && err.text[0] == '\0') abort();
    if (response.answer < -1 || response.batch < -1) abort();
    return 0;
}
