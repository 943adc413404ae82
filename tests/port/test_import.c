// SPDX-License-Identifier: Apache-2.0
// Import: a checkpoint in the published layout gives the logits of the model it came from, in every container and
// spelling; what does not fit is named.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "port/names.h"
#include "port/port_test.h"
#include "port/torch_writer.h"

static char path[64];

typedef struct checkpoint {
    torch_tensor *t;
    char (*name)[256];
    float *rows;
    int count;
} checkpoint;

static const int64_t batches = 12345;

// What torch.save(net.state_dict()) of the elastic network holds; statistics: those of `entry`, NULL: none.
// plain: the spelling of a network that is not elastic.
static checkpoint checkpoint_of(gm_model *m, const gm_norm_entry *entry, bool plain) {
    const gm_graph *g = m->graph;
    size_t most = (size_t)g->params + 3 * (size_t)g->nodes;
    checkpoint c = {calloc(most, sizeof *c.t), calloc(most, 256), calloc(g->floats + 2 * g->norm_floats, sizeof(float)),
                    0};
    float *rows = c.rows;
    for (int i = 0; i < g->params; i++) {
        const gm_param *p = &g->param[i];
        uint64_t dims[4];
        if (plain && strstr(p->name, "_matrix")) continue;
        for (int d = 0; d < 4; d++) dims[d] = (uint64_t)p->dims[d];
        gm_param_export(p, m->params + p->offset, rows);
        if (plain)
            gm__name_plain(p->name, c.name[c.count], 256);
        else
            snprintf(c.name[c.count], 256, "%s", p->name);
        c.t[c.count] = torch_rows(c.name[c.count], c.count, p->rank, dims, rows);
        rows += gm_param_elements(p);
        c.count++;
    }
    for (int i = 0; i < g->nodes && entry; i++) {
        const gm_node *n = &g->node[i];
        if (strcmp(n->op->name, "norm") != 0) continue;
        const uint64_t channels = (uint64_t)g->param[n->param[0]].dims[0];
        const char *const suffix[] = {"running_mean", "running_var", "num_batches_tracked"};
        for (int k = 0; k < 3; k++, c.count++) {
            snprintf(c.name[c.count], 256, "%s.%s", n->name, suffix[k]);
            const float *from = (k == 0 ? entry->mean : entry->var) + m->norm_offset[i];
            c.t[c.count] = torch_rows(c.name[c.count], c.count, 1, &channels, from);
            if (k == 2)
                c.t[c.count] = (torch_tensor){.name = c.name[c.count],
                                              .type = "Long",
                                              .storage = c.count,
                                              .elements = 1,
                                              .size = 8,
                                              .data = &batches};
        }
    }
    return c;
}

static void checkpoint_free(checkpoint *c) {
    free(c->t);
    free(c->name);
    free(c->rows);
}

static gm_status import(bytes b, const char *preset, const gm_model_settings *model, gm_model **out,
                        gm_import_report *report, gm_error *err) {
    assert_int_equal(gm_file_write(path, b.data, b.used, NULL), GM_OK);
    free(b.data);
    gm_import_settings settings = {.model = *model};
    return gm_import(path, preset, &settings, out, report, err);
}

static void same_logits(gm_model *a, gm_walker *w, gm_model *b, const gm_choice *choice) {
    gm_batch x;
    gm_error err;
    const float *logits = NULL;
    int ld = 0;
    assert_int_equal(random_batch(a, choice, 2, 5, &x, &err), GM_OK);
    if (eval_logits(a, w, choice, &x, &logits, &ld, &err) != GM_OK) fail_msg("%s", err.text);
    float wanted[2][64];
    for (int i = 0; i < 2; i++) memcpy(wanted[i], logits + i * ld, sizeof(float) * (size_t)a->graph->classes);
    if (eval_logits(b, w, choice, &x, &logits, &ld, &err) != GM_OK) fail_msg("%s", err.text);
    for (int i = 0; i < 2; i++)
        assert_memory_equal(wanted[i], logits + i * ld, sizeof(float) * (size_t)a->graph->classes);
    gm_batch_fini(&x);
}

static const struct {
    const char *preset;
    gm_model_settings settings;
} cases[] = {
    {"mbv3-w1.0", {.classes = 7, .width = 0.25, .resolution = 32, .single_resolution = true, .transform = true}},
    {"resnet50", {.classes = 7, .width = 0.25, .resolution = 48, .single_resolution = true}},
    {"proxyless", {.classes = 7, .width = 0.25, .resolution = 32, .single_resolution = true, .transform = true}},
};

