// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of the store: images of training states that drift from one to the next, and folders of checkpoints.
#ifndef GAMUT_TESTS_CHECKPOINT_TEST_H
#define GAMUT_TESTS_CHECKPOINT_TEST_H

#include "base/base_test.h"

#include <gamut/checkpoint.h>

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        gm_status assert_status = (call);                                                          \
        if (assert_status != GM_OK) fail_msg("%s: %s", #call, err.text);                           \
    } while (0)

typedef struct blob {
    uint8_t *data;
    size_t bytes;
} blob;

enum { STATE_TENSORS = 4, FOLDER = PATH_MAX - 64 };
// Elements of the conv, bias, linear and depthwise tensors of a state.
static const uint64_t state_dims[STATE_TENSORS][4] = {{24, 12, 3, 3}, {24, 1, 1, 1}, {10, 40, 1, 1}, {32, 1, 3, 3}};
static const int state_rank[STATE_TENSORS] = {4, 1, 2, 4};
static const char *const state_name[STATE_TENSORS] = {"conv.weight", "conv.bias", "linear.weight", "dw.weight"};

static size_t state_elements(int t) {
    size_t n = 1;
    for (int d = 0; d < state_rank[t]; d++) n *= (size_t)state_dims[t][d];
    return n;
}

// The state of `step` into *image (gm_tensor_writer_image): weights move a little each step, momentum is new each time. Always the
// same for a step.
__attribute__((unused)) static void make_image(int step, gm_tensor_image **image) {
    enum { MOST = 4096 };
    static float params[STATE_TENSORS][MOST], momentum[STATE_TENSORS][MOST];
    gm_tensor_writer *w = NULL;
    int64_t marks[3] = {step, -step, 7};
    uint64_t count = 3, none = 0;
    char name[64], text[32];
    gm_error err = {0};
    assert_ok(gm_tensor_writer_create(&w, &err));
    snprintf(text, sizeof text, "step %d", step);
    assert_ok(gm_tensor_writer_meta(w, "settings", text, &err));
    for (int t = 0; t < STATE_TENSORS; t++) {
        gm_rng base = gm_rng_keyed(5, (uint64_t)t, 0, GM_RNG_TEST);
        for (size_t i = 0; i < state_elements(t); i++) params[t][i] = 0.1f * gm_rng_normal(&base);
        for (int s = 1; s <= step; s++) {
            gm_rng move = gm_rng_keyed(6, (uint64_t)t, (uint64_t)s, GM_RNG_TEST);
            for (size_t i = 0; i < state_elements(t); i++) {
                momentum[t][i] = 1e-3f * gm_rng_normal(&move);
                params[t][i] -= 0.01f * momentum[t][i];
            }
        }
        snprintf(name, sizeof name, "params/%s", state_name[t]);
        assert_ok(gm_tensor_writer_add(w, name, GM_F32, state_rank[t], state_dims[t], params[t], &err));
        snprintf(name, sizeof name, "momentum/%s", state_name[t]);
        assert_ok(gm_tensor_writer_add(w, name, GM_F32, state_rank[t], state_dims[t], momentum[t], &err));
    }
    assert_ok(gm_tensor_writer_add(w, "marks", GM_I64, 1, &count, marks, &err));
    assert_ok(gm_tensor_writer_add(w, "empty", GM_F32, 1, &none, NULL, &err));
    assert_ok(gm_tensor_writer_add(w, "scalar", GM_BF16, 0, NULL, &marks[0], &err));
    assert_ok(gm_tensor_writer_image(w, image, &err));
    gm_tensor_writer_destroy(w);
}

// The same as bytes of the caller's.
__attribute__((unused)) static blob make_state(int step) {
    gm_tensor_image *image = NULL;
    make_image(step, &image);
    blob b = {image->data, image->bytes};
    image->data = NULL;
    gm_tensor_image_release(image);
    return b;
}

// b stays the caller's.
__attribute__((unused)) static gm_status save_blob(gm_checkpoint_writer *w, blob b, const char *note, gm_error *cause) {
    gm_tensor_image *image = NULL;
    gm_error err = {0};
    uint8_t *copy = gm_alloc(b.bytes, 1);
    assert_non_null(copy);
    memcpy(copy, b.data, b.bytes);
    assert_ok(gm_tensor_image_take(copy, b.bytes, &image, &err));
    gm_status status = gm_checkpoint_writer_save(w, image, note, cause);
    gm_tensor_image_release(image);
    return status;
}

__attribute__((unused)) static bool same_blob(blob a, const uint8_t *data, size_t bytes) {
    return a.bytes == bytes && memcmp(a.data, data, bytes) == 0;
}

// Steps first..last into folder, each waited for. Returns the status of the first that fails.
__attribute__((unused)) static gm_status save_steps(const char *folder, int first, int last, const gm_checkpoint_settings *s,
                                                    gm_error *err) {
    gm_checkpoint_writer *w = NULL;
    gm_status status = gm_checkpoint_writer_create(folder, s, &w, err);
    for (int step = first; step <= last && status == GM_OK; step++) {
        blob b = make_state(step);
        char note[32];
        snprintf(note, sizeof note, "{\"step\":%d}", step);
        status = save_blob(w, b, note, err);
        gm_free(b.data);
        if (status == GM_OK) status = gm_checkpoint_writer_wait(w, NULL, err);
    }
    gm_checkpoint_writer_destroy(w);
    return status;
}

// The newest whole checkpoint of folder is exactly the state of this step.
__attribute__((unused)) static void expect_newest(const char *folder, int step) {
    gm_error err = {0};
    uint8_t *image = NULL;
    size_t bytes = 0;
    gm_checkpoint_info info;
    assert_ok(gm_checkpoint_load(folder, 0, &image, &bytes, &info, &err));
    blob b = make_state(step);
    assert_int_equal(info.number, step);
    assert_true(same_blob(b, image, bytes));
    gm_free(b.data);
    gm_free(image);
}

// The folder `name` of test_folder, emptied.
__attribute__((unused)) static void fresh_folder(const char *name, char path[FOLDER]) {
    char command[PATH_MAX + 16];
    snprintf(path, FOLDER, "%s/%s", test_folder, name);
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

__attribute__((unused)) static int remove_all(void **state) {
    char command[PATH_MAX + 16];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", test_folder);
    return system(command);
}

#endif
