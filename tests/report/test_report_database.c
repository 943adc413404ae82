// SPDX-License-Identifier: Apache-2.0
// The run database as a file: what is imported once is there once, a crash or a rival loses nothing, and files that are no
// run database are refused.
#include "report_test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int clean(void **state) {
    (void)state;
    empty_folder();
    return 0;
}

static size_t runs_of(gm_report_db *db) {
    json_t *page = shown(db);
    size_t runs = json_array_size(json_object_get(page, "runs"));
    json_decref(page);
    return runs;
}

static int64_t ask(const char *sql) {
    sqlite3 *handle = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open(in_folder("gamut.db"), &handle), SQLITE_OK);
    if (sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) != SQLITE_OK) fail_msg("%s", sqlite3_errmsg(handle));
    int64_t value = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_finalize(statement);
    sqlite3_close(handle);
    return value;
}

static void what_was_imported_is_there_after_closing(void **state) {
    (void)state;
    put("pareto.json", search_text);
    gm_report_db *db = open_db(in_folder("gamut.db"));
    import_file(db, "pareto.json");
    gm_report_db_close(db);
    db = open_db(in_folder("gamut.db"));
    assert_int_equal(runs_of(db), 1);
    gm_report_db_close(db);
    assert_int_equal(ask("SELECT count(*) FROM subnet WHERE role = 'front'"), 2);
    assert_int_equal(ask("SELECT count(*) FROM subnet WHERE latency_ms IS NULL"), 1);
    assert_int_equal(ask("PRAGMA user_version"), 1);
    assert_int_equal(ask("SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"), 1);
}

static void the_same_content_is_stored_once(void **state) {
    (void)state;
    gm_report_db *db = open_db(in_folder("gamut.db"));
    put("a.json", search_text);
    put("b.json", search_text);
    assert_int_equal(import_file(db, "a.json").added, 1);
    assert_int_equal(import_file(db, "a.json").unchanged, 1);
    assert_int_equal(import_file(db, "b.json").unchanged, 1); // a copy, or the same file under a new name
    assert_int_equal(runs_of(db), 1);
    gm_report_db_close(db);
    assert_int_equal(ask("SELECT count(*) FROM subnet"), 3);
    assert_int_equal(ask("SELECT count(*) FROM place"), 2);
}

static void a_file_that_changed_replaces_what_it_had_brought(void **state) {
    (void)state;
    gm_report_db *db = open_db(in_folder("gamut.db"));
    put("log.jsonl", log_text);
    import_file(db, "log.jsonl");
    put("recipe.yaml", recipe_text); // the hash covers what lies beside
    assert_int_equal(import_file(db, "log.jsonl").replaced, 1);
    char more[4096];
    snprintf(more, sizeof more, "%s{\"event\":\"epoch\",\"epoch\":2,\"step\":20,\"loss\":1}\n", log_text);
    put("log.jsonl", more);
    assert_int_equal(import_file(db, "log.jsonl").replaced, 1);
    assert_int_equal(runs_of(db), 1);
    gm_report_db_close(db);
    assert_int_equal(ask("SELECT count(*) FROM run"), 1);
    assert_int_equal(ask("SELECT count(*) FROM epoch"), 2);
    assert_int_equal(ask("SELECT count(*) FROM evaluation"), 2); // nothing of the run before is left
}

static void the_scope_chooses_the_runs(void **state) {
    (void)state;
    char other[PATH_MAX];
    gm_report_db *db = open_db(":memory:");
    put("a.json", search_text);
    put("b.json", profile_text);
    import_file(db, "a.json");
    import_file(db, "b.json");
    snprintf(other, sizeof other, "%s", in_folder("b.json"));
    const char *scopes[] = {other, test_folder, "/nowhere"};
    const int runs[] = {1, 2, 0};
    for (int i = 0; i < 3; i++) {
        char *text = NULL;
        int shown_runs = -1;
        gm_report_settings settings = gm_report_settings_default();
        settings.scope = &scopes[i];
        settings.scope_count = 1;
        assert_int_equal(gm_report_data(db, &settings, &text, &shown_runs, NULL), GM_OK);
        assert_int_equal(shown_runs, runs[i]);
        gm_free(text);
    }
    gm_report_db_close(db);
}

