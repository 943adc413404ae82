// SPDX-License-Identifier: Apache-2.0
// The search: on cubes where everything is known, and on made-up weights whose "loss" is their distance from the original.
#include "checkpoint/quant_cube.h"
#include "quant_test.h"

typedef struct made_up {
    double weight[3], limit; // cost and precision are sums over the axes; feasible from a precision on
    int asked;
    bool seen[GM__CUBE_CELLS];
} made_up;

static gm_status made_up_cost(void *self, const gm__cell *c, double *bits, gm_error *err) {
    const made_up *m = self;
    (void)err;
    *bits = 1 + c->at[0] * m->weight[2] + c->at[1] * m->weight[0] + c->at[2] * m->weight[1];
    return GM_OK;
}

static gm_status made_up_feasible(void *self, const gm__cell *c, bool *yes, bool *stop, gm_error *err) {
    made_up *m = self;
    (void)err;
    *stop = false;
    assert_false(m->seen[gm__cell_number(c)]); // nothing is asked twice
    m->seen[gm__cell_number(c)] = true;
    m->asked++;
    *yes = c->at[0] * m->weight[0] + c->at[1] * m->weight[1] + c->at[2] * m->weight[2] >= m->limit;
    return GM_OK;
}

static void guided_search_finds_what_brute_force_finds(void **unused) {
    (void)unused;
    int asked = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
        made_up m = {.limit = (double)gm_rng_uniform(&rng) * 14}, all;
        for (int i = 0; i < 3; i++) m.weight[i] = 0.05 + (double)gm_rng_uniform(&rng);
        all = m;
        gm__cube_questions guided = {made_up_cost, made_up_feasible, &m}, brute = {made_up_cost, made_up_feasible, &all};
        gm__cell a, b;
        double bits_a = INFINITY, bits_b = INFINITY;
        bool found_a, found_b;
        assert_int_equal(gm__cube_guided(&guided, &a, &bits_a, &found_a, NULL), GM_OK);
        assert_int_equal(gm__cube_brute(&brute, &b, &bits_b, &found_b, NULL), GM_OK);
        assert_int_equal(found_a, found_b);
        if (found_a) assert_true(bits_a == bits_b);
        assert_int_equal(all.asked, GM__CUBE_CELLS);
        assert_true(m.asked < GM__CUBE_CELLS);
        asked += m.asked;
    }
    assert_true(asked < 300 * 60); // most of the 180 cells are never asked about
}

// Quality: 1 + squared distance from the original, as two "subnets": all weights, and the first tensors alone.
typedef struct meter {
    const checkpoint *c;
    double wrong[TENSORS]; // squared distances of what was put
    int calls;
    gm_status fail_with;
} meter;

static gm_status put(void *self, int tensor, const float *weights, gm_error *err) {
    meter *m = self;
    (void)err;
    m->wrong[tensor] = 0;
    for (size_t j = 0; j < test_shapes[tensor].count; j++) {
        double d = (double)(weights[j] - m->c->weights[tensor][j]);
        m->wrong[tensor] += d * d;
    }
    return GM_OK;
}

static gm_status measure(void *self, double *figure, gm_error *err) {
    meter *m = self;
    m->calls++;
    if (m->fail_with != GM_OK) return gm_fail(err, m->fail_with, "the evaluation failed");
    double all = 0, wrong = 0;
    for (int i = 0; i < TENSORS; i++) {
        wrong += m->wrong[i];
        for (size_t j = 0; j < test_shapes[i].count; j++) all += (double)m->c->weights[i][j] * (double)m->c->weights[i][j];
    }
    figure[0] = 1 + wrong / all;
    figure[1] = -1 + 2 * (m->wrong[0] + m->wrong[1]) / all; // an accuracy, with its minus sign
    return GM_OK;
}

typedef struct fixture {
    checkpoint c;
    gm__quant_settings s;
    gm__quant_search_settings search;
    gm__quant_search_result r;
    gm_error err;
    meter m;
    gm__quant_quality q;
} fixture;

static void set_up(fixture *f, uint64_t seed) {
    *f = (fixture){.s = test_settings(), .search = gm__quant_search_settings_default(), .m = {.c = &f->c}, .q = {put, measure, &f->m, 2}};
    checkpoint_make(&f->c, seed);
}

static gm_status search_with(fixture *f, const gm__quant_state *previous, const gm__quant_state *last) {
    return gm__quant_search(f->c.tensor, TENSORS, &f->s, previous, last, &f->search, &f->q, &f->r, &f->err);
}

