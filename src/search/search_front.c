// SPDX-License-Identifier: Apache-2.0
// From measured samples to a measured front.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search/search_state.h"

enum { LEAST_SAMPLES = 10, FIRSTS = 10 };

// ---------------------------------------------------------------------------------------------
static gm_status fit_once(gm__search *q, int first, gm_error *err) { // on the samples from `first` on
    gm_predictor_settings settings = gm_predictor_settings_default();
    settings.seed = q->s->seed;
    settings.epochs = q->s->predictor_epochs;
    settings.held_out = 0;
    gm_predictor_destroy(q->predictor);
    gm_status status = gm_predictor_create(GM_ENCODING_SPACE, q->space, q->s->seed, &q->predictor, err);
    if (!status) status = gm_predictor_fit(q->predictor, q->sample + first, q->sample_top1 + first, q->samples - first, &settings, NULL, err);
    return status;
}

// What a predictor that never saw the judges says of them, against their accuracy in full: images that it was trained on would
// flatter it.
static gm_status judge_predictor(gm__search *q, gm_error *err) {
    gm_predictor_report *r = &q->out->predictor;
    int n = q->judges, others = GM__SEARCH_ENDS + n;
    double square = 0;
    *r = (gm_predictor_report){.trained = q->samples - (n ? others : 0), .held_out = n, .tau = NAN, .rmse = NAN};
    if (n == 0) return GM_OK;
    double *said = gm_alloc((size_t)n, sizeof *said);
    gm_status status = said ? fit_once(q, others, err) : gm_fail(err, GM_ERR_MEMORY, "no memory to judge a predictor");
    if (!status) status = gm_predictor_run(q->predictor, q->sample + GM__SEARCH_ENDS, n, said, err);
    for (int i = 0; i < n && !status; i++) square += (said[i] - q->judged_top1[i]) * (said[i] - q->judged_top1[i]);
    if (!status) {
        r->tau = gm_kendall_tau(n, said, q->judged_top1);
        r->rmse = sqrt(square / n);
    }
    gm_free(said);
    return status;
}

// Once without the judges, to be judged; then with all samples, to be used.
static gm_status fit_predictor(gm__search *q, gm_error *err) {
    if (q->samples < LEAST_SAMPLES)
        return gm_fail(err, GM_ERR_RANGE, "%d samples are too few for a predictor: use --samples 100 or more, or --exhaustive",
                       q->samples);
    gm_status status = judge_predictor(q, err);
    return status ? status : fit_once(q, 0, err);
}

static gm_status predict(void *self, const gm_choice *choice, int count, double *value, gm_error *err) {
    gm__search *q = self;
    q->out->predictions += count;
    return gm_predictor_run(q->predictor, choice, count, value, err);
}

// ---------------------------------------------------------------------------------------------
static void add_candidate(gm__search *q, const gm_choice *choice) {
    for (int i = 0; i < q->candidates; i++)
        if (memcmp(&q->candidate[i], choice, sizeof *choice) == 0) return;
    if (q->candidates < q->candidates_most) q->candidate[q->candidates++] = *choice;
}

// One evolution a level of cost, each beginning with the best that the one before found.
static gm_status evolve_levels(gm__search *q, gm_candidate *best, int each, gm_error *err) {
    gm_evolution_settings settings = gm_evolution_settings_default();
    gm_progress *progress = NULL;
    double top = fmin(q->max_cost, q->most);
    int levels = q->s->levels, found = 0;
    settings.iterations = q->s->iterations;
    gm_status status = gm_progress_create("evolve", (uint64_t)levels, &progress, err);
    for (int l = 0; l < levels && !status; l++) {
        double limit = l + 1 == levels ? top : q->least * pow(top / q->least, (l + 1.0) / levels);
        const gm_candidate *before = l > 0 ? best + (size_t)(l - 1) * (size_t)each : NULL;
        settings.seed = q->s->seed + (uint64_t)l;
        for (int i = 0; i < each; i++) best[l * each + i].cost = INFINITY; // a level may find fewer
        status = gm_evolve(&q->problem, &settings, limit, before, l > 0 ? gm_min(found, FIRSTS) : 0, best + (size_t)l * (size_t)each, each, &found,
                           err);
        gm_progress_update(progress, (uint64_t)l + 1, NULL);
    }
    gm_progress_destroy(progress);
    return status;
}

static int by_cost(const void *a, const void *b) {
    const gm_candidate *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    return memcmp(&x->choice, &y->choice, sizeof x->choice);
}

static int by_value(const void *a, const void *b) { // the largest first
    const gm_candidate *x = a, *y = b;
    return x->value != y->value ? (x->value > y->value ? -1 : 1) : by_cost(a, b);
}

