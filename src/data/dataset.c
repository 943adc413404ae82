// SPDX-License-Identifier: Apache-2.0
// A data set in memory: creation, release, and loading by name.
#include "data/readers.h"

#include <stdio.h>
#include <string.h>

gm_status gm__path(char *path, const char *folder, const char *name, gm_error *err) {
    int n = snprintf(path, 512, "%s/%s", folder, name);
    if (n < 0 || n >= 512)
        return gm_fail(err, GM_ERR_RANGE,
                       "path of %s is longer than 511 bytes: use a shorter folder", name);
    return GM_OK;
}

gm_status gm__dataset_adopt(const char *name, size_t images, int height, int width, int channels,
                            int classes, uint8_t *pixels, gm_dataset **out, gm_error *err) {
    if (images < 1 || images > GM__IMAGES_MAX)
        return gm_fail(err, GM_ERR_RANGE, "%s: %zu images; 1 to %d are supported", name, images,
                       GM__IMAGES_MAX);
    if (height < 1 || width < 1 || height > GM__IMAGE_SIDE_MAX || width > GM__IMAGE_SIDE_MAX)
        return gm_fail(err, GM_ERR_RANGE, "%s: images of %d x %d; sides of 1 to %d are supported",
                       name, height, width, GM__IMAGE_SIDE_MAX);
    if (channels < 1 || channels > 4 || classes < 1)
        return gm_fail(err, GM_ERR_RANGE, "%s: %d channels, %d classes", name, channels, classes);
    gm_dataset *d = gm_alloc(1, sizeof *d);
    if (!d) goto memory;
    snprintf(d->name, sizeof d->name, "%s", name);
    d->images = (int)images;
    d->height = height;
    d->width = width;
    d->channels = channels;
    d->classes = classes;
    d->labels = gm_alloc(images, sizeof *d->labels);
    if (!d->labels) goto memory;
    if (!pixels) pixels = gm_alloc(images, (size_t)height * (size_t)width * (size_t)channels);
    if (!pixels) goto memory;
    d->pixels = pixels;
    *out = d;
    return GM_OK;
memory:
    gm_dataset_destroy(d);
    return gm_fail(err, GM_ERR_MEMORY, "%s: out of memory for %zu images of %d x %d x %d bytes",
                   name, images, height, width, channels);
}

gm_status gm__dataset_new(const char *name, size_t images, int height, int width, int channels,
                          int classes, bool grouped, gm_dataset **out, gm_error *err) {
    gm_dataset *d = NULL;
    gm_status status =
        gm__dataset_adopt(name, images, height, width, channels, classes, NULL, &d, err);
    if (status == GM_OK && grouped) {
        d->group = gm_alloc(images, sizeof *d->group);
        if (!d->group) {
            gm_dataset_destroy(d);
            return gm_fail(err, GM_ERR_MEMORY, "%s: out of memory for the groups of %zu images",
                           name, images);
        }
    }
    *out = d;
    return status;
}

gm_status gm__dataset_name_classes(gm_dataset *d, const char *const *names, gm_error *err) {
    d->class_names = gm_alloc((size_t)d->classes, sizeof *d->class_names);
    if (!d->class_names)
        return gm_fail(err, GM_ERR_MEMORY, "%s: out of memory for class names", d->name);
    for (int i = 0; i < d->classes; i++) {
        size_t bytes = strlen(names[i]) + 1;
        d->class_names[i] = gm_alloc(bytes, 1);
        if (!d->class_names[i])
            return gm_fail(err, GM_ERR_MEMORY, "%s: out of memory for class names", d->name);
        memcpy(d->class_names[i], names[i], bytes);
    }
    return GM_OK;
}

void gm_dataset_destroy(gm_dataset *d) {
    if (!d) return;
    if (d->class_names)
        for (int i = 0; i < d->classes; i++) gm_free(d->class_names[i]);
    gm_free(d->class_names);
    gm_free(d->pixels);
    gm_free(d->labels);
    gm_free(d->group);
    gm_free(d);
}

gm_status gm_dataset_load(const char *name, const char *dir, gm_part part, int size,
                          gm_dataset **out, gm_error *err) {
    *out = NULL;
    if (size < 0 || size > GM__IMAGE_SIDE_MAX)
        return gm_fail(err, GM_ERR_RANGE, "image size %d: 0 (default) to %d is allowed", size,
                       GM__IMAGE_SIDE_MAX);
    if (part != GM_PART_TRAIN && part != GM_PART_TEST)
        return gm_fail(err, GM_ERR_ARGUMENT, "part %d: train or test is allowed", (int)part);
    if (strncmp(name, "folder:", 7) == 0) return gm__folder_load(name + 7, part, size, out, err);
    const gm__known *known = gm__known_find(name);
    if (!known)
        return gm_fail(err, GM_ERR_ARGUMENT,
                       "unknown data set \"%.60s\": fashion-mnist, mnist, cifar10, cifar100, gtsrb "
                       "or folder:PATH",
                       name);
    char path[512];
    if (!gm__known_locate(known, dir && *dir ? dir : NULL, path))
        return gm_fail(err, GM_ERR_NOT_FOUND, "data set %s is not in %.60s (looked for %s/%s); %s",
                       name, dir && *dir ? dir : "any data folder", known->alias[0],
                       known->probe[0], known->how_to_get);
    return known->load(known->name, path, part, size, out, err);
}
