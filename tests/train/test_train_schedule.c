// SPDX-License-Identifier: Apache-2.0
// Learning rates, the epsilon ramp of DepS, the phases of progressive shrinking, draws, and the cost ledger.
#include "train_test.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static gm_graph *small_graph(const char *preset) {
    gm_error err = {0};
    gm_graph *g = NULL;
    gm_model_settings settings = {.width = 0.25, .classes = 4};
    assert_ok(gm_model_graph(preset, &settings, &g, &err));
    return g;
}

static void learning_rates_follow_their_schedule(void **state) {
    (void)state;
    for (uint64_t t = 0; t < 1000; t += 37) {
        double p = (double)t / 1000;
        assert_true(fabs(gm__schedule_lr(GM_SCHEDULE_COSINE, 0.4, 0, t, 1000, 0) - 0.2 * (1 + cos(pi * p))) < 1e-12);
        assert_true(fabs(gm__schedule_lr(GM_SCHEDULE_LINEAR, 0.4, 0.1, t, 1000, 0) - 0.4 * (0.1 + 0.9 * (1 - p))) < 1e-12);
        assert_true(gm__schedule_lr(GM_SCHEDULE_CONSTANT, 0.4, 0, t, 1000, 0) == 0.4);
    }
    assert_true(gm__schedule_lr(GM_SCHEDULE_COSINE, 1, 0.05, 999, 1000, 0) == 0.05); // the floor
    // warm-up: a straight line that meets the schedule at its peak
    assert_true(gm__schedule_lr(GM_SCHEDULE_COSINE, 1, 0, 0, 1000, 100) == 0.01);
    assert_true(gm__schedule_lr(GM_SCHEDULE_COSINE, 1, 0, 99, 1000, 100) == 1);
    assert_true(gm__schedule_lr(GM_SCHEDULE_COSINE, 1, 0, 100, 1000, 100) == 1);
}

static gm__context context_of(const gm_train_settings *s, const gm_graph *g, uint64_t per_epoch) {
    gm_error err = {0};
    gm__context c;
    assert_ok(gm__context_init(&c, s, g, per_epoch, &err));
    assert_ok(gm__context_plan_length(&c, &err));
    return c;
}

// The published constants: ImageNet, 270 epochs, D = 150, W = 5, lr 2.6.
static void epsilon_ramps_to_the_learning_rate_after_the_delay(void **state) {
    (void)state;
    gm_graph *g = small_graph("resnet-28");
    gm_train_settings s = small_settings();
    s.epochs = 270;
    s.lr = 2.6f;
    s.warmup = 0;
    s.delay = 150.0f / 270;
    s.ramp = 5.0f / 270;
    gm__context c = context_of(&s, g, 100);
    assert_int_equal(c.delay, 15000);
    assert_int_equal(c.ramp, 500);
    double eta_delay = 0.5 * (double)s.lr * (1 + cos(pi * 151 / 270)), before = 0;
    for (uint64_t t = 14500; t < 15100; t++) {
        gm__step_plan plan;
        gm__strategy_deps.plan(&c, t, &plan);
        assert_int_equal(plan.slots, 4);
        double effective = plan.slot[1].beta * plan.lr;
        if (t < 15000) { // a straight line from 0: each step adds the same
            assert_true(fabs(effective - before - eta_delay / 500) < 1e-9);
            before = effective;
        } else {
            assert_true(plan.slot[1].beta == 1);
        }
        if (t == 15000) assert_true(effective / before > 1 && effective / before < 1.02); // one epoch of cosine
    }
    assert_true(fabs(before - eta_delay) < 1e-9);
    // In a run of few epochs the ramp still meets the schedule.
    s.epochs = 4;
    s.delay = 0.5f;
    s.ramp = 0.1f;
    c = context_of(&s, g, 100);
    gm__step_plan last, first;
    gm__strategy_deps.plan(&c, c.delay - 1, &last);
    gm__strategy_deps.plan(&c, c.delay, &first);
    assert_true(fabs(last.slot[1].beta * last.lr / first.lr - 1) < 0.04);
    gm_graph_destroy(g);
}

