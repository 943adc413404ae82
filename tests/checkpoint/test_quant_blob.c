// SPDX-License-Identifier: Apache-2.0
// Whole checkpoints through the quantizer: what is written is read again, whatever the coder, the configuration, the previous
// checkpoint and the number of threads; what is damaged is refused.
#include "quant_test.h"

static const gm__quant_coder coders[] = {GM__QUANT_RANS, GM__QUANT_PAPER, GM__QUANT_RLE, GM__QUANT_HUFFMAN};
enum { CODERS = 4 };

static void decoding_gives_the_state_of_encoding_for_every_coder(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        for (int k = 0; k < CODERS; k++) {
            checkpoint c;
            gm__quant_settings s = test_settings();
            gm__quant_state *last = NULL, *read_last = NULL;
            s.coder = coders[k];
            s.codebook = (gm__quant_codebook)(seed % 3);
            checkpoint_make(&c, seed);
            for (int step = 0; step < 4; step++) {
                coded out = encode_ok(&c, &s, last);
                gm__quant_state *read = decode_ok(&c, &out, read_last);
                assert_same_state(out.state, read);
                gm__quant_state_destroy(last);
                gm__quant_state_destroy(read_last);
                last = out.state;
                read_last = read;
                gm_free(out.blob);
                checkpoint_train(&c, seed * 100 + (uint64_t)step, 0.1f);
            }
            gm__quant_state_destroy(last);
            gm__quant_state_destroy(read_last);
            checkpoint_free(&c);
        }
    }
}

// The chain and the full encoding restore the same ids for every pair of numbers of bins.
static void every_pair_of_configurations_can_follow_each_other(void **unused) {
    (void)unused;
    static const int bins[] = {4, 6, 8, 16, 62, 126};
    checkpoint a, b;
    checkpoint_make(&a, 5);
    checkpoint_make(&b, 5);
    checkpoint_train(&b, 6, 0.2f);
    for (int i = 0; i < 36; i++) {
        for (int k = 0; k < 2; k++) {
            gm__quant_settings s = test_settings();
            s.coder = coders[k];
            s.config.bins = bins[i / 6];
            s.config.embedding_bins = i % 2 ? 16 : 32;
            coded first = encode_ok(&a, &s, NULL);
            s.config.bins = bins[i % 6];
            s.config.embedding_bins = i % 4 > 1 ? 16 : 32;
            s.config.prune = (float)(i % 6) * 0.1f;
            s.config.by_sensitivity = i % 2;
            coded second = encode_ok(&b, &s, first.state);
            gm__quant_state *read = decode_ok(&b, &second, first.state);
            assert_same_state(second.state, read);
            gm__quant_state_destroy(read);
            coded_free(&first);
            coded_free(&second);
        }
    }
    checkpoint_free(&a);
    checkpoint_free(&b);
}

static void the_number_of_threads_changes_no_byte(void **unused) {
    (void)unused;
    checkpoint c;
    gm__quant_settings s = test_settings();
    checkpoint_make(&c, 9);
    coded one = encode_ok(&c, &s, NULL);
    int threads = gm_threads();
    s.parallel = true;
    for (int n = 1; n <= 7; n += 3) {
        gm_threads_set(n);
        coded many = encode_ok(&c, &s, NULL);
        assert_int_equal(one.bytes, many.bytes);
        assert_memory_equal(one.blob, many.blob, one.bytes);
        coded_free(&many);
    }
    gm_threads_set(threads);
    coded_free(&one);
    checkpoint_free(&c);
}

static size_t count_level(const gm__quant_state *s, int tensor, int level) {
    size_t n = 0;
    const uint8_t *ids = gm__quant_state_ids(s, tensor);
    for (size_t i = 0; i < s->part[tensor].count; i++) n += ids[i] == level;
    return n;
}

