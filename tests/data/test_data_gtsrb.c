// SPDX-License-Identifier: Apache-2.0
// The traffic signs: PPM pictures, annotation files, the folder layout, tracks.
#include "data_test.h"

static gm_status ppm(const char *text, size_t extra, gm__picture *p, gm_error *err) {
    uint8_t bytes[256] = {0};
    size_t n = strlen(text);
    memcpy(bytes, text, n);
    for (size_t i = 0; i < extra; i++) bytes[n + i] = (uint8_t)(i + 1);
    return gm__ppm_decode("f.ppm", bytes, n + extra, p, err);
}

static void ppm_headers_may_have_comments_and_any_space(void **state) {
    (void)state;
    static const char *const good[] = {"P6\n2 3\n255\n", "P6 2\t3\r\n255 ",
                                       "P6#x 9\n# 1\n 2#\n3 255\n", "P6\n002 3 255\n"};
    for (int i = 0; i < 4; i++) {
        gm__picture p;
        assert_int_equal(ppm(good[i], 18, &p, NULL), GM_OK);
        assert_int_equal(p.width, 2);
        assert_int_equal(p.height, 3);
        for (int k = 0; k < 18; k++) assert_int_equal(p.rgb[k], k + 1);
        gm__picture_fini(&p);
    }
}

static void wrong_ppms_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        gm_status status;
        size_t pixels; // bytes that follow
    } bad[] = {{"", "offset 0", GM_ERR_FORMAT, 0},
               {"P5\n2 3\n255\n", "offset 0", GM_ERR_FORMAT, 18},
               {"P62 3 255\n", "offset 2", GM_ERR_FORMAT, 18},
               {"P6\n-2 3\n255\n", "offset 3", GM_ERR_FORMAT, 18},
               {"P6\n2\n", "height", GM_ERR_FORMAT, 0},
               {"P6\n2 3\n65535\n", "65535", GM_ERR_UNSUPPORTED, 18},
               {"P6\n2 3\n255", "offset 10", GM_ERR_FORMAT, 0},
               {"P6\n0 3\n255\n", "0 x 3", GM_ERR_FORMAT, 18},
               {"P6\n99999 3\n255\n", "width", GM_ERR_FORMAT, 18},
               {"P6\n30000 30000\n255\n", "cut", GM_ERR_FORMAT, 18},
               {"P6\n2 4\n255\n", "cut at offset 29", GM_ERR_FORMAT, 18}};
    size_t live = gm_alloc_live();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gm__picture p;
        gm_error err;
        assert_int_equal(ppm(bad[i].text, bad[i].pixels, &p, &err), bad[i].status);
        assert_says(err, "f.ppm", bad[i].says);
        assert_null(p.rgb);
    }
    assert_int_equal(gm_alloc_live(), live);
}

#define HEADER "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"

static gm_status parse(const char *text, gm__gtsrb_row **rows, int *count, gm_error *err) {
    return gm__gtsrb_csv_parse("f.csv", text, strlen(text), rows, count, err);
}

static void annotation_rows_are_read(void **state) {
    (void)state;
    gm__gtsrb_row *rows;
    int count;
    assert_int_equal(parse(HEADER
                           "\r\n00004_00029.ppm;29;30;5;6;24;25;7\r\n00012.ppm;1;1;0;0;3;1;42",
                           &rows, &count, NULL),
                     GM_OK);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].file, "00004_00029.ppm");
    assert_int_equal(rows[0].track, 4);
    assert_int_equal(rows[0].label, 7);
    assert_int_equal(rows[0].sign.x, 5);
    assert_int_equal(rows[0].sign.y, 6);
    assert_int_equal(rows[0].sign.width, 19);
    assert_int_equal(rows[0].sign.height, 19);
    assert_string_equal(rows[1].file, "00012.ppm");
    gm_free(rows);
}

static void wrong_annotations_name_line_and_offset(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"Width\n", "offset 0"},
        {HEADER "\n", "no rows"},
        {HEADER "\n../x.ppm;1;1;0;0;1;1;1\n", "line 2 (offset 58)"},
        {HEADER "\n00001.png;1;1;0;0;1;1;1\n", "file name"},
        {HEADER "\n0000000001.ppm;1;1;0;0;1;1;1\n", "file name"},
        {HEADER "\n00001.ppm;1;1;0;0;1;1;1\n00001.ppm;1;1;0;0;1;1\n", "line 3 (offset 82)"},
        {HEADER "\n00001.ppm;1;1;0;0;1;1;1;9\n", "more than eight"},
        {HEADER "\n00001.ppm;1;1;0;0;1;999999;1\n", "eight fields"},
        {HEADER "\n00001.ppm;1;1;0;-1;1;1;1\n", "eight fields"},
        {HEADER "\n00001.ppm;1;1;3;0;3;1;1\n", "region"},
        {HEADER "\n00001.ppm;1;1;0;2;1;1;1\n", "region"},
        {HEADER "\n00001.ppm;1;1;0;0;1;1;43\n", "42"},
        {HEADER "\n\n", "line 2"},
    };
    size_t live = gm_alloc_live();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gm__gtsrb_row *rows;
        int count;
        gm_error err;
        assert_int_equal(parse(bad[i][0], &rows, &count, &err), GM_ERR_FORMAT);
        assert_says(err, "f.csv", bad[i][1]);
        assert_null(rows);
    }
    assert_int_equal(gm_alloc_live(), live);
}

