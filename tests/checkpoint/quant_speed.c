// SPDX-License-Identifier: Apache-2.0
// Speed of the checkpoint quantizer on one core: build/release/quant_speed [STATE.safetensors STATE.safetensors]
// The two training states must be consecutive ones of the same run (as `gamut checkpoint restore` gives them);
// without them weights are made up: 16 million, of which each moves by 2 % of the spread. Times are processor time of the
// thread, so that other work on the machine disturbs less; median of nine and spread. JSON on the last line.
#include "checkpoint/quant.h"
#include "measure.h"

#include <gamut/tensor.h>

#include <math.h>
#include <string.h>

enum { RUNS = 9, TENSORS = 40, MADE_UP = 400000 };

typedef struct sample { // two consecutive checkpoints, cut into tensors of equal size
    int tensors;
    size_t each;
    float *before, *after, *importance;
} sample;

static bool make_up(sample *s) {
    size_t n = (size_t)TENSORS * MADE_UP;
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_USER);
    *s = (sample){TENSORS, MADE_UP, gm_alloc(n, 4), gm_alloc(n, 4), gm_alloc(n, 4)};
    if (!s->before || !s->after || !s->importance) return false;
    for (size_t i = 0; i < n; i++) {
        s->before[i] = gm_rng_normal(&rng) * 0.05f;
        s->after[i] = s->before[i] + gm_rng_normal(&rng) * 0.001f;
        s->importance[i] = gm_rng_normal(&rng) * 0.01f;
    }
    return true;
}

// The weights of layers (or the momentum beside them), one behind the other; out NULL: only counted.
static size_t gather(const gm_tensor_file *f, bool momentum, float *out) {
    size_t n = 0;
    for (int i = 0; i < gm_tensor_count(f); i++) {
        const gm_tensor_info *t = gm_tensor_at(f, i);
        char name[300];
        if (strncmp(t->name, "params/", 7) != 0 || t->rank < 2 || t->type != GM_F32) continue;
        snprintf(name, sizeof name, "momentum/%.256s", t->name + 7);
        const gm_tensor_info *from = momentum ? gm_tensor_find(f, name) : t;
        if (!from || from->bytes != t->bytes) return 0;
        if (out) memcpy(out + n, from->data, (size_t)t->bytes);
        n += (size_t)t->bytes / 4;
    }
    return n;
}

// A small model is repeated until there are some millions of weights, so that caches are as cold as with a large one.
static bool read_states(sample *s, const char *a, const char *b) {
    gm_tensor_file *file[2] = {0};
    gm_error err;
    if (gm_tensor_file_read(a, &file[0], &err) != GM_OK || gm_tensor_file_read(b, &file[1], &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return false;
    }
    size_t n = gather(file[0], false, NULL);
    if (n == 0 || gather(file[1], false, NULL) != n || gather(file[1], true, NULL) != n) {
        fprintf(stderr, "%s and %s are not two states of one run\n", a, b);
        return false;
    }
    s->each = n;
    s->tensors = (int)(8000000 / n) + 1;
    size_t total = n * (size_t)s->tensors;
    s->before = gm_alloc(total, 4);
    s->after = gm_alloc(total, 4);
    s->importance = gm_alloc(total, 4);
    if (!s->before || !s->after || !s->importance) return false;
    for (size_t at = 0; at < total; at += n) {
        gather(file[0], false, s->before + at);
        gather(file[1], false, s->after + at);
        gather(file[1], true, s->importance + at);
    }
    gm_tensor_file_destroy(file[0]);
    gm_tensor_file_destroy(file[1]);
    return true;
}

static void report(const char *what, double *seconds, size_t bytes) {
    double median = measure_median(seconds, RUNS); // sorts
    printf("%-34s %7.0f MB/s (%.0f to %.0f), %.2f ns a weight\n", what, (double)bytes / median * 1e-6,
           (double)bytes / seconds[RUNS - 1] * 1e-6, (double)bytes / seconds[0] * 1e-6,
           median / ((double)bytes / 4) * 1e9);
}

int main(int argc, char **argv) {
    sample s;
    gm__quant_settings settings = gm__quant_settings_default();
    gm__quant_tensor before[256], after[256];
    gm__quant_shape shape[256];
    char name[256][8];
    gm__quant_state *first = NULL;
    gm_error err = {0};
    double encode[RUNS], decode[RUNS], values[RUNS], copy[RUNS], ratio = 0;
    if (argc == 3 ? !read_states(&s, argv[1], argv[2]) : !make_up(&s)) return 1;
    settings.parallel = false;
    size_t total = s.each * (size_t)s.tensors, bytes = 0;
    for (int i = 0; i < s.tensors && i < 256; i++) {
        snprintf(name[i], sizeof name[i], "t%d", i);
        shape[i] = (gm__quant_shape){name[i], GM__QUANT_CONV, s.each};
        size_t at = s.each * (size_t)i;
        before[i] = (gm__quant_tensor){shape[i], s.before + at, s.importance + at, GM__QUANT_AVERAGE};
        after[i] = (gm__quant_tensor){shape[i], s.after + at, s.importance + at, GM__QUANT_AVERAGE};
    }
    uint8_t *blob = NULL;
    float *out = gm_alloc(total, 4);
    if (!out || gm__quant_encode(before, s.tensors, &settings, NULL, &blob, &bytes, &first, NULL, &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    gm_free(blob);
    for (int r = -1; r < RUNS; r++) { // the first is a warm-up
        gm__quant_state *next = NULL, *read = NULL;
        double t0 = gm_thread_seconds();
        if (gm__quant_encode(after, s.tensors, &settings, first, &blob, &bytes, &next, NULL, &err) != GM_OK) return 1;
        double t1 = gm_thread_seconds();
        if (gm__quant_decode(blob, bytes, "bench", shape, s.tensors, first, false, &read, &err) != GM_OK) return 1;
        double t2 = gm_thread_seconds();
        for (int i = 0; i < s.tensors; i++) gm__quant_values(read, i, out + s.each * (size_t)i);
        double t3 = gm_thread_seconds();
        memcpy(out, s.after, total * 4);
        double t4 = gm_thread_seconds();
        ratio = (double)total * 4 / (double)bytes;
        gm__quant_state_destroy(next);
        gm__quant_state_destroy(read);
        gm_free(blob);
        if (r < 0) continue;
        encode[r] = t1 - t0;
        decode[r] = t3 - t1;
        values[r] = t3 - t2;
        copy[r] = t4 - t3;
    }
    printf("%d tensors of %zu weights, ratio %.1f\n", s.tensors, s.each, ratio);
    report("compress, configuration kept", encode, total * 4);
    report("decompress, to f32", decode, total * 4);
    report("of that: values from ids", values, total * 4);
    report("memcpy, for comparison", copy, total * 4);
    printf("{\"bench\":\"quant\",\"weights\":%zu,\"ratio\":%.3f,\"compress_mb_s\":%.1f,\"decompress_mb_s\":%.1f,"
           "\"memcpy_mb_s\":%.1f}\n", total, ratio, (double)total * 4e-6 / measure_median(encode, RUNS),
           (double)total * 4e-6 / measure_median(decode, RUNS), (double)total * 4e-6 / measure_median(copy, RUNS));
    gm__quant_state_destroy(first);
    gm_free(out);
    gm_free(s.before);
    gm_free(s.after);
    gm_free(s.importance);
    return 0;
}
