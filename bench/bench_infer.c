// SPDX-License-Identifier: Apache-2.0
// Inference of subnets in place, against PyTorch (eager, compiled, bf16) and onnxruntime on the same network exported to ONNX:
//   gamut bench infer [--preset resnet50|mbv3|all] [--type f32|bf16|int8|all] [--batch 1,16] [--points N] [--seconds S]
//                     [--rounds R] [--threads N] [--peer torch|onnxruntime|all [--python PYTHON]] [--folder DIR] [--json]
// A machine's speed drifts by more than the runtimes differ: with --rounds R ours and the peers take turns R times, and medians
// over the rounds are shown, of each time and of the ratio within a round.
// Points: OFA-ResNet50 at the published 0.6 to 4.1 GMACs, OFA-MBv3 at 103 to 482 M: for each the subnet that comes nearest of the
// largest, the smallest and 4,000 random ones (seed 1) at 224 pixels, or at fewer where 224 cannot be that cheap. Weights are random and statistics made up: speed does
// not depend on them, and outputs are compared all the same (largest difference, as a fraction of the largest logit).
// Peers get the folded graph (no norms left), NHWC where they have it, and the same threads; theirs is the best of what runs.
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "measure.h"
#include "plan_points.h"

enum { MOST_POINTS = 6, PATH = 512, MOST_RUNS = 400, MOST_ROUNDS = 32, MOST_MODES = 8, TYPES = 3 };

typedef struct job {
    const char *python, *peer, *folder, *type;
    int batch[4], batches, points, rounds;
    double seconds;
    bool json;
} job;

typedef struct net {
    const char *preset;
    double macs[MOST_POINTS]; // targets
    gm_choice choice[MOST_POINTS];
    double found[MOST_POINTS];
    int points;
    gm_model *model;
} net;

static const net nets[] = {
    {.preset = "resnet50", .macs = {0.6e9, 0.9e9, 1.2e9, 1.8e9, 3.0e9, 4.1e9}},
    {.preset = "mbv3", .macs = {103e6, 151e6, 230e6, 330e6, 389e6, 482e6}},
};

typedef struct timing {
    double median, fast, slow; // seconds a batch
} timing;

static void fill(gm_plan_input in, int images) {
    gm_rng rng = gm_rng_keyed(7, 0, 0, GM_RNG_TEST);
    size_t rows = (size_t)images * (size_t)(in.side * in.side);
    for (size_t r = 0; r < rows; r++)
        for (int c = 0; c < in.channels; c++) {
            float v = gm_bf16_to_f32(gm_bf16_from_f32(gm_rng_normal(&rng))); // the same numbers for every type
            size_t at = r * (size_t)in.ld + (size_t)c;
            if (in.type == GM_F32) ((float *)in.x)[at] = v;
            else ((gm_bf16 *)in.x)[at] = gm_bf16_from_f32(v);
        }
}

static timing measure(gm_plan *p, int images, double seconds) {
    double t[MOST_RUNS];
    int runs = 0;
    for (int i = 0; i < 2; i++) gm_plan_run(p, images);
    for (double begin = gm_now(); runs < MOST_RUNS && (runs < 5 || gm_now() - begin < seconds); runs++) {
        double start = gm_now();
        gm_plan_run(p, images);
        t[runs] = gm_now() - start;
    }
    double median = measure_median(t, runs);
    return (timing){median, t[0], t[runs - 1]};
}

// ---------------------------------------------------------------------------------------------
// Peers: one line of JSON a mode; logits in a file of f32.
typedef struct peer_row {
    char mode[32], logits[PATH];
    double seconds;
} peer_row;

static bool text_of(const char *line, const char *key, char *out, size_t size) {
    const char *at = strstr(line, key);
    if (!at) return false;
    at += strlen(key);
    size_t n = strcspn(at, "\"");
    snprintf(out, size, "%.*s", (int)n, at);
    return true;
}

static int run_peer(const job *j, const char *onnx, const char *input, int side, int batch, peer_row *rows, int most) {
    char command[2048], line[1024];
    snprintf(command, sizeof command,
             "OMP_NUM_THREADS=%d %s bench/peers/infer_peers.py --onnx %s --input %s --side %d --batch %d --threads %d "
             "--seconds %g --peer %s --type %s --out %s/peer",
             gm_threads(), j->python, onnx, input, side, batch, gm_threads(), j->seconds, j->peer,
             strcmp(j->type, "int8") == 0 ? "f32" : j->type, j->folder);
    FILE *pipe = popen(command, "r");
    int count = 0;
    while (pipe && fgets(line, sizeof line, pipe)) {
        peer_row *r = &rows[count];
        char number[32];
        if (count < most && text_of(line, "\"mode\": \"", r->mode, sizeof r->mode) &&
            text_of(line, "\"logits\": \"", r->logits, sizeof r->logits) && text_of(line, "\"seconds\": \"", number, sizeof number)) {
            r->seconds = strtod(number, NULL);
            count++;
        }
    }
    if (!pipe || pclose(pipe) != 0) fprintf(stderr, "bench_infer: the peer failed: %s\n", command);
    return count;
}

