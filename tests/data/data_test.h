// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of data/: a folder of their own, small files, a small set in memory.
#ifndef GAMUT_DATA_TEST_H
#define GAMUT_DATA_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <gamut/data.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/readers.h"

static char test_folder[64];

static inline int remove_entry(const char *path, const struct stat *info, int kind,
                               struct FTW *at) {
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline int make_test_folder(void **state) {
    (void)state;
    strcpy(test_folder, "/tmp/gamut-test-XXXXXX");
    return mkdtemp(test_folder) ? 0 : -1;
}

static inline int remove_test_folder(void **state) {
    (void)state;
    return nftw(test_folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

// A path below the test's folder; valid for the next few calls.
static inline const char *below(const char *name) {
    static char path[4][256];
    static int next;
    char *p = path[next++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", test_folder, name);
    return p;
}

static inline void put_file(const char *name, const void *bytes, size_t count) {
    char folder[256];
    const char *path = below(name);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    assert_int_equal(gm_folder_create(folder, NULL), GM_OK);
    assert_int_equal(gm_file_write(path, bytes, count, NULL), GM_OK);
}

// The error names the file and what it should.
#define assert_says(err, a, b)                                                                     \
    do {                                                                                           \
        if (!strstr((err).text, a) || !strstr((err).text, b))                                      \
            fail_msg("\"%s\" names neither or only one of \"%s\" and \"%s\"", (err).text, a, b);   \
    } while (0)

// Random pixels, labels 0 to 9.
static inline gm_dataset *small_set(int images, int side, int channels, uint64_t seed) {
    gm_dataset *d;
    assert_int_equal(
        gm__dataset_new("small", (size_t)images, side, side, channels, 10, false, &d, NULL), GM_OK);
    gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < images * side * side * channels; i++)
        d->pixels[i] = (uint8_t)gm_rng_below(&rng, 256);
    for (int i = 0; i < images; i++) d->labels[i] = (int32_t)gm_rng_below(&rng, 10);
    return d;
}

// Element c of row (i, y, x) as a number.
static inline float batch_at(const gm_batch *b, int i, int y, int x, int c) {
    size_t at = ((size_t)((i * b->height + y) * b->width) + (size_t)x) * (size_t)b->ld + (size_t)c;
    return b->type == GM_BF16 ? gm_bf16_to_f32(((const gm_bf16 *)b->x)[at])
                              : ((const float *)b->x)[at];
}

static inline size_t batch_bytes(const gm_batch *b) {
    return (size_t)b->images * (size_t)b->height * (size_t)b->width * (size_t)b->ld *
           gm_dtype_size(b->type);
}

#endif
