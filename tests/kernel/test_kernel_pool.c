// SPDX-License-Identifier: Apache-2.0
// Pooling and losses: every level against double precision, gradients against finite differences or the adjoint.
#include "kernel_check.h"

static gm_rng rng;

// --- windows ---

static gm_conv pool_geometry(int i, int c) {
    // size, kernel, stride, pad; the last two have a ceil-mode edge: one output more than whole windows
    static const int shapes[][6] = {{7, 9, 3, 2, 1, 0}, {8, 8, 2, 2, 0, 0}, {5, 6, 3, 1, 1, 0},
                                    {1, 1, 3, 2, 1, 0}, {7, 5, 2, 2, 0, 1}, {8, 6, 3, 2, 0, 1}};
    const int *s = shapes[i];
    gm_conv g = {.n = 2, .h = s[0], .w = s[1], .c = c, .k = c, .r = s[2], .s = s[2], .stride = s[3], .pad = s[4]};
    int up = s[5] ? g.stride - 1 : 0;
    g.ho = (g.h + 2 * g.pad - g.r + up) / g.stride + 1;
    g.wo = (g.w + 2 * g.pad - g.s + up) / g.stride + 1;
    return g;
}
enum { POOL_SHAPES = 6 };

static void max_pool_and_its_gradient(void **state) {
    (void)state;
    CHECK_EVERY(for (int w = 0; w < CHECK_WIDTHS; w++) for (int i = 0; i < POOL_SHAPES; i++) {
        int c1 = check_widths[w];
        bool accumulate = (w + i) % 2;
        gm_conv g = pool_geometry(i, c1);
        int rows = g.n * g.h * g.w, outputs = g.n * g.ho * g.wo;
        check_matrix x = check_input(&rng, t, rows, c1, i % 2, 1), y = check_output(t, outputs, c1, w % 2);
        check_matrix dy = check_input(&rng, t, outputs, c1, w % 2, 1);
        check_matrix old = check_input(&rng, t, rows, c1, i % 2, 1), dx = check_copy(&old);
        g.ldx = x.ld, g.ldy = y.ld;
        size_t bytes = (size_t)outputs * (size_t)y.ld;
        uint8_t *at = gm_alloc(bytes + 64, 1);
        memset(at, 0xee, bytes + 64);
        k->max_pool(t, &g, x.data, y.data, at);
        if (!accumulate) memset(dx.data, CHECK_POISON, check_bytes(&dx));
        k->max_pool_grad(t, &g, dy.data, at, accumulate, dx.data);
        check_frame(&y, "max_pool");
        check_frame(&dx, "max_pool_grad");
        for (int b = 0; b < 64; b++) assert_int_equal(at[bytes + (size_t)b], 0xee);
        double *want = gm_alloc((size_t)(rows * c1), sizeof(double));
        for (int o = 0; o < outputs; o++)
            for (int c = 0; c < c1; c++) {
                int oy = o / g.wo % g.ho, ox = o % g.wo, n = o / g.wo / g.ho, from = -1;
                double best = -INFINITY;
                for (int a = 0; a < g.r; a++)
                    for (int b = 0; b < g.s; b++) {
                        int iy = oy * g.stride + a - g.pad, ix = ox * g.stride + b - g.pad;
                        if (iy < 0 || iy >= g.h || ix < 0 || ix >= g.w) continue;
                        double v = check_get(&x, (n * g.h + iy) * g.w + ix, c);
                        if (v > best) best = v, from = (n * g.h + iy) * g.w + ix;
                    }
                assert_true(check_get(&y, o, c) == best);
                want[from * c1 + c] += check_get(&dy, o, c);
            }
        for (int row = 0; row < rows; row++)
            for (int c = 0; c < c1; c++)
                check_near(t, check_get(&dx, row, c),
                           want[row * c1 + c] + (accumulate ? check_get(&old, row, c) : 0), 1e-6, "max_pool_grad");
        memset(y.data, CHECK_POISON, check_bytes(&y));
        k->max_pool(t, &g, x.data, y.data, NULL); // inference keeps no positions
        check_frame(&y, "max_pool");
        check_set(&x, 0, c1 - 1, NAN);
        k->max_pool(t, &g, x.data, y.data, at);
        assert_true(isnan(check_get(&y, 0, c1 - 1)));
        gm_free(want);
        gm_free(at);
        check_free(&x);
        check_free(&y);
        check_free(&dy);
        check_free(&old);
        check_free(&dx);
    })
}

