// SPDX-License-Identifier: Apache-2.0
// Private to data/: one reader a format. Each parses bytes in memory (fuzzed), and loads a folder with it.
// Every number of a file is bounded before it is multiplied or allocated; errors name file and offset.
#ifndef GAMUT_DATA_READERS_H
#define GAMUT_DATA_READERS_H

#include <gamut/data.h>

#define GM__IMAGE_SIDE_MAX 1024    // of images in memory, after resizing
#define GM__DECODE_SIDE_MAX 16384  // of picture files, before resizing
#define GM__IMAGES_MAX 20000000    // of one part
#define GM__FILE_MAX ((size_t)1 << 30)

// A set with zeroed pixels and labels; grouped: group too. Sizes are checked here.
gm_status gm__dataset_new(const char *name, size_t images, int height, int width, int channels, int classes,
                          bool grouped, gm_dataset **out, gm_error *err);
// Copies the names; classes of them.
gm_status gm__dataset_name_classes(gm_dataset *d, const char *const *names, gm_error *err);
// "folder/name" into path[512]; fails when it does not fit.
gm_status gm__path(char *path, const char *folder, const char *name, gm_error *err);

// --- IDX (idx.c). A parsed header of unsigned bytes; the data starts at `offset` and fills the rest of the file.
typedef struct gm__idx {
    int dims;
    uint32_t size[3];
    size_t offset;
} gm__idx;
gm_status gm__idx_parse(const char *file, const uint8_t *bytes, size_t count, int dims, gm__idx *out, gm_error *err);
gm_status gm__mnist_load(const char *name, const char *folder, gm_part part, int size, gm_dataset **out,
                         gm_error *err);

// --- CIFAR binary (cifar.c). Converts whole records into images [first, first + *images) of d, which must hold them.
gm_status gm__cifar_parse(const char *file, const uint8_t *bytes, size_t count, gm_dataset *d, int first,
                          int *images, gm_error *err);
gm_status gm__cifar_load(const char *name, const char *folder, gm_part part, int size, gm_dataset **out,
                         gm_error *err);

// --- Known sets (known.c)
typedef struct gm__known {
    const char *name;
    const char *alias[3];  // folder names under a data folder
    const char *probe[2];  // the set is there when one of these is
    const char *how_to_get;
    int train, test;       // as published
    gm_status (*load)(const char *name, const char *folder, gm_part part, int size, gm_dataset **out, gm_error *err);
} gm__known;
const gm__known *gm__known_find(const char *name); // NULL when unknown
// Looks in dir (or dir/ALIAS), or where dir is NULL in every data folder. False: not there.
bool gm__known_locate(const gm__known *known, const char *dir, char path[512]);

#endif
