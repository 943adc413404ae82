// SPDX-License-Identifier: Apache-2.0
// Every operation's gradient against finite differences, and the exact zeros outside a slice. Each case is a small network
// around the operation; the loss is a fixed random combination of the logits; along a random direction of one parameter the
// central difference must equal the product with the gradient.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <gamut/train.h>

enum { BATCH = 6, SIZE = 8, CLASSES = 3, SEED = 20260 };

typedef struct net {
    gm_graph *graph;
    gm_builder b;
    float *params, *grads;
    size_t *norm_offset;
    gm_walker *walker;
    gm_batch batch;
    float *weight; // of each logit in the loss
} net;

typedef int build_fn(gm_builder *b, int x); // returns the node of the operation under test

static void begin(net *n, int channels) {
    memset(n, 0, sizeof *n);
    gm_error err = {0};
    assert_int_equal(gm_graph_create("test", &n->graph, &err), GM_OK);
    n->graph->classes = CLASSES;
    n->graph->input_channels = channels;
    n->b = (gm_builder){.graph = n->graph, .gate = {-1, 0}};
}

static void finish(net *n, gm_dtype type) {
    gm_error err = {0};
    if (gm_graph_finish(&n->b, &err)) fail_msg("%s", err.text);
    n->params = gm_alloc(n->graph->floats, sizeof(float));
    n->grads = gm_alloc(n->graph->floats, sizeof(float));
    n->norm_offset = gm_alloc((size_t)n->graph->nodes, sizeof(size_t));
    gm_rng rng = gm_rng_keyed(SEED, 1, 0, GM_RNG_TEST);
    for (size_t i = 0; i < n->graph->floats; i++) n->params[i] = 0.4f * gm_rng_normal(&rng);
    for (int p = 0; p < n->graph->params; p++) { // norms near their usual place
        const gm_param *q = &n->graph->param[p];
        if (q->layout == GM_LAYOUT_PLAIN && strstr(q->name, "weight"))
            for (size_t i = 0; i < q->count; i++) n->params[q->offset + i] += 1.0f;
        if (strstr(q->name, "_matrix")) // kernel transforms near the identity that they start from
            for (int i = 0; i < q->dims[0] * q->dims[1]; i++) {
                float *m = &n->params[q->offset + (size_t)i];
                *m = 0.2f * *m + (i % (q->dims[1] + 1) == 0 ? 1.0f : 0.0f);
            }
    }
    if (gm_walker_create(n->graph, n->norm_offset, type, BATCH, true, &n->walker, &err)) fail_msg("%s", err.text);
    assert_int_equal(gm_batch_init(&n->batch, BATCH, SIZE, n->graph->input_channels, type, &err), GM_OK);
    n->batch.images = BATCH;
    n->batch.height = n->batch.width = SIZE;
    n->batch.channels = n->graph->input_channels;
    n->batch.ld = gm_channel_stride(type, n->batch.channels);
    for (int i = 0; i < BATCH * SIZE * SIZE; i++)
        for (int c = 0; c < n->batch.channels; c++) {
            float v = gm_rng_normal(&rng);
            if (type == GM_F32) ((float *)n->batch.x)[i * n->batch.ld + c] = v;
            else ((gm_bf16 *)n->batch.x)[i * n->batch.ld + c] = gm_bf16_from_f32(v);
        }
    n->weight = gm_alloc(BATCH * 64, sizeof(float));
    for (int i = 0; i < BATCH; i++)
        for (int c = 0; c < CLASSES; c++) n->weight[i * 64 + c] = gm_rng_normal(&rng);
}

static void end(net *n) {
    gm_walker_destroy(n->walker);
    gm_batch_fini(&n->batch);
    gm_free(n->params);
    gm_free(n->grads);
    gm_free(n->norm_offset);
    gm_free(n->weight);
    gm_graph_destroy(n->graph);
    gm_scratch_release();
}

static double loss(net *n, const gm_choice *choice) {
    gm_error err = {0};
    gm_pass pass = {.choice = *choice, .mode = GM_MODE_TRAIN, .seed = SEED, .step = 3, .dropout = true};
    gm_walker_refresh(n->walker, n->params);
    if (gm_walker_forward(n->walker, &pass, &n->batch, &err)) fail_msg("%s", err.text);
    int ld;
    const float *y = gm_walker_logits(n->walker, &ld);
    double sum = 0;
    for (int i = 0; i < BATCH; i++)
        for (int c = 0; c < CLASSES; c++) sum += (double)y[i * ld + c] * (double)n->weight[i * 64 + c];
    return sum;
}

