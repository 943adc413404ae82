// SPDX-License-Identifier: Apache-2.0
// Writes a model as version 1 of the model file had it: whole rows of statistics, nothing shared, no ranges.
#ifndef GAMUT_TESTS_FIRST_VERSION_H
#define GAMUT_TESTS_FIRST_VERSION_H

#include "base/base_test.h"

#include <gamut/model.h>
#include <gamut/tensor.h>

static const char *const model_keys[] = {"format", "version", "preset", "classes", "channels", "resolution", "width",
                                         "transform", "single_resolution", "kernel_fixed", "dropout", "zero_gamma",
                                         "input_mean.0", "input_std.0", "data", "space"};
enum { MODEL_KEYS = sizeof model_keys / sizeof model_keys[0] };

// now: a file of today's version with the calibrated model m of one input channel.
static inline void write_first_version(gm_model *m, const char *now, const char *path) {
    gm_tensor_file *f = NULL;
    gm_tensor_writer *w = NULL;
    assert_int_equal(gm_tensor_file_read(now, &f, NULL), GM_OK);
    assert_int_equal(gm_tensor_writer_create(&w, NULL), GM_OK);
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        const char *value = strcmp(model_keys[i], "version") == 0 ? "1" : gm_tensor_meta(f, model_keys[i]);
        assert_int_equal(gm_tensor_writer_meta(w, model_keys[i], value, NULL), GM_OK);
    }
    const gm_tensor_info *choices = gm_tensor_find(f, "norms.choice");
    for (int i = 0; i < gm_tensor_count(f); i++) {
        const gm_tensor_info *t = gm_tensor_at(f, i);
        if (t != choices && (strncmp(t->name, "norms.", 6) == 0 || strcmp(t->name, "ranges") == 0)) continue;
        assert_int_equal(gm_tensor_writer_add(w, t->name, t->type, t->rank, t->dims, t->data, NULL), GM_OK);
    }
    size_t entries = (size_t)m->entries, floats = m->graph->norm_floats, knobs = (size_t)m->graph->space.knobs;
    float *rows[2] = {gm_alloc(entries * floats, sizeof(float)), gm_alloc(entries * floats, sizeof(float))};
    for (size_t i = 0; i < entries; i++) {
        gm_choice c = {{0}};
        memcpy(c.index, (const uint8_t *)choices->data + i * knobs, knobs);
        const gm_norm_entry *e = gm_model_norms(m, &c);
        memcpy(rows[0] + i * floats, e->mean, floats * sizeof(float));
        memcpy(rows[1] + i * floats, e->var, floats * sizeof(float));
    }
    const uint64_t dims[] = {entries, floats};
    assert_int_equal(gm_tensor_writer_add(w, "norms.mean", GM_F32, 2, dims, rows[0], NULL), GM_OK);
    assert_int_equal(gm_tensor_writer_add(w, "norms.var", GM_F32, 2, dims, rows[1], NULL), GM_OK);
    assert_int_equal(gm_tensor_writer_commit(w, path, NULL), GM_OK);
    gm_free(rows[0]);
    gm_free(rows[1]);
    gm_tensor_file_destroy(f);
}

#endif