// The levels take turns, each with what is predicted to lie nearest to the front at its cost, until there are enough: predictions are off by
// more than such subnets differ by, so the best of them is any of these. (1,728 subnets measured in full, made-up samples of 300, 100
// candidates, median of 24, by hand, docs/search.md: the front lacks 0.26 points at most; 0.38 with the best below the limit of every level, the second, and so on.)
static void add_nearest(gm__search *q, gm_candidate *pool, int count) {
    double front = -INFINITY, step = log(fmin(q->max_cost, q->most) / q->least) / q->s->levels;
    int kept = 0;
    qsort(pool, (size_t)count, sizeof *pool, by_cost);
    for (int i = 0; i < count; i++) {
        if (kept > 0 && memcmp(&pool[kept - 1].choice, &pool[i].choice, sizeof pool->choice) == 0) continue; // of two levels
        front = fmax(front, pool[i].value);
        pool[kept] = pool[i];
        pool[kept++].value -= front;
    }
    count = kept;
    qsort(pool, (size_t)count, sizeof *pool, by_value);
    for (bool more = true; more && q->candidates < q->candidates_most;) {
        bool had[GM__SEARCH_LEVELS] = {false};
        more = false;
        for (int i = 0; i < count; i++) {
            if (!(pool[i].cost <= q->max_cost)) continue; // or had its turn
            int level = (int)(log(pool[i].cost / q->least) / fmax(step, 1e-12)), last = q->s->levels - 1;
            level = gm_max(gm_min(level, last), 0);
            if (had[level]) continue;
            had[level] = more = true;
            add_candidate(q, &pool[i].choice);
            pool[i].cost = NAN;
        }
    }
}

// The samples, as predicted.
static gm_status list_samples(gm__search *q, gm_candidate *pool, gm_error *err) {
    gm_status status = GM_OK;
    for (int i = 0; i < q->samples && !status; i++) {
        pool[i].choice = q->sample[i];
        status = q->problem.cost(q, &q->sample[i], &pool[i].cost, err);
        if (!status) status = gm_predictor_run(q->predictor, &q->sample[i], 1, &pool[i].value, err);
    }
    return status;
}

gm_status gm__search_candidates(gm__search *q, gm_error *err) {
    int levels = q->s->levels, each = gm_evolution_settings_default().population, evolved = levels * each, kept = 0;
    q->candidates_most = q->s->candidates;
    q->candidate = gm_alloc((size_t)q->s->candidates, sizeof *q->candidate);
    gm_candidate *pool = gm_alloc((size_t)(evolved + q->samples), sizeof *pool);
    gm_status status = q->candidate && pool ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for candidates");
    if (!status) status = fit_predictor(q, err);
    q->problem.values = predict;
    if (!status) status = evolve_levels(q, pool, each, err);
    if (!status) status = list_samples(q, pool + evolved, err);
    gm_choice extremes[] = {gm_choice_min(q->space), gm_choice_max(q->space)};
    add_candidate(q, &extremes[0]);
    if (q->most <= q->max_cost) add_candidate(q, &extremes[1]);
    for (int i = 0; i < evolved + q->samples && !status; i++) // a level may have found fewer than `each`
        if (isfinite(pool[i].cost) && isfinite(pool[i].value)) pool[kept++] = pool[i];
    if (!status) add_nearest(q, pool, kept);
    gm_free(pool);
    return status;
}

// ---------------------------------------------------------------------------------------------
static gm_status add_point(gm__search *q, const gm_choice *choice, double top1, int images, gm_error *err) {
    gm_search_point *p = &q->out->evaluated[q->out->evaluated_count];
    gm_cost count;
    gm_status status = gm_count(q->model->graph, choice, &count, err);
    *p = (gm_search_point){.choice = *choice, .macs = count.macs, .top1 = top1, .images = images, .predicted = NAN,
                           .latency_ms = NAN};
    if (!status && q->predictor) status = gm_predictor_run(q->predictor, choice, 1, &p->predicted, err);
    if (!status && q->s->objective == GM_OBJECTIVE_LATENCY) status = q->problem.cost(q, choice, &p->latency_ms, err);
    if (!status) q->out->evaluated_count++;
    return status;
}

// Published tables are of another machine: what is measured here would not compare with the constraint.
static bool measures_latency(const gm__search *q) { return q->s->tables == 0; }

static gm_status measure_candidates(gm__search *q, gm_error *err) {
    gm_progress *progress = NULL;
    gm_profile profile = {0};
    gm_profile_settings settings = gm_profile_settings_default();
    settings.type = q->s->type;
    settings.batches = q->s->latency_batch > 1 ? 2 : 1;
    settings.batch[1] = q->s->latency_batch;
    settings.seed = q->s->seed;
    gm_status status = gm_progress_create("calibrate", (uint64_t)q->candidates, &progress, err);
    for (int i = 0; i < q->candidates && !status; i++) {
        if (gm_interrupted()) status = gm_fail(err, GM_ERR_INTERRUPTED, "interrupted while the front was calibrated");
        else status = gm__sampler_calibrate(&q->sampler, q->model, &q->candidate[i], err);
        gm_progress_update(progress, (uint64_t)i + 1, NULL);
    }
    gm_progress_destroy(progress);
    if (!status)
        status = gm_profile_measure(q->model, q->sampler.data, q->sampler.val, q->sampler.val_count, q->candidate, q->candidates,
                                    &settings, &profile, err);
    for (int i = 0; i < q->candidates && !status; i++) {
        status = add_point(q, &q->candidate[i], profile.subnet[i].top1, q->sampler.val_count, err);
        if (status || !measures_latency(q)) continue;
        gm_search_point *p = &q->out->evaluated[q->out->evaluated_count - 1];
        p->latency_ms = (double)profile.subnet[i].p50_ns[settings.batches - 1] / 1e6;
        p->timed = true;
    }
    gm_profile_fini(&profile);
    return status;
}

