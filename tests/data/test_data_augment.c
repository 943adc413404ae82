// SPDX-License-Identifier: Apache-2.0
// Filling batches, against a slow and plain description of each augmentation.
#include "data_test.h"

#include <math.h>

enum { SIDE = 8, IMAGES = 12 };

static gm_augment normalised(void) {
    gm_augment a = gm_augment_default();
    for (int c = 0; c < 4; c++) {
        a.mean[c] = 0.25f + 0.125f * (float)c;
        a.std[c] = 0.5f - 0.0625f * (float)c;
    }
    return a;
}

// Pixel (y, x) of image i after padding, normalised.
static float padded(const gm_dataset *d, const gm_augment *a, int i, int y, int x, int c) {
    if (a->pad_mode == GM_PAD_REFLECT) {
        y = y < 0 ? -y : y >= d->height ? 2 * d->height - 2 - y : y;
        x = x < 0 ? -x : x >= d->width ? 2 * d->width - 2 - x : x;
    }
    if (y < 0 || x < 0 || y >= d->height || x >= d->width) return 0;
    int v = d->pixels[((i * d->height + y) * d->width + x) * d->channels + c];
    return ((float)v / 255 - a->mean[c]) / a->std[c];
}

static bool close_to(float a, float b) {
    return fabsf(a - b) <= 1e-5f;
}

// Whether batch image `at` shows image i shifted by (dy, dx), mirrored or not.
static bool shows(const gm_dataset *d, const gm_augment *a, const gm_batch *b, int at, int i,
                  int dy, int dx, bool flip) {
    for (int y = 0; y < d->height; y++)
        for (int x = 0; x < d->width; x++)
            for (int c = 0; c < d->channels; c++)
                if (!close_to(batch_at(b, at, y, x, c),
                              padded(d, a, i, y + dy, (flip ? d->width - 1 - x : x) + dx, c)))
                    return false;
    return true;
}

static void assert_tails_zero(const gm_batch *b) {
    for (int i = 0; i < b->images * b->height * b->width; i++)
        for (int c = b->channels; c < b->ld; c++) {
            size_t at = (size_t)i * (size_t)b->ld + (size_t)c;
            assert_true(b->type == GM_BF16 ? ((gm_bf16 *)b->x)[at] == 0 : ((float *)b->x)[at] == 0);
        }
}

static void without_augmentation_pixels_are_normalised_in_place(void **state) {
    (void)state;
    for (int channels = 1; channels <= 4; channels++) {
        gm_dataset *d = small_set(IMAGES, SIDE, channels, 1);
        gm_augment a = normalised();
        gm_batch b, h;
        int32_t index[3] = {7, 2, 9}, order[2] = {2, 0};
        assert_int_equal(gm_batch_init(&b, 2, SIDE, channels, GM_F32, NULL), GM_OK);
        assert_int_equal(gm_batch_init(&h, 2, SIDE, channels, GM_BF16, NULL), GM_OK);
        assert_int_equal(b.ld, 16);
        assert_int_equal(h.ld, 32);
        gm_batch_fill(d, index, order, 2, &a, 1, 0, 0, &b);
        gm_batch_fill(d, index, order, 2, &a, 1, 0, 0, &h);
        assert_null(b.label2);
        assert_null(b.lam);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(b.label[i], d->labels[index[order[i]]]);
            assert_true(shows(d, &a, &b, i, index[order[i]], 0, 0, false));
            for (int k = 0; k < SIDE * SIDE * channels; k++) {
                int y = k / channels / SIDE, x = k / channels % SIDE, c = k % channels;
                assert_true(batch_at(&h, i, y, x, c) ==
                            gm_bf16_to_f32(gm_bf16_from_f32(batch_at(&b, i, y, x, c))));
            }
        }
        assert_tails_zero(&b);
        assert_tails_zero(&h);
        gm_batch_fini(&b);
        gm_batch_fini(&h);
        gm_dataset_destroy(d);
    }
}