static void avg_pool_and_its_gradient(void **state) {
    (void)state;
    CHECK_EVERY(for (int w = 0; w < CHECK_WIDTHS; w++) for (int i = 0; i < POOL_SHAPES; i++) {
        int c1 = check_widths[w];
        bool accumulate = (w + i) % 2;
        gm_conv g = pool_geometry(i, c1);
        int rows = g.n * g.h * g.w, outputs = g.n * g.ho * g.wo;
        check_matrix x = check_input(&rng, t, rows, c1, i % 2, 1), y = check_output(t, outputs, c1, w % 2);
        check_matrix dy = check_input(&rng, t, outputs, c1, w % 2, 1);
        check_matrix old = check_input(&rng, t, rows, c1, i % 2, 1), dx = check_copy(&old);
        g.ldx = x.ld, g.ldy = y.ld;
        if (!accumulate) memset(dx.data, CHECK_POISON, check_bytes(&dx));
        k->avg_pool(t, &g, x.data, y.data);
        k->avg_pool_grad(t, &g, dy.data, accumulate, dx.data);
        check_frame(&y, "avg_pool");
        check_frame(&dx, "avg_pool_grad");
        double *want = gm_alloc((size_t)(rows * c1), sizeof(double));
        for (int o = 0; o < outputs; o++)
            for (int c = 0; c < c1; c++) {
                int oy = o / g.wo % g.ho, ox = o % g.wo, n = o / g.wo / g.ho, count = 0, inside[9];
                double sum = 0;
                for (int a = 0; a < g.r; a++)
                    for (int b = 0; b < g.s; b++) {
                        int iy = oy * g.stride + a - g.pad, ix = ox * g.stride + b - g.pad;
                        if (iy < 0 || iy >= g.h || ix < 0 || ix >= g.w) continue;
                        inside[count++] = (n * g.h + iy) * g.w + ix;
                        sum += check_get(&x, inside[count - 1], c);
                    }
                check_near(t, check_get(&y, o, c), sum / count, 2e-6, "avg_pool");
                for (int b = 0; b < count; b++) want[inside[b] * c1 + c] += check_get(&dy, o, c) / count;
            }
        for (int row = 0; row < rows; row++)
            for (int c = 0; c < c1; c++)
                check_near(t, check_get(&dx, row, c),
                           want[row * c1 + c] + (accumulate ? check_get(&old, row, c) : 0), 2e-6, "avg_pool_grad");
        gm_free(want);
        check_free(&x);
        check_free(&y);
        check_free(&dy);
        check_free(&old);
        check_free(&dx);
    })
}

static void global_pool_and_its_gradient(void **state) {
    (void)state;
    CHECK_EVERY(for (int w = 0; w < CHECK_WIDTHS; w++) for (int p = 1; p <= 49; p += 16) {
        enum { N = 3 };
        int c1 = check_widths[w];
        bool accumulate = w % 2;
        check_matrix x = check_input(&rng, t, N * p, c1, 1, 1), y = check_output(t, N, c1, 0);
        check_matrix dy = check_input(&rng, t, N, c1, 0, 1), old = check_input(&rng, t, N * p, c1, 1, 1);
        check_matrix dx = check_copy(&old);
        if (!accumulate) memset(dx.data, CHECK_POISON, check_bytes(&dx));
        k->global_pool(t, N, p, c1, x.data, x.ld, y.data, y.ld);
        k->global_pool_grad(t, N, p, c1, dy.data, dy.ld, accumulate, dx.data, dx.ld);
        check_frame(&y, "global_pool");
        check_frame(&dx, "global_pool_grad");
        for (int n = 0; n < N; n++)
            for (int c = 0; c < c1; c++) {
                double sum = 0;
                for (int i = n * p; i < (n + 1) * p; i++) {
                    sum += check_get(&x, i, c);
                    double want = check_get(&dy, n, c) / p + (accumulate ? check_get(&old, i, c) : 0);
                    check_near(t, check_get(&dx, i, c), want, 1e-6, "global_pool_grad");
                }
                check_near(t, check_get(&y, n, c), sum / p, 1e-6, "global_pool");
            }
        check_free(&x);
        check_free(&y);
        check_free(&dy);
        check_free(&old);
        check_free(&dx);
    })
}

