// SPDX-License-Identifier: Apache-2.0
// Sets a training run up: model, split, plan, buffers.
#include "train/run.h"

#include <string.h>

// What the recipe leaves open follows from the data set; what it states must agree with it.
static gm_status fit_to_data(gm_train_settings *s, const gm_dataset *d, gm_error *err) {
    if (s->model.classes == 0) s->model.classes = d->classes;
    if (s->model.channels == 0) s->model.channels = d->channels;
    if (s->model.classes != d->classes)
        return gm_fail(err, GM_ERR_ARGUMENT, "model.classes is %d but %s has %d classes; set it to 0 or %d",
                       s->model.classes, d->name, d->classes, d->classes);
    if (s->model.channels != d->channels)
        return gm_fail(err, GM_ERR_ARGUMENT, "model.channels is %d but %s has %d channels; set it to 0 or %d",
                       s->model.channels, d->name, d->channels, d->channels);
    if (s->type_auto) s->type = gm_cpu_bf16(gm_cpu_active()) ? GM_BF16 : GM_F32;
    return GM_OK;
}

static gm_status split_data(gm__run *r, const gm_dataset *d, gm_error *err) {
    const gm_train_settings *s = r->settings;
    gm_status status = gm_dataset_split(d, s->validation, GM_SPLIT_SEED, &r->train_index, &r->train_count, &r->val_index,
                                        &r->val_count, err);
    if (status != GM_OK) return status;
    if (r->train_count < s->batch)
        return gm_fail(err, GM_ERR_RANGE, "batch: %d is more than the %d training images of %s; lower batch or validation",
                       s->batch, r->train_count, d->name);
    r->augment = s->augment;
    bool given = false;
    for (int c = 0; c < 4; c++) given = given || r->augment.mean[c] != 0 || r->augment.std[c] != 0;
    if (!given) gm_dataset_moments(d, r->train_index, r->train_count, r->augment.mean, r->augment.std);
    for (int c = 0; c < d->channels; c++) {
        if (given && !(r->augment.std[c] > 0))
            return gm_fail(err, GM_ERR_RANGE, "augment.std: channel %d is %g, must be above 0", c,
                           (double)r->augment.std[c]);
        if (!(r->augment.std[c] > 0)) r->augment.std[c] = 1; // one colour only: nothing to divide by
        r->model->input_mean[c] = r->augment.mean[c];
        r->model->input_std[c] = r->augment.std[c];
    }
    snprintf(r->model->data, sizeof r->model->data, "%s", d->name);
    return GM_OK;
}

static gm_status make_plan(gm__run *r, gm_error *err) {
    const gm_train_settings *s = r->settings;
    uint64_t per_epoch = (uint64_t)(r->train_count / s->batch);
    gm_status status = gm__context_init(&r->context, s, r->model->graph, per_epoch, err);
    r->context.early_graph = r->early_model ? r->early_model->graph : NULL;
    if (status == GM_OK) status = gm__context_plan_length(&r->context, err);
    if (status == GM_OK) status = gm__expected_macs(&r->context, 0, 64, &r->expected_macs, err);
    if (status != GM_OK) return status;
    if (r->hooks && r->hooks->beta_zero) r->context.beta_scale = 0;
    for (int i = 0; i < s->eval_choice_count; i++) { // now, not after hours of training
        gm_choice choice;
        if ((status = gm_choice_parse(&r->model->graph->space, s->eval_choices[i], &choice, err)) != GM_OK) return status;
    }
    r->snapshot_every = per_epoch / 8 < 8 ? 8 : per_epoch / 8 > 200 ? 200 : per_epoch / 8;
    return GM_OK;
}

static gm_status make_buffers(gm__run *r, gm_error *err) {
    const gm_train_settings *s = r->settings;
    const gm_graph *g = r->model->graph;
    bool second = s->optimizer == GM_OPTIMIZER_ADAMW, average = s->ema > 0;
    gm_status status = gm__weights_init(&r->live, r->model->params, g->floats, second, average, err);
    if (status == GM_OK) status = gm__optimizer_init(&r->optimizer, g, s, err);
    if (status != GM_OK) return status;
    if (average) memcpy(r->live.ema, r->live.params, g->floats * sizeof(float));
    r->classes = g->classes;
    r->ld_soft = gm_channel_stride(GM_F32, g->classes);
    r->grads = gm_alloc(g->floats, sizeof(float));
    r->soft = gm_alloc((size_t)s->batch * (size_t)r->ld_soft, sizeof(float));
    r->row_loss = gm_alloc((size_t)s->batch, sizeof(float));
    if (!r->grads || !r->soft || !r->row_loss)
        return gm_fail(err, GM_ERR_MEMORY, "no memory for gradients (%zu floats)", g->floats);
    status = gm_walker_create(g, r->model->norm_offset, r->type, s->batch, true, &r->walker, err);
    if (status != GM_OK || !r->early_model) return status;
    return gm_walker_create(r->early_model->graph, r->early_model->norm_offset, r->type, s->batch, true, &r->early_walker, err);
}

