// SPDX-License-Identifier: Apache-2.0
// Speed of the kernels against the limits of the machine, measured in the same run.
//   build/bench_kernels [--json FILE] [--filter TEXT] [--type f32|bf16|i8] [--seconds S]
//   [--one-core]
// Useful operations only (2 per multiply-accumulate of the active subnet, also where Winograd's
// transforms spare some of them: such rows may exceed the register limit); medians of repeated runs. "both" runs the row on every core at once, each on its own buffers, and adds the rates.
#include <gamut/kernel.h>

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"

typedef enum op { CONV, DGRAD, WGRAD, DEPTHWISE, DEPTHWISE_DGRAD, DEPTHWISE_WGRAD } op;
static const char *const op_names[] = {"conv",      "dgrad",           "wgrad",
                                       "depthwise", "depthwise dgrad", "depthwise wgrad"};

typedef struct row {
    const char *group, *name;
    op op;
    int n, h, w, c, k, r, stride; // active
    int inputs, outputs;          // stored; 0: as active
    int flat;
    int whole; // row (from 1, counted over the list) with the full tensor of this slice; 0: not a
               // slice
    unsigned types; // 1 << gm_dtype
} row;

enum { F = 1 << GM_F32, B = 1 << GM_BF16, I = 1 << GM_I8 };

