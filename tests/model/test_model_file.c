// SPDX-License-Identifier: Apache-2.0
// The model file: what is saved loads the same; what does not fit preset and settings is refused (specs: hardening 2.2).
#include "model/first_version.h"

#include <math.h>

enum { ENTRIES = 6 };

// Random statistics of the channels that the subnet uses.
static void fill_active(const gm_model *m, gm_norm_entry *e, gm_rng *rng) {
    gm_resolved r;
    assert_int_equal(gm_resolved_init(&r, m->graph, NULL), GM_OK);
    assert_int_equal(gm_resolve(m->graph, &e->choice, &r, NULL), GM_OK);
    for (int i = 0; i < m->graph->nodes; i++)
        for (int c = 0; strcmp(m->graph->node[i].op->name, "norm") == 0 && r.node[i].active && c < r.node[i].out.c; c++) {
            e->mean[m->norm_offset[i] + (size_t)c] = gm_rng_normal(rng);
            e->var[m->norm_offset[i] + (size_t)c] = gm_rng_uniform(rng);
        }
    e->ranged = true;
    gm_resolved_fini(&r);
}

static gm_model *small(void) {
    gm_model *m = NULL;
    gm_model_settings settings = {.width = 0.25, .classes = 3, .dropout = 0.25f, .zero_gamma = true};
    gm_error err = {0};
    if (gm_model_create("resnet-28", &settings, &m, &err) != GM_OK) fail_msg("%s", err.text);
    gm_model_init_params(m, 3);
    snprintf(m->data, sizeof m->data, "fashion-mnist");
    m->input_mean[0] = 0.286f;
    m->input_std[0] = 0.353f;
    for (int i = 0; i < ENTRIES; i++) {
        gm_rng rng = gm_rng_keyed((uint64_t)i, 0, 0, GM_RNG_TEST);
        gm_choice c = gm_choice_random(&m->graph->space, &rng);
        gm_norm_entry *e = NULL;
        assert_int_equal(gm_model_norms_add(m, &c, &e, NULL), GM_OK);
        fill_active(m, e, &rng);
    }
    for (int i = 0; i < m->graph->nodes; i++) m->range[i] = (float)i;
    return m;
}

static void save(const gm_model *m, const char *name) {
    gm_error err = {0};
    if (gm_model_save(m, in_folder(name), &err) != GM_OK) fail_msg("%s", err.text);
}

static void what_is_saved_loads_the_same(void **state) {
    (void)state;
    gm_model *m = small(), *back = NULL;
    gm_error err = {0};
    save(m, "m");
    if (gm_model_load(in_folder("m"), &back, &err) != GM_OK) fail_msg("%s", err.text);
    assert_string_equal(back->preset, "resnet-28");
    assert_string_equal(back->data, "fashion-mnist");
    assert_true(back->settings.width == 0.25 && back->settings.classes == 3 && back->settings.zero_gamma);
    assert_true(back->settings.dropout == 0.25f);
    assert_memory_equal(back->input_mean, m->input_mean, sizeof m->input_mean);
    assert_memory_equal(back->input_std, m->input_std, sizeof m->input_std);
    assert_memory_equal(back->params, m->params, m->graph->floats * sizeof(float));
    assert_int_equal(back->entries, ENTRIES);
    for (int i = 0; i < ENTRIES; i++) {
        gm_norm_entry *e = gm_model_norms(back, &m->entry[i].choice);
        assert_non_null(e);
        assert_memory_equal(e->mean, m->entry[i].mean, m->graph->norm_floats * sizeof(float));
        assert_memory_equal(e->var, m->entry[i].var, m->graph->norm_floats * sizeof(float));
        assert_true(e->ranged);
    }
    assert_memory_equal(back->range, m->range, (size_t)m->graph->nodes * sizeof(float));
    gm_model_norms_clear(back); // without statistics the tables are left out
    save(back, "bare");
    gm_model *bare = NULL;
    if (gm_model_load(in_folder("bare"), &bare, &err) != GM_OK) fail_msg("%s", err.text);
    assert_int_equal(bare->entries, 0);
    gm_model_destroy(bare);
    gm_model_destroy(back);
    gm_model_destroy(m);
}

