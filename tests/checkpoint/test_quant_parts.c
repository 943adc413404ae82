// SPDX-License-Identifier: Apache-2.0
// The quantizer's parts, each against numbers worked out elsewhere: the sketch and the ring of the specification's golden values,
// clustering against all possible splits, Huffman codes and run lengths by hand, the coders on random symbols.
#include "checkpoint/quant_blob.h"
#include "checkpoint/quant_huffman.h"
#include "quant_test.h"

static void the_sketch_gives_the_golden_buckets_and_values(void **unused) {
    (void)unused;
    static const struct {
        double x;
        int bucket;
        double value;
    } golden[] = {{1.0, 0, 0.99}, {0.02, -195, 0.020036887210371113}, {0.5, -34, 0.5015394534033262},
                  {0.001, -345, 0.0009974781146370234}, {3.0, 55, 2.9742334234767016}};
    gm__sketch s;
    assert_int_equal(gm__sketch_init(&s, 0.01, NULL), GM_OK);
    assert_true(fabs(s.log_gamma - 0.020000666706669435) < 1e-16);
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        assert_int_equal(gm__sketch_bucket(&s, golden[i].x), golden[i].bucket);
        assert_true(fabs(gm__sketch_value(&s, golden[i].bucket) - golden[i].value) < 1e-13 * golden[i].value);
    }
    assert_int_equal(gm__sketch_bucket(&s, 0x1p-126), -4366);
    assert_int_equal(gm__sketch_bucket(&s, 3.4028234663852886e38), 4436);
    gm__sketch_fini(&s);
    assert_int_equal(gm__sketch_init(&s, 0.9, NULL), GM_ERR_RANGE);
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// The value of the given rank (0: the smallest), as far as the sketch knows it.
static double sketched(const gm__sketch *s, uint64_t rank) {
    uint64_t sum = s->zeros;
    int i = 0;
    if (sum > rank) return 0;
    while ((sum += s->count[i]) <= rank) assert_true(++i < s->buckets);
    return gm__sketch_value(s, i + s->lowest);
}

static void quantiles_of_the_sketch_are_within_alpha(void **unused) {
    (void)unused;
    enum { N = 2001 };
    static float v[5][N];
    gm_rng rng = gm_rng_keyed(3, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < N; i++) {
        float g = gm_rng_normal(&rng);
        v[0][i] = gm_rng_uniform(&rng);
        v[1][i] = 0.7f;                  // constant
        v[2][i] = fabsf(g * g * g * g);  // heavy tail
        v[3][i] = i % 2 ? fabsf(g) : 0;  // half of it zero
        v[4][i] = 0;
    }
    for (int k = 0; k < 5; k++) {
        gm__sketch sketch;
        assert_int_equal(gm__sketch_init(&sketch, 0.01, NULL), GM_OK);
        for (int i = 0; i < N; i++) gm__sketch_add(&sketch, v[k][i]);
        qsort(v[k], N, sizeof v[k][0], by_value);
        for (int i = 0; i < N; i += 20) {
            double exact = (double)v[k][i];
            assert_true(fabs(sketched(&sketch, (uint64_t)i) - exact) <= 0.01 * exact * (1 + 1e-12));
        }
        gm__sketch_fini(&sketch);
    }
}

// The least loss over all ways to cut n sorted points into k cells.
static double brute_force(const double *x, const double *w, int n, int k, int from) {
    double best = INFINITY;
    if (k == 1 || from >= n) {
        double mass = 0, sum = 0, loss = 0;
        for (int i = from; i < n; i++) {
            mass += w[i];
            sum += w[i] * x[i];
        }
        for (int i = from; i < n; i++) loss += w[i] * (x[i] - sum / mass) * (x[i] - sum / mass);
        return loss;
    }
    for (int cut = from + 1; cut <= n; cut++) {
        double mass = 0, sum = 0, loss = 0;
        for (int i = from; i < cut; i++) {
            mass += w[i];
            sum += w[i] * x[i];
        }
        for (int i = from; i < cut; i++) loss += w[i] * (x[i] - sum / mass) * (x[i] - sum / mass);
        best = fmin(best, loss + brute_force(x, w, n, k - 1, cut));
    }
    return best;
}

