// SPDX-License-Identifier: Apache-2.0
// Models with random weights and statistics, and passes of one subnet, for the tests of port.
#ifndef GAMUT_TESTS_PORT_PORT_TEST_H
#define GAMUT_TESTS_PORT_PORT_TEST_H

#include <gamut/port.h>
#include <gamut/train.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Standard normal images of a subnet's size; the caller ends with gm_batch_fini.
static inline gm_status random_batch(const gm_model *m, const gm_choice *choice, int images, uint64_t seed, gm_batch *b,
                                     gm_error *err) {
    int side = gm_size_value(m->graph, &m->graph->node[0].out, choice), c = m->graph->input_channels;
    gm_status status = gm_batch_init(b, images, side, c, GM_F32, err);
    if (status) return status;
    b->images = images;
    b->height = b->width = side;
    gm_rng rng = gm_rng_keyed(seed, 0, 0, GM_RNG_TEST);
    for (int p = 0; p < images * side * side; p++)
        for (int i = 0; i < c; i++) ((float *)b->x)[(size_t)p * (size_t)b->ld + (size_t)i] = gm_rng_normal(&rng);
    return GM_OK;
}

// Gammas, betas and biases that matter, and statistics near those that a pass over random images has, each moved at
// random.
static inline void random_affine(gm_model *m, uint64_t seed) {
    gm_rng rng = gm_rng_keyed(seed, 1, 0, GM_RNG_TEST);
    for (int i = 0; i < m->graph->params; i++) {
        const gm_param *p = &m->graph->param[i];
        if (p->init != GM_INIT_ONE && p->init != GM_INIT_ZERO && p->init != GM_INIT_IDENTITY) continue;
        for (size_t e = 0; e < gm_param_elements(p); e++)
            m->params[p->offset + gm_param_index(p, e)] +=
                (p->init == GM_INIT_IDENTITY ? 0.05f : 0.2f) * gm_rng_normal(&rng);
    }
}

static inline gm_status random_statistics(gm_model *m, gm_walker *w, const gm_choice *choice, uint64_t seed,
                                          gm_error *err) {
    const gm_graph *g = m->graph;
    gm_norm_sums sums = {gm_alloc(g->norm_floats + 1, sizeof(double)), gm_alloc(g->norm_floats + 1, sizeof(double)),
                         gm_alloc((size_t)g->nodes, sizeof(double))};
    gm_batch b;
    gm_norm_entry *entry = NULL;
    gm_rng rng = gm_rng_keyed(seed, 2, 0, GM_RNG_TEST);
    gm_status status = random_batch(m, choice, gm_walker_max_batch(w), seed, &b, err);
    gm_pass pass = {.choice = *choice, .mode = GM_MODE_CALIBRATE, .sums = &sums};
    if (!status) status = gm_walker_forward(w, &pass, &b, err);
    if (!status) status = gm_model_norms_add(m, choice, &entry, err);
    for (int i = 0; i < g->nodes && !status; i++) {
        if (!(sums.count[i] > 0)) continue;
        // Channels that are dead on these few images would have a variance of 0, and magnify what other images bring by
        // 1/sqrt(eps): rounding errors too. No variance is far below the layer's average.
        size_t from = m->norm_offset[i], channels = (size_t)g->param[g->node[i].param[0]].dims[0];
        double average = 0;
        for (size_t at = from; at < from + channels; at++) {
            double mean = sums.sum[at] / sums.count[i], var = fmax(sums.sumsq[at] / sums.count[i] - mean * mean, 0);
            average += var / (double)channels;
            entry->mean[at] = (float)(mean + 0.1 * sqrt(var) * (double)gm_rng_normal(&rng));
            entry->var[at] = (float)(var * (0.8 + 0.4 * (double)gm_rng_uniform(&rng)));
        }
        for (size_t at = from; at < from + channels; at++) entry->var[at] = fmaxf(entry->var[at], (float)(average / 4));
    }
    gm_batch_fini(&b);
    gm_free(sums.sum);
    gm_free(sums.sumsq);
    gm_free(sums.count);
    return status;
}

// A model of a preset with random weights; walker: f32, small batches.
static inline gm_status random_model(const char *preset, const gm_model_settings *settings, uint64_t seed, int batch,
                                     gm_model **m, gm_walker **w, gm_error *err) {
    *w = NULL;
    gm_status status = gm_model_create(preset, settings, m, err);
    if (status) return status;
    gm_model_init_params(*m, seed);
    random_affine(*m, seed);
    status = gm_walker_create((*m)->graph, (*m)->norm_offset, GM_F32, batch, false, w, err);
    if (!status) gm_walker_refresh(*w, (*m)->params);
    return status;
}

static inline gm_status eval_logits(gm_model *m, gm_walker *w, const gm_choice *choice, const gm_batch *b,
                                    const float **logits, int *ld, gm_error *err) {
    gm_pass pass = {.choice = *choice, .mode = GM_MODE_EVAL, .norms = gm_model_norms(m, choice)};
    gm_walker_refresh(w, m->params);
    gm_status status = gm_walker_forward(w, &pass, b, err);
    if (!status) *logits = gm_walker_logits(w, ld);
    return status;
}

#endif