static void gradient(net *n, const gm_choice *choice) {
    loss(n, choice);
    int ld;
    gm_walker_logits(n->walker, &ld);
    float *d = gm_alloc((size_t)(BATCH * ld), sizeof(float));
    for (int i = 0; i < BATCH; i++)
        for (int c = 0; c < CLASSES; c++) d[i * ld + c] = n->weight[i * 64 + c];
    memset(n->grads, 0, n->graph->floats * sizeof(float));
    gm_error err = {0};
    if (gm_walker_backward(n->walker, d, n->grads, &err)) fail_msg("%s", err.text);
    gm_free(d);
}

// One direction per parameter; kinks (ReLU, max) may be crossed, so the step is small and the best of three counts.
static void check(net *n, const gm_choice *choice, const char *what) {
    gradient(n, choice);
    int moved = 0;
    for (int p = 0; p < n->graph->params; p++) {
        const gm_param *q = &n->graph->param[p];
        float *w = n->params + q->offset, *g = n->grads + q->offset;
        float *keep = gm_alloc(q->count, sizeof(float)), *dir = gm_alloc(q->count, sizeof(float));
        memcpy(keep, w, q->count * sizeof(float));
        gm_rng rng = gm_rng_keyed(SEED, (uint64_t)p, 7, GM_RNG_TEST);
        double expected = 0, norm = 0;
        for (size_t i = 0; i < q->count; i++) {
            dir[i] = gm_rng_normal(&rng);
            expected += (double)dir[i] * (double)g[i];
            norm += (double)g[i] * (double)g[i];
        }
        double best = 1e30, got = 0;
        for (int e = 0; e < 3; e++) {
            float eps = e == 0 ? 2e-3f : e == 1 ? 4e-4f : 1e-4f;
            for (size_t i = 0; i < q->count; i++) w[i] = keep[i] + eps * dir[i];
            double up = loss(n, choice);
            for (size_t i = 0; i < q->count; i++) w[i] = keep[i] - eps * dir[i];
            double down = loss(n, choice);
            memcpy(w, keep, q->count * sizeof(float));
            double slope = (up - down) / (2 * (double)eps);
            if (fabs(slope - expected) < best) best = fabs(slope - expected), got = slope;
        }
        double tolerance = 0.02 * sqrt(norm) + 4e-3;
        if (!(best <= tolerance))
            fail_msg("%s: %s: finite difference %g, gradient %g (tolerance %g)", what, q->name, got, expected, tolerance);
        moved += norm > 1e-8;
        gm_free(keep);
        gm_free(dir);
    }
    assert_true(moved > 1);
}

static int head(gm_builder *b, int x) {
    x = gm_add_global_pool(b, x);
    return gm_add_linear(b, "classifier", x, gm_size_const(b, CLASSES), true);
}

static void run_case(build_fn *build, const char *what) {
    for (int level = 0; level <= (int)gm_cpu_detected(); level++) {
        gm_cpu_force((gm_cpu_level)level);
        net n;
        begin(&n, 3);
        gm_builder *b = &n.b;
        int x = gm_add_input(b, gm_size_const(b, SIZE), 3);
        x = gm_add_conv(b, "first", x, gm_size_const(b, 20), 3, 1, false, GM_INIT_HE_FANOUT);
        x = gm_add_norm(b, "first_norm", x, -1, GM_ACT_SILU, false);
        head(b, build(b, x));
        finish(&n, GM_F32);
        gm_choice max = gm_choice_max(&n.graph->space);
        check(&n, &max, what);
        end(&n);
    }
    gm_cpu_force(gm_cpu_detected());
}

