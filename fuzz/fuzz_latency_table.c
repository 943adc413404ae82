// SPDX-License-Identifier: Apache-2.0
// Published latency tables: any bytes are read or refused, and a table that was read gives a sum or an error.
#include <gamut/search.h>
#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gm_latency_table *t = NULL;
    gm_error err = {0};
    double ms = 0;
    if (gm_latency_table_parse((const char *)data, bytes, "input", &t, &err) != GM_OK) {
        require(err.text[0] != '\0' && t == NULL);
        return 0;
    }
    require(gm_latency_table_rows(t) >= 1);
    require(!gm_latency_table_find(t, "Conv-input:224x224x3-output:112x112x24", &ms) || (isfinite(ms) && ms >= 0));
    gm_latency_table_destroy(t);
    return 0;
}
