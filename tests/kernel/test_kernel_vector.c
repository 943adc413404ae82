// SPDX-License-Identifier: Apache-2.0
// Elementwise kernels, batch norm, optimizers: every level against double precision.
#include "kernel_check.h"

static gm_rng rng;

// --- activations ---

static void act_follows_its_definition(void **state) {
    (void)state;
    CHECK_EVERY(for (int a = GM_ACT_NONE; a <= GM_ACT_SIGMOID; a++) for (int w = 0; w < CHECK_WIDTHS; w++) {
        check_matrix x = check_input(&rng, t, 5, check_widths[w], w % 2, 4);
        check_matrix y = check_output(t, 5, x.c, w % 3);
        k->act(t, (gm_act)a, 5, x.c, x.data, x.ld, y.data, y.ld);
        check_frame(&y, "act");
        for (int row = 0; row < 5; row++)
            for (int c = 0; c < x.c; c++)
                check_near(t, check_get(&y, row, c), check_act((gm_act)a, check_get(&x, row, c)), 6e-7, "act");
        check_free(&x);
        check_free(&y);
    })
}

static void act_grad_is_the_slope_of_act(void **state) {
    (void)state;
    CHECK_EVERY(for (int a = GM_ACT_NONE; a <= GM_ACT_SIGMOID; a++) for (int w = 0; w < CHECK_WIDTHS; w++) {
        bool accumulate = w % 2;
        check_matrix x = check_input(&rng, t, 4, check_widths[w], w % 2, 3);
        check_matrix dy = check_input(&rng, t, 4, x.c, w % 3, 1);
        check_matrix old = check_input(&rng, t, 4, x.c, w % 4, 1), dx = check_copy(&old);
        if (!accumulate) memset(dx.data, CHECK_POISON, check_bytes(&dx));
        k->act_grad(t, (gm_act)a, 4, x.c, x.data, x.ld, dy.data, dy.ld, accumulate, dx.data, dx.ld);
        check_frame(&dx, "act_grad");
        for (int row = 0; row < 4; row++)
            for (int c = 0; c < x.c; c++) {
                double v = check_get(&x, row, c);
                if (check_at_kink((gm_act)a, v)) continue;
                double d = check_get(&dy, row, c) * check_act_slope((gm_act)a, v);
                double want = d + (accumulate ? check_get(&old, row, c) : 0);
                check_near(t, check_get(&dx, row, c), want, 2e-6 * (1 + fabs(d)), "act_grad");
            }
        check_free(&x);
        check_free(&dy);
        check_free(&old);
        check_free(&dx);
    })
}

// The transcendental ones over their whole range, in units of the last place of the answer.
static void exp_and_erf_stay_within_two_units(void **state) {
    (void)state;
    enum { N = 1 << 16 };
    check_matrix x = check_output(GM_F32, 1, N, 0), y = check_output(GM_F32, 1, N, 0);
    for (int level = GM_CPU_REF; level <= (int)gm_cpu_detected(); level++) {
        const gm_kernels *k = gm_kernels_at((gm_cpu_level)level);
        for (int i = 0; i < N; i++) ((float *)x.data)[i] = (float)(-20 + 40.0 * i / N);
        k->act(GM_F32, GM_ACT_SIGMOID, 1, N, x.data, x.ld, y.data, y.ld);
        for (int i = 0; i < N; i++) {
            double v = check_get(&x, 0, i), want = 1 / (1 + exp(-v));
            if (fabs(check_get(&y, 0, i) - want) > 3 * 1.2e-7 * want)
                fail_msg("sigmoid(%g): %g, expected %g", v, check_get(&y, 0, i), want);
        }
        k->act(GM_F32, GM_ACT_GELU, 1, N, x.data, x.ld, y.data, y.ld);
        for (int i = 0; i < N; i++) {
            double v = check_get(&x, 0, i), want = 0.5 * v * erfc(-v / sqrt(2));
            if (fabs(check_get(&y, 0, i) - want) > 2.4e-7 * fabs(v))
                fail_msg("gelu(%g): %g, expected %g", v, check_get(&y, 0, i), want);
        }
        // one row of softmax gives exp itself: the largest logit is 0 and the sum is known
        for (int i = 0; i < N; i++) ((float *)x.data)[i] = (float)(-100.0 * i / N);
        double sum = 0;
        for (int i = 0; i < N; i++) sum += exp(check_get(&x, 0, i));
        k->softmax(1, N, x.data, x.ld, y.data, y.ld);
        for (int i = 0; i < N; i++) {
            double want = exp(check_get(&x, 0, i)) / sum;
            if (want < 1.2e-38) break;
            if (fabs(check_get(&y, 0, i) - want) > 4e-7 * want)
                fail_msg("softmax of %g: %g, expected %g", check_get(&x, 0, i), check_get(&y, 0, i), want);
        }
    }
    check_free(&x);
    check_free(&y);
}

