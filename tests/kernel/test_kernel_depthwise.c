// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution, its gradients and the kernel transform: every level against double precision.
#include "kernel_check.h"

static gm_rng rng;
static void *scratch; // enough for any geometry

// One geometry: data, and the double answers of forward and both gradients from one loop over all products.
typedef struct depthwise_case {
    gm_conv g;
    check_matrix x, dy;
    float *w;   // stored 7x7 kernel, w_ld wide; the centre crop is what runs
    int w_row, w_ld;
    const float *crop;
    double *y, *dx, *dw;
} depthwise_case;

static double *doubles(size_t n) {
    double *d = gm_alloc(n, sizeof(double));
    assert_non_null(d);
    return d;
}

static depthwise_case case_create(gm_dtype t, int n, int h, int w, int c, int kernel, int stride, int extra) {
    depthwise_case d = {.w_row = 7};
    gm_conv *g = &d.g;
    *g = (gm_conv){.n = n, .h = h, .w = w, .c = c, .k = c, .r = kernel, .s = kernel, .stride = stride,
                   .pad = kernel / 2};
    g->ho = (h + 2 * g->pad - kernel) / stride + 1;
    g->wo = (w + 2 * g->pad - kernel) / stride + 1;
    d.x = check_input(&rng, t, n * h * w, c, extra, 1);
    d.dy = check_input(&rng, t, n * g->ho * g->wo, c, extra + 1, 1);
    g->ldx = d.x.ld, g->ldy = d.dy.ld;
    d.w_ld = c + 3; // nothing aligned, nothing readable past the last channel of the last tap
    size_t count = (size_t)(48 * d.w_ld + c);
    d.w = malloc(count * sizeof(float)); // malloc: a sanitizer then sees a read past the end
    assert_non_null(d.w);
    for (size_t i = 0; i < count; i++) d.w[i] = gm_rng_normal(&rng);
    int skip = (7 - kernel) / 2;
    d.crop = d.w + (skip * d.w_row + skip) * d.w_ld;
    d.y = doubles((size_t)(d.dy.rows * c));
    d.dx = doubles((size_t)(d.x.rows * c));
    d.dw = doubles((size_t)(49 * c));
    for (int i = 0; i < n; i++)
        for (int oy = 0; oy < g->ho; oy++)
            for (int ox = 0; ox < g->wo; ox++)
                for (int a = 0; a < kernel; a++)
                    for (int b = 0; b < kernel; b++) {
                        int iy = oy * stride + a - g->pad, ix = ox * stride + b - g->pad;
                        if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
                        long from = ((long)i * h + iy) * w + ix, to = ((long)i * g->ho + oy) * g->wo + ox;
                        for (int k = 0; k < c; k++) {
                            double tap = d.crop[(a * d.w_row + b) * d.w_ld + k];
                            d.y[to * c + k] += tap * check_get(&d.x, from, k);
                            d.dx[from * c + k] += tap * check_get(&d.dy, to, k);
                            d.dw[(a * kernel + b) * c + k] += check_get(&d.x, from, k) * check_get(&d.dy, to, k);
                        }
                    }
    return d;
}

static void case_destroy(depthwise_case *d) {
    check_free(&d->x);
    check_free(&d->dy);
    free(d->w);
    gm_free(d->y);
    gm_free(d->dx);
    gm_free(d->dw);
}

