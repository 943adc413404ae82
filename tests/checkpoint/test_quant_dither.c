// SPDX-License-Identifier: Apache-2.0
// After a restore weights are rounded at random: what training gained between two restores is not lost, and nothing else changes.
#include "quant_test.h"

enum { LAYER = 1, MOVES = 12 };

static void restored(const gm__quant_state *from, checkpoint *c) {
    for (int i = 0; i < TENSORS; i++) gm__quant_values(from, i, c->weights[i]);
}

// A first checkpoint of made-up weights, and settings for those after it: nearest centres, so far.
static gm__quant_settings start(uint64_t seed, float prune, checkpoint *c, coded *first) {
    gm__quant_settings s = test_settings();
    s.config.prune = prune;
    s.stick = 0;
    checkpoint_make(c, seed);
    *first = encode_ok(c, &s, NULL);
    return s;
}

// Half of the weights go up and half go down, so that centres which follow the weights do not help.
static float way(size_t element) { return (element * element * 0x85ebca6bu >> 13 & 1) ? 1 : -1; }

static double along_the_way(const float *w, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)(way(i) * w[i]);
    return sum / (double)n;
}

static double mean_of(const float *w, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)w[i];
    return sum / (double)n;
}

// Training between restores: every weight of the layer moves by `step` on its way. Returns how far they got on average; neither side may be
// favoured.
static double after_restores(uint64_t seed, float step, float prune) {
    checkpoint c;
    gm__quant_settings s = test_settings();
    size_t n = test_shapes[LAYER].count;
    s.config = (gm__quant_config){.bins = 8, .embedding_bins = 16, .prune = prune, .protect = 0.0005f};
    s.stick = 0;
    checkpoint_make(&c, 31);
    coded last = encode_ok(&c, &s, NULL);
    restored(last.state, &c);
    double start = along_the_way(c.weights[LAYER], n), mean = mean_of(c.weights[LAYER], n);
    for (int i = 1; i <= MOVES; i++) {
        for (size_t j = 0; j < n; j++) c.weights[LAYER][j] += step * way(j);
        s.dither = seed == 0 ? 0 : seed + (uint64_t)i;
        coded next = encode_ok(&c, &s, last.state);
        gm__quant_state *read = decode_ok(&c, &next, last.state);
        assert_same_state(read, next.state);
        gm__quant_state_destroy(read);
        coded_free(&last);
        last = next;
        restored(last.state, &c);
    }
    double end = along_the_way(c.weights[LAYER], n);
    assert_true(fabs(mean_of(c.weights[LAYER], n) - mean) < 0.25 * MOVES * fabs((double)step));
    coded_free(&last);
    checkpoint_free(&c);
    return end - start;
}

static void small_movements_are_not_lost(void **unused) {
    (void)unused;
    const float step = 0.002f; // bins are 0.03 and wider
    const double moved = MOVES * (double)step;
    assert_true(fabs(after_restores(0, step, 0)) < 0.25 * moved); // what the drawn thresholds are there for
    for (uint64_t seed = 100; seed < 400; seed += 100) {
        assert_true(fabs(after_restores(seed, step, 0) / moved - 1) < 0.15);
        assert_true(fabs(after_restores(seed, -step, 0) / -moved - 1) < 0.15);
        assert_true(fabs(after_restores(seed, step, 0.2f) / moved - 1) < 0.35);
    }
}

typedef struct walk { // of a run with restores
    double kept;  // of the drift
    double error; // before a restore, in squared movements
    double bytes; // of a checkpoint
} walk;