// The usual value is not said, so files from before the key have it.
static void another_norm_eps_is_said(void **state) {
    (void)state;
    static const struct {
        const char *preset;
        float asked, kept;
        bool said;
    } cases[] = {{"resnet-28", 0, 1e-5f, false}, {"resnet-28", 0.01f, 0.01f, true}, {"proxyless", 0, 1e-3f, true},
                 {"proxyless", 1e-5f, 1e-5f, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gm_model *m = NULL, *back = NULL;
        gm_tensor_file *f = NULL;
        gm_model_settings settings = {.width = 0.25, .classes = 2, .norm_eps = cases[i].asked};
        assert_int_equal(gm_model_create(cases[i].preset, &settings, &m, NULL), GM_OK);
        save(m, "eps");
        assert_int_equal(gm_model_load(in_folder("eps"), &back, NULL), GM_OK);
        assert_true(back->settings.norm_eps == cases[i].kept);
        for (int k = 0; k < back->graph->nodes; k++)
            assert_true(back->graph->node[k].eps == m->graph->node[k].eps &&
                        (back->graph->node[k].eps == cases[i].kept || strcmp(back->graph->node[k].op->name, "norm") != 0));
        assert_int_equal(gm_tensor_file_read(in_folder("eps"), &f, NULL), GM_OK);
        assert_true((gm_tensor_meta(f, "norm_eps") != NULL) == cases[i].said);
        gm_tensor_file_destroy(f);
        gm_model_destroy(back);
        gm_model_destroy(m);
    }
}

static void saving_again_gives_the_same_bytes(void **state) {
    (void)state;
    gm_model *m = small(), *back = NULL;
    uint8_t *a, *b;
    size_t bytes_a, bytes_b;
    save(m, "a");
    assert_int_equal(gm_model_load(in_folder("a"), &back, NULL), GM_OK);
    save(back, "b");
    assert_int_equal(gm_file_read(in_folder("a"), SIZE_MAX, &a, &bytes_a, NULL), GM_OK);
    assert_int_equal(gm_file_read(in_folder("b"), SIZE_MAX, &b, &bytes_b, NULL), GM_OK);
    assert_int_equal(bytes_a, bytes_b);
    assert_memory_equal(a, b, bytes_a);
    gm_free(a);
    gm_free(b);
    gm_model_destroy(back);
    gm_model_destroy(m);
}

static void tensors_are_in_the_order_of_other_programs(void **state) {
    (void)state;
    gm_model *m = small();
    save(m, "m");
    gm_tensor_file *f = NULL;
    assert_int_equal(gm_tensor_file_read(in_folder("m"), &f, NULL), GM_OK);
    const gm_tensor_info *t = gm_tensor_find(f, "stages.0.blocks.0.conv1.weight");
    assert_non_null(t);
    assert_int_equal(t->rank, 4);
    for (int i = 0; i < m->graph->params; i++) {
        const gm_param *p = &m->graph->param[i];
        if (strcmp(p->name, t->name) != 0) continue;
        gm_panels panels;
        gm_panels_layout(&panels, GM_F32, p->dims[0], p->dims[1], 3, 3, p->flat);
        for (uint64_t o = 0; o < t->dims[0]; o++)
            for (uint64_t in = 0; in < t->dims[1]; in++)
                for (uint64_t tap = 0; tap < 9; tap++)
                    assert_true(((const float *)t->data)[(o * t->dims[1] + in) * 9 + tap] ==
                                m->params[p->offset + gm_panels_index(&panels, (int)o, (int)in, (int)tap)]);
    }
    assert_int_equal(gm_tensor_find(f, "classifier.weight")->rank, 2);
    gm_tensor_file_destroy(f);
    gm_model_destroy(m);
}

static void what_is_not_finite_is_not_written(void **state) {
    (void)state;
    gm_model *m = small();
    gm_error err = {0};
    save(m, "kept");
    m->params[5] = NAN;
    assert_int_equal(gm_model_save(m, in_folder("kept"), &err), GM_ERR_NUMERIC);
    gm_model *back = NULL;
    assert_int_equal(gm_model_load(in_folder("kept"), &back, &err), GM_OK); // the old file is whole
    gm_model_destroy(back);
    gm_model_destroy(m);
}

// ---------------------------------------------------------------------------------------------
// A copy of a good file with one change. Empty value or zero rank with a name: left out.
typedef struct change {
    const char *says;                // in the error
    const char *key, *value;         // metadata: replaced, or left out when value is NULL
    const char *tensor;              // changed: element `at` set, or with drop left out, or with other_rank reshaped
    bool drop, other_rank, other_type;
    size_t at;
    double element;
    const char *extra;               // a tensor added
    gm_status status;                // 0: GM_ERR_FORMAT
} change;

static void rewrite(const gm_tensor_file *f, const change *c) {
    gm_tensor_writer *w = NULL;
    assert_int_equal(gm_tensor_writer_create(&w, NULL), GM_OK);
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        const char *value = gm_tensor_meta(f, model_keys[i]);
        assert_non_null(value);
        if (c->key && strcmp(c->key, model_keys[i]) == 0) value = c->value;
        if (value) assert_int_equal(gm_tensor_writer_meta(w, model_keys[i], value, NULL), GM_OK);
    }
    void *changed = NULL;
    for (int i = 0; i < gm_tensor_count(f); i++) {
        const gm_tensor_info *t = gm_tensor_at(f, i);
        bool this = c->tensor && strcmp(c->tensor, t->name) == 0;
        if (this && c->drop) continue;
        gm_tensor_info copy = *t;
        if (this && c->other_rank) {
            copy.dims[copy.rank++] = 1;
        } else if (this && c->other_type) {
            copy.type = GM_I32;
        } else if (this) {
            changed = malloc(t->bytes);
            memcpy(changed, t->data, t->bytes);
            if (t->type == GM_F32) ((float *)changed)[c->at] = (float)c->element;
            else ((uint8_t *)changed)[c->at] = (uint8_t)c->element;
            copy.data = changed;
        }
        assert_int_equal(gm_tensor_writer_add(w, copy.name, copy.type, copy.rank, copy.dims, copy.data, NULL), GM_OK);
    }
    static const uint64_t one[] = {1};
    static const float value = 1;
    if (c->extra) assert_int_equal(gm_tensor_writer_add(w, c->extra, GM_F32, 1, one, &value, NULL), GM_OK);
    assert_int_equal(gm_tensor_writer_commit(w, in_folder("changed"), NULL), GM_OK);
    free(changed);
}