static void forward_of_one(const gm_kernels *k, gm_dtype t, const depthwise_case *d, int variant) {
    const gm_conv *g = &d->g;
    const gm_dtype to = variant == 3 ? GM_F32 : t;
    const int rows = d->dy.rows, c = g->c;
    check_matrix old = check_input(&rng, to, rows, c, 1, 1), y = check_copy(&old);
    check_matrix r = check_input(&rng, to, rows, c, 2, 1);
    float *scale = malloc((size_t)c * sizeof(float)), *shift = malloc((size_t)c * sizeof(float));
    for (int i = 0; i < c; i++) scale[i] = gm_rng_normal(&rng), shift[i] = gm_rng_normal(&rng);
    gm_epilogue e = {.out = to};
    if (variant == 1) e.accumulate = true;
    if (variant == 2) e.scale = scale, e.shift = shift, e.residual = r.data, e.ldr = r.ld, e.act = GM_ACT_HSWISH;
    if (variant == 3) e.shift = shift, e.act = GM_ACT_RELU;
    if (variant >= 4) e.scale = scale, e.shift = shift, e.act = (gm_act)(GM_ACT_NONE + variant - 4); // of inference
    gm_conv geometry = *g;
    geometry.ldy = y.ld;
    if (variant != 1) memset(y.data, CHECK_POISON, check_bytes(&y));
    k->depthwise(t, &geometry, d->x.data, d->crop, d->w_row, d->w_ld, &e, y.data, scratch);
    check_frame(&y, "depthwise");
    for (long row = 0; row < rows; row++)
        for (int i = 0; i < c; i++) {
            double v = d->y[row * c + i];
            if (e.scale) v *= scale[i];
            if (e.shift) v += shift[i];
            if (e.residual) v += check_get(&r, row, i);
            v = check_act(e.act, v);
            if (e.accumulate) v += check_get(&old, row, i);
            check_near(to, check_get(&y, row, i), v, 3e-5, "depthwise");
        }
    free(scale);
    free(shift);
    check_free(&old);
    check_free(&y);
    check_free(&r);
}

static void gradients_of_one(const gm_kernels *k, gm_dtype t, const depthwise_case *d, bool accumulate) {
    const gm_conv *g = &d->g;
    const int c = g->c, kernel = g->r;
    check_matrix old = check_input(&rng, t, d->x.rows, c, 1, 1), dx = check_copy(&old);
    gm_conv geometry = *g;
    geometry.ldx = dx.ld;
    if (!accumulate) memset(dx.data, CHECK_POISON, check_bytes(&dx));
    k->depthwise_dgrad(t, &geometry, d->dy.data, d->crop, d->w_row, d->w_ld, accumulate, dx.data, scratch);
    check_frame(&dx, "depthwise_dgrad");
    for (long row = 0; row < d->x.rows; row++)
        for (int i = 0; i < c; i++)
            check_near(t, check_get(&dx, row, i), d->dx[row * c + i] + (accumulate ? check_get(&old, row, i) : 0),
                       3e-5, "depthwise_dgrad");
    // dw in one call and in two: the same bits, added to what was there, nothing else touched
    size_t count = (size_t)(48 * d->w_ld + c);
    float *one = malloc(count * sizeof(float)), *two = malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++) one[i] = two[i] = d->w[i];
    ptrdiff_t crop = d->crop - d->w;
    k->depthwise_wgrad(t, g, d->x.data, d->dy.data, one + crop, d->w_row, d->w_ld, 0, c, scratch);
    int cut = gm_min(16, c);
    k->depthwise_wgrad(t, g, d->x.data, d->dy.data, two + crop, d->w_row, d->w_ld, cut, c, scratch);
    k->depthwise_wgrad(t, g, d->x.data, d->dy.data, two + crop, d->w_row, d->w_ld, 0, cut, scratch);
    assert_memory_equal(one, two, count * sizeof(float));
    for (size_t i = 0; i < count; i++) {
        int tap = (int)(i / (size_t)d->w_ld), channel = (int)(i % (size_t)d->w_ld), skip = (7 - kernel) / 2;
        int a = tap / 7 - skip, b = tap % 7 - skip;
        bool inside = channel < c && a >= 0 && a < kernel && b >= 0 && b < kernel;
        double want = d->w[i] + (inside ? d->dw[(a * kernel + b) * c + channel] : 0);
        if (inside)
            check_near(GM_F32, one[i], want, 1e-5 * sqrt(d->dy.rows), "depthwise_wgrad");
        else
            assert_true(one[i] == d->w[i]);
    }
    free(one);
    free(two);
    check_free(&old);
    check_free(&dx);
}

static void depthwise_and_gradients_match_double(void **state) {
    (void)state;
    static const int sizes[][2] = {{1, 1}, {2, 3}, {4, 4}, {7, 7}, {5, 13}, {9, 20}, {8, 8}, {3, 33}, {40, 66}};
    CHECK_EVERY(for (int kernel = 3; kernel <= 7; kernel += 2) for (int stride = 1; stride <= 2; stride++) {
        for (int i = 0; i < 9; i++) {
            int c = check_widths[gm_rng_below(&rng, CHECK_WIDTHS)];
            depthwise_case d = case_create(t, 1 + i % 2, sizes[i][0], sizes[i][1], c, kernel, stride, i % 2);
            forward_of_one(k, t, &d, i % 4);
            forward_of_one(k, t, &d, 4 + i % 4);
            gradients_of_one(k, t, &d, i % 2);
            case_destroy(&d);
        }
    })
}

