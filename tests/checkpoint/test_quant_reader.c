// SPDX-License-Identifier: Apache-2.0
// Two readers, one written from the description of the format: they agree on every blob of a chain, for every coder.
#include "quant_reader.h"
#include "quant_test.h"

static void state_init(rd_state *s, const checkpoint *c) {
    memset(s, 0, sizeof *s);
    s->tensors = TENSORS;
    for (int i = 0; i < TENSORS; i++) {
        s->tensor[i] = (rd_tensor){.name = c->shape[i].name, .kind = (uint64_t)c->shape[i].kind, .count = c->shape[i].count};
        s->weights += c->shape[i].count;
    }
    s->ids = calloc(s->weights, 1);
    s->kept = calloc(s->weights, sizeof *s->kept);
}

static void state_free(rd_state *s) {
    free(s->ids);
    free(s->kept);
    memset(s, 0, sizeof *s);
}

static void both_readers_agree(void **unused) {
    (void)unused;
    static const int bins[] = {16, 16, 8, 126, 126};
    for (int coder = 0; coder < 4; coder++) {
        checkpoint c;
        gm__quant_settings s = test_settings();
        gm__quant_state *last = NULL;
        rd_state state[2];
        s.coder = (gm__quant_coder)coder;
        s.config.protect = 0.05f; // more than one block of 512 for the hash
        checkpoint_make(&c, 60);
        memset(state, 0, sizeof state);
        for (int step = 0; step < 5; step++) {
            rd_state *now = &state[step % 2], *before = step > 0 ? &state[1 - step % 2] : NULL;
            s.config.bins = bins[step];
            coded out = encode_ok(&c, &s, last);
            state_free(now);
            state_init(now, &c);
            assert_true(rd_read(out.blob, out.bytes, now, before));
            assert_memory_equal(now->ids, out.state->ids, now->weights);
            float *value = malloc(5000 * sizeof *value);
            uint64_t at = 0;
            for (int i = 0; i < TENSORS; i++) {
                gm__quant_values(out.state, i, value);
                for (size_t j = 0; j < c.shape[i].count; j++, at++) assert_true(value[j] == rd_value(now, i, at));
            }
            free(value);
            gm__quant_state_destroy(last);
            last = out.state;
            gm_free(out.blob);
            checkpoint_train(&c, 61 + (uint64_t)step, 0.15f);
        }
        state_free(&state[0]);
        state_free(&state[1]);
        gm__quant_state_destroy(last);
        checkpoint_free(&c);
    }
}

// More than a piece of ids, and tensors that cross its end.
static void both_readers_agree_on_a_large_model(void **unused) {
    (void)unused;
    enum { EACH = 350003, COUNT = 4 };
    gm__quant_settings s = test_settings();
    gm__quant_tensor tensor[COUNT];
    rd_state state[2];
    uint8_t *blob = NULL;
    size_t bytes = 0;
    gm__quant_state *first = NULL, *next = NULL;
    gm_error err = {0};
    float *w = malloc((size_t)EACH * COUNT * sizeof *w);
    gm_rng rng = gm_rng_keyed(70, 0, 0, GM_RNG_TEST);
    memset(state, 0, sizeof state);
    for (int i = 0; i < EACH * COUNT; i++) w[i] = gm_rng_uniform(&rng) - 0.5f;
    for (int i = 0; i < COUNT; i++)
        tensor[i] = (gm__quant_tensor){.shape = {"same name", GM__QUANT_LINEAR, EACH}, .weights = w + (size_t)EACH * (size_t)i};
    for (int step = 0; step < 2; step++) {
        rd_state *now = &state[step];
        *now = (rd_state){.tensors = COUNT, .weights = (uint64_t)EACH * COUNT};
        for (int i = 0; i < COUNT; i++) now->tensor[i] = (rd_tensor){.name = "same name", .kind = 2, .count = EACH};
        now->ids = calloc(now->weights, 1);
        now->kept = calloc(now->weights, sizeof *now->kept);
        s.parallel = step == 1;
        if (gm__quant_encode(tensor, COUNT, &s, first, &blob, &bytes, &next, NULL, &err) != GM_OK) fail_msg("%s", err.text);
        assert_true(rd_read(blob, bytes, now, step ? &state[0] : NULL));
        assert_memory_equal(now->ids, next->ids, now->weights);
        gm_free(blob);
        gm__quant_state_destroy(first);
        first = next;
        for (int i = 0; i < EACH * COUNT; i++) w[i] += (gm_rng_uniform(&rng) - 0.5f) * 0.1f;
    }
    gm__quant_state_destroy(first);
    state_free(&state[0]);
    state_free(&state[1]);
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_readers_agree),
        cmocka_unit_test(both_readers_agree_on_a_large_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
