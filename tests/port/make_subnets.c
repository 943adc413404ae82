// SPDX-License-Identifier: Apache-2.0
// Subnets with random weights and statistics, for a comparison with another runtime (bench/peers/onnx_check.py).
// Usage: make_subnets PRESET COUNT FOLDER SEED FOLD. Writes FOLDER/I.onnx, I.safetensors, I.input (f32: images,
// channels, rows, columns) and I.logits (f32), and prints one line a subnet: I, side of the images, channels, classes,
// choice.
#include "port/port_test.h"

enum { IMAGES = 2 };

static gm_status write_values(const char *folder, int i, const char *what, const float *v, size_t count,
                              gm_error *err) {
    char path[600];
    snprintf(path, sizeof path, "%s/%d.%s", folder, i, what);
    return gm_file_write(path, v, count * sizeof *v, err);
}

static gm_status write_subnet(gm_model *m, gm_walker *w, const gm_choice *choice, const char *folder, int i, bool fold,
                              gm_error *err) {
    gm_subnet *s = NULL;
    gm_batch b = {0};
    const float *logits = NULL;
    int ld = 0;
    char path[600], text[1024];
    gm_export_settings settings = {.fold = fold};
    gm_status status = random_statistics(m, w, choice, (uint64_t)i, err);
    if (!status) status = gm_subnet_create(m, choice, &s, err);
    snprintf(path, sizeof path, "%s/%d.onnx", folder, i);
    if (!status) status = gm_export_onnx(s, &settings, path, err);
    snprintf(path, sizeof path, "%s/%d.safetensors", folder, i);
    if (!status) status = gm_export_safetensors(s, &settings, path, err);
    if (!status) status = random_batch(m, choice, IMAGES, 1000 + (uint64_t)i, &b, err);
    if (!status) status = eval_logits(m, w, choice, &b, &logits, &ld, err);
    if (!status) status = gm_choice_print(&m->graph->space, choice, text, sizeof text, err);
    if (!status) {
        size_t area = (size_t)(b.height * b.width), c = (size_t)b.channels, classes = (size_t)m->graph->classes;
        float *x = gm_alloc(IMAGES * area * c, sizeof *x), *y = gm_alloc(IMAGES * classes, sizeof *y);
        for (size_t p = 0; x && p < IMAGES * area; p++)
            for (size_t k = 0; k < c; k++)
                x[(p / area * c + k) * area + p % area] = ((float *)b.x)[p * (size_t)b.ld + k];
        for (size_t p = 0; y && p < IMAGES * classes; p++) y[p] = logits[p / classes * (size_t)ld + p % classes];
        status = x && y ? write_values(folder, i, "input", x, IMAGES * area * c, err)
                        : gm_fail(err, GM_ERR_MEMORY, "no memory");
        if (!status) status = write_values(folder, i, "logits", y, IMAGES * classes, err);
        printf("%d\t%d\t%d\t%zu\t%s\n", i, b.height, b.channels, classes, text);
        gm_free(x);
        gm_free(y);
    }
    gm_batch_fini(&b);
    gm_subnet_destroy(s);
    gm_model_norms_clear(m);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: make_subnets PRESET COUNT FOLDER SEED FOLD\n");
        return 2;
    }
    gm_error err = {0};
    gm_model *m = NULL;
    gm_walker *w = NULL;
    uint64_t seed = strtoull(argv[4], NULL, 10);
    gm_model_settings settings = {.transform = strcmp(argv[1], "proxyless") != 0}; // with and without matrices
    gm_status status = gm_folder_create(argv[3], &err);
    if (!status) status = random_model(argv[1], &settings, seed, IMAGES, &m, &w, &err);
    for (int i = 0; i < atoi(argv[2]) && !status; i++) {
        gm_rng rng = gm_rng_keyed(seed, (uint64_t)i, 0, GM_RNG_TEST);
        gm_choice choice = gm_choice_random(&m->graph->space, &rng);
        status = write_subnet(m, w, &choice, argv[3], i, atoi(argv[5]) != 0, &err);
    }
    if (status) fprintf(stderr, "make_subnets: %s\n", err.text);
    gm_walker_destroy(w);
    gm_model_destroy(m);
    return status != GM_OK;
}
