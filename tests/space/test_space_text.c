// SPDX-License-Identifier: Apache-2.0
// The text form of choices: round trips, words, and errors that say what is allowed.
#include "base/base_test.h"

#include <gamut/model.h>

static gm_graph *graph(const char *preset) {
    gm_graph *g = NULL;
    gm_error err = {0};
    if (gm_model_graph(preset, NULL, &g, &err) != GM_OK) fail_msg("%s", err.text);
    return g;
}

static void every_preset_prints_and_parses_the_same(void **state) {
    (void)state;
    for (const char *const *p = gm_model_presets(); *p; p += 2) {
        gm_graph *g = graph(*p);
        for (uint64_t seed = 0; seed < 100; seed++) {
            gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
            gm_choice c = gm_choice_random(&g->space, &rng), back;
            char text[512];
            gm_error err = {0};
            assert_int_equal(gm_choice_print(&g->space, &c, text, sizeof text, &err), GM_OK);
            if (gm_choice_parse(&g->space, text, &back, &err) != GM_OK) fail_msg("%s: %s", text, err.text);
            assert_memory_equal(&c, &back, sizeof c);
        }
        gm_graph_destroy(g);
    }
}

static void the_text_lists_groups_in_order(void **state) {
    (void)state;
    gm_graph *g = graph("resnet-28");
    gm_choice c;
    char text[128];
    assert_int_equal(gm_choice_parse(&g->space, "  e=1 d=2,1,2  ", &c, NULL), GM_OK);
    gm_choice_print(&g->space, &c, text, sizeof text, NULL);
    assert_string_equal(text, "d=2,1,2 e=1,1,1,0.25,1,1");
    assert_int_equal(gm_choice_print(&g->space, &c, text, 10, NULL), GM_ERR_RANGE);
    gm_graph_destroy(g);
}

static void words_name_the_usual_choices(void **state) {
    (void)state;
    gm_graph *g = graph("mbv3");
    const gm_space *s = &g->space;
    gm_choice a, b;
    assert_int_equal(gm_choice_parse(s, "max", &a, NULL), GM_OK);
    b = gm_choice_max(s);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(gm_choice_parse(s, " min ", &a, NULL), GM_OK);
    b = gm_choice_min(s);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(gm_choice_parse(s, "random:42", &a, NULL), GM_OK);
    assert_int_equal(gm_choice_parse(s, "random:42", &b, NULL), GM_OK);
    assert_memory_equal(&a, &b, sizeof a);
    gm_choice_parse(s, "random:43", &b, NULL);
    assert_memory_not_equal(&a, &b, sizeof a);
    // what is left out keeps its largest value, in both forms
    assert_int_equal(gm_choice_parse(s, "uniform:d=3,e=4", &a, NULL), GM_OK);
    assert_int_equal(gm_choice_parse(s, "d=3,3,3,3,3 e=4 r=224", &b, NULL), GM_OK);
    assert_memory_equal(&a, &b, sizeof a);
    gm_graph_destroy(g);
}

static void a_wrong_text_is_an_error_that_lists_what_is_allowed(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "d (depth), e (expand), k (kernel), r (resolution)"},
        {"largest", "d (depth), e (expand), k (kernel), r (resolution)"},
        {"w=1", "d (depth), e (expand), k (kernel), r (resolution)"},
        {"d=5", "d1=5 is not possible, allowed: 2, 3, 4"},
        {"d=2,3,4,4,9", "d5=9 is not possible, allowed: 2, 3, 4"},
        {"d=2,3", "2 values, it needs 5"},
        {"d=2,3,4,4,2,2", "6 values, it needs 5"},
        {"d=", "allowed: 2, 3, 4"},
        {"d=2 d=3", "given twice"},
        {"d=0x2", "allowed: 2, 3, 4"},
        {"d=2,,3,4,4", "allowed: 2, 3, 4"},
        {"e=nan", "allowed: 3, 4, 6"},
        {"k=3.0001", "allowed: 3, 5, 7"},
        {"r=100", "128, 132, 136"},
        {"uniform:d=2 e=3", "allowed: 2, 3, 4"},
        {"uniform:", "groups:"},
        {"uniform:d=2,3", "groups:"},
        {"uniform:x=1", "unknown group 'x'"},
        {"random:", "whole number"},
        {"random:-1", "whole number"},
        {"random:1x", "whole number"},
        {"random:18446744073709551616", "whole number"},
    };
    gm_graph *g = graph("mbv3");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gm_error err = {0};
        gm_choice c, before;
        memset(&c, 7, sizeof c);
        before = c;
        if (gm_choice_parse(&g->space, cases[i].text, &c, &err) == GM_OK) fail_msg("accepted '%s'", cases[i].text);
        if (!strstr(err.text, cases[i].says)) fail_msg("'%s': %s", cases[i].text, err.text);
        assert_memory_equal(&c, &before, sizeof c);
    }
    gm_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_preset_prints_and_parses_the_same),
        cmocka_unit_test(the_text_lists_groups_in_order),
        cmocka_unit_test(words_name_the_usual_choices),
        cmocka_unit_test(a_wrong_text_is_an_error_that_lists_what_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
