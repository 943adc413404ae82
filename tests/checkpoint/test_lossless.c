// SPDX-License-Identifier: Apache-2.0
// Blocks: what is stored is what comes back, for every width, transform and bit pattern; golden values of the transforms.
#include "checkpoint_test.h"

#include "checkpoint/lossless.h"

#include <xxhash.h>

enum { MOST = 5000 };

static gm__lossless *coder;

static int make_coder(void **state) {
    (void)state;
    return gm__lossless_create(1, &coder, NULL) == GM_OK ? 0 : -1;
}

static int free_coder(void **state) {
    (void)state;
    gm__lossless_destroy(coder);
    return 0;
}

static gm__block round_trip(const void *data, const void *parent, uint32_t elements, uint32_t width, bool real) {
    static uint8_t copy[MOST * 8 + 4096], out[MOST * 8];
    gm__block b;
    const uint8_t *stored;
    size_t bytes;
    gm_error err = {0};
    assert_ok(gm__block_encode(coder, data, parent, elements, width, real, &b, &stored, &bytes, &err));
    assert_true(bytes <= (size_t)elements * width);
    assert_true(b.hash == XXH3_64bits(stored, bytes));
    memcpy(copy, stored, bytes);
    memset(out, 0xaa, sizeof out);
    assert_ok(gm__block_decode(coder, &b, copy, parent, width, out, &err));
    assert_memory_equal(out, data, (size_t)elements * width);
    return b;
}

static void random_bits_come_back(void **state) {
    (void)state;
    static uint8_t data[MOST * 8], parent[MOST * 8];
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_TEST);
    static const uint32_t widths[] = {1, 2, 4, 8};
    for (int round = 0; round < 200; round++) {
        uint32_t width = widths[gm_rng_below(&rng, 4)], n = 1 + gm_rng_below(&rng, round % 4 ? 200 : MOST - 1);
        uint32_t kind = gm_rng_below(&rng, 3);
        for (size_t i = 0; i < (size_t)n * width; i++) {
            parent[i] = (uint8_t)gm_rng_u32(&rng);
            data[i] = kind == 0 ? (uint8_t)gm_rng_u32(&rng) : kind == 1 ? parent[i] : (uint8_t)(parent[i] ^ (i % 97 == 0));
        }
        round_trip(data, gm_rng_below(&rng, 2) ? parent : NULL, n, width, gm_rng_below(&rng, 2));
    }
}

static void every_kind_of_float_comes_back(void **state) {
    (void)state;
    static const uint32_t odd[] = {0, 0x80000000u, 1, 0x80000001u, 0x7f800000u, 0xff800000u, 0x7f800001u, 0x7fffffffu,
                                   0xffffffffu, 0x7fc00000u, 0x007fffffu, 0x00800000u, 0x3f800000u, 0x7f7fffffu};
    enum { N = sizeof odd / sizeof odd[0] };
    uint32_t data[N * N], parent[N * N];
    uint16_t data16[N * N], parent16[N * N];
    for (int i = 0; i < N * N; i++) {
        data[i] = odd[i % N];
        parent[i] = odd[i / N];
        data16[i] = (uint16_t)(data[i] >> 16);
        parent16[i] = (uint16_t)(parent[i] >> 16);
    }
    for (uint32_t n = 1; n <= N * N; n += 13) {
        round_trip(data, parent, n, 4, true);
        round_trip(data, NULL, n, 4, true);
        round_trip(data16, parent16, n, 2, true);
    }
    for (int t = 0; t < GM__TRANSFORMS; t++) { // whatever the encoder would have chosen
        uint8_t planes[sizeof data];
        uint32_t out[N * N];
        gm__planes_split((gm__transform)t, data, parent, N * N, 4, planes);
        gm__planes_merge((gm__transform)t, planes, parent, N * N, 4, out);
        assert_memory_equal(out, data, sizeof data);
    }
    for (uint32_t v = 0; v < 65536; v++) { // all of bf16
        uint16_t a = (uint16_t)v, p = (uint16_t)(v * 40503u >> 3), out = 0;
        uint8_t planes[2];
        for (int t = 0; t < GM__TRANSFORMS; t++) {
            gm__planes_split((gm__transform)t, &a, &p, 1, 2, planes);
            gm__planes_merge((gm__transform)t, planes, &p, 1, 2, &out);
            assert_int_equal(out, a);
        }
    }
}

