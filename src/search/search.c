// SPDX-License-Identifier: Apache-2.0
// The whole search, stage by stage.
#include <string.h>

#include "search/search_state.h"

gm_search_settings gm_search_settings_default(void) {
    return (gm_search_settings){.objective = GM_OBJECTIVE_MACS, .samples = 300, .sample_images = 600, .sample_calibrate = 800,
                                .calibrate_images = 2000, .batch = 200, .predictor_epochs = 150, .levels = 12, .iterations = 40, .candidates = 240,
                                .judges = 40, .type = GM_F32, .latency_batch = 1, .latency_samples = 150, .seed = 1};
}

static gm_status check_settings(const gm_search_settings *s, gm_error *err) {
    if (s->samples < 1 || s->samples > 100000 || s->sample_images < 1 || s->sample_calibrate < 1 || s->calibrate_images < 1 ||
        s->batch < 1 || s->predictor_epochs < 1 || s->levels < 1 || s->levels > GM__SEARCH_LEVELS || s->iterations < 0 || s->candidates < 1 ||
        s->candidates > GM_PROFILE_SUBNETS || s->judges < 0 || s->latency_samples < 1 || s->latency_samples > 10000)
        return gm_fail(err, GM_ERR_ARGUMENT, "search: %d samples on %d images, %d levels, %d candidates: out of range", s->samples,
                       s->sample_images, s->levels, s->candidates);
    if (s->latency_batch < 1 || s->latency_batch > 4096)
        return gm_fail(err, GM_ERR_ARGUMENT, "search: latency of %d images a run; 1 to 4096 are possible", s->latency_batch);
    if (s->type != GM_F32 && s->type != GM_BF16)
        return gm_fail(err, GM_ERR_UNSUPPORTED, "search in %s: use f32 or bf16, then profile the front in %s",
                       gm_dtype_name(s->type), gm_dtype_name(s->type));
    if (s->max_cost < 0) return gm_fail(err, GM_ERR_ARGUMENT, "search: a constraint of %g", s->max_cost);
    return GM_OK;
}

gm_status gm_search(gm_model *m, const gm_dataset *d, const int32_t *train, int train_count, const int32_t *val, int val_count,
                    const gm_search_settings *s, gm_search_result *out, gm_error *err) {
    double start = gm_now();
    gm__search q = {.s = s, .model = m, .space = &m->graph->space, .out = out};
    memset(out, 0, sizeof *out);
    gm_status status = check_settings(s, err);
    if (!status) status = gm__sampler_init(&q.sampler, m, d, train, train_count, val, val_count, s, err);
    if (!status) status = gm__search_costs(&q, err);
    if (!status) status = gm__search_sample(&q, err);
    if (!status && !s->exhaustive) status = gm__search_candidates(&q, err);
    if (!status) status = gm__search_front(&q, err);
    out->measured = q.sampler.runs;
    out->seconds = gm_now() - start;
    gm__sampler_fini(&q.sampler);
    gm_latency_model_destroy(q.latency);
    gm_predictor_destroy(q.predictor);
    gm_free(q.sample);
    gm_free(q.sample_top1);
    gm_free(q.judged_top1);
    gm_free(q.candidate);
    if (status) gm_search_result_fini(out);
    return status;
}

void gm_search_result_fini(gm_search_result *r) {
    gm_free(r->front);
    gm_free(r->evaluated);
    r->front = r->evaluated = NULL;
    r->front_count = r->evaluated_count = 0;
}
