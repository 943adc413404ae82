// SPDX-License-Identifier: Apache-2.0
// PNG through libpng, from memory. libpng leaves by longjmp: all that must survive it lives in one
// struct outside.
#include "data/readers.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

typedef struct decoder {
    const char *file;
    const uint8_t *bytes;
    size_t count, at;
    gm__picture picture;
    gm_status status;
    gm_error *err;
} decoder;

static void on_error(png_structp png, png_const_charp message) {
    decoder *d = png_get_error_ptr(png);
    if (d->status == GM_OK)
        d->status = gm_fail(d->err, GM_ERR_FORMAT, "%s: offset %zu: %s", d->file, d->at, message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png; // such as an unknown colour profile: the pixels are still good
    (void)message;
}

static void on_read(png_structp png, png_bytep to, size_t count) {
    decoder *d = png_get_io_ptr(png);
    if (count > d->count - d->at) png_error(png, "cut: the file ends inside the picture");
    memcpy(to, d->bytes + d->at, count);
    d->at += count;
}

static void decode(decoder *d, png_structp png, png_infop info) {
    png_set_read_fn(png, d, on_read);
    png_set_user_limits(png, GM__DECODE_SIDE_MAX, GM__DECODE_SIDE_MAX);
    png_set_chunk_malloc_max(png, 8u << 20);
    png_set_chunk_cache_max(png, 64);
    png_read_info(png, info);
    png_uint_32 width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    // deflate expands at most 1032 times: a larger claim cannot be true and is not given memory.
    if ((uint64_t)png_get_rowbytes(png, info) * height / 1032 > d->count)
        png_error(png, "more pixels than the file can hold");
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    if (png_get_rowbytes(png, info) != (size_t)width * 3)
        png_error(png, "unsupported kind of pixels");
    d->status = gm__picture_init(&d->picture, d->file, 16, width, height, d->err);
    if (d->status != GM_OK) png_error(png, "size");
    for (int pass = 0; pass < passes; pass++)
        for (png_uint_32 y = 0; y < height; y++)
            png_read_row(png, d->picture.rgb + (size_t)y * width * 3, NULL);
    png_read_end(png, NULL);
}

// In a function of its own, so that no local of ours lives across the jump.
static void run(decoder *d, png_structp png, png_infop info) {
    if (setjmp(png_jmpbuf(png)) == 0) decode(d, png, info);
}

gm_status gm__png_decode(const char *file, const uint8_t *bytes, size_t count, gm__picture *out,
                         gm_error *err) {
    decoder d = {.file = file, .bytes = bytes, .count = count, .status = GM_OK, .err = err};
    *out = (gm__picture){0};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &d, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info)
        d.status = gm_fail(err, GM_ERR_MEMORY, "%s: out of memory to decode it", file);
    else
        run(&d, png, info);
    png_destroy_read_struct(&png, &info, NULL);
    if (d.status != GM_OK) gm__picture_fini(&d.picture);
    *out = d.picture;
    return d.status;
}