static int conv3(gm_builder *b, int x) {
    return gm_add_conv(b, "op", x, gm_size_const(b, 24), 3, 1, true, GM_INIT_HE_FANOUT);
}
static int conv_stride(gm_builder *b, int x) {
    return gm_add_conv(b, "op", x, gm_size_const(b, 17), 3, 2, false, GM_INIT_HE_FANOUT);
}
static int conv1(gm_builder *b, int x) {
    return gm_add_conv(b, "op", x, gm_size_const(b, 40), 1, 1, false, GM_INIT_HE_FANOUT);
}
static int linear(gm_builder *b, int x) {
    return gm_add_linear(b, "op", x, gm_size_const(b, 33), true);
}
static int depthwise5(gm_builder *b, int x) { return gm_add_depthwise(b, "op", x, gm_size_const(b, 5), 1, false); }
static int depthwise_stride(gm_builder *b, int x) { return gm_add_depthwise(b, "op", x, gm_size_const(b, 3), 2, false); }
static int norm_residual(gm_builder *b, int x) {
    int y = gm_add_conv(b, "op", x, gm_size_const(b, 20), 1, 1, false, GM_INIT_HE_FANOUT);
    return gm_add_norm(b, "op_norm", y, x, GM_ACT_RELU, false);
}
static int act_of(gm_builder *b, int x, gm_act a) { return gm_add_act(b, x, a); }
static int hswish(gm_builder *b, int x) { return act_of(b, x, GM_ACT_HSWISH); }
static int gelu(gm_builder *b, int x) { return act_of(b, x, GM_ACT_GELU); }
static int silu(gm_builder *b, int x) { return act_of(b, x, GM_ACT_SILU); }
static int relu6(gm_builder *b, int x) { return act_of(b, x, GM_ACT_RELU6); }
static int hsigmoid(gm_builder *b, int x) { return act_of(b, x, GM_ACT_HSIGMOID); }
static int sigmoid(gm_builder *b, int x) { return act_of(b, x, GM_ACT_SIGMOID); }
static int squeeze(gm_builder *b, int x) { return gm_add_squeeze_excite(b, "op", x, gm_size_const(b, 8)); }
static int max_pool(gm_builder *b, int x) { return gm_add_max_pool(b, x, 3, 2, 1); }
static int avg_pool(gm_builder *b, int x) { return gm_add_avg_pool(b, x, 3, 2, true); }
static int dropout(gm_builder *b, int x) { return gm_add_dropout(b, x, 0.3f); }
static int add(gm_builder *b, int x) {
    return gm_add_add(b, gm_add_conv(b, "op", x, gm_size_const(b, 20), 1, 1, false, GM_INIT_HE_FANOUT), x);
}
static int layer_norm(gm_builder *b, int x) { return gm_add_act(b, gm_add_layer_norm(b, "op", x), GM_ACT_SILU); }
static int rms_norm(gm_builder *b, int x) { return gm_add_act(b, gm_add_rms_norm(b, "op", x), GM_ACT_SILU); }
static int attention(gm_builder *b, int x) {
    int q = gm_add_linear(b, "q", x, gm_size_const(b, 16), true), k = gm_add_linear(b, "k", x, gm_size_const(b, 16), true);
    return gm_add_attention(b, q, k, gm_add_linear(b, "v", x, gm_size_const(b, 16), true), 8);
}

#define CASE(name)                                                                                 \
    static void gradient_of_##name(void **state) {                                                 \
        (void)state;                                                                               \
        run_case(name, #name);                                                                     \
    }
CASE(conv3) CASE(conv_stride) CASE(conv1) CASE(linear) CASE(depthwise5) CASE(depthwise_stride)
CASE(norm_residual) CASE(hswish) CASE(gelu) CASE(silu) CASE(relu6) CASE(hsigmoid) CASE(sigmoid) CASE(squeeze)
CASE(max_pool) CASE(avg_pool) CASE(dropout) CASE(add) CASE(layer_norm) CASE(rms_norm) CASE(attention)