static void crops_are_all_the_windows_and_nothing_else(void **state) {
    (void)state;
    enum { PAD = 1, EPOCHS = 200 };
    for (int mode = 0; mode < 2; mode++) {
        gm_dataset *d = small_set(IMAGES, SIDE, 3, 2);
        gm_augment a = normalised();
        gm_batch b;
        int seen[3][3][2] = {{{0}}};
        a.crop_pad = PAD;
        a.pad_mode = mode ? GM_PAD_REFLECT : GM_PAD_ZERO;
        a.flip = 1;
        assert_int_equal(gm_batch_init(&b, IMAGES, SIDE, 3, GM_F32, NULL), GM_OK);
        for (int epoch = 0; epoch < EPOCHS; epoch++) {
            gm_batch_fill(d, NULL, NULL, IMAGES, &a, 5, epoch, 0, &b);
            for (int i = 0; i < IMAGES; i++) {
                int found = 0;
                for (int dy = -PAD; dy <= PAD; dy++)
                    for (int dx = -PAD; dx <= PAD; dx++)
                        for (int flip = 0; flip < 2; flip++)
                            if (shows(d, &a, &b, i, i, dy, dx, flip)) {
                                seen[dy + 1][dx + 1][flip]++;
                                found++;
                            }
                assert_int_equal(found, 1);
            }
        }
        // 2400 draws over 18 equal cells: 133 each, standard deviation 11.
        for (int k = 0; k < 18; k++) assert_in_range(((int *)seen)[k], 133 - 60, 133 + 60);
        assert_tails_zero(&b);
        gm_batch_fini(&b);
        gm_dataset_destroy(d);
    }
}

static void alternating_flip_shows_each_side_in_turn(void **state) {
    (void)state;
    enum { MANY = 400 };
    gm_dataset *d = small_set(MANY, SIDE, 1, 3);
    gm_augment a = normalised();
    gm_batch b;
    int flipped = 0;
    a.flip = 2;
    assert_int_equal(gm_batch_init(&b, MANY, SIDE, 1, GM_F32, NULL), GM_OK);
    uint8_t first[MANY];
    for (int epoch = 0; epoch < 4; epoch++) {
        gm_batch_fill(d, NULL, NULL, MANY, &a, 6, epoch, 0, &b);
        for (int i = 0; i < MANY; i++) {
            bool flip = shows(d, &a, &b, i, i, 0, 0, true);
            assert_true(flip || shows(d, &a, &b, i, i, 0, 0, false));
            if (epoch == 0) flipped += first[i] = flip;
            assert_int_equal(flip, first[i] ^ (epoch & 1));
        }
    }
    assert_in_range(flipped, 140, 260);
    gm_batch_fini(&b);
    gm_dataset_destroy(d);
}

static void cutout_zeroes_one_square(void **state) {
    (void)state;
    enum { CUT = 4 };
    gm_dataset *d = small_set(IMAGES, SIDE, 3, 4);
    gm_augment a = normalised(), plain = a;
    gm_batch b, whole;
    a.cutout = CUT;
    assert_int_equal(gm_batch_init(&b, IMAGES, SIDE, 3, GM_F32, NULL), GM_OK);
    assert_int_equal(gm_batch_init(&whole, IMAGES, SIDE, 3, GM_F32, NULL), GM_OK);
    gm_batch_fill(d, NULL, NULL, IMAGES, &plain, 7, 0, 0, &whole);
    int largest = 0;
    for (int epoch = 0; epoch < 20; epoch++) {
        gm_batch_fill(d, NULL, NULL, IMAGES, &a, 7, epoch, 0, &b);
        for (int i = 0; i < IMAGES; i++) {
            int y0 = SIDE, y1 = -1, x0 = SIDE, x1 = -1;
            for (int y = 0; y < SIDE; y++)
                for (int x = 0; x < SIDE; x++)
                    if (batch_at(&b, i, y, x, 0) == 0 && batch_at(&b, i, y, x, 1) == 0 &&
                        batch_at(&b, i, y, x, 2) == 0) {
                        y0 = gm_min(y0, y), y1 = gm_max(y1, y), x0 = gm_min(x0, x),
                        x1 = gm_max(x1, x);
                    }
            int h = y1 - y0 + 1, w = x1 - x0 + 1;
            largest = gm_max(largest, h * w);
            assert_in_range(h, CUT / 2, CUT); // half of it may lie outside
            assert_in_range(w, CUT / 2, CUT);
            for (int y = 0; y < SIDE; y++)
                for (int x = 0; x < SIDE; x++)
                    for (int c = 0; c < 3; c++) {
                        bool inside = y >= y0 && y <= y1 && x >= x0 && x <= x1;
                        assert_true(batch_at(&b, i, y, x, c) ==
                                    (inside ? 0 : batch_at(&whole, i, y, x, c)));
                    }
        }
    }
    assert_int_equal(largest, CUT * CUT);
    gm_batch_fini(&b);
    gm_batch_fini(&whole);
    gm_dataset_destroy(d);
}

