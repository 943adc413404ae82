// SPDX-License-Identifier: Apache-2.0
// Profiles: any bytes are read or refused; what was read can be made regular, is then monotone, and reads back.
#include <gamut/sched.h>
#include <gamut/search.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gm_profile p;
    gm_error err = {0};
    uint64_t model;
    if (gm_profile_parse((const char *)data, bytes, "input", &p, &model, &err) != GM_OK) {
        require(err.text[0] != '\0' && p.subnet == NULL);
        return 0;
    }
    require(p.subnets >= 1 && p.batches >= 1 && p.batch[0] == 1);
    if (gm_profile_regularise(&p, &err) == GM_OK) {
        for (int i = 0; i < p.subnets; i++)
            for (int b = 0; b < p.batches; b++) {
                const gm_profile_subnet *s = &p.subnet[i];
                require(s->p50_ns[b] >= 1 && s->p99_ns[b] >= s->p50_ns[b]);
                require(b == 0 || s->p50_ns[b] >= s->p50_ns[b - 1]);
                require(i == 0 || s->p50_ns[b] >= s[-1].p50_ns[b]);
            }
    }
    gm_profile_fini(&p);
    return 0;
}
