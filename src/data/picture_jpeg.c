// SPDX-License-Identifier: Apache-2.0
// JPEG through libjpeg, from memory. libjpeg leaves by our longjmp: all that must survive it lives
// in one struct.
#include "data/readers.h"

#include <jpeglib.h> // needs stdio.h before it
#include <setjmp.h>
#include <stdio.h>

// Progressive files may ask for any number of passes over the picture; real ones have about ten.
enum { SCANS_MAX = 64 };

typedef struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr handler;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    const char *file;
    size_t count;
    gm__picture picture;
    gm_status status;
    gm_error *err;
} decoder;

static size_t offset(const decoder *d) {
    return d->jpeg.src ? d->count - d->jpeg.src->bytes_in_buffer : 0;
}

static void on_error(j_common_ptr jpeg) {
    decoder *d = jpeg->client_data;
    char message[JMSG_LENGTH_MAX];
    if (d->status == GM_OK) {
        jpeg->err->format_message(jpeg, message);
        // Past the end libjpeg reads from an end marker of its own, so the offset is cut to the
        // file's.
        d->status = gm_fail(d->err, GM_ERR_FORMAT, "%s: offset %zu: %s", d->file,
                            offset(d) <= d->count ? offset(d) : d->count, message);
    }
    longjmp(d->leave, 1);
}

// libjpeg fills what a damaged or cut file lacks with grey and warns; here a damaged file is an
// error.
static void on_message(j_common_ptr jpeg, int level) {
    if (level < 0) on_error(jpeg);
}

static void on_progress(j_common_ptr jpeg) {
    decoder *d = jpeg->client_data;
    if (d->jpeg.input_scan_number > SCANS_MAX) {
        d->status = gm_fail(d->err, GM_ERR_FORMAT, "%s: offset %zu: more than %d scans", d->file,
                            offset(d), SCANS_MAX);
        longjmp(d->leave, 1);
    }
}

static void decode(decoder *d, const uint8_t *bytes) {
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    jpeg_mem_src(jpeg, bytes, d->count);
    jpeg->progress = &d->progress;
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->num_components != 1 && jpeg->num_components != 3)
        d->status =
            gm_fail(d->err, GM_ERR_UNSUPPORTED, "%s: %d colour components: save it as RGB or grey",
                    d->file, jpeg->num_components);
    // A block of 8 x 8 pixels takes at least a bit in each of 1 to 3 components: a larger claim
    // cannot be true.
    else if ((uint64_t)jpeg->image_width * jpeg->image_height / 2048 > d->count)
        d->status = gm_fail(d->err, GM_ERR_FORMAT,
                            "%s: offset %zu: %u x %u pixels are more than %zu bytes can hold",
                            d->file, offset(d), jpeg->image_width, jpeg->image_height, d->count);
    else
        d->status = gm__picture_init(&d->picture, d->file, offset(d), jpeg->image_width,
                                     jpeg->image_height, d->err);
    if (d->status != GM_OK) longjmp(d->leave, 1);
    jpeg->out_color_space = JCS_RGB;
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row =
            d->picture.rgb + (size_t)jpeg->output_scanline * (size_t)d->picture.width * 3;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_decompress(jpeg);
}

// In a function of its own, so that no local of ours lives across the jump.
static void run(decoder *d, const uint8_t *bytes) {
    if (setjmp(d->leave) == 0) {
        jpeg_create_decompress(&d->jpeg);
        decode(d, bytes);
    }
}

gm_status gm__jpeg_decode(const char *file, const uint8_t *bytes, size_t count, gm__picture *out,
                          gm_error *err) {
    *out = (gm__picture){0};
    decoder *d = gm_alloc(1, sizeof *d);
    if (!d) return gm_fail(err, GM_ERR_MEMORY, "%s: out of memory to decode it", file);
    d->file = file;
    d->count = count;
    d->err = err;
    d->jpeg.err = jpeg_std_error(&d->handler);
    d->jpeg.client_data = d;
    d->handler.error_exit = on_error;
    d->handler.emit_message = on_message;
    d->progress.progress_monitor = on_progress;
    run(d, bytes);
    jpeg_destroy_decompress(&d->jpeg);
    if (d->status != GM_OK) gm__picture_fini(&d->picture);
    gm_status status = d->status;
    *out = d->picture;
    gm_free(d);
    return status;
}