// Weights that wander, and drift by a fifth of that, with eight restores, each so many checkpoints after the last.
static walk wander(float stick, float density, int bins, int between, bool draws) {
    enum { RESTORES = 8 };
    const float noise = 0.009f, drift = noise / 5;
    checkpoint c;
    walk w = {0};
    gm__quant_settings s = test_settings();
    size_t n = test_shapes[LAYER].count;
    s.config = (gm__quant_config){.bins = bins, .embedding_bins = 16, .prune = 0, .protect = 0.0005f};
    s.stick = stick;
    s.density = density;
    checkpoint_make(&c, 37);
    coded last = encode_ok(&c, &s, NULL);
    restored(last.state, &c);
    double start = along_the_way(c.weights[LAYER], n);
    float *weights = c.weights[LAYER];
    for (int i = 1; i <= between * RESTORES; i++) {
        gm_rng rng = gm_rng_keyed(38, (uint64_t)i, 0, GM_RNG_TEST);
        double all = 0, wrong = 0;
        float *now = malloc(n * sizeof *now);
        for (size_t j = 0; j < n; j++) weights[j] += drift * way(j) + noise * gm_rng_normal(&rng);
        s.dither = draws ? (uint64_t)(i / between + 1) : 0;
        coded next = encode_ok(&c, &s, last.state);
        gm__quant_values(next.state, LAYER, now);
        for (size_t j = 0; j < n; j++) wrong += (double)((weights[j] - now[j]) * (weights[j] - now[j]));
        all = (double)n * (double)(noise * noise + drift * drift);
        w.bytes += (double)next.bytes / (between * RESTORES);
        if (i % between == 0) w.error += wrong / all / RESTORES;
        if (i % between == 0) restored(next.state, &c);
        free(now);
        coded_free(&last);
        last = next;
    }
    w.kept = (along_the_way(weights, n) - start) / (between * RESTORES * (double)drift);
    coded_free(&last);
    checkpoint_free(&c);
    return w;
}

// Why `stick` is what it is: with fewer bytes, the error is smaller than that of one that holds until the next centre, and less of a drift
// is lost at restores.
static void a_drift_among_noise_survives_restores(void **unused) {
    (void)unused;
    const gm__quant_settings s = gm__quant_settings_default();
    walk far = wander(0.5f, s.density, 16, 8, false), near = wander(s.stick, s.density, 10, 8, false);
    print_message("stick 0.5: %.2f of the drift kept, error %.2f, %.0f bytes; default: %.2f, %.2f, %.0f\n",
                  far.kept, far.error, far.bytes, near.kept, near.error, near.bytes);
    assert_true(near.bytes < far.bytes && near.error < 0.9 * far.error);
    assert_true(near.kept > 0.85 && near.kept > far.kept);
}

// Why thresholds are drawn after an early restore only: when weights have filled their bins before each, the nearest centre keeps nearly as much of the
// drift, for far fewer bytes; when they have not, it loses what draws keep.
static void draws_are_worth_their_bytes_when_restores_come_early(void **unused) {
    (void)unused;
    const gm__quant_settings s = gm__quant_settings_default();
    static const int between[] = {2, 4, 8, 15};
    walk nearest[4], drawn[4];
    for (int i = 0; i < 4; i++) {
        nearest[i] = wander(s.stick, s.density, 8, between[i], false);
        drawn[i] = wander(s.stick, s.density, 8, between[i], true);
        print_message("restores %d checkpoints apart: nearest %.2f of the drift, %.0f bytes; drawn %.2f, %.0f\n", between[i],
                      nearest[i].kept, nearest[i].bytes, drawn[i].kept, drawn[i].bytes);
    }
    assert_true(drawn[0].kept > 0.7 && nearest[0].kept < 0.45);
    for (int i = 2; i < 4; i++) assert_true(nearest[i].kept > drawn[i].kept - 0.08 && nearest[i].bytes < 0.85 * drawn[i].bytes);
}

static void what_does_not_move_keeps_its_id(void **unused) {
    (void)unused;
    checkpoint c;
    coded first;
    gm__quant_settings s = start(32, 0, &c, &first);
    restored(first.state, &c);
    s.dither = 7;
    coded next = encode_ok(&c, &s, first.state);
    for (int i = 0; i < TENSORS; i++) {
        const uint8_t *a = gm__quant_state_ids(first.state, i), *b = gm__quant_state_ids(next.state, i);
        for (size_t j = 0; j < test_shapes[i].count; j++)
            assert_true(a[j] == b[j] || a[j] == GM__QUANT_PROTECTED || b[j] == GM__QUANT_PROTECTED);
    }
    assert_true(next.report.error < 1e-6);
    coded_free(&first);
    coded_free(&next);
    checkpoint_free(&c);
}

