// SPDX-License-Identifier: Apache-2.0
// Aggregation of the gradients of a step's subnets (the options of Delayed epsilon-Shrinking's code). They already add up in
// one buffer; here each element is divided by the sum of the weights (beta) of the subnets that use it, or by its root.
// Slices are prefixes, so which subnets use an element follows from its row and column alone: no masks are built.
#include "train/run.h"

#include <math.h>

typedef struct use { // of one parameter by one subnet
    int extent[4];
    double weight;
} use;

static float divisor(gm_aggregation how, double sum) {
    if (!(sum > 0)) return 1;
    return (float)(how == GM_AGGREGATION_AVG ? sum : sqrt(sum));
}

static bool in_centre(int at, int extent, int stored) {
    int first = (stored - extent) / 2;
    return at >= first && at < first + extent;
}

static double weight_at(const use *uses, int count, const int dims[4], int o, int i, int y, int x) {
    double sum = 0;
    for (int s = 0; s < count; s++) {
        const int *e = uses[s].extent;
        if (o < e[0] && i < e[1] && in_centre(y, e[2], dims[2]) && in_centre(x, e[3], dims[3])) sum += uses[s].weight;
    }
    return sum;
}

// Outputs that every subnet cuts alike share their row of divisors.
static bool same_uses(const use *uses, int count, int o) {
    for (int s = 0; s < count; s++)
        if ((o < uses[s].extent[0]) != (o - 1 < uses[s].extent[0])) return false;
    return o > 0;
}

static void divide(const gm_param *p, gm_aggregation how, const use *uses, int count, float *row, float *grads) {
    const int *d = p->dims;
    size_t columns = (size_t)d[1] * (size_t)d[2] * (size_t)d[3];
    for (int o = 0; o < d[0]; o++) {
        if (!same_uses(uses, count, o))
            for (size_t e = 0; e < columns; e++) {
                int x = (int)(e % (size_t)d[3]), y = (int)(e / (size_t)d[3] % (size_t)d[2]);
                int i = (int)(e / ((size_t)d[2] * (size_t)d[3]));
                row[e] = 1 / divisor(how, weight_at(uses, count, d, o, i, y, x));
            }
        for (size_t e = 0; e < columns; e++) grads[p->offset + gm_param_index(p, (size_t)o * columns + e)] *= row[e];
    }
}

gm_status gm__aggregate(const gm_graph *g, gm_aggregation how, const gm__step_plan *plan, float *grads, gm_error *err) {
    if (how == GM_AGGREGATION_SUM) return GM_OK;
    gm_resolved resolved[GM__MAX_SLOTS] = {0};
    gm_status status = GM_OK;
    size_t widest = 1;
    for (int p = 0; p < g->params; p++) {
        const int *d = g->param[p].dims;
        size_t columns = (size_t)d[1] * (size_t)d[2] * (size_t)d[3];
        if (columns > widest) widest = columns;
    }
    float *row = gm_alloc(widest, sizeof *row);
    if (!row) return gm_fail(err, GM_ERR_MEMORY, "no memory to aggregate gradients");
    for (int s = 0; s < plan->slots && status == GM_OK; s++) {
        status = gm_resolved_init(&resolved[s], g, err);
        if (status == GM_OK) status = gm_resolve(g, &plan->slot[s].choice, &resolved[s], err);
    }
    for (int node = 0; node < g->nodes && status == GM_OK; node++)
        for (int j = 0; j < GM_MAX_NODE_PARAMS; j++) {
            if (g->node[node].param[j] < 0 || !g->node[node].op->slice) continue;
            use uses[GM__MAX_SLOTS];
            int count = 0;
            for (int s = 0; s < plan->slots; s++) {
                if (!resolved[s].node[node].active) continue;
                uses[count].weight = plan->slot[s].beta;
                g->node[node].op->slice(g, node, &resolved[s], j, uses[count++].extent);
            }
            divide(&g->param[g->node[node].param[j]], how, uses, count, row, grads);
        }
    for (int s = 0; s < plan->slots; s++) gm_resolved_fini(&resolved[s]);
    gm_free(row);
    return status;
}