static void published_layouts_give_the_same_logits(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gm_error err = {0};
        gm_model *m = NULL, *in = NULL;
        gm_walker *w = NULL;
        if (random_model(cases[i].preset, &cases[i].settings, 3, 2, &m, &w, &err)) fail_msg("%s", err.text);
        gm_choice max = gm_choice_max(&m->graph->space);
        if (random_statistics(m, w, &max, 4, &err)) fail_msg("%s", err.text);
        checkpoint c = checkpoint_of(m, gm_model_norms(m, &max), false);
        for (int kind = 0; kind < 2; kind++) {
            gm_model_settings settings = cases[i].settings;
            gm_import_report report;
            settings.classes = 0, settings.transform = false; // the file knows
            bytes b = kind ? torch_zip(c.t, c.count, true) : torch_legacy(c.t, c.count, true);
            if (import(b, cases[i].preset, &settings, &in, &report, &err)) fail_msg("%s", err.text);
            assert_int_equal(report.tensors, m->graph->params + 2 * m->graph->norms);
            assert_true(report.statistics);
            assert_int_equal(report.transforms, cases[i].settings.transform);
            assert_int_equal(in->entries, 1);
            assert_string_equal(in->data, "imagenet");
            same_logits(m, w, in, &max);
            gm_model_destroy(in);
        }
        checkpoint_free(&c);
        gm_walker_destroy(w);
        gm_model_destroy(m);
    }
}

// A teacher that is not elastic: plain names, no matrices, saved under "module.".
static void fit_plain_names(const char *preset, gm_model_settings settings) {
    gm_error err = {0};
    gm_model *m = NULL, *in = NULL;
    gm_walker *w = NULL;
    settings.transform = false;
    assert_int_equal(random_model(preset, &settings, 3, 2, &m, &w, &err), GM_OK);
    checkpoint c = checkpoint_of(m, NULL, true);
    for (int i = 0; i < c.count; i++) {
        assert_null(strstr(c.name[i], "mobile_inverted"));
        assert_null(strstr(c.name[i], ".bn.bn."));
        assert_null(strstr(c.name[i], ".conv.conv.conv."));
        memmove(c.name[i] + 7, c.name[i], strlen(c.name[i]) + 1);
        memcpy(c.name[i], "module.", 7);
    }
    gm_import_report report;
    settings.transform = true; // asked for: the matrices stay the identity
    if (import(torch_zip(c.t, c.count, false), preset, &settings, &in, &report, &err)) fail_msg("%s", err.text);
    assert_false(report.statistics);
    assert_int_equal(in->entries, 0);
    for (int i = 0; i < in->graph->params; i++) {
        const gm_param *p = &in->graph->param[i];
        if (strstr(p->name, "5to3_matrix")) assert_float_equal(in->params[p->offset + gm_param_index(p, 10)], 1, 0);
    }
    gm_model_destroy(in);
    checkpoint_free(&c);
    gm_walker_destroy(w);
    gm_model_destroy(m);
}

static void plain_names_fit_an_elastic_network(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) fit_plain_names(cases[i].preset, cases[i].settings);
}

// Any subnet, exported and imported alone, answers as in its supernet; kernels are what their transforms made of them.
static void one_subnet_comes_back(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gm_error err = {0};
        gm_model *m = NULL, *in = NULL;
        gm_walker *w = NULL;
        gm_subnet *s = NULL;
        gm_rng rng = gm_rng_keyed(3, i, 0, GM_RNG_TEST);
        gm_import_report report;
        char text[1024];
        if (random_model(cases[i].preset, &cases[i].settings, 3, 2, &m, &w, &err)) fail_msg("%s", err.text);
        gm_choice choice = gm_choice_random(&m->graph->space, &rng);
        if (random_statistics(m, w, &choice, 4, &err)) fail_msg("%s", err.text);
        if (gm_subnet_create(m, &choice, &s, &err)) fail_msg("%s", err.text);
        if (gm_export_safetensors(s, NULL, path, &err)) fail_msg("%s", err.text);
        assert_int_equal(gm_choice_print(&m->graph->space, &choice, text, sizeof text, &err), GM_OK);
        gm_import_settings settings = {.model = cases[i].settings, .choice = text};
        settings.model.transform = false;
        if (gm_import(path, cases[i].preset, &settings, &in, &report, &err)) fail_msg("%s", err.text);
        assert_int_equal(report.tensors, s->tensors);
        assert_int_equal(report.params, s->params);
        assert_true(report.statistics);
        gm_walker *alone = NULL; // without the matrices it is another graph
        gm_batch x;
        const float *logits = NULL, *again = NULL;
        int ld = 0;
        assert_int_equal(gm_walker_create(in->graph, in->norm_offset, GM_F32, 2, false, &alone, &err), GM_OK);
        assert_int_equal(random_batch(m, &choice, 2, 5, &x, &err), GM_OK);
        assert_int_equal(eval_logits(m, w, &choice, &x, &logits, &ld, &err), GM_OK);
        assert_int_equal(eval_logits(in, alone, &choice, &x, &again, &ld, &err), GM_OK);
        for (int k = 0; k < 2 * ld; k++) {
            if (k % ld >= m->graph->classes) continue;
            // transforms are summed in another order than the kernel's
            assert_float_equal(logits[k], again[k],
                               cases[i].settings.transform ? 1e-3 * (1 + fabs((double)logits[k])) : 0);
        }
        gm_batch_fini(&x);
        gm_walker_destroy(alone);
        gm_model_destroy(in);
        gm_subnet_destroy(s);
        gm_walker_destroy(w);
        gm_model_destroy(m);
    }
}

