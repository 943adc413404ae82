// SPDX-License-Identifier: Apache-2.0
// Shared by bench_infer and bench_actuate: a supernet of random weights with made-up statistics for chosen subnets.
#ifndef GAMUT_BENCH_PLAN_POINTS_H
#define GAMUT_BENCH_PLAN_POINTS_H

#include <gamut/plan.h>
#include <math.h>
#include <string.h>

// Statistics drawn with a key of all that lies upstream of the norm, so that they are shared just where measured ones are.
static inline gm_status points_calibrate(gm_model *m, const gm_choice *choice, gm_error *err) {
    const gm_graph *g = m->graph;
    gm_resolved r = {0};
    gm_norm_entry *e = NULL;
    uint64_t *key = gm_alloc((size_t)g->nodes, sizeof *key);
    gm_status status = key ? gm_resolved_init(&r, g, err) : gm_fail(err, GM_ERR_MEMORY, "statistics");
    if (!status) status = gm_resolve(g, choice, &r, err);
    if (!status) status = gm_model_norms_add(m, choice, &e, err);
    for (int i = 0; i < g->nodes && !status; i++) {
        const gm_resolved_node *n = &r.node[i];
        if (!n->active || n->source != i) continue;
        uint64_t facts[8] = {(uint64_t)i, (uint64_t)n->out.h, (uint64_t)n->out.c, (uint64_t)n->kernel, (uint64_t)n->hidden, 0, 0, 0};
        for (int j = 0; j < GM_MAX_INPUTS; j++) facts[5 + j] = n->from[j] >= 0 ? key[n->from[j]] : 0;
        key[i] = gm_hash64(facts, sizeof facts, 0);
        m->range[i] = 4.0f;
        if (strcmp(g->node[i].op->name, "norm") != 0) continue;
        gm_rng rng = gm_rng_keyed(key[i], 0, 0, GM_RNG_TEST);
        for (int c = 0; c < n->out.c; c++) {
            e->mean[m->norm_offset[i] + (size_t)c] = 0.1f * gm_rng_normal(&rng);
            e->var[m->norm_offset[i] + (size_t)c] = 0.5f + gm_rng_uniform(&rng);
        }
    }
    if (!status) e->ranged = true;
    gm_resolved_fini(&r);
    gm_free(key);
    return status;
}

static inline gm_status points_model(const char *preset, int resolution, bool elastic, gm_model **out, gm_error *err) {
    gm_model_settings s = gm_model_settings_default();
    s.resolution = resolution;
    s.single_resolution = !elastic;
    gm_status status = gm_model_create(preset, &s, out, err);
    if (!status) gm_model_init_params(*out, 1);
    return status;
}

// The subnet whose multiply-accumulates come nearest to `macs`, of max, min and 4,000 random draws (seed 1): at the largest image
// size, and at any size when that leaves more than 5 % (the smallest ResNet50 at 224 pixels costs more than 0.6 G).
static inline gm_status points_nearest(const gm_graph *g, double macs, gm_choice *out, double *found, gm_error *err) {
    enum { DRAWS = 4000 };
    gm_status status = GM_OK;
    double best = INFINITY;
    int r = g->node[0].out.knob_a;
    for (int pass = 0; pass < 2 && (pass == 0 || (r >= 0 && best > 0.05 * macs)); pass++) {
        gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_SUBNET);
        for (int i = 0; i < DRAWS + 2 && !status; i++) {
            gm_choice c = i == 0   ? gm_choice_max(&g->space)
                          : i == 1 ? gm_choice_min(&g->space)
                                   : gm_choice_random(&g->space, &rng);
            if (pass == 0 && r >= 0) c.index[r] = (uint8_t)(g->space.knob[r].count - 1);
            gm_cost cost;
            status = gm_count(g, &c, &cost, err);
            if (status || fabs((double)cost.macs - macs) >= best) continue;
            best = fabs((double)cost.macs - macs);
            *out = gm_choice_canonical(&g->space, c);
            *found = (double)cost.macs;
        }
    }
    return status;
}

#endif
