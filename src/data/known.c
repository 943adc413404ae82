// SPDX-License-Identifier: Apache-2.0
// The sets that Gamut knows by name, and where they are.
#include "data/readers.h"

#include <stdio.h>
#include <string.h>

static const gm__known KNOWN[] = {
    {"fashion-mnist",
     {"fashion-mnist", "FashionMNIST/raw"},
     {"train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"},
     "apt-get install dataset-fashion-mnist",
     60000,
     10000,
     gm__mnist_load,
     gm__mnist_check},
    {"mnist",
     {"mnist", "MNIST/raw"},
     {"train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"},
     "four IDX files in a folder mnist, see docs/data.md",
     60000,
     10000,
     gm__mnist_load,
     gm__mnist_check},
    {"cifar10",
     {"cifar10", "cifar-10-batches-bin"},
     {"data_batch_1.bin", "test_batch.bin"},
     "the binary version in a folder cifar10, see docs/data.md",
     50000,
     10000,
     gm__cifar_load,
     gm__cifar_check},
    {"cifar100",
     {"cifar100", "cifar-100-binary"},
     {"train.bin", "test.bin"},
     "the binary version in a folder cifar100, see docs/data.md",
     50000,
     10000,
     gm__cifar_load,
     gm__cifar_check},
    {"gtsrb",
     {"gtsrb", "GTSRB"},
     {"Final_Training", "GTSRB", "Training"},
     "Final_Training and Final_Test in a folder gtsrb, see docs/data.md",
     39209,
     12630,
     gm__gtsrb_load,
     gm__gtsrb_check},
};
enum { KNOWN_COUNT = sizeof KNOWN / sizeof KNOWN[0] };

const gm__known *gm__known_find(const char *name) {
    for (int i = 0; i < KNOWN_COUNT; i++)
        if (strcmp(KNOWN[i].name, name) == 0) return &KNOWN[i];
    return NULL;
}

static bool holds(const gm__known *known, const char *folder) {
    char path[512];
    for (int i = 0; i < 3; i++)
        if (known->probe[i] && gm__path(path, folder, known->probe[i], NULL) == GM_OK &&
            gm_path_exists(path))
            return true;
    return false;
}

typedef struct search {
    const gm__known *known;
    char *path;
} search;

static bool visit(void *context, const char *folder) {
    search *s = context;
    for (int i = 0; i < 3 && s->known->alias[i]; i++)
        if (gm__path(s->path, folder, s->known->alias[i], NULL) == GM_OK &&
            holds(s->known, s->path))
            return true;
    return false;
}

bool gm__known_locate(const gm__known *known, const char *dir, char path[512]) {
    search s = {known, path};
    if (!dir) return gm_data_folders(visit, &s);
    if (strlen(dir) < 512 && holds(known, dir)) {
        strcpy(path, dir);
        return true;
    }
    return visit(&s, dir);
}

int gm_dataset_known(gm_dataset_status *list, int max) {
    for (int i = 0; i < KNOWN_COUNT && i < max; i++) {
        const gm__known *known = &KNOWN[i];
        gm_dataset_status *s = &list[i];
        gm_error err = {GM_OK, ""};
        *s = (gm_dataset_status){.name = known->name, .how_to_get = known->how_to_get};
        s->found = gm__known_locate(known, NULL, s->path);
        if (!s->found) {
            s->path[0] = 0;
            continue;
        }
        if (known->check(known->name, s->path, GM_PART_TRAIN, &s->train, &err) != GM_OK ||
            known->check(known->name, s->path, GM_PART_TEST, &s->test, &err) != GM_OK)
            snprintf(s->problem, sizeof s->problem, "%s", err.text);
        else if (s->train != known->train || s->test != known->test)
            snprintf(s->problem, sizeof s->problem, "%d and %d images; published with %d and %d",
                     s->train, s->test, known->train, known->test);
    }
    return KNOWN_COUNT;
}