static void nan_stays_nan(void **state) {
    (void)state;
    CHECK_EVERY(for (int a = GM_ACT_NONE; a <= GM_ACT_SIGMOID; a++) {
        check_matrix x = check_input(&rng, t, 1, 40, 0, 1), y = check_output(t, 1, 40, 0);
        float one[40];
        for (int c = 0; c < 40; c++) one[c] = 1;
        check_set(&x, 0, 5, NAN);
        check_set(&x, 0, 39, NAN);
        k->act(t, (gm_act)a, 1, 40, x.data, x.ld, y.data, y.ld);
        assert_true(isnan(check_get(&y, 0, 5)) && isnan(check_get(&y, 0, 39)) && !isnan(check_get(&y, 0, 6)));
        k->norm_apply(t, 1, 40, x.data, x.ld, one, one, NULL, 0, (gm_act)a, y.data, y.ld);
        assert_true(isnan(check_get(&y, 0, 5)) && isnan(check_get(&y, 0, 39)) && !isnan(check_get(&y, 0, 6)));
        check_free(&x);
        check_free(&y);
    })
}

// --- add, convert, channel scale ---

static void add_adds(void **state) {
    (void)state;
    CHECK_EVERY(for (int w = 0; w < CHECK_WIDTHS; w++) {
        check_matrix a = check_input(&rng, t, 3, check_widths[w], 0, 1), b = check_input(&rng, t, 3, a.c, 1, 1);
        check_matrix y = check_output(t, 3, a.c, 2);
        k->add(t, 3, a.c, a.data, a.ld, b.data, b.ld, y.data, y.ld);
        check_frame(&y, "add");
        for (int row = 0; row < 3; row++)
            for (int c = 0; c < a.c; c++)
                check_near(t, check_get(&y, row, c), check_get(&a, row, c) + check_get(&b, row, c), 0, "add");
        check_free(&a);
        check_free(&b);
        check_free(&y);
    })
}

static void convert_rounds_to_nearest_even(void **state) {
    (void)state;
    enum { N = 1003 };
    CHECK_EVERY(for (int count = 0; t == GM_F32 && count <= N; count += count < 70 ? 1 : 311) {
        float x[N + 1];
        gm_bf16 y[N + 1];
        for (int i = 0; i < count; i++) {
            uint32_t bits = gm_rng_u32(&rng); // any normal number, and NaN
            if ((bits >> 23 & 0xff) == 0) bits = 0;
            memcpy(&x[i], &bits, 4);
            if (i % 3 == 0) x[i] = gm_bf16_to_f32((gm_bf16)(bits >> 16)) * (1 + 0x1p-8f); // ties
        }
        y[count] = 0x1234;
        k->convert(GM_F32, GM_BF16, (size_t)count, x, y);
        assert_int_equal(y[count], 0x1234);
        for (int i = 0; i < count; i++) {
            if (isnan(x[i]))
                assert_true(isnan(gm_bf16_to_f32(y[i])));
            else if (fabsf(x[i]) > 1.2e-38f || x[i] == 0)
                assert_int_equal(y[i], gm_bf16_from_f32(x[i]));
        }
        x[count] = 42;
        k->convert(GM_BF16, GM_F32, (size_t)count, y, x);
        assert_true(x[count] == 42);
        for (int i = 0; i < count; i++) {
            float want = gm_bf16_to_f32(y[i]);
            assert_memory_equal(&x[i], &want, 4);
        }
    })
}