// The bits of an image do not depend on the batch it runs in.
static void image_alone_equals_image_in_batch(void **state) {
    (void)state;
    CHECK_EVERY(for (int stride = 1; stride <= 2; stride++) {
        depthwise_case d = case_create(t, 3, 9, 11, 40, 5, stride, 0);
        gm_epilogue e = {.out = t};
        check_matrix all = check_output(t, d.dy.rows, 40, 0), one = check_output(t, d.dy.rows / 3, 40, 0);
        gm_conv g = d.g;
        g.ldy = all.ld;
        k->depthwise(t, &g, d.x.data, d.crop, d.w_row, d.w_ld, &e, all.data, scratch);
        g.n = 1;
        k->depthwise(t, &g, (char *)d.x.data + check_bytes(&d.x) / 3, d.crop, d.w_row, d.w_ld, &e, one.data, scratch);
        assert_memory_equal((char *)all.data + check_bytes(&one), one.data, check_bytes(&one));
        check_free(&all);
        check_free(&one);
        case_destroy(&d);
    })
}

// --- the learned kernel transform ---

static void tap_transform_is_a_matrix_product(void **state) {
    (void)state;
    for (int level = GM_CPU_REF; level <= (int)gm_cpu_detected(); level++) {
        const gm_kernels *k = gm_kernels_at((gm_cpu_level)level);
        for (int kernel = 3; kernel <= 5; kernel += 2) {
            enum { C = 37, LD = 48 };
            int taps = kernel * kernel, skip = (7 - kernel) / 2;
            static float x[49 * LD], m[25 * 25], y[25 * LD], dy[25 * LD], dm[25 * 25], dx[49 * LD];
            for (int i = 0; i < 49 * LD; i++) x[i] = gm_rng_normal(&rng), dx[i] = 1;
            for (int i = 0; i < 25 * 25; i++) m[i] = gm_rng_normal(&rng), dm[i] = 2;
            for (int i = 0; i < 25 * LD; i++) dy[i] = i % LD < C ? gm_rng_normal(&rng) : 0;
            float *crop = x + (skip * 7 + skip) * LD, *dcrop = dx + (skip * 7 + skip) * LD;
            k->tap_transform(kernel, C, crop, 7, LD, m, y, LD);
            k->tap_transform_grad(kernel, C, crop, 7, LD, m, dy, LD, dm, dcrop, 7, LD);
            for (int i = 0; i < taps; i++) {
                int at = (i / kernel * 7 + i % kernel) * LD;
                for (int c = 0; c < C; c++) {
                    double want = 0, back = 1;
                    for (int j = 0; j < taps; j++) {
                        want += (double)m[i * taps + j] * crop[(j / kernel * 7 + j % kernel) * LD + c];
                        back += (double)m[j * taps + i] * dy[j * LD + c];
                    }
                    check_near(GM_F32, y[i * LD + c], want, 2e-5, "tap_transform");
                    check_near(GM_F32, dcrop[at + c], back, 2e-5, "tap_transform_grad dx");
                }
                for (int j = 0; j < taps; j++) {
                    double want = 2;
                    for (int c = 0; c < C; c++)
                        want += (double)dy[i * LD + c] * crop[(j / kernel * 7 + j % kernel) * LD + c];
                    check_near(GM_F32, dm[i * taps + j], want, 3e-5, "tap_transform_grad dm");
                }
            }
        }
    }
}

int main(void) {
    print_message("seed %d\n", CHECK_SEED);
    rng = gm_rng_keyed(CHECK_SEED, 2, 0, GM_RNG_TEST);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depthwise_and_gradients_match_double),
        cmocka_unit_test(image_alone_equals_image_in_batch),
        cmocka_unit_test(tap_transform_is_a_matrix_product),
    };
    const gm_conv any = {.n = 1, .h = 1, .w = 1, .c = 1, .ho = 1, .wo = 1, .k = 1, .r = 3, .s = 3, .stride = 1,
                         .pad = 1, .ldx = 32, .ldy = 32};
    scratch = gm_alloc(gm_conv_scratch(&any, GM_F32), 1);
    if (!scratch) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gm_free(scratch);
    return failed;
}