// What was chosen is saved, and takes the place of `now`.
static void save_chosen(fixture *f, coded *now) {
    gm__quant_settings s = f->s;
    f->s.config = s.config = f->r.chosen.config;
    f->s.hint = s.hint = f->r.hint;
    if (f->r.chosen.fresh) s.stick = 0;
    coded next = encode_ok(&f->c, &s, now->state);
    coded_free(now);
    *now = next;
}

static void the_search_keeps_its_bound_and_stays_near_the_last_configuration(void **unused) {
    (void)unused;
    fixture f;
    set_up(&f, 50);
    f.search.max_drop = 0.03;
    assert_int_equal(search_with(&f, NULL, NULL), GM_OK);
    assert_true(f.r.found && f.r.chosen.feasible && f.r.chosen.drop <= 0.03);
    assert_int_equal(f.m.calls, f.r.trials + 1);
    assert_true(f.r.trials <= 6);
    double bits = f.r.chosen.bits;
    gm__quant_config first = f.r.chosen.config;
    for (int i = 0; i < f.r.trials; i++)
        if (f.r.trial[i].feasible) assert_true(f.r.trial[i].bits >= bits);
    // what encode writes is what was measured
    f.s.config = first;
    coded out = encode_ok(&f.c, &f.s, NULL);
    assert_true((double)out.bytes * 8 / (double)out.report.weights < bits * 1.1 + 0.1);
    // the next checkpoint: a few evaluations are enough
    checkpoint_train(&f.c, 51, 0.02f);
    f.m.calls = 0;
    assert_int_equal(search_with(&f, out.state, out.state), GM_OK);
    assert_true(f.r.found && f.r.chosen.drop <= 0.03);
    assert_true(f.m.calls <= 7);
    coded_free(&out);
    checkpoint_free(&f.c);
}

// A configuration that a hard time asked for is left when it is no longer needed; and a bound that became tight finds one that is
// precise enough, with few measurements.
static void the_search_goes_both_ways(void **unused) {
    (void)unused;
    fixture f;
    set_up(&f, 53);
    f.s.config = (gm__quant_config){.bins = 62, .embedding_bins = 16, .prune = 0, .protect = 0.01f};
    coded now = encode_ok(&f.c, &f.s, NULL);
    f.search.max_drop = 0.1;
    double first = 0;
    for (int step = 0; step < 12; step++) {
        checkpoint_train(&f.c, 60 + (uint64_t)step, 0.1f);
        f.search.max_drop = step < 6 ? 0.1 : 0.01;
        assert_int_equal(search_with(&f, now.state, now.state), GM_OK);
        assert_true(f.r.found && !f.r.guided && f.r.trials <= 4);
        save_chosen(&f, &now);
        if (step == 0) first = f.r.chosen.bits;
        if (step == 5) assert_true(f.s.config.bins <= 21 && f.r.chosen.bits < 0.7 * first);
    }
    assert_true(f.s.config.bins >= 10);
    coded_free(&now);
    checkpoint_free(&f.c);
}

