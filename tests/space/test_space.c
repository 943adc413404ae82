// SPDX-License-Identifier: Apache-2.0
// Spaces and choices: counts, draws, identity, mutation, crossover, distance, enumeration.
#include "base/base_test.h"

#include <gamut/space.h>
#include <math.h>

enum { DRAWS = 2000 };

// Two stages of up to three blocks: depth {1,2,3}; expand {3,4,6} a block; one resolution knob.
// A stage has 3 + 9 + 27 = 39 subnets, so the space has 39 * 39 * 2 = 3042.
static gm_space stages(void) {
    static const double depths[] = {1, 2, 3}, expands[] = {3, 4, 6}, resolutions[] = {28, 32};
    gm_space s;
    int d[2];
    gm_space_init(&s);
    for (int i = 0; i < 2; i++) assert_int_equal(gm_space_add(&s, "d", "depth", depths, 3, -1, 0, &d[i], NULL), GM_OK);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            assert_int_equal(gm_space_add(&s, "e", "expand", expands, 3, j ? d[i] : -1, j, NULL, NULL), GM_OK);
    assert_int_equal(gm_space_add(&s, "r", "resolution", resolutions, 2, -1, 0, NULL, NULL), GM_OK);
    return s;
}

static gm_choice parse(const gm_space *s, const char *text) {
    gm_choice c;
    gm_error err = {0};
    if (gm_choice_parse(s, text, &c, &err) != GM_OK) fail_msg("%s: %s", text, err.text);
    return c;
}

static gm_choice drawn(const gm_space *s, uint64_t seed) {
    gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
    return gm_choice_random(s, &rng);
}

static bool is_canonical(const gm_space *s, const gm_choice *c) {
    gm_choice same = gm_choice_canonical(s, *c);
    return memcmp(&same, c, sizeof same) == 0;
}

static void knobs_are_named_by_group_and_number(void **state) {
    (void)state;
    gm_space s = stages();
    assert_int_equal(s.knobs, 9);
    assert_int_equal(s.groups, 3);
    assert_string_equal(s.knob[0].name, "d1");
    assert_string_equal(s.knob[1].name, "d2");
    assert_string_equal(s.knob[7].name, "e6");
    assert_string_equal(s.knob[8].name, "r");
    assert_string_equal(s.group[1].kind, "expand");
}