static void the_newest_are_shown_and_the_others_counted(void **state) {
    (void)state;
    gm_report_db *db = open_db(":memory:");
    for (int i = 0; i < 5; i++) {
        char name[16], text[64];
        snprintf(name, sizeof name, "%d.json", i);
        snprintf(text, sizeof text, "{\"policy\":\"p%d\",\"attainment\":1}", i);
        put(name, text);
        import_file(db, name);
    }
    char *text = NULL;
    int runs = 0;
    gm_report_settings settings = gm_report_settings_default();
    settings.most = 2;
    assert_int_equal(gm_report_data(db, &settings, &text, &runs, NULL), GM_OK);
    assert_int_equal(runs, 2);
    assert_non_null(strstr(text, "\"more\":3"));
    gm_free(text);
    gm_report_db_close(db);
}

// ---------------------------------------------------------------------------------------------
static void refuse(const char *path, gm_status status, const char *says) {
    gm_report_db *db = NULL;
    gm_error err = {0};
    size_t live = gm_alloc_live();
    assert_int_equal(gm_report_db_open(path, &db, &err), status);
    assert_null(db);
    assert_int_equal(gm_alloc_live(), live);
    if (strstr(err.text, says) == NULL) fail_msg("not what was wrong: %s", err.text);
    if (strstr(err.text, path) == NULL) fail_msg("not where: %s", err.text);
}