static void channel_scale_and_its_gradient(void **state) {
    (void)state;
    CHECK_EVERY(for (int w = 0; w < CHECK_WIDTHS; w++) {
        enum { N = 2, P = 7 };
        bool accumulate = w % 2;
        int c1 = check_widths[w];
        check_matrix x = check_input(&rng, t, N * P, c1, 0, 1), s = check_input(&rng, t, N, c1, 1, 1);
        check_matrix dy = check_input(&rng, t, N * P, c1, 2, 1), y = check_output(t, N * P, c1, 1);
        check_matrix old = check_input(&rng, t, N * P, c1, 1, 1), dx = check_copy(&old);
        check_matrix ds = check_output(t, N, c1, 0);
        k->channel_scale(t, N, P, c1, x.data, x.ld, s.data, s.ld, y.data, y.ld);
        k->channel_scale_grad(t, N, P, c1, x.data, x.ld, s.data, s.ld, dy.data, dy.ld, accumulate, dx.data, dx.ld,
                              ds.data, ds.ld);
        check_frame(&y, "channel_scale");
        check_frame(&dx, "channel_scale_grad dx");
        check_frame(&ds, "channel_scale_grad ds");
        for (int c = 0; c < c1; c++)
            for (int n = 0; n < N; n++) {
                double sum = 0, f = check_get(&s, n, c);
                for (int row = n * P; row < (n + 1) * P; row++) {
                    double v = check_get(&x, row, c), d = check_get(&dy, row, c);
                    sum += v * d;
                    check_near(t, check_get(&y, row, c), v * f, 0, "channel_scale");
                    double want = d * f + (accumulate ? check_get(&old, row, c) : 0);
                    check_near(t, check_get(&dx, row, c), want, 1e-6, "channel_scale_grad dx");
                }
                check_near(t, check_get(&ds, n, c), sum, 1e-5, "channel_scale_grad ds");
            }
        check_free(&x);
        check_free(&s);
        check_free(&dy);
        check_free(&y);
        check_free(&old);
        check_free(&dx);
        check_free(&ds);
    })
}

// --- batch norm ---

static void norm_stats_sum_every_row(void **state) {
    (void)state;
    static const int row_counts[] = {1, 7, 64, 65, 200};
    CHECK_EVERY(for (int w = 0; w < CHECK_WIDTHS; w++) {
        int rows = row_counts[w % 5];
        check_matrix x = check_input(&rng, t, rows, check_widths[w], w % 3, 1);
        check_matrix sum = check_output(GM_F32, 1, x.c, 0), sumsq = check_output(GM_F32, 1, x.c, 0);
        k->norm_stats(t, rows, x.c, x.data, x.ld, sum.data, sumsq.data);
        for (int c = 0; c < x.c; c++) {
            double s = 0, q = 0;
            for (int row = 0; row < rows; row++) {
                s += check_get(&x, row, c);
                q += check_get(&x, row, c) * check_get(&x, row, c);
            }
            check_near(GM_F32, check_get(&sum, 0, c), s, 3e-6 * sqrt(rows), "norm_stats sum");
            check_near(GM_F32, check_get(&sumsq, 0, c), q, 1e-6 * q, "norm_stats sumsq");
        }
        for (int c = x.c; c < sum.ld; c++) // exactly c floats are valid
            assert_true(isnan(check_get(&sum, 0, c)) && isnan(check_get(&sumsq, 0, c)));
        check_free(&x);
        check_free(&sum);
        check_free(&sumsq);
    })
}

static void norm_apply_scales_shifts_adds_activates(void **state) {
    (void)state;
    CHECK_EVERY(for (int a = GM_ACT_NONE; a <= GM_ACT_SIGMOID; a++) for (int w = 0; w < CHECK_WIDTHS; w++) {
        bool residual = (w + a) % 2;
        check_matrix x = check_input(&rng, t, 5, check_widths[w], w % 2, 2);
        check_matrix r = check_input(&rng, t, 5, x.c, w % 3, 2), y = check_output(t, 5, x.c, 1);
        // exactly c valid floats: what follows is NaN
        check_matrix p = check_output(GM_F32, 2, x.c, 0);
        for (int c = 0; c < x.c; c++) check_set(&p, 0, c, gm_rng_normal(&rng)), check_set(&p, 1, c, 1.5f);
        const float *scale = p.data, *shift = scale + p.ld;
        k->norm_apply(t, 5, x.c, x.data, x.ld, scale, shift, residual ? r.data : NULL, r.ld, (gm_act)a, y.data,
                      y.ld);
        check_frame(&y, "norm_apply");
        for (int row = 0; row < 5; row++)
            for (int c = 0; c < x.c; c++) {
                double pre = check_get(&x, row, c) * scale[c] + shift[c] + (residual ? check_get(&r, row, c) : 0);
                check_near(t, check_get(&y, row, c), check_act((gm_act)a, pre), 4e-6, "norm_apply");
            }
        check_free(&x);
        check_free(&r);
        check_free(&y);
        check_free(&p);
    })
}

