// SPDX-License-Identifier: Apache-2.0
// One sandwich step (largest, smallest, two random subnets; forward, backward, optimizer) on CIFAR-10 shapes, and the same
// step in PyTorch in the same run:
//   gamut bench train [--preset resnet-32|mbv3-32] [--type f32|bf16|all] [--batch N] [--steps N] [--threads N]
//                     [--peer torch [--python PYTHON]] [--json]
// Images a second are those of the batch, whatever the number of subnets; "of peak" is the step's multiply-adds (forward
// and twice that backward, counted as two operations) against the register limit of the unit, measured before it.
#include <gamut/train.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"

enum { SUBNETS = 4, TEXT = 512 };

typedef struct job {
    const char *preset, *python;
    int batch, steps;
    bool json, peer;
} job;

typedef struct state {
    gm_model *model;
    gm_walker *walker;
    gm_batch batch;
    float *grads, *momentum, *dlogits, *soft, *loss;
    gm_choice choice[SUBNETS];
    double macs; // of one step, an image
} state;

static void update(void *context, int begin, int end, int worker) {
    (void)worker;
    state *s = context;
    size_t at = (size_t)begin * 4096, last = (size_t)end * 4096, all = s->model->graph->floats;
    if (last > all) last = all;
    if (at < last)
        gm_kernels_active()->sgd(last - at, s->model->params + at, s->grads + at, s->momentum + at, 0.01f, 0.9f, 5e-4f,
                                 true);
}

static gm_status step(state *s, gm_error *err) {
    const gm_kernels *k = gm_kernels_active();
    int n = s->batch.images, classes = s->model->graph->classes, ld = 0;
    memset(s->grads, 0, s->model->graph->floats * sizeof(float));
    for (int i = 0; i < SUBNETS; i++) {
        gm_pass pass = {.choice = s->choice[i], .mode = GM_MODE_TRAIN, .dropout = i == 0};
        gm_status status = gm_walker_forward(s->walker, &pass, &s->batch, err);
        if (status) return status;
        const float *logits = gm_walker_logits(s->walker, &ld);
        if (i == 0) {
            k->cross_entropy(n, classes, logits, ld, s->batch.label, NULL, NULL, 0.1f, 1.0f / (float)n, s->loss,
                             s->dlogits, ld);
            k->softmax(n, classes, logits, ld, s->soft, ld);
        } else {
            k->cross_entropy_soft(n, classes, logits, ld, s->soft, ld, 1.0f, 1.0f / (float)n, s->loss, s->dlogits, ld);
        }
        status = gm_walker_backward(s->walker, s->dlogits, s->grads, err);
        if (status) return status;
    }
    gm_parallel((int)((s->model->graph->floats + 4095) / 4096), update, s);
    gm_walker_refresh(s->walker, s->model->params);
    return GM_OK;
}

static gm_status prepare(state *s, const job *j, gm_dtype type, gm_error *err) {
    gm_model_settings settings = gm_model_settings_default();
    settings.classes = 10;
    settings.resolution = 32;
    settings.single_resolution = true;
    if (strncmp(j->preset, "mbv3", 4) == 0) settings.kernel_fixed = 7;
    gm_status status = gm_model_create(j->preset, &settings, &s->model, err);
    if (status) return status;
    gm_model_init_params(s->model, 1);
    const gm_graph *g = s->model->graph;
    status = gm_walker_create(g, s->model->norm_offset, type, j->batch, true, &s->walker, err);
    if (!status) status = gm_batch_init(&s->batch, j->batch, 32, 3, type, err);
    if (status) return status;
    size_t rows = (size_t)j->batch * 64; // logits rows are at most 64 wide for 10 classes
    s->grads = gm_alloc(g->floats, sizeof(float));
    s->momentum = gm_alloc(g->floats, sizeof(float));
    s->dlogits = gm_alloc(rows, sizeof(float));
    s->soft = gm_alloc(rows, sizeof(float));
    s->loss = gm_alloc((size_t)j->batch, sizeof(float));
    if (!s->grads || !s->momentum || !s->dlogits || !s->soft || !s->loss)
        return gm_fail(err, GM_ERR_MEMORY, "buffers of the step");
    s->batch.images = j->batch;
    s->batch.height = s->batch.width = 32;
    s->batch.channels = 3;
    s->batch.ld = gm_channel_stride(type, 3);
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_TEST);
    for (int i = 0; i < j->batch; i++) s->batch.label[i] = (int)gm_rng_below(&rng, 10);
    for (size_t p = 0; p < (size_t)j->batch * 1024; p++)
        for (size_t c = 0; c < 3; c++) {
            float v = gm_rng_normal(&rng);
            if (type == GM_F32) ((float *)s->batch.x)[p * (size_t)s->batch.ld + c] = v;
            else ((gm_bf16 *)s->batch.x)[p * (size_t)s->batch.ld + c] = gm_bf16_from_f32(v);
        }
    const char *choices[SUBNETS] = {"max", "min", "random:1", "random:2"};
    for (int i = 0; i < SUBNETS && !status; i++) {
        gm_cost cost;
        status = gm_choice_parse(&g->space, choices[i], &s->choice[i], err);
        if (!status) status = gm_count(g, &s->choice[i], &cost, err);
        if (!status) s->macs += 3.0 * (double)cost.macs;
    }
    gm_walker_refresh(s->walker, s->model->params);
    return status;
}