static bool same_weights(const gm_graph *a, const gm_graph *b) {
    bool same = a->floats == b->floats && a->params == b->params;
    for (int i = 0; i < a->params && same; i++)
        same = strcmp(a->param[i].name, b->param[i].name) == 0 &&
               memcmp(a->param[i].dims, b->param[i].dims, sizeof a->param[i].dims) == 0;
    return same;
}

// The net of the first steps: it shares the weights, so nothing but the size of images may differ.
static gm_status make_early(gm__run *r, gm_error *err) {
    const gm_train_settings *s = r->settings;
    gm_model_settings small = s->model;
    int side = r->model->graph->node[0].out.max;
    if (s->early_resolution == 0) return GM_OK;
    if (s->early_resolution >= side)
        return gm_fail(err, GM_ERR_RANGE, "early_resolution: %d; images have %d pixels later, so give fewer, or 0", s->early_resolution, side);
    small.resolution = s->early_resolution;
    gm_status status = gm_model_create(s->preset, &small, &r->early_model, err);
    if (status != GM_OK) return status;
    const gm_space *space = &r->model->graph->space;
    for (int k = 0; k < space->knobs; k++)
        if (strcmp(space->group[space->knob[k].group].kind, "resolution") == 0)
            return gm_fail(err, GM_ERR_ARGUMENT, "early_resolution: the resolution of %s is elastic, each step draws one: set it to 0, or "
                           "model.single_resolution to true", s->preset);
    if (!same_weights(r->model->graph, r->early_model->graph))
        return gm_fail(err, GM_ERR_UNSUPPORTED, "early_resolution: %s has other weights for images of %d pixels", s->preset,
                       s->early_resolution);
    return GM_OK;
}

// The weights of a trained model of the very same network, e.g. for fine-tuning.
static gm_status start_from(gm__run *r, const char *path, gm_error *err) {
    gm_model *from = NULL;
    gm_status status = gm_model_load(path, &from, err);
    if (status != GM_OK) return status;
    const gm_graph *ours = r->model->graph, *theirs = from->graph;
    if (same_weights(ours, theirs)) memcpy(r->model->params, from->params, ours->floats * sizeof(float));
    else
        status = gm_fail(err, GM_ERR_ARGUMENT, "init: %.120s holds another network (preset %s, %d classes); preset and model "
                         "settings must be those of that file", path, from->preset, theirs->classes);
    gm_model_destroy(from);
    return status;
}

gm_status gm__run_init(gm__run *r, const gm_train_settings *s, const gm_dataset *data, const char *dir,
                       const gm__train_hooks *hooks, gm_error *err) {
    *r = (gm__run){.copy = *s, .hooks = hooks, .dir = dir, .data = data};
    r->settings = &r->copy;
    gm_status status = gm__settings_check(s, err);
    if (status == GM_OK) status = fit_to_data(&r->copy, data, err);
    if (status != GM_OK) return status;
    r->type = r->copy.type;
    if ((status = gm_model_create(s->preset, &r->copy.model, &r->model, err)) != GM_OK) return status;
    gm_model_init_params(r->model, s->seed);
    if (s->init[0] && (status = start_from(r, s->init, err)) != GM_OK) return status;
    status = make_early(r, err);
    if (status == GM_OK) status = split_data(r, data, err);
    if (status == GM_OK) status = make_plan(r, err);
    if (status == GM_OK) status = make_buffers(r, err);
    r->marks.guard.damp = 1;
    return status;
}

void gm__run_fini(gm__run *r) {
    gm_walker_destroy(r->walker);
    gm_walker_destroy(r->early_walker);
    gm_walker_destroy(r->teacher_walker);
    gm_walker_destroy(r->early_teacher_walker);
    gm__optimizer_fini(&r->optimizer);
    gm__weights_fini(&r->live);
    gm_tensor_image_release(r->good);
    gm_free(r->grads);
    gm_free(r->teacher);
    gm_free(r->teacher_sums.sum);
    gm_free(r->teacher_sums.sumsq);
    gm_free(r->teacher_sums.count);
    gm_free(r->soft);
    gm_free(r->soft_teacher);
    gm_free(r->dlogits);
    gm_free(r->dlogits_extra);
    gm_free(r->row_loss);
    gm_free(r->train_index);
    gm_free(r->val_index);
    gm_model_destroy(r->model);
    gm_model_destroy(r->early_model);
    if (r->log) fclose(r->log);
    *r = (gm__run){0};
}
