// SPDX-License-Identifier: Apache-2.0
// One step: every subnet of the plan forward and backward on the same batch. The weight of a subnet's gradient scales
// its d(loss)/d(logits), so that all gradients simply add up in one buffer.
#include "train/run.h"

#include <math.h>
#include <string.h>

static bool is_early(const gm__run *r) { return r->marks.step < r->context.early; }

// q [rows][ldq] = softmax(x / temperature)
static void soft_targets(const gm__run *r, int rows, const float *x, int ldx, float *q) {
    const gm_kernels *k = r->optimizer.kernels;
    float inverse = 1 / r->settings->kd_temperature;
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < r->classes; c++)
            q[(size_t)i * (size_t)r->ld_soft + (size_t)c] = x[(size_t)i * (size_t)ldx + (size_t)c] * inverse;
    k->softmax(rows, r->classes, q, r->ld_soft, q, r->ld_soft);
}

gm_status gm__teacher_take(gm__run *r, const float *weights, gm_error *err) {
    const gm_graph *g = r->model->graph;
    if (!r->teacher) {
        r->teacher = gm_alloc(g->floats, sizeof(float));
        r->soft_teacher = gm_alloc((size_t)r->settings->batch * (size_t)r->ld_soft, sizeof(float));
        r->dlogits_extra = gm_alloc((size_t)r->settings->batch * (size_t)r->ld_soft, sizeof(float));
        r->teacher_sums.sum = gm_alloc(g->norm_floats, sizeof(double));
        r->teacher_sums.sumsq = gm_alloc(g->norm_floats, sizeof(double));
        r->teacher_sums.count = gm_alloc((size_t)g->nodes, sizeof(double));
        if (!r->teacher || !r->soft_teacher || !r->dlogits_extra || !r->teacher_sums.sum || !r->teacher_sums.sumsq ||
            !r->teacher_sums.count)
            return gm_fail(err, GM_ERR_MEMORY, "no memory for the teacher (%zu floats)", g->floats);
        gm_status status = gm_walker_create(g, r->model->norm_offset, r->type, r->settings->batch, false,
                                            &r->teacher_walker, err);
        if (status == GM_OK && r->early_model)
            status = gm_walker_create(r->early_model->graph, r->early_model->norm_offset, r->type, r->settings->batch, false,
                                      &r->early_teacher_walker, err);
        if (status != GM_OK) return status;
    }
    memcpy(r->teacher, weights, g->floats * sizeof(float));
    gm_walker_refresh(r->teacher_walker, r->teacher);
    if (r->early_teacher_walker) gm_walker_refresh(r->early_teacher_walker, r->teacher);
    return GM_OK;
}

// The teacher normalises with the statistics of the batch, like its pupils; the sums it collects on the way are dropped.
static gm_status run_teacher(gm__run *r, const gm_batch *b, const gm__step_plan *p, gm_error *err) {
    gm_choice choice = r->context.max;
    int knob = r->context.resolution_knob;
    if (knob >= 0) choice.index[knob] = p->slot[0].choice.index[knob];
    gm_pass pass = {.choice = gm_choice_canonical(&r->model->graph->space, choice), .mode = GM_MODE_CALIBRATE,
                    .sums = &r->teacher_sums};
    gm_walker *w = is_early(r) ? r->early_teacher_walker : r->teacher_walker;
    gm_status status = gm_walker_forward(w, &pass, b, err);
    if (status != GM_OK) return status;
    int ld;
    const float *logits = gm_walker_logits(w, &ld);
    soft_targets(r, b->images, logits, ld, r->soft_teacher);
    return GM_OK;
}

static double mean_of(const float *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)x[i];
    return sum / n;
}

static double accuracy_of(const gm__run *r, const gm_batch *b, const float *logits, int ld) {
    int right = 0;
    for (int i = 0; i < b->images; i++) {
        const float *row = logits + (size_t)i * (size_t)ld;
        int best = 0;
        for (int c = 1; c < r->classes; c++)
            if (row[c] > row[best]) best = c;
        int label = b->label2 && b->lam[i] < 0.5f ? b->label2[i] : b->label[i];
        right += best == label;
    }
    return 100.0 * right / b->images;
}

