// SPDX-License-Identifier: Apache-2.0
// state_noise STATE BEFORE OUT TIMES SEED: a training state whose weights got white noise, of TIMES their squared movement since the state
// BEFORE: the same in all of a tensor, uniform. Weights that are exactly 0 stay so, and so do norms, biases and small tensors.
#include <gamut/tensor.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256 };

typedef struct state {
    uint8_t *bytes;
    size_t size;
    gm_tensor_file *file;
} state;

static gm_status state_read(const char *path, state *out, gm_error *err) {
    gm_status status = gm_file_read(path, (size_t)1 << 34, &out->bytes, &out->size, err);
    return status == GM_OK ? gm_tensor_file_parse(out->bytes, out->size, path, &out->file, err) : status;
}

static void state_fini(state *s) {
    gm_tensor_file_destroy(s->file);
    gm_free(s->bytes);
}

static bool has_noise(const gm_tensor_info *t) {
    return strncmp(t->name, "params/", strlen("params/")) == 0 && t->type == GM_F32 && t->rank >= 2 && t->bytes / 4 >= SMALLEST;
}

// The tensor's place in the file's bytes: states are written aligned.
static gm_status disturb(state *s, const gm_tensor_info *t, const gm_tensor_info *before, double times, gm_rng *rng, double sum[2], gm_error *err) {
    const float *was = before ? before->data : NULL;
    ptrdiff_t place = (const uint8_t *)t->data - s->bytes;
    size_t n = (size_t)t->bytes / sizeof(float);
    double moved = 0;
    if (!before || before->bytes != t->bytes || place < 0 || (size_t)place >= s->size)
        return gm_fail(err, GM_ERR_FORMAT, "%.200s: not in both states, or not aligned", t->name);
    float *w = (float *)(void *)(s->bytes + place);
    for (size_t i = 0; i < n; i++) moved += (double)(w[i] - was[i]) * (double)(w[i] - was[i]);
    double reach = sqrt(3 * times * moved / (double)n);
    for (size_t i = 0; i < n; i++) {
        double noise = w[i] != 0 ? reach * (2 * (double)gm_rng_uniform(rng) - 1) : 0;
        w[i] += (float)noise;
        sum[1] += noise * noise;
    }
    sum[0] += moved;
    return GM_OK;
}

int main(int argc, char **argv) {
    gm_error err = {0};
    state s = {0}, before = {0};
    double times = argc == 6 ? strtod(argv[4], NULL) : 0, sum[2] = {0};
    if (!(times > 0)) {
        fprintf(stderr, "usage: state_noise STATE BEFORE OUT TIMES SEED, with TIMES > 0\n");
        return 2;
    }
    gm_status status = state_read(argv[1], &s, &err);
    if (status == GM_OK) status = state_read(argv[2], &before, &err);
    for (int i = 0; status == GM_OK && i < gm_tensor_count(s.file); i++) {
        const gm_tensor_info *t = gm_tensor_at(s.file, i);
        gm_rng rng = gm_rng_keyed(strtoull(argv[5], NULL, 10), (uint64_t)i, 0, GM_RNG_USER);
        if (has_noise(t)) status = disturb(&s, t, gm_tensor_find(before.file, t->name), times, &rng, sum, &err);
    }
    if (status == GM_OK && !(sum[0] > 0)) status = gm_fail(&err, GM_ERR_FORMAT, "%.200s: no weights that moved since %.200s", argv[1], argv[2]);
    if (status == GM_OK) status = gm_file_write(argv[3], s.bytes, s.size, &err);
    if (status == GM_OK) printf("%.4g of squared movements\n", sum[1] / sum[0]);
    else fprintf(stderr, "state_noise: %s\n", err.text);
    state_fini(&s);
    state_fini(&before);
    return status == GM_OK ? 0 : 1;
}