static void tiers_have_the_sizes_that_were_asked_for(void **unused) {
    (void)unused;
    checkpoint c;
    gm__quant_settings s = test_settings();
    s.config = (gm__quant_config){.bins = 8, .embedding_bins = 16, .prune = 0.3f, .protect = 0.01f};
    checkpoint_make(&c, 11);
    for (int by = 0; by < 2; by++) {
        s.config.by_sensitivity = by;
        coded out = encode_ok(&c, &s, NULL);
        size_t n = test_shapes[0].count + test_shapes[1].count, pruned = 0, kept = 0; // the convolutions: one type
        for (int i = 0; i < 2; i++) {
            pruned += count_level(out.state, i, GM__QUANT_PRUNED);
            kept += count_level(out.state, i, GM__QUANT_PROTECTED);
        }
        // zeros are pruned on top (about 2 %); buckets are 0.8 % wide; both scores protect
        assert_in_range(pruned, (size_t)(0.29 * (double)n), (size_t)(0.34 * (double)n));
        assert_in_range(kept, (size_t)(0.009 * (double)n), (size_t)(0.021 * (double)n));
        coded_free(&out);
    }
    checkpoint_free(&c);
}

static void a_large_weight_without_gradient_is_protected_although_sensitivity_prunes(void **unused) {
    (void)unused;
    checkpoint c;
    gm__quant_settings s = test_settings();
    float *out = malloc(5000 * sizeof *out);
    checkpoint_make(&c, 12);
    c.weights[1][7] = 3.0f;
    c.importance[1][7] = 0;
    s.config.by_sensitivity = true;
    s.config.prune = 0.4f;
    coded got = encode_ok(&c, &s, NULL);
    gm__quant_values(got.state, 1, out);
    assert_true(out[7] == 3.0f);
    free(out);
    coded_free(&got);
    checkpoint_free(&c);
}

// Padding of packed weights must stay zero, or it would enter products.
static void zeros_stay_zeros(void **unused) {
    (void)unused;
    checkpoint c;
    gm__quant_settings s = test_settings();
    float *out = malloc(5000 * sizeof *out);
    s.config.prune = 0;
    checkpoint_make(&c, 13);
    coded got = encode_ok(&c, &s, NULL);
    for (int i = 0; i < TENSORS; i++) {
        gm__quant_values(got.state, i, out);
        for (size_t j = 0; j < test_shapes[i].count; j++)
            if (c.weights[i][j] == 0) assert_true(out[j] == 0);
    }
    free(out);
    coded_free(&got);
    checkpoint_free(&c);
}

// Norms and biases have no codebook: a bf16 each, whatever the configuration; or the one that they had, while they move by less than
// all of them do on average.
static void small_tensors_are_rounded_only(void **unused) {
    (void)unused;
    checkpoint c;
    gm__quant_settings s = test_settings();
    float out[90];
    s.config.prune = 0.5f;
    s.stick = 0;
    checkpoint_make(&c, 21);
    coded first = encode_ok(&c, &s, NULL);
    checkpoint_train(&c, 22, 0.02f);
    coded second = encode_ok(&c, &s, first.state);
    gm__quant_values(second.state, TENSORS - 1, out);
    for (size_t j = 0; j < test_shapes[TENSORS - 1].count; j++)
        assert_true(out[j] == gm_bf16_to_f32(gm_bf16_from_f32(c.weights[TENSORS - 1][j])));
    s.stick = 0.5f;
    float was[90];
    double moved = 0, wrong = 0;
    int stayed = 0, n = (int)test_shapes[TENSORS - 1].count;
    coded third = encode_ok(&c, &s, first.state);
    gm__quant_values(first.state, TENSORS - 1, was);
    gm__quant_values(third.state, TENSORS - 1, out);
    for (int j = 0; j < n; j++) {
        float w = c.weights[TENSORS - 1][j];
        moved += (double)((w - was[j]) * (w - was[j])) / n;
        wrong += (double)((w - out[j]) * (w - out[j])) / n;
        stayed += out[j] == was[j];
        assert_true(out[j] == was[j] || out[j] == gm_bf16_to_f32(gm_bf16_from_f32(w)));
    }
    assert_true(stayed > n / 3 && stayed < n && wrong < moved / 2);
    coded_free(&first);
    coded_free(&second);
    coded_free(&third);
    checkpoint_free(&c);
}

