// SPDX-License-Identifier: Apache-2.0
// A latency table of this machine, keyed by the resolved geometry of an operation and estimated from whole runs (see the
// public header). Least squares of relative errors, drawn towards a straight line in MACs, entries never below zero.
#include <gamut/search.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct operation { // the key; norms, activations and residuals run inside these
    int32_t op, h, w, c, ho, wo, k, kernel, stride, hidden;
    int32_t padding[2];
} operation;

enum { MOST_OPERATIONS = 20000 };

struct gm_latency_model {
    const gm_graph *graph;
    gm_resolved resolved;
    operation *key;  // [operations], sorted
    double *ms;      // [operations]
    double *macs;    // [operations]
    int operations, capacity;
    double constant, per_mac, per_operation; // ms; the line that unknown operations follow
};

typedef struct counted { // what one subnet consists of
    operation key;
    double macs;
} counted;

static int compare_operations(const void *a, const void *b) { return memcmp(a, b, sizeof(operation)); }

static int op_number(const gm_op *op) {
    int count;
    const gm_op *const *ops = gm_ops(&count);
    for (int i = 0; i < count; i++)
        if (ops[i] == op) return i;
    return -1;
}

// The operations of a subnet that have multiply-adds. list holds graph->nodes.
static gm_status list_operations(gm_latency_model *l, const gm_choice *choice, counted *list, int *count, gm_error *err) {
    const gm_graph *g = l->graph;
    gm_status status = gm_resolve(g, choice, &l->resolved, err);
    *count = 0;
    for (int i = 0; i < g->nodes && !status; i++) {
        const gm_resolved_node *r = &l->resolved.node[i];
        const gm_node *n = &g->node[i];
        gm_cost cost = {0};
        if (!r->active || r->source != i || !n->op->cost) continue;
        n->op->cost(g, i, &l->resolved, &cost);
        if (cost.macs == 0) continue;
        counted *c = &list[(*count)++];
        *c = (counted){.macs = (double)cost.macs};
        c->key = (operation){op_number(n->op), r->in.h, r->in.w, r->in.c, r->out.h, r->out.w, r->out.c,
                             r->kernel ? r->kernel : n->taps, n->stride, r->hidden, {0, 0}};
    }
    return status;
}

static int find(const gm_latency_model *l, const operation *key) {
    if (l->operations == 0) return -1;
    const operation *found = bsearch(key, l->key, (size_t)l->operations, sizeof *key, compare_operations);
    return found ? (int)(found - l->key) : -1;
}

typedef struct fit {
    gm_latency_model *l;
    const gm_choice *choice;
    const double *ms;
    int count, trained;
    counted *list;  // [graph->nodes]
    double *amount; // [count][operations]: how often a sample has an operation
    double *rest;   // [trained] measured - predicted
} fit;

static gm_status collect_keys(fit *f, gm_error *err) {
    gm_latency_model *l = f->l;
    for (int i = 0; i < f->trained; i++) {
        int n;
        gm_status status = list_operations(l, &f->choice[i], f->list, &n, err);
        if (status) return status;
        if (l->operations + n > l->capacity) {
            int capacity = 2 * l->capacity + n;
            operation *grown = gm_realloc(l->key, (size_t)l->capacity, (size_t)capacity, sizeof *grown);
            if (!grown) return gm_fail(err, GM_ERR_MEMORY, "no memory for a latency table");
            l->key = grown;
            l->capacity = capacity;
        }
        for (int j = 0; j < n; j++) l->key[l->operations++] = f->list[j].key;
        qsort(l->key, (size_t)l->operations, sizeof *l->key, compare_operations);
        int kept = 0;
        for (int j = 0; j < l->operations; j++)
            if (kept == 0 || compare_operations(&l->key[kept - 1], &l->key[j]) != 0) l->key[kept++] = l->key[j];
        l->operations = kept;
        if (kept > MOST_OPERATIONS) return gm_fail(err, GM_ERR_RANGE, "more than %d different operations", MOST_OPERATIONS);
    }
    return GM_OK;
}

