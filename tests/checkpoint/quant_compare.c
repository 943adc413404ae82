// SPDX-License-Identifier: Apache-2.0
// quant_compare [--preset NAME] [--config TEXT] [--stick X] [--density X] [--codebook kmeans|exact] STATE.safetensors...
// Every way to make checkpoints small, on the same consecutive training states: ratio of the weights over all of them, and the
// relative squared error of what would be restored. No evaluation, no restore: what it says of quality is the error alone.
// States name their weights params/NAME (momentum/NAME beside them); --preset reads older ones, whose weights are one tensor.
// Only tensors that the quantizer takes are counted; a table on standard output, figures of each state on standard error.
#include "quant_baselines.h"
#include "checkpoint/quant.h"

#include <gamut/model.h>
#include <gamut/tensor.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TENSORS = 1024, CODERS = 4, BASELINES = 8 };

typedef struct total {
    const char *name;
    double bytes, wrong;
    bool failed;
} total;

typedef struct comparison {
    const char *preset;
    gm_graph *graph; // of the preset
    gm__quant_settings s;
    gm__quant_tensor tensor[MOST_TENSORS];
    gm__quant_shape shape[MOST_TENSORS];
    int tensors, states;
    gm__quant_state *previous[CODERS];
    uint8_t *ids[2]; // of the two QD baselines
    double weights, squares, moments, moment_bytes;
    total total[CODERS + BASELINES];
} comparison;

static gm__quant_kind kind_of(int rank, const char *name) {
    if (strstr(name, "embed")) return GM__QUANT_EMBEDDING;
    if (strstr(name, "depthwise") || strstr(name, ".dw")) return GM__QUANT_DEPTHWISE;
    return rank == 4 ? GM__QUANT_CONV : GM__QUANT_LINEAR;
}

static void add_tensor(comparison *c, const char *name, int rank, size_t count, const float *w, const float *m) {
    if (c->tensors == MOST_TENSORS || rank < 2 || count < GM__QUANT_SMALLEST || !gm__quant_takes(count, w)) return;
    gm__quant_shape shape = {name, kind_of(rank, name), count};
    c->shape[c->tensors] = shape;
    c->tensor[c->tensors++] = (gm__quant_tensor){shape, w, m, m ? GM__QUANT_AVERAGE : GM__QUANT_NONE};
}

// Names live in the file, which must outlive them.
static gm_status take_tensors(comparison *c, const gm_tensor_file *f, const char *path, gm_error *err) {
    c->tensors = 0;
    if (c->preset) {
        const gm_tensor_info *w = gm_tensor_find(f, "params"), *m = gm_tensor_find(f, "momentum");
        if (!w || w->type != GM_F32 || w->dims[0] != c->graph->floats || (m && m->bytes != w->bytes))
            return gm_fail(err, GM_ERR_FORMAT, "%.150s: no 'params' of %zu floats, as %s has", path, c->graph->floats, c->preset);
        for (int i = 0; i < c->graph->params; i++) {
            const gm_param *p = &c->graph->param[i];
            const float *momentum = m ? (const float *)m->data + p->offset : NULL;
            add_tensor(c, p->name, p->rank, p->count, (const float *)w->data + p->offset, momentum);
        }
    }
    for (int i = 0; i < gm_tensor_count(f) && !c->preset; i++) {
        const gm_tensor_info *t = gm_tensor_at(f, i);
        char name[160];
        if (strncmp(t->name, "params/", 7) != 0 || t->type != GM_F32) continue;
        snprintf(name, sizeof name, "momentum/%.140s", t->name + 7);
        const gm_tensor_info *m = gm_tensor_find(f, name);
        bool fits = m && m->type == GM_F32 && m->bytes == t->bytes;
        add_tensor(c, t->name, t->rank, (size_t)(t->bytes / 4), t->data, fits ? m->data : NULL);
    }
    return c->tensors > 0 ? GM_OK : gm_fail(err, GM_ERR_FORMAT, "%.150s: no weights that can be quantized; an older state "
                                            "needs --preset", path);
}

