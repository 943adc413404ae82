// SPDX-License-Identifier: Apache-2.0
// Own pictures: PATH/train/CLASS/*.png|jpg and PATH/test/CLASS/..., or PATH/CLASS/... with a fifth
// of each class held out as test. Each picture's largest centred square is resized.
#include "data/readers.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CLASSES_MAX = 10000 };

// Sorted names of a folder's sub-folders or pictures.
typedef struct names {
    char **list;
    int count, room;
} names;

static void names_fini(names *n) {
    for (int i = 0; i < n->count; i++) gm_free(n->list[i]);
    gm_free(n->list);
    *n = (names){0};
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_png(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && strcasecmp(dot, ".png") == 0;
}

static bool is_picture(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (is_png(name) || strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0);
}

static gm_status add_name(names *n, const char *name, int most, gm_error *err) {
    if (n->count == most)
        return gm_fail(err, GM_ERR_RANGE, "%s: more than %d entries beside it", name, most);
    if (n->count == n->room) {
        int room = n->room ? 2 * n->room : 64;
        char **list = gm_realloc(n->list, (size_t)n->room, (size_t)room, sizeof *list);
        if (!list) return gm_fail(err, GM_ERR_MEMORY, "out of memory for file names");
        n->list = list;
        n->room = room;
    }
    size_t bytes = strlen(name) + 1;
    char *copy = gm_alloc(bytes, 1);
    if (!copy) return gm_fail(err, GM_ERR_MEMORY, "out of memory for file names");
    memcpy(copy, name, bytes);
    n->list[n->count++] = copy;
    return GM_OK;
}

// Hidden entries are passed over, and so is what is neither (a readme beside the pictures).
static gm_status list_folder(const char *folder, bool folders, names *out, gm_error *err) {
    DIR *dir = opendir(folder);
    if (!dir)
        return gm_fail(err, GM_ERR_IO, "%s: cannot open the folder: %s", folder, strerror(errno));
    gm_status status = GM_OK;
    for (struct dirent *entry; status == GM_OK && (entry = readdir(dir));) {
        char path[512];
        if (entry->d_name[0] == '.') continue;
        status = gm__path(path, folder, entry->d_name, err);
        if (status == GM_OK && (folders ? gm_path_is_folder(path) : is_picture(entry->d_name)))
            status = add_name(out, entry->d_name, folders ? CLASSES_MAX : GM__IMAGES_MAX, err);
    }
    closedir(dir);
    // readdir's order is the file system's: sorted, the same pictures give the same set everywhere.
    if (status == GM_OK && out->count)
        qsort(out->list, (size_t)out->count, sizeof *out->list, compare_names);
    return status;
}

typedef struct keyed {
    uint64_t key;
    char *name;
} keyed;

static int compare_keys(const void *a, const void *b) {
    const keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return strcmp(x->name, y->name);
}

// Keeps a class's training four fifths, or its test fifth. Chosen by a hash of the name, so that
// adding pictures moves few of the others between the parts.
static gm_status hold_out(names *n, gm_part part, gm_error *err) {
    if (n->count == 0) return GM_OK;
    keyed *order = gm_alloc((size_t)n->count, sizeof *order);
    if (!order) return gm_fail(err, GM_ERR_MEMORY, "out of memory for file names");
    for (int i = 0; i < n->count; i++)
        order[i] = (keyed){gm_hash64(n->list[i], strlen(n->list[i]), GM_RNG_SPLIT), n->list[i]};
    qsort(order, (size_t)n->count, sizeof *order, compare_keys);
    int test = (n->count + 2) / 5, kept = 0;
    for (int i = 0; i < n->count; i++) {
        if ((i < test) == (part == GM_PART_TEST))
            n->list[kept++] = order[i].name;
        else
            gm_free(order[i].name);
    }
    n->count = kept;
    if (kept) qsort(n->list, (size_t)kept, sizeof *n->list, compare_names);
    gm_free(order);
    return GM_OK;
}

static gm_status load_picture(const char *folder, const char *name, int size, uint8_t *out,
                              gm_error *err) {
    char path[512];
    uint8_t *bytes = NULL;
    size_t count;
    gm__picture p = {0};
    gm_status status = gm__path(path, folder, name, err);
    if (status == GM_OK) status = gm_file_read(path, GM__PICTURE_FILE_MAX, &bytes, &count, err);
    if (status == GM_OK)
        status = is_png(name) ? gm__png_decode(path, bytes, count, &p, err)
                              : gm__jpeg_decode(path, bytes, count, &p, err);
    gm_free(bytes);
    if (status != GM_OK) return status;
    int side = gm_min(p.width, p.height);
    gm__rect square = {(p.width - side) / 2, (p.height - side) / 2, side, side};
    status = gm__picture_resize(&p, square, size, out, err);
    gm__picture_fini(&p);
    return status;
}

// What a part consists of.
typedef struct plan {
    names classes;
    names *pictures; // of each class
    char root[512];
    size_t total;
} plan;

static void plan_fini(plan *p) {
    if (p->pictures)
        for (int c = 0; c < p->classes.count; c++) names_fini(&p->pictures[c]);
    gm_free(p->pictures);
    names_fini(&p->classes);
}

// A class that training never showed cannot be tested.
static gm_status check_test_classes(const char *test, const names *classes, gm_error *err) {
    names found = {0};
    gm_status status = list_folder(test, true, &found, err);
    for (int i = 0; i < found.count && status == GM_OK; i++)
        if (!bsearch(&found.list[i], classes->list, (size_t)classes->count, sizeof *classes->list,
                     compare_names))
            status = gm_fail(err, GM_ERR_FORMAT, "%s/%s: this class has no folder in train", test,
                             found.list[i]);
    names_fini(&found);
    return status;
}

static gm_status make_plan(const char *path, gm_part part, plan *p, gm_error *err) {
    char train[512], test[512];
    gm_status status = gm__path(train, path, "train", err);
    if (status == GM_OK) status = gm__path(test, path, "test", err);
    if (status == GM_OK && !gm_path_is_folder(path))
        status = gm_fail(err, GM_ERR_NOT_FOUND, "%s is not a folder", path);
    if (status != GM_OK) return status;
    bool parted = gm_path_is_folder(train) && gm_path_is_folder(test);
    if (!parted && (gm_path_is_folder(train) || gm_path_is_folder(test)))
        return gm_fail(err, GM_ERR_NOT_FOUND, "%s: train and test must both be there, or neither",
                       path);
    // The training folder alone decides which classes there are and their numbers.
    status = list_folder(parted ? train : path, true, &p->classes, err);
    if (status != GM_OK) return status;
    if (p->classes.count < 2)
        return gm_fail(err, GM_ERR_FORMAT, "%s: %d class folders; at least 2 are needed",
                       parted ? train : path, p->classes.count);
    if (parted) status = check_test_classes(test, &p->classes, err);
    if (status != GM_OK) return status;
    strcpy(p->root, !parted ? path : part == GM_PART_TRAIN ? train : test);
    p->pictures = gm_alloc((size_t)p->classes.count, sizeof *p->pictures);
    if (!p->pictures) return gm_fail(err, GM_ERR_MEMORY, "out of memory for file names");
    for (int c = 0; c < p->classes.count; c++) {
        char folder[512];
        status = gm__path(folder, p->root, p->classes.list[c], err);
        // A class without test pictures has no folder in test, perhaps.
        if (status == GM_OK && gm_path_is_folder(folder))
            status = list_folder(folder, false, &p->pictures[c], err);
        if (status == GM_OK && !parted) status = hold_out(&p->pictures[c], part, err);
        if (status != GM_OK) return status;
        if (p->pictures[c].count == 0 && part == GM_PART_TRAIN)
            return gm_fail(err, GM_ERR_FORMAT, "%s: no .png, .jpg or .jpeg files to train on",
                           folder);
        p->total += (size_t)p->pictures[c].count;
    }
    if (p->total == 0)
        return gm_fail(err, GM_ERR_FORMAT, "%s: no .png, .jpg or .jpeg files", p->root);
    return GM_OK;
}

gm_status gm__folder_load(const char *path, gm_part part, int size, gm_dataset **out,
                          gm_error *err) {
    plan p = {0};
    gm_dataset *d = NULL;
    int side = size ? size : 32, done = 0;
    gm_status status = make_plan(path, part, &p, err);
    if (status == GM_OK)
        status = gm__dataset_new("folder", p.total, side, side, 3, p.classes.count, false, &d, err);
    for (int c = 0; c < p.classes.count && status == GM_OK; c++) {
        char folder[512];
        status = gm__path(folder, p.root, p.classes.list[c], err);
        for (int i = 0; i < p.pictures[c].count && status == GM_OK; i++, done++) {
            d->labels[done] = c;
            status = load_picture(folder, p.pictures[c].list[i], side,
                                  d->pixels + (size_t)done * (size_t)(side * side * 3), err);
        }
    }
    if (status == GM_OK)
        status = gm__dataset_name_classes(d, (const char *const *)p.classes.list, err);
    plan_fini(&p);
    if (status != GM_OK) {
        gm_dataset_destroy(d);
        d = NULL;
    }
    *out = d;
    return status;
}