// Training-mode batch norm of one channel in double: loss = sum of dy * act(gamma*(x - mean)*rstd + beta + residual).
typedef struct norm_case {
    int rows;
    double x[80], r[80], dy[80], gamma, beta;
    gm_act a;
} norm_case;

static double norm_loss(const norm_case *n, double *smallest_gap) {
    double mean = 0, var = 0, loss = 0;
    for (int i = 0; i < n->rows; i++) mean += n->x[i] / n->rows;
    for (int i = 0; i < n->rows; i++) var += (n->x[i] - mean) * (n->x[i] - mean) / n->rows;
    for (int i = 0; i < n->rows; i++) {
        double pre = n->gamma * (n->x[i] - mean) / sqrt(var + 1e-5) + n->beta + n->r[i];
        loss += n->dy[i] * check_act(n->a, pre);
        if (check_at_kink(n->a, pre)) *smallest_gap = 0;
    }
    return loss;
}

// The two backward passes together against finite differences of the whole operation.
static void norm_gradient_of_one(const gm_kernels *k, gm_dtype t, gm_act a, int c1, int rows, bool residual,
                                 bool accumulate) {
    check_matrix x = check_input(&rng, t, rows, c1, 1, 2), dy = check_input(&rng, t, rows, c1, 0, 1);
    check_matrix r = check_input(&rng, t, rows, c1, 2, 1), out = check_output(t, rows, c1, 0);
    check_matrix dx = check_output(t, rows, c1, 1), old = check_input(&rng, t, rows, c1, 1, 1);
    check_matrix dres = check_copy(&old), p = check_output(GM_F32, 12, c1, 0);
    float *v[12];
    for (int i = 0; i < 12; i++) v[i] = (float *)p.data + (size_t)i * (size_t)p.ld;
    float *sum = v[0], *sumsq = v[1], *mean = v[2], *rstd = v[3], *scale = v[4], *shift = v[5], *dz = v[6];
    float *dzx = v[7], *ca = v[8], *cb = v[9], *cd = v[10], *gamma = v[11];
    k->norm_stats(t, rows, c1, x.data, x.ld, sum, sumsq);
    const float beta = 0.3f;
    for (int c = 0; c < c1; c++) {
        gamma[c] = 0.5f + gm_rng_uniform(&rng);
        double m = (double)sum[c] / rows, s = 1 / sqrt((double)sumsq[c] / rows - m * m + 1e-5);
        mean[c] = (float)m, rstd[c] = (float)s;
        scale[c] = (float)(gamma[c] * s), shift[c] = (float)(beta - m * gamma[c] * s);
    }
    k->norm_apply(t, rows, c1, x.data, x.ld, scale, shift, residual ? r.data : NULL, r.ld, a, out.data, out.ld);
    const void *slope = residual ? out.data : NULL;
    k->norm_grad_stats(t, rows, c1, x.data, x.ld, scale, shift, slope, out.ld, a, dy.data, dy.ld, mean, rstd, dz, dzx);
    for (int c = 0; c < c1; c++) { // dx = gamma*rstd*(dz - mean(dz) - u*mean(dz*u)), u = (x - mean)*rstd
        ca[c] = scale[c];
        cb[c] = -scale[c] * rstd[c] * dzx[c] / (float)rows;
        cd[c] = -scale[c] * dz[c] / (float)rows - cb[c] * mean[c];
    }
    k->norm_grad_apply(t, rows, c1, x.data, x.ld, scale, shift, slope, out.ld, a, dy.data, dy.ld, ca, cb, cd, dx.data,
                       dx.ld, residual ? dres.data : NULL, dres.ld, accumulate);
    check_frame(&dx, "norm_grad_apply dx");
    check_frame(&dres, "norm_grad_apply dres");
    for (int c = 0; c < c1; c++) {
        norm_case n = {.rows = rows, .gamma = gamma[c], .beta = beta, .a = a};
        for (int i = 0; i < rows; i++) {
            n.x[i] = check_get(&x, i, c), n.dy[i] = check_get(&dy, i, c);
            n.r[i] = residual ? check_get(&r, i, c) : 0;
        }
        double gap = 1, h = 1e-6;
        norm_loss(&n, &gap);
        if (gap == 0) continue;
        double slack = 2e-5;
        for (int i = 0; i < rows; i += 3) {
            double keep = n.x[i];
            n.x[i] = keep + h;
            double up = norm_loss(&n, &gap);
            n.x[i] = keep - h;
            double want = (up - norm_loss(&n, &gap)) / (2 * h);
            n.x[i] = keep;
            check_near(t, check_get(&dx, i, c), want, slack * (1 + fabs(want)), "norm gradient dx");
            keep = n.r[i];
            n.r[i] = keep + h;
            up = norm_loss(&n, &gap);
            n.r[i] = keep - h;
            want = (up - norm_loss(&n, &gap)) / (2 * h) + (accumulate ? check_get(&old, i, c) : 0);
            n.r[i] = keep;
            if (residual) check_near(t, check_get(&dres, i, c), want, slack, "norm gradient dres");
        }
        n.gamma += h;
        double up = norm_loss(&n, &gap);
        n.gamma -= 2 * h;
        double want = (up - norm_loss(&n, &gap)) / (2 * h);
        check_near(GM_F32, dzx[c], want, 5e-5 * sqrt(rows), "norm_grad_stats sum_dzx");
        n.gamma += h;
        n.beta += h;
        up = norm_loss(&n, &gap);
        n.beta -= 2 * h;
        check_near(GM_F32, dz[c], (up - norm_loss(&n, &gap)) / (2 * h), 5e-5 * sqrt(rows), "norm_grad_stats sum_dz");
    }
    check_free(&x);
    check_free(&dy);
    check_free(&r);
    check_free(&out);
    check_free(&dx);
    check_free(&old);
    check_free(&dres);
    check_free(&p);
}