static void files_that_do_not_fit_are_refused(void **state) {
    (void)state;
    gm_model *m = small();
    save(m, "good");
    gm_tensor_file *f = NULL;
    assert_int_equal(gm_tensor_file_read(in_folder("good"), &f, NULL), GM_OK);
    const gm_tensor_info *choices = gm_tensor_find(f, "norms.choice");
    int knobs = (int)choices->dims[1];
    const uint8_t *rows = choices->data;
    // a row that leaves stage 1 at one block, to be given a value for its second block
    int shallow = -1;
    for (int i = 0; i < ENTRIES && shallow < 0; i++)
        if (rows[i * knobs] == 0) shallow = i;
    assert_true(shallow >= 0);
    const change cases[] = {
        {.says = "", .status = GM_OK}, // the copy itself is good
        {.key = "format", .value = NULL, .says = "'format' is missing"},
        {.key = "format", .value = "other", .says = "format 'other'"},
        {.key = "version", .value = "3", .says = "version 3", .status = GM_ERR_UNSUPPORTED},
        {.key = "preset", .value = "vgg", .says = "unknown family", .status = GM_ERR_NOT_FOUND},
        {.key = "preset", .value = "mbv3", .says = "tensor first_conv.conv.weight is missing"},
        {.key = "classes", .value = "4", .says = "tensor classifier.weight does not have"},
        {.key = "classes", .value = "3.5", .says = "whole number"},
        {.key = "classes", .value = "1e9", .says = "number from"},
        {.key = "classes", .value = "0x3", .says = "number from"},
        {.key = "classes", .value = "", .says = "number from"},
        {.key = "width", .value = "nan", .says = "number from"},
        {.key = "width", .value = "8", .says = "does not have"}, // a network of a gigabyte is not allocated for it
        {.key = "transform", .value = "2", .says = "from 0 to 1"},
        {.key = "resolution", .value = "100000", .says = "8 to 4096", .status = GM_ERR_RANGE},
        {.key = "input_std.0", .value = "0", .says = "number from"},
        {.key = "data", .value = "a name that is much too long for its field", .says = "longer than"},
        {.key = "space", .value = "d1=1,2", .says = "knobs are not those", .status = GM_ERR_UNSUPPORTED},
        {.tensor = "stem.conv.weight", .drop = true, .says = "stem.conv.weight is missing"},
        {.tensor = "stem.conv.weight", .other_rank = true, .says = "does not have"},
        {.tensor = "stem.conv.weight", .other_type = true, .says = "does not have"},
        {.tensor = "stem.conv.weight", .at = 3, .element = NAN, .says = "element 3 is nan"},
        {.tensor = "stem.conv.weight", .at = 3, .element = INFINITY, .says = "element 3 is inf"},
        {.extra = "more.weight", .says = "tensors, preset"},
        {.tensor = "norms.mean", .drop = true, .says = "tensors, preset"},
        {.tensor = "norms.place", .drop = true, .says = "tensors, preset"},
        {.tensor = "norms.place", .at = 3, .element = 100, .says = "does not fit"}, // the upper byte of the first place
        {.tensor = "norms.place", .at = 3, .element = 255, .says = "does not fit"}, // negative: not in use
        {.tensor = "norms.ranged", .drop = true, .says = "tensors, preset"},
        {.tensor = "ranges", .at = 1, .element = -1, .says = "ranges: element 1"},
        {.tensor = "ranges", .other_rank = true, .says = "does not have"},
        {.tensor = "norms.choice", .drop = true, .says = "tensors, preset"},
        {.tensor = "norms.var", .other_rank = true, .says = "does not have"},
        {.tensor = "norms.choice", .other_rank = true, .says = "does not have"},
        {.tensor = "norms.var", .at = 0, .element = -1, .says = "norms.var: element 0 is -1"},
        {.tensor = "norms.mean", .at = 7, .element = NAN, .says = "norms.mean: element 7"},
        {.tensor = "norms.choice", .at = 0, .element = 200, .says = "row 0"},                       // out of range
        {.tensor = "norms.choice", .at = (size_t)(shallow * knobs + 4), .element = 1, .says = "row"}, // not canonical
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gm_error err = {0};
        gm_model *back = NULL;
        rewrite(f, &cases[i]);
        size_t live = gm_alloc_live();
        gm_status status = gm_model_load(in_folder("changed"), &back, &err);
        if (i == 0) {
            assert_int_equal(status, GM_OK);
            gm_model_destroy(back);
            continue;
        }
        if (status != (cases[i].status ? cases[i].status : GM_ERR_FORMAT) || !strstr(err.text, cases[i].says))
            fail_msg("case %zu: status %d: %s", i, status, err.text);
        assert_null(back);
        assert_int_equal(gm_alloc_live(), live);
    }
    gm_tensor_file_destroy(f);
    gm_model_destroy(m);
}