static gm_status count_operations(fit *f, gm_error *err) {
    gm_latency_model *l = f->l;
    size_t n = (size_t)l->operations;
    f->amount = gm_alloc((size_t)f->trained, n * sizeof *f->amount);
    f->rest = gm_alloc((size_t)f->trained, sizeof *f->rest);
    l->ms = gm_alloc(n, sizeof *l->ms);
    l->macs = gm_alloc(n, sizeof *l->macs);
    if (!f->amount || !f->rest || !l->ms || !l->macs) return gm_fail(err, GM_ERR_MEMORY, "no memory for a latency table");
    for (int i = 0; i < f->trained; i++) {
        int parts;
        gm_status status = list_operations(l, &f->choice[i], f->list, &parts, err);
        if (status) return status;
        for (int j = 0; j < parts; j++) {
            int k = find(l, &f->list[j].key);
            f->amount[(size_t)i * n + (size_t)k] += 1;
            l->macs[k] = f->list[j].macs;
        }
    }
    return GM_OK;
}

// One unknown of a non-negative least squares at its best value, the others fixed. Weights are 1/ms^2: relative errors.
// column(i) = a[i*stride]; NULL: all 1. prior and its weight pull towards a value.
static double improve(fit *f, const double *a, size_t stride, double now, double prior, double pull) {
    double up = pull * (prior - now), down = pull;
    for (int i = 0; i < f->trained; i++) {
        double x = a ? a[(size_t)i * stride] : 1, w = 1 / (f->ms[i] * f->ms[i]);
        up += w * x * f->rest[i];
        down += w * x * x;
    }
    double next = down > 0 ? fmax(0, now + up / down) : now;
    for (int i = 0; i < f->trained; i++) f->rest[i] -= (next - now) * (a ? a[(size_t)i * stride] : 1);
    return next;
}

// ms = constant + per_mac * MACs + per_operation * operations
static gm_status fit_line(fit *f, gm_error *err) {
    enum { SWEEPS = 500 };
    gm_latency_model *l = f->l;
    size_t n = (size_t)l->operations;
    double *sums = gm_alloc((size_t)f->trained, 2 * sizeof *sums);
    if (!sums) return gm_fail(err, GM_ERR_MEMORY, "no memory for a latency table");
    double scale = 0; // MACs in units that keep the problem well conditioned
    for (int i = 0; i < f->trained; i++) {
        for (size_t k = 0; k < n; k++) {
            sums[2 * i] += f->amount[(size_t)i * n + k] * l->macs[k];
            sums[2 * i + 1] += f->amount[(size_t)i * n + k];
        }
        scale = fmax(scale, sums[2 * i]);
        f->rest[i] = f->ms[i];
    }
    double per_mac = 0;
    for (int i = 0; i < f->trained; i++) sums[2 * i] /= scale;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        per_mac = improve(f, sums, 2, per_mac, 0, 0);
        l->per_operation = improve(f, sums + 1, 2, l->per_operation, 0, 0);
        l->constant = improve(f, NULL, 0, l->constant, 0, 0);
    }
    l->per_mac = per_mac / scale;
    gm_free(sums);
    return GM_OK;
}

// Every operation its own time. A time is believed to be within about half of what the line says (NOISE and SPREAD are
// relative standard deviations of a measurement and of an entry).
static void fit_operations(fit *f) {
    enum { SWEEPS = 200 };
    static const double noise = 0.02, spread = 0.5;
    gm_latency_model *l = f->l;
    size_t n = (size_t)l->operations;
    for (size_t k = 0; k < n; k++) l->ms[k] = l->per_mac * l->macs[k] + l->per_operation;
    double mean = 0;
    for (int i = 0; i < f->trained; i++) {
        f->rest[i] = f->ms[i] - l->constant;
        for (size_t k = 0; k < n; k++) f->rest[i] -= f->amount[(size_t)i * n + k] * l->ms[k];
        mean += f->ms[i] / f->trained;
    }
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        for (size_t k = 0; k < n; k++) {
            double prior = l->per_mac * l->macs[k] + l->per_operation, sd = fmax(prior, 1e-3 * mean) * spread;
            l->ms[k] = improve(f, f->amount + k, n, l->ms[k], prior, noise * noise / (sd * sd));
        }
        l->constant = improve(f, NULL, 0, l->constant, 0, 0);
    }
}

