// SPDX-License-Identifier: Apache-2.0
// Profiles: measured on a clock of the test's, written, read back, and refused when they are not what they should be.
#include "tiny_model.h"

#include <math.h>

typedef struct counter { // a clock on which the n-th reading is n(n-1)/2 milliseconds
    double time, step;
} counter;

static double tick(void *self) {
    counter *c = self;
    c->time += c->step;
    c->step += 1e-3;
    return c->time;
}

static gm_profile measure(gm_model *m, const gm_dataset *d, const gm_choice *choice, int count, gm_profile_settings s) {
    gm_profile p;
    gm_error err = {0};
    counter c = {0};
    const gm_clock clock = {.now = tick, .self = &c};
    s.clock = &clock;
    assert_ok(gm_profile_measure(m, d, NULL, 0, choice, count, &s, &p, &err));
    return p;
}

static void a_profile_measures_accuracy_and_latency(void **state) {
    (void)state;
    gm_model *m = tiny_model(1);
    gm_dataset *d = tiny_data(100);
    gm_error err = {0};
    gm_choice choice[] = {gm_choice_max(&m->graph->space), gm_choice_min(&m->graph->space)};
    tiny_calibrate(m, d, choice, 2);
    gm_profile_settings s = gm_profile_settings_default();
    s.batches = 2;
    s.batch[1] = 3;
    s.rounds = 5;
    gm_profile p = measure(m, d, choice, 2, s);
    assert_int_equal(p.subnets, 2);
    assert_string_equal(p.preset, "resnet-28");
    assert_string_equal(p.cpu_model, gm_cpu_model());
    assert_int_equal(p.threads, gm_threads());
    gm_walker *w = NULL;
    assert_ok(gm_walker_create(m->graph, m->norm_offset, GM_F32, 32, false, &w, &err));
    for (int i = 0; i < 2; i++) {
        gm_eval_result r;
        assert_ok(gm_evaluate(m, w, d, NULL, 0, &choice[i], &r, &err));
        assert_near(p.subnet[i].top1, r.top1, 1.01); // the plan adds in another order: an image may flip
        assert_int_equal(p.subnet[i].macs, r.macs);
        assert_int_equal(p.subnet[i].id, gm_choice_id(&m->graph->space, &choice[i]));
    }
    gm_walker_destroy(w);
    // Readings 1 ms further apart each time: 20 runs take 1, 3, 5, ... 39 ms, dealt over 4 cells round by round.
    double sum = 0;
    for (int i = 0; i < 2; i++)
        for (int b = 0; b < 2; b++) {
            double ms = (double)p.subnet[i].p50_ns[b] / 1e6;
            assert_true(ms >= 17 && ms <= 23); // the third of five rounds
            assert_true(p.subnet[i].p99_ns[b] > p.subnet[i].p50_ns[b]);
            sum += ms;
        }
    assert_near(sum, 17 + 19 + 21 + 23, 1e-3);
    gm_profile again = measure(m, d, choice, 2, s);
    assert_memory_equal(again.subnet, p.subnet, 2 * sizeof *p.subnet);
    gm_profile_fini(&again);
    gm_profile_fini(&p);

    gm_choice other = choice_of(&m->graph->space, "uniform:d=1,e=1");
    assert_int_equal(gm_profile_measure(m, d, NULL, 0, &other, 1, &s, &p, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "gamut calibrate"));
    s.batch[0] = 2;
    assert_int_equal(gm_profile_measure(m, d, NULL, 0, choice, 1, &s, &p, &err), GM_ERR_RANGE);
    gm_dataset_destroy(d);
    gm_model_destroy(m);
}