static void one_seed_gives_the_same_bytes_and_another_gives_others(void **unused) {
    (void)unused;
    checkpoint c;
    coded first;
    gm__quant_settings s = start(33, 0.1f, &c, &first);
    restored(first.state, &c);
    checkpoint_train(&c, 34, 0.1f);
    s.dither = 1;
    coded a = encode_ok(&c, &s, first.state);
    s.parallel = true;
    coded b = encode_ok(&c, &s, first.state);
    assert_int_equal(a.bytes, b.bytes);
    assert_memory_equal(a.blob, b.blob, a.bytes);
    s.dither = 2;
    coded other = encode_ok(&c, &s, first.state);
    assert_true(gm__quant_state_hash(other.state) != gm__quant_state_hash(a.state));
    coded_free(&first);
    coded_free(&a);
    coded_free(&b);
    coded_free(&other);
    checkpoint_free(&c);
}

// Weights that lie anywhere in their bins need no draw; it would double the error.
static void nothing_is_drawn_where_bins_are_filled(void **unused) {
    (void)unused;
    for (int pruned = 0; pruned < 5; pruned += 2) {
        checkpoint c;
        coded first;
        gm__quant_settings s = start(35, 0.1f * (float)pruned, &c, &first);
        gm__dither full = gm__dither_of(9, LAYER, &c.tensor[LAYER], &first.state->part[LAYER],
                                        gm__quant_state_ids(first.state, LAYER));
        coded nearest = encode_ok(&c, &s, first.state);
        s.dither = 9;
        coded drawn = encode_ok(&c, &s, first.state);
        assert_int_equal(full.seed, 0);
        assert_memory_equal(gm__quant_state_ids(drawn.state, LAYER), gm__quant_state_ids(nearest.state, LAYER),
                            test_shapes[LAYER].count);
        assert_true(gm__quant_filled(c.tensor, TENSORS, first.state));
        restored(first.state, &c);
        gm__dither empty = gm__dither_of(9, LAYER, &c.tensor[LAYER], &first.state->part[LAYER],
                                        gm__quant_state_ids(first.state, LAYER));
        assert_true(empty.seed != 0);
        assert_false(gm__quant_filled(c.tensor, TENSORS, first.state));
        coded_free(&first);
        coded_free(&nearest);
        coded_free(&drawn);
        checkpoint_free(&c);
    }
}

// A draw takes some weights to the farther centre; that is not movement of theirs, and drawing goes on.
static void a_draw_does_not_pass_for_movement(void **unused) {
    (void)unused;
    checkpoint c;
    coded first;
    gm__quant_settings s = start(36, 0, &c, &first);
    restored(first.state, &c);
    const gm__part *p = &first.state->part[LAYER];
    float gap = gm_bf16_to_f32(p->centre[4]) - gm_bf16_to_f32(p->centre[3]);
    for (size_t i = 0; i < test_shapes[LAYER].count; i++) c.weights[LAYER][i] += 0.15f * gap * (i % 2 ? 1 : -1);
    s.dither = 9;
    coded drawn = encode_ok(&c, &s, first.state);
    size_t moved = 0;
    for (size_t i = 0; i < test_shapes[LAYER].count; i++)
        moved += gm__quant_state_ids(drawn.state, LAYER)[i] != gm__quant_state_ids(first.state, LAYER)[i];
    assert_in_range(moved, test_shapes[LAYER].count / 10, test_shapes[LAYER].count / 5);
    gm__dither after = gm__dither_of(9, LAYER, &c.tensor[LAYER], &drawn.state->part[LAYER], gm__quant_state_ids(drawn.state, LAYER));
    assert_true(after.seed != 0);
    coded_free(&first);
    coded_free(&drawn);
    checkpoint_free(&c);
}