// An elastic network: depth (select), expand (width slice), kernel with transforms, squeeze-excite on an elastic width.
static int scaled(void *ctx, double e, double unused) {
    (void)ctx;
    (void)unused;
    return (int)(16 * e);
}
static int identity_size(void *ctx, double k, double unused) {
    (void)ctx;
    (void)unused;
    return (int)k;
}
static void elastic(net *n) {
    begin(n, 3);
    gm_builder *b = &n->b;
    gm_space *s = &n->graph->space;
    double depth[] = {1, 2}, expand[] = {1, 2, 3}, kernel[] = {3, 5, 7};
    int d, e, k;
    gm_space_add(s, "d", "depth", depth, 2, -1, 0, &d, NULL);
    gm_space_add(s, "e", "expand", expand, 3, -1, 0, &e, NULL);
    gm_space_add(s, "k", "kernel", kernel, 3, -1, 0, &k, NULL);
    int x = gm_add_input(b, gm_size_const(b, SIZE), 3);
    x = gm_add_conv(b, "first", x, gm_size_const(b, 16), 3, 1, false, GM_INIT_HE_FANOUT);
    x = gm_add_norm(b, "first_norm", x, -1, GM_ACT_HSWISH, false);
    for (int i = 0; i < 2; i++) {
        int in = x;
        snprintf(b->prefix, sizeof b->prefix, "blocks.%d.", i);
        if (i) b->gate = (gm_gate){(int16_t)d, 1};
        x = gm_add_conv(b, "expand", x, gm_size_table(b, e, -1, scaled, NULL), 1, 1, false, GM_INIT_HE_FANOUT);
        x = gm_add_norm(b, "n1", x, -1, GM_ACT_HSWISH, false);
        x = gm_add_depthwise(b, "dw", x, gm_size_table(b, k, -1, identity_size, NULL), 1, true);
        x = gm_add_norm(b, "n2", x, -1, GM_ACT_HSWISH, false);
        x = gm_add_squeeze_excite(b, "se", x, gm_size_const(b, 8));
        x = gm_add_conv(b, "project", x, gm_size_const(b, 16), 1, 1, false, GM_INIT_HE_FANOUT);
        x = gm_add_norm(b, "n3", x, in, GM_ACT_NONE, false);
        gm_gate gate = b->gate;
        b->gate = (gm_gate){-1, 0};
        if (i) x = gm_add_select(b, gate, x, in);
    }
    b->prefix[0] = 0;
    head(b, x);
}

static void gradient_of_every_subnet_of_an_elastic_network(void **state) {
    (void)state;
    net n;
    elastic(&n);
    finish(&n, GM_F32);
    for (uint64_t i = 0; i < 6; i++) {
        gm_rng rng = gm_rng_keyed(SEED, i, 0, GM_RNG_SUBNET);
        gm_choice c = gm_choice_random(&n.graph->space, &rng);
        if (i == 0) c = gm_choice_max(&n.graph->space);
        if (i == 1) c = gm_choice_min(&n.graph->space);
        check(&n, &c, "elastic");
    }
    end(&n);
}

static void gradients_outside_the_slice_are_exactly_zero(void **state) {
    (void)state;
    net n;
    elastic(&n);
    finish(&n, GM_F32);
    gm_choice c = gm_choice_min(&n.graph->space);
    gradient(&n, &c);
    int checked = 0;
    for (int p = 0; p < n.graph->params; p++) {
        const gm_param *q = &n.graph->param[p];
        const float *g = n.grads + q->offset;
        if (strstr(q->name, "blocks.1."))
            for (size_t i = 0; i < q->count; i++) assert_true(g[i] == 0.0f);
        if (strcmp(q->name, "blocks.0.expand.weight") == 0) { // 16 of 48 outputs are active: the first panel
            double inside = 0;
            for (size_t i = 0; i < q->count; i++) {
                if (i >= 16 * 16) assert_true(g[i] == 0.0f);
                else inside += fabs((double)g[i]);
            }
            assert_true(inside > 0);
            checked++;
        }
        if (strcmp(q->name, "blocks.0.n1.weight") == 0) {
            for (size_t i = 16; i < q->count; i++) assert_true(g[i] == 0.0f);
            checked++;
        }
    }
    assert_int_equal(checked, 2);
    end(&n);
}