static const row rows[] = {
    {"spec", "1x1 56x56 64->256", CONV, 1, 56, 56, 64, 256, 1, 1, 0, 0, 0, 0, F | B | I},
    {"spec", "1x1 56x56 256->64", CONV, 1, 56, 56, 256, 64, 1, 1, 0, 0, 0, 0, F | B | I},
    {"spec", "1x1 28x28 512->128", CONV, 1, 28, 28, 512, 128, 1, 1, 0, 0, 0, 0, F | B | I},
    {"spec", "1x1 14x14 1024->256", CONV, 1, 14, 14, 1024, 256, 1, 1, 0, 0, 0, 0, F | B | I},
    {"spec", "  slice 672->160", CONV, 1, 14, 14, 672, 160, 1, 1, 1024, 256, 0, 4, F | B | I},
    {"spec", "  slice 832->208", CONV, 1, 14, 14, 832, 208, 1, 1, 1024, 256, 0, 4, F | B | I},
    {"spec", "1x1 7x7 2048->512", CONV, 1, 7, 7, 2048, 512, 1, 1, 0, 0, 0, 0, F | B | I},
    {"spec", "  slice 1344->352", CONV, 1, 7, 7, 1344, 352, 1, 1, 2048, 512, 0, 7, F | B | I},
    {"spec", "3x3 56x56 64->64", CONV, 1, 56, 56, 64, 64, 3, 1, 0, 0, 0, 0, F | B | I},
    {"spec", "3x3 28x28 128->128", CONV, 1, 28, 28, 128, 128, 3, 1, 0, 0, 0, 0, F | B | I},
    {"spec", "3x3 14x14 256->256", CONV, 1, 14, 14, 256, 256, 3, 1, 0, 0, 0, 0, F | B | I},
    {"spec", "  slice 160->160", CONV, 1, 14, 14, 160, 160, 3, 1, 256, 256, 0, 11, F | B | I},
    {"spec", "  slice 208->208", CONV, 1, 14, 14, 208, 208, 3, 1, 256, 256, 0, 11, F | B | I},
    {"spec", "3x3 7x7 512->512", CONV, 1, 7, 7, 512, 512, 3, 1, 0, 0, 0, 0, F | B | I},
    {"spec", "3x3 32x32 64->64", CONV, 1, 32, 32, 64, 64, 3, 1, 0, 0, 0, 0, F | B | I},
    {"more", "3x3/2 56x56 128->128", CONV, 1, 56, 56, 128, 128, 3, 2, 0, 0, 0, 0, F | B | I},
    {"batch", "1x1 56x56 64->256 n16", CONV, 16, 56, 56, 64, 256, 1, 1, 0, 0, 0, 0, F | B},
    {"batch", "1x1 14x14 1024->256 n16", CONV, 16, 14, 14, 1024, 256, 1, 1, 0, 0, 0, 0, F | B},
    {"batch", "1x1 7x7 2048->512 n16", CONV, 16, 7, 7, 2048, 512, 1, 1, 0, 0, 0, 0, F | B},
    {"batch", "3x3 14x14 256->256 n16", CONV, 16, 14, 14, 256, 256, 3, 1, 0, 0, 0, 0, F | B},
    {"batch", "3x3 7x7 512->512 n16", CONV, 16, 7, 7, 512, 512, 3, 1, 0, 0, 0, 0, F | B},
#define TRAIN(text, h, c, k, r)                                                                    \
    {"train", text, CONV, 64, h, h, c, k, r, 1, 0, 0, 0, 0, F | B},                                \
        {"train", text, DGRAD, 64, h, h, c, k, r, 1, 0, 0, 0, 0, F | B}, {                         \
        "train", text, WGRAD, 64, h, h, c, k, r, 1, 0, 0, 0, 0, F | B                              \
    }
    {"train", "first 3x3 32x32 3->64", CONV, 64, 32, 32, 3, 64, 3, 1, 0, 0, 1, 0, F | B},
    {"train", "first 3x3 32x32 3->64", WGRAD, 64, 32, 32, 3, 64, 3, 1, 0, 0, 1, 0, F | B},
    TRAIN("3x3 32x32 64->64", 32, 64, 64, 3),
    TRAIN("3x3 16x16 128->128", 16, 128, 128, 3),
    TRAIN("3x3 8x8 256->256", 8, 256, 256, 3),
    TRAIN("3x3 4x4 512->512", 4, 512, 512, 3),
    TRAIN("1x1 32x32 24->144", 32, 24, 144, 1),
    TRAIN("1x1 16x16 40->240", 16, 40, 240, 1),
    TRAIN("1x1 16x16 240->40", 16, 240, 40, 1),
    TRAIN("1x1 8x8 112->672", 8, 112, 672, 1),
    TRAIN("1x1 4x4 160->960", 4, 160, 960, 1),
    {"train", "3x3/2 32x32 64->128", CONV, 64, 32, 32, 64, 128, 3, 2, 0, 0, 0, 0, F | B},
    {"train", "3x3/2 32x32 64->128", DGRAD, 64, 32, 32, 64, 128, 3, 2, 0, 0, 0, 0, F | B},
    {"train", "3x3/2 32x32 64->128", WGRAD, 64, 32, 32, 64, 128, 3, 2, 0, 0, 0, 0, F | B},
    {"gemm", "GEMM 2048", CONV, 2048, 1, 1, 2048, 2048, 1, 1, 0, 0, 0, 0, F | B | I},
#define DEPTH(text, h, c, r, stride)                                                               \
    {"depthwise", text, DEPTHWISE, 16, h, h, c, c, r, stride, 0, 0, 0, 0, F | B},                  \
        {"depthwise", text, DEPTHWISE_DGRAD, 16, h, h, c, c, r, stride, 0, 0, 0, 0, F | B}, {      \
        "depthwise", text, DEPTHWISE_WGRAD, 16, h, h, c, c, r, stride, 0, 0, 0, 0, F | B           \
    }
    DEPTH("3x3 32x32 96", 32, 96, 3, 1),
    DEPTH("5x5 16x16 240", 16, 240, 5, 1),
    DEPTH("7x7 8x8 672", 8, 672, 7, 1),
    DEPTH("5x5/2 16x16 144", 16, 144, 5, 2),
};
enum { ROWS = (int)(sizeof rows / sizeof rows[0]), CORES_MAX = 64 };