static void note(comparison *c, int row, const char *name, baseline_result r) {
    c->total[row].name = name;
    c->total[row].bytes += r.bytes;
    c->total[row].wrong += r.wrong;
    c->total[row].failed = c->total[row].failed || r.bytes < 0;
}

static gm_status run_coders(comparison *c, double squares, gm_error *err) {
    static const char *const names[CODERS] = {"rans (ours)", "paper (regrouped RLE + Huffman)", "rle (not regrouped)", "huffman"};
    for (int k = 0; k < CODERS; k++) {
        uint8_t *blob = NULL;
        size_t bytes = 0;
        gm__quant_state *next = NULL, *read = NULL;
        gm__quant_report r;
        c->s.coder = (gm__quant_coder)k;
        gm_status status = gm__quant_encode(c->tensor, c->tensors, &c->s, c->previous[k], &blob, &bytes, &next, &r, err);
        if (status == GM_OK)
            status = gm__quant_decode(blob, bytes, "blob", c->shape, c->tensors, c->previous[k], true, &read, err);
        gm_free(blob);
        if (status == GM_OK && gm__quant_state_hash(read) != gm__quant_state_hash(next))
            status = gm_fail(err, GM_ERR_FORMAT, "decoding gave another state");
        gm__quant_state_destroy(read);
        if (status != GM_OK) {
            gm__quant_state_destroy(next);
            return status;
        }
        if (k == 0)
            fprintf(stderr, "state %d: %zu bytes, %.1f times smaller, %.2f %% migrated, error %.5f\n", c->states, bytes,
                    4 * (double)r.weights / (double)bytes, 100 * (double)r.migrated / (double)r.weights, r.error);
        gm__quant_state_destroy(c->previous[k]);
        c->previous[k] = next;
        note(c, k, names[k], (baseline_result){(double)bytes, r.error * squares});
    }
    return GM_OK;
}

static gm_status run_baselines(comparison *c, gm_error *err) {
    size_t all = 0, at = 0;
    for (int i = 0; i < c->tensors; i++) all += c->tensor[i].shape.count;
    for (int q = 0; q < 2; q++)
        if (!c->ids[q] && !(c->ids[q] = gm_alloc(all, 1))) return gm_fail(err, GM_ERR_MEMORY, "no memory for %zu ids", all);
    for (int i = 0; i < c->tensors; i++) {
        size_t n = c->tensor[i].shape.count;
        const float *w = c->tensor[i].weights;
        note(c, CODERS, "plain bf16", baseline_bf16(n, w));
        note(c, CODERS + 1, "zstd, lossless", baseline_zstd(n, w));
        note(c, CODERS + 2, "uniform, 2 bits (Check-N-Run)", baseline_uniform(n, w, 2));
        note(c, CODERS + 3, "uniform, 3 bits", baseline_uniform(n, w, 3));
        note(c, CODERS + 4, "uniform, 4 bits", baseline_uniform(n, w, 4));
        note(c, CODERS + 5, "QD-Compressor, 16 levels", baseline_qd(n, w, 16, c->ids[0] + at, c->states == 0));
        note(c, CODERS + 6, "QD-Compressor, 64 levels", baseline_qd(n, w, 64, c->ids[1] + at, c->states == 0));
        at += n;
    }
    return GM_OK;
}

static gm_status run_moments(comparison *c, gm_error *err) {
    const float *value[MOST_TENSORS];
    gm__moment_settings s = gm__moment_settings_default();
    uint8_t *blob = NULL;
    size_t bytes = 0;
    for (int i = 0; i < c->tensors; i++)
        if (!(value[i] = c->tensor[i].importance)) return GM_OK;
    gm_status status = gm__moment_encode(c->shape, value, c->tensors, &s, &blob, &bytes, err);
    gm_free(blob);
    if (status != GM_OK) return status;
    c->moment_bytes += (double)bytes;
    for (int i = 0; i < c->tensors; i++) c->moments += 4 * (double)c->tensor[i].shape.count;
    return GM_OK;
}

