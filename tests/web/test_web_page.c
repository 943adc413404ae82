// SPDX-License-Identifier: Apache-2.0
// Pages are put together whole.
#include "base/base_test.h"

#include <gamut/web.h>

static char *page_of(const char *name, const char *json, size_t *bytes) {
    char *page = NULL;
    gm_error err;
    if (gm_web_page(name, json, &page, bytes, &err) != GM_OK) fail_msg("%s", err.text);
    assert_int_equal(strlen(page), *bytes);
    return page;
}

static void every_asset_is_inside(void **state) {
    (void)state;
    static const char *const names[] = {"report.html", "dashboard.html", "style.css", "charts.js", "chart.js"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const gm_web_asset *asset = gm_web_find(names[i]);
        assert_non_null(asset);
        assert_true(asset->bytes > 100);
        assert_int_equal(asset->data[asset->bytes], 0);
    }
    assert_null(gm_web_find("absent.js"));
    for (int i = 0; i < 2; i++) {
        size_t bytes;
        char *page = page_of(names[i], NULL, &bytes);
        assert_null(strstr(page, "{{"));
        assert_non_null(strstr(page, (const char *)gm_web_find("chart.js")->data));
        assert_non_null(strstr(page, (const char *)gm_web_find("style.css")->data));
        gm_free(page);
    }
}

// What stands in a script element must not end it, nor begin a comment that hides its end.
static void scripts_do_not_end_themselves(void **state) {
    (void)state;
    static const char *const names[] = {"chart.js", "charts.js", "timeline.js", "report.js", "dashboard.js"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = (const char *)gm_web_find(names[i])->data;
        assert_null(strstr(text, "</script"));
        assert_null(strstr(text, "<!--"));
    }
}

static void data_is_escaped(void **state) {
    (void)state;
    size_t bytes;
    char *page = page_of("report.html", "{\"a\":\"</script><\"}", &bytes);
    assert_non_null(strstr(page, "{\"a\":\"\\u003c/script>\\u003c\"}"));
    gm_free(page);
    page = page_of("report.html", NULL, &bytes);
    assert_non_null(strstr(page, "id=\"data\">null</script>"));
    gm_free(page);
}

static void an_unknown_page_is_an_error(void **state) {
    (void)state;
    char *page = NULL;
    size_t bytes;
    gm_error err = {0};
    assert_int_equal(gm_web_page("absent.html", NULL, &page, &bytes, &err), GM_ERR_NOT_FOUND);
    assert_null(page);
    assert_non_null(strstr(err.text, "absent.html"));
}

static gm_status make(gm_error *err) {
    char *page = NULL;
    size_t bytes;
    gm_status status = gm_web_page("report.html", "{}", &page, &bytes, err);
    gm_free(page);
    return status;
}

static void a_failed_allocation_leaks_nothing(void **state) {
    (void)state;
    with_failing_allocations(make);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_asset_is_inside),        cmocka_unit_test(scripts_do_not_end_themselves),
        cmocka_unit_test(data_is_escaped),              cmocka_unit_test(an_unknown_page_is_an_error),
        cmocka_unit_test(a_failed_allocation_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
