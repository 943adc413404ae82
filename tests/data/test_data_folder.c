// SPDX-License-Identifier: Apache-2.0
// Folders of one's own pictures: PNG and JPEG of every kind, resizing, the two layouts.
#include "data_test.h"

#include <png.h>
#include <stdio.h>
#include <zlib.h>

#include <jpeglib.h>

// Writes a picture of one kind whose pixel (x, y) is (40 + 3x, 60 + 2y, 90) or, grey, 40 + 3x.
static size_t make_png(uint8_t *out, size_t room, int width, int height, int type, int depth,
                       int interlace) {
    FILE *file = fmemopen(out, room, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, type, interlace, 0, 0);
    png_color palette[256];
    for (int i = 0; i < 256; i++)
        palette[i] = (png_color){(uint8_t)(40 + 3 * (i % 16)), (uint8_t)(60 + 2 * (i / 16)), 90};
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, 256);
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < height; y++) {
            uint8_t row[16 * 8] = {0}, *p = row;
            for (int x = 0; x < width; x++) {
                int value[4] = {40 + 3 * x, 60 + 2 * y, 90, 128},
                    channels = png_get_channels(png, info);
                if (type == PNG_COLOR_TYPE_PALETTE) value[0] = y * 16 + x;
                if (type == PNG_COLOR_TYPE_GRAY_ALPHA) value[1] = 128;
                for (int c = 0; c < channels; c++) {
                    *p++ = (uint8_t)value[c];
                    if (depth == 16) *p++ = 0;
                }
            }
            png_write_row(png, row);
        }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    size_t bytes = (size_t)ftell(file);
    fclose(file);
    return bytes;
}

static size_t make_jpeg(uint8_t *out, size_t room, int width, int height, int channels,
                        bool progressive) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr handler;
    FILE *file = fmemopen(out, room, "wb");
    jpeg.err = jpeg_std_error(&handler);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = channels;
    jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    if (progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < height; y++) {
        uint8_t row[64 * 4];
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                row[x * channels + c] = (uint8_t)(c == 0 ? 40 + 3 * x : c == 1 ? 60 + 2 * y : 90);
        JSAMPROW rows = row;
        jpeg_write_scanlines(&jpeg, &rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    size_t bytes = (size_t)ftell(file);
    fclose(file);
    return bytes;
}

static void assert_pixels(const gm__picture *p, int width, int height, bool grey, int slack) {
    assert_int_equal(p->width, width);
    assert_int_equal(p->height, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                int want = grey || c == 0 ? 40 + 3 * x : c == 1 ? 60 + 2 * y : 90;
                assert_in_range(p->rgb[(y * width + x) * 3 + c] + slack, want, want + 2 * slack);
            }
}

static void every_kind_of_png_becomes_rgb(void **state) {
    (void)state;
    static const int kinds[][2] = {{PNG_COLOR_TYPE_RGB, 8},        {PNG_COLOR_TYPE_RGB, 16},
                                   {PNG_COLOR_TYPE_RGB_ALPHA, 8},  {PNG_COLOR_TYPE_RGB_ALPHA, 16},
                                   {PNG_COLOR_TYPE_GRAY, 8},       {PNG_COLOR_TYPE_GRAY, 16},
                                   {PNG_COLOR_TYPE_GRAY_ALPHA, 8}, {PNG_COLOR_TYPE_PALETTE, 8}};
    for (int k = 0; k < 8; k++)
        for (int interlace = 0; interlace < 2; interlace++) {
            uint8_t bytes[4096];
            gm__picture p;
            gm_error err;
            size_t n = make_png(bytes, sizeof bytes, 9, 7, kinds[k][0], kinds[k][1], interlace);
            assert_int_equal(gm__png_decode("f.png", bytes, n, &p, &err), GM_OK);
            assert_pixels(&p, 9, 7, !(kinds[k][0] & PNG_COLOR_MASK_COLOR), 0);
            gm__picture_fini(&p);
        }
}

static void jpegs_become_rgb(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++) {
        uint8_t bytes[16384];
        gm__picture p;
        size_t n = make_jpeg(bytes, sizeof bytes, 33, 20, k & 1 ? 3 : 1, k & 2);
        assert_int_equal(gm__jpeg_decode("f.jpg", bytes, n, &p, NULL), GM_OK);
        assert_pixels(&p, 33, 20, !(k & 1), 4);
        gm__picture_fini(&p);
    }
    uint8_t bytes[16384];
    gm__picture p;
    gm_error err;
    size_t n = make_jpeg(bytes, sizeof bytes, 33, 20, 4, false);
    assert_int_equal(gm__jpeg_decode("f.jpg", bytes, n, &p, &err), GM_ERR_UNSUPPORTED);
    assert_says(err, "f.jpg", "save it as RGB");
}

