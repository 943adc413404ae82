// SPDX-License-Identifier: Apache-2.0
// Writes a tiny data set: FOLDER/{train,test}/{a,b,c,d}/N.png, a bright bar at a place of its class on noise.
// Usage: make_data FOLDER TRAIN_PER_CLASS TEST_PER_CLASS SIDE
#include <gamut/base.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 4, MOST_SIDE = 64 };

static int write_image(const char *path, int label, int side, gm_rng *rng) {
    static uint8_t pixel[MOST_SIDE * MOST_SIDE * 3];
    int width = side / CLASSES, left = label * width;
    for (int i = 0; i < side * side; i++) {
        bool bar = i % side >= left && i % side < left + width;
        for (int c = 0; c < 3; c++) {
            pixel[i * 3 + c] = (uint8_t)((bar ? 120u : 0u) + gm_rng_below(rng, 120));
        }
    }
    png_image image = {.version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB};
    image.width = image.height = (png_uint_32)side;
    return png_image_write_to_file(&image, path, 0, pixel, 0, NULL) ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    static const char *const parts[] = {"train", "test"};
    int side = gm_max(CLASSES, gm_min(atoi(argv[4]), MOST_SIDE));
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_TEST);
    for (int part = 0; part < 2; part++) {
        for (int label = 0; label < CLASSES; label++) {
            char folder[512], path[600];
            gm_error err = {0};
            snprintf(folder, sizeof folder, "%s/%s/%c", argv[1], parts[part], 'a' + label);
            if (gm_folder_create(folder, &err) != GM_OK) {
                fprintf(stderr, "%s\n", err.text);
                return 1;
            }
            for (int i = 0; i < atoi(argv[2 + part]); i++) {
                snprintf(path, sizeof path, "%s/%d.png", folder, i);
                if (write_image(path, label, side, &rng) != 0) return 1;
            }
        }
    }
    return 0;
}