static void the_sandwich_has_its_order(void **state) {
    (void)state;
    gm_graph *g = small_graph("mbv3-32");
    gm_train_settings s = small_settings();
    s.strategy = GM_STRATEGY_BIGNAS;
    gm__context c = context_of(&s, g, 20);
    gm__step_plan plan, again;
    gm__strategy_bignas.plan(&c, 5, &plan);
    gm__strategy_bignas.plan(&c, 5, &again);
    assert_memory_equal(&plan.slot, &again.slot, sizeof plan.slot[0] * 4);
    assert_true(gm_choice_equal(&g->space, &plan.slot[0].choice, &c.max));
    assert_true(gm_choice_equal(&g->space, &plan.slot[1].choice, &c.min));
    assert_true(plan.slot[0].dropout && !plan.slot[1].dropout && !plan.slot[3].dropout);
    assert_int_equal(plan.slot[0].loss, GM__LOSS_LABELS);
    assert_int_equal(plan.slot[3].loss, GM__LOSS_IN_PLACE);
    assert_false(gm_choice_equal(&g->space, &plan.slot[2].choice, &plan.slot[3].choice));
    gm_graph_destroy(g);
}

static void progressive_shrinking_opens_one_dimension_after_the_other(void **state) {
    (void)state;
    gm_graph *g = small_graph("mbv3-32");
    gm_train_settings s = small_settings();
    s.strategy = GM_STRATEGY_OFA;
    s.epochs = 605;
    gm__context c = context_of(&s, g, 10);
    static const int ends[6] = {180, 305, 330, 455, 480, 605};
    static const int slots[6] = {1, 1, 2, 2, 4, 4};
    assert_int_equal(c.phases, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(c.phase[i].end, ends[i] * 10);
        gm__step_plan plan;
        gm__strategy_ofa.plan(&c, c.phase[i].begin + 30, &plan);
        assert_int_equal(plan.slots, slots[i]);
        assert_int_equal(plan.slot[0].loss, i == 0 ? GM__LOSS_LABELS : GM__LOSS_TEACHER);
    }
    for (int k = 0; k < g->space.knobs; k++) {
        const char *kind = g->space.group[g->space.knob[k].group].kind;
        int all = g->space.knob[k].count - 1;
        int opens = strcmp(kind, "kernel") == 0 ? 1 : strcmp(kind, "depth") == 0 ? 2 : 4;
        for (int i = 0; i < 6; i++) {
            int low = i < opens ? all : opens > 1 && i == opens ? all - 1 : 0;
            assert_int_equal(c.phase[i].low[k], low);
        }
    }
    assert_true(c.phase[1].take_teacher && !c.phase[2].take_teacher);
    assert_int_equal(c.phase[4].sort_stage, 0);
    assert_int_equal(c.phase[5].sort_stage, 1);
    gm_graph_destroy(g);
    // without kernel knobs that phase goes and its share is spread
    g = small_graph("resnet-28");
    s.preset[0] = 'r';
    c = context_of(&s, g, 10);
    assert_int_equal(c.steps, 6050);
    assert_int_equal(c.phase[c.phases - 1].end, 6050);
    for (int i = 0; i < c.phases; i++) assert_string_not_equal(c.phase[i].name, "kernel");
    gm_graph_destroy(g);
}

static void compound_draws_couple_depth_and_expand(void **state) {
    (void)state;
    gm_graph *g = small_graph("mbv3-32");
    gm_train_settings s = small_settings();
    s.strategy = GM_STRATEGY_COMPOFA;
    s.model.kernel_fixed = 7;
    gm__context c = context_of(&s, g, 10);
    int seen[3] = {0};
    uint8_t low[GM_MAX_KNOBS] = {0};
    for (uint64_t t = 0; t < 200; t++) {
        gm_choice choice = gm__draw(&c, low, t, 0);
        for (int k = 0; k < g->space.knobs; k++) {
            if (strcmp(g->space.group[g->space.knob[k].group].kind, "expand") != 0) continue;
            // blocks 4s to 4s+3 belong to stage s, whose depth knob is number s
            int first = k;
            while (first > 0 && g->space.knob[first - 1].group == g->space.knob[k].group) first--;
            int depth = -1, stage = (k - first) / 4, at = 0;
            for (int d = 0; d < g->space.knobs; d++)
                if (strcmp(g->space.group[g->space.knob[d].group].kind, "depth") == 0 && at++ == stage) depth = d;
            assert_true(depth >= 0);
            assert_int_equal(choice.index[k], choice.index[depth]);
        }
        seen[choice.index[0]]++;
    }
    for (int i = 0; i < 3; i++) assert_true(seen[i] > 30);
    gm_graph_destroy(g);
}