// A codebook that grows cuts cells in two, one that shrinks joins them: most weights cost nothing, the rest a bit.
static void another_number_of_bins_costs_less_than_starting_anew(void **unused) {
    (void)unused;
    static const int bins[][2] = {{6, 8}, {16, 12}, {12, 6}, {4, 5}};
    checkpoint c;
    gm__quant_settings s = test_settings();
    s.config.prune = 0;
    s.stick = 0.25f;
    checkpoint_make(&c, 23);
    for (size_t i = 0; i < sizeof bins / sizeof *bins; i++) {
        s.config.bins = bins[i][0];
        coded first = encode_ok(&c, &s, NULL);
        s.config.bins = bins[i][1];
        coded alone = encode_ok(&c, &s, NULL), next = encode_ok(&c, &s, first.state);
        assert_true(next.report.bytes_ids < alone.report.bytes_ids / (bins[i][1] < bins[i][0] ? 3 : 2));
        assert_true(next.report.error < 1.75 * alone.report.error);
        gm__quant_state *read = decode_ok(&c, &next, first.state);
        assert_same_state(read, next.state);
        gm__quant_state_destroy(read);
        coded_free(&first);
        coded_free(&alone);
        coded_free(&next);
    }
    checkpoint_free(&c);
}

static void more_bins_lose_less(void **unused) {
    (void)unused;
    static const int bins[] = {4, 8, 16, 32, 64, 126};
    checkpoint c;
    gm__quant_settings s = test_settings();
    double last = 1;
    s.config.prune = 0;
    checkpoint_make(&c, 14);
    for (size_t i = 0; i < sizeof bins / sizeof *bins; i++) {
        s.config.bins = s.config.embedding_bins = bins[i];
        coded out = encode_ok(&c, &s, NULL);
        assert_true(out.report.error < last);
        last = out.report.error;
        coded_free(&out);
    }
    assert_true(last < 0.001);
    checkpoint_free(&c);
}

static void values_that_bf16_cannot_hold_stay_finite(void **unused) {
    (void)unused;
    checkpoint c;
    gm__quant_settings s = test_settings();
    float *out = malloc(5000 * sizeof *out);
    checkpoint_make(&c, 15);
    c.weights[1][3] = 3.4028234e38f; // rounds up to infinity
    c.importance[1][3] = 0;
    coded got = encode_ok(&c, &s, NULL);
    gm__quant_values(got.state, 1, out);
    assert_true(isfinite(out[3]) && out[3] > 3.3e38f);
    coded_free(&got);
    c.weights[1][3] = NAN;
    gm_error err = {0};
    assert_int_equal(gm__quant_encode(c.tensor, TENSORS, &s, NULL, &got.blob, &got.bytes, &got.state, NULL, &err),
                     GM_ERR_NUMERIC);
    assert_false(gm__quant_takes(test_shapes[1].count, c.weights[1]));
    assert_true(gm__quant_takes(3001, c.weights[4]));
    free(out);
    checkpoint_free(&c);
}

// Weights that stay in place cost next to nothing, and `stick` keeps more of them in place.
static void unchanged_weights_cost_little_and_stick_saves(void **unused) {
    (void)unused;
    checkpoint c;
    gm__quant_settings s = test_settings();
    checkpoint_make(&c, 16);
    coded first = encode_ok(&c, &s, NULL);
    coded same = encode_ok(&c, &s, first.state);
    assert_int_equal(same.report.migrated, 0);
    assert_true(same.bytes < 400);
    checkpoint_train(&c, 17, 0.05f);
    coded stuck = encode_ok(&c, &s, first.state);
    s.stick = 0;
    coded loose = encode_ok(&c, &s, first.state);
    assert_true(stuck.report.migrated < loose.report.migrated && stuck.bytes < loose.bytes);
    coded_free(&first);
    coded_free(&same);
    coded_free(&stuck);
    coded_free(&loose);
    checkpoint_free(&c);
}

