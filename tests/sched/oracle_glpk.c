// SPDX-License-Identifier: Apache-2.0
// The oracle against the 0/1 program of specs superserve 2.7, written down as it stands there and solved by GLPK: one variable
// I(B, phi, n, t) for every set of queries B (not only contiguous ones), subnet, worker and integer moment. All times are
// whole, so some best schedule starts every run at a whole moment (as early as it can: at an arrival or the end of a run).
#include "sched/sched_test.h"

#include <glpk.h>

enum { QUERIES = 7, SUBNETS = 3, BATCHES = 3, ROWS = 400, CASES = 400 };

typedef struct instance {
    gm_latency *l;
    int queries, workers, slots; // slots: moments 0..slots-1
    int64_t arrival[QUERIES], deadline[QUERIES];
} instance;

// Times of 1 to about 12 units, rising with the batch and along the front; batches 1, 2, 4 or 1, 2, 3.
static gm_latency *random_table(gm_rng *rng) {
    gm_profile p = {.batches = BATCHES, .batch = {1, 2, gm_rng_below(rng, 2) ? 4 : 3}, .subnets = SUBNETS};
    gm_profile_subnet rows[SUBNETS] = {0};
    gm_latency *l = NULL;
    p.subnet = rows;
    double accuracy = 60.0;
    for (int s = 0; s < SUBNETS; s++) {
        accuracy += 0.5 * (1 + (double)gm_rng_below(rng, 16));
        rows[s].id = (uint64_t)s + 1;
        rows[s].top1 = accuracy;
        for (int b = 0; b < BATCHES; b++) {
            int64_t left = b > 0 ? rows[s].p99_ns[b - 1] : 1, above = s > 0 ? rows[s - 1].p99_ns[b] : 1;
            rows[s].p99_ns[b] = rows[s].p50_ns[b] = (left > above ? left : above) + (int64_t)gm_rng_below(rng, 3);
        }
    }
    assert_int_equal(gm_latency_create(&p, NULL, &l, NULL), GM_OK);
    return l;
}

static instance random_instance(gm_rng *rng, int workers) {
    instance x = {.l = random_table(rng), .workers = workers};
    int64_t at = 0, slo = 2 + (int64_t)gm_rng_below(rng, 12), due = 0;
    bool common = gm_rng_below(rng, 2) == 0; // one SLO, or only deadlines that agree with arrivals
    x.queries = 2 + (int)gm_rng_below(rng, workers == 1 ? QUERIES - 1 : QUERIES - 2);
    for (int i = 0; i < x.queries; i++) {
        at += (int64_t)gm_rng_below(rng, 4);
        x.arrival[i] = at;
        x.deadline[i] = at + (common ? slo : 2 + (int64_t)gm_rng_below(rng, 12));
        if (x.deadline[i] < due) x.deadline[i] = due;
        due = x.deadline[i];
    }
    x.slots = (int)due;
    return x;
}

// The rows in which a run stands: its queries (1a), and its worker at every moment that it takes (1b, which includes 1d).
static int rows_of(const instance *x, unsigned batch, int worker, int start, int end, int rows[ROWS]) {
    int n = 0;
    for (int q = 0; q < x->queries; q++)
        if (batch >> q & 1) rows[++n] = 1 + q;
    for (int t = start; t < end; t++) rows[++n] = 1 + x->queries + worker * x->slots + t;
    return n;
}

static void add_runs(const instance *x, glp_prob *program, unsigned batch, int worker) {
    int size = 0, rows[ROWS];
    double ones[ROWS];
    int64_t there = 0, due = INT64_MAX;
    for (int q = 0; q < x->queries; q++) {
        if (!(batch >> q & 1)) continue;
        size++;
        there = x->arrival[q] > there ? x->arrival[q] : there;
        due = x->deadline[q] < due ? x->deadline[q] : due;
    }
    if (size > x->l->largest) return;
    for (int i = 0; i < ROWS; i++) ones[i] = 1.0;
    for (int s = 0; s < x->l->subnets; s++) {
        int64_t takes = gm_latency_ns(x->l, s, size);
        for (int64_t t = there; t + takes <= due; t++) { // (1c), (1e)
            int column = glp_add_cols(program, 1);
            int n = rows_of(x, batch, worker, (int)t, (int)(t + takes), rows);
            glp_set_col_kind(program, column, GLP_BV);
            glp_set_obj_coef(program, column, x->l->top1[s] * size);
            glp_set_mat_col(program, column, n, rows, ones);
        }
    }
}

static double solve(const instance *x) {
    glp_prob *program = glp_create_prob();
    glp_iocp settings;
    glp_set_obj_dir(program, GLP_MAX);
    glp_add_rows(program, x->queries + x->workers * x->slots);
    for (int r = 1; r <= glp_get_num_rows(program); r++) glp_set_row_bnds(program, r, GLP_UP, 0.0, 1.0);
    for (unsigned batch = 1; batch < 1u << x->queries; batch++)
        for (int w = 0; w < x->workers; w++) add_runs(x, program, batch, w);
    glp_init_iocp(&settings);
    settings.presolve = GLP_ON;
    settings.msg_lev = GLP_MSG_OFF;
    double value = 0.0;
    if (glp_get_num_cols(program) > 0) {
        assert_int_equal(glp_intopt(program, &settings), 0);
        assert_int_equal(glp_mip_status(program), GLP_OPT);
        value = glp_mip_obj_val(program);
    }
    glp_delete_prob(program);
    return value;
}

static void dynamic_programming_reaches_the_optimum_of_the_program(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < CASES; seed++) {
        gm_rng rng = gm_rng_keyed(seed, 21, 0, GM_RNG_TEST);
        instance x = random_instance(&rng, 1);
        gm_oracle o;
        assert_int_equal(gm_oracle_solve(x.l, x.arrival, x.deadline, x.queries, NULL, &o, NULL), GM_OK);
        double best = solve(&x);
        assert_true(o.exact);
        if (o.value < best - 1e-6 || o.value > best + 1e-6) fail_msg("seed %llu: %g, the program has %g", (unsigned long long)seed, o.value, best);
        gm_latency_destroy(x.l);
    }
}

static void the_bound_is_never_below_the_optimum_of_the_program(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < CASES; seed++) {
        gm_rng rng = gm_rng_keyed(seed, 22, 0, GM_RNG_TEST);
        instance x = random_instance(&rng, 1 + (int)(seed % 2));
        gm_oracle o;
        assert_int_equal(gm_oracle_bound(x.l, x.workers, x.arrival, x.deadline, x.queries, &o, NULL), GM_OK);
        double best = solve(&x);
        if (o.value < best - 1e-6) fail_msg("seed %llu: %g, the program has %g", (unsigned long long)seed, o.value, best);
        gm_latency_destroy(x.l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dynamic_programming_reaches_the_optimum_of_the_program),
        cmocka_unit_test(the_bound_is_never_below_the_optimum_of_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
