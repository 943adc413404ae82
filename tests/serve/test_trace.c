// SPDX-License-Identifier: Apache-2.0
// Trace files in every layout, the real ones with their known statistics (specs superserve 5.2), and the generators' moments.
#include <gamut/serve.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static gm_status parse(const char *text, gm_trace *t) {
    gm_error err;
    return gm_trace_parse("text", (const uint8_t *)text, strlen(text), t, &err);
}

static void layouts_are_recognised(void **state) {
    (void)state;
    gm_trace t;
    assert_int_equal(parse("TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-12-31 23:59:59.9000000,1,2\r\n2024-01-01 00:00:00.1,3,4", &t), GM_OK);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.at_ns[0], 0);
    assert_int_equal(t.at_ns[1], 200000000);
    gm_trace_fini(&t);
    assert_int_equal(parse("TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-02-29T00:00:00Z,0,1,1\n2024-03-01T00:00:00+00:00,0,1,1\n", &t), GM_OK);
    assert_int_equal(t.at_ns[1], 86400000000000);
    gm_trace_fini(&t);
    assert_int_equal(parse("app,func,end_timestamp,duration\na,f,2.5,0.5\nb,g,1.5,0.25", &t), GM_OK);
    assert_int_equal(t.at_ns[0], 1250000000); // arrivals are sorted
    assert_int_equal(t.at_ns[1], 2000000000);
    gm_trace_fini(&t);
    assert_int_equal(parse("100\r\n200.5\n\n0\n", &t), GM_OK);
    assert_int_equal(t.count, 3);
    assert_int_equal(t.at_ns[2], 300500);
    gm_trace_fini(&t);
    assert_int_equal(parse("HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,http,2,0\no,a,g,timer,0,1\n", &t), GM_OK);
    assert_int_equal(t.count, 3);
    assert_int_equal(t.at_ns[0], 15000000000);
    assert_int_equal(t.at_ns[2], 90000000000);
    gm_trace_fini(&t);
}

static void malformed_files_are_refused_with_the_line(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "\n", "hello\n", "TIMESTAMP,a\n", "TIMESTAMP,a\n2023-13-01 00:00:00,1\n",
                                        "TIMESTAMP,a\n2023-01-01,1\n", "app,func,end_timestamp,duration\na,f,1\n",
                                        "app,func,end_timestamp,duration\na,f,x,1\n", "10\nx\n", "10\n-1\n", "10\n1e13\n", "0x10\n",
                                        "HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,t,1\n",
                                        "HashOwner,HashApp,HashFunction,Trigger,1\no,a,f,t,1,2\n",
                                        "HashOwner,HashApp,HashFunction,Trigger,1\no,a,f,t,999999999\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        gm_trace t;
        gm_error err = {0};
        assert_int_not_equal(gm_trace_parse("file", (const uint8_t *)wrong[i], strlen(wrong[i]), &t, &err), GM_OK);
        assert_null(t.at_ns);
        assert_non_null(strstr(err.text, "file"));
    }
}

typedef struct wanted {
    const char *name;
    int rows, peak;
    double seconds, rate, cv2;
} wanted;

static const wanted *looking_for;
static char found[4096];
static bool look(void *context, const char *folder) {
    (void)context;
    snprintf(found, sizeof found, "%s/traces/%s", folder, looking_for->name);
    return gm_path_exists(found);
}

static void real_traces_have_their_known_statistics(void **state) {
    (void)state;
    static const wanted files[] = {{"AzureLLMInferenceTrace_code.csv", 8819, 67, 3436, 2.57, 173},
                                   {"AzureLLMInferenceTrace_conv.csv", 19366, 16, 3502, 5.53, 1.20},
                                   {"Azure2021_200.csv", 199, 0, 1200, 0, 0}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        gm_trace t;
        gm_trace_settings s = gm_trace_settings_default();
        looking_for = &files[i];
        if (!gm_data_folders(look, NULL)) {
            print_message("skipped: needs %s\n", files[i].name);
            continue;
        }
        assert_int_equal(gm_trace_create(found, &s, &t, NULL), GM_OK);
        gm_trace_stats m = gm_trace_measure(&t);
        assert_int_equal(t.count, files[i].rows);
        assert_float_equal(m.seconds, files[i].seconds, 2.0);
        if (files[i].peak > 0) {
            assert_in_range(m.peak, files[i].peak - 4, files[i].peak + 4); // where a second begins is a matter of taste
            assert_float_equal(m.rate, files[i].rate, 0.01);
            assert_float_equal(m.cv2, files[i].cv2, files[i].cv2 * 0.01);
        }
        gm_trace_fini(&t);
        s.rate = 100.0; // stretched: the shape stays
        assert_int_equal(gm_trace_create(found, &s, &t, NULL), GM_OK);
        assert_float_equal(gm_trace_measure(&t).rate, 100.0, 0.1);
        assert_float_equal(gm_trace_measure(&t).cv2, m.cv2, m.cv2 * 0.01);
        gm_trace_fini(&t);
    }
}

