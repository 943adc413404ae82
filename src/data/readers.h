// SPDX-License-Identifier: Apache-2.0
// Private to data/: one reader a format. Each parses bytes in memory (fuzzed), and loads a folder
// with it. Every number of a file is bounded before it is multiplied or allocated; errors name file
// and offset.
#ifndef GAMUT_DATA_READERS_H
#define GAMUT_DATA_READERS_H

#include <gamut/data.h>

#define GM__IMAGE_SIDE_MAX 1024        // of images in memory, after resizing
#define GM__IMAGES_MAX 20000000        // of one part
#define GM__FILE_MAX ((size_t)1 << 30) // of a file that holds many images
#define GM__PICTURE_FILE_MAX ((size_t)1 << 26)
#define GM__DECODE_SIDE_MAX 16384 // of picture files, before resizing
#define GM__DECODE_PIXELS_MAX (1 << 26)

// A set with zeroed pixels and labels; grouped: group too. Sizes are checked here.
gm_status gm__dataset_new(const char *name, size_t images, int height, int width, int channels,
                          int classes, bool grouped, gm_dataset **out, gm_error *err);
// The same around existing pixels (NULL: allocated), which it owns when it succeeds.
gm_status gm__dataset_adopt(const char *name, size_t images, int height, int width, int channels,
                            int classes, uint8_t *pixels, gm_dataset **out, gm_error *err);
// Copies the names; classes of them.
gm_status gm__dataset_name_classes(gm_dataset *d, const char *const *names, gm_error *err);
// "folder/name" into path[512]; fails when it does not fit.
gm_status gm__path(char *path, const char *folder, const char *name, gm_error *err);

// --- IDX (idx.c). A parsed header of unsigned bytes; the data starts at `offset` and fills the
// rest of the file.
typedef struct gm__idx {
    int dims;
    uint32_t size[3];
    size_t offset;
} gm__idx;
gm_status gm__idx_parse(const char *file, const uint8_t *bytes, size_t count, int dims,
                        gm__idx *out, gm_error *err);
gm_status gm__mnist_load(const char *name, const char *folder, gm_part part, int size,
                         gm_dataset **out, gm_error *err);

// --- CIFAR binary (cifar.c). Converts whole records into images [first, first + *images) of d,
// which must hold them.
gm_status gm__cifar_parse(const char *file, const uint8_t *bytes, size_t count, gm_dataset *d,
                          int first, int *images, gm_error *err);
gm_status gm__cifar_load(const char *name, const char *folder, gm_part part, int size,
                         gm_dataset **out, gm_error *err);

// --- Pictures. Decoded to 8-bit RGB; grey is repeated, transparency dropped.
typedef struct gm__picture {
    int width, height;
    uint8_t *rgb; // [height][width][3], owned
} gm__picture;
void gm__picture_fini(gm__picture *p);
// Allocates width x height after checking them; `at` is the offset of the sizes in the file.
gm_status gm__picture_init(gm__picture *p, const char *file, size_t at, uint32_t width,
                           uint32_t height, gm_error *err);
gm_status gm__ppm_decode(const char *file, const uint8_t *bytes, size_t count, gm__picture *out,
                         gm_error *err);
gm_status gm__png_decode(const char *file, const uint8_t *bytes, size_t count, gm__picture *out,
                         gm_error *err);
gm_status gm__jpeg_decode(const char *file, const uint8_t *bytes, size_t count, gm__picture *out,
                          gm_error *err);
// Resizes the rectangle (x, y, width, height) of p to out[size][size][3] (resize.c).
typedef struct gm__rect {
    int x, y, width, height;
} gm__rect;
gm_status gm__picture_resize(const gm__picture *p, gm__rect from, int size, uint8_t *out,
                             gm_error *err);

// --- GTSRB (gtsrb.c). One row of an annotation file.
typedef struct gm__gtsrb_row {
    char file[16]; // NNNNN_MMMMM.ppm or NNNNN.ppm, nothing else
    int track;     // its first number
    int label;
    gm__rect sign; // region of interest; the right and lower bounds are exclusive
} gm__gtsrb_row;
// rows: owned by the caller (gm_free). The file must end its bytes with a NUL that is not counted,
// as gm_file_read does.
gm_status gm__gtsrb_csv_parse(const char *file, const char *text, size_t count,
                              gm__gtsrb_row **rows, int *row_count, gm_error *err);
gm_status gm__gtsrb_load(const char *name, const char *folder, gm_part part, int size,
                         gm_dataset **out, gm_error *err);

// --- A folder of class folders (folder.c)
gm_status gm__folder_load(const char *path, gm_part part, int size, gm_dataset **out,
                          gm_error *err);

// --- Known sets (known.c)
typedef gm_status gm__load(const char *name, const char *folder, gm_part part, int size,
                           gm_dataset **out, gm_error *err);
// Counts the images of a part as its files claim them, without reading them all.
typedef gm_status gm__check(const char *name, const char *folder, gm_part part, int *images,
                            gm_error *err);
gm__check gm__mnist_check, gm__cifar_check, gm__gtsrb_check;
typedef struct gm__known {
    const char *name;
    const char *alias[3]; // folder names under a data folder
    const char *probe[3]; // the set is there when one of these is
    const char *how_to_get;
    int train, test; // as published
    gm__load *load;
    gm__check *check;
} gm__known;
const gm__known *gm__known_find(const char *name); // NULL when unknown
// Looks in dir (or dir/ALIAS), or where dir is NULL in every data folder. False: not there.
bool gm__known_locate(const gm__known *known, const char *dir, char path[512]);

#endif