static void exact_clustering_is_exact_and_the_others_are_not_better(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
        int n = 1 + (int)gm_rng_below(&rng, 11), k = 1 + (int)gm_rng_below(&rng, 4);
        double x[12], w[12], at = -1;
        for (int i = 0; i < n; i++) {
            x[i] = at += (double)gm_rng_uniform(&rng) + 0.001;
            w[i] = 1 + gm_rng_below(&rng, 20);
        }
        float exact[GM__QUANT_BINS], seeded[GM__QUANT_BINS], moved[GM__QUANT_BINS];
        assert_int_equal(gm__cluster_exact(x, w, n, exact, k, NULL), GM_OK);
        double least = brute_force(x, w, n, k, 0), loss = gm__cluster_loss(x, w, n, exact, k);
        assert_true(fabs(loss - least) <= 1e-5 * (1 + least));
        gm__cluster_seed(x, w, n, seeded, k, &rng);
        memcpy(moved, seeded, sizeof moved);
        gm__cluster_lloyd(x, w, n, moved, k, 10);
        assert_true(loss <= gm__cluster_loss(x, w, n, moved, k) * (1 + 1e-6) + 1e-9);
        assert_true(gm__cluster_loss(x, w, n, moved, k) <= gm__cluster_loss(x, w, n, seeded, k) * (1 + 1e-6) + 1e-9);
    }
}

// The points nearest to centre c: from *from to the returned one.
static int naive_cell(const double *x, int n, const float *centre, int k, int c, int *from) {
    int end = n;
    *from = 0;
    while (c > 0 && *from < n && x[*from] <= ((double)centre[c - 1] + (double)centre[c]) / 2) (*from)++;
    while (c < k - 1 && end > *from && x[end - 1] > ((double)centre[c] + (double)centre[c + 1]) / 2) end--;
    return end;
}

// What two centres for the points from..end-1 save, the best ones of all cuts in *two; less than 0: there is none.
static double naive_cut(const double *x, const double *w, int from, int end, float two[2]) {
    double best = -1;
    for (int cut = from + 1; cut < end; cut++) {
        double mass[2] = {0}, sum[2] = {0};
        for (int i = from; i < end; i++) {
            mass[i >= cut] += w[i];
            sum[i >= cut] += w[i] * x[i];
        }
        double gap = sum[0] / mass[0] - sum[1] / mass[1], saved = mass[0] * mass[1] / (mass[0] + mass[1]) * gap * gap;
        if (saved <= best * (1 + 1e-9)) continue;
        best = saved;
        for (int s = 0; s < 2; s++) two[s] = (float)(sum[s] / mass[s]);
    }
    return best;
}

// Against cutting all cells anew for every centre.
static void a_codebook_grows_where_a_cut_saves_most(void **unused) {
    (void)unused;
    enum { N = 200, TO = 40 };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        gm_rng rng = gm_rng_keyed(seed, 3, 0, GM_RNG_TEST);
        double x[N], w[N], at = -100;
        float grown[GM__QUANT_BINS], naive[GM__QUANT_BINS];
        int k = 1 + (int)gm_rng_below(&rng, 6);
        for (int i = 0; i < N; i++) {
            x[i] = at += 0.01 + (double)gm_rng_uniform(&rng) * (i % 50 == 0 ? 20 : 1);
            w[i] = 0.5 + (double)gm_rng_uniform(&rng);
        }
        assert_int_equal(gm__cluster_exact(x, w, N, grown, k, NULL), GM_OK);
        memcpy(naive, grown, sizeof naive);
        assert_int_equal(gm__cluster_grow(x, w, N, grown, k, TO), TO);
        for (; k < TO; k++) {
            double best = -1;
            float two[2], pair[2] = {0};
            int cell = 0, from;
            for (int c = 0; c < k; c++) {
                int end = naive_cell(x, N, naive, k, c, &from);
                double saved = naive_cut(x, w, from, end, two);
                if (saved <= best) continue;
                best = saved;
                cell = c;
                memcpy(pair, two, sizeof pair);
            }
            memmove(naive + cell + 1, naive + cell, (size_t)(k - cell) * sizeof *naive);
            memcpy(naive + cell, pair, sizeof pair);
        }
        for (int c = 0; c < TO; c++) assert_true(fabsf(grown[c] - naive[c]) <= 1e-4f);
    }
    const double two_points[] = {1, 2}, even[] = {1, 1};
    float centre[GM__QUANT_BINS] = {1.5f};
    assert_int_equal(gm__cluster_grow(two_points, even, 2, centre, 1, 5), 2); // no cell has two points any more
}