static void every_cut_of_a_picture_is_refused(void **state) {
    (void)state;
    uint8_t bytes[16384];
    gm__picture p;
    gm_error err;
    size_t live = gm_alloc_live(),
           n = make_png(bytes, sizeof bytes, 9, 7, PNG_COLOR_TYPE_RGB, 8, 1);
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(gm__png_decode("f.png", bytes, cut, &p, &err), GM_ERR_FORMAT);
        assert_says(err, "f.png", "offset");
    }
    for (int progressive = 0; progressive < 2; progressive++) {
        n = make_jpeg(bytes, sizeof bytes, 33, 20, 3, progressive);
        for (size_t cut = 0; cut < n - 2; cut++) {
            assert_int_equal(gm__jpeg_decode("f.jpg", bytes, cut, &p, &err), GM_ERR_FORMAT);
            assert_says(err, "f.jpg", "offset");
        }
    }
    assert_int_equal(gm_alloc_live(), live);
}

static void huge_claims_get_no_memory(void **state) {
    (void)state;
    uint8_t bytes[16384];
    gm__picture p;
    gm_error err;
    size_t n = make_jpeg(bytes, sizeof bytes, 33, 20, 3, false);
    for (size_t i = 0; i + 8 < n; i++)
        if (bytes[i] == 0xff && bytes[i + 1] == 0xc0)
            memcpy(bytes + i + 5, "\x30\x00\x30\x00", 4); // 12288 x 12288
    assert_int_equal(gm__jpeg_decode("f.jpg", bytes, n, &p, &err), GM_ERR_FORMAT);
    assert_says(err, "12288 x 12288", "can hold");
    n = make_png(bytes, sizeof bytes, 9, 7, PNG_COLOR_TYPE_RGB, 8, 0);
    memcpy(bytes + 16, "\x00\x00\x30\x00\x00\x00\x30\x00", 8);
    png_uint_32 crc = (png_uint_32)crc32(crc32(0, NULL, 0), bytes + 12, 17);
    for (int i = 0; i < 4; i++) bytes[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    assert_int_equal(gm__png_decode("f.png", bytes, n, &p, &err), GM_ERR_FORMAT);
    assert_says(err, "f.png", "more pixels than the file can hold");
}

static void resizing_keeps_ramps_and_averages(void **state) {
    (void)state;
    gm__picture p;
    assert_int_equal(gm__picture_init(&p, "f", 0, 64, 48, NULL), GM_OK);
    for (int y = 0; y < 48; y++)
        for (int x = 0; x < 64; x++) {
            uint8_t *q = p.rgb + (y * 64 + x) * 3;
            q[0] = (uint8_t)(3 * x);
            q[1] = (uint8_t)(5 * y);
            q[2] = (x + y) & 1 ? 255 : 0; // a checkerboard: antialiasing makes it grey
        }
    uint8_t out[16 * 16 * 3];
    assert_int_equal(gm__picture_resize(&p, (gm__rect){8, 0, 48, 48}, 16, out, NULL), GM_OK);
    for (int y = 1; y < 15; y++)
        for (int x = 1; x < 15; x++) {
            const uint8_t *q = out + (y * 16 + x) * 3;
            assert_in_range(q[0] + 1, 3 * (8 + 3 * x + 1), 3 * (8 + 3 * x + 1) + 2);
            assert_in_range(q[1] + 1, 5 * (3 * y + 1), 5 * (3 * y + 1) + 2);
            assert_in_range(q[2], 95, 160);
        }
    assert_int_equal(gm__picture_resize(&p, (gm__rect){8, 4, 16, 16}, 16, out, NULL),
                     GM_OK); // the same size: a copy
    for (int k = 0; k < 16 * 16; k++)
        assert_memory_equal(out + 3 * k, p.rgb + ((4 + k / 16) * 64 + 8 + k % 16) * 3, 3);
    gm__picture_fini(&p);
}

static void put_picture(const char *folder, const char *name, int width, int height) {
    uint8_t bytes[16384];
    char path[128];
    bool png = strstr(name, ".png") || strstr(name, ".PNG");
    size_t n = png ? make_png(bytes, sizeof bytes, width, height, PNG_COLOR_TYPE_RGB, 8, 0)
                   : make_jpeg(bytes, sizeof bytes, width, height, 3, false);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    put_file(path, bytes, n);
}

static gm_status load(const char *folder, gm_part part, gm_dataset **d, gm_error *err) {
    char name[256];
    snprintf(name, sizeof name, "folder:%s", below(folder));
    return gm_dataset_load(name, NULL, part, 8, d, err);
}

static void train_and_test_folders_are_read_in_order(void **state) {
    (void)state;
    gm_dataset *d;
    gm_error err;
    put_picture("parted/train/dog", "b.png", 8, 8);
    put_picture("parted/train/dog", "a.JPG", 12, 8);
    put_picture("parted/train/cat", "x.jpeg", 8, 10);
    put_picture("parted/test/dog", "1.PNG", 8, 8);
    put_file("parted/train/dog/notes.txt", "hello", 5);
    put_file("parted/train/dog/.hidden.png", "hello", 5);
    size_t live = gm_alloc_live();
    assert_int_equal(load("parted", GM_PART_TRAIN, &d, &err), GM_OK);
    assert_int_equal(d->images, 3);
    assert_int_equal(d->classes, 2);
    assert_int_equal(d->channels, 3);
    assert_string_equal(d->class_names[0], "cat");
    assert_int_equal(d->labels[0], 0);
    assert_int_equal(d->labels[1], 1);
    assert_int_equal(d->labels[2], 1);
    assert_int_equal(d->pixels[2 * 8 * 8 * 3], 40); // b.png as it is
    assert_in_range(d->pixels[1 * 8 * 8 * 3], 40 + 6 - 5,
                    40 + 6 + 5); // a.JPG from its centre: x = 2
    gm_dataset_destroy(d);
    assert_int_equal(load("parted", GM_PART_TEST, &d, &err), GM_OK);
    assert_int_equal(d->images, 1);
    assert_int_equal(d->classes, 2);
    assert_int_equal(d->labels[0], 1);
    gm_dataset_destroy(d);
    put_picture("parted/test/cow", "1.png", 8, 8);
    assert_int_equal(load("parted", GM_PART_TEST, &d, &err), GM_ERR_FORMAT);
    assert_says(err, "test/cow", "no folder in train");
    remove(below("parted/test/cow/1.png"));
    remove(below("parted/test/cow"));
    put_file("parted/train/cat/y.png", "not a picture", 13);
    assert_int_equal(load("parted", GM_PART_TRAIN, &d, &err), GM_ERR_FORMAT);
    assert_says(err, "train/cat/y.png", "offset");
    assert_null(d);
    assert_int_equal(gm_alloc_live(), live);
}

static void one_folder_keeps_a_fifth_of_each_class_for_testing(void **state) {
    (void)state;
    gm_dataset *train, *test, *again;
    gm_error err;
    for (int i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "%02d.png", i);
        // the width tells the pictures apart, by their first pixel
        put_picture(i < 20 ? "single/a" : "single/b", name, 8 + 2 * (i % 4), 8);
    }
    size_t live = gm_alloc_live();
    assert_int_equal(load("single", GM_PART_TRAIN, &train, &err), GM_OK);
    assert_int_equal(load("single", GM_PART_TEST, &test, &err), GM_OK);
    assert_int_equal(load("single", GM_PART_TEST, &again, &err), GM_OK);
    assert_int_equal(train->images, 16 + 8);
    assert_int_equal(test->images, 4 + 2);
    assert_int_equal(test->labels[3], 0);
    assert_int_equal(test->labels[4], 1);
    assert_memory_equal(test->pixels, again->pixels, 6 * 8 * 8 * 3);
    int of_width[4] = {0}; // each picture in exactly one part
    for (int i = 0; i < 24; i++) of_width[(train->pixels[i * 192] - 40) / 3]++;
    for (int i = 0; i < 6; i++) of_width[(test->pixels[i * 192] - 40) / 3]++;
    assert_int_equal(of_width[0], 8);
    assert_int_equal(of_width[1], 8);
    assert_int_equal(of_width[2], 7);
    assert_int_equal(of_width[3], 7);
    gm_dataset_destroy(train);
    gm_dataset_destroy(test);
    gm_dataset_destroy(again);
    assert_int_equal(gm_alloc_live(), live);
}