static void norm_gradient_matches_finite_differences(void **state) {
    (void)state;
    CHECK_EVERY(for (int a = GM_ACT_NONE; a <= GM_ACT_SIGMOID; a++) for (int w = 0; w < CHECK_WIDTHS; w += 2) {
        bool residual = a <= GM_ACT_RELU6 && w % 4 == 0;
        norm_gradient_of_one(k, t, (gm_act)a, check_widths[w], w % 3 ? 9 : 70, residual, w % 8 == 0);
    })
}

// --- optimizers ---

static void optimizers_follow_their_formulas(void **state) {
    (void)state;
    for (int level = GM_CPU_REF; level <= (int)gm_cpu_detected(); level++) {
        const gm_kernels *k = gm_kernels_at((gm_cpu_level)level);
        for (int n = 0; n < 70; n += n < 40 ? 1 : 13) {
            for (int kind = 0; kind < 3; kind++) {
                check_matrix w = check_input(&rng, GM_F32, 1, n + 1, 0, 1), g = check_input(&rng, GM_F32, 1, n + 1, 0, 1);
                check_matrix m = check_input(&rng, GM_F32, 1, n + 1, 0, 1), v = check_input(&rng, GM_F32, 1, n + 1, 0, 1);
                for (int i = 0; i <= n; i++) check_set(&v, 0, i, (float)fabs(check_get(&v, 0, i)));
                check_matrix w0 = check_copy(&w), m0 = check_copy(&m), v0 = check_copy(&v);
                if (kind < 2)
                    k->sgd((size_t)n, w.data, g.data, m.data, 0.1f, 0.9f, 0.01f, kind);
                else
                    k->adamw((size_t)n, w.data, g.data, m.data, v.data, 0.1f, 0.9f, 0.99f, 1e-8f, 0.01f, 0.19f,
                             0.0199f);
                for (int i = 0; i < n; i++) {
                    double x = check_get(&w0, 0, i), d = check_get(&g, 0, i), a = check_get(&m0, 0, i);
                    double b = check_get(&v0, 0, i), move;
                    if (kind < 2) {
                        d += 0.01 * x, a = 0.9 * a + d;
                        move = 0.1 * (kind ? d + 0.9 * a : a);
                    } else {
                        a = 0.9 * a + 0.1 * d, b = 0.99 * b + 0.01 * d * d;
                        move = 0.1 * (a / 0.19 / (sqrt(b / 0.0199) + 1e-8) + 0.01 * x);
                        check_near(GM_F32, check_get(&v, 0, i), b, 1e-6, "second moment");
                    }
                    check_near(GM_F32, check_get(&m, 0, i), a, 1e-6, "momentum");
                    check_near(GM_F32, check_get(&w, 0, i), x - move, 2e-6, "weight");
                }
                assert_true(check_get(&w, 0, n) == check_get(&w0, 0, n));
                assert_true(check_get(&m, 0, n) == check_get(&m0, 0, n));
                assert_true(check_get(&v, 0, n) == check_get(&v0, 0, n));
                check_free(&w);
                check_free(&g);
                check_free(&m);
                check_free(&v);
                check_free(&w0);
                check_free(&m0);
                check_free(&v0);
            }
        }
    }
}