// Arthur and Vassilvitskii's bound, with the sketch's alpha, as the paper states it.
static void seeding_keeps_its_bound(void **unused) {
    (void)unused;
    enum { N = 300, K = 8, SEEDS = 60 };
    double x[N], w[N], mean = 0;
    float centre[GM__QUANT_BINS];
    gm_rng rng = gm_rng_keyed(4, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < N; i++) {
        x[i] = (i + 0.5) / N;
        w[i] = (1 + gm_rng_below(&rng, 9)) / 1500.0;
    }
    assert_int_equal(gm__cluster_exact(x, w, N, centre, K, NULL), GM_OK);
    double least = gm__cluster_loss(x, w, N, centre, K);
    for (int s = 0; s < SEEDS; s++) {
        gm__cluster_seed(x, w, N, centre, K, &rng);
        mean += gm__cluster_loss(x, w, N, centre, K) / SEEDS;
    }
    assert_true(mean > least && mean <= 16 * (log(K) + 2) * (least + 1e-4));
}

static void memory_may_run_out_when_clustering(void **unused) {
    (void)unused;
    double x[3] = {1, 2, 3}, w[3] = {1, 1, 1};
    float centre[2];
    for (long n = 1; n <= 3; n++) {
        size_t live = gm_alloc_live();
        gm_alloc_fail_at(n);
        assert_int_equal(gm__cluster_exact(x, w, 3, centre, 2, NULL), GM_ERR_MEMORY);
        gm_alloc_fail_at(0);
        assert_int_equal(gm_alloc_live(), live);
    }
}

// Counts 5, 2, 1, 1: lengths 1, 2, 3, 3 and 15 bits; the table: gamma(5) 5, gaps 3+1, 2 -> 1.. by hand below.
static void huffman_codes_are_those_made_by_hand(void **unused) {
    (void)unused;
    uint32_t *count = gm_alloc(GM__HUFFMAN_KEYS, sizeof *count);
    gm__huffman h;
    count[2] = 5;
    count[3] = 2;
    count[7] = 1;
    count[8] = 1;
    assert_int_equal(gm__huffman_build(&h, count, NULL), GM_OK);
    assert_int_equal(h.symbols, 4);
    static const uint8_t length[] = {1, 2, 3, 3};
    static const uint32_t code[] = {0, 2, 6, 7};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(h.length[i], length[i]);
        assert_int_equal(h.code[i], code[i]);
    }
    // table: gamma(4+1) 5; gamma(2+1) 3, gamma(1) 1, gamma(4) 5, gamma(1) 1; four lengths of 6; data 5*1 + 2*2 + 3 + 3
    assert_int_equal(gm__huffman_bits(&h, count), 5 + 3 + 1 + 5 + 1 + 24 + 15);
    gm__huffman_fini(&h);
    memset(count, 0, GM__HUFFMAN_KEYS * sizeof *count);
    count[9] = 1000; // one symbol costs nothing
    assert_int_equal(gm__huffman_build(&h, count, NULL), GM_OK);
    assert_int_equal(gm__huffman_bits(&h, count), 3 + 7 + 6);
    gm__huffman_fini(&h);
    gm_free(count);
}

