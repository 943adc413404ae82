// SPDX-License-Identifier: Apache-2.0
// Checkpoints: MB/s of one core and how many times smaller, beside zstd on the same bytes and plain bf16.
//   build/release/bench_checkpoint [--mb N] [--runs N] [--images BEFORE.safetensors NOW.safetensors] [--json FILE]
// Default: two states of 64 MB, weights and momentum, drawn at random; the second has moved a little. What they hold decides the
// ratios, so give two states of a real run (gamut checkpoint restore --number) for those. Files are written to memory
// (/dev/shm) where there is one: the disk is not measured. Seconds are those of the processor: one thread works at a time, and
// other processes do not count. One run of warm-up, then 5; median, slowest and fastest.
#include <gamut/checkpoint.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "measure.h"

enum { MOST_RUNS = 25, TENSOR = 512 * 512 };

typedef struct row {
    const char *name;
    double rate[MOST_RUNS], back[MOST_RUNS]; // MB/s in and out; back 0: not measured
    double ratio, ratio_weights;
} row;

static gm_error err;
static int runs = 5;
static char place[64];

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool ok(gm_status status) {
    if (status != GM_OK) fprintf(stderr, "bench_checkpoint: %s\n", err.text);
    return status == GM_OK;
}

// Weights of layers with the spread of He's rule, momentum of a thousandth; step 2 has moved along it.
static bool draw_state(int step, size_t megabytes, gm_tensor_image **out) {
    int layers = (int)(megabytes * 1000000 / (2 * TENSOR * sizeof(float)));
    const uint64_t dims[] = {512, 512};
    gm_tensor_writer *w = NULL;
    bool fine = ok(gm_tensor_writer_create(&w, &err));
    float *all = gm_alloc((size_t)layers * 2, TENSOR * sizeof(float));
    for (int i = 0; i < layers && all && fine; i++) {
        float *params = all + (size_t)i * 2 * TENSOR, *momentum = params + TENSOR;
        gm_rng a = gm_rng_keyed(1, (uint64_t)i, 0, GM_RNG_TEST), b = gm_rng_keyed(1, (uint64_t)i, (uint64_t)step, GM_RNG_TEST);
        char name[64];
        for (size_t k = 0; k < TENSOR; k++) {
            params[k] = 0.06f * gm_rng_normal(&a);
            momentum[k] = 1e-3f * gm_rng_normal(&b);
            if (step > 1) params[k] -= 0.01f * momentum[k];
        }
        snprintf(name, sizeof name, "params/layer%d.weight", i);
        fine = ok(gm_tensor_writer_add(w, name, GM_F32, 2, dims, params, &err));
        snprintf(name, sizeof name, "momentum/layer%d.weight", i);
        fine = fine && ok(gm_tensor_writer_add(w, name, GM_F32, 2, dims, momentum, &err));
    }
    fine = fine && all && ok(gm_tensor_writer_image(w, out, &err));
    gm_tensor_writer_destroy(w);
    gm_free(all);
    return fine;
}

static void clear(const char *folder) {
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) fprintf(stderr, "bench_checkpoint: %s is left\n", folder);
}

// Saves `before` and then `now`; measures `now` (alone: it stands alone).
static bool run_store(row *r, const gm_checkpoint_settings *s, bool alone, gm_tensor_image *before, gm_tensor_image *now) {
    for (int run = -1; run < runs; run++) {
        gm_checkpoint_writer *w = NULL;
        gm_checkpoint_info info = {0};
        uint8_t *image = NULL;
        size_t bytes = 0;
        clear(place);
        bool fine = ok(gm_checkpoint_writer_create(place, s, &w, &err));
        if (fine && !alone)
            fine = ok(gm_checkpoint_writer_save(w, before, NULL, &err)) &&
                   ok(gm_checkpoint_writer_wait(w, NULL, &err));
        double begun = seconds();
        fine = fine && ok(gm_checkpoint_writer_save(w, now, NULL, &err)) &&
               ok(gm_checkpoint_writer_wait(w, &info, &err));
        double start = seconds();
        gm_checkpoint_writer_destroy(w);
        double middle = seconds();
        if (fine && alone) fine = ok(gm_checkpoint_load(place, 0, &image, &bytes, &info, &err));
        double back = seconds() - middle;
        gm_free(image);
        if (!fine) return false;
        r->ratio = gm_checkpoint_ratio(&info);
        r->ratio_weights = gm_checkpoint_ratio_weights(&info);
        if (run < 0) continue;
        r->rate[run] = (double)now->bytes / 1e6 / (start - begun);
        r->back[run] = alone ? (double)bytes / 1e6 / back : 0;
    }
    return true;
}

static bool run_zstd(row *r, int level, const gm_tensor_image *now) {
    size_t room = ZSTD_compressBound(now->bytes), packed = 0;
    uint8_t *to = gm_alloc(room, 1), *back = gm_alloc(now->bytes, 1);
    for (int run = -1; run < runs && to && back; run++) {
        double start = seconds();
        packed = ZSTD_compress(to, room, now->data, now->bytes, level);
        double middle = seconds();
        if (ZSTD_isError(packed) || ZSTD_decompress(back, now->bytes, to, packed) != now->bytes) break;
        if (run < 0) continue;
        r->rate[run] = (double)now->bytes / 1e6 / (middle - start);
        r->back[run] = (double)now->bytes / 1e6 / (seconds() - middle);
    }
    bool fine = to && back && !ZSTD_isError(packed);
    if (fine) r->ratio = r->ratio_weights = (double)now->bytes / (double)packed;
    gm_free(to);
    gm_free(back);
    return fine;
}

