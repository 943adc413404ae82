// SPDX-License-Identifier: Apache-2.0
// Costs of a search: multiply-accumulates, or milliseconds from a table.
#include <math.h>

#include "search/search_state.h"

static gm_status cost_macs(void *self, const gm_choice *choice, double *cost, gm_error *err) {
    const gm__search *q = self;
    gm_cost count;
    gm_status status = gm_count(q->model->graph, choice, &count, err);
    *cost = (double)count.macs;
    return status;
}

static gm_status cost_measured(void *self, const gm_choice *choice, double *cost, gm_error *err) {
    const gm__search *q = self;
    return gm_latency_model_run(q->latency, choice, cost, err);
}

// Published tables are of one resolution each: the one that has the subnet counts.
static gm_status cost_published(void *self, const gm_choice *choice, double *cost, gm_error *err) {
    const gm__search *q = self;
    gm_status status = GM_ERR_NOT_FOUND;
    for (int i = 0; i < q->s->tables && status == GM_ERR_NOT_FOUND; i++)
        status = gm_latency_table_sum(q->s->table[i], q->model->graph, choice, cost, err);
    if (status != GM_ERR_NOT_FOUND) return status;
    *cost = INFINITY; // a resolution that no table has: never within a constraint
    return GM_OK;
}

static gm_status fit_table(gm__search *q, gm_error *err) {
    int count = gm_max(q->s->latency_samples, 3);
    gm_choice *choice = gm_alloc((size_t)count, sizeof *choice);
    double *ms = gm_alloc((size_t)count, sizeof *ms);
    gm_status status = choice && ms ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to time %d subnets", count);
    gm_rng rng = gm_rng_keyed(q->s->seed, 1, 0, GM_RNG_SEARCH);
    for (int i = 0; i < count && !status; i++)
        choice[i] = i == 0 ? gm_choice_min(q->space) : i == 1 ? gm_choice_max(q->space) : gm_choice_random(q->space, &rng);
    if (!status) status = gm__sampler_latency(&q->sampler, choice, count, ms, err);
    if (!status) status = gm_latency_model_fit(q->model->graph, choice, ms, count, &q->latency, &q->out->latency, err);
    gm_free(choice);
    gm_free(ms);
    return status;
}

gm_status gm__search_costs(gm__search *q, gm_error *err) {
    bool latency = q->s->objective == GM_OBJECTIVE_LATENCY;
    q->problem.self = q;
    q->problem.space = q->space;
    q->problem.unit = latency ? "ms" : "MACs";
    q->problem.cost = !latency ? cost_macs : q->s->tables > 0 ? cost_published : cost_measured;
    q->max_cost = q->s->max_cost > 0 ? q->s->max_cost : INFINITY;
    gm_status status = GM_OK;
    if (q->problem.cost == cost_measured) status = fit_table(q, err);
    if (!status) status = gm__evolve_check(&q->problem, q->max_cost, &q->least, err);
    gm_choice largest = gm_choice_max(q->space);
    if (!status) status = q->problem.cost(q, &largest, &q->most, err);
    if (!status && !(q->least > 0 && isfinite(q->least) && isfinite(q->most)))
        status = gm_fail(err, GM_ERR_NOT_FOUND,
                         "the latency tables lack the smallest or the largest subnet: they are of another width or resolution");
    return status;
}