// --- losses ---

enum { MOST_CLASSES = 1000 };

static double log_sum(const double *x, int c) {
    double top = x[0], sum = 0;
    for (int i = 1; i < c; i++) top = fmax(top, x[i]);
    for (int i = 0; i < c; i++) sum += exp(x[i] - top);
    return top + log(sum);
}

static double cross(const double *x, const double *q, int c, double temperature) {
    double z[MOST_CLASSES] = {0}, loss = 0;
    for (int i = 0; i < c; i++) z[i] = x[i] / temperature;
    double all = log_sum(z, c);
    for (int i = 0; i < c; i++) loss += q[i] * (all - z[i]);
    return temperature * temperature * loss;
}

static void row_of(const check_matrix *m, int row, double *out) {
    for (int i = 0; i < m->c; i++) out[i] = check_get(m, row, i);
}

static const int class_counts[] = {1, 2, 10, 16, 17, 33, 43, 100, 1000};
enum { CLASS_COUNTS = sizeof class_counts / sizeof class_counts[0] };

// loss and gradient of one row against the definition and its finite differences
static void check_loss_row(const double *x, const double *q, int c, double temperature, double scale, double loss,
                           const check_matrix *grad, int row) {
    double z[MOST_CLASSES], h = 1e-5, want = cross(x, q, c, temperature);
    if (!(fabs(loss - want) <= 2e-6 * (1 + fabs(want)) * temperature * temperature))
        fail_msg("loss %.9g, expected %.9g", loss, want);
    memcpy(z, x, (size_t)c * sizeof z[0]);
    for (int i = 0; i < c; i += c > 100 ? 37 : 1) {
        z[i] = x[i] + h;
        double up = cross(z, q, c, temperature);
        z[i] = x[i] - h;
        double slope = scale * (up - cross(z, q, c, temperature)) / (2 * h);
        z[i] = x[i];
        check_near(GM_F32, check_get(grad, row, i), slope, 2e-6 * temperature * scale, "loss gradient");
    }
}

static void cross_entropy_matches_finite_differences(void **state) {
    (void)state;
    enum { ROWS = 4 };
    for (int level = GM_CPU_REF; level <= (int)gm_cpu_detected(); level++)
        for (int i = 0; i < CLASS_COUNTS; i++)
            for (int mixed = 0; mixed < 2; mixed++) {
                const gm_kernels *k = gm_kernels_at((gm_cpu_level)level);
                int c = class_counts[i], label[ROWS], label2[ROWS];
                float lam[ROWS], loss[ROWS], only[ROWS], smoothing = mixed ? 0.1f : 0.0f, scale = 0.25f;
                check_matrix x = check_input(&rng, GM_F32, ROWS, c, 1, 3), d = check_output(GM_F32, ROWS, c, 0);
                check_set(&x, 1, c - 1, 80); // far apart
                for (int row = 0; row < ROWS; row++) {
                    label[row] = (int)gm_rng_below(&rng, (uint32_t)c);
                    label2[row] = (int)gm_rng_below(&rng, (uint32_t)c);
                    lam[row] = gm_rng_uniform(&rng);
                }
                k->cross_entropy(ROWS, c, x.data, x.ld, label, mixed ? label2 : NULL, lam, smoothing, scale, loss,
                                 d.data, d.ld);
                k->cross_entropy(ROWS, c, x.data, x.ld, label, mixed ? label2 : NULL, lam, smoothing, scale, only,
                                 NULL, 0);
                assert_memory_equal(loss, only, sizeof loss);
                check_frame(&d, "cross_entropy");
                for (int row = 0; row < ROWS; row++) {
                    double q[MOST_CLASSES], v[MOST_CLASSES];
                    row_of(&x, row, v);
                    for (int j = 0; j < c; j++) q[j] = smoothing / c;
                    q[label[row]] += (1 - smoothing) * (mixed ? lam[row] : 1);
                    if (mixed) q[label2[row]] += (1 - smoothing) * (1 - lam[row]);
                    check_loss_row(v, q, c, 1, scale, loss[row], &d, row);
                }
                // in place, without losses
                k->cross_entropy(ROWS, c, x.data, x.ld, label, mixed ? label2 : NULL, lam, smoothing, scale, NULL,
                                 x.data, x.ld);
                for (int row = 0; row < ROWS; row++)
                    for (int j = 0; j < c; j++) assert_true(check_get(&x, row, j) == check_get(&d, row, j));
                check_free(&x);
                check_free(&d);
            }
}