// Every value rounded to bf16: the simplest lossy way.
static bool run_bf16(row *r, const gm_tensor_image *now) {
    size_t n = now->bytes / 4;
    gm_bf16 *to = gm_alloc(n, sizeof *to);
    float *back = gm_alloc(n, sizeof *back);
    for (int run = -1; run < runs && to && back; run++) {
        double start = seconds();
        for (size_t i = 0; i < n; i++) {
            float v;
            memcpy(&v, now->data + i * 4, 4);
            to[i] = gm_bf16_from_f32(v);
        }
        double middle = seconds();
        for (size_t i = 0; i < n; i++) back[i] = gm_bf16_to_f32(to[i]);
        if (run < 0) continue;
        r->rate[run] = (double)now->bytes / 1e6 / (middle - start);
        r->back[run] = (double)now->bytes / 1e6 / (seconds() - middle);
    }
    bool fine = to && back;
    r->ratio = r->ratio_weights = 2;
    gm_free(to);
    gm_free(back);
    return fine;
}

static void print(row *r, const row *peer, FILE *json, bool first) {
    double low = r->rate[0], high = r->rate[0];
    for (int i = 1; i < runs; i++) {
        low = r->rate[i] < low ? r->rate[i] : low;
        high = r->rate[i] > high ? r->rate[i] : high;
    }
    double rate[MOST_RUNS], back[MOST_RUNS];
    memcpy(rate, r->rate, sizeof rate);
    memcpy(back, r->back, sizeof back);
    double middle = measure_median(rate, runs), middle_back = measure_median(back, runs);
    memcpy(rate, peer->rate, sizeof rate);
    double of_peer = measure_median(rate, runs);
    printf("%-28s %8.0f %8.0f %8.0f ", r->name, middle, low, high);
    if (middle_back > 0) printf("%8.0f", middle_back);
    else printf("%8s", "-");
    printf(" %8.2f %8.2f %10.2f\n", r->ratio, r->ratio_weights, middle / of_peer);
    if (json)
        fprintf(json, "%s\n{\"name\":\"%s\",\"ours\":%.1f,\"peer\":%.1f,\"ratio\":%.3f,\"unit\":\"MB/s\",\"spread\":[%.1f,%.1f],"
                "\"restore\":%.1f,\"smaller\":%.4f,\"smaller_weights\":%.4f}", first ? "" : ",", r->name, middle, of_peer,
                middle / of_peer, low, high, middle_back, r->ratio, r->ratio_weights);
}

static const char usage[] =
    "usage: bench_checkpoint [--mb N] [--runs N] [--images BEFORE NOW] [--json FILE]\n"
    "MB/s of one core and sizes of checkpoints, of two drawn states of N MB or of two given ones, beside zstd and bf16.\n";

int main(int argc, char **argv) {
    if (measure_help(argc, argv, usage)) return 0;
    enum { ROWS = 8 };
    static row rows[ROWS] = {{.name = "zstd -1"}, {.name = "zstd -3"}, {.name = "bf16 (lossy)"},
                             {.name = "lossless, alone"}, {.name = "lossless, difference"},
                             {.name = "quantized, alone"}, {.name = "quantized, difference"},
                             {.name = "quantized, no optimizer"}};
    gm_tensor_image *before = NULL, *now = NULL;
    FILE *json = NULL;
    int megabytes = 64, status = 1;
    bool fine = true;
    for (int i = 1; i < argc && fine; i++) {
        if (strcmp(argv[i], "--mb") == 0 && i + 1 < argc) fine = (megabytes = atoi(argv[++i])) >= 3;
        else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc) fine = (runs = atoi(argv[++i])) >= 1 && runs <= MOST_RUNS;
        else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) fine = (json = fopen(argv[++i], "w")) != NULL;
        else if (strcmp(argv[i], "--images") == 0 && i + 2 < argc) {
            fine = ok(gm_tensor_image_read(argv[i + 1], &before, &err)) && ok(gm_tensor_image_read(argv[i + 2], &now, &err));
            i += 2;
        } else fine = false;
    }
    if (!fine) {
        fputs(usage, stderr);
        goto done;
    }
    snprintf(place, sizeof place, "%s/gamut-bench-%ld", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
    if (!now && !(draw_state(1, (size_t)megabytes, &before) && draw_state(2, (size_t)megabytes, &now))) goto done;
    gm_checkpoint_settings exact = gm_checkpoint_settings_default(), lossy = exact, bare;
    lossy.mode = GM_CHECKPOINT_QUANTIZED;
    bare = lossy;
    bare.optimizer = GM_CHECKPOINT_DROP;
    fine = run_zstd(&rows[0], 1, now) && run_zstd(&rows[1], 3, now) && run_bf16(&rows[2], now) &&
           run_store(&rows[3], &exact, true, before, now) && run_store(&rows[4], &exact, false, before, now) &&
           run_store(&rows[5], &lossy, true, before, now) && run_store(&rows[6], &lossy, false, before, now) &&
           run_store(&rows[7], &bare, false, before, now);
    clear(place);
    if (!fine) goto done;
    printf("%.1f MB, MB/s of one core, median, slowest and fastest of %d\n%-28s %8s %8s %8s %8s %8s %8s %10s\n",
           (double)now->bytes / 1e6, runs, "", "save", "slowest", "fastest", "restore", "smaller", "weights", "of zstd -1");
    if (json) fprintf(json, "[");
    for (int i = 0; i < ROWS; i++) print(&rows[i], &rows[0], json, i == 0);
    if (json) fprintf(json, "\n]\n");
    status = 0;
done:
    if (json) fclose(json);
    gm_tensor_image_release(before);
    gm_tensor_image_release(now);
    return status;
}