// ---------------------------------------------------------------------------------------------
// One row on one core: its own buffers.
typedef struct bench {
    const gm_kernels *kernels;
    const row *row;
    gm_dtype type;
    gm_conv g;
    gm_panels master, panels;
    void *x, *y, *scratch;
    float *dw, *scale, *shift;
    gm_epilogue epilogue;
    double rate; // operations a second, median
    bool failed;
} bench;

static void fill(const bench *b, void *data, int count, int c, int ld, uint64_t seed) {
    gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
    for (size_t i = 0; i < (size_t)count * (size_t)ld; i++) {
        float v = (int)(i % (size_t)ld) < c ? gm_rng_uniform(&rng) - 0.5f : 0.0f;
        if (b->type == GM_F32)
            ((float *)data)[i] = v;
        else if (b->type == GM_BF16)
            ((gm_bf16 *)data)[i] = gm_bf16_from_f32(v);
        else
            ((int8_t *)data)[i] = (int8_t)(v * 250);
    }
}

static void bench_free(bench *b) {
    gm_free(b->master.data);
    gm_free(b->panels.data);
    gm_free((void *)(uintptr_t)b->panels.scale);
    gm_free(b->x);
    gm_free(b->y);
    gm_free(b->scratch);
    gm_free(b->dw);
    gm_free(b->scale);
    gm_free(b->shift);
}

static bool bench_init(bench *b, const gm_kernels *kernels, const row *r, gm_dtype type) {
    int inputs = r->inputs ? r->inputs : r->c, outputs = r->outputs ? r->outputs : r->k,
        pad = r->r / 2;
    bool depthwise = r->op >= DEPTHWISE;
    *b = (bench){.kernels = kernels, .row = r, .type = type};
    b->g = (gm_conv){.n = r->n,
                     .h = r->h,
                     .w = r->w,
                     .c = r->c,
                     .ho = (r->h + 2 * pad - r->r) / r->stride + 1,
                     .wo = (r->w + 2 * pad - r->r) / r->stride + 1,
                     .k = r->k,
                     .r = r->r,
                     .s = r->r,
                     .stride = r->stride,
                     .pad = pad,
                     .ldx = gm_channel_stride(type, inputs),
                     .ldy = gm_channel_stride(type == GM_I8 ? GM_I8 : type, outputs)};
    size_t size = gm_dtype_size(type);
    int in = r->n * r->h * r->w, out = r->n * b->g.ho * b->g.wo;
    b->x = gm_alloc((size_t)in * (size_t)b->g.ldx, size);
    b->y = gm_alloc((size_t)out * (size_t)b->g.ldy, size);
    b->scratch = gm_alloc(gm_conv_scratch(&b->g, type) + 64, 1);
    b->scale = gm_alloc((size_t)outputs, sizeof(float));
    b->shift = gm_alloc((size_t)outputs, sizeof(float));
    if (!b->x || !b->y || !b->scratch || !b->scale || !b->shift) return false;
    fill(b, b->x, in, r->c, b->g.ldx, 1);
    fill(b, b->y, out, r->k, b->g.ldy, 2);
    for (int i = 0; i < outputs; i++) {
        b->scale[i] = type == GM_I8 ? 1e-4f : 1.0f;
        b->shift[i] = 0.1f;
    }
    b->epilogue = (gm_epilogue){
        .scale = b->scale, .shift = b->shift, .act = GM_ACT_RELU, .out = type, .out_scale = 0.05f};
    if (depthwise) {
        b->master.data = gm_alloc((size_t)(r->r * r->r) * (size_t)b->g.ldx, sizeof(float));
        b->dw = gm_alloc((size_t)(r->r * r->r) * (size_t)b->g.ldx, sizeof(float));
        return b->master.data && b->dw;
    }
    size_t count = gm_panels_layout(&b->master, GM_F32, outputs, inputs, r->r, r->r, r->flat);
    b->master.data = gm_alloc(count, sizeof(float));
    if (r->op == WGRAD) b->dw = gm_alloc(count, sizeof(float));
    size_t packed = r->op == DGRAD
                        ? gm_panels_layout(&b->panels, type, inputs, outputs, r->r, r->r, 0)
                        : gm_panels_layout(&b->panels, type, outputs, inputs, r->r, r->r, r->flat);
    b->panels.data = gm_alloc(packed, size);
    if (type == GM_I8) b->panels.scale = gm_alloc((size_t)gm_round_up(outputs, 16), sizeof(float));
    if (!b->master.data || !b->panels.data || (r->op == WGRAD && !b->dw) ||
        (type == GM_I8 && !b->panels.scale))
        return false;
    gm_rng rng = gm_rng_keyed(3, 0, 0, GM_RNG_TEST);
    for (size_t i = 0; i < count; i++) ((float *)b->master.data)[i] = gm_rng_uniform(&rng) - 0.5f;
    if (r->op == DGRAD)
        kernels->pack_t(&b->master, &b->panels, 0, (inputs + 15) / 16);
    else
        kernels->pack(&b->master, &b->panels, 0, (outputs + 15) / 16);
    return true;
}

