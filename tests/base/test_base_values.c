// SPDX-License-Identifier: Apache-2.0
// Statuses, checked arithmetic, element types, bf16, hashes.
#include "base_test.h"
#include <math.h>

static void status_numbers_are_pinned(void **state) {
    (void)state;
    assert_int_equal(GM_OK, 0);
    assert_int_equal(GM_ERR_ARGUMENT, 1);
    assert_int_equal(GM_ERR_FORMAT, 4);
    assert_int_equal(GM_ERR_INTERRUPTED, 10);
    assert_string_equal(gm_status_name(GM_ERR_IO), "GM_ERR_IO");
    assert_string_equal(gm_status_text(GM_ERR_MEMORY), "out of memory");
    assert_string_equal(gm_status_name((gm_status)999), "GM_ERR_UNKNOWN");
}

static void an_error_can_wrap_its_own_text(void **state) {
    (void)state;
    gm_error err;
    assert_int_equal(gm_fail(&err, GM_ERR_RANGE, "value %d", 7), GM_ERR_RANGE);
    assert_int_equal(gm_fail(&err, err.status, "recipe.yaml:3: %s", err.text), GM_ERR_RANGE);
    assert_string_equal(err.text, "recipe.yaml:3: value 7");
    assert_int_equal(gm_fail(NULL, GM_ERR_IO, "nobody listens"), GM_ERR_IO);
}

static void a_long_error_ends_in_dots(void **state) {
    (void)state;
    gm_error err;
    gm_fail(&err, GM_ERR_IO, "%0300d", 1);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_string_equal(err.text + sizeof err.text - 4, "...");
    gm_fail(&err, GM_ERR_IO, "%0255d", 1); // just fits
    assert_int_equal(err.text[254], '1');
}

static void overflow_is_noticed(void **state) {
    (void)state;
    size_t r;
    assert_true(gm_mul_size(SIZE_MAX, 1, &r) && r == SIZE_MAX);
    assert_true(gm_mul_size(0, SIZE_MAX, &r) && r == 0);
    assert_true(gm_mul_size(SIZE_MAX, 0, &r) && r == 0);
    assert_false(gm_mul_size(SIZE_MAX / 2 + 1, 2, &r));
    assert_false(gm_mul_size((size_t)1 << 33, (size_t)1 << 33, &r));
    assert_true(gm_add_size(SIZE_MAX - 1, 1, &r) && r == SIZE_MAX);
    assert_false(gm_add_size(SIZE_MAX, 1, &r));
}

static void element_types_have_sizes_and_names(void **state) {
    (void)state;
    const size_t sizes[] = {4, 2, 1, 1, 4, 8};
    const char *names[] = {"f32", "bf16", "i8", "u8", "i32", "i64"};
    for (int t = GM_F32; t <= GM_I64; t++) {
        assert_int_equal(gm_dtype_size((gm_dtype)t), sizes[t]);
        assert_string_equal(gm_dtype_name((gm_dtype)t), names[t]);
    }
}

static float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static void every_bf16_survives_a_round_trip(void **state) {
    (void)state;
    for (uint32_t v = 0; v <= 0xffff; v++) {
        float wide = gm_bf16_to_f32((gm_bf16)v);
        gm_bf16 back = gm_bf16_from_f32(wide);
        if (isnan(wide)) {
            assert_true(isnan(gm_bf16_to_f32(back)));
        } else {
            assert_int_equal(back, v);
        }
    }
}

static void bf16_rounds_to_nearest_even(void **state) {
    (void)state;
    assert_int_equal(gm_bf16_from_f32(from_bits(0x3f808000)), 0x3f80); // tie, down to even
    assert_int_equal(gm_bf16_from_f32(from_bits(0x3f818000)), 0x3f82); // tie, up to even
    assert_int_equal(gm_bf16_from_f32(from_bits(0x3f808001)), 0x3f81);
    assert_int_equal(gm_bf16_from_f32(from_bits(0x3f80ffff)), 0x3f81);
    assert_int_equal(gm_bf16_from_f32(from_bits(0x7f7fffff)), 0x7f80); // beyond the largest: infinity
    assert_int_equal(gm_bf16_from_f32(from_bits(0x7f800000)), 0x7f80);
    assert_int_equal(gm_bf16_from_f32(-0.0f), 0x8000);
    // A NaN whose payload is all in the lost half must not become infinity.
    assert_true(isnan(gm_bf16_to_f32(gm_bf16_from_f32(from_bits(0x7f800001)))));
    assert_true(isnan(gm_bf16_to_f32(gm_bf16_from_f32(from_bits(0xffffffff)))));
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < 200000; i++) {
        float f = from_bits(gm_rng_u32(&rng));
        gm_bf16 b = gm_bf16_from_f32(f);
        if (!isfinite(f) || !isfinite(gm_bf16_to_f32(b))) continue;
        double error = fabs((double)gm_bf16_to_f32(b) - (double)f);
        assert_true(error <= fabs((double)gm_bf16_to_f32((gm_bf16)(b + 1)) - (double)f));
        if (b & 0x7fff) assert_true(error <= fabs((double)gm_bf16_to_f32((gm_bf16)(b - 1)) - (double)f));
    }
}

static void hashes_match_published_values(void **state) {
    (void)state;
    assert_true(gm_hash64("", 0, 0) == 0xef46db3751d8e999u); // xxHash specification, XXH64
    assert_true(gm_hash64("abc", 3, 0) == 0x44bc2cf5ad770999u);
    assert_true(gm_hash64("abc", 3, 1) != gm_hash64("abc", 3, 0));
}

static void small_arithmetic(void **state) {
    (void)state;
    assert_int_equal(gm_round_up(0, 16), 0);
    assert_int_equal(gm_round_up(1, 16), 16);
    assert_int_equal(gm_round_up(16, 16), 16);
    assert_int_equal(gm_min(-1, 2), -1);
    assert_int_equal(gm_max(-1, 2), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_numbers_are_pinned),
        cmocka_unit_test(an_error_can_wrap_its_own_text),
        cmocka_unit_test(a_long_error_ends_in_dots),
        cmocka_unit_test(overflow_is_noticed),
        cmocka_unit_test(element_types_have_sizes_and_names),
        cmocka_unit_test(every_bf16_survives_a_round_trip),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(hashes_match_published_values),
        cmocka_unit_test(small_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