static gm_status one_state(comparison *c, const gm_tensor_file *f, const char *path, gm_error *err) {
    double squares = 0;
    gm_status status = take_tensors(c, f, path, err);
    for (int i = 0; i < c->tensors && status == GM_OK; i++) {
        c->weights += (double)c->tensor[i].shape.count;
        for (size_t j = 0; j < c->tensor[i].shape.count; j++)
            squares += (double)c->tensor[i].weights[j] * (double)c->tensor[i].weights[j];
    }
    c->squares += squares;
    if (status == GM_OK) status = run_coders(c, squares, err);
    if (status == GM_OK) status = run_baselines(c, err);
    if (status == GM_OK) status = run_moments(c, err);
    c->states++;
    return status;
}

static void print_table(const comparison *c) {
    printf("%d states, %.0f weights in %d tensors\n", c->states, c->weights / c->states, c->tensors);
    printf("| method | ratio | bits a weight | relative squared error |\n|---|---|---|---|\n");
    for (int i = 0; i < CODERS + BASELINES - 1; i++) {
        const total *t = &c->total[i];
        if (t->failed) printf("| %s | failed | | |\n", t->name);
        else
            printf("| %s | %.2f | %.3f | %.5f |\n", t->name, 4 * c->weights / t->bytes, 8 * t->bytes / c->weights,
                   t->wrong / c->squares);
    }
    if (c->moment_bytes > 0)
        printf("momentum rounded to 2 bits of mantissa: %.2f times smaller\n", c->moments / c->moment_bytes);
}

static void fini(comparison *c) {
    for (int k = 0; k < CODERS; k++) gm__quant_state_destroy(c->previous[k]);
    gm_free(c->ids[0]);
    gm_free(c->ids[1]);
    gm_graph_destroy(c->graph);
    gm_free(c);
}

int main(int argc, char **argv) {
    gm_error err = {0};
    gm_status status = GM_OK;
    comparison *c = gm_alloc(1, sizeof *c);
    int first = 1;
    if (!c) return 1;
    c->s = gm__quant_settings_default();
    for (; first + 1 < argc && strncmp(argv[first], "--", 2) == 0 && status == GM_OK; first += 2) {
        const char *value = argv[first + 1];
        if (strcmp(argv[first], "--preset") == 0) c->preset = value;
        else if (strcmp(argv[first], "--config") == 0) status = gm__quant_config_parse(value, &c->s.config, &err);
        else if (strcmp(argv[first], "--stick") == 0) c->s.stick = strtof(value, NULL);
        else if (strcmp(argv[first], "--density") == 0) c->s.density = strtof(value, NULL);
        else if (strcmp(argv[first], "--codebook") == 0 && strcmp(value, "kmeans") == 0) c->s.codebook = GM__QUANT_KMEANS;
        else if (strcmp(argv[first], "--codebook") == 0 && strcmp(value, "exact") == 0) c->s.codebook = GM__QUANT_EXACT;
        else status = gm_fail(&err, GM_ERR_ARGUMENT, "unknown option %.60s", argv[first]);
    }
    if (status == GM_OK && c->preset) {
        gm_model_settings s = gm_model_settings_default();
        status = gm_model_graph(c->preset, &s, &c->graph, &err);
    }
    if (status == GM_OK && first >= argc)
        status = gm_fail(&err, GM_ERR_ARGUMENT, "usage: quant_compare [--preset NAME] [--config TEXT] [--stick X] [--density X] [--codebook kmeans|exact] STATE...");
    gm_tensor_file *last = NULL;
    for (int i = first; i < argc && status == GM_OK; i++) {
        gm_tensor_file *f = NULL;
        status = gm_tensor_file_read(argv[i], &f, &err);
        if (status == GM_OK) status = one_state(c, f, argv[i], &err);
        gm_tensor_file_destroy(last);
        last = f;
    }
    if (status == GM_OK) print_table(c);
    else fprintf(stderr, "quant_compare: %s\n", err.text);
    gm_tensor_file_destroy(last);
    fini(c);
    return status == GM_OK ? 0 : status == GM_ERR_ARGUMENT ? 2 : 1;
}
