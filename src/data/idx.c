// SPDX-License-Identifier: Apache-2.0
// IDX, the format of MNIST and Fashion-MNIST: two zero bytes, a type, the number of dimensions, then each
// size as a big-endian u32, then the values. Plain or gzip. http://yann.lecun.com/exdb/mnist/ describes it.
#include "data/readers.h"

#include <string.h>

static const char *const FASHION[] = {"t-shirt", "trouser", "pullover", "dress",   "coat",
                                      "sandal",  "shirt",   "sneaker",  "bag",     "ankle boot"};
static const char *const DIGIT[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

static uint32_t big_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

gm_status gm__idx_parse(const char *file, const uint8_t *bytes, size_t count, int dims, gm__idx *out, gm_error *err) {
    size_t header = 4 + 4 * (size_t)dims;
    if (count < header)
        return gm_fail(err, GM_ERR_FORMAT, "%s: cut at offset %zu; an IDX header has %zu bytes: get the file again", file,
                       count, header);
    if (bytes[0] != 0 || bytes[1] != 0 || bytes[2] != 8 || bytes[3] != dims)
        return gm_fail(err, GM_ERR_FORMAT,
                       "%s: offset 0: magic %02x%02x%02x%02x, but IDX of bytes in %d dimensions has 0000080%d", file,
                       bytes[0], bytes[1], bytes[2], bytes[3], dims, dims);
    *out = (gm__idx){.dims = dims, .offset = header};
    size_t need = 1;
    for (int i = 0; i < dims; i++) {
        size_t at = 4 + 4 * (size_t)i;
        uint32_t size = big_u32(bytes + at), most = i == 0 ? GM__IMAGES_MAX : GM__IMAGE_SIDE_MAX;
        if (size < 1 || size > most)
            return gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: size %u of dimension %d is not in 1 to %u", file, at, size,
                           i, most);
        out->size[i] = size;
        if (!gm_mul_size(need, size, &need))
            return gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: sizes overflow", file, at);
    }
    if (count - header != need)
        return gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: file ends here, but its header asks for %zu bytes: get it again",
                       file, count, header + need);
    return GM_OK;
}

// Reads NAME.gz or NAME from the folder; path gets what was read.
static gm_status read_idx(const char *folder, const char *name, char path[512], uint8_t **bytes, size_t *count,
                          gm_error *err) {
    gm_status status = gm__path(path, folder, name, err);
    if (status != GM_OK) return status;
    size_t n = strlen(path);
    if (n + 3 < 512 && !gm_path_exists(path)) memcpy(path + n, ".gz", 4);
    return gm_file_read_gz(path, GM__FILE_MAX, bytes, count, err);
}

gm_status gm__mnist_load(const char *name, const char *folder, gm_part part, int size, gm_dataset **out,
                         gm_error *err) {
    (void)size; // as stored; a batch is resized when it is filled
    const char *images_name = part == GM_PART_TRAIN ? "train-images-idx3-ubyte" : "t10k-images-idx3-ubyte";
    const char *labels_name = part == GM_PART_TRAIN ? "train-labels-idx1-ubyte" : "t10k-labels-idx1-ubyte";
    char path[512];
    uint8_t *pixels = NULL, *labels = NULL;
    gm_dataset *d = NULL;
    size_t pixel_bytes, label_bytes;
    gm__idx images = {0}, marks = {0};
    gm_status status = read_idx(folder, images_name, path, &pixels, &pixel_bytes, err);
    if (status != GM_OK) goto done;
    status = gm__idx_parse(path, pixels, pixel_bytes, 3, &images, err);
    if (status != GM_OK) goto done;
    status = read_idx(folder, labels_name, path, &labels, &label_bytes, err);
    if (status != GM_OK) goto done;
    status = gm__idx_parse(path, labels, label_bytes, 1, &marks, err);
    if (status != GM_OK) goto done;
    if (marks.size[0] != images.size[0]) {
        status = gm_fail(err, GM_ERR_FORMAT, "%s: offset 4: %u labels for %u images", path, marks.size[0], images.size[0]);
        goto done;
    }
    // The file's own buffer becomes the pixels, so that the set is never held twice.
    status = gm__dataset_new(name, images.size[0], (int)images.size[1], (int)images.size[2], 1, 10, false, &d, err);
    if (status != GM_OK) goto done;
    gm_free(d->pixels);
    memmove(pixels, pixels + images.offset, pixel_bytes - images.offset);
    d->pixels = pixels;
    pixels = NULL;
    for (int i = 0; i < d->images; i++) {
        uint8_t label = labels[marks.offset + (size_t)i];
        if (label >= d->classes) {
            status = gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: label %d, but there are %d classes", path,
                             marks.offset + (size_t)i, label, d->classes);
            goto done;
        }
        d->labels[i] = label;
    }
    status = gm__dataset_name_classes(d, strcmp(name, "mnist") == 0 ? DIGIT : FASHION, err);
done:
    gm_free(pixels);
    gm_free(labels);
    if (status != GM_OK) {
        gm_dataset_destroy(d);
        d = NULL;
    }
    *out = d;
    return status;
}
