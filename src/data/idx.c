// SPDX-License-Identifier: Apache-2.0
// IDX, the format of MNIST and Fashion-MNIST: two zero bytes, a type, the number of dimensions,
// then each size as a big-endian u32, then the values. Plain or gzip.
// http://yann.lecun.com/exdb/mnist/ describes it.
#include "data/readers.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

static const char *const FASHION[] = {"t-shirt", "trouser", "pullover", "dress", "coat",
                                      "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};
static const char *const DIGIT[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

static uint32_t big_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// The header alone; *need: the bytes that the whole file must have.
static gm_status parse_header(const char *file, const uint8_t *bytes, size_t count, int dims,
                              gm__idx *out, size_t *need, gm_error *err) {
    size_t header = 4 + 4 * (size_t)dims;
    if (count < header)
        return gm_fail(err, GM_ERR_FORMAT,
                       "%s: cut at offset %zu; an IDX header has %zu bytes: get the file again",
                       file, count, header);
    if (bytes[0] != 0 || bytes[1] != 0 || bytes[2] != 8 || bytes[3] != dims)
        return gm_fail(
            err, GM_ERR_FORMAT,
            "%s: offset 0: magic %02x%02x%02x%02x, but IDX of bytes in %d dimensions has 0000080%d",
            file, bytes[0], bytes[1], bytes[2], bytes[3], dims, dims);
    *out = (gm__idx){.dims = dims, .offset = header};
    *need = 1;
    for (int i = 0; i < dims; i++) {
        size_t at = 4 + 4 * (size_t)i;
        uint32_t size = big_u32(bytes + at), most = i == 0 ? GM__IMAGES_MAX : GM__IMAGE_SIDE_MAX;
        if (size < 1 || size > most)
            return gm_fail(err, GM_ERR_FORMAT,
                           "%s: offset %zu: size %u of dimension %d is not in 1 to %u", file, at,
                           size, i, most);
        out->size[i] = size;
        if (!gm_mul_size(*need, size, need))
            return gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: sizes overflow", file, at);
    }
    *need += header;
    return GM_OK;
}

static gm_status wrong_size(const char *file, size_t count, size_t need, gm_error *err) {
    return gm_fail(
        err, GM_ERR_FORMAT,
        "%s: offset %zu: file ends here, but its header asks for %zu bytes: get it again", file,
        count, need);
}

gm_status gm__idx_parse(const char *file, const uint8_t *bytes, size_t count, int dims,
                        gm__idx *out, gm_error *err) {
    size_t need = 0;
    gm_status status = parse_header(file, bytes, count, dims, out, &need, err);
    return status != GM_OK || count == need ? status : wrong_size(file, count, need, err);
}

// NAME or NAME.gz in the folder.
static gm_status idx_path(const char *folder, const char *name, char path[512], gm_error *err) {
    gm_status status = gm__path(path, folder, name, err);
    if (status != GM_OK) return status;
    size_t n = strlen(path);
    if (n + 3 < 512 && !gm_path_exists(path)) memcpy(path + n, ".gz", 4);
    return GM_OK;
}

static void part_names(gm_part part, const char **images, const char **labels) {
    *images = part == GM_PART_TRAIN ? "train-images-idx3-ubyte" : "t10k-images-idx3-ubyte";
    *labels = part == GM_PART_TRAIN ? "train-labels-idx1-ubyte" : "t10k-labels-idx1-ubyte";
}

// The bytes of a file once expanded: gzip says so in its last four bytes.
static bool expanded_size(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    uint8_t t[4];
    bool gzip = strcmp(path + strlen(path) - 3, ".gz") == 0;
    bool good = fseek(file, gzip ? -4 : 0, SEEK_END) == 0;
    if (good && gzip) {
        good = fread(t, 1, 4, file) == 4;
        if (good) *bytes = (size_t)t[3] << 24 | (size_t)t[2] << 16 | (size_t)t[1] << 8 | t[0];
    } else if (good) {
        long end = ftell(file);
        good = end >= 0;
        if (good) *bytes = (size_t)end;
    }
    fclose(file);
    return good;
}

// Whether a file has as many bytes as its header asks for.
static gm_status check_idx(const char *folder, const char *name, int dims, int *images,
                           gm_error *err) {
    char path[512];
    uint8_t header[16];
    gm__idx idx = {0};
    size_t bytes = 0, need = 0;
    gm_status status = idx_path(folder, name, path, err);
    if (status != GM_OK) return status;
    gzFile file = gzopen(path, "rb"); // reads plain files too
    if (!file || !expanded_size(path, &bytes)) {
        if (file) gzclose(file);
        return gm_fail(err, GM_ERR_NOT_FOUND, "%s: cannot open it", path);
    }
    int n = gzread(file, header, (unsigned)(4 + 4 * dims));
    gzclose(file);
    status = parse_header(path, header, n > 0 ? (size_t)n : 0, dims, &idx, &need, err);
    if (status != GM_OK) return status;
    *images = (int)idx.size[0];
    return bytes == need ? GM_OK : wrong_size(path, bytes, need, err);
}

gm_status gm__mnist_check(const char *name, const char *folder, gm_part part, int *images,
                          gm_error *err) {
    (void)name;
    const char *images_name, *labels_name;
    int labels = 0;
    part_names(part, &images_name, &labels_name);
    *images = 0;
    gm_status status = check_idx(folder, images_name, 3, images, err);
    if (status == GM_OK) status = check_idx(folder, labels_name, 1, &labels, err);
    if (status == GM_OK && labels != *images)
        status =
            gm_fail(err, GM_ERR_FORMAT, "%s: %d labels for %d images", folder, labels, *images);
    return status;
}

// Reads and checks one file; path gets its name.
static gm_status read_idx(const char *folder, const char *name, int dims, char path[512],
                          uint8_t **bytes, gm__idx *idx, gm_error *err) {
    size_t count;
    gm_status status = idx_path(folder, name, path, err);
    if (status == GM_OK) status = gm_file_read_gz(path, GM__FILE_MAX, bytes, &count, err);
    return status == GM_OK ? gm__idx_parse(path, *bytes, count, dims, idx, err) : status;
}

gm_status gm__mnist_load(const char *name, const char *folder, gm_part part, int size,
                         gm_dataset **out, gm_error *err) {
    (void)size; // as stored; a batch is resized when it is filled
    const char *images_name, *labels_name;
    char path[512];
    uint8_t *pixels = NULL, *labels = NULL;
    gm_dataset *d = NULL;
    gm__idx images = {0}, marks = {0};
    part_names(part, &images_name, &labels_name);
    gm_status status = read_idx(folder, images_name, 3, path, &pixels, &images, err);
    if (status == GM_OK) status = read_idx(folder, labels_name, 1, path, &labels, &marks, err);
    if (status != GM_OK) goto done;
    if (marks.size[0] != images.size[0]) {
        status = gm_fail(err, GM_ERR_FORMAT, "%s: offset 4: %u labels for %u images", path,
                         marks.size[0], images.size[0]);
        goto done;
    }
    // The file's own buffer becomes the pixels, so that the set is never held twice.
    memmove(pixels, pixels + images.offset,
            (size_t)images.size[0] * images.size[1] * images.size[2]);
    status = gm__dataset_adopt(name, images.size[0], (int)images.size[1], (int)images.size[2], 1,
                               10, pixels, &d, err);
    if (status != GM_OK) goto done;
    pixels = NULL;
    for (int i = 0; i < d->images; i++) {
        uint8_t label = labels[marks.offset + (size_t)i];
        if (label >= d->classes) {
            status =
                gm_fail(err, GM_ERR_FORMAT, "%s: offset %zu: label %d, but there are %d classes",
                        path, marks.offset + (size_t)i, label, d->classes);
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