static void bench_call(bench *b) {
    const gm_kernels *k = b->kernels;
    int r = b->g.r, ld = b->g.ldx;
    switch (b->row->op) {
    case CONV: k->conv(b->type, &b->g, b->x, &b->panels, &b->epilogue, b->y, b->scratch); break;
    case DGRAD: k->conv_dgrad(b->type, &b->g, b->y, &b->panels, false, b->x, b->scratch); break;
    case WGRAD:
        k->conv_wgrad(b->type, &b->g, b->x, b->y, &b->master, b->dw, 0, b->g.c, 0,
                      (b->g.k + 15) / 16, b->scratch);
        break;
    case DEPTHWISE:
        k->depthwise(b->type, &b->g, b->x, b->master.data, r, ld, &b->epilogue, b->y, b->scratch);
        break;
    case DEPTHWISE_DGRAD:
        k->depthwise_dgrad(b->type, &b->g, b->y, b->master.data, r, ld, false, b->x, b->scratch);
        break;
    case DEPTHWISE_WGRAD:
        k->depthwise_wgrad(b->type, &b->g, b->x, b->y, b->dw, r, ld, 0, b->g.c, b->scratch);
        break;
    }
}

// The row's own operations and the least bytes it must move.
static double operations(const row *r) {
    double out = (double)r->n * ((r->h + 2 * (r->r / 2) - r->r) / r->stride + 1) *
                 ((r->w + 2 * (r->r / 2) - r->r) / r->stride + 1);
    return 2.0 * out * r->k * r->r * r->r * (r->op >= DEPTHWISE ? 1 : r->c);
}

static double bytes_moved(const bench *b) {
    const gm_conv *g = &b->g;
    return (double)gm_dtype_size(b->type) * g->n *
           ((double)g->h * g->w * g->c + (double)g->ho * g->wo * g->k);
}

static double seconds_per_row = 0.15;

static void bench_run(bench *b) {
    double times[64], start = gm_now();
    bench_call(b);
    bench_call(b);
    double once = (gm_now() - start) / 2;
    // at least 0.2 ms between two readings of the clock
    int inner = gm_max(1, gm_min(1000, (int)(2e-4 / (once + 1e-9)))), runs = 0;
    start = gm_now();
    while (runs < 64 && (runs < 5 || gm_now() - start < seconds_per_row)) {
        double t = gm_now();
        for (int i = 0; i < inner; i++) bench_call(b);
        times[runs++] = (gm_now() - t) / inner;
    }
    b->rate = operations(b->row) / measure_median(times, runs);
}

typedef struct many {
    bench item[CORES_MAX];
} many;

static void run_many(void *context, int begin, int end, int worker) {
    (void)worker;
    many *m = context;
    for (int i = begin; i < end; i++) bench_run(&m->item[i]);
}