// expected: what it must be when it is read (NULL: anything).
static gm_status try_decode(const checkpoint *c, const uint8_t *blob, size_t bytes, const gm__quant_state *previous,
                            const gm__quant_state *expected) {
    gm__quant_state *state = NULL;
    gm_error err = {0};
    gm_status status = gm__quant_decode(blob, bytes, "damaged", c->shape, TENSORS, previous, false, &state, &err);
    assert_true((status == GM_OK) == (state != NULL));
    if (state && expected) assert_same_state(state, expected);
    if (status != GM_OK) assert_true(err.text[0] != '\0');
    gm__quant_state_destroy(state);
    return status;
}

// Without its checksum a blob is only a stream of numbers: damage must be caught by the numbers, or by the hash of the state.
static void forge_checksum(uint8_t *blob, size_t bytes) {
    uint64_t h = gm_hash64(blob, bytes - 8, 0);
    for (int i = 0; i < 8; i++) blob[bytes - 8 + (size_t)i] = (uint8_t)(h >> (8 * i));
}

static void damaged_blobs_are_refused(void **unused) {
    (void)unused;
    checkpoint c;
    checkpoint_make(&c, 20);
    for (int k = 0; k < CODERS; k++) {
        gm__quant_settings s = test_settings();
        s.coder = coders[k];
        coded first = encode_ok(&c, &s, NULL);
        checkpoint_train(&c, 21, 0.1f);
        coded second = encode_ok(&c, &s, first.state);
        uint8_t *work = malloc(second.bytes);
        for (size_t cut = 0; cut < second.bytes; cut += 1 + cut / 16)
            assert_int_not_equal(try_decode(&c, second.blob, cut, first.state, NULL), GM_OK);
        gm_rng rng = gm_rng_keyed(22, (uint64_t)k, 0, GM_RNG_TEST);
        for (int i = 0; i < 300; i++) {
            memcpy(work, second.blob, second.bytes);
            size_t at = gm_rng_below(&rng, (uint32_t)second.bytes);
            if (i < 64) at = (size_t)i; // the head, every byte
            work[at] ^= (uint8_t)(1u << gm_rng_below(&rng, 8));
            assert_int_not_equal(try_decode(&c, work, second.bytes, first.state, NULL), GM_OK);
            if (at >= second.bytes - 8) continue;
            forge_checksum(work, second.bytes);
            // What only says how the blob was made (prune, protect, the metric) may change, and bits that no number needs.
            (void)try_decode(&c, work, second.bytes, first.state, second.state);
        }
        free(work);
        coded_free(&first);
        coded_free(&second);
    }
    checkpoint_free(&c);
}

static void a_difference_needs_its_own_previous_checkpoint(void **unused) {
    (void)unused;
    checkpoint c;
    gm__quant_settings s = test_settings();
    checkpoint_make(&c, 30);
    coded first = encode_ok(&c, &s, NULL);
    checkpoint_train(&c, 31, 0.1f);
    coded second = encode_ok(&c, &s, first.state);
    assert_int_equal(try_decode(&c, second.blob, second.bytes, NULL, NULL), GM_ERR_STATE);
    assert_int_equal(try_decode(&c, second.blob, second.bytes, second.state, NULL), GM_ERR_STATE);
    gm__quant_info info;
    assert_int_equal(gm__quant_inspect(second.blob, second.bytes, "test", &info, NULL), GM_OK);
    assert_true(info.difference && info.parent == gm__quant_state_hash(first.state));
    assert_int_equal(info.hash, gm__quant_state_hash(second.state));
    c.shape[0].name = "renamed";
    assert_int_equal(try_decode(&c, first.blob, first.bytes, NULL, NULL), GM_ERR_FORMAT);
    coded_free(&first);
    coded_free(&second);
    checkpoint_free(&c);
}