static void huffman_codes_never_exceed_32_bits(void **unused) {
    (void)unused;
    uint32_t *count = gm_alloc(GM__HUFFMAN_KEYS, sizeof *count), a = 1, b = 1;
    gm__huffman h;
    for (int i = 0; i < 45; i++) { // Fibonacci: the deepest trees
        count[i] = a;
        uint32_t next = a + b;
        a = b;
        b = next;
    }
    assert_int_equal(gm__huffman_build(&h, count, NULL), GM_OK);
    uint64_t used = 0;
    for (int i = 0; i < h.symbols; i++) {
        assert_in_range(h.length[i], 1, GM__HUFFMAN_LONGEST);
        used += (uint64_t)1 << (GM__HUFFMAN_LONGEST - h.length[i]);
    }
    assert_true(used == (uint64_t)1 << GM__HUFFMAN_LONGEST);
    gm__huffman_fini(&h);
    gm_free(count);
}

// A state of one tensor with these ids (ring numbers: 4 pruned, 5 protected).
static gm__quant_state *state_of(const int *ring, int n) {
    gm__quant_config c = {.bins = 4, .embedding_bins = 4};
    gm__quant_shape shape = {"t", GM__QUANT_LINEAR, (size_t)n};
    gm__quant_state *s = NULL;
    assert_int_equal(gm__quant_state_create(&shape, sizeof shape, 1, &c, &s, NULL), GM_OK);
    for (int i = 0; i < n; i++) s->ids[i] = (uint8_t)(ring[i] < 4 ? ring[i] : GM__QUANT_PRUNED + ring[i] - 4);
    assert_int_equal(gm__quant_state_index(s, NULL), GM_OK);
    gm__quant_state_seal(s);
    return s;
}

// The golden example: D = 0 5 0 3 0 5 0 0, streams by previous id 0:{0,5} 1:{0,5} 2:{0} 3:{3} 4:{0} 5:{0}, so the keys are
// 0 10 0 10 0 6 0 0. Lengths: 0 five times 1 bit, 10 twice and 6 once 2 bits: 11 bits after the table.
static void the_published_coder_makes_the_golden_streams(void **unused) {
    (void)unused;
    static const int before[] = {0, 0, 1, 3, 2, 1, 5, 4}, after[] = {0, 1, 1, 0, 2, 2, 5, 4};
    gm__quant_state *a = state_of(before, 8), *b = state_of(after, 8), *read = state_of(before, 8);
    uint8_t *data = NULL;
    size_t bytes = 0;
    bool whole = false;
    assert_int_equal(gm__paper_encode(b, a, GM__QUANT_PAPER, &data, &bytes, NULL), GM_OK);
    gm__bit_reader r = {.data = data, .bytes = bytes};
    gm__huffman h;
    assert_int_equal(gm__bits_get1(&r), 0); // one table
    assert_int_equal(gm__huffman_get_table(&r, &h, &whole, NULL), GM_OK);
    assert_true(whole && h.symbols == 3);
    // runs: stream 3 {3} and the streams {0} stand alone; nothing repeats inside a stream
    static const uint32_t keys[] = {0, 10, 0, 10, 0, 6, 0, 0};
    for (size_t i = 0; i < 8; i++) assert_int_equal(gm__huffman_get(&r, &h), keys[i]);
    gm__huffman_fini(&h);
    assert_int_equal(gm__paper_decode(read, a, GM__QUANT_PAPER, data, bytes, &whole, NULL), GM_OK);
    assert_true(whole);
    assert_memory_equal(read->ids, b->ids, 8);
    gm_free(data);
    gm__quant_state_destroy(a);
    gm__quant_state_destroy(b);
    gm__quant_state_destroy(read);
}

