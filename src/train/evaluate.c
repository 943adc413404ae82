// SPDX-License-Identifier: Apache-2.0
// Accuracy of one calibrated subnet.
#include <gamut/train.h>
#include <math.h>
#include <string.h>

static void count_batch(const gm_kernels *k, const gm_batch *b, const float *logits, int ld, int classes, float *row_loss,
                        float *margin, int *right, double *loss) {
    k->cross_entropy(b->images, classes, logits, ld, b->label, NULL, NULL, 0, 1, row_loss, NULL, 0);
    for (int i = 0; i < b->images; i++) {
        const float *row = logits + (size_t)i * (size_t)ld;
        int best = 0;
        for (int c = 1; c < classes; c++)
            if (row[c] > row[best]) best = c;
        *right += best == b->label[i];
        *loss += (double)row_loss[i];
        if (!margin) continue;
        float other = -INFINITY;
        for (int c = 0; c < classes; c++)
            if (c != b->label[i] && row[c] > other) other = row[c];
        margin[i] = row[b->label[i]] - other;
    }
}

gm_status gm_evaluate_each(gm_model *m, gm_walker *w, const gm_dataset *d, const int32_t *index, int count,
                           const gm_choice *choice, float *margin, float *each, gm_eval_result *out, gm_error *err) {
    const gm_graph *g = m->graph;
    gm_choice canonical = gm_choice_canonical(&g->space, *choice);
    int images = index ? count : d->images, batch = gm_min(gm_walker_max_batch(w), images);
    char text[512];
    *out = (gm_eval_result){.choice = canonical, .images = images};
    if (images < 1) return gm_fail(err, GM_ERR_RANGE, "%s: no images to evaluate on", d->name);
    const gm_norm_entry *norms = gm_model_norms(m, &canonical);
    if (!norms && g->norms > 0) {
        if (gm_choice_print(&g->space, &canonical, text, sizeof text, NULL) != GM_OK) text[0] = '\0';
        return gm_fail(err, GM_ERR_STATE, "subnet '%.150s' is not calibrated: run `gamut calibrate` for it first", text);
    }
    gm_augment a = {.resolution = gm_size_value(g, &g->node[0].out, &canonical)};
    for (int c = 0; c < 4; c++) {
        a.mean[c] = m->input_mean[c];
        a.std[c] = m->input_std[c];
    }
    gm_cost cost = {0};
    gm_batch b = {0};
    float *row_loss = gm_alloc((size_t)batch, sizeof *row_loss);
    int32_t *order = gm_alloc((size_t)batch, sizeof *order);
    gm_status status = gm_count(g, &canonical, &cost, err);
    if (status != GM_OK) goto done;
    if (!row_loss || !order) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory to evaluate");
        goto done;
    }
    int side = gm_max(a.resolution, gm_max(d->height, d->width)), right = 0;
    double loss = 0;
    if ((status = gm_batch_init(&b, batch, side, d->channels, gm_walker_type(w), err)) != GM_OK) goto done;
    gm_walker_refresh(w, m->params);
    const gm_kernels *k = gm_kernels_active();
    for (int at = 0; at < images; at += batch) {
        int n = gm_min(batch, images - at), ld;
        for (int i = 0; i < n; i++) order[i] = at + i;
        gm_batch_fill(d, index, order, n, &a, 0, 0, 0, &b);
        gm_pass pass = {.choice = canonical, .mode = GM_MODE_EVAL, .norms = norms};
        if ((status = gm_walker_forward(w, &pass, &b, err)) != GM_OK) goto done;
        const float *logits = gm_walker_logits(w, &ld);
        count_batch(k, &b, logits, ld, g->classes, row_loss, margin ? margin + at : NULL, &right, &loss);
        if (each) memcpy(each + at, row_loss, (size_t)n * sizeof *each);
    }
    out->top1 = 100.0 * right / images;
    out->loss = loss / images;
    out->macs = cost.macs;
done:
    gm_batch_fini(&b);
    gm_free(row_loss);
    gm_free(order);
    return status;
}

gm_status gm_evaluate(gm_model *m, gm_walker *w, const gm_dataset *d, const int32_t *index, int count, const gm_choice *choice,
                      gm_eval_result *out, gm_error *err) {
    return gm_evaluate_each(m, w, d, index, count, choice, NULL, NULL, out, err);
}