static void unusable_folders_say_why(void **state) {
    (void)state;
    gm_dataset *d;
    gm_error err;
    assert_int_equal(load("nowhere", GM_PART_TRAIN, &d, &err), GM_ERR_NOT_FOUND);
    assert_says(err, "nowhere", "not a folder");
    put_picture("lonely/a", "1.png", 8, 8);
    assert_int_equal(load("lonely", GM_PART_TRAIN, &d, &err), GM_ERR_FORMAT);
    assert_says(err, "lonely", "at least 2");
    put_file("lonely/b/readme", "", 0);
    assert_int_equal(load("lonely", GM_PART_TRAIN, &d, &err), GM_ERR_FORMAT);
    assert_says(err, "lonely/b", ".png");
    put_picture("half/train/a", "1.png", 8, 8);
    assert_int_equal(load("half", GM_PART_TRAIN, &d, &err), GM_ERR_NOT_FOUND);
    assert_says(err, "half", "both");
}

static void a_failed_allocation_is_an_error_and_leaks_nothing(void **state) {
    (void)state;
    put_picture("small/train/a", "1.png", 8, 8);
    put_picture("small/train/b", "1.jpg", 8, 8);
    put_picture("small/test/b", "1.jpg", 8, 8);
    size_t live = gm_alloc_live();
    int failures = 0;
    for (long n = 1;; n++) {
        gm_dataset *d;
        gm_alloc_fail_at(n);
        gm_status status = load("small", GM_PART_TRAIN, &d, NULL);
        gm_alloc_fail_at(0);
        if (status == GM_OK) {
            gm_dataset_destroy(d);
            break;
        }
        failures++;
        assert_int_equal(status, GM_ERR_MEMORY);
        assert_int_equal(gm_alloc_live(), live);
    }
    assert_true(failures > 15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_png_becomes_rgb),
        cmocka_unit_test(jpegs_become_rgb),
        cmocka_unit_test(every_cut_of_a_picture_is_refused),
        cmocka_unit_test(huge_claims_get_no_memory),
        cmocka_unit_test(resizing_keeps_ramps_and_averages),
        cmocka_unit_test(train_and_test_folders_are_read_in_order),
        cmocka_unit_test(one_folder_keeps_a_fifth_of_each_class_for_testing),
        cmocka_unit_test(unusable_folders_say_why),
        cmocka_unit_test(a_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