// Rates on one core and on all (0: not measured).
static bool measure(const gm_kernels *kernels, const row *r, gm_dtype type, int cores, double *one,
                    double *all, double *bytes) {
    static many m;
    bool ok = true;
    int ready = 0;
    *one = *all = 0;
    for (; ready < cores && ok; ready++) ok = bench_init(&m.item[ready], kernels, r, type);
    if (ok) {
        bench_run(&m.item[0]);
        *one = m.item[0].rate;
        *bytes = bytes_moved(&m.item[0]);
        if (cores > 1) {
            gm_parallel(cores, run_many, &m);
            for (int i = 0; i < cores; i++) *all += m.item[i].rate;
        }
    }
    for (int i = 0; i < ready; i++) bench_free(&m.item[i]);
    return ok;
}

// ---------------------------------------------------------------------------------------------
// OpenBLAS, when the machine has it: the f32 GEMM that others use.
typedef void sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                   int lda, const float *b, int ldb, float beta, float *c, int ldc);

static double openblas_gemm(int threads) {
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib) return 0;
    union {
        void *p;
        sgemm *gemm;
        void (*set)(int);
    } f = {dlsym(lib, "cblas_sgemm")}, s = {dlsym(lib, "openblas_set_num_threads")};
    const int n = 2048;
    float *a = gm_alloc((size_t)n * n, 4), *b = gm_alloc((size_t)n * n, 4),
          *c = gm_alloc((size_t)n * n, 4);
    double times[7] = {0}, rate = 0;
    if (f.p && s.p && a && b && c) {
        for (int i = 0; i < n * n; i++) {
            a[i] = (float)(i % 7) - 3;
            b[i] = (float)(i % 5) - 2;
        }
        s.set(threads);
        for (int i = -1; i < 7; i++) {
            double t = gm_now();
            f.gemm(101, 111, 111, n, n, n, 1, a, n, b, n, 0, c, n);
            if (i >= 0) times[i] = gm_now() - t;
        }
        rate = 2.0 * n * n * n / measure_median(times, 7);
    }
    gm_free(a);
    gm_free(b);
    gm_free(c);
    return rate;
}

typedef struct options {
    const char *json, *filter, *type;
    bool one_core;
} options;

static void summary(const char *title, double *ratio, int n, FILE *json) {
    if (n == 0) return;
    double m = measure_median(ratio, n);
    printf("%-34s rows %d, of the limit: median %.2f, worst %.2f\n", title, n, m, ratio[0]);
    if (json)
        fprintf(json, ",\n  {\"summary\": \"%s\", \"rows\": %d, \"median\": %.4f, \"worst\": %.4f}",
                title, n, m, ratio[0]);
}

