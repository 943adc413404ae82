// SPDX-License-Identifier: Apache-2.0
// data: image data sets in memory (8-bit, held once), splits, augmentation, and a background batch loader.
#ifndef GAMUT_DATA_H
#define GAMUT_DATA_H

#include <gamut/base.h>

typedef struct gm_dataset {
    char name[32];       // "fashion-mnist", "cifar10", "cifar100", "gtsrb", "folder"
    int images, height, width, channels, classes;
    uint8_t *pixels;     // [images][height][width][channels], owned
    int32_t *labels;     // [images], owned
    int32_t *group;      // [images] or NULL: images of one group (a GTSRB track) never straddle a split; owned
    char **class_names;  // [classes] or NULL; owned
} gm_dataset;
typedef enum gm_part { GM_PART_TRAIN, GM_PART_TEST } gm_part; // as published

// Known names: fashion-mnist, mnist, cifar10, cifar100, gtsrb; or "folder:PATH" (PATH/train/CLASS/*.png|jpg and PATH/test/CLASS/..., or
// PATH/CLASS/... with a seeded 20 % held out as test). dir: NULL = look in gm_data_folders. size: images of folder and
// GTSRB are resized to size x size (0: 32). Errors name file and offset.
GM_API gm_status gm_dataset_load(const char *name, const char *dir, gm_part part, int size, gm_dataset **out, gm_error *err);
GM_API void gm_dataset_destroy(gm_dataset *d);
// Where a set was looked for and whether it is whole, for `gamut data`.
typedef struct gm_dataset_status {
    const char *name, *how_to_get;
    bool found;
    char path[512], problem[256];
    int train, test;
} gm_dataset_status;
GM_API int gm_dataset_known(gm_dataset_status *list, int max); // returns the count; checks presence and sizes

// One picture file (PNG, JPEG or PPM, by its first bytes) as `channels` (1: grey, 3: RGB) values a pixel. GM_ERR_ARGUMENT when it
// is not side x side pixels, unless `resize`: then its centre square is scaled. pixels: side*side*channels bytes.
GM_API gm_status gm_picture_read(const char *path, int side, int channels, bool resize, uint8_t *pixels, gm_error *err);

// Train / validation: a seeded random subset of `held_out` images (whole groups). Indices owned by the caller (gm_free).
GM_API gm_status gm_dataset_split(const gm_dataset *d, int held_out, uint64_t seed, int32_t **train, int *train_count,
                                  int32_t **val, int *val_count, gm_error *err);
// Per-channel mean and standard deviation of pixels/255 over the given images.
GM_API void gm_dataset_moments(const gm_dataset *d, const int32_t *index, int count, float *mean, float *std);

typedef enum gm_pad_mode { GM_PAD_ZERO, GM_PAD_REFLECT } gm_pad_mode;
typedef struct gm_augment {
    int crop_pad;        // random crop after padding by this many pixels; 0: none
    gm_pad_mode pad_mode;
    int flip;            // 0 none, 1 random, 2 alternating every epoch (8.3 item 6 of specs: training)
    int cutout;          // side of the zeroed square in stored pixels; 0: none
    float mixup;         // Beta(a,a) parameter; 0: none (one lambda a batch; partner = the batch reversed)
    int resolution;      // output size; 0: as stored (bilinear resize otherwise)
    float mean[4], std[4]; // of pixels/255, per channel; a std of 0 counts as 1
} gm_augment;
GM_API gm_augment gm_augment_default(void); // nothing: pixels/255 as stored

// One batch as the network reads it. Rows of channel stride ld, tail zero.
typedef struct gm_batch {
    int images, height, width, channels, ld;
    gm_dtype type;    // F32 or BF16
    void *x;          // [images*height*width][ld]
    int *label, *label2; // [images]; label2 and lam are NULL without mixup
    float *lam;
    int epoch, step;
} gm_batch;
// Fills b with images index[order[i]], i < images: `order` points at the batch's first entry of the epoch's order.
// order NULL: i itself; index NULL: all images of d. A pure function of its arguments: image k draws from a stream named
// by (seed, epoch, k), mixup's lambda from (seed, epoch, step). Padding and cutout are 0 after normalisation. b must come
// from gm_batch_init with d's channels and at least this size; nothing but the active channels is written.
GM_API void gm_batch_fill(const gm_dataset *d, const int32_t *index, const int32_t *order, int images, const gm_augment *a,
                          uint64_t seed, int epoch, int step, gm_batch *b);
GM_API gm_status gm_batch_init(gm_batch *b, int max_images, int max_size, int channels, gm_dtype type, gm_error *err);
GM_API void gm_batch_fini(gm_batch *b);
// order[count]: a permutation keyed by (seed, epoch)
GM_API void gm_shuffle(int32_t *order, int count, uint64_t seed, int epoch);

// Background loader: batches of epochs from (epoch, step) on, each epoch shuffled, last short batch dropped.
// d and index must outlive the loader; a is copied. Starting at (epoch, step) gives the same batches as getting
// there (step may pass the end of its epoch).
typedef struct gm_loader gm_loader;
GM_API gm_status gm_loader_create(const gm_dataset *d, const int32_t *index, int count, int batch, const gm_augment *a,
                                  gm_dtype type, uint64_t seed, int epoch, int step, gm_loader **out, gm_error *err);
// The next batch in order; valid until the next call. Never fails.
GM_API const gm_batch *gm_loader_next(gm_loader *l);
// Resolution of each batch as a pure function of its step, called from the loader's thread; results are cut to the larger
// of the stored size and the augmentation's resolution, 0 means as stored.
GM_API void gm_loader_set_resolution(gm_loader *l, int (*fn)(void *ctx, int epoch, int step), void *ctx); // before first next
GM_API void gm_loader_destroy(gm_loader *l);

#endif
