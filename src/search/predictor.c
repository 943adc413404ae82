// SPDX-License-Identifier: Apache-2.0
// The accuracy predictor of Once-for-all (specs: training 2.13): a perceptron of three hidden layers of 400.
#include "search/predictor.h"

#include <math.h>
#include <string.h>

enum { HIDDEN = 400, DEFAULT_LAYERS = 4 };

const gm_param *gm__predictor_weight(const gm_predictor *p, int layer) {
    char name[32];
    snprintf(name, sizeof name, "layer%d.weight", layer);
    for (int i = 0; i < p->graph->params; i++)
        if (strcmp(p->graph->param[i].name, name) == 0) return &p->graph->param[i];
    return NULL;
}

const gm_param *gm__predictor_bias(const gm_predictor *p, int layer) {
    const gm_param *weight = gm__predictor_weight(p, layer), *next = weight + 1;
    bool has = weight && next < p->graph->param + p->graph->params && next->rank == 1;
    return has ? next : NULL;
}

static gm_status build(gm_predictor *p, const int *widths, const bool *bias, gm_error *err) {
    gm_status status = gm_graph_create("predictor", &p->graph, err);
    if (status) return status;
    gm_builder b = {.graph = p->graph, .gate = {.knob = -1}};
    int x = gm_add_input(&b, gm_size_const(&b, 1), widths[0]);
    for (int l = 0; l < p->layers; l++) {
        char name[16];
        snprintf(name, sizeof name, "layer%d", l);
        if (l > 0) x = gm_add_act(&b, x, GM_ACT_RELU);
        x = gm_add_linear(&b, name, x, gm_size_const(&b, widths[l + 1]), bias[l]);
    }
    return gm_graph_finish(&b, err);
}

// An "image" of one position, whose channels are the inputs.
static gm_status make_batch(gm_predictor *p, gm_error *err) {
    p->batch = (gm_batch){.height = 1, .width = 1, .channels = p->inputs, .type = GM_F32,
                          .ld = gm_channel_stride(GM_F32, p->inputs)};
    p->batch.x = gm_alloc(GM__PREDICTOR_BATCH, (size_t)p->batch.ld * sizeof(float));
    return p->batch.x ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for a predictor");
}

gm_status gm__predictor_new(gm_encoding encoding, const gm_space *space, int layers, const int *widths, const bool *bias,
                            gm_predictor **out, gm_error *err) {
    *out = NULL;
    gm_predictor *p = gm_alloc(1, sizeof *p);
    if (!p) return gm_fail(err, GM_ERR_MEMORY, "no memory for a predictor");
    p->encoding = encoding;
    p->space = *space;
    p->layers = layers;
    p->inputs = widths[0];
    gm_status status = build(p, widths, bias, err);
    if (!status) {
        p->params = gm_alloc(p->graph->floats, sizeof *p->params);
        if (!p->params) status = gm_fail(err, GM_ERR_MEMORY, "no memory for a predictor");
    }
    if (!status) status = gm_walker_create(p->graph, NULL, GM_F32, GM__PREDICTOR_BATCH, true, &p->walker, err);
    if (!status) status = make_batch(p, err);
    if (status) gm_predictor_destroy(p);
    else *out = p;
    return status;
}

void gm_predictor_destroy(gm_predictor *p) {
    if (!p) return;
    gm_walker_destroy(p->walker);
    gm_free(p->batch.x);
    gm_graph_destroy(p->graph);
    gm_free(p->params);
    gm_free(p);
}

// Uniform within 1/sqrt(fan in), weights and biases alike, as the published ones began.
static void init(gm_predictor *p, uint64_t seed) {
    for (int l = 0; l < p->layers; l++) {
        const gm_param *part[] = {gm__predictor_weight(p, l), gm__predictor_bias(p, l)};
        float bound = 1 / sqrtf((float)part[0]->dims[1]);
        gm_rng rng = gm_rng_keyed(seed, (uint64_t)l, 0, GM_RNG_INIT);
        for (int k = 0; k < 2 && part[k]; k++)
            for (size_t e = 0, n = gm_param_elements(part[k]); e < n; e++)
                p->params[part[k]->offset + gm_param_index(part[k], e)] = (2 * gm_rng_uniform(&rng) - 1) * bound;
    }
}

