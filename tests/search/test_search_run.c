// SPDX-License-Identifier: Apache-2.0
// The whole search on a tiny network: what it promises about its result, its cache, and failures.
#include "tiny_model.h"

#include <math.h>

#include "search/sampler.h"

typedef struct scene {
    gm_model *m;
    gm_dataset *d;
    int32_t *train, *val;
    int train_count, val_count;
    gm_search_settings s;
    char cache[96];
} scene;

static scene scene_make(void) {
    scene c = {.m = tiny_model(3), .d = tiny_data(160), .s = gm_search_settings_default()};
    gm_error err = {0};
    assert_ok(gm_dataset_split(c.d, 64, GM_SPLIT_SEED, &c.train, &c.train_count, &c.val, &c.val_count, &err));
    c.s.samples = 24;
    c.s.sample_images = 40;
    c.s.sample_calibrate = 16;
    c.s.calibrate_images = 48;
    c.s.batch = 16;
    c.s.levels = 4;
    c.s.iterations = 3;
    c.s.candidates = 8;
    c.s.judges = 4;
    c.s.latency_samples = 20;
    c.s.predictor_epochs = 10;
    snprintf(c.cache, sizeof c.cache, "/tmp/gamut-test-measured-%ld.json", (long)getpid());
    unlink(c.cache);
    return c;
}

static void scene_free(scene *c) {
    unlink(c->cache);
    gm_free(c->train);
    gm_free(c->val);
    gm_dataset_destroy(c->d);
    gm_model_destroy(c->m);
}

static gm_status search(scene *c, gm_search_result *r, gm_error *err) {
    return gm_search(c->m, c->d, c->train, c->train_count, c->val, c->val_count, &c->s, r, err);
}

static double cost_of(const scene *c, const gm_search_point *p) {
    return c->s.objective == GM_OBJECTIVE_LATENCY ? p->latency_ms : (double)p->macs;
}

static void assert_front(scene *c, const gm_search_result *r) {
    assert_true(r->front_count >= 1);
    for (int i = 0; i < r->front_count; i++) {
        const gm_search_point *p = &r->front[i];
        assert_int_equal(p->images, c->val_count);
        assert_non_null(gm_model_norms(c->m, &p->choice)); // ready to be served
        if (i > 0) assert_true(cost_of(c, p) > cost_of(c, p - 1) && p->top1 > p[-1].top1);
        for (int j = r->samples; j < r->evaluated_count; j++) // nothing measured like it dominates it
            assert_false(cost_of(c, &r->evaluated[j]) <= cost_of(c, p) && r->evaluated[j].top1 > p->top1);
    }
}

static void the_front_is_measured_calibrated_and_not_dominated(void **state) {
    (void)state;
    scene c = scene_make();
    gm_search_result r, again;
    gm_error err = {0};
    assert_ok(search(&c, &r, &err));
    assert_front(&c, &r);
    assert_int_equal(r.samples, 24);
    assert_int_equal(r.evaluated_count, r.samples + r.candidates);
    assert_true(r.candidates <= 8 && r.predictions > 0);
    assert_int_equal(r.measured, 24 + 4);
    assert_int_equal(r.judged, 4);
    assert_true(isnan(r.evaluated[0].latency_ms) && r.evaluated[0].images == 40);
    // the same seed finds the same
    gm_model_norms_clear(c.m);
    assert_ok(search(&c, &again, &err));
    assert_int_equal(again.front_count, r.front_count);
    for (int i = 0; i < r.front_count; i++) {
        assert_memory_equal(&again.front[i].choice, &r.front[i].choice, sizeof(gm_choice));
        assert_near(again.front[i].top1, r.front[i].top1, 0);
    }
    gm_search_result_fini(&r);
    gm_search_result_fini(&again);
    scene_free(&c);
}

