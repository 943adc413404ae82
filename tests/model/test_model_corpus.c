// SPDX-License-Identifier: Apache-2.0
// The model files of the fuzz corpus are whole ones of today's presets, so that what damages them reaches the reader's last
// checks. With GAMUT_WRITE_CORPUS set, they are made anew.
#include "model/first_version.h"

#include <stdlib.h>

enum { ENTRIES = 3 };

enum { BARE, NORMS, FIRST_VERSION };
static const char *const files[] = {"fuzz/corpus/safetensors/model", "fuzz/corpus/safetensors/model_norms",
                                    "fuzz/corpus/safetensors/model_v1"};

// Weights are zero: the reader only asks whether they are finite, and the file stays small where it is kept.
static gm_model *smallest(int entries) {
    static const char *const choices[ENTRIES] = {"max", "min", "d=2,2,1"}; // the last one shares with the first
    gm_model *m = NULL;
    gm_model_settings settings = {.width = 0.05, .classes = 2, .single_resolution = true};
    gm_error err = {0};
    if (gm_model_create("resnet-28", &settings, &m, &err) != GM_OK) fail_msg("%s", err.text);
    snprintf(m->data, sizeof m->data, "x");
    for (int c = 0; c < m->graph->input_channels; c++) m->input_std[c] = 1;
    for (int i = 0; i < entries; i++) {
        gm_choice choice;
        gm_norm_entry *e = NULL;
        assert_int_equal(gm_choice_parse(&m->graph->space, choices[i], &choice, NULL), GM_OK);
        assert_int_equal(gm_model_norms_add(m, &choice, &e, NULL), GM_OK);
        e->ranged = i < 2;
    }
    for (int i = 0; entries > 0 && i < m->graph->nodes; i++) m->range[i] = 1;
    return m;
}

// Loads files[at] and looks whether it has the subnets that it was made with.
static void accept(int at, int entries) {
    gm_model *back = NULL;
    gm_error err = {0};
    if (gm_model_load(files[at], &back, &err) != GM_OK)
        fail_msg("%s\nIf the preset or the format was meant to change, run this test with GAMUT_WRITE_CORPUS=1", err.text);
    assert_int_equal(back->entries, entries);
    gm_model_destroy(back);
}

static void models_of_the_corpus_are_accepted(void **state) {
    (void)state;
    if (getenv("GAMUT_WRITE_CORPUS")) {
        gm_model *bare = smallest(0), *m = smallest(ENTRIES);
        assert_int_equal(gm_model_save(bare, files[BARE], NULL), GM_OK);
        assert_int_equal(gm_model_save(m, files[NORMS], NULL), GM_OK);
        write_first_version(m, files[NORMS], files[FIRST_VERSION]);
        gm_model_destroy(bare);
        gm_model_destroy(m);
    }
    accept(BARE, 0);
    accept(NORMS, ENTRIES);
    accept(FIRST_VERSION, ENTRIES);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(models_of_the_corpus_are_accepted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
