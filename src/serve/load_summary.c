// SPDX-License-Identifier: Apache-2.0
// The metrics of specs superserve 5.3 from the fates of all requests.
#include <gamut/serve.h>

#include <stdlib.h>

const char *gm_outcome_name(gm_outcome outcome) {
    static const char *const names[] = {
#define NAME(name, text) text,
        GM_OUTCOME_LIST(NAME)
#undef NAME
    };
    return outcome >= 0 && outcome < GM_OUTCOMES ? names[outcome] : "unknown";
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

// Nearest rank.
static double quantile_ms(const int64_t *sorted, int64_t n, double q) {
    if (n == 0) return 0.0;
    int64_t rank = (int64_t)(q * (double)n + 0.999999);
    if (rank < 1) rank = 1;
    if (rank > n) rank = n;
    return (double)sorted[rank - 1] * 1e-6;
}

gm_status gm_load_summarise(const gm_fate *fate, int64_t count, const double *top1, int subnets, double *share,
                            gm_load_summary *out, gm_error *err) {
    int64_t run = 0;
    double accuracy = 0.0, batches = 0.0;
    *out = (gm_load_summary){.sent = count, .share = share};
    for (int s = 0; share != NULL && s < subnets; s++) share[s] = 0.0;
    int64_t *took = gm_alloc((size_t)count + 1, sizeof *took);
    if (took == NULL) return gm_fail(err, GM_ERR_MEMORY, "summary: no memory for %lld requests", (long long)count);
    for (int64_t i = 0; i < count; i++) {
        const gm_fate *f = &fate[i];
        out->outcome[f->outcome]++;
        if (f->outcome != GM_OUTCOME_MET && f->outcome != GM_OUTCOME_LATE) continue;
        took[run++] = f->answer_ns - f->arrival_ns;
        if (f->batch > 0) batches += 1.0 / f->batch;
        if (f->outcome != GM_OUTCOME_MET || f->subnet < 0 || f->subnet >= subnets) continue;
        accuracy += top1[f->subnet];
        if (share != NULL) share[f->subnet] += 1.0;
    }
    qsort(took, (size_t)run, sizeof *took, compare);
    out->met = out->outcome[GM_OUTCOME_MET];
    double met = (double)out->met, sent = (double)count;
    out->attainment = count > 0 ? met / sent : 0.0;
    out->accuracy_served = out->met > 0 ? accuracy / met : 0.0;
    out->goodput_accuracy = count > 0 ? accuracy / sent : 0.0;
    out->p50_ms = quantile_ms(took, run, 0.5);
    out->p99_ms = quantile_ms(took, run, 0.99);
    out->p999_ms = quantile_ms(took, run, 0.999);
    out->mean_batch = batches > 0.0 ? (double)run / batches : 0.0;
    for (int s = 0; share != NULL && out->met > 0 && s < subnets; s++) share[s] /= met;
    gm_free(took);
    return GM_OK;
}