static void small_tensors_and_protected_values_are_rounded_at_random_too(void **unused) {
    (void)unused;
    gm__dither d = {.seed = 12345};
    const float v = 1 + 0x1p-10f; // an eighth of the way to the next bf16
    double sum = 0;
    for (size_t i = 0; i < 8000; i++) {
        float got = gm_bf16_to_f32(gm__dither_bf16(&d, i, v));
        assert_true(got == 1 || got == 1 + 0x1p-7f);
        sum += (double)got;
        assert_true(gm_bf16_to_f32(gm__dither_bf16(&d, i, -1.5f)) == -1.5f);
    }
    assert_true(fabs(sum / 8000 - (double)v) < 0x1p-7 * 0.01);
}

// Protected values stay while they have moved by less than half of what takes others to the next centre; after a restore they go by such steps,
// and on average nothing is lost.
static void protected_values_go_by_steps(void **unused) {
    (void)unused;
    checkpoint c;
    size_t n = test_shapes[LAYER].count;
    gm__quant_settings s = test_settings();
    s.config = (gm__quant_config){.bins = 8, .embedding_bins = 16, .prune = 0, .protect = 0.2f};
    checkpoint_make(&c, 36);
    coded first = encode_ok(&c, &s, NULL);
    const gm__part *p = &first.state->part[LAYER];
    float step = (0.5f + s.stick) / 2 * (gm_bf16_to_f32(p->centre[7]) - gm_bf16_to_f32(p->centre[0])) / 7;
    float *was = malloc(n * sizeof *was), *is = malloc(n * sizeof *is);
    for (int way_of = 0; way_of < 3; way_of++) { // less than a step; more; less, after a restore
        float move = way_of == 1 ? 1.25f * step : 0.25f * step;
        double sum = 0;
        int seen = 0;
        restored(first.state, &c);
        gm__quant_values(first.state, LAYER, was);
        for (size_t j = 0; j < n; j++) c.weights[LAYER][j] += move;
        s.dither = way_of == 2 ? 5 : 0;
        coded next = encode_ok(&c, &s, first.state);
        const uint8_t *a = gm__quant_state_ids(first.state, LAYER), *b = gm__quant_state_ids(next.state, LAYER);
        gm__quant_values(next.state, LAYER, is);
        for (size_t j = 0; j < n; j++) {
            if (a[j] != GM__QUANT_PROTECTED || b[j] != GM__QUANT_PROTECTED) continue;
            seen++;
            sum += (double)(is[j] - was[j]);
            if (way_of == 0) assert_true(is[j] == was[j]);
            if (way_of == 1) assert_true(is[j] == gm_bf16_to_f32(gm_bf16_from_f32(c.weights[LAYER][j])));
            if (way_of == 2) assert_true(fabsf(is[j] - was[j]) < 0.02f * fabsf(was[j]) ||
                                         fabsf(is[j] - was[j] - step) < 0.02f * fabsf(was[j]));
        }
        assert_true(seen > 500);
        if (way_of == 2) assert_true(fabs(sum / seen / (double)move - 1) < 0.1);
        coded_free(&next);
    }
    free(was);
    free(is);
    coded_free(&first);
    checkpoint_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_movements_are_not_lost),
        cmocka_unit_test(a_drift_among_noise_survives_restores),
        cmocka_unit_test(draws_are_worth_their_bytes_when_restores_come_early),
        cmocka_unit_test(what_does_not_move_keeps_its_id),
        cmocka_unit_test(one_seed_gives_the_same_bytes_and_another_gives_others),
        cmocka_unit_test(nothing_is_drawn_where_bins_are_filled),
        cmocka_unit_test(a_draw_does_not_pass_for_movement),
        cmocka_unit_test(small_tensors_and_protected_values_are_rounded_at_random_too),
        cmocka_unit_test(protected_values_go_by_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
