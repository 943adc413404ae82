// SPDX-License-Identifier: Apache-2.0
// Layer norm, RMS norm, attention, embedding: every level against double precision, gradients against finite
// differences of the definition.
#include "kernel_check.h"

static gm_rng rng;

enum { MOST = 130 };

// --- norms over a row ---

typedef struct row_case {
    int c;
    bool rms;
    double x[MOST], gamma[MOST], beta[MOST], dy[MOST];
} row_case;

static void row_forward(const row_case *r, double *y) {
    double mean = 0, var = 0;
    for (int i = 0; i < r->c && !r->rms; i++) mean += r->x[i] / r->c;
    for (int i = 0; i < r->c; i++) var += (r->x[i] - mean) * (r->x[i] - mean) / r->c;
    for (int i = 0; i < r->c; i++) y[i] = (r->x[i] - mean) / sqrt(var + 1e-3) * r->gamma[i] + r->beta[i];
}

static double row_loss(const row_case *r) {
    double y[MOST], loss = 0;
    row_forward(r, y);
    for (int i = 0; i < r->c; i++) loss += y[i] * r->dy[i];
    return loss;
}

static double slope_of(const row_case *r, double *at) {
    double keep = *at, h = 1e-6;
    *at = keep + h;
    double up = row_loss(r);
    *at = keep - h;
    double down = row_loss(r);
    *at = keep;
    return (up - down) / (2 * h);
}

static void row_norm_of_one(const gm_kernels *k, gm_dtype t, int c, bool rms, bool accumulate) {
    enum { ROWS = 3 };
    check_matrix x = check_input(&rng, t, ROWS, c, 1, 2), y = check_output(t, ROWS, c, 0);
    check_matrix dy = check_input(&rng, t, ROWS, c, 0, 1), old = check_input(&rng, t, ROWS, c, 2, 1);
    check_matrix dx = check_copy(&old), p = check_input(&rng, GM_F32, 2, c, 0, 1);
    check_matrix sums = check_input(&rng, GM_F32, 2, c, 0, 0);
    float mean[ROWS], rstd[ROWS], *gamma = p.data, *beta = gamma + p.ld, *dgamma = sums.data;
    float *dbeta = dgamma + sums.ld;
    for (int i = 0; i < c; i++) dgamma[i] = dbeta[i] = 5; // added to
    if (!accumulate) memset(dx.data, CHECK_POISON, check_bytes(&dx));
    if (rms) {
        k->rms_norm(t, ROWS, c, x.data, x.ld, gamma, 1e-3f, y.data, y.ld, rstd);
        k->rms_norm_grad(t, ROWS, c, x.data, x.ld, gamma, rstd, dy.data, dy.ld, accumulate, dx.data, dx.ld, dgamma);
    } else {
        k->layer_norm(t, ROWS, c, x.data, x.ld, gamma, beta, 1e-3f, y.data, y.ld, NULL, NULL);
        k->layer_norm(t, ROWS, c, x.data, x.ld, gamma, beta, 1e-3f, y.data, y.ld, mean, rstd);
        k->layer_norm_grad(t, ROWS, c, x.data, x.ld, gamma, mean, rstd, dy.data, dy.ld, accumulate, dx.data, dx.ld,
                           dgamma, dbeta);
    }
    check_frame(&y, "row norm");
    check_frame(&dx, "row norm gradient");
    double want_gamma[MOST] = {0}, want_beta[MOST] = {0};
    for (int row = 0; row < ROWS; row++) {
        row_case r = {.c = c, .rms = rms};
        for (int i = 0; i < c; i++) {
            r.x[i] = check_get(&x, row, i), r.dy[i] = check_get(&dy, row, i);
            r.gamma[i] = gamma[i], r.beta[i] = rms ? 0 : beta[i];
        }
        double want[MOST];
        row_forward(&r, want);
        for (int i = 0; i < c; i++) {
            check_near(t, check_get(&y, row, i), want[i], 3e-6, "row norm");
            double slope = slope_of(&r, &r.x[i]);
            // x of c = 1 has no gradient but rstd is 1/sqrt(eps): rounding is seen magnified
            double slack = 5e-6 * (1 + fabs(slope)) + (c < 3 ? 2e-4 : 0);
            check_near(t, check_get(&dx, row, i), slope + (accumulate ? check_get(&old, row, i) : 0), slack,
                       "row norm dx");
            want_gamma[i] += slope_of(&r, &r.gamma[i]);
            want_beta[i] += slope_of(&r, &r.beta[i]);
        }
    }
    for (int i = 0; i < c; i++) {
        check_near(GM_F32, dgamma[i], 5 + want_gamma[i], 1e-5, "row norm dgamma");
        if (!rms) check_near(GM_F32, dbeta[i], 5 + want_beta[i], 1e-5, "row norm dbeta");
    }
    check_free(&x);
    check_free(&y);
    check_free(&dy);
    check_free(&old);
    check_free(&dx);
    check_free(&p);
    check_free(&sums);
}