static void a_bad_knob_is_refused_and_changes_nothing(void **state) {
    (void)state;
    gm_space s = stages(), before = s;
    static const double up[] = {1, 2}, down[] = {2, 1}, nan[] = {1, NAN};
    double many[GM_MAX_VALUES + 1];
    gm_error err = {0};
    for (int i = 0; i <= GM_MAX_VALUES; i++) many[i] = i;
    assert_int_equal(gm_space_add(&s, "x", "x", down, 2, -1, 0, NULL, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_space_add(&s, "x", "x", nan, 2, -1, 0, NULL, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm_space_add(&s, "x", "x", many, GM_MAX_VALUES + 1, -1, 0, NULL, &err), GM_ERR_RANGE);
    assert_int_equal(gm_space_add(&s, "x", "x", up, 0, -1, 0, NULL, &err), GM_ERR_RANGE);
    assert_int_equal(gm_space_add(&s, "x", "x", up, 2, 9, 0, NULL, &err), GM_ERR_ARGUMENT); // gate not there yet
    assert_int_equal(gm_space_add(&s, "x", "x", up, 2, 0, 3, NULL, &err), GM_ERR_RANGE);    // gate has 3 values
    assert_int_equal(gm_space_add(&s, "d", "depth", up, 2, -1, 0, NULL, &err), GM_ERR_ARGUMENT); // not consecutive
    assert_int_equal(gm_space_add(&s, "X=", "x", up, 2, -1, 0, NULL, &err), GM_ERR_ARGUMENT);
    assert_memory_equal(&s, &before, sizeof s);
    gm_space_init(&s);
    for (int i = 0; i < GM_MAX_KNOBS; i++) assert_int_equal(gm_space_add(&s, "k", "k", up, 2, -1, 0, NULL, NULL), GM_OK);
    assert_int_equal(gm_space_add(&s, "k", "k", up, 2, -1, 0, NULL, &err), GM_ERR_RANGE);
}

static void counts_are_exact_however_large(void **state) {
    (void)state;
    char text[128];
    gm_space s = stages();
    assert_int_equal(gm_space_count(&s, text, sizeof text, NULL), GM_OK);
    assert_string_equal(text, "3042");
    gm_error err = {0};
    assert_int_equal(gm_space_count(&s, text, 4, &err), GM_ERR_RANGE);
    double values[GM_MAX_VALUES];
    for (int i = 0; i < GM_MAX_VALUES; i++) values[i] = i;
    gm_space_init(&s);
    assert_int_equal(gm_space_count(&s, text, sizeof text, NULL), GM_OK);
    assert_string_equal(text, "1");
    for (int i = 0; i < GM_MAX_KNOBS; i++) gm_space_add(&s, "k", "k", values, GM_MAX_VALUES, -1, 0, NULL, NULL);
    assert_int_equal(gm_space_count(&s, text, sizeof text, NULL), GM_OK); // 32^64 = 2^320
    assert_string_equal(text, "2135987035920910082395021706169552114602704522356652769947041607822219725780640550022962"
                              "086936576");
}

static void a_gate_of_a_gate_counts(void **state) {
    (void)state;
    static const double two[] = {0, 1};
    gm_space s;
    char text[32];
    gm_space_init(&s);
    gm_space_add(&s, "a", "a", two, 2, -1, 0, NULL, NULL);
    gm_space_add(&s, "b", "b", two, 2, 0, 1, NULL, NULL);
    gm_space_add(&s, "c", "c", two, 2, 1, 1, NULL, NULL);
    gm_space_count(&s, text, sizeof text, NULL); // a=0 | a=1 b=0 | a=1 b=1 c=0 | a=1 b=1 c=1
    assert_string_equal(text, "4");
    gm_choice c = {{0, 1, 1}};
    c = gm_choice_canonical(&s, c);
    assert_int_equal(c.index[1] + c.index[2], 0);
}

typedef struct visits {
    const gm_space *space;
    int count;
    gm_choice last;
    int stop_after;
} visits;

static bool visit(void *context, const gm_choice *choice) {
    visits *v = context;
    assert_true(is_canonical(v->space, choice));
    assert_true(v->count == 0 || memcmp(v->last.index, choice->index, GM_MAX_KNOBS) < 0); // ascending: no two alike
    v->last = *choice;
    return ++v->count != v->stop_after;
}

static void enumeration_visits_every_subnet_once(void **state) {
    (void)state;
    gm_space s = stages();
    gm_error err = {0};
    visits v = {.space = &s};
    assert_int_equal(gm_space_enumerate(&s, 3042, visit, &v, &err), GM_OK);
    assert_int_equal(v.count, 3042);
    v = (visits){.space = &s, .stop_after = 7};
    assert_int_equal(gm_space_enumerate(&s, 3042, visit, &v, &err), GM_OK);
    assert_int_equal(v.count, 7);
    v = (visits){.space = &s};
    assert_int_equal(gm_space_enumerate(&s, 3041, visit, &v, &err), GM_ERR_RANGE);
    assert_int_equal(v.count, 0);
    assert_non_null(strstr(err.text, "3042"));
}

static void extremes_hold_the_largest_and_smallest_values(void **state) {
    (void)state;
    gm_space s = stages();
    gm_choice max = gm_choice_max(&s), min = gm_choice_min(&s);
    for (int k = 0; k < s.knobs; k++) {
        assert_int_equal(max.index[k], s.knob[k].count - 1);
        assert_int_equal(min.index[k], 0);
    }
}

static void random_choices_are_uniform_and_repeatable(void **state) {
    (void)state;
    gm_space s = stages();
    int depth[3] = {0}, expand[3] = {0}, in_use = 0;
    for (int i = 0; i < DRAWS; i++) {
        gm_choice c = drawn(&s, (uint64_t)i), again = drawn(&s, (uint64_t)i);
        assert_memory_equal(&c, &again, sizeof c);
        assert_true(is_canonical(&s, &c));
        depth[c.index[0]]++;
        if (c.index[0] == 2) { // the third block's expand, where it is in use
            expand[c.index[4]]++;
            in_use++;
        }
    }
    // five standard deviations of a binomial with p = 1/3 (fixed seeds: the outcome is the same each time)
    for (int v = 0; v < 3; v++) {
        assert_true(fabs(depth[v] - DRAWS / 3.0) < 5 * sqrt(DRAWS * 2 / 9.0));
        assert_true(fabs(expand[v] - in_use / 3.0) < 5 * sqrt(in_use * 2 / 9.0));
    }
}

static void knobs_that_are_off_do_not_tell_subnets_apart(void **state) {
    (void)state;
    gm_space s = stages();
    gm_choice a = {{0}}, b = {{0}};
    b.index[3] = 2; // second block of a stage that keeps one
    assert_true(gm_choice_equal(&s, &a, &b));
    assert_true(gm_choice_id(&s, &a) == gm_choice_id(&s, &b));
    assert_true(gm_choice_distance(&s, &a, &b) == 0);
    b.index[0] = 1;
    assert_false(gm_choice_equal(&s, &a, &b));
    assert_true(gm_choice_id(&s, &a) != gm_choice_id(&s, &b));
}

// Files and profiles store these numbers: they must never change.
static void ids_are_pinned(void **state) {
    (void)state;
    gm_space s = stages();
    gm_choice c[] = {gm_choice_min(&s), gm_choice_max(&s), parse(&s, "d=2,3 e=3,4,6,6,4,3 r=32")};
    // XXH64 of the index bytes, from a second implementation
    static const uint64_t id[] = {0x5149774f0dcd2f3d, 0x186553e0fb03a561, 0x58639f9cc8b1209e};
    for (int i = 0; i < 3; i++) {
        if (gm_choice_id(&s, &c[i]) != id[i])
            fail_msg("choice %d: id %016llx", i, (unsigned long long)gm_choice_id(&s, &c[i]));
    }
}

static void mutation_changes_about_its_share_of_knobs(void **state) {
    (void)state;
    gm_space s = stages();
    gm_rng rng = gm_rng_keyed(11, 0, 0, GM_RNG_TEST);
    gm_choice max = gm_choice_max(&s);
    for (int i = 0; i < 50; i++) {
        gm_choice c = drawn(&s, (uint64_t)i), same = gm_choice_mutate(&s, &c, 0.0, &rng);
        assert_memory_equal(&c, &same, sizeof c);
    }
    int kept = 0, switched_on[3] = {0}, grown = 0;
    for (int i = 0; i < DRAWS; i++) {
        gm_choice c = gm_choice_mutate(&s, &max, 0.3, &rng);
        assert_true(is_canonical(&s, &c));
        kept += c.index[8] == max.index[8]; // two values: changed with probability 0.3 / 2
        gm_choice min = gm_choice_min(&s), m = gm_choice_mutate(&s, &min, 0.3, &rng);
        if (m.index[0] > 0) { // a block that came into use has a drawn expand, not always the smallest
            switched_on[m.index[3]]++;
            grown++;
        }
    }
    assert_true(fabs(kept - DRAWS * 0.85) < 5 * sqrt(DRAWS * 0.85 * 0.15));
    for (int v = 0; v < 3; v++) assert_true(fabs(switched_on[v] - grown / 3.0) < 5 * sqrt(grown * 2 / 9.0));
}

static void a_child_has_every_value_from_a_parent_that_uses_it(void **state) {
    (void)state;
    gm_space s = stages();
    gm_rng rng = gm_rng_keyed(12, 0, 0, GM_RNG_TEST);
    int from_b = 0;
    for (int i = 0; i < DRAWS; i++) {
        gm_choice a = drawn(&s, (uint64_t)i), b = drawn(&s, (uint64_t)i + DRAWS);
        gm_choice c = gm_choice_crossover(&s, &a, &b, &rng);
        assert_true(is_canonical(&s, &c));
        for (int k = 0; k < s.knobs; k++) {
            int gate = s.knob[k].gate_knob;
            if (gate >= 0 && c.index[gate] < s.knob[k].gate_min) continue;
            bool in_a = gate < 0 || a.index[gate] >= s.knob[k].gate_min;
            bool in_b = gate < 0 || b.index[gate] >= s.knob[k].gate_min;
            assert_true((in_a && c.index[k] == a.index[k]) || (in_b && c.index[k] == b.index[k]));
        }
        gm_choice self = gm_choice_crossover(&s, &a, &a, &rng);
        assert_memory_equal(&self, &a, sizeof a);
        gm_choice max = gm_choice_max(&s), min = gm_choice_min(&s);
        from_b += gm_choice_crossover(&s, &max, &min, &rng).index[8] == 0;
    }
    assert_true(abs(from_b - DRAWS / 2) < 5 * (int)sqrt(DRAWS / 4.0));
}

static void distance_is_a_metric(void **state) {
    (void)state;
    gm_space s = stages();
    for (int i = 0; i < DRAWS; i++) {
        gm_choice a = drawn(&s, (uint64_t)i), b = drawn(&s, (uint64_t)i + 1), c = drawn(&s, (uint64_t)i + 2);
        double ab = gm_choice_distance(&s, &a, &b);
        assert_true(gm_choice_distance(&s, &a, &a) == 0);
        assert_true(ab == gm_choice_distance(&s, &b, &a));
        assert_true((ab == 0) == gm_choice_equal(&s, &a, &b));
        assert_true(ab <= gm_choice_distance(&s, &a, &c) + gm_choice_distance(&s, &c, &b) + 1e-12);
    }
    gm_choice min = gm_choice_min(&s), max = gm_choice_max(&s);
    // two depths, two first blocks, the resolution; four blocks in use in one of the two only
    assert_true(gm_choice_distance(&s, &min, &max) == 9.0);
    gm_choice a = parse(&s, "uniform:d=1,e=3,r=28"), b = parse(&s, "uniform:d=1,e=4,r=28");
    assert_true(gm_choice_distance(&s, &a, &b) == 1.0); // two knobs, half their range each
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knobs_are_named_by_group_and_number),
        cmocka_unit_test(a_bad_knob_is_refused_and_changes_nothing),
        cmocka_unit_test(counts_are_exact_however_large),
        cmocka_unit_test(a_gate_of_a_gate_counts),
        cmocka_unit_test(enumeration_visits_every_subnet_once),
        cmocka_unit_test(extremes_hold_the_largest_and_smallest_values),
        cmocka_unit_test(random_choices_are_uniform_and_repeatable),
        cmocka_unit_test(knobs_that_are_off_do_not_tell_subnets_apart),
        cmocka_unit_test(ids_are_pinned),
        cmocka_unit_test(mutation_changes_about_its_share_of_knobs),
        cmocka_unit_test(a_child_has_every_value_from_a_parent_that_uses_it),
        cmocka_unit_test(distance_is_a_metric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