static gm_trace_stats generated(const char *spec, double seconds, double rate, uint64_t seed) {
    gm_trace t;
    gm_error err;
    gm_trace_settings s = {.duration_s = seconds, .rate = rate, .seed = seed};
    assert_int_equal(gm_trace_create(spec, &s, &t, &err), GM_OK);
    for (int i = 1; i < t.count; i++) assert_true(t.at_ns[i] >= t.at_ns[i - 1]);
    assert_true(t.at_ns[t.count - 1] <= (int64_t)(seconds * 1e9));
    gm_trace_stats m = gm_trace_measure(&t);
    gm_trace_fini(&t);
    return m;
}

static void generators_have_the_asked_mean_and_variation(void **state) {
    (void)state;
    gm_trace_stats p = generated("poisson:1000", 100, 0, 1);
    assert_float_equal(p.rate, 1000, 15);
    assert_float_equal(p.cv2, 1.0, 0.03);
    for (double cv2 = 2; cv2 <= 8; cv2 *= 2) {
        char spec[64];
        snprintf(spec, sizeof spec, "bursty:0,1000,%g", cv2);
        gm_trace_stats b = generated(spec, 200, 0, 2); // the variant stream alone
        assert_float_equal(b.rate, 1000, 1000 * 5 * sqrt(cv2 / 200000));
        assert_float_equal(b.cv2, cv2, cv2 * 0.08);
    }
    gm_trace_stats constant = generated("bursty:500,0,8", 10, 0, 3);
    assert_float_equal(constant.rate, 500, 0.1);
    assert_true(constant.cv2 < 1e-9);
    assert_float_equal(generated("bursty:1500,5550,4", 20, 700, 4).rate, 700, 40);
    assert_float_equal(generated("ramp:2500,7800,250,8", 10, 3000, 5).rate, 3000, 200);
}

static void a_ramp_rises_and_then_stays(void **state) {
    (void)state;
    gm_trace t;
    gm_trace_settings s = {.duration_s = 4, .seed = 1};
    assert_int_equal(gm_trace_create("ramp:1000,3000,1000,0", &s, &t, NULL), GM_OK);
    int in_second[4] = {0};
    for (int i = 0; i < t.count; i++) in_second[gm_min((int)(t.at_ns[i] / 1000000000), 3)]++;
    assert_float_equal(in_second[0], 1500, 2);
    assert_float_equal(in_second[1], 2500, 2);
    assert_float_equal(in_second[2], 3000, 2);
    assert_float_equal(in_second[3], 3000, 2);
    gm_trace_fini(&t);
}

static void wrong_generators_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"poisson:", "poisson:x", "poisson:-1", "poisson:0", "poisson:1,2", "bursty:1,2", "ramp:5,1,1,1",
                                        "ramp:0,1,1,1", "poisson:1e9", "azure-functions:/does/not/exist", "/does/not/exist"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        gm_trace t;
        gm_error err;
        gm_trace_settings s = gm_trace_settings_default();
        assert_int_not_equal(gm_trace_create(wrong[i], &s, &t, &err), GM_OK);
        assert_true(strlen(err.text) > 10);
    }
}

static void functions_recipe_keeps_total_and_shape(void **state) {
    (void)state;
    char path[] = "/tmp/gamut-trace-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,http,100,300,0\no,b,g,http,0,100,500\n";
    assert_true(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
    close(fd);
    char spec[64];
    snprintf(spec, sizeof spec, "azure-functions:%s", path);
    gm_trace t;
    gm_trace_settings s = {.duration_s = 3, .rate = 33.37, .seed = 1};
    assert_int_equal(gm_trace_create(spec, &s, &t, NULL), GM_OK);
    assert_int_equal(t.count, 100); // 33.37 * 3, rounded once, not minute by minute
    int in_minute[3] = {0};
    for (int i = 0; i < t.count; i++) in_minute[t.at_ns[i] / 1000000000]++;
    assert_int_equal(in_minute[0], 10);
    assert_int_equal(in_minute[1], 40);
    assert_int_equal(in_minute[2], 50);
    gm_trace_fini(&t);
    unlink(path);
}

static void written_gaps_read_back(void **state) {
    (void)state;
    char path[] = "/tmp/gamut-gaps-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    gm_trace a, b;
    gm_trace_settings s = {.duration_s = 2, .seed = 9}, file = gm_trace_settings_default();
    assert_int_equal(gm_trace_create("poisson:500", &s, &a, NULL), GM_OK);
    assert_int_equal(gm_trace_write_intervals(&a, path, NULL), GM_OK);
    assert_int_equal(gm_trace_create(path, &file, &b, NULL), GM_OK);
    assert_int_equal(a.count, b.count);
    for (int i = 0; i < a.count; i++) assert_in_range(b.at_ns[i] - a.at_ns[i] + 501, 0, 1002);
    gm_trace_fini(&a);
    gm_trace_fini(&b);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_are_recognised),
        cmocka_unit_test(malformed_files_are_refused_with_the_line),
        cmocka_unit_test(real_traces_have_their_known_statistics),
        cmocka_unit_test(generators_have_the_asked_mean_and_variation),
        cmocka_unit_test(a_ramp_rises_and_then_stays),
        cmocka_unit_test(wrong_generators_are_refused),
        cmocka_unit_test(functions_recipe_keeps_total_and_shape),
        cmocka_unit_test(written_gaps_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
