// SPDX-License-Identifier: Apache-2.0
// Trace files of every layout.
#include <gamut/serve.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gm_trace t;
    gm_error err;
    if (bytes > 1 << 16 || gm_trace_parse("input", data, bytes, &t, &err) != GM_OK) return 0;
    for (int i = 1; i < t.count; i++)
        if (t.at_ns[i] < t.at_ns[i - 1]) __builtin_trap();
    gm_trace_stats s = gm_trace_measure(&t);
    if (t.count < 1 || s.seconds < 0.0) __builtin_trap();
    gm_trace_fini(&t);
    return 0;
}
