// SPDX-License-Identifier: Apache-2.0
// Two readers, one written from the description of the format: they give the same image for every file of every kind of
// folder, and both refuse a damaged one.
#include "checkpoint_test.h"
#include "second_decoder.h"

enum { STEPS = 6 };

static void compare(gm_checkpoint_settings s) {
    gm_error err = {0};
    char folder[FOLDER];
    sd_image image[2];
    memset(image, 0, sizeof image);
    fresh_folder("both", folder);
    assert_ok(save_steps(folder, 1, STEPS, &s, &err));
    for (int n = 1; n <= STEPS; n++) {
        char path[PATH_MAX];
        uint8_t *file = NULL, *ours = NULL;
        size_t bytes = 0, our_bytes = 0;
        sd_image *now = &image[n % 2], *before = n > 1 ? &image[1 - n % 2] : NULL;
        snprintf(path, sizeof path, "%s/%08d.gmc", folder, n);
        assert_ok(gm_file_read(path, 1 << 24, &file, &bytes, &err));
        sd_free(now);
        if (!sd_decode(file, bytes, before, now)) fail_msg("the second reader refuses %s", path);
        assert_ok(gm_checkpoint_load(folder, (uint64_t)n, &ours, &our_bytes, NULL, &err));
        assert_int_equal(now->size, our_bytes);
        assert_memory_equal(now->bytes, ours, our_bytes);
        sd_image damaged;
        file[bytes / 2] ^= 1;
        assert_false(sd_decode(file, bytes, before, &damaged));
        gm_free(file);
        gm_free(ours);
    }
    sd_free(&image[0]);
    sd_free(&image[1]);
}

static void lossless_files_read_alike(void **state) {
    (void)state;
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    for (s.full_every = 1; s.full_every <= 4; s.full_every++) compare(s);
}

static void quantized_files_read_alike(void **state) {
    (void)state;
    static const char *const coders[] = {"rans", "paper", "rle", "huffman"};
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    s.mode = GM_CHECKPOINT_QUANTIZED;
    s.full_every = 4;
    for (int i = 0; i < 4; i++) {
        s.optimizer = i % 2 ? GM_CHECKPOINT_DROP : GM_CHECKPOINT_KEEP;
        snprintf(s.coder, sizeof s.coder, "%s", coders[i]);
        compare(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lossless_files_read_alike),
        cmocka_unit_test(quantized_files_read_alike),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_all);
}