static void mixup_blends_with_the_batch_reversed(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, SIDE, 3, 5);
    for (int type = GM_F32; type <= GM_BF16; type++) {
        gm_augment a = normalised(), plain;
        gm_batch b, own;
        a.crop_pad = 2;
        a.flip = 1;
        plain = a;
        a.mixup = 0.2f;
        double sum = 0, extreme = 0;
        assert_int_equal(gm_batch_init(&b, IMAGES, SIDE, 3, (gm_dtype)type, NULL), GM_OK);
        assert_int_equal(gm_batch_init(&own, IMAGES, SIDE, 3, GM_F32, NULL), GM_OK);
        for (int step = 0; step < 300; step++) {
            int n = 5 + step % 8;
            gm_batch_fill(d, NULL, NULL, n, &a, 8, 1, step, &b);
            sum += (double)b.lam[0];
            extreme += b.lam[0] < 0.1f || b.lam[0] > 0.9f;
            if (step > 10) continue;
            gm_batch_fill(d, NULL, NULL, n, &plain, 8, 1, step, &own);
            float lam = b.lam[0];
            assert_true(lam >= 0 && lam <= 1);
            for (int i = 0; i < n; i++) {
                assert_true(b.lam[i] == lam);
                assert_int_equal(b.label[i], d->labels[i]);
                assert_int_equal(b.label2[i], d->labels[n - 1 - i]);
                for (int k = 0; k < SIDE * SIDE * 3; k++) {
                    int y = k / 3 / SIDE, x = k / 3 % SIDE, c = k % 3;
                    float want = lam * batch_at(&own, i, y, x, c) +
                                 (1 - lam) * batch_at(&own, n - 1 - i, y, x, c);
                    float slack = type == GM_BF16 ? 0.02f : 1e-5f;
                    assert_true(fabsf(batch_at(&b, i, y, x, c) - want) <= slack);
                }
            }
        }
        // Beta(0.2, 0.2): mean one half (standard error 0.024), 0.68 of its mass within a tenth of
        // an end.
        assert_true(fabs(sum / 300 - 0.5) < 0.1);
        assert_true(fabs(extreme / 300 - 0.68) < 0.12);
        gm_batch_fini(&b);
        gm_batch_fini(&own);
    }
    gm_dataset_destroy(d);
}

static float lerp_at(const gm_dataset *d, const gm_augment *a, int i, double y, double x, int c) {
    y = fmin(fmax(y, 0), d->height - 1);
    x = fmin(fmax(x, 0), d->width - 1);
    int y0 = (int)y, x0 = (int)x, y1 = gm_min(y0 + 1, d->height - 1),
        x1 = gm_min(x0 + 1, d->width - 1);
    double top = (1 - (x - x0)) * (double)padded(d, a, i, y0, x0, c) +
                 (x - x0) * (double)padded(d, a, i, y0, x1, c);
    double low = (1 - (x - x0)) * (double)padded(d, a, i, y1, x0, c) +
                 (x - x0) * (double)padded(d, a, i, y1, x1, c);
    return (float)((1 - (y - y0)) * top + (y - y0) * low);
}

static void other_resolutions_are_bilinear(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, SIDE, 3, 6);
    gm_augment a = normalised();
    gm_batch b;
    assert_int_equal(gm_batch_init(&b, IMAGES, 13, 3, GM_F32, NULL), GM_OK);
    static const int sides[] = {6, 13, 1, 8, 5};
    for (int s = 0; s < 5; s++) {
        int side = a.resolution = sides[s];
        gm_batch_fill(d, NULL, NULL, IMAGES, &a, 9, 0, 0, &b);
        assert_int_equal(b.height, side);
        assert_int_equal(b.width, side);
        for (int k = 0; k < IMAGES * side * side * 3; k++) {
            int c = k % 3, x = k / 3 % side, y = k / 3 / side % side, i = k / 3 / side / side;
            double step = (double)SIDE / side;
            float want = lerp_at(d, &a, i, (y + 0.5) * step - 0.5, (x + 0.5) * step - 0.5, c);
            assert_true(fabsf(batch_at(&b, i, y, x, c) - want) < 1e-4f);
        }
        assert_tails_zero(&b);
    }
    gm_batch_fini(&b);
    gm_dataset_destroy(d);
}

