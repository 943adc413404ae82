// SPDX-License-Identifier: Apache-2.0
// The optimizer's state, rounded and coded.
#include "quant_test.h"

enum { N = 300000 }; // more than a piece

typedef struct moments {
    gm__quant_shape shape[4];
    float *value[4], *back[4];
} moments;

static void moments_make(moments *m) {
    static const size_t count[4] = {N, 700, 0, 1000};
    for (int i = 0; i < 4; i++) {
        gm_rng rng = gm_rng_keyed(8, (uint64_t)i, 0, GM_RNG_TEST);
        m->shape[i] = (gm__quant_shape){i == 1 ? "v" : "m", GM__QUANT_LINEAR, count[i]};
        m->value[i] = malloc((count[i] + 1) * sizeof(float));
        m->back[i] = malloc((count[i] + 1) * sizeof(float));
        for (size_t j = 0; j < count[i]; j++) {
            float v = gm_rng_normal(&rng);
            m->value[i][j] = i == 1 ? v * v * v * v * 1e-6f : i == 3 ? 0 : v * 1e-3f;
        }
    }
    m->value[0][5] = -0.0f;
    m->value[0][6] = 1e-42f;
}

static void moments_free(moments *m) {
    for (int i = 0; i < 4; i++) {
        free(m->value[i]);
        free(m->back[i]);
    }
}

static gm_status encode(moments *m, const gm__moment_settings *s, uint8_t **blob, size_t *bytes, gm_error *err) {
    return gm__moment_encode(m->shape, (const float *const *)m->value, 4, s, blob, bytes, err);
}

static void values_come_back_within_the_rounding(void **unused) {
    (void)unused;
    moments m;
    moments_make(&m);
    for (int mantissa = 0; mantissa <= 7; mantissa++) {
        gm__moment_settings s = gm__moment_settings_default();
        uint8_t *blob = NULL;
        size_t bytes = 0;
        gm_error err = {0};
        s.mantissa = mantissa;
        s.octaves = 20;
        s.clamp = mantissa % 2;
        assert_int_equal(encode(&m, &s, &blob, &bytes, &err), GM_OK);
        if (gm__moment_decode(blob, bytes, "test", m.shape, 4, true, m.back, &err) != GM_OK) fail_msg("%s", err.text);
        for (int i = 0; i < 4; i++) {
            float largest = 0;
            for (size_t j = 0; j < m.shape[i].count; j++) largest = fmaxf(largest, fabsf(m.value[i][j]));
            for (size_t j = 0; j < m.shape[i].count; j++) {
                float v = m.value[i][j], b = m.back[i][j];
                if (fabsf(v) < largest * 0x1p-18f) {
                    if (s.clamp && v != 0) assert_true(b != 0 && (b > 0) == (v > 0) && fabsf(b) < largest * 0x1p-17f);
                } else {
                    assert_true(fabsf(b - v) <= fabsf(v) * ldexpf(1, -mantissa - 1) * 1.0001f);
                }
            }
        }
        assert_true((double)bytes / (4.0 * (N + 1700)) < (mantissa + 4.5) / 32);
        gm_free(blob);
    }
    moments_free(&m);
}

static void damage_and_other_shapes_are_refused(void **unused) {
    (void)unused;
    moments m;
    gm__moment_settings s = gm__moment_settings_default();
    uint8_t *blob = NULL;
    size_t bytes = 0;
    gm_error err = {0};
    moments_make(&m);
    m.shape[0].count = 3000;
    assert_int_equal(encode(&m, &s, &blob, &bytes, &err), GM_OK);
    uint8_t *work = malloc(bytes);
    gm_rng rng = gm_rng_keyed(9, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < 400; i++) {
        memcpy(work, blob, bytes);
        size_t at = i < 120 ? (size_t)i : gm_rng_below(&rng, (uint32_t)bytes), cut = bytes;
        work[at] ^= (uint8_t)(1u << gm_rng_below(&rng, 8));
        assert_int_not_equal(gm__moment_decode(work, bytes, "test", m.shape, 4, false, m.back, &err), GM_OK);
        if (i % 3 == 0) cut = 8 + gm_rng_below(&rng, (uint32_t)bytes - 8);
        uint64_t h = gm_hash64(work, cut - 8, 0); // a forged checksum: refused or read, no more
        for (int b = 0; b < 8; b++) work[cut - 8 + (size_t)b] = (uint8_t)(h >> (8 * b));
        (void)gm__moment_decode(work, cut, "test", m.shape, 4, false, m.back, &err);
    }
    m.shape[1].count = 699;
    assert_int_equal(gm__moment_decode(blob, bytes, "test", m.shape, 4, false, m.back, &err), GM_ERR_FORMAT);
    m.shape[1].count = 700;
    m.value[1][3] = INFINITY;
    gm_free(blob);
    assert_int_equal(encode(&m, &s, &blob, &bytes, &err), GM_ERR_NUMERIC);
    free(work);
    moments_free(&m);
}

static void memory_may_run_out_anywhere(void **unused) {
    (void)unused;
    moments m;
    gm__moment_settings s = gm__moment_settings_default();
    uint8_t *blob = NULL;
    size_t bytes = 0;
    moments_make(&m);
    m.shape[0].count = 1000;
    size_t live = gm_alloc_live();
    for (long n = 1;; n++) {
        gm_alloc_fail_at(n);
        gm_status status = encode(&m, &s, &blob, &bytes, NULL);
        gm_alloc_fail_at(0);
        if (status == GM_OK) break;
        assert_int_equal(status, GM_ERR_MEMORY);
        assert_int_equal(gm_alloc_live(), live);
    }
    live = gm_alloc_live();
    for (long n = 1;; n++) {
        gm_alloc_fail_at(n);
        gm_status status = gm__moment_decode(blob, bytes, "test", m.shape, 4, false, m.back, NULL);
        gm_alloc_fail_at(0);
        if (status == GM_OK) break;
        assert_int_equal(status, GM_ERR_MEMORY);
        assert_int_equal(gm_alloc_live(), live);
    }
    gm_free(blob);
    moments_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_within_the_rounding),
        cmocka_unit_test(damage_and_other_shapes_are_refused),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