static double distance(const float *logits, int ld, int rows, int classes, const char *path) {
    uint8_t *data = NULL;
    size_t bytes = 0, want = (size_t)rows * (size_t)classes * sizeof(float);
    double most = 0, scale = 1e-30;
    if (gm_file_read(path, want, &data, &bytes, NULL) != GM_OK || bytes != want) {
        gm_free(data);
        return NAN;
    }
    const float *other = (const float *)(const void *)data;
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < classes; c++) {
            double a = (double)logits[i * ld + c], b = (double)other[i * classes + c];
            most = fmax(most, fabs(a - b));
            scale = fmax(scale, fabs(b));
        }
    gm_free(data);
    return most / scale;
}

static gm_status write_input(gm_plan *f32, int images, const char *path, gm_error *err) {
    gm_plan_input in = gm_plan_input_of(f32);
    size_t plane = (size_t)(in.side * in.side), channels = (size_t)in.channels;
    float *x = gm_alloc((size_t)images * plane * channels, sizeof *x); // NCHW
    if (!x) return gm_fail(err, GM_ERR_MEMORY, "input of the peers");
    for (size_t i = 0; i < (size_t)images; i++)
        for (size_t c = 0; c < channels; c++)
            for (size_t q = 0; q < plane; q++)
                x[(i * channels + c) * plane + q] = ((const float *)in.x)[(i * plane + q) * (size_t)in.ld + c];
    gm_status status = gm_file_write(path, x, (size_t)images * plane * channels * sizeof *x, err);
    gm_free(x);
    return status;
}

static bool export_onnx(const job *j, const net *n, int point, const char *model, const char *onnx) {
    char command[2 * PATH + 1024], choice[512], self[PATH] = "";
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = length > 0 ? strrchr(self, '/') : NULL;
    if (!slash || gm_choice_print(&n->model->graph->space, &n->choice[point], choice, sizeof choice, NULL) != GM_OK) return false;
    *slash = '\0';
    snprintf(command, sizeof command, "%s/gamut export %s --choice '%s' --format onnx --out %s >%s/export.log 2>&1", self, model, choice,
             onnx, j->folder);
    return system(command) == 0;
}

// ---------------------------------------------------------------------------------------------
typedef struct ours_row {
    gm_dtype type;
    timing time[MOST_ROUNDS];
    float *logits;
    int ld;
} ours_row;

typedef struct peer_rows { // of one batch size
    peer_row at[MOST_ROUNDS][MOST_MODES];
    int modes; // the same ones in every round
} peer_rows;

// Over the rounds: the median of f(ours, peer); peer may be NULL.
static double over_rounds(const job *j, const ours_row *r, const peer_rows *peers, int mode, double (*f)(const timing *ours, double peer)) {
    double v[MOST_ROUNDS];
    for (int i = 0; i < j->rounds; i++) v[i] = f(r ? &r->time[i] : NULL, peers ? peers->at[i][mode].seconds : 0);
    return measure_median(v, j->rounds);
}

static double our_median(const timing *ours, double peer) {
    (void)peer;
    return ours->median;
}
static double our_fast(const timing *ours, double peer) {
    (void)peer;
    return ours->fast;
}
static double our_slow(const timing *ours, double peer) {
    (void)peer;
    return ours->slow;
}
static double peer_median(const timing *ours, double peer) {
    (void)ours;
    return peer;
}
static double peer_ratio(const timing *ours, double peer) { return peer / ours->median; }

