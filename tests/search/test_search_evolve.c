// SPDX-License-Identifier: Apache-2.0
// Evolution under a constraint, on a function whose optimum is known by enumeration.
#include "search_test.h"

#include <math.h>

typedef struct known {
    const gm_graph *g;
    int asked;
    double best, max_cost; // of the enumeration
    gm_choice best_choice;
    int fail_after; // calls of values until one fails; 0: never
} known;

// More of everything is better, with weights that differ and an interaction, so that the optimum is not a corner.
static double value_of(const gm_space *space, const gm_choice *c) {
    double v = 0;
    for (int k = 0; k < space->knobs; k++) {
        double part = (double)c->index[k] / (space->knob[k].count > 1 ? space->knob[k].count - 1 : 1);
        v += part * (0.3 + 0.1 * ((k * 5) % 7)) + (k > 0 ? 0.05 * part * c->index[k - 1] : 0);
    }
    return v;
}

static gm_status values(void *self, const gm_choice *c, int count, double *value, gm_error *err) {
    known *k = self;
    if (k->fail_after > 0 && --k->fail_after == 0) return gm_fail(err, GM_ERR_NUMERIC, "made to fail");
    for (int i = 0; i < count; i++) value[i] = value_of(&k->g->space, &c[i]);
    k->asked += count;
    return GM_OK;
}

static gm_status macs(void *self, const gm_choice *c, double *cost, gm_error *err) {
    known *k = self;
    gm_cost count;
    gm_status status = gm_count(k->g, c, &count, err);
    *cost = (double)count.macs;
    return status;
}

static bool visit(void *context, const gm_choice *c) {
    known *k = context;
    double cost, value = value_of(&k->g->space, c);
    gm_error err;
    if (macs(k, c, &cost, &err) == GM_OK && cost <= k->max_cost && value > k->best) {
        k->best = value;
        k->best_choice = *c;
    }
    return true;
}

static gm_evolution_problem problem_of(known *k) {
    return (gm_evolution_problem){.space = &k->g->space, .values = values, .cost = macs, .unit = "MACs", .self = k};
}

static void the_optimum_of_a_small_space_is_found(void **state) {
    (void)state;
    gm_graph *g = graph_of("resnet-28", NULL);
    gm_error err = {0};
    gm_choice least = gm_choice_min(&g->space), most = gm_choice_max(&g->space);
    gm_cost a, b;
    assert_ok(gm_count(g, &least, &a, &err));
    assert_ok(gm_count(g, &most, &b, &err));
    for (int step = 1; step <= 4; step++) {
        known k = {.g = g, .best = -1, .max_cost = (double)a.macs + (double)(b.macs - a.macs) * step / 4};
        gm_evolution_problem problem = problem_of(&k);
        gm_evolution_settings s = gm_evolution_settings_default();
        gm_candidate best[5];
        int count = 0;
        s.iterations = 60;
        s.seed = (uint64_t)step;
        assert_ok(gm_space_enumerate(&g->space, 4000, visit, &k, &err));
        assert_ok(gm_evolve(&problem, &s, k.max_cost, NULL, 0, best, 5, &count, &err));
        assert_int_equal(count, 5);
        assert_near(best[0].value, k.best, 1e-9);
        for (int i = 0; i < count; i++) {
            assert_true(best[i].cost <= k.max_cost);
            if (i > 0) assert_true(best[i].value <= best[i - 1].value);
            if (i > 0) assert_true(memcmp(&best[i].choice, &best[i - 1].choice, sizeof(gm_choice)) != 0);
        }
        // the same seed gives the same result
        gm_candidate again[5];
        assert_ok(gm_evolve(&problem, &s, k.max_cost, NULL, 0, again, 5, &count, &err));
        for (int i = 0; i < 5; i++) assert_memory_equal(&again[i].choice, &best[i].choice, sizeof(gm_choice));
        // and what it begins with is never lost
        s.iterations = 0;
        assert_ok(gm_evolve(&problem, &s, k.max_cost, best, 5, again, 1, &count, &err));
        assert_near(again[0].value, best[0].value, 1e-9);
    }
    gm_graph_destroy(g);
}

static void a_constraint_below_the_smallest_subnet_is_an_error(void **state) {
    (void)state;
    gm_graph *g = graph_of("mbv3-32", NULL);
    known k = {.g = g};
    gm_evolution_problem problem = problem_of(&k);
    gm_evolution_settings s = gm_evolution_settings_default();
    gm_candidate best;
    gm_error err = {0};
    gm_choice least = gm_choice_min(&g->space);
    int count = 7;
    double cost;
    assert_int_equal(gm_evolve(&problem, &s, 1e6, NULL, 0, &best, 1, &count, &err), GM_ERR_RANGE);
    assert_int_equal(count, 0);
    assert_int_equal(k.asked, 0);
    assert_ok(macs(&k, &least, &cost, &err));
    char text[32];
    snprintf(text, sizeof text, "%.6g MACs", cost);
    assert_int_equal(gm_evolve(&problem, &s, 1e6, NULL, 0, &best, 1, &count, &err), GM_ERR_RANGE);
    assert_non_null(strstr(err.text, text)); // it names what the smallest costs
    // Just affordable: random draws hardly ever are, and yet it ends.
    s.population = 20;
    s.iterations = 3;
    s.tries = 5;
    assert_ok(gm_evolve(&problem, &s, cost * 1.001, NULL, 0, &best, 1, &count, &err));
    assert_int_equal(count, 1);
    assert_true(best.cost <= cost * 1.001);
    gm_graph_destroy(g);
}

static void failures_are_passed_on(void **state) {
    (void)state;
    gm_graph *g = graph_of("resnet-28", NULL);
    known k = {.g = g, .fail_after = 3};
    gm_evolution_problem problem = problem_of(&k);
    gm_evolution_settings s = gm_evolution_settings_default();
    gm_candidate best;
    gm_error err = {0};
    int count;
    s.population = 10;
    s.iterations = 5;
    assert_int_equal(gm_evolve(&problem, &s, INFINITY, NULL, 0, &best, 1, &count, &err), GM_ERR_NUMERIC);
    for (long n = 1; n <= 3; n++) {
        gm_alloc_fail_at(n);
        assert_int_equal(gm_evolve(&problem, &s, INFINITY, NULL, 0, &best, 1, &count, &err), GM_ERR_MEMORY);
        gm_alloc_fail_at(0);
    }
    s.population = 0;
    assert_int_equal(gm_evolve(&problem, &s, INFINITY, NULL, 0, &best, 1, &count, &err), GM_ERR_ARGUMENT);
    gm_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_optimum_of_a_small_space_is_found),
        cmocka_unit_test(a_constraint_below_the_smallest_subnet_is_an_error),
        cmocka_unit_test(failures_are_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