static void layer_and_rms_norm_match_finite_differences(void **state) {
    (void)state;
    CHECK_EVERY(for (int w = 0; w < CHECK_WIDTHS; w++) for (int rms = 0; rms < 2; rms++)
                    row_norm_of_one(k, t, check_widths[w], rms, w % 2);)
}

// --- attention ---

enum { TOKENS = 9, HEADS = 3, WIDE = 80 };

typedef struct attention_case {
    int tokens, heads, dim;
    bool causal;
    double scale, q[TOKENS][HEADS * WIDE], k[TOKENS][HEADS * WIDE], v[TOKENS][HEADS * WIDE], dy[TOKENS][HEADS * WIDE];
} attention_case;

static double attend(const attention_case *a, double y[TOKENS][HEADS * WIDE]) {
    double loss = 0;
    for (int h = 0; h < a->heads; h++)
        for (int i = 0; i < a->tokens; i++) {
            double p[TOKENS], sum = 0;
            int seen = a->causal ? i + 1 : a->tokens, at = h * a->dim;
            for (int j = 0; j < seen; j++) {
                p[j] = 0;
                for (int d = 0; d < a->dim; d++) p[j] += a->q[i][at + d] * a->k[j][at + d];
                sum += p[j] = exp(a->scale * p[j]);
            }
            for (int d = 0; d < a->dim; d++) {
                double out = 0;
                for (int j = 0; j < seen; j++) out += p[j] / sum * a->v[j][at + d];
                if (y) y[i][at + d] = out;
                loss += out * a->dy[i][at + d];
            }
        }
    return loss;
}