static void print_ours(const job *j, const net *n, int point, int batch, const ours_row *r, const peer_rows *peers, int best, double difference) {
    const double median = over_rounds(j, r, NULL, 0, our_median), fast = over_rounds(j, r, NULL, 0, our_fast), slow = over_rounds(j, r, NULL, 0, our_slow);
    const double other = best < 0 ? 0 : over_rounds(j, NULL, peers, best, peer_median), ratio = best < 0 ? 0 : over_rounds(j, r, peers, best, peer_ratio);
    const char *mode = best < 0 ? "" : peers->at[0][best].mode;
    if (j->json) {
        printf("{\"name\": \"%s %.0f MMACs %s batch %d\", \"ours\": %.4f, \"peer\": %.4f, \"peer_mode\": \"%s\", \"ratio\": %.3f, \"unit\": "
               "\"ms\", \"spread\": [%.4f, %.4f], \"rounds\": %d, \"threads\": %d, \"macs\": %.0f, \"difference\": %.3g}\n",
               n->preset, n->found[point] * 1e-6, gm_dtype_name(r->type), batch, median * 1e3, other * 1e3, mode, ratio, fast * 1e3, slow * 1e3,
               j->rounds, gm_threads(), n->found[point], isfinite(difference) ? difference : -1.0);
        return;
    }
    printf("%-8s %5.0f MMACs  batch %2d  %-4s %8.2f ms (%.2f to %.2f)  %6.1f images/s  %5.1f GFLOP/s", n->preset, n->found[point] * 1e-6,
           batch, gm_dtype_name(r->type), median * 1e3, fast * 1e3, slow * 1e3, batch / median, 2e-9 * n->found[point] * batch / median);
    if (best >= 0) printf("  best peer %s %.2f ms: ours %.2f times, outputs differ by %.2g", mode, other * 1e3, ratio, difference);
    printf("\n");
}

static void compare(const job *j, const net *n, int point, int batch, const ours_row *ours, int count, const peer_rows *peers) {
    int classes = n->model->graph->classes;
    for (int i = 0; i < count; i++) {
        int best = -1;
        for (int k = 0; k < peers->modes; k++) {
            bool low = strstr(peers->at[0][k].mode, "bf16") != NULL, wanted = ours[i].type == GM_BF16;
            if (low == wanted && (best < 0 || over_rounds(j, NULL, peers, k, peer_median) < over_rounds(j, NULL, peers, best, peer_median))) best = k;
        }
        double difference = best >= 0 ? distance(ours[i].logits, ours[i].ld, batch, classes, peers->at[0][best].logits) : NAN;
        print_ours(j, n, point, batch, &ours[i], peers, best, difference);
    }
    for (int k = 0; k < peers->modes && !j->json; k++)
        printf("           %-22s %8.2f ms\n", peers->at[0][k].mode, over_rounds(j, NULL, peers, k, peer_median) * 1e3);
}

static bool wanted(const job *j, gm_dtype type) {
    return strcmp(j->type, "all") == 0 || strcmp(j->type, gm_dtype_name(type)) == 0 || (type == GM_I8 && strcmp(j->type, "int8") == 0);
}

// The image size of a point.
static int side_of(const net *n, int point) {
    const gm_graph *g = n->model->graph;
    return gm_size_value(g, &g->node[0].out, &n->choice[point]);
}

static gm_status run_point(const job *j, const net *n, int point, gm_packed *const packed[TYPES], const char *model, gm_error *err) {
    char onnx[PATH], input[PATH];
    snprintf(onnx, sizeof onnx, "%s/%s_%d.onnx", j->folder, n->preset, point);
    snprintf(input, sizeof input, "%s/input.f32", j->folder);
    bool peer = j->peer && export_onnx(j, n, point, model, onnx);
    if (j->peer && !peer) fprintf(stderr, "bench_infer: `gamut export` failed, see %s/export.log\n", j->folder);
    gm_status status = GM_OK;
    for (int b = 0; b < j->batches && !status; b++) {
        ours_row ours[TYPES];
        peer_rows peers = {.modes = 0};
        int count = 0;
        gm_plan *plan[TYPES] = {0};
        for (int t = 0; t < TYPES && !status; t++) {
            if (!packed[t]) continue;
            status = gm_plan_create(packed[t], j->batch[b], &plan[count], err);
            if (status) break;
            gm_plan_activate(plan[count], gm_packed_find(packed[t], &n->choice[point]));
            fill(gm_plan_input_of(plan[count]), j->batch[b]);
            if (peer && t == 0) status = write_input(plan[count], j->batch[b], input, err);
            ours[count++].type = gm_packed_type(packed[t]);
        }
        for (int round = 0; round < j->rounds && !status; round++) {
            for (int t = 0; t < count; t++) {
                ours[t].time[round] = measure(plan[t], j->batch[b], j->seconds);
                ours[t].logits = (float *)(uintptr_t)gm_plan_logits(plan[t], &ours[t].ld);
            }
            int modes = peer ? run_peer(j, onnx, input, side_of(n, point), j->batch[b], peers.at[round], MOST_MODES) : 0;
            if (round > 0 && modes != peers.modes) status = gm_fail(err, GM_ERR_STATE, "a peer that ran before failed in round %d", round + 1);
            peers.modes = modes;
        }
        if (!status) compare(j, n, point, j->batch[b], ours, count, &peers);
        fflush(stdout);
        for (int t = 0; t < TYPES; t++) gm_plan_destroy(plan[t]);
    }
    return status;
}