// A subnet that differs from another only behind some norm shares what lies before it.
static void equal_upstream_statistics_are_stored_once(void **state) {
    (void)state;
    gm_model *m = small();
    gm_norm_entry *e = NULL;
    gm_model_norms_clear(m);
    const char *texts[] = {"max", "d=2,2,1"}; // the second lacks the last block
    for (int i = 0; i < 2; i++) {
        gm_choice c;
        assert_int_equal(gm_choice_parse(&m->graph->space, texts[i], &c, NULL), GM_OK);
        assert_int_equal(gm_model_norms_add(m, &c, &e, NULL), GM_OK);
        gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_TEST); // the same draws for both
        fill_active(m, e, &rng);
    }
    save(m, "shared");
    gm_tensor_file *f = NULL;
    assert_int_equal(gm_tensor_file_read(in_folder("shared"), &f, NULL), GM_OK);
    uint64_t stored = gm_tensor_find(f, "norms.mean")->dims[0];
    gm_tensor_file_destroy(f);
    gm_model_norms_clear(m);
    gm_choice max = gm_choice_max(&m->graph->space);
    assert_int_equal(gm_model_norms_add(m, &max, &e, NULL), GM_OK);
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_TEST);
    fill_active(m, e, &rng);
    save(m, "one");
    assert_int_equal(gm_tensor_file_read(in_folder("one"), &f, NULL), GM_OK);
    assert_int_equal(stored, gm_tensor_find(f, "norms.mean")->dims[0]);
    gm_tensor_file_destroy(f);
    gm_model_destroy(m);
}