// The crop and the flip of an image are the same at every resolution: only the sampling differs.
static void resizing_keeps_crop_and_flip(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, SIDE, 3, 7);
    gm_augment a = normalised();
    gm_batch stored, twice;
    a.crop_pad = 3;
    a.flip = 1;
    assert_int_equal(gm_batch_init(&stored, IMAGES, SIDE, 3, GM_F32, NULL), GM_OK);
    assert_int_equal(gm_batch_init(&twice, IMAGES, 3 * SIDE, 3, GM_F32, NULL), GM_OK);
    gm_batch_fill(d, NULL, NULL, IMAGES, &a, 10, 3, 0, &stored);
    a.resolution = 3 * SIDE;
    gm_batch_fill(d, NULL, NULL, IMAGES, &a, 10, 3, 0, &twice);
    for (int i = 0; i < IMAGES; i++)
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE;
                 x++) // the middle of three output pixels falls on a stored one
                assert_true(close_to(batch_at(&twice, i, 3 * y + 1, 3 * x + 1, 1),
                                     batch_at(&stored, i, y, x, 1)));
    gm_batch_fini(&stored);
    gm_batch_fini(&twice);
    gm_dataset_destroy(d);
}

static void an_image_depends_on_neither_batch_nor_place(void **state) {
    (void)state;
    gm_dataset *d = small_set(IMAGES, SIDE, 3, 8);
    gm_augment a = normalised();
    gm_batch all, one;
    a.crop_pad = 2;
    a.flip = 1;
    a.cutout = 3;
    assert_int_equal(gm_batch_init(&all, IMAGES, SIDE, 3, GM_BF16, NULL), GM_OK);
    assert_int_equal(gm_batch_init(&one, 1, SIDE, 3, GM_BF16, NULL), GM_OK);
    gm_batch_fill(d, NULL, NULL, IMAGES, &a, 11, 4, 0, &all);
    size_t bytes = batch_bytes(&all) / IMAGES;
    int different = 0;
    for (int32_t i = IMAGES - 1; i >= 0; i--) {
        gm_batch_fill(d, NULL, &i, 1, &a, 11, 4, 99, &one);
        assert_memory_equal(one.x, (uint8_t *)all.x + (size_t)i * bytes, bytes);
        gm_batch_fill(d, NULL, &i, 1, &a, 12, 4, 99, &one);
        different += memcmp(one.x, (uint8_t *)all.x + (size_t)i * bytes, bytes) != 0;
    }
    assert_true(different > IMAGES / 2); // another seed
    gm_batch_fini(&all);
    gm_batch_fini(&one);
    gm_dataset_destroy(d);
}

static void impossible_batches_are_refused(void **state) {
    (void)state;
    gm_batch b;
    gm_error err;
    size_t live = gm_alloc_live();
    assert_int_equal(gm_batch_init(&b, 0, 8, 3, GM_F32, &err), GM_ERR_RANGE);
    assert_int_equal(gm_batch_init(&b, 1, 8, 5, GM_F32, &err), GM_ERR_RANGE);
    assert_int_equal(gm_batch_init(&b, 1, 8, 3, GM_I8, &err), GM_ERR_UNSUPPORTED);
    assert_int_equal(gm_batch_init(&b, 1, 1 << 20, 3, GM_F32, &err), GM_ERR_RANGE);
    for (long n = 1; n <= 2; n++) {
        gm_alloc_fail_at(n);
        assert_int_equal(gm_batch_init(&b, 1, 8, 3, GM_F32, &err), GM_ERR_MEMORY);
        gm_alloc_fail_at(0);
        assert_int_equal(gm_alloc_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_augmentation_pixels_are_normalised_in_place),
        cmocka_unit_test(crops_are_all_the_windows_and_nothing_else),
        cmocka_unit_test(alternating_flip_shows_each_side_in_turn),
        cmocka_unit_test(cutout_zeroes_one_square),
        cmocka_unit_test(mixup_blends_with_the_batch_reversed),
        cmocka_unit_test(other_resolutions_are_bilinear),
        cmocka_unit_test(resizing_keeps_crop_and_flip),
        cmocka_unit_test(an_image_depends_on_neither_batch_nor_place),
        cmocka_unit_test(impossible_batches_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