static void runs_become_a_value_and_a_length(void **unused) {
    (void)unused;
    static const int before[] = {1, 1, 1, 1, 1, 2}, after[] = {1, 1, 1, 1, 3, 2};
    gm__quant_state *a = state_of(before, 6), *b = state_of(after, 6), *read = state_of(before, 6);
    uint8_t *data = NULL;
    size_t bytes = 0;
    bool whole = false;
    assert_int_equal(gm__paper_encode(b, a, GM__QUANT_RLE, &data, &bytes, NULL), GM_OK);
    gm__bit_reader r = {.data = data, .bytes = bytes};
    gm__huffman h;
    assert_int_equal(gm__bits_get1(&r), 0);
    assert_int_equal(gm__huffman_get_table(&r, &h, &whole, NULL), GM_OK);
    static const uint32_t keys[] = {0, 2 * 4 + 1, 2 * 4, 0}; // 0, four times; (1 - 3) mod 6; 0
    for (size_t i = 0; i < 4; i++) assert_int_equal(gm__huffman_get(&r, &h), keys[i]);
    gm__huffman_fini(&h);
    assert_int_equal(gm__paper_decode(read, a, GM__QUANT_RLE, data, bytes, &whole, NULL), GM_OK);
    assert_true(whole);
    assert_memory_equal(read->ids, b->ids, 6);
    gm_free(data);
    gm__quant_state_destroy(a);
    gm__quant_state_destroy(b);
    gm__quant_state_destroy(read);
}

static void range_coded_numbers_come_back(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        enum { N = 400 };
        uint32_t value[N];
        gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
        gm__range_writer w;
        gm__range_reader r;
        gm__bit model[64], bit;
        int n = seed == 1 ? 0 : N;
        gm__bit_init(model, 64);
        gm__bit_init(&bit, 1);
        gm__range_begin(&w);
        for (int i = 0; i < n; i++) {
            int size = (int)gm_rng_below(&rng, 33);
            value[i] = size == 0 ? 0 : gm_rng_u32(&rng) >> (32 - size);
            gm__range_put_number(&w, model, value[i]);
            gm__range_put(&w, &bit, value[i] % 16 == 0);
            gm__range_put_direct(&w, value[i] & 0x7ff, 11);
        }
        assert_true(gm__range_end(&w));
        gm__bit_init(model, 64);
        gm__bit_init(&bit, 1);
        gm__range_open(&r, w.data, w.bytes);
        for (int i = 0; i < n; i++) {
            assert_int_equal(gm__range_get_number(&r, model), value[i]);
            assert_int_equal(gm__range_get(&r, &bit), value[i] % 16 == 0);
            assert_int_equal(gm__range_get_direct(&r, 11), value[i] & 0x7ff);
        }
        assert_false(gm__range_broken(&r));
        assert_true(r.at == r.end);
        gm_free(w.data);
    }
}

static void frequencies_add_up_and_leave_no_symbol_out(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
        uint32_t count[GM__RANS_SYMBOLS] = {0}, sum = 0;
        uint16_t f[GM__RANS_SYMBOLS];
        int symbols = 1 + (int)gm_rng_below(&rng, GM__RANS_SYMBOLS), shape = (int)gm_rng_below(&rng, 3);
        for (int i = 0; i < symbols; i++)
            count[i] = shape == 0 ? gm_rng_below(&rng, 3) : shape == 1 ? gm_rng_u32(&rng) >> gm_rng_below(&rng, 32) : 1000;
        (void)gm__rans_normalise(count, symbols, f);
        for (int i = 0; i < symbols; i++) {
            sum += f[i];
            if (count[i]) assert_true(f[i] > 0);
        }
        assert_int_equal(sum, GM__RANS_TOTAL);
    }
}