// ---------------------------------------------------------------------------------------------
static gm_profile example(void) {
    gm_profile p = {.batches = 2, .batch = {1, 4}, .threads = gm_threads(), .type = GM_I8, .subnets = 2};
    snprintf(p.preset, sizeof p.preset, "resnet-28");
    snprintf(p.data, sizeof p.data, "made-up");
    snprintf(p.cpu_model, sizeof p.cpu_model, "%s", gm_cpu_model());
    snprintf(p.level, sizeof p.level, "%s", gm_cpu_level_name(gm_cpu_active()));
    p.subnet = gm_alloc(2, sizeof *p.subnet);
    for (int i = 0; i < 2; i++) {
        p.subnet[i] = (gm_profile_subnet){.id = 0xfedcba9876543210u + (uint64_t)i, .top1 = 80.125 + i, .macs = 1000000007};
        snprintf(p.subnet[i].choice, sizeof p.subnet[i].choice, "d=%d,1,1 e=1", i + 1);
        for (int b = 0; b < 2; b++) p.subnet[i].p50_ns[b] = p.subnet[i].p99_ns[b] = 123457 + 1000 * (i + b);
    }
    return p;
}

static void path_of(char path[96]) { snprintf(path, 96, "/tmp/gamut-test-profile-%ld.json", (long)getpid()); }

static void a_profile_reads_back_as_written(void **state) {
    (void)state;
    char path[96];
    gm_error err = {0};
    gm_profile p = example(), back;
    uint64_t model = 0;
    path_of(path);
    assert_ok(gm_profile_save(&p, 0x0123456789abcdefu, path, &err));
    assert_ok(gm_profile_load(path, &back, &model, &err));
    assert_true(model == 0x0123456789abcdefu);
    assert_int_equal(back.type, GM_I8);
    assert_int_equal(back.batches, 2);
    assert_memory_equal(back.batch, p.batch, sizeof p.batch);
    assert_memory_equal(back.subnet, p.subnet, 2 * sizeof *p.subnet);
    assert_string_equal(back.cpu_model, p.cpu_model);
    gm_profile_fini(&back);
    unlink(path);
    assert_int_equal(gm_profile_load(path, &back, &model, &err), GM_ERR_NOT_FOUND);
    assert_int_equal(gm_profile_save(&p, 1, "/proc/no/profile.json", &err), GM_ERR_IO);
    gm_profile_fini(&p);
}

static void a_profile_of_another_machine_or_model_is_refused(void **state) {
    (void)state;
    gm_error err = {0};
    gm_profile p = example();
    gm_model *m = tiny_model(1), *other = tiny_model(2);
    uint64_t model = gm_model_hash(m);
    assert_true(model != gm_model_hash(other));
    gm_log_set(GM_LOG_ERROR);
    assert_ok(gm_profile_check(&p, model, m, false, &err));
    assert_int_equal(gm_profile_check(&p, model, other, false, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "weights"));
    assert_ok(gm_profile_check(&p, model, other, true, &err));
    assert_ok(gm_profile_check(&p, model, NULL, false, &err));
    p.threads++;
    assert_int_equal(gm_profile_check(&p, model, m, false, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "threads"));
    p.threads--;
    snprintf(p.level, sizeof p.level, "none");
    assert_int_equal(gm_profile_check(&p, model, m, false, &err), GM_ERR_STATE);
    snprintf(p.cpu_model, sizeof p.cpu_model, "Abacus");
    assert_int_equal(gm_profile_check(&p, model, m, false, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "Abacus"));
    assert_non_null(strstr(err.text, "--force"));
    assert_ok(gm_profile_check(&p, model, m, true, &err));
    gm_log_set(GM_LOG_INFO);
    // statistics of subnets are not weights
    gm_norm_entry *entry;
    gm_choice c = gm_choice_max(&m->graph->space);
    assert_ok(gm_model_norms_add(m, &c, &entry, &err));
    assert_true(gm_model_hash(m) == model);
    gm_model_destroy(m);
    gm_model_destroy(other);
    gm_profile_fini(&p);
}

#define HEAD                                                                                       \
    "{\"format\":\"gamut-profile\",\"version\":1,\"preset\":\"p\",\"data\":\"d\",\"model\":\"0123456789abcdef\",\"cpu\":\"c\","     \
    "\"level\":\"ref\",\"threads\":1,\"dtype\":\"f32\","