static void what_is_no_run_database_is_refused(void **state) {
    (void)state;
    sqlite3 *handle = NULL;
    char noise[5000];
    memset(noise, 'x', sizeof noise - 1);
    noise[sizeof noise - 1] = '\0';
    put("text.db", noise);
    refuse(in_folder("text.db"), GM_ERR_FORMAT, "move it away");
    assert_int_equal(sqlite3_open(in_folder("other.db"), &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, "CREATE TABLE mail(x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(handle);
    refuse(in_folder("other.db"), GM_ERR_FORMAT, "of another program");
    gm_report_db_close(open_db(in_folder("later.db")));
    assert_int_equal(sqlite3_open(in_folder("later.db"), &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(handle);
    refuse(in_folder("later.db"), GM_ERR_UNSUPPORTED, "version 99");
    refuse(in_folder("absent/x.db"), GM_ERR_IO, "cannot open");
    refuse(test_folder, GM_ERR_IO, "cannot open");
}

// Every page of the file in turn: an error or the right answer, never a crash.
static void a_damaged_file_is_an_error(void **state) {
    (void)state;
    gm_report_db *db = open_db(in_folder("gamut.db"));
    put("pareto.json", search_text);
    put("log.jsonl", log_text);
    import_file(db, "pareto.json");
    import_file(db, "log.jsonl");
    gm_report_db_close(db);
    uint8_t *data;
    size_t bytes;
    int refused = 0;
    assert_int_equal(gm_file_read(in_folder("gamut.db"), 1 << 24, &data, &bytes, NULL), GM_OK);
    for (size_t at = 100; at < bytes; at += 4096) { // behind the header; then the start of each page
        uint8_t *bad = gm_alloc(bytes, 1);
        memcpy(bad, data, bytes);
        memset(bad + at, 0xa5, bytes - at < 64 ? bytes - at : 64);
        assert_int_equal(gm_file_write(in_folder("bad.db"), bad, bytes, NULL), GM_OK);
        gm_free(bad);
        gm_error err = {0};
        char *text = NULL;
        gm_report_settings settings = gm_report_settings_default();
        gm_status status = gm_report_db_open(in_folder("bad.db"), &db, &err);
        if (status == GM_OK) status = gm_report_data(db, &settings, &text, NULL, &err);
        if (status != GM_OK) {
            assert_int_equal(status, GM_ERR_FORMAT);
            assert_non_null(strstr(err.text, "bad.db"));
            refused++;
        }
        gm_free(text);
        gm_report_db_close(db);
        db = NULL;
    }
    assert_true(refused > 0);
    gm_free(data);
}

static void a_lock_that_is_held_is_an_error(void **state) {
    (void)state;
    sqlite3 *handle = NULL;
    gm_report_db *db = open_db(in_folder("gamut.db"));
    put("pareto.json", search_text);
    assert_int_equal(sqlite3_open(in_folder("gamut.db"), &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    gm_error err = {0};
    gm_report_imported counts = {0};
    assert_int_equal(gm_report_import_file(db, in_folder("pareto.json"), &counts, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "is locked by another process"));
    assert_int_equal(counts.added, 0);
    assert_int_equal(runs_of(db), 0); // reading goes on
    assert_int_equal(sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(handle);
    assert_int_equal(import_file(db, "pareto.json").added, 1);
    gm_report_db_close(db);
}

// A process that is killed in the midst of imports leaves whole runs only.
static void a_kill_leaves_whole_runs(void **state) {
    (void)state;
    char fates[60000] = "";
    size_t at = 0;
    for (int i = 0; i < 600; i++)
        at += (size_t)snprintf(fates + at, sizeof fates - at, "{\"t\":%d,\"outcome\":\"met\",\"subnet\":\"a\",\"latency_ms\":1}\n", i);
    gm_report_db_close(open_db(in_folder("gamut.db")));
    for (int round = 0; round < 4; round++) {
        pid_t child = fork();
        if (child == 0) {
            gm_report_db *db = NULL;
            if (gm_report_db_open(in_folder("gamut.db"), &db, NULL) != GM_OK) _exit(1);
            for (int i = 0;; i++) {
                char text[60100];
                snprintf(text, sizeof text, "%s{\"t\":%d,\"outcome\":\"late\"}\n", fates, 1000 + i);
                gm_file_write(in_folder("x.jsonl"), text, strlen(text), NULL);
                gm_report_import_file(db, in_folder("x.jsonl"), NULL, NULL);
            }
        }
        usleep((useconds_t)(20000 + 17000 * round));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        int64_t runs = ask("SELECT count(*) FROM run");
        assert_in_range(runs, 0, 1); // each import replaced the one before
        assert_int_equal(ask("SELECT count(*) FROM fate"), 601 * runs);
        assert_int_equal(ask("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    }
}

// ---------------------------------------------------------------------------------------------
static gm_status all_of_it(gm_error *err) {
    gm_report_db *db = NULL;
    char *text = NULL;
    gm_report_settings settings = gm_report_settings_default();
    const char *scope = test_folder;
    settings.scope = &scope;
    settings.scope_count = 1;
    gm_status status = gm_report_db_open(":memory:", &db, err);
    if (status == GM_OK) status = gm_report_import_folder(db, test_folder, NULL, err);
    if (status == GM_OK) status = gm_report_data(db, &settings, &text, NULL, err);
    gm_free(text);
    gm_report_db_close(db);
    return status;
}

static void a_failed_allocation_leaks_nothing(void **state) {
    (void)state;
    put("replay.json", replay_text);
    put("replay.jsonl", fates_text);
    put("pareto.json", search_text);
    with_failing_allocations(all_of_it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_was_imported_is_there_after_closing, clean),
        cmocka_unit_test_teardown(the_same_content_is_stored_once, clean),
        cmocka_unit_test_teardown(a_file_that_changed_replaces_what_it_had_brought, clean),
        cmocka_unit_test_teardown(the_scope_chooses_the_runs, clean),
        cmocka_unit_test_teardown(the_newest_are_shown_and_the_others_counted, clean),
        cmocka_unit_test_teardown(what_is_no_run_database_is_refused, clean),
        cmocka_unit_test_teardown(a_damaged_file_is_an_error, clean),
        cmocka_unit_test_teardown(a_lock_that_is_held_is_an_error, clean),
        cmocka_unit_test_teardown(a_kill_leaves_whole_runs, clean),
        cmocka_unit_test_teardown(a_failed_allocation_leaks_nothing, clean),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