static void expect_eps(const gm_model *m, float eps) {
    assert_true(m->settings.norm_eps == eps);
    for (int i = 0; i < m->graph->nodes; i++)
        assert_true(strcmp(m->graph->node[i].op->name, "norm") != 0 || m->graph->node[i].eps == eps);
}

// What norms add to variances is the family's, unless the settings say another; the statistics are the file's.
static void the_eps_is_that_of_the_family_or_of_the_settings(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m = NULL;
    gm_walker *w = NULL;
    assert_int_equal(random_model("proxyless", &cases[2].settings, 3, 2, &m, &w, &err), GM_OK);
    expect_eps(m, 1e-3f);
    gm_choice max = gm_choice_max(&m->graph->space);
    assert_int_equal(random_statistics(m, w, &max, 4, &err), GM_OK);
    checkpoint c = checkpoint_of(m, gm_model_norms(m, &max), false);
    bytes b = torch_zip(c.t, c.count, false);
    assert_int_equal(gm_file_write(path, b.data, b.used, NULL), GM_OK);
    free(b.data);
    for (int i = 0; i < 2; i++) {
        gm_model *in = NULL;
        gm_import_settings settings = {.model = cases[2].settings};
        if (i == 1) settings.model.norm_eps = 0.25f;
        if (gm_import(path, "proxyless", &settings, &in, NULL, &err)) fail_msg("%s", err.text);
        expect_eps(in, i == 1 ? 0.25f : 1e-3f);
        assert_memory_equal(gm_model_norms(in, &max)->var, gm_model_norms(m, &max)->var, m->graph->norm_floats * sizeof(float));
        gm_model_destroy(in);
    }
    checkpoint_free(&c);
    gm_walker_destroy(w);
    gm_model_destroy(m);
}

// The largest subnet, exported and read again: the file says what its norms add.
static void an_exported_file_says_its_eps(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m = NULL, *in = NULL;
    gm_walker *w = NULL;
    gm_subnet *s = NULL;
    gm_model_settings settings = {.width = 0.25, .resolution = 12, .norm_eps = 0.125f};
    assert_int_equal(random_model("resnet-28", &settings, 3, 2, &m, &w, &err), GM_OK);
    gm_choice max = gm_choice_max(&m->graph->space);
    assert_int_equal(random_statistics(m, w, &max, 4, &err), GM_OK);
    const gm_export_settings defaults = gm_export_settings_default();
    if (gm_subnet_create(m, &max, &s, &err) || gm_export_safetensors(s, &defaults, path, &err)) fail_msg("%s", err.text);
    gm_import_settings again = {.model = {.width = 0.25, .resolution = 12}};
    if (gm_import(path, "resnet-28", &again, &in, NULL, &err)) fail_msg("%s", err.text);
    expect_eps(in, 0.125f);
    gm_model_destroy(in);
    gm_subnet_destroy(s);
    gm_walker_destroy(w);
    gm_model_destroy(m);
}