static int level_of(const scene *c, const gm_search_result *r, const gm_search_point *p) {
    double least = (double)r->evaluated[0].macs, most = (double)r->evaluated[1].macs; // samples begin with the ends
    int level = (int)(c->s.levels * log((double)p->macs / least) / log(most / least));
    return level < c->s.levels ? level : c->s.levels - 1;
}

// When more candidates are asked for than there are subnets, there is no end but theirs; when fewer, every level of cost has its share.
static void levels_of_cost_take_turns_until_there_are_enough(void **state) {
    (void)state;
    scene c = scene_make();
    gm_search_result all, some;
    gm_error err = {0};
    c.s.candidates = GM_PROFILE_SUBNETS;
    assert_ok(search(&c, &all, &err));
    for (int i = all.samples; i < all.evaluated_count; i++) {
        for (int j = all.samples; j < i; j++)
            assert_memory_not_equal(&all.evaluated[i].choice, &all.evaluated[j].choice, sizeof(gm_choice));
    }
    gm_model_norms_clear(c.m);
    c.s.candidates = 2 + 2 * c.s.levels;
    assert_true(all.candidates > c.s.candidates);
    assert_ok(search(&c, &some, &err));
    assert_int_equal(some.candidates, c.s.candidates);
    int in[8] = {0}, of[8] = {0};
    assert_true(c.s.levels < 8);
    for (int i = 0; i < some.candidates; i++) in[level_of(&c, &some, &some.evaluated[some.samples + i])]++;
    for (int i = 0; i < all.candidates; i++) of[level_of(&c, &some, &all.evaluated[all.samples + i])]++;
    for (int l = 0; l < c.s.levels; l++) assert_true(in[l] >= (of[l] < 2 ? of[l] : 2));
    gm_search_result_fini(&all);
    gm_search_result_fini(&some);
    scene_free(&c);
}

static void constraints_hold_and_impossible_ones_are_errors(void **state) {
    (void)state;
    scene c = scene_make();
    gm_search_result r;
    gm_error err = {0};
    gm_cost most;
    gm_choice max = gm_choice_max(&c.m->graph->space);
    assert_ok(gm_count(c.m->graph, &max, &most, &err));
    c.s.max_cost = 0.6 * (double)most.macs;
    assert_ok(search(&c, &r, &err));
    for (int i = 0; i < r.front_count; i++) assert_true((double)r.front[i].macs <= c.s.max_cost);
    gm_search_result_fini(&r);
    c.s.max_cost = 10;
    assert_int_equal(search(&c, &r, &err), GM_ERR_RANGE);
    assert_non_null(strstr(err.text, "the smallest one costs"));
    c.s.max_cost = 0;
    c.s.type = GM_I8;
    assert_int_equal(search(&c, &r, &err), GM_ERR_UNSUPPORTED);
    c.s.type = GM_F32;
    c.s.samples = 5;
    assert_int_equal(search(&c, &r, &err), GM_ERR_RANGE);
    scene_free(&c);
}

static void latency_is_an_objective_too(void **state) {
    (void)state;
    scene c = scene_make();
    gm_search_result r;
    gm_error err = {0};
    c.s.objective = GM_OBJECTIVE_LATENCY;
    assert_ok(search(&c, &r, &err));
    assert_front(&c, &r);
    assert_true(r.latency.operations > 5 && r.latency.trained >= 10);
    assert_true(r.evaluated[0].latency_ms > 0 && !r.evaluated[0].timed && r.front[0].timed);
    gm_search_result_fini(&r);
    scene_free(&c);
}