// The slice rule of every operation, against the gradient itself: outside a slice it is exactly zero, inside it flows.
static void slices_are_where_the_gradient_flows(void **state) {
    (void)state;
    net n;
    elastic(&n);
    finish(&n, GM_F32);
    gm_resolved r;
    assert_int_equal(gm_resolved_init(&r, n.graph, NULL), GM_OK);
    for (uint64_t i = 0; i < 8; i++) {
        gm_rng rng = gm_rng_keyed(SEED, i, 1, GM_RNG_SUBNET);
        gm_choice c = i ? gm_choice_random(&n.graph->space, &rng) : gm_choice_min(&n.graph->space);
        gradient(&n, &c);
        assert_int_equal(gm_resolve(n.graph, &c, &r, NULL), GM_OK);
        for (int node = 0; node < n.graph->nodes; node++)
            for (int j = 0; j < GM_MAX_NODE_PARAMS; j++) {
                int at = n.graph->node[node].param[j], extent[4] = {0}, flows = 0, slots = 0;
                if (at < 0) continue;
                const gm_param *q = &n.graph->param[at];
                const int *d = q->dims;
                if (r.node[node].active) n.graph->node[node].op->slice(n.graph, node, &r, j, extent);
                for (size_t e = 0; e < gm_param_elements(q); e++) {
                    int x = (int)e % d[3], y = (int)e / d[3] % d[2], in = (int)e / (d[2] * d[3]) % d[1];
                    int o = (int)e / (d[1] * d[2] * d[3]), fy = (d[2] - extent[2]) / 2, fx = (d[3] - extent[3]) / 2;
                    bool inside = o < extent[0] && in < extent[1] && y >= fy && y < fy + extent[2] && x >= fx &&
                                  x < fx + extent[3];
                    bool zero = n.grads[q->offset + gm_param_index(q, e)] == 0.0f;
                    if (!inside && !zero) fail_msg("%s: element %zu outside the slice has a gradient", q->name, e);
                    slots += inside;
                    flows += inside && !zero;
                }
                // a transform whose result is cropped again feels a third of its rows
                if (flows < slots / 3) fail_msg("%s: only %d of %d elements of the slice have a gradient", q->name, flows, slots);
            }
    }
    gm_resolved_fini(&r);
    end(&n);
}

// Same bits on 1, 2 and 3 threads: forward and gradients, f32 and bf16.
static void results_do_not_depend_on_the_number_of_threads(void **state) {
    (void)state;
    for (int t = 0; t < 2; t++) {
        float *reference = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            gm_threads_set(threads);
            net n;
            elastic(&n);
            finish(&n, t ? GM_BF16 : GM_F32);
            gm_choice c = gm_choice_max(&n.graph->space);
            gradient(&n, &c);
            if (!reference) {
                reference = gm_alloc(n.graph->floats, sizeof(float));
                memcpy(reference, n.grads, n.graph->floats * sizeof(float));
            } else {
                assert_memory_equal(reference, n.grads, n.graph->floats * sizeof(float));
            }
            end(&n);
        }
        gm_free(reference);
    }
    gm_threads_set(0);
}

// bf16 gradients point where f32 gradients point.
static void bf16_gradient_agrees_with_f32(void **state) {
    (void)state;
    double dot = 0, a = 0, b = 0;
    float *reference = NULL;
    for (int t = 0; t < 2; t++) {
        net n;
        elastic(&n);
        finish(&n, t ? GM_BF16 : GM_F32);
        gm_choice c = gm_choice_max(&n.graph->space);
        gradient(&n, &c);
        if (!t) {
            reference = gm_alloc(n.graph->floats, sizeof(float));
            memcpy(reference, n.grads, n.graph->floats * sizeof(float));
        } else {
            for (size_t i = 0; i < n.graph->floats; i++) {
                dot += (double)reference[i] * (double)n.grads[i];
                a += (double)reference[i] * (double)reference[i];
                b += (double)n.grads[i] * (double)n.grads[i];
            }
        }
        end(&n);
    }
    gm_free(reference);
    assert_true(dot / sqrt(a * b) > 0.99);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_of_conv3), cmocka_unit_test(gradient_of_conv_stride),
        cmocka_unit_test(gradient_of_conv1), cmocka_unit_test(gradient_of_linear),
        cmocka_unit_test(gradient_of_depthwise5), cmocka_unit_test(gradient_of_depthwise_stride),
        cmocka_unit_test(gradient_of_norm_residual), cmocka_unit_test(gradient_of_hswish),
        cmocka_unit_test(gradient_of_gelu), cmocka_unit_test(gradient_of_silu), cmocka_unit_test(gradient_of_relu6),
        cmocka_unit_test(gradient_of_hsigmoid), cmocka_unit_test(gradient_of_sigmoid),
        cmocka_unit_test(gradient_of_squeeze), cmocka_unit_test(gradient_of_max_pool),
        cmocka_unit_test(gradient_of_avg_pool), cmocka_unit_test(gradient_of_dropout), cmocka_unit_test(gradient_of_add),
        cmocka_unit_test(gradient_of_layer_norm), cmocka_unit_test(gradient_of_rms_norm),
        cmocka_unit_test(gradient_of_attention), cmocka_unit_test(gradient_of_every_subnet_of_an_elastic_network),
        cmocka_unit_test(gradients_outside_the_slice_are_exactly_zero),
        cmocka_unit_test(slices_are_where_the_gradient_flows),
        cmocka_unit_test(results_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(bf16_gradient_agrees_with_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