static void attention_of_one(const gm_kernels *k, gm_dtype t, int tokens, int heads, int dim, bool causal) {
    static attention_case a;
    static double want[TOKENS][HEADS * WIDE];
    int c = heads * dim;
    check_matrix q = check_input(&rng, t, tokens, c, 1, 1), ks = check_input(&rng, t, tokens, c, 1, 1);
    check_matrix v = check_input(&rng, t, tokens, c, 1, 1), dy = check_input(&rng, t, tokens, c, 0, 1);
    check_matrix y = check_output(t, tokens, c, 0), dq = check_output(t, tokens, c, 2);
    check_matrix dk = check_output(t, tokens, c, 2), dv = check_output(t, tokens, c, 2);
    float probs[HEADS * TOKENS * TOKENS], scratch[TOKENS], scale = (float)(1 / sqrt(dim));
    k->attention(t, tokens, heads, dim, q.data, ks.data, v.data, q.ld, scale, causal, probs, y.data, y.ld);
    k->attention_grad(t, tokens, heads, dim, q.data, ks.data, v.data, q.ld, scale, probs, dy.data, dy.ld, dq.data,
                      dk.data, dv.data, dq.ld, scratch);
    check_frame(&y, "attention");
    check_frame(&dq, "attention dq");
    check_frame(&dk, "attention dk");
    check_frame(&dv, "attention dv");
    a = (attention_case){.tokens = tokens, .heads = heads, .dim = dim, .causal = causal, .scale = scale};
    for (int i = 0; i < tokens; i++)
        for (int d = 0; d < c; d++) {
            a.q[i][d] = check_get(&q, i, d), a.k[i][d] = check_get(&ks, i, d), a.v[i][d] = check_get(&v, i, d);
            a.dy[i][d] = check_get(&dy, i, d);
        }
    attend(&a, want);
    for (int i = 0; i < tokens; i++)
        for (int d = 0; d < c; d++) {
            check_near(t, check_get(&y, i, d), want[i][d], 3e-6, "attention");
            if ((i * c + d) % 7) continue;
            double *in[3] = {&a.q[i][d], &a.k[i][d], &a.v[i][d]}, h = 1e-6;
            const check_matrix *got[3] = {&dq, &dk, &dv};
            for (int j = 0; j < 3; j++) {
                double keep = *in[j];
                *in[j] = keep + h;
                double up = attend(&a, NULL);
                *in[j] = keep - h;
                double slope = (up - attend(&a, NULL)) / (2 * h);
                *in[j] = keep;
                check_near(t, check_get(got[j], i, d), slope, 2e-5, "attention gradient");
            }
        }
    check_free(&q);
    check_free(&ks);
    check_free(&v);
    check_free(&dy);
    check_free(&y);
    check_free(&dq);
    check_free(&dk);
    check_free(&dv);
}

static void attention_matches_finite_differences(void **state) {
    (void)state;
    CHECK_EVERY(for (int causal = 0; causal < 2; causal++) {
        attention_of_one(k, t, 1, 1, 3, causal);
        attention_of_one(k, t, 5, 2, 8, causal);
        attention_of_one(k, t, 9, 3, 20, causal);
        attention_of_one(k, t, 4, 1, 80, causal);
    })
}

// --- embedding ---

static void embedding_copies_rows_and_adds_gradients(void **state) {
    (void)state;
    CHECK_EVERY(for (int w = 0; w < CHECK_WIDTHS; w++) {
        enum { ROWS = 6, WORDS = 4 };
        static const int id[ROWS] = {2, 0, 2, 3, 2, 0};
        int c1 = check_widths[w];
        check_matrix table = check_input(&rng, GM_F32, WORDS, c1, 1, 1), y = check_output(t, ROWS, c1, 1);
        check_matrix dy = check_input(&rng, t, ROWS, c1, 0, 1), d = check_input(&rng, GM_F32, WORDS, c1, 1, 1);
        check_matrix d0 = check_copy(&d);
        k->embedding(t, ROWS, c1, id, table.data, table.ld, y.data, y.ld);
        k->embedding_grad(t, ROWS, c1, id, dy.data, dy.ld, d.data, d.ld);
        check_frame(&y, "embedding");
        check_frame(&d, "embedding_grad");
        for (int c = 0; c < c1; c++) {
            for (int row = 0; row < ROWS; row++)
                check_near(t, check_get(&y, row, c), check_get(&table, id[row], c), 0, "embedding");
            for (int word = 0; word < WORDS; word++) {
                double want = check_get(&d0, word, c);
                for (int row = 0; row < ROWS; row++) want += id[row] == word ? check_get(&dy, row, c) : 0;
                check_near(GM_F32, check_get(&d, word, c), want, 1e-6, "embedding_grad");
            }
        }
        check_free(&table);
        check_free(&y);
        check_free(&dy);
        check_free(&d);
        check_free(&d0);
    })
}

int main(void) {
    print_message("seed %d\n", CHECK_SEED);
    rng = gm_rng_keyed(CHECK_SEED, 4, 0, GM_RNG_TEST);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_and_rms_norm_match_finite_differences),
        cmocka_unit_test(attention_matches_finite_differences),
        cmocka_unit_test(embedding_copies_rows_and_adds_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