static void run_type(const gm_kernels *kernels, gm_dtype type, const options *o, int cores,
                     FILE *json) {
    double limit = measure_peak(type, kernels->level), rates[ROWS] = {0};
    double spec[ROWS], train[ROWS], slice[ROWS];
    int specs = 0, trains = 0, slices = 0;
    printf("\n%s: register limit %.0f G/s a core\n", gm_dtype_name(type), limit * 1e-9);
    printf("%-10s %-24s %-16s %9s %6s %9s %8s\n", "group", "row", "operation", "one core", "limit",
           "all cores", "GB/s");
    if (json) fprintf(json, ",\n  {\"type\": \"%s\", \"peak\": %.4g}", gm_dtype_name(type), limit);
    for (int i = 0; i < ROWS; i++) {
        const row *r = &rows[i];
        double all, bytes = 0;
        if (!(r->types >> type & 1u)) continue;
        if (o->filter && !strstr(r->name, o->filter) && !strstr(r->group, o->filter) &&
            !strstr(op_names[r->op], o->filter))
            continue;
        if (!measure(kernels, r, type, cores, &rates[i], &all, &bytes)) {
            printf("%-10s %-24s out of memory\n", r->group, r->name);
            continue;
        }
        double ratio = limit > 0 ? rates[i] / limit : 0, stream = bytes * rates[i] / operations(r);
        printf("%-10s %-24s %-16s %9.1f %6.2f %9.1f %8.1f", r->group, r->name, op_names[r->op],
               rates[i] * 1e-9, ratio, all * 1e-9, stream * 1e-9);
        if (r->whole && rates[r->whole - 1] > 0) {
            slice[slices] = rates[i] / rates[r->whole - 1];
            printf("  %.2f of the full tensor's rate", slice[slices++]);
        }
        printf("\n");
        fflush(stdout);
        if (json)
            fprintf(json,
                    ",\n  {\"type\": \"%s\", \"group\": \"%s\", \"row\": \"%s\", \"op\": \"%s\", "
                    "\"one_core\": %.4g, \"all_cores\": %.4g, \"of_peak\": %.4f, "
                    "\"bytes_per_second\": %.4g}",
                    gm_dtype_name(type), r->group, r->name, op_names[r->op], rates[i], all, ratio,
                    stream);
        if (!strcmp(r->group, "spec")) spec[specs++] = ratio;
        if (!strcmp(r->group, "train") && !r->flat) train[trains++] = ratio;
    }
    summary("rows of the specification", spec, specs, json);
    summary("training shapes", train, trains, json);
    summary("slices against the full tensor", slice, slices, json);
}

static const char usage[] =
    "usage: bench_kernels [--json FILE] [--filter TEXT] [--type f32|bf16|i8] [--seconds S] [--one-core]\n"
    "Rates of the kernels against the arithmetic limit that the same run measures, and of slices against the full tensor.\n";

static bool parse(int argc, char **argv, options *o) {
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (!strcmp(argv[i], "--json") && more)
            o->json = argv[++i];
        else if (!strcmp(argv[i], "--filter") && more)
            o->filter = argv[++i];
        else if (!strcmp(argv[i], "--type") && more)
            o->type = argv[++i];
        else if (!strcmp(argv[i], "--seconds") && more)
            seconds_per_row = atof(argv[++i]);
        else if (!strcmp(argv[i], "--one-core"))
            o->one_core = true;
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv) {
    if (measure_help(argc, argv, usage)) return 0;
    options o = {0};
    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    const gm_kernels *kernels = gm_kernels_active();
    int cores = o.one_core ? 1 : gm_min(CORES_MAX, gm_threads());
    FILE *json = o.json ? fopen(o.json, "w") : NULL;
    if (o.json && !json) {
        fprintf(stderr, "bench_kernels: cannot write %s\n", o.json);
        return 1;
    }
    printf("%s, level %s, %d cores; G operations a second\n", gm_cpu_model(),
           gm_cpu_level_name(kernels->level), cores);
    if (json)
        fprintf(json, "[\n  {\"cpu\": \"%s\", \"level\": \"%s\", \"cores\": %d}", gm_cpu_model(),
                gm_cpu_level_name(kernels->level), cores);
    for (gm_dtype t = GM_F32; t <= GM_I8; t++)
        if (!o.type || !strcmp(o.type, gm_dtype_name(t))) run_type(kernels, t, &o, cores, json);
    if ((!o.type || !strcmp(o.type, "f32")) && (!o.filter || strstr("GEMM 2048", o.filter))) {
        double one = openblas_gemm(1), all = openblas_gemm(cores);
        if (one > 0) {
            printf("OpenBLAS f32 GEMM 2048: %.1f one core, %.1f all cores\n", one * 1e-9,
                   all * 1e-9);
            if (json)
                fprintf(json,
                        ",\n  {\"peer\": \"openblas\", \"row\": \"GEMM 2048\", \"one_core\": %.4g, "
                        "\"all_cores\": %.4g}",
                        one, all);
        } else {
            printf("OpenBLAS: not on this machine\n");
        }
    }
    if (json) {
        fprintf(json, "\n]\n");
        fclose(json);
    }
    return 0;
}