// Symbols in several contexts, in runs of awkward lengths; the code is near the entropy and comes back exactly.
static void rans_codes_come_back_and_are_near_the_entropy(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        enum { CONTEXTS = 3, SYMBOLS = 34, RUNS = 5 };
        static uint8_t symbol[RUNS][9000], context[RUNS][9000], back[RUNS][9000];
        uint32_t count[CONTEXTS][SYMBOLS] = {{0}};
        uint16_t f[SYMBOLS];
        gm__rans_encoder encoder[CONTEXTS][SYMBOLS];
        static uint32_t decoder[CONTEXTS][GM__RANS_TOTAL];
        const gm__rans_encoder *encoders[CONTEXTS];
        const uint32_t *decoders[CONTEXTS];
        gm__rans_run run[RUNS];
        gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
        double bits = 0;
        size_t total = 0;
        for (int k = 0; k < RUNS; k++) {
            size_t n = k == 2 ? 0 : k == 1 ? 3 : gm_rng_below(&rng, 9000);
            for (size_t i = 0; i < n; i++) {
                uint8_t c = context[k][i] = (uint8_t)gm_rng_below(&rng, CONTEXTS);
                uint32_t often = gm_rng_below(&rng, 100);
                // context 0: always the same; 1: mostly; 2: anything
                symbol[k][i] = (uint8_t)(c == 0 || (c == 1 && often < 97) ? c : gm_rng_below(&rng, SYMBOLS));
                count[c][symbol[k][i]]++;
            }
            run[k] = (gm__rans_run){.count = n, .context = context[k], .symbol = symbol[k]};
            total += n;
        }
        for (int c = 0; c < CONTEXTS; c++) {
            bits += gm__quant_entropy(count[c], SYMBOLS);
            (void)gm__rans_normalise(count[c], SYMBOLS, f);
            gm__rans_encoder_row(f, SYMBOLS, encoder[c]);
            gm__rans_decoder_row(f, SYMBOLS, decoder[c]);
            encoders[c] = encoder[c];
            decoders[c] = decoder[c];
        }
        size_t room = gm__rans_bound(total);
        uint8_t *to = malloc(room);
        for (int k = 0; k < RUNS; k++) run[k].row.encoder = encoders;
        size_t used = gm__rans_encode(run, RUNS, to, room);
        assert_true((double)used * 8 < bits * 1.02 + 8 * 4 * GM__RANS_LANES + 16);
        for (int k = 0; k < RUNS; k++) {
            run[k].row.decoder = decoders;
            run[k].symbol = back[k];
        }
        assert_true(gm__rans_decode(run, RUNS, to + room - used, used));
        for (int k = 0; k < RUNS; k++) assert_memory_equal(back[k], symbol[k], run[k].count);
        assert_false(gm__rans_decode(run, RUNS, to + room - used, used - 1));
        free(to);
    }
}

static void bf16_rounds_to_even_and_keeps_nan(void **unused) {
    (void)unused;
    static const uint32_t golden[][2] = {{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82},
                                         {0x3f808001, 0x3f81}, {0x7f7fffff, 0x7f80}};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
        assert_int_equal(gm_bf16_from_f32(gm__float(golden[i][0])), golden[i][1]);
    static const uint32_t nans[] = {0x7f800001, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < 3; i++) assert_true(isnan(gm_bf16_to_f32(gm_bf16_from_f32(gm__float(nans[i])))));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sketch_gives_the_golden_buckets_and_values),
        cmocka_unit_test(quantiles_of_the_sketch_are_within_alpha),
        cmocka_unit_test(exact_clustering_is_exact_and_the_others_are_not_better),
        cmocka_unit_test(a_codebook_grows_where_a_cut_saves_most),
        cmocka_unit_test(seeding_keeps_its_bound),
        cmocka_unit_test(memory_may_run_out_when_clustering),
        cmocka_unit_test(huffman_codes_are_those_made_by_hand),
        cmocka_unit_test(huffman_codes_never_exceed_32_bits),
        cmocka_unit_test(the_published_coder_makes_the_golden_streams),
        cmocka_unit_test(runs_become_a_value_and_a_length),
        cmocka_unit_test(range_coded_numbers_come_back),
        cmocka_unit_test(frequencies_add_up_and_leave_no_symbol_out),
        cmocka_unit_test(rans_codes_come_back_and_are_near_the_entropy),
        cmocka_unit_test(bf16_rounds_to_even_and_keeps_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
