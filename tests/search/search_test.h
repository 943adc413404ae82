// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of search: cmocka, errors, and real files where there are any.
#ifndef GAMUT_TESTS_SEARCH_TEST_H
#define GAMUT_TESTS_SEARCH_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <gamut/search.h>

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        gm_status assert_status = (call);                                                          \
        if (assert_status != GM_OK) fail_msg("%s: %s", #call, err.text);                           \
    } while (0)

static inline void assert_near(double a, double b, double tolerance) {
    if (!(a - b <= tolerance && b - a <= tolerance)) fail_msg("%.9g is not within %g of %.9g", a, tolerance, b);
}

static inline gm_graph *graph_of(const char *preset, const gm_model_settings *settings) {
    gm_graph *g = NULL;
    gm_error err = {0};
    assert_ok(gm_model_graph(preset, settings, &g, &err));
    return g;
}

static inline gm_choice choice_of(const gm_space *space, const char *text) {
    gm_choice c;
    gm_error err = {0};
    assert_ok(gm_choice_parse(space, text, &c, &err));
    return c;
}

typedef struct search_test_place {
    const char *name;
    char *path;
} search_test_place;

static inline bool search_test_visit(void *context, const char *folder) {
    search_test_place *place = context;
    snprintf(place->path, 600, "%.400s/%.180s", folder, place->name);
    return gm_path_exists(place->path);
}

// A file of the published artefacts of Once-for-all, below a folder of GAMUT_DATA (or of the default ones).
static inline bool find_real(const char *name, char path[600]) {
    search_test_place place = {name, path};
    bool found = gm_data_folders(search_test_visit, &place);
    if (!found) printf("skipped: needs %s in a folder of GAMUT_DATA\n", name);
    return found;
}

#endif
