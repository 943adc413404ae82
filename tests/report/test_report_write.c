// SPDX-License-Identifier: Apache-2.0
// The page as a file: everything inside, nothing that a text of a run could break out of, whole or absent.
#include "report_test.h"

static int clean(void **state) {
    (void)state;
    empty_folder();
    return 0;
}

static char *page_of(const char *title) {
    gm_report_db *db = open_db(":memory:");
    gm_error err;
    uint8_t *page;
    size_t bytes;
    gm_report_settings settings = gm_report_settings_default();
    settings.title = title;
    if (gm_report_import_folder(db, test_folder, NULL, &err) != GM_OK) fail_msg("%s", err.text);
    if (gm_report_write(db, &settings, in_folder("report.html"), &err) != GM_OK) fail_msg("%s", err.text);
    gm_report_db_close(db);
    assert_int_equal(gm_file_read(in_folder("report.html"), 1 << 24, &page, &bytes, NULL), GM_OK);
    return (char *)page;
}

static int count(const char *page, const char *what) {
    int n = 0;
    for (const char *at = page; (at = strstr(at, what)) != NULL; at++) n++;
    return n;
}

static void the_page_needs_nothing_but_itself(void **state) {
    (void)state;
    put("pareto.json", search_text);
    put("log.jsonl", log_text);
    char *page = page_of("Two runs");
    assert_int_equal(strncmp(page, "<!DOCTYPE html>", 15), 0);
    assert_int_equal(count(page, "{{"), 0); // every mark was replaced
    assert_int_equal(count(page, " src="), 0);
    assert_int_equal(count(page, "href=\"http"), 0);
    assert_int_equal(count(page, "@import"), 0);
    assert_non_null(strstr(page, "\"title\":\"Two runs\""));
    assert_non_null(strstr(page, "default-src 'none'"));
    gm_free(page);
}

static void texts_of_runs_cannot_break_out(void **state) {
    (void)state;
    put("plain.json", "{\"front\":[{\"id\":\"a\",\"choice\":\"d=1\",\"top1\":1}]}");
    char *page = page_of("plain");
    int scripts = count(page, "</script"), comments = count(page, "<!--"), opened = count(page, "<script");
    gm_free(page);
    put("evil.json", "{\"front\":[{\"id\":\"</script><script>alert(1)</script>\",\"choice\":\"<!--<script>\",\"top1\":1}],"
                     "\"note\":\"]]></SCRIPT ><img src=x onerror=alert(2)>\"}");
    page = page_of("</script><b>");
    assert_int_equal(count(page, "</script"), scripts);
    assert_int_equal(count(page, "<script"), opened);
    assert_int_equal(count(page, "</SCRIPT"), 0);
    assert_int_equal(count(page, "<!--"), comments);
    assert_int_equal(count(page, "<img"), 0);
    assert_non_null(strstr(page, "\\u003c/script>\\u003cscript>alert(1)"));
    gm_free(page);
}

static void nothing_to_show_is_said_and_no_page_written(void **state) {
    (void)state;
    gm_report_db *db = open_db(":memory:");
    gm_error err = {0};
    gm_report_settings settings = gm_report_settings_default();
    assert_int_equal(gm_report_write(db, &settings, in_folder("report.html"), &err), GM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "nothing to show"));
    assert_false(gm_path_exists(in_folder("report.html")));
    gm_report_db_close(db);
}

static void a_page_that_cannot_be_written_leaves_the_old_one(void **state) {
    (void)state;
    put("pareto.json", search_text);
    gm_report_db *db = open_db(":memory:");
    gm_error err = {0};
    gm_report_settings settings = gm_report_settings_default();
    import_file(db, "pareto.json");
    assert_int_equal(gm_report_write(db, &settings, in_folder("absent/report.html"), &err), GM_ERR_IO);
    assert_non_null(strstr(err.text, "absent/report.html"));
    gm_report_db_close(db);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_page_needs_nothing_but_itself, clean),
        cmocka_unit_test_teardown(texts_of_runs_cannot_break_out, clean),
        cmocka_unit_test_teardown(nothing_to_show_is_said_and_no_page_written, clean),
        cmocka_unit_test_teardown(a_page_that_cannot_be_written_leaves_the_old_one, clean),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
