// SPDX-License-Identifier: Apache-2.0
// CIFAR-10 and CIFAR-100, binary version: records of one label byte (CIFAR-100: coarse, then fine)
// and 1,024 red, 1,024 green and 1,024 blue pixels. https://www.cs.toronto.edu/~kriz/cifar.html
// describes it.
#include "data/readers.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, FILE_IMAGES = 10000 };

gm_status gm__cifar_parse(const char *file, const uint8_t *bytes, size_t count, gm_dataset *d,
                          int first, int *images, gm_error *err) {
    size_t marks = d->classes == 100 ? 2 : 1, record = marks + 3 * PLANE;
    if (count == 0 || count % record != 0)
        return gm_fail(
            err, GM_ERR_FORMAT,
            "%s: cut at offset %zu inside a record; records have %zu bytes: get the file again",
            file, count, record);
    size_t total = count / record;
    if (first < 0 || first > d->images || total > (size_t)(d->images - first))
        return gm_fail(err, GM_ERR_FORMAT, "%s: %zu images, at most %d expected", file, total,
                       d->images - first);
    for (size_t i = 0; i < total; i++) {
        const uint8_t *p = bytes + i * record + marks;
        if (p[-1] >= d->classes)
            return gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: label %d, but there are %d classes",
                           file, i * record + marks - 1, p[-1], d->classes);
        uint8_t *q = d->pixels + ((size_t)first + i) * 3 * PLANE;
        d->labels[(size_t)first + i] = p[-1];
        for (int k = 0; k < PLANE; k++) {
            q[3 * k] = p[k];
            q[3 * k + 1] = p[PLANE + k];
            q[3 * k + 2] = p[2 * PLANE + k];
        }
    }
    *images = (int)total;
    return GM_OK;
}

// batches.meta.txt or fine_label_names.txt: one name a line. Absent or odd: the set has no class
// names.
static gm_status name_classes(gm_dataset *d, const char *folder, gm_error *err) {
    char path[512];
    uint8_t *text = NULL;
    size_t bytes;
    const char *names[100];
    const char *file = d->classes == 100 ? "fine_label_names.txt" : "batches.meta.txt";
    gm_status status = gm__path(path, folder, file, err);
    if (status != GM_OK) return status;
    if (gm_file_read(path, 65536, &text, &bytes, NULL) != GM_OK) return GM_OK;
    int count = 0;
    char *rest = NULL;
    for (char *line = strtok_r((char *)text, "\r\n", &rest); line && count < d->classes;
         line = strtok_r(NULL, "\r\n", &rest))
        names[count++] = line;
    if (count == d->classes) status = gm__dataset_name_classes(d, names, err);
    gm_free(text);
    return status;
}

// The files of a part and the images of each; name gets file i's.
static int file_name(bool fine, gm_part part, int i, char name[32], int *images) {
    bool train = part == GM_PART_TRAIN;
    *images = train && fine ? 5 * FILE_IMAGES : FILE_IMAGES;
    if (train && !fine)
        snprintf(name, 32, "data_batch_%d.bin", i + 1);
    else
        snprintf(name, 32, "%s", !fine ? "test_batch.bin" : train ? "train.bin" : "test.bin");
    return train && !fine ? 5 : 1;
}

gm_status gm__cifar_check(const char *name, const char *folder, gm_part part, int *images,
                          gm_error *err) {
    bool fine = strcmp(name, "cifar100") == 0;
    int wanted, files = 1;
    *images = 0;
    for (int i = 0; i < files; i++) {
        char file[32], path[512];
        struct stat info;
        files = file_name(fine, part, i, file, &wanted);
        gm_status status = gm__path(path, folder, file, err);
        if (status != GM_OK) return status;
        if (stat(path, &info) != 0) return gm_fail(err, GM_ERR_NOT_FOUND, "%s is not there", path);
        long long bytes = (long long)wanted * (3 * PLANE + (fine ? 2 : 1));
        if (info.st_size != bytes)
            return gm_fail(err, GM_ERR_FORMAT, "%s has %lld bytes instead of %lld: get it again",
                           path, (long long)info.st_size, bytes);
        *images += wanted;
    }
    return GM_OK;
}

gm_status gm__cifar_load(const char *name, const char *folder, gm_part part, int size,
                         gm_dataset **out, gm_error *err) {
    (void)size; // as stored; a batch is resized when it is filled
    bool fine = strcmp(name, "cifar100") == 0;
    char file[32];
    int wanted, files = file_name(fine, part, 0, file, &wanted);
    gm_dataset *d = NULL;
    gm_status status = gm__dataset_new(name, (size_t)(files * wanted), SIDE, SIDE, 3,
                                       fine ? 100 : 10, false, &d, err);
    if (status != GM_OK) return status;
    for (int i = 0; i < files; i++) {
        char path[512];
        uint8_t *bytes = NULL;
        size_t count;
        int images = 0;
        file_name(fine, part, i, file, &wanted);
        status = gm__path(path, folder, file, err);
        if (status != GM_OK) goto done;
        status = gm_file_read(path, GM__FILE_MAX, &bytes, &count, err);
        if (status != GM_OK) goto done;
        status = gm__cifar_parse(path, bytes, count, d, i * wanted, &images, err);
        gm_free(bytes);
        if (status != GM_OK) goto done;
        if (images != wanted) {
            status =
                gm_fail(err, GM_ERR_FORMAT,
                        "%s: cut at offset %zu: %d images, the published file has %d: get it again",
                        path, count, images, wanted);
            goto done;
        }
    }
    status = name_classes(d, folder, err);
done:
    if (status != GM_OK) {
        gm_dataset_destroy(d);
        d = NULL;
    }
    *out = d;
    return status;
}