static void measured_subnets_are_kept_and_used(void **state) {
    (void)state;
    scene c = scene_make();
    gm_search_result r;
    gm_error err = {0};
    c.s.cache = c.cache;
    assert_ok(search(&c, &r, &err));
    assert_int_equal(r.measured, 28);
    gm_search_result_fini(&r);
    c.s.samples = 30;
    assert_ok(search(&c, &r, &err));
    assert_int_equal(r.measured, 6); // the others are known
    gm_search_result_fini(&r);
    gm_log_set(GM_LOG_WARN);
    c.s.batch = 8; // statistics depend on it: nothing is known
    assert_ok(search(&c, &r, &err));
    assert_int_equal(r.measured, 34);
    gm_search_result_fini(&r);
    gm_log_set(GM_LOG_INFO);
    assert_ok(gm_file_write(c.cache, "{\"format\":", 10, &err));
    assert_int_equal(search(&c, &r, &err), GM_ERR_FORMAT);
    assert_non_null(strstr(err.text, c.cache));
    scene_free(&c);
}

// 1,728 subnets are too many for a quick test: depth and one width stay, the other blocks keep their smallest width.
static const gm_space *shrink_space(scene *c) {
    gm_space *space = &c->m->graph->space;
    for (int k = 4; k < space->knobs; k++) space->knob[k].count = 1;
    return space;
}

static void all_subnets_are_the_truth_and_gaps_are_counted_against_it(void **state) {
    (void)state;
    scene c = scene_make();
    gm_search_result found, back;
    gm_error err = {0};
    uint64_t model;
    double gap = -1;
    c.s.exhaustive = true;
    c.s.calibrate_images = 16;
    const gm_space *space = shrink_space(&c);
    assert_ok(search(&c, &found, &err));
    assert_int_equal(found.samples, 24);
    assert_front(&c, &found);
    snprintf(c.cache, sizeof c.cache, "/tmp/gamut-test-pareto-%ld.json", (long)getpid());
    assert_ok(gm_search_save(&found, c.m, &c.s, "made-up", NULL, 0, c.cache, &err));
    assert_ok(gm_search_load(c.cache, space, &back, &model, &err));
    assert_true(model == gm_model_hash(c.m));
    assert_int_equal(back.front_count, found.front_count);
    assert_int_equal(back.evaluated_count, found.evaluated_count);
    assert_ok(gm_search_gap(&found, &back, space, GM_OBJECTIVE_MACS, 0, &gap, &err));
    assert_true(gap >= 0 && gap < 5); // its own truth, but for the candidates, which were measured by the plan
    found.front_count = 1;            // the cheapest subnet alone falls behind by what the best has more
    double best = 0;
    for (int i = 0; i < back.evaluated_count; i++) best = fmax(best, back.evaluated[i].top1);
    assert_ok(gm_search_gap(&found, &back, space, GM_OBJECTIVE_MACS, 0, &gap, &err));
    assert_true(gap <= best && gap >= 0);
    gm_search_result_fini(&found);
    gm_search_result_fini(&back);
    scene_free(&c);
}

static void a_failed_allocation_ends_a_search_without_a_leak(void **state) {
    (void)state;
    scene c = scene_make();
    gm_search_result r;
    gm_error err = {0};
    c.s.exhaustive = true;
    c.s.calibrate_images = 16;
    shrink_space(&c);
    size_t live = gm_alloc_live();
    for (long n = 1, step = 1;; n += step, step += step / 4 + 1) {
        gm_alloc_fail_at(n);
        gm_status status = search(&c, &r, &err);
        gm_alloc_fail_at(0);
        gm_search_result_fini(&r);
        gm_model_norms_clear(c.m);
        if (status == GM_OK) break;
        assert_int_equal(status, GM_ERR_MEMORY);
        // the list of entries and the workers' scratch may have grown for good
        assert_true(gm_alloc_live() <= live + 8);
    }
    scene_free(&c);
}

