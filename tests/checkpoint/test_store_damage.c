// SPDX-License-Identifier: Apache-2.0
// Damaged files: every truncation, every bit of a small file, and random bits of larger ones (GAMUT_FLIPS of them, default
// 1,000): never a wrong restore.
#include "checkpoint_test.h"

#include "checkpoint/store.h"

#ifdef GAMUT_SANITIZED
enum { FLIPS = 200, BIT_STEP = 61, CUT_STEP = 17 };
#else
enum { FLIPS = 1000, BIT_STEP = 5, CUT_STEP = 1 };
#endif

typedef struct subject { // a file and what it is a difference to
    uint8_t *data;
    size_t bytes;
    gm__decoded parent;
    blob truth;
} subject;

// Decodes from memory; false: refused.
static bool decode(const subject *s, const uint8_t *data, size_t bytes, uint8_t **image, size_t *image_bytes) {
    gm_error err = {0};
    gm__directory d;
    gm__quant_state *state = NULL;
    *image = NULL;
    gm__source source = gm__source_memory(data, bytes, "damaged");
    if (gm__directory_read(&source, &d, &err) != GM_OK) return false;
    gm_status status =
        d.info.parent != s->parent.info.number || d.info.parent_identity != s->parent.info.identity
            ? GM_ERR_FORMAT
            : gm__container_decode(&source, &d, s->parent.image, s->parent.bytes, s->parent.state, image, image_bytes,
                                   &state, &err);
    if (status != GM_OK) assert_true(*image == NULL);
    gm__quant_state_destroy(state);
    gm__directory_fini(&d);
    return status == GM_OK;
}

// Whatever was done to the file: refused, or the truth.
static bool check(const subject *s, const uint8_t *data, size_t bytes) {
    uint8_t *image = NULL;
    size_t image_bytes = 0;
    size_t live = gm_alloc_live();
    bool read = decode(s, data, bytes, &image, &image_bytes);
    if (read && !same_blob(s->truth, image, image_bytes)) fail_msg("a damaged file was restored as something else");
    gm_free(image);
    assert_int_equal(gm_alloc_live(), live);
    return read;
}

static subject make_subject(const char *name, gm_checkpoint_mode mode, int number) {
    gm_error err = {0};
    char folder[FOLDER], path[PATH_MAX];
    gm_checkpoint_settings s = gm_checkpoint_settings_default();
    subject x = {0};
    s.mode = mode;
    s.optimizer = GM_CHECKPOINT_ROUND;
    fresh_folder(name, folder);
    assert_ok(save_steps(folder, 1, number, &s, &err));
    snprintf(path, sizeof path, "%s/%08d.gmc", folder, number);
    assert_ok(gm_file_read(path, 1 << 24, &x.data, &x.bytes, &err));
    if (number > 1) assert_ok(gm__store_load(folder, (uint64_t)number - 1, &x.parent, &err));
    assert_true(decode(&x, x.data, x.bytes, &x.truth.data, &x.truth.bytes));
    return x;
}

static void free_subject(subject *s) {
    gm_free(s->data);
    gm_free(s->truth.data);
    gm__decoded_fini(&s->parent);
}

static subject subjects[4];
enum { SUBJECTS = 4 };

static int make_all(void **state) {
    if (make_folder(state) != 0) return -1;
    subjects[0] = make_subject("full", GM_CHECKPOINT_LOSSLESS, 1);
    subjects[1] = make_subject("delta", GM_CHECKPOINT_LOSSLESS, 2);
    subjects[2] = make_subject("quantized", GM_CHECKPOINT_QUANTIZED, 1);
    subjects[3] = make_subject("quantized-delta", GM_CHECKPOINT_QUANTIZED, 2);
    return 0;
}

static int free_all(void **state) {
    for (int i = 0; i < SUBJECTS; i++) free_subject(&subjects[i]);
    return remove_all(state);
}

static void no_truncated_file_is_read(void **state) {
    (void)state;
    for (int i = 0; i < SUBJECTS; i++)
        for (size_t cut = 0; cut < subjects[i].bytes; cut += CUT_STEP) {
            uint8_t *exact = malloc(cut + 1); // so that sanitizers see a byte read behind
            memcpy(exact, subjects[i].data, cut);
            assert_false(check(&subjects[i], exact, cut));
            free(exact);
        }
}

static void no_flipped_bit_passes(void **state) {
    (void)state;
    for (int i = 0; i < SUBJECTS; i++) {
        subject *s = &subjects[i];
        for (size_t bit = 0; bit < s->bytes * 8; bit += BIT_STEP) { // all of the format's bytes are under a checksum
            s->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_false(check(s, s->data, s->bytes));
            s->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_true(check(s, s->data, s->bytes));
    }
}

static void no_random_damage_is_restored(void **state) {
    (void)state;
    const char *wanted = getenv("GAMUT_FLIPS");
    long flips = wanted ? atol(wanted) : FLIPS;
    gm_rng rng = gm_rng_keyed(3, 0, 0, GM_RNG_TEST);
    for (long n = 0; n < flips; n++) {
        subject *s = &subjects[n % SUBJECTS];
        uint8_t *copy = malloc(s->bytes);
        memcpy(copy, s->data, s->bytes);
        uint32_t changes = 1 + gm_rng_below(&rng, 8);
        for (uint32_t c = 0; c < changes; c++) {
            uint32_t at = gm_rng_below(&rng, (uint32_t)s->bytes), length = 1 + gm_rng_below(&rng, 600);
            switch (gm_rng_below(&rng, 4)) {
            case 0: copy[at] ^= (uint8_t)(1u << gm_rng_below(&rng, 8)); break;
            case 1: copy[at] = (uint8_t)gm_rng_u32(&rng); break;
            case 2: // a block that was never written
                for (uint32_t i = at; i < s->bytes && i < at + length; i++) copy[i] = 0;
                break;
            default: // a piece of the file elsewhere
                for (uint32_t i = at; i < s->bytes && i < at + length; i++) copy[i] = s->data[(i * 7u) % s->bytes];
                break;
            }
        }
        check(s, copy, s->bytes);
        free(copy);
    }
    print_message("%ld damaged files\n", flips);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_truncated_file_is_read),
        cmocka_unit_test(no_flipped_bit_passes),
        cmocka_unit_test(no_random_damage_is_restored),
    };
    return cmocka_run_group_tests(tests, make_all, free_all);
}