static void files_of_the_first_version_are_read(void **state) {
    (void)state;
    gm_model *m = small(), *back = NULL;
    gm_error err = {0};
    save(m, "new");
    write_first_version(m, in_folder("new"), in_folder("old"));
    if (gm_model_load(in_folder("old"), &back, &err) != GM_OK) fail_msg("%s", err.text);
    size_t bytes = m->graph->norm_floats * sizeof(float);
    for (int i = 0; i < ENTRIES; i++) {
        gm_norm_entry *e = gm_model_norms(back, &m->entry[i].choice);
        assert_non_null(e);
        assert_false(e->ranged);
        assert_memory_equal(e->mean, m->entry[i].mean, bytes);
        assert_memory_equal(e->var, m->entry[i].var, bytes);
    }
    gm_model_destroy(back);
    gm_model_destroy(m);
}

static void rows_out_of_order_or_twice_are_refused(void **state) {
    (void)state;
    gm_model *m = small();
    for (int twice = 0; twice < 2; twice++) {
        gm_model_norms_clear(m);
        gm_norm_entry *e;
        gm_choice min = gm_choice_min(&m->graph->space), max = gm_choice_max(&m->graph->space);
        assert_int_equal(gm_model_norms_add(m, &min, &e, NULL), GM_OK);
        assert_int_equal(gm_model_norms_add(m, &max, &e, NULL), GM_OK);
        save(m, "good");
        gm_tensor_file *f = NULL;
        assert_int_equal(gm_tensor_file_read(in_folder("good"), &f, NULL), GM_OK);
        const gm_tensor_info *t = gm_tensor_find(f, "norms.choice");
        size_t knobs = (size_t)t->dims[1];
        uint8_t *rows = (uint8_t *)(uintptr_t)t->data; // the file's buffer is ours to spoil
        memcpy(rows, max.index, knobs);
        if (!twice) memcpy(rows + knobs, min.index, knobs);
        rewrite(f, &(change){0});
        gm_model *back = NULL;
        gm_error err = {0};
        assert_int_equal(gm_model_load(in_folder("changed"), &back, &err), GM_ERR_FORMAT);
        assert_non_null(strstr(err.text, "row 1"));
        gm_tensor_file_destroy(f);
    }
    gm_model_destroy(m);
}

static void other_files_are_refused_with_a_reason(void **state) {
    (void)state;
    gm_model *m = NULL;
    gm_error err = {0};
    assert_int_equal(gm_model_load(in_folder("absent"), &m, &err), GM_ERR_NOT_FOUND);
    assert_int_equal(gm_file_write(in_folder("pickle"), "\x80\x02}q\x00.", 6, NULL), GM_OK);
    assert_int_equal(gm_model_load(in_folder("pickle"), &m, &err), GM_ERR_FORMAT);
    gm_tensor_writer *w = NULL; // safetensors, but of somebody else
    assert_int_equal(gm_tensor_writer_create(&w, NULL), GM_OK);
    assert_int_equal(gm_tensor_writer_commit(w, in_folder("empty"), NULL), GM_OK);
    assert_int_equal(gm_model_load(in_folder("empty"), &m, &err), GM_ERR_FORMAT);
    assert_non_null(strstr(err.text, "not a Gamut model file"));
    assert_null(m);
}

static gm_model *shared;
static gm_status save_it(gm_error *err) { return gm_model_save(shared, in_folder("s"), err); }
static gm_status load_it(gm_error *err) {
    gm_model *m = NULL;
    gm_status status = gm_model_load(in_folder("s"), &m, err);
    gm_model_destroy(m);
    return status;
}

static void failing_allocations_are_errors_and_leak_nothing(void **state) {
    (void)state;
    shared = small();
    with_failing_allocations(save_it);
    with_failing_allocations(load_it);
    gm_model_destroy(shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_loads_the_same),
        cmocka_unit_test(another_norm_eps_is_said),
        cmocka_unit_test(saving_again_gives_the_same_bytes),
        cmocka_unit_test(tensors_are_in_the_order_of_other_programs),
        cmocka_unit_test(what_is_not_finite_is_not_written),
        cmocka_unit_test(files_that_do_not_fit_are_refused),
        cmocka_unit_test(equal_upstream_statistics_are_stored_once),
        cmocka_unit_test(files_of_the_first_version_are_read),
        cmocka_unit_test(rows_out_of_order_or_twice_are_refused),
        cmocka_unit_test(other_files_are_refused_with_a_reason),
        cmocka_unit_test(failing_allocations_are_errors_and_leak_nothing),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