// A 7 x 6 picture: border of the given grey, inside (2,1)-(5,4) red.
static void put_sign(const char *name, uint8_t red) {
    uint8_t bytes[11 + 7 * 6 * 3] = "P6\n7 6\n255\n";
    for (int y = 0; y < 6; y++)
        for (int x = 0; x < 7; x++) {
            bool inside = x >= 2 && x < 5 && y >= 1 && y < 4;
            memset(bytes + 11 + (y * 7 + x) * 3, inside ? 0 : 200, 3);
            if (inside) bytes[11 + (y * 7 + x) * 3] = red;
        }
    put_file(name, bytes, sizeof bytes);
}

// 43 classes of 2 tracks with 2 pictures; two test pictures.
static int make_set(void **state) {
    if (make_test_folder(state)) return -1;
    for (int c = 0; c < 43; c++) {
        char name[128], csv[512] = HEADER "\r\n";
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "GTSRB/Final_Training/Images/%05d/%05d_%05d.ppm", c, i / 2,
                     i % 2);
            put_sign(name, (uint8_t)(c * 4 + i));
            snprintf(csv + strlen(csv), sizeof csv - strlen(csv),
                     "%05d_%05d.ppm;7;6;2;1;5;4;%d\r\n", i / 2, i % 2, c);
        }
        snprintf(name, sizeof name, "GTSRB/Final_Training/Images/%05d/GT-%05d.csv", c, c);
        put_file(name, csv, strlen(csv));
    }
    static const char test[] = HEADER "\r\n00000.ppm;7;6;2;1;5;4;9\r\n00001.ppm;7;6;2;1;5;4;41\r\n";
    put_file("GTSRB/GT-final_test.csv", test, sizeof test - 1);
    put_sign("GTSRB/Final_Test/Images/00000.ppm", 250);
    put_sign("GTSRB/Final_Test/Images/00001.ppm", 251);
    return 0;
}

static void the_published_folders_are_read(void **state) {
    (void)state;
    gm_dataset *d;
    gm_error err;
    size_t live = gm_alloc_live();
    assert_int_equal(gm_dataset_load("gtsrb", test_folder, GM_PART_TRAIN, 5, &d, &err), GM_OK);
    assert_int_equal(d->images, 43 * 4);
    assert_int_equal(d->classes, 43);
    assert_int_equal(d->height, 5);
    for (int i = 0; i < d->images; i++) {
        assert_int_equal(d->labels[i], i / 4);
        for (int k = 0; k < 25 * 3; k++)
            assert_int_equal(d->pixels[i * 75 + k], k % 3 ? 0 : i); // the sign alone
        for (int j = 0; j < d->images; j++)
            assert_int_equal(d->group[i] == d->group[j], i / 2 == j / 2);
    }
    assert_string_equal(d->class_names[14], "stop");
    gm_dataset_destroy(d);
    assert_int_equal(gm_dataset_load("gtsrb", below("GTSRB"), GM_PART_TEST, 0, &d, &err), GM_OK);
    assert_int_equal(d->images, 2);
    assert_int_equal(d->width, 32);
    assert_int_equal(d->labels[1], 41);
    assert_int_equal(d->pixels[32 * 32 * 3], 251);
    assert_null(d->group);
    gm_dataset_destroy(d);
    assert_int_equal(gm_alloc_live(), live);
}

static void a_damaged_set_is_refused(void **state) {
    (void)state;
    gm_dataset *d;
    gm_error err;
    size_t live = gm_alloc_live();
    put_file("GTSRB/Final_Test/Images/00001.ppm", "P6\n7 6\n255\n", 11);
    assert_int_equal(gm_dataset_load("gtsrb", test_folder, GM_PART_TEST, 0, &d, &err),
                     GM_ERR_FORMAT);
    assert_says(err, "Final_Test/Images/00001.ppm", "cut at offset 11");
    static const char outside[] = HEADER "\n00000.ppm;7;6;2;1;8;4;9\n";
    put_file("GTSRB/GT-final_test.csv", outside, sizeof outside - 1);
    assert_int_equal(gm_dataset_load("gtsrb", test_folder, GM_PART_TEST, 0, &d, &err),
                     GM_ERR_FORMAT);
    assert_says(err, "00000.ppm", "region ends at 8, 4");
    static const char other[] = HEADER "\n00000_00000.ppm;7;6;2;1;5;4;9\n";
    put_file("GTSRB/Final_Training/Images/00042/GT-00042.csv", other, sizeof other - 1);
    assert_int_equal(gm_dataset_load("gtsrb", test_folder, GM_PART_TRAIN, 0, &d, &err),
                     GM_ERR_FORMAT);
    assert_says(err, "GT-00042.csv", "class 9");
    remove(below("GTSRB/Final_Training/Images/00041/00001_00001.ppm"));
    remove(below("GTSRB/Final_Training/Images/00042/GT-00042.csv"));
    assert_int_equal(gm_dataset_load("gtsrb", test_folder, GM_PART_TRAIN, 0, &d, &err),
                     GM_ERR_NOT_FOUND);
    assert_says(err, "GT-00042.csv", "");
    assert_null(d);
    assert_int_equal(gm_alloc_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ppm_headers_may_have_comments_and_any_space),
        cmocka_unit_test(wrong_ppms_are_refused),
        cmocka_unit_test(annotation_rows_are_read),
        cmocka_unit_test(wrong_annotations_name_line_and_offset),
        cmocka_unit_test(the_published_folders_are_read),
        cmocka_unit_test(a_damaged_set_is_refused),
    };
    return cmocka_run_group_tests(tests, make_set, remove_test_folder);
}
