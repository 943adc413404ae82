// SPDX-License-Identifier: Apache-2.0
// A data set made up on the spot, small settings, and a folder of its own for each test of training.
#ifndef GAMUT_TESTS_TRAIN_TEST_H
#define GAMUT_TESTS_TRAIN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "train/run.h"

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        gm_status assert_status = (call);                                                          \
        if (assert_status != GM_OK) fail_msg("%s: %s", #call, err.text);                           \
    } while (0)

// Images of `classes` kinds: a bright square whose place tells the class, on noise.
static inline gm_dataset *make_data(int images, int side, int channels, int classes, uint64_t seed) {
    gm_dataset *d = gm_alloc(1, sizeof *d);
    snprintf(d->name, sizeof d->name, "made-up");
    d->images = images;
    d->height = d->width = side;
    d->channels = channels;
    d->classes = classes;
    size_t bytes = (size_t)side * (size_t)side * (size_t)channels;
    d->pixels = gm_alloc((size_t)images, bytes);
    d->labels = gm_alloc((size_t)images, sizeof *d->labels);
    gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < images; i++) {
        int label = (int)gm_rng_below(&rng, (uint32_t)classes), box = side / 4;
        int y0 = (label / 2) * box % (side - box), x0 = (label % 2) * (side / 2) + 1;
        uint8_t *p = d->pixels + (size_t)i * bytes;
        d->labels[i] = label;
        for (size_t k = 0; k < bytes; k++) p[k] = (uint8_t)gm_rng_below(&rng, 120);
        for (int y = y0; y < y0 + box; y++)
            for (int x = x0; x < x0 + box; x++)
                for (int c = 0; c < channels; c++) p[(y * side + x) * channels + c] += 120;
    }
    return d;
}

static inline gm_train_settings small_settings(void) {
    gm_train_settings s = gm_train_settings_default();
    snprintf(s.preset, sizeof s.preset, "resnet-28");
    s.model.width = 0.25;
    s.model.resolution = 12;
    s.model.classes = 4;
    s.validation = 64;
    s.epochs = 3;
    s.batch = 16;
    s.lr = 0.05f;
    s.warmup = 0.25f;
    s.calibrate_images = 64;
    s.type_auto = false;
    s.type = GM_F32;
    s.ramp = 0.1f;
    s.augment = (gm_augment){.crop_pad = 1, .flip = 0};
    return s;
}

static inline void folder_name(char *path, size_t size, const char *name) {
    snprintf(path, size, "/tmp/gamut-test-train-%ld-%s", (long)getpid(), name);
}

static inline void folder_remove(const char *path) {
    static const char *const files[] = {"model.safetensors", "state.safetensors", "log.jsonl"};
    char file[600];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(file, sizeof file, "%s/%s", path, files[i]);
        unlink(file);
    }
    rmdir(path);
}

static inline uint8_t *read_file(const char *folder, const char *name, size_t *bytes) {
    char path[600];
    gm_error err = {0};
    uint8_t *data = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(gm_file_read(path, (size_t)1 << 30, &data, bytes, &err));
    return data;
}

static inline void assert_same_model(const char *folder_a, const char *folder_b) {
    size_t a_bytes, b_bytes;
    uint8_t *a = read_file(folder_a, "model.safetensors", &a_bytes), *b = read_file(folder_b, "model.safetensors", &b_bytes);
    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(a, b, a_bytes);
    gm_free(a);
    gm_free(b);
}

#endif