// Loss and gradient of a slot's logits into r->dlogits; returns the mean loss.
static double slot_loss(gm__run *r, const gm_batch *b, const gm__slot *slot, const float *logits, int ld) {
    const gm_kernels *k = r->optimizer.kernels;
    const gm_train_settings *s = r->settings;
    int rows = b->images, classes = r->classes;
    float scale = (float)(slot->beta / rows);
    if (slot->loss == GM__LOSS_IN_PLACE) {
        k->cross_entropy_soft(rows, classes, logits, ld, r->soft, r->ld_soft, s->kd_temperature, scale, r->row_loss,
                              r->dlogits, ld);
        return mean_of(r->row_loss, rows);
    }
    k->cross_entropy(rows, classes, logits, ld, b->label, b->label2, b->lam, s->label_smoothing, scale, r->row_loss,
                     r->dlogits, ld);
    double loss = mean_of(r->row_loss, rows);
    if (slot->loss == GM__LOSS_TEACHER) {
        k->cross_entropy_soft(rows, classes, logits, ld, r->soft_teacher, r->ld_soft, s->kd_temperature,
                              s->kd_ratio * scale, r->row_loss, r->dlogits_extra, r->ld_soft);
        for (int i = 0; i < rows; i++)
            k->axpy((size_t)classes, 1, r->dlogits_extra + (size_t)i * (size_t)r->ld_soft,
                    r->dlogits + (size_t)i * (size_t)ld);
        loss += (double)s->kd_ratio * mean_of(r->row_loss, rows);
    }
    return loss;
}

// The gradient rows have the walker's own stride, known only after the first forward.
static gm_status reserve_dlogits(gm__run *r, int ld, gm_error *err) {
    if (r->ld_dlogits == ld) return GM_OK;
    gm_free(r->dlogits);
    r->dlogits = gm_alloc((size_t)r->settings->batch * (size_t)ld, sizeof(float));
    r->ld_dlogits = r->dlogits ? ld : 0;
    return r->dlogits ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for the gradient of the logits");
}

gm_status gm__train_step(gm__run *r, const gm_batch *b, const gm__step_plan *p, gm__step_result *out, gm_error *err) {
    gm_status status;
    bool in_place = false, teacher = false;
    for (int i = 0; i < p->slots; i++) {
        in_place = in_place || p->slot[i].loss == GM__LOSS_IN_PLACE;
        teacher = teacher || p->slot[i].loss == GM__LOSS_TEACHER;
    }
    *out = (gm__step_result){.finite = true};
    gm_walker *w = is_early(r) ? r->early_walker : r->walker;
    gm_walker_refresh(w, r->live.params);
    if (teacher && (status = run_teacher(r, b, p, err)) != GM_OK) return status;
    for (int i = 0; i < p->slots; i++) {
        const gm__slot *slot = &p->slot[i];
        gm_pass pass = {.choice = slot->choice, .mode = GM_MODE_TRAIN, .seed = r->settings->seed,
                        .step = r->marks.step, .dropout = slot->dropout};
        if ((status = gm_walker_forward(w, &pass, b, err)) != GM_OK) return status;
        int ld;
        const float *logits = gm_walker_logits(w, &ld);
        if ((status = reserve_dlogits(r, ld, err)) != GM_OK) return status;
        double loss = slot_loss(r, b, slot, logits, ld);
        if (i == 0) {
            *out = (gm__step_result){.loss = loss, .accuracy = accuracy_of(r, b, logits, ld), .finite = true};
            if (in_place) soft_targets(r, b->images, logits, ld, r->soft);
        }
        if (!isfinite(loss)) { // the gradient would only spread it
            out->finite = false;
            return GM_OK;
        }
        if ((status = gm_walker_backward(w, r->dlogits, r->grads, err)) != GM_OK) return status;
    }
    return gm__aggregate(r->model->graph, r->settings->aggregation, p, r->grads, err);
}