// Percent of part v that a subnet gets right, each image counting for what it stands for.
static double in_part(scene *c, gm__sampler *p, const gm_choice *choice, int v) {
    const gm_calibrate_settings s = {.images = c->s.sample_calibrate, .batch = c->s.batch, .seed = c->s.seed};
    const int n = p->part_count, *image = p->part + v * n;
    gm_eval_result r;
    gm_error err = {0};
    double sum = 0;
    assert_ok(gm_calibrate(p->model, p->walker, c->d, c->train, c->train_count, &c->s.augment, &s, choice, &err));
    assert_ok(gm_evaluate_each(p->model, p->walker, c->d, image, n, choice, p->margin, NULL, &r, &err));
    for (int k = 0; k < n; k++) sum += p->margin[k] > 0 ? 100 * p->weight[v * n + k] : 0;
    return sum;
}

// A part of the images that flatters all subnets is not taken for accuracy: over the probes what it gives them is right, and what it gives
// them too much is taken off samples, too.
static void parts_of_the_images_flatter_nobody(void **state) {
    (void)state;
    scene c = scene_make();
    gm__sampler p;
    gm_error err = {0};
    gm_rng rng = gm_rng_keyed(5, 0, 0, GM_RNG_TEST);
    enum { PROBES = 8, OTHERS = 40 };
    gm_choice probe[PROBES], other[OTHERS];
    int of_part[GM__PARTS_MOST] = {0}, used = 0, differ = 0;
    double top1, sampled[OTHERS], flattery[GM__PARTS_MOST] = {0}, most = 0;
    for (int i = 0; i < PROBES; i++) probe[i] = gm_choice_random(&c.m->graph->space, &rng);
    for (int i = 0; i < OTHERS; i++) other[i] = gm_choice_random(&c.m->graph->space, &rng);
    assert_ok(gm__sampler_init(&p, c.m, c.d, c.train, c.train_count, c.val, c.val_count, &c.s, &err));
    p.probe = probe;
    p.probes = PROBES;
    for (int i = 0; i < OTHERS; i++) assert_ok(gm__sampler_accuracy(&p, &other[i], false, c.s.sample_calibrate, &sampled[i], &err));
    assert_int_equal(p.parts, GM__PARTS_MOST);
    for (int i = 0; i < PROBES; i++) {
        assert_ok(gm__sampler_accuracy(&p, &probe[i], true, c.s.sample_calibrate, &top1, &err));
        for (int v = 0; v < p.parts; v++) flattery[v] += (in_part(&c, &p, &probe[i], v) - top1) / PROBES; // whatever its own is
    }
    for (int i = 0; i < OTHERS; i++) {
        const int v = (int)(gm_choice_id(&c.m->graph->space, &other[i]) % (uint64_t)p.parts);
        assert_float_equal(sampled[i], in_part(&c, &p, &other[i], v) - flattery[v], 1e-3);
        of_part[v]++;
    }
    for (int v = 0; v < p.parts; v++) {
        const int n = p.part_count;
        double sum = 0;
        for (int k = 0; k < n; k++) sum += p.weight[v * n + k];
        assert_float_equal(sum, 1, 1e-6);
        used += of_part[v] > 0;
        differ += memcmp(p.part, p.part + v * n, (size_t)n * sizeof *p.part) != 0;
        most = fmax(most, fabs(flattery[v]));
    }
    assert_true(used > GM__PARTS_MOST / 2); // samples take turns
    assert_int_equal(differ, p.parts - 1);
    assert_true(most > 0.5); // points: there was something to take off
    gm__sampler_fini(&p);
    scene_free(&c);
}

int main(void) {
    gm_progress_quiet(true);
    gm_threads_set(1); // tests share the processors
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_front_is_measured_calibrated_and_not_dominated),
        cmocka_unit_test(levels_of_cost_take_turns_until_there_are_enough),
        cmocka_unit_test(constraints_hold_and_impossible_ones_are_errors),
        cmocka_unit_test(latency_is_an_objective_too),
        cmocka_unit_test(measured_subnets_are_kept_and_used),
        cmocka_unit_test(all_subnets_are_the_truth_and_gaps_are_counted_against_it),
        cmocka_unit_test(parts_of_the_images_flatter_nobody),
        cmocka_unit_test(a_failed_allocation_ends_a_search_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