// Whatever the measure allows, weights are at most so much more wrong than they moved; and what they moved by is known without
// the weights of before: from the error of then, or, after a restore, from what was restored.
static void the_error_is_bounded_by_what_training_moved(void **unused) {
    (void)unused;
    fixture f;
    set_up(&f, 55);
    f.s.config = (gm__quant_config){.bins = 16, .embedding_bins = 16, .prune = 0, .protect = 0.005f};
    coded now = encode_ok(&f.c, &f.s, NULL);
    f.search.max_drop = 10; // everything is good enough
    double last = 0;        // what they moved by the time before: the larger of the two counts
    for (int step = 0; step < 12; step++) {
        float share = 0.15f;
        double all = 0, moved = 0;
        bool restored = step == 9;
        if (restored)
            for (int i = 0; i < TENSORS; i++) gm__quant_values(now.state, i, f.c.weights[i]);
        float *before[TENSORS];
        for (int i = 0; i < TENSORS; i++) {
            before[i] = malloc((test_shapes[i].count + 1) * sizeof(float));
            memcpy(before[i], f.c.weights[i], test_shapes[i].count * sizeof(float));
        }
        checkpoint_train(&f.c, 70 + (uint64_t)step, share);
        for (int i = 0; i < TENSORS; i++) {
            for (size_t j = 0; j < test_shapes[i].count; j++) {
                double w = (double)f.c.weights[i][j], d = w - (double)before[i][j];
                all += w * w;
                moved += d * d;
            }
            free(before[i]);
        }
        f.search.distortion = step < 6 ? 3 : 1;
        f.search.restored = restored;
        assert_int_equal(search_with(&f, now.state, now.state), GM_OK);
        assert_true(fabs(f.r.hint.moved / (moved / all) - 1) < (restored ? 1e-6 : 0.2));
        assert_true(f.r.found && f.r.chosen.error <= f.r.max_error);
        double counts = fmax(f.r.hint.moved, fmin(last, 4 * f.r.hint.moved));
        assert_true(fabs(f.r.max_error / (f.search.distortion * counts) - 1) < 1e-9);
        last = f.r.hint.moved;
        if (step == 5) assert_true(f.r.chosen.error > f.r.hint.moved); // room that is given is used
        save_chosen(&f, &now);
    }
    // A checkpoint soon after another is not asked to be as fine as that alone would say.
    checkpoint_train(&f.c, 90, 0.01f);
    assert_int_equal(search_with(&f, now.state, now.state), GM_OK);
    assert_true(f.r.found && f.r.max_error > 2 * f.r.hint.moved);
    // Weights of other tensors than those of the last checkpoint: nothing is known of their movement.
    f.c.tensor[1].shape.name = "another";
    assert_int_equal(search_with(&f, NULL, now.state), GM_OK);
    assert_true(f.r.found && f.r.hint.moved == 0 && isinf(f.r.max_error));
    coded_free(&now);
    checkpoint_free(&f.c);
}

// Weights that moved far once are no reason for fewer bins, which would have to be taken back; weights that did so twice are.
static void a_coarser_configuration_must_do_for_two_movements(void **unused) {
    (void)unused;
    fixture f;
    set_up(&f, 56);
    f.s.config = (gm__quant_config){.bins = 20, .embedding_bins = 16, .prune = 0, .protect = 0.005f};
    coded now = encode_ok(&f.c, &f.s, NULL);
    f.search.max_drop = 10;
    f.search.distortion = 2;
    gm__quant_config settled = f.s.config;
    for (int step = 0; step < 10; step++) {
        checkpoint_train(&f.c, 110 + (uint64_t)step, step < 8 ? 0.1f : 0.3f);
        assert_int_equal(search_with(&f, now.state, now.state), GM_OK);
        assert_true(f.r.found && f.r.chosen.error <= f.r.max_error);
        save_chosen(&f, &now);
        if (step == 7) settled = f.s.config;
        if (step == 8) assert_int_equal(f.s.config.bins, settled.bins);
    }
    assert_true(f.s.config.bins < settled.bins);
    coded_free(&now);
    checkpoint_free(&f.c);
}

static void impossible_bounds_broken_measures_and_spent_budgets_are_told(void **unused) {
    (void)unused;
    fixture f;
    set_up(&f, 52);
    size_t live = gm_alloc_live();
    f.search.max_drop = 1e-9;
    assert_int_equal(search_with(&f, NULL, NULL), GM_OK);
    assert_false(f.r.found);
    f.search.max_drop = 0.03;
    f.search.most_trials = 3;
    assert_int_equal(search_with(&f, NULL, NULL), GM_OK);
    assert_true(f.r.trials <= 3);
    f.m.fail_with = GM_ERR_IO;
    assert_int_equal(search_with(&f, NULL, NULL), GM_ERR_IO);
    f.m.fail_with = GM_OK;
    f.q.metrics = 0;
    assert_int_equal(search_with(&f, NULL, NULL), GM_ERR_RANGE);
    f.q.metrics = 2;
    for (long n = 1; n <= 120; n += 2) {
        gm_alloc_fail_at(n);
        gm_status status = search_with(&f, NULL, NULL);
        gm_alloc_fail_at(0);
        assert_true(status == GM_ERR_MEMORY || status == GM_OK);
        assert_int_equal(gm_alloc_live(), live);
    }
    checkpoint_free(&f.c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guided_search_finds_what_brute_force_finds),
        cmocka_unit_test(the_search_keeps_its_bound_and_stays_near_the_last_configuration),
        cmocka_unit_test(the_search_goes_both_ways),
        cmocka_unit_test(the_error_is_bounded_by_what_training_moved),
        cmocka_unit_test(a_coarser_configuration_must_do_for_two_movements),
        cmocka_unit_test(impossible_bounds_broken_measures_and_spent_budgets_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