// What `gamut train` wrote, read by name as any other safetensors file.
static void safetensors_are_read_too(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m = NULL, *in = NULL;
    gm_walker *w = NULL;
    gm_model_settings settings = {.width = 0.25, .resolution = 12};
    gm_import_report report;
    assert_int_equal(random_model("resnet-28", &settings, 3, 2, &m, &w, &err), GM_OK);
    assert_int_equal(gm_model_save(m, path, &err), GM_OK);
    if (gm_import(path, "resnet-28", &(gm_import_settings){.model = settings}, &in, &report, &err))
        fail_msg("%s", err.text);
    assert_int_equal(report.tensors, m->graph->params);
    for (size_t i = 0; i < m->graph->floats; i++) assert_float_equal(m->params[i], in->params[i], 0);
    gm_model_destroy(in);
    gm_walker_destroy(w);
    gm_model_destroy(m);
}

static void refuse(bytes b, const char *preset, const char *says) {
    gm_error err = {0};
    gm_model *in = NULL;
    gm_status status = import(b, preset, &cases[0].settings, &in, NULL, &err);
    if (status == GM_OK || !strstr(err.text, says)) fail_msg("status %d, '%s', not '%s'", status, err.text, says);
    assert_null(in);
}

static void what_does_not_fit_is_named(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m = NULL;
    gm_walker *w = NULL;
    assert_int_equal(random_model("mbv3", &cases[0].settings, 3, 2, &m, &w, &err), GM_OK);
    gm_choice max = gm_choice_max(&m->graph->space);
    assert_int_equal(random_statistics(m, w, &max, 4, &err), GM_OK);
    gm_norm_entry *entry = gm_model_norms(m, &max);
    checkpoint c = checkpoint_of(m, entry, false);
    refuse(torch_zip(c.t + 1, c.count - 1, false), "mbv3",
           "1 tensors of mbv3 are missing (another family?): first_conv.conv.weight");
    refuse(torch_zip(c.t, c.count, false), "resnet50", "are missing");
    refuse(torch_zip(c.t, c.count, false), "mbv4", "unknown family");
    torch_tensor first = c.t[0];
    c.t[0].dims[0] /= 2, c.t[0].elements /= 2;
    refuse(torch_legacy(c.t, c.count, false), "mbv3", "first_conv.conv.weight (");
    c.t[0] = first;
    c.t[0].name = "first_conv.conv.wait";
    refuse(torch_legacy(c.t, c.count, false), "mbv3", "missing");
    c.t[0] = first;
    torch_tensor last = c.t[c.count - 1];
    c.t[c.count - 1].name = "surprise";
    refuse(torch_legacy(c.t, c.count, false), "mbv3", "1 tensors are not in mbv3: surprise");
    c.t[c.count - 1] = last;
    ((float *)(uintptr_t)c.t[0].data)[2] = NAN;
    refuse(torch_legacy(c.t, c.count, false), "mbv3", "element 2 is nan");
    ((float *)(uintptr_t)c.t[0].data)[2] = 0;
    entry->var[0] = -1;
    refuse(torch_legacy(c.t, c.count, false), "mbv3", "running_var: element 0 is -1");
    c.t[1].name = "first_conv.bn.bn.weight"; // twice in another spelling
    c.t[2].name = "first_conv.bn.weight";
    refuse(torch_legacy(c.t, c.count, false), "mbv3", "are the same parameter");
    checkpoint_free(&c);
    gm_walker_destroy(w);
    gm_model_destroy(m);
}

static void every_failed_allocation_is_an_error(void **state) {
    (void)state;
    gm_error err = {0};
    gm_model *m = NULL, *in = NULL;
    gm_model_settings settings = {.width = 0.25, .resolution = 12};
    assert_int_equal(gm_model_create("resnet-28", &settings, &m, &err), GM_OK);
    gm_model_init_params(m, 1);
    assert_int_equal(gm_model_save(m, path, &err), GM_OK);
    size_t live = gm_alloc_live();
    for (long fail = 1;; fail++) {
        gm_alloc_fail_at(fail);
        gm_status status = gm_import(path, "resnet-28", &(gm_import_settings){.model = settings}, &in, NULL, &err);
        gm_alloc_fail_at(0);
        if (status == GM_OK) break;
        assert_int_equal(gm_alloc_live(), live);
    }
    gm_model_destroy(in);
    gm_model_destroy(m);
}

static int finish(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

int main(void) {
    snprintf(path, sizeof path, "%s/gamut-import-%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             (int)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_layouts_give_the_same_logits),
        cmocka_unit_test(plain_names_fit_an_elastic_network),
        cmocka_unit_test(one_subnet_comes_back),
        cmocka_unit_test(the_eps_is_that_of_the_family_or_of_the_settings),
        cmocka_unit_test(an_exported_file_says_its_eps),
        cmocka_unit_test(safetensors_are_read_too),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(every_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