static void soft_cross_entropy_matches_finite_differences(void **state) {
    (void)state;
    enum { ROWS = 3 };
    for (int level = GM_CPU_REF; level <= (int)gm_cpu_detected(); level++)
        for (int i = 0; i < CLASS_COUNTS; i++)
            for (int hot = 1; hot <= 4; hot += 3) {
                const gm_kernels *k = gm_kernels_at((gm_cpu_level)level);
                int c = class_counts[i];
                float loss[ROWS];
                check_matrix x = check_input(&rng, GM_F32, ROWS, c, 1, 3), d = check_output(GM_F32, ROWS, c, 0);
                check_matrix teacher = check_input(&rng, GM_F32, ROWS, c, 0, 2), q = check_output(GM_F32, ROWS, c, 2);
                k->softmax(ROWS, c, teacher.data, teacher.ld, q.data, q.ld);
                check_frame(&q, "softmax");
                k->cross_entropy_soft(ROWS, c, x.data, x.ld, q.data, q.ld, (float)hot, 0.5f, loss, d.data, d.ld);
                check_frame(&d, "cross_entropy_soft");
                for (int row = 0; row < ROWS; row++) {
                    double v[MOST_CLASSES], target[MOST_CLASSES], raw[MOST_CLASSES];
                    row_of(&x, row, v);
                    row_of(&q, row, target);
                    row_of(&teacher, row, raw);
                    double all = log_sum(raw, c);
                    for (int j = 0; j < c; j++) check_near(GM_F32, target[j], exp(raw[j] - all), 1e-7, "softmax");
                    check_loss_row(v, target, c, hot, 0.5, loss[row], &d, row);
                }
                check_free(&x);
                check_free(&d);
                check_free(&teacher);
                check_free(&q);
            }
}

static void nan_in_a_logit_is_a_nan_loss(void **state) {
    (void)state;
    for (int level = GM_CPU_REF; level <= (int)gm_cpu_detected(); level++)
        for (int at = 0; at < 20; at++) {
            const gm_kernels *k = gm_kernels_at((gm_cpu_level)level);
            check_matrix x = check_input(&rng, GM_F32, 1, 20, 0, 1), y = check_output(GM_F32, 1, 20, 0);
            int label = 3;
            float loss = 0;
            check_set(&x, 0, at, NAN);
            k->cross_entropy(1, 20, x.data, x.ld, &label, NULL, NULL, 0.1f, 1, &loss, y.data, y.ld);
            assert_true(isnan(loss));
            k->softmax(1, 20, x.data, x.ld, y.data, y.ld);
            assert_true(isnan(check_get(&y, 0, 0)) && isnan(check_get(&y, 0, 19)));
            check_free(&x);
            check_free(&y);
        }
}

int main(void) {
    print_message("seed %d\n", CHECK_SEED);
    rng = gm_rng_keyed(CHECK_SEED, 3, 0, GM_RNG_TEST);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_pool_and_its_gradient),
        cmocka_unit_test(avg_pool_and_its_gradient),
        cmocka_unit_test(global_pool_and_its_gradient),
        cmocka_unit_test(cross_entropy_matches_finite_differences),
        cmocka_unit_test(soft_cross_entropy_matches_finite_differences),
        cmocka_unit_test(nan_in_a_logit_is_a_nan_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