static gm_status judge(fit *f, gm_latency_report *report, gm_error *err) {
    int held = f->count - f->trained;
    *report = (gm_latency_report){.operations = f->l->operations, .trained = f->trained, .held_out = held, .tau = NAN, .error = NAN};
    if (held < 1) return GM_OK;
    double *predicted = gm_alloc((size_t)held, sizeof *predicted), sum = 0;
    if (!predicted) return gm_fail(err, GM_ERR_MEMORY, "no memory to judge a latency table");
    gm_status status = GM_OK;
    for (int i = 0; i < held && !status; i++) {
        status = gm_latency_model_run(f->l, &f->choice[f->trained + i], &predicted[i], err);
        sum += fabs(predicted[i] / f->ms[f->trained + i] - 1);
    }
    report->tau = gm_kendall_tau(held, predicted, f->ms + f->trained);
    report->error = sum / held;
    gm_free(predicted);
    return status;
}

gm_status gm_latency_model_fit(const gm_graph *g, const gm_choice *choice, const double *ms, int count,
                               gm_latency_model **out, gm_latency_report *report, gm_error *err) {
    enum { LEAST_HELD_OUT = 10 };
    *out = NULL;
    if (count < 1) return gm_fail(err, GM_ERR_RANGE, "no samples for a latency table");
    for (int i = 0; i < count; i++)
        if (!(ms[i] > 0 && ms[i] < 1e9)) return gm_fail(err, GM_ERR_RANGE, "sample %d has a latency of %g ms", i, ms[i]);
    int held = count / 5;
    fit f = {.choice = choice, .ms = ms, .count = count, .trained = held >= LEAST_HELD_OUT ? count - held : count};
    f.l = gm_alloc(1, sizeof *f.l);
    f.list = gm_alloc((size_t)g->nodes, sizeof *f.list);
    gm_latency_report judged;
    gm_status status = f.l && f.list ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for a latency table");
    if (status) goto done;
    f.l->graph = g;
    if ((status = gm_resolved_init(&f.l->resolved, g, err)) != GM_OK) goto done;
    if ((status = collect_keys(&f, err)) != GM_OK) goto done;
    if ((status = count_operations(&f, err)) != GM_OK) goto done;
    if ((status = fit_line(&f, err)) != GM_OK) goto done;
    fit_operations(&f);
    if ((status = judge(&f, &judged, err)) != GM_OK) goto done;
    if (report) *report = judged;
done:
    gm_free(f.list);
    gm_free(f.amount);
    gm_free(f.rest);
    if (status) gm_latency_model_destroy(f.l);
    else *out = f.l;
    return status;
}

void gm_latency_model_destroy(gm_latency_model *l) {
    if (!l) return;
    gm_resolved_fini(&l->resolved);
    gm_free(l->key);
    gm_free(l->ms);
    gm_free(l->macs);
    gm_free(l);
}

gm_status gm_latency_model_run(gm_latency_model *l, const gm_choice *choice, double *ms, gm_error *err) {
    counted *list = gm_alloc((size_t)l->graph->nodes, sizeof *list);
    int n = 0;
    if (!list) return gm_fail(err, GM_ERR_MEMORY, "no memory to predict a latency");
    gm_status status = list_operations(l, choice, list, &n, err);
    *ms = l->constant;
    for (int i = 0; i < n && !status; i++) {
        int k = find(l, &list[i].key);
        *ms += k >= 0 ? l->ms[k] : l->per_mac * list[i].macs + l->per_operation;
    }
    gm_free(list);
    return status;
}