static void flat_reductions(void **state) {
    (void)state;
    for (int level = GM_CPU_REF; level <= (int)gm_cpu_detected(); level++) {
        const gm_kernels *k = gm_kernels_at((gm_cpu_level)level);
        for (int n = 0; n < 10000; n += n < 70 ? 1 : 1 + n / 2) {
            check_matrix x = check_input(&rng, GM_F32, 1, n + 1, 0, 1), y = check_input(&rng, GM_F32, 1, n + 1, 0, 1);
            check_matrix y0 = check_copy(&y);
            double want = 0;
            for (int i = 0; i < n; i++) want += check_get(&x, 0, i) * check_get(&x, 0, i);
            double got = k->sumsq((size_t)n, x.data);
            assert_true(fabs(got - want) <= 1e-6 * want);
            k->axpy((size_t)n, 0.37f, x.data, y.data);
            for (int i = 0; i < n; i++)
                check_near(GM_F32, check_get(&y, 0, i), check_get(&y0, 0, i) + (double)0.37f * check_get(&x, 0, i), 1e-6,
                           "axpy");
            assert_true(check_get(&y, 0, n) == check_get(&y0, 0, n));
            k->scale((size_t)n, 2.0f, y0.data);
            for (int i = 0; i < n; i++) {
                double before = check_get(&y, 0, i) - (double)0.37f * check_get(&x, 0, i);
                check_near(GM_F32, check_get(&y0, 0, i), 2 * before, 2e-6, "scale");
            }
            assert_true(check_get(&y, 0, n) == check_get(&y0, 0, n));
            if (n > 0) {
                check_set(&x, 0, n / 2, NAN);
                assert_false(isfinite(k->sumsq((size_t)n, x.data)));
                check_set(&x, 0, n / 2, -INFINITY);
                assert_false(isfinite(k->sumsq((size_t)n, x.data)));
            }
            check_free(&x);
            check_free(&y);
            check_free(&y0);
        }
    }
}

int main(void) {
    print_message("seed %d\n", CHECK_SEED);
    rng = gm_rng_keyed(CHECK_SEED, 1, 0, GM_RNG_TEST);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(act_follows_its_definition),
        cmocka_unit_test(act_grad_is_the_slope_of_act),
        cmocka_unit_test(exp_and_erf_stay_within_two_units),
        cmocka_unit_test(nan_stays_nan),
        cmocka_unit_test(add_adds),
        cmocka_unit_test(convert_rounds_to_nearest_even),
        cmocka_unit_test(channel_scale_and_its_gradient),
        cmocka_unit_test(norm_stats_sum_every_row),
        cmocka_unit_test(norm_apply_scales_shifts_adds_activates),
        cmocka_unit_test(norm_gradient_matches_finite_differences),
        cmocka_unit_test(optimizers_follow_their_formulas),
        cmocka_unit_test(flat_reductions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