// The n-th allocation fails, for every n: an error, nothing leaks.
static void memory_may_run_out_anywhere(void **unused) {
    (void)unused;
    checkpoint c;
    checkpoint_make(&c, 40);
    for (int k = 0; k < 2; k++) {
        gm__quant_settings s = test_settings();
        s.coder = coders[k];
        coded first = encode_ok(&c, &s, NULL), out = {0};
        size_t live = gm_alloc_live();
        for (long n = 1;; n++) {
            gm_alloc_fail_at(n);
            gm_status status = gm__quant_encode(c.tensor, TENSORS, &s, first.state, &out.blob, &out.bytes, &out.state, NULL,
                                                NULL);
            gm_alloc_fail_at(0);
            if (status == GM_OK) break;
            assert_int_equal(status, GM_ERR_MEMORY);
            assert_int_equal(gm_alloc_live(), live);
        }
        live = gm_alloc_live();
        gm__quant_state *read = NULL;
        for (long n = 1;; n++) {
            gm_alloc_fail_at(n);
            gm_status status = gm__quant_decode(out.blob, out.bytes, "test", c.shape, TENSORS, first.state, false, &read, NULL);
            gm_alloc_fail_at(0);
            if (status == GM_OK) break;
            assert_int_equal(status, GM_ERR_MEMORY);
            assert_int_equal(gm_alloc_live(), live);
        }
        gm__quant_state_destroy(read);
        coded_free(&first);
        coded_free(&out);
    }
    checkpoint_free(&c);
}

static void configurations_are_printed_and_read_again(void **unused) {
    (void)unused;
    gm__quant_config c = {.bins = 12, .embedding_bins = 32, .prune = 0.4f, .protect = 0.005f, .by_sensitivity = true}, back;
    char text[GM__QUANT_CONFIG_TEXT];
    gm_error err = {0};
    gm__quant_config_print(&c, text, sizeof text);
    assert_string_equal(text, "bins=12 embedding=32 prune=0.4 protect=0.005 by=sensitivity");
    assert_int_equal(gm__quant_config_parse(text, &back, &err), GM_OK);
    assert_true(back.bins == 12 && back.embedding_bins == 32 && back.prune == 0.4f && back.by_sensitivity);
    assert_int_equal(gm__quant_config_parse("bins=127", &back, &err), GM_ERR_RANGE);
    assert_int_equal(gm__quant_config_parse("bins=8 speed=3", &back, &err), GM_ERR_ARGUMENT);
    assert_int_equal(gm__quant_config_parse("by=chance", &back, &err), GM_ERR_ARGUMENT);
    gm__quant_coder coder;
    for (int k = 0; k < CODERS; k++) {
        assert_int_equal(gm__quant_coder_parse(gm__quant_coder_name(coders[k]), &coder, &err), GM_OK);
        assert_int_equal(coder, coders[k]);
    }
    assert_int_equal(gm__quant_coder_parse("zip", &coder, &err), GM_ERR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_gives_the_state_of_encoding_for_every_coder),
        cmocka_unit_test(every_pair_of_configurations_can_follow_each_other),
        cmocka_unit_test(the_number_of_threads_changes_no_byte),
        cmocka_unit_test(tiers_have_the_sizes_that_were_asked_for),
        cmocka_unit_test(a_large_weight_without_gradient_is_protected_although_sensitivity_prunes),
        cmocka_unit_test(zeros_stay_zeros),
        cmocka_unit_test(small_tensors_are_rounded_only),
        cmocka_unit_test(another_number_of_bins_costs_less_than_starting_anew),
        cmocka_unit_test(more_bins_lose_less),
        cmocka_unit_test(values_that_bf16_cannot_hold_stay_finite),
        cmocka_unit_test(unchanged_weights_cost_little_and_stick_saves),
        cmocka_unit_test(damaged_blobs_are_refused),
        cmocka_unit_test(a_difference_needs_its_own_previous_checkpoint),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(configurations_are_printed_and_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