// Predicted against measured accuracy of the candidates (those of an exhaustive search have no prediction).
static gm_status judge_candidates(gm__search *q, gm_error *err) {
    const gm_search_point *p = q->out->evaluated + q->out->samples;
    int n = q->out->candidates;
    q->out->front_tau = NAN;
    if (!q->predictor || n < 2) return GM_OK;
    double *values = gm_alloc((size_t)n, 2 * sizeof *values);
    if (!values) return gm_fail(err, GM_ERR_MEMORY, "no memory for candidates");
    for (int i = 0; i < n; i++) {
        values[i] = p[i].predicted;
        values[n + i] = p[i].top1;
    }
    q->out->front_tau = gm_kendall_tau(n, values, values + n);
    gm_free(values);
    return GM_OK;
}

static gm_status keep_front(gm__search *q, gm_error *err) {
    const gm_search_point *p = q->out->evaluated + q->out->samples;
    int n = q->out->candidates, kept = 0;
    double *cost = gm_alloc((size_t)gm_max(n, 1), 2 * sizeof *cost), *value = cost ? cost + n : NULL;
    int *index = gm_alloc((size_t)gm_max(n, 1), 2 * sizeof *index), *number = index ? index + n : NULL;
    q->out->front = gm_alloc((size_t)gm_max(n, 1), sizeof *q->out->front);
    gm_status status = cost && index && q->out->front ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for the front");
    for (int i = 0; i < n && !status; i++) {
        double c = q->s->objective == GM_OBJECTIVE_LATENCY ? p[i].latency_ms : (double)p[i].macs;
        if (c > q->max_cost) continue; // measured, it is slower than the table said
        number[kept] = i;
        cost[kept] = c;
        value[kept++] = p[i].top1;
    }
    if (!status && kept == 0)
        status = gm_fail(err, GM_ERR_RANGE,
                         "measured, none of %d candidates met the constraint of %.6g %s; the smallest subnet was predicted at %.6g",
                         n, q->max_cost, q->problem.unit, q->least);
    int count = status ? 0 : gm_pareto(kept, cost, value, index);
    for (int i = 0; i < count; i++) q->out->front[i] = p[number[index[i]]];
    q->out->front_count = gm_max(count, 0);
    gm_free(cost);
    gm_free(index);
    return status;
}

// The samples that no other sample beats.
static gm_status add_samples(gm__search *q, gm_error *err) {
    double *cost = gm_alloc((size_t)q->samples, sizeof *cost);
    int *index = gm_alloc((size_t)q->samples, sizeof *index);
    gm_status status = cost && index ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for the samples");
    for (int i = 0; i < q->samples && !status; i++) status = q->problem.cost(q, &q->sample[i], &cost[i], err);
    int n = status ? 0 : gm_pareto(q->samples, cost, q->sample_top1, index);
    for (int i = 0; i < n; i++)
        if (cost[index[i]] <= q->max_cost) add_candidate(q, &q->sample[index[i]]);
    gm_free(cost);
    gm_free(index);
    return status;
}

// Of an exhaustive search, the candidates are the front of all subnets.
static gm_status exhaustive_candidates(gm__search *q, gm_error *err) {
    q->candidates_most = GM_EXHAUSTIVE_LIMIT;
    q->candidate = gm_alloc(GM_EXHAUSTIVE_LIMIT, sizeof *q->candidate);
    if (!q->candidate) return gm_fail(err, GM_ERR_MEMORY, "no memory for candidates");
    return add_samples(q, err);
}

gm_status gm__search_front(gm__search *q, gm_error *err) {
    gm_status status = q->s->exhaustive ? exhaustive_candidates(q, err) : GM_OK;
    q->out->evaluated = gm_alloc((size_t)q->samples + (size_t)q->candidates, sizeof *q->out->evaluated);
    if (!status && !q->out->evaluated) status = gm_fail(err, GM_ERR_MEMORY, "no memory for the result");
    int images = q->s->exhaustive ? q->sampler.val_count : q->sampler.part_count;
    for (int i = 0; i < q->samples && !status; i++) status = add_point(q, &q->sample[i], q->sample_top1[i], images, err);
    q->out->samples = q->out->evaluated_count;
    if (!status) status = measure_candidates(q, err);
    q->out->candidates = q->out->evaluated_count - q->out->samples;
    if (!status) status = judge_candidates(q, err);
    if (!status) status = keep_front(q, err);
    return status;
}
