// SPDX-License-Identifier: Apache-2.0
// Images per second that one core prepares, beside the time that only clearing the batch would take
// (the limit: memory).
//   build/release/bench_data [--json FILE]
// 32 x 32 RGB; 11 runs of 8,192 images after one of warm-up; median, slowest and fastest.
#include "measure.h"

#include <gamut/data.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 8192, SIDE = 32, RUNS = 11 };

static const struct {
    const char *name;
    gm_dtype type;
    int batch;
    gm_augment augment;
} rows[] = {
    {"crop, flip", GM_BF16, 128, {.crop_pad = 4, .flip = 1}},
    {"crop, flip", GM_BF16, 512, {.crop_pad = 4, .flip = 1}},
    {"crop, flip", GM_F32, 512, {.crop_pad = 4, .flip = 1}},
    {"crop (reflect), flip, cutout",
     GM_BF16,
     512,
     {.crop_pad = 4, .pad_mode = GM_PAD_REFLECT, .flip = 2, .cutout = 8}},
    {"crop, flip, mixup", GM_BF16, 512, {.crop_pad = 4, .flip = 1, .mixup = 0.2f}},
    {"crop, flip, to 24 x 24", GM_BF16, 512, {.crop_pad = 4, .flip = 1, .resolution = 24}},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const char usage[] =
    "usage: bench_data [--json FILE]\n"
    "Images per second that one core augments and packs.\n";

int main(int argc, char **argv) {
    if (measure_help(argc, argv, usage)) return 0;
    int status = 1;
    gm_dataset d = {.images = IMAGES, .height = SIDE, .width = SIDE, .channels = 3, .classes = 10};
    FILE *json = argc == 3 && strcmp(argv[1], "--json") == 0 ? fopen(argv[2], "w") : NULL;
    int32_t *order = gm_alloc(IMAGES, sizeof *order);
    d.pixels = gm_alloc(IMAGES, SIDE * SIDE * 3);
    d.labels = gm_alloc(IMAGES, sizeof *d.labels);
    if (!order || !d.pixels || !d.labels || (argc > 1 && !json)) goto done;
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < IMAGES * SIDE * SIDE * 3; i++) d.pixels[i] = (uint8_t)gm_rng_u32(&rng);
    gm_shuffle(order, IMAGES, 1, 0);
    printf("%-30s %5s %6s %10s %10s %10s %12s\n", "images/s of one core", "type", "batch", "median",
           "slowest", "fastest", "of clearing");
    if (json) fprintf(json, "[");
    for (int r = 0; r < ROWS; r++) {
        gm_batch b;
        double rate[RUNS], clear[RUNS];
        if (gm_batch_init(&b, rows[r].batch, SIDE, 3, rows[r].type, NULL) != GM_OK) goto done;
        for (int run = -1; run < RUNS; run++) {
            double start = gm_now();
            for (int i = 0; i < IMAGES; i += rows[r].batch)
                gm_batch_fill(&d, NULL, order + i, rows[r].batch, &rows[r].augment, 1, run + 1,
                              i / rows[r].batch, &b);
            double middle = gm_now();
            size_t bytes =
                (size_t)(b.height * b.width * b.ld) * gm_dtype_size(b.type) * (size_t)b.images;
            for (int i = 0; i < IMAGES; i += rows[r].batch) memset(b.x, 0, bytes);
            if (run < 0) continue;
            rate[run] = IMAGES / (middle - start);
            clear[run] = IMAGES / (gm_now() - middle);
        }
        gm_batch_fini(&b);
        qsort(rate, RUNS, sizeof *rate, compare);
        qsort(clear, RUNS, sizeof *clear, compare);
        double median = rate[RUNS / 2], part = median / clear[RUNS / 2];
        printf("%-30s %5s %6d %10.0f %10.0f %10.0f %12.2f\n", rows[r].name,
               gm_dtype_name(rows[r].type), rows[r].batch, median, rate[0], rate[RUNS - 1], part);
        if (json)
            fprintf(json,
                    "%s\n{\"row\":\"%s\",\"type\":\"%s\",\"batch\":%d,\"images_per_second\":%.0f,"
                    "\"slowest\":%.0f,"
                    "\"fastest\":%.0f,\"of_clearing\":%.3f}",
                    r ? "," : "", rows[r].name, gm_dtype_name(rows[r].type), rows[r].batch, median,
                    rate[0], rate[RUNS - 1], part);
    }
    if (json) fprintf(json, "\n]\n");
    status = 0;
done:
    if (status)
        fprintf(stderr, "bench_data: out of memory, or cannot write\n%s", usage);
    if (json) fclose(json);
    gm_free(order);
    gm_free(d.pixels);
    gm_free(d.labels);
    return status;
}