#define ROW(id, top1, p50, p99)                                                                    \
    "{\"id\":\"" id "\",\"choice\":\"\",\"top1\":" top1 ",\"macs\":1,\"latency_ms\":{\"1\":{\"p50\":" p50 ",\"p99\":" p99 "}}}"
#define ID "0000000000000001"

static void hostile_profiles_are_refused_with_the_field(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "profile.json"},
        {"{", "profile.json:1"},
        {"[]", "gamut-profile"},
        {"{\"format\":\"gamut-pareto\",\"version\":1}", "gamut-pareto"},
        {"{\"format\":\"gamut-profile\",\"version\":2}", "version 2"},
        {"{\"format\":\"gamut-profile\",\"format\":\"gamut-profile\"}", "profile.json:1"},
        {"{\"format\":\"gamut-profile\",\"version\":1}", "preset"},
        {HEAD "\"batches\":[],\"subnets\":[" ROW(ID, "1", "1", "1") "]}", "batches"},
        {HEAD "\"batches\":[2],\"subnets\":[" ROW(ID, "1", "1", "1") "]}", "batches"},
        {HEAD "\"batches\":[1,1],\"subnets\":[" ROW(ID, "1", "1", "1") "]}", "batches"},
        {HEAD "\"batches\":[1,1e9],\"subnets\":[" ROW(ID, "1", "1", "1") "]}", "batches"},
        {HEAD "\"batches\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33],"
              "\"subnets\":[]}", "batches"},
        {HEAD "\"batches\":[1],\"subnets\":[]}", "subnets"},
        {HEAD "\"batches\":[1],\"subnets\":[7]}", "subnets[0]"},
        {HEAD "\"batches\":[1],\"subnets\":[" ROW("1", "1", "1", "1") "]}", "subnets[0].id"},
        {HEAD "\"batches\":[1],\"subnets\":[" ROW(ID, "101", "1", "1") "]}", "subnets[0].top1"},
        {HEAD "\"batches\":[1],\"subnets\":[" ROW(ID, "-1", "1", "1") "]}", "subnets[0].top1"},
        {HEAD "\"batches\":[1],\"subnets\":[" ROW(ID, "1", "0", "1") "]}", "subnets[0].latency_ms.1"},
        {HEAD "\"batches\":[1],\"subnets\":[" ROW(ID, "1", "1", "1e99") "]}", "subnets[0].latency_ms.1"},
        {HEAD "\"batches\":[1],\"subnets\":[" ROW(ID, "1", "1", "\"1\"") "]}", "subnets[0].latency_ms.1"},
        {HEAD "\"batches\":[1,2],\"subnets\":[" ROW(ID, "1", "1", "1") "]}", "latency_ms"},
        {HEAD "\"batches\":[1],\"subnets\":[" ROW(ID, "2", "1", "1") "," ROW(ID, "1", "1", "1") "]}", "ascend"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gm_error err = {0};
        gm_profile p;
        uint64_t model;
        gm_status status = gm_profile_parse(cases[i].text, strlen(cases[i].text), "profile.json", &p, &model, &err);
        assert_true(status == GM_ERR_FORMAT || status == GM_ERR_UNSUPPORTED);
        assert_null(p.subnet);
        if (!strstr(err.text, cases[i].says)) fail_msg("case %zu: '%s' does not say '%s'", i, err.text, cases[i].says);
    }
    gm_error err = {0};
    gm_profile p;
    uint64_t model;
    static const char good[] = HEAD "\"batches\":[1],\"subnets\":[" ROW(ID, "1", "1", "1") "]}";
    assert_ok(gm_profile_parse(good, strlen(good), "profile.json", &p, &model, &err));
    gm_profile_fini(&p);
}

int main(void) {
    gm_progress_quiet(true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_profile_measures_accuracy_and_latency),
        cmocka_unit_test(a_profile_reads_back_as_written),
        cmocka_unit_test(a_profile_of_another_machine_or_model_is_refused),
        cmocka_unit_test(hostile_profiles_are_refused_with_the_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