static void a_budget_sets_the_length_of_the_run(void **state) {
    (void)state;
    gm_error err = {0};
    gm_graph *g = small_graph("resnet-28");
    for (int strategy = GM_STRATEGY_PLAIN; strategy <= GM_STRATEGY_DEPS; strategy++) {
        gm_train_settings s = small_settings();
        s.strategy = (gm_strategy)strategy;
        s.epochs = 20;
        gm__context c = context_of(&s, g, 50);
        double macs = 0;
        assert_ok(gm__expected_macs(&c, 0, 1 << 20, &macs, &err)); // exact
        s.max_macs = macs;
        s.epochs = 3; // does not count now
        c = context_of(&s, g, 50);
        assert_true(fabs((double)c.steps - 1000) <= 20);
        assert_ok(gm__expected_macs(&c, 0, 1 << 20, &macs, &err));
        assert_true(fabs(macs / s.max_macs - 1) < 0.02);
    }
    gm_graph_destroy(g);
}

static void a_step_costs_what_its_subnets_cost(void **state) {
    (void)state;
    gm_error err = {0};
    gm_graph *g = small_graph("resnet-28");
    gm_train_settings s = small_settings();
    s.strategy = GM_STRATEGY_OFA;
    gm__context c = context_of(&s, g, 100);
    gm__step_plan plan;
    uint64_t macs = 0, expected = 0;
    gm_cost cost;
    gm__strategy_ofa.plan(&c, c.steps - 1, &plan);
    assert_ok(gm__step_macs(&c, 0, &plan, &macs, &err));
    for (int i = 0; i < plan.slots; i++) {
        assert_ok(gm_count(g, &plan.slot[i].choice, &cost, &err));
        expected += cost.macs * 3 * (uint64_t)s.batch;
    }
    assert_ok(gm_count(g, &c.max, &cost, &err)); // the teacher's forward
    assert_int_equal(macs, expected + cost.macs * (uint64_t)s.batch);
    gm_graph_destroy(g);
}

static void wrong_settings_are_named(void **state) {
    (void)state;
    gm_error err = {0};
    gm_train_settings s = gm_train_settings_default();
    assert_ok(gm__settings_check(&s, &err));
    s.lr = NAN;
    assert_int_equal(gm__settings_check(&s, &err), GM_ERR_RANGE);
    assert_non_null(strstr(err.text, "lr"));
    s = gm_train_settings_default();
    s.subnets = 65;
    assert_int_equal(gm__settings_check(&s, &err), GM_ERR_RANGE);
    assert_non_null(strstr(err.text, "subnets: 65"));
    s = gm_train_settings_default();
    snprintf(s.sampler, sizeof s.sampler, "mad");
    assert_int_equal(gm__settings_check(&s, &err), GM_ERR_ARGUMENT);
    s = gm_train_settings_default();
    s.epochs = 0;
    assert_int_equal(gm__settings_check(&s, &err), GM_ERR_RANGE);
    s.max_macs = 1e12;
    assert_ok(gm__settings_check(&s, &err));
    s.strategy = GM_STRATEGY_OFA;
    s.phase_epochs[0] = 0;
    assert_int_equal(gm__settings_check(&s, &err), GM_ERR_RANGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(learning_rates_follow_their_schedule),
                                       cmocka_unit_test(epsilon_ramps_to_the_learning_rate_after_the_delay),
                                       cmocka_unit_test(the_sandwich_has_its_order),
                                       cmocka_unit_test(progressive_shrinking_opens_one_dimension_after_the_other),
                                       cmocka_unit_test(compound_draws_couple_depth_and_expand),
                                       cmocka_unit_test(a_budget_sets_the_length_of_the_run),
                                       cmocka_unit_test(a_step_costs_what_its_subnets_cost),
                                       cmocka_unit_test(wrong_settings_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