gm_status gm_predictor_create(gm_encoding encoding, const gm_space *space, uint64_t seed, gm_predictor **out, gm_error *err) {
    int widths[DEFAULT_LAYERS + 1] = {0, HIDDEN, HIDDEN, HIDDEN, 1};
    const bool bias[DEFAULT_LAYERS] = {true, true, true, false}; // the last one's is `base`
    *out = NULL;
    gm_status status = gm_encoding_inputs(encoding, space, &widths[0], err);
    if (!status) status = gm__predictor_new(encoding, space, DEFAULT_LAYERS, widths, bias, out, err);
    if (!status) {
        init(*out, seed);
        gm_walker_refresh((*out)->walker, (*out)->params);
    }
    return status;
}

static gm_status check_layers(int inputs, int layers, const gm_predictor_layer *layer, gm_error *err) {
    enum { MOST = 65536 };
    if (layers < 1 || layers > GM__PREDICTOR_LAYERS)
        return gm_fail(err, GM_ERR_RANGE, "a predictor of %d layers: 1 to %d are possible", layers, GM__PREDICTOR_LAYERS);
    for (int l = 0; l < layers; l++) {
        int want = l == 0 ? inputs : layer[l - 1].outputs;
        if (!layer[l].weight || layer[l].inputs != want || layer[l].outputs < 1 || layer[l].outputs > MOST)
            return gm_fail(err, GM_ERR_RANGE, "predictor: layer %d has %d inputs and %d outputs, %d inputs are needed", l,
                           layer[l].inputs, layer[l].outputs, want);
    }
    if (layer[layers - 1].outputs != 1)
        return gm_fail(err, GM_ERR_RANGE, "predictor: the last layer has %d outputs, not 1", layer[layers - 1].outputs);
    return GM_OK;
}

gm_status gm_predictor_create_from_tensors(gm_encoding encoding, const gm_space *space, int layers,
                                           const gm_predictor_layer *layer, double base, gm_predictor **out, gm_error *err) {
    int widths[GM__PREDICTOR_LAYERS + 1] = {0};
    bool bias[GM__PREDICTOR_LAYERS] = {0};
    *out = NULL;
    gm_status status = gm_encoding_inputs(encoding, space, &widths[0], err);
    if (!status) status = check_layers(widths[0], layers, layer, err);
    if (status) return status;
    for (int l = 0; l < layers; l++) {
        widths[l + 1] = layer[l].outputs;
        bias[l] = layer[l].bias != NULL;
    }
    gm_predictor *p;
    status = gm__predictor_new(encoding, space, layers, widths, bias, &p, err);
    if (status) return status;
    for (int l = 0; l < layers; l++) {
        const gm_param *w = gm__predictor_weight(p, l), *b = gm__predictor_bias(p, l);
        gm_param_import(w, layer[l].weight, p->params + w->offset);
        if (b) gm_param_import(b, layer[l].bias, p->params + b->offset);
    }
    // Published weights hold denormal numbers, which are slow and change nothing (9.2).
    for (size_t i = 0; i < p->graph->floats; i++) {
        if (!isfinite(p->params[i])) status = GM_ERR_NUMERIC;
        if (fabsf(p->params[i]) < 1e-30f) p->params[i] = 0;
    }
    if (status || !isfinite(base)) {
        gm_predictor_destroy(p);
        return gm_fail(err, GM_ERR_NUMERIC, "predictor: a weight is not a finite number");
    }
    p->base = base;
    gm_walker_refresh(p->walker, p->params);
    *out = p;
    return GM_OK;
}

gm_status gm_predictor_run(gm_predictor *p, const gm_choice *choice, int count, double *out, gm_error *err) {
    const gm_pass pass = {.mode = GM_MODE_EVAL};
    for (int at = 0; at < count; at += GM__PREDICTOR_BATCH) {
        int n = gm_min(GM__PREDICTOR_BATCH, count - at), ld;
        gm_status status = GM_OK;
        for (int i = 0; i < n && !status; i++)
            status = gm_encode(p->encoding, &p->space, &choice[at + i], gm__predictor_row(p, i), err);
        p->batch.images = n;
        if (!status) status = gm_walker_forward(p->walker, &pass, &p->batch, err);
        if (status) return status;
        const float *logits = gm_walker_logits(p->walker, &ld);
        for (int i = 0; i < n; i++) out[at + i] = (double)logits[(size_t)i * (size_t)ld] + p->base;
    }
    return GM_OK;
}