static gm_status run_net(const job *j, net n, gm_error *err) {
    const gm_dtype types[TYPES] = {GM_F32, GM_BF16, GM_I8};
    gm_packed *packed[TYPES] = {0};
    char model[PATH];
    snprintf(model, sizeof model, "%s/%s.safetensors", j->folder, n.preset);
    gm_status status = points_model(n.preset, 224, true, &n.model, err);
    n.points = gm_min(j->points, MOST_POINTS);
    for (int i = 0; i < n.points && !status; i++) {
        status = points_nearest(n.model->graph, n.macs[i], &n.choice[i], &n.found[i], err);
        if (!status) status = points_calibrate(n.model, &n.choice[i], err);
    }
    if (!status && j->peer) status = gm_model_save(n.model, model, err);
    for (int t = 0; t < TYPES && !status; t++) // f32 always with a peer: it writes the input
        if (wanted(j, types[t]) || (t == 0 && j->peer)) status = gm_packed_create(n.model, types[t], &packed[t], err);
    for (int i = 0; i < n.points && !status; i++) status = run_point(j, &n, i, packed, model, err);
    for (int t = 0; t < TYPES; t++) gm_packed_destroy(packed[t]);
    gm_model_destroy(n.model);
    return status;
}

static void parse_batches(job *j, const char *text) {
    for (j->batches = 0; *text && j->batches < 4;) {
        char *end;
        long n = strtol(text, &end, 10);
        if (end == text) break;
        j->batch[j->batches++] = (int)n;
        text = *end ? end + 1 : end;
    }
}

static const char usage[] =
    "usage: bench_infer [--preset resnet50|mbv3|all] [--type f32|bf16|int8|all] [--batch 1,16] [--points N] [--seconds S]\n"
    "                   [--rounds R] [--threads N] [--peer torch|onnxruntime|all [--python PYTHON]] [--folder DIR] [--json]\n"
    "Latency of N points of the families at 224, beside the same exported subnets in other runtimes; outputs are compared.\n"
    "With --rounds R they take turns R times; medians over the rounds are shown.\n";

int main(int argc, char **argv) {
    if (measure_help(argc, argv, usage)) return 0;
    static const struct option options[] = {
        {"preset", required_argument, NULL, 'p'},  {"type", required_argument, NULL, 't'},
        {"batch", required_argument, NULL, 'b'},   {"points", required_argument, NULL, 'o'},
        {"seconds", required_argument, NULL, 's'}, {"rounds", required_argument, NULL, 'r'},
        {"threads", required_argument, NULL, 'n'},
        {"peer", required_argument, NULL, 'e'},    {"python", required_argument, NULL, 'y'},
        {"folder", required_argument, NULL, 'f'},  {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    char folder[PATH];
    snprintf(folder, sizeof folder, "/tmp/gamut_bench_infer_%d", (int)getpid());
    job j = {.python = "python3", .folder = folder, .type = "all", .batch = {1, 16}, .batches = 2, .points = MOST_POINTS, .rounds = 1, .seconds = 1};
    const char *preset = "all";
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'p') preset = optarg;
        else if (c == 't') j.type = optarg;
        else if (c == 'b') parse_batches(&j, optarg);
        else if (c == 'o') j.points = atoi(optarg);
        else if (c == 's') j.seconds = atof(optarg);
        else if (c == 'r') j.rounds = gm_max(1, gm_min(atoi(optarg), MOST_ROUNDS));
        else if (c == 'n') gm_threads_set(atoi(optarg));
        else if (c == 'e') j.peer = optarg;
        else if (c == 'y') j.python = optarg;
        else if (c == 'f') j.folder = optarg;
        else if (c == 'j') j.json = true;
        else {
            fputs(usage, stderr);
            return 2;
        }
    }
    gm_error err = {0};
    gm_status status = j.peer ? gm_folder_create(j.folder, &err) : GM_OK;
    for (size_t i = 0; i < sizeof nets / sizeof nets[0] && !status; i++)
        if (strcmp(preset, "all") == 0 || strcmp(preset, nets[i].preset) == 0) status = run_net(&j, nets[i], &err);
    if (status) fprintf(stderr, "bench_infer: %s\n", err.text);
    gm_scratch_release();
    return status != GM_OK;
}