// 9.3 of the specification.
static void differences_have_their_golden_values(void **state) {
    (void)state;
    static const struct {
        uint32_t now, before, code;
    } golden[] = {{0x3f800000u, 0x3f800000u, 0}, {0x3f800001u, 0x3f800000u, 2}, {0x3f800000u, 0x3f800001u, 1},
                  {0, 0x80000000u, 2}, {0xbf800000u, 0x3f800000u, 4261412865u}};
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        uint8_t p[4];
        gm__planes_split(GM__TRANSFORM_DIFFERENCE, &golden[i].now, &golden[i].before, 1, 4, p);
        assert_int_equal((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24, golden[i].code);
    }
}

static void planes_are_stored_as_what_they_are(void **state) {
    (void)state;
    static float data[MOST], near[MOST];
    gm_rng rng = gm_rng_keyed(2, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < MOST; i++) {
        data[i] = gm_rng_normal(&rng);
        near[i] = data[i] * (1 + 1e-6f * gm_rng_normal(&rng));
    }
    gm__block b = round_trip(data, NULL, MOST, 4, true);
    assert_int_equal(b.transform, GM__TRANSFORM_ROTATE);
    assert_int_equal(b.plane[0].method, GM__METHOD_RAW); // noise is not given to zstd
    assert_int_equal(b.plane[3].method, GM__METHOD_ZSTD);
    b = round_trip(near, data, MOST, 4, true);
    assert_int_equal(b.transform, GM__TRANSFORM_DIFFERENCE);
    assert_int_equal(b.plane[3].method, GM__METHOD_CONSTANT);
    b = round_trip(data, data, MOST, 4, true);
    for (int p = 0; p < 4; p++) assert_int_equal(b.plane[p].stored, 0);
    for (int i = 0; i < MOST; i++) near[i] = gm_rng_normal(&rng); // has nothing to do with data
    assert_int_equal(round_trip(near, data, MOST, 4, true).transform, GM__TRANSFORM_ROTATE);
}

// The vectors of the hash, so that a library of another version is noticed.
static void checksums_have_their_golden_values(void **state) {
    (void)state;
    uint8_t all[256];
    for (int i = 0; i < 256; i++) all[i] = (uint8_t)i;
    assert_true(XXH3_64bits(all, 0) == 0x2d06800538d394c2ull);
    assert_true(XXH3_64bits(all, 256) == 0x9408a4433b952d71ull);
    XXH128_hash_t h = XXH3_128bits(all, 256);
    assert_true(h.high64 == 0xf1f8a93f50849ac3ull && h.low64 == 0x9408a4433b952d71ull);
}

static gm_status use_all(gm_error *err) {
    gm__lossless *l = NULL;
    float data[100] = {1, 2, 3};
    gm__block b;
    const uint8_t *stored;
    size_t bytes;
    gm_status status = gm__lossless_create(1, &l, err);
    if (status == GM_OK) status = gm__block_encode(l, data, NULL, 100, 4, true, &b, &stored, &bytes, err);
    gm__lossless_destroy(l);
    return status;
}

static void failing_allocations_are_errors(void **state) {
    (void)state;
    with_failing_allocations(use_all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_bits_come_back),
        cmocka_unit_test(every_kind_of_float_comes_back),
        cmocka_unit_test(differences_have_their_golden_values),
        cmocka_unit_test(planes_are_stored_as_what_they_are),
        cmocka_unit_test(checksums_have_their_golden_values),
        cmocka_unit_test(failing_allocations_are_errors),
    };
    return cmocka_run_group_tests(tests, make_coder, free_coder);
}