static void release(state *s) {
    gm_walker_destroy(s->walker);
    gm_batch_fini(&s->batch);
    gm_free(s->grads);
    gm_free(s->momentum);
    gm_free(s->dlogits);
    gm_free(s->soft);
    gm_free(s->loss);
    gm_model_destroy(s->model);
}

// Seconds a step of PyTorch; 0: not to be had.
static double torch_seconds(const job *j, const state *s, gm_dtype type) {
    char command[4096], line[1024];
    int at = snprintf(command, sizeof command, "OMP_NUM_THREADS=%d %s bench/peers/torch_train.py --preset %s --batch %d --threads %d --dtype %s --steps %d",
                      gm_threads(), j->python, j->preset, j->batch, gm_threads(), gm_dtype_name(type), j->steps);
    for (int i = 0; i < SUBNETS; i++) {
        char text[TEXT];
        if (gm_choice_print(&s->model->graph->space, &s->choice[i], text, sizeof text, NULL)) return 0;
        at += snprintf(command + at, sizeof command - (size_t)at, " --choice '%s'", text);
    }
    double seconds = 0;
    FILE *pipe = popen(command, "r");
    if (!pipe) return 0;
    while (fgets(line, sizeof line, pipe)) {
        char *found = strstr(line, "\"seconds\": ");
        if (found) seconds = strtod(found + 11, NULL);
    }
    return pclose(pipe) == 0 ? seconds : 0;
}

static int run(const job *j, gm_dtype type) {
    gm_error err = {0};
    state s = {0};
    double limit = measure_peak(type, gm_cpu_active()) * gm_threads();
    gm_status status = prepare(&s, j, type, &err);
    for (int i = 0; i < 2 && !status; i++) status = step(&s, &err);
    double *times = gm_alloc((size_t)j->steps, sizeof *times);
    for (int i = 0; i < j->steps && !status && times; i++) {
        double start = gm_now();
        status = step(&s, &err);
        times[i] = gm_now() - start;
    }
    if (status || !times) {
        fprintf(stderr, "bench_train: %s\n", times ? err.text : "out of memory");
        gm_free(times);
        release(&s);
        return 1;
    }
    double seconds = measure_median(times, j->steps), fast = times[0], slow = times[j->steps - 1]; // sorted by now
    double rate = 2.0 * s.macs * j->batch / seconds;
    double peer = j->peer ? torch_seconds(j, &s, type) : 0;
    if (j->peer && peer <= 0) fprintf(stderr, "bench_train: PyTorch did not run: pip install torch==2.13.0, or --python\n");
    if (j->json)
        printf("{\"name\": \"sandwich %s %s\", \"ours\": %.4f, \"peer\": %.4f, \"ratio\": %.3f, \"unit\": \"images/s\", "
               "\"spread\": [%.4f, %.4f], \"batch\": %d, \"threads\": %d, \"flops\": %.4g, \"of_peak\": %.4f}\n",
               j->preset, gm_dtype_name(type), j->batch / seconds, peer > 0 ? j->batch / peer : 0.0,
               peer > 0 ? peer / seconds : 0.0, j->batch / slow, j->batch / fast, j->batch, gm_threads(), rate,
               limit > 0 ? rate / limit : 0.0);
    else {
        printf("%-10s %-5s batch %d, %d threads: %.3f s a step (%.3f to %.3f), %.1f images/s, %.0f GFLOP/s, %.2f of peak",
               j->preset, gm_dtype_name(type), j->batch, gm_threads(), seconds, fast, slow, j->batch / seconds,
               rate * 1e-9, limit > 0 ? rate / limit : 0.0);
        if (peer > 0) printf("; PyTorch %.3f s, %.1f images/s: ours %.2f times", peer, j->batch / peer, peer / seconds);
        printf("\n");
    }
    gm_free(times);
    release(&s);
    return j->peer && peer <= 0;
}

static const char usage[] =
    "usage: bench_train [--preset P] [--type f32|bf16|all] [--batch N] [--steps N] [--threads N] [--peer torch [--python PYTHON]] [--json]\n"
    "Images per second of one sandwich step on CIFAR-10 shapes, beside the same step in PyTorch.\n";

int main(int argc, char **argv) {
    if (measure_help(argc, argv, usage)) return 0;
    static const struct option options[] = {
        {"preset", required_argument, NULL, 'p'},  {"type", required_argument, NULL, 't'},
        {"batch", required_argument, NULL, 'b'},   {"steps", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 'n'}, {"peer", required_argument, NULL, 'e'},
        {"python", required_argument, NULL, 'y'},  {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    job j = {.preset = "resnet-32", .python = "python3", .batch = 128, .steps = 7};
    const char *type = "all";
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'p') j.preset = optarg;
        else if (c == 't') type = optarg;
        else if (c == 'b') j.batch = atoi(optarg);
        else if (c == 's') j.steps = atoi(optarg);
        else if (c == 'n') gm_threads_set(atoi(optarg));
        else if (c == 'e' && strcmp(optarg, "torch") == 0) j.peer = true;
        else if (c == 'y') j.python = optarg;
        else if (c == 'j') j.json = true;
        else {
            fputs(usage, stderr);
            return 2;
        }
    }
    if (j.batch < 1 || j.steps < 1) return 2;
    int failed = 0;
    if (strcmp(type, "bf16") != 0) failed |= run(&j, GM_F32);
    if (strcmp(type, "f32") != 0) failed |= run(&j, GM_BF16);
    gm_scratch_release();
    return failed;
}
