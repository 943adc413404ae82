// SPDX-License-Identifier: Apache-2.0
// The training loop, one for all strategies (2.6 of the training specification).
#include "train/run.h"

#include <math.h>
#include <string.h>

typedef struct session { // of this process; leaves no trace in the weights
    gm_loader *loader;
    double start, saved, seconds_before;
    uint64_t macs_before, steps;
    uint64_t restored; // restores that were due
} session;

static double epoch_of(const gm__run *r) { return (double)r->marks.step / (double)r->context.steps_per_epoch; }

static gm_status take_snapshot(gm__run *r, const session *now, gm_error *err) {
    r->marks.seconds = now->seconds_before + gm_now() - now->start;
    if (r->marks.guard.calm < GM__GUARD_CALM) r->marks.guard.strikes = 0; // a sane step came in between
    return gm__state_take(r, err);
}

static gm_status save_state(gm__run *r, session *now, bool wait, gm_error *err) {
    gm_error cause = {0};
    gm_status status = gm__state_save(r, wait, &cause);
    now->saved = gm_now();
    if (status == GM_OK) return GM_OK;
    return gm_fail(err, status, "%.150s; the state saved before is whole: make room and continue with --resume",
                   cause.text);
}

// Is this the step nearest to a multiple of the store's `every`?
static bool store_wants(const gm__run *r) {
    const gm_train_store *store = r->settings->store;
    if (!store || store->every <= 0 || r->marks.step == 0) return false;
    double steps = store->every * (double)r->context.steps_per_epoch, step = (double)r->marks.step;
    return floor((step + 0.5) / steps) > floor((step - 0.5) / steps);
}

// Is a state due at this snapshot? By time, or by epochs when a store says so.
static bool state_is_due(const gm__run *r, const session *now, bool epoch_end) {
    const gm_train_store *store = r->settings->store;
    if (store && store->every > 0) return store_wants(r);
    // very short epochs: the disk would be all that is busy
    double wait = epoch_end ? fmin(1, r->settings->checkpoint_seconds) : r->settings->checkpoint_seconds;
    return gm_now() - now->saved >= wait;
}

static uint64_t restores_due(const gm__run *r) {
    const gm_train_store *store = r->settings->store;
    return store && store->restores > 0 ? r->marks.step * ((uint64_t)store->restores + 1) / r->context.steps : 0;
}

// As if the process had been lost at this snapshot: saved, and continued from what was saved.
static gm_status restore(gm__run *r, session *now, gm_error *err) {
    uint64_t due = restores_due(r);
    bool lost = due > now->restored && r->marks.step < r->context.steps;
    now->restored = due;
    if (!lost) return GM_OK;
    gm_status status = save_state(r, now, true, err);
    if (status == GM_OK) status = gm__state_load(r, err);
    if (status == GM_OK)
        gm__log_line(r, "{\"event\":\"restore\",\"step\":%llu,\"epoch\":%.4f,\"number\":%llu}",
                     (unsigned long long)r->marks.step, epoch_of(r), (unsigned long long)due);
    return status;
}

// What a strategy asks for between its phases. Phases of no steps are passed through, their wishes with them.
static gm_status enter_phases(gm__run *r, bool *entered, gm_error *err) {
    int wanted = gm__phase_at(&r->context, r->marks.step);
    size_t bytes = r->model->graph->floats * sizeof(float);
    gm_status status = GM_OK;
    *entered = false;
    while (r->marks.phase < wanted && status == GM_OK) {
        const gm__phase *p = &r->context.phase[++r->marks.phase];
        if (p->take_teacher && r->settings->kd_ratio > 0) status = gm__teacher_take(r, r->live.params, err);
        if (status == GM_OK && p->sort_stage >= 0) {
            float *const all[] = {r->live.params, r->live.m, r->live.v, r->live.ema};
            status = gm__sort_channels(r->model->graph, p->sort_stage, all, 4, err);
        }
        if (p->reset_momentum) {
            memset(r->live.m, 0, bytes);
            if (r->live.v) memset(r->live.v, 0, bytes);
            r->marks.updates = 0;
        }
        gm__guard_forget(&r->marks.guard);
        gm__log_line(r, "{\"event\":\"phase\",\"step\":%llu,\"epoch\":%.4f,\"name\":\"%s\"}",
                     (unsigned long long)r->marks.step, epoch_of(r), p->name);
        *entered = true;
    }
    return status;
}

// A suspicious step is not taken: back to the last good state, on with the next images, more carefully for a while.
static gm_status roll_back(gm__run *r, session *now, gm__verdict verdict, double loss, gm_error *err) {
    gm__marks *m = &r->marks;
    if (verdict == GM__NOT_FINITE && m->guard.strikes >= GM__GUARD_STRIKES) {
        gm_status status = save_state(r, now, true, err);
        if (status != GM_OK) return status;
        return gm_fail(err, GM_ERR_NUMERIC, "the loss or its gradient is not finite at epoch %.2f, step %llu, again after "
                       "%d roll-backs to step %llu: lower lr (now %g), set clip to 1, or lengthen warmup; the last good "
                       "state is kept", epoch_of(r), (unsigned long long)m->step, m->guard.strikes,
                       (unsigned long long)r->marks_good.step, (double)r->settings->lr);
    }
    gm_status status = gm__state_go_back(r, err);
    if (status != GM_OK) return status;
    gm__optimizer_clear(&r->optimizer, r->grads);
    m->updates = r->marks_good.updates;
    m->ema_updates = r->marks_good.ema_updates;
    gm__guard_rolled_back(&m->guard);
    gm_log(GM_LOG_WARN, "%s at epoch %.2f, step %llu (loss %.4g): rolled back to step %llu",
           verdict == GM__SPIKE ? "the loss jumped" : "loss or gradient not finite", epoch_of(r),
           (unsigned long long)m->step, loss, (unsigned long long)r->marks_good.step);
    gm__log_line(r, "{\"event\":\"rollback\",\"step\":%llu,\"epoch\":%.4f,\"to\":%llu,\"spike\":%s}",
                 (unsigned long long)m->step, epoch_of(r), (unsigned long long)r->marks_good.step,
                 verdict == GM__SPIKE ? "true" : "false");
    return GM_OK;
}

// While the guard is wary, subnets weigh less; a step without a sandwich learns more slowly instead.
static void apply_damp(const gm__run *r, gm__step_plan *p) {
    double damp = (double)r->marks.guard.damp;
    if (p->slots > 1 && p->slot[1].loss == GM__LOSS_IN_PLACE)
        for (int i = 1; i < p->slots; i++) p->slot[i].beta *= damp;
    else
        p->lr *= damp;
}

static void update(gm__run *r, const gm__step_plan *p, double sumsq) {
    double norm = sqrt(sumsq), clip = (double)r->settings->clip;
    double scale = clip > 0 && norm > clip ? clip / norm : 1;
    r->lr = p->lr / (double)r->settings->lr;
    gm__optimizer_step(&r->optimizer, &r->live, r->grads, scale, p->lr, ++r->marks.updates, ++r->marks.ema_updates);
}

static void add_figures(gm__run *r, const gm__step_result *result) {
    gm__marks *m = &r->marks;
    m->loss_sum += result->loss;
    m->accuracy_sum += result->accuracy;
    m->sums++;
    bool first = m->loss_mean == 0;
    m->loss_mean += (first ? 1 : 0.02) * (result->loss - m->loss_mean);
    m->accuracy_mean += (first ? 1 : 0.02) * (result->accuracy - m->accuracy_mean);
}

static void tell(const gm__run *r, const session *now, const gm__step_plan *p, const gm_train_observer *observer) {
    if (!observer || !observer->step) return;
    double elapsed = gm_now() - now->start, spent = (double)(r->marks.macs - now->macs_before);
    double left = r->expected_macs - (double)r->marks.macs;
    gm_train_status s = {.epoch = epoch_of(r), .loss = r->marks.loss_mean, .accuracy = r->marks.accuracy_mean,
                         .macs_spent = (double)r->marks.macs, .lr = p->lr,
                         .beta = p->slots > 1 ? p->slot[1].beta : 0, .step = r->marks.step, .steps = r->context.steps};
    s.epochs = (double)r->context.steps / (double)r->context.steps_per_epoch;
    s.images_per_second = (double)now->steps * r->settings->batch / fmax(elapsed, 1e-9);
    s.seconds_left = spent > 0 && left > 0 ? left / spent * elapsed : 0;
    observer->step(observer->self, &s);
}

static gm_status end_epoch(gm__run *r, const session *now, const gm__step_plan *p, gm_error *err) {
    gm__marks *m = &r->marks;
    double elapsed = gm_now() - now->start, n = m->sums > 0 ? (double)m->sums : 1;
    gm__log_line(r, "{\"event\":\"epoch\",\"epoch\":%.4f,\"step\":%llu,\"loss\":%.6f,\"accuracy\":%.4f,\"lr\":%.8g,"
                 "\"beta\":%.6g,\"macs_spent\":%.17g,\"images_per_second\":%.1f,\"seconds\":%.2f,\"rollbacks\":%d}",
                 epoch_of(r), (unsigned long long)m->step, m->loss_sum / n, m->accuracy_sum / n, p->lr,
                 p->slots > 1 ? p->slot[1].beta : 0, (double)m->macs,
                 (double)now->steps * r->settings->batch / fmax(elapsed, 1e-9), now->seconds_before + elapsed,
                 m->guard.rollbacks);
    m->loss_sum = 0;
    m->accuracy_sum = 0;
    m->sums = 0;
    uint64_t epoch = m->step / r->context.steps_per_epoch;
    int every = r->settings->eval_every;
    if (every > 0 && epoch % (uint64_t)every == 0 && m->step < r->context.steps) return gm__evaluate_now(r, err);
    return GM_OK;
}

// One step; done is set when the budget does not allow it any more.
static gm_status one_step(gm__run *r, session *now, const gm_train_observer *observer, bool *done, gm_error *err) {
    gm__step_plan plan;
    gm__step_result result;
    uint64_t macs = 0;
    gm__context_strategy(&r->context)->plan(&r->context, r->marks.step, &plan);
    apply_damp(r, &plan);
    gm_status status = gm__step_macs(&r->context, r->marks.step, &plan, &macs, err);
    if (status != GM_OK) return status;
    double budget = r->settings->max_macs;
    if (budget > 0 && (double)(r->marks.macs + macs) > budget) {
        *done = true;
        return GM_OK;
    }
    if (r->hooks && r->hooks->planned) r->hooks->planned(r->hooks->self, r->marks.step, &plan);
    const gm_batch *batch = gm_loader_next(now->loader);
    if (!batch) return gm_fail(err, GM_ERR_MEMORY, "the loader gave no batch");
    if ((status = gm__train_step(r, batch, &plan, &result, err)) != GM_OK) return status;
    if (r->hooks && r->hooks->gradients)
        r->hooks->gradients(r->hooks->self, r->marks.step, r->grads, r->model->graph->floats);
    double sumsq = result.finite ? gm__optimizer_sumsq(&r->optimizer, r->grads) : NAN;
    gm__verdict verdict =
        gm__guard_judge(&r->marks.guard, (double)r->settings->spike, r->classes, result.loss, sumsq);
    if (verdict == GM__SANE) {
        update(r, &plan, sumsq);
        gm__guard_accept(&r->marks.guard, result.loss);
        add_figures(r, &result);
    } else if ((status = roll_back(r, now, verdict, result.loss, err)) != GM_OK) {
        return status;
    }
    r->marks.macs += macs;
    r->marks.step++;
    now->steps++;
    tell(r, now, &plan, observer);
    if (r->marks.step % r->context.steps_per_epoch == 0) return end_epoch(r, now, &plan, err);
    return GM_OK;
}

static gm_status interrupted(gm__run *r, session *now, gm_error *err) {
    gm_status status = save_state(r, now, true, err);
    if (status != GM_OK) return status;
    return gm_fail(err, GM_ERR_INTERRUPTED, "interrupted at epoch %.2f, step %llu; the state of step %llu is saved in "
                   "%.100s: continue with --resume", epoch_of(r), (unsigned long long)r->marks.step,
                   (unsigned long long)r->marks_good.step, r->dir);
}

static gm_status train_steps(gm__run *r, session *now, const gm_train_observer *observer, gm_error *err) {
    gm_status status = GM_OK;
    bool done = false, fresh = true;
    while (r->marks.step < r->context.steps && !done) {
        bool entered = false;
        if ((status = enter_phases(r, &entered, err)) != GM_OK) return status;
        bool epoch_end = r->marks.step % r->context.steps_per_epoch == 0;
        if (entered || epoch_end || fresh || r->marks.step % r->snapshot_every == 0 || store_wants(r)) {
            if ((status = take_snapshot(r, now, err)) != GM_OK) return status;
            if (!fresh && state_is_due(r, now, epoch_end) && (status = save_state(r, now, false, err)) != GM_OK)
                return status;
            if (!fresh && (status = restore(r, now, err)) != GM_OK) return status;
        }
        fresh = false;
        if (gm__run_interrupted(r)) return interrupted(r, now, err);
        if ((status = one_step(r, now, observer, &done, err)) != GM_OK) return status;
    }
    if ((status = take_snapshot(r, now, err)) != GM_OK) return status;
    return save_state(r, now, false, err); // a kill from here on costs no training
}

static int resolution_of_step(void *context, int epoch, int step) {
    const gm__context *c = context;
    return gm__step_resolution(c, (uint64_t)epoch * c->steps_per_epoch + (uint64_t)step);
}

static gm_status start_loader(gm__run *r, session *now, gm_error *err) {
    uint64_t per_epoch = r->context.steps_per_epoch;
    gm_augment a = r->augment;
    a.resolution = r->settings->strategy == GM_STRATEGY_PLAIN ? gm__step_resolution(&r->context, r->context.early)
                                                              : r->model->graph->node[0].out.max;
    gm_status status = gm_loader_create(r->data, r->train_index, r->train_count, r->settings->batch, &a, r->type,
                                        r->settings->seed, (int)(r->marks.step / per_epoch),
                                        (int)(r->marks.step % per_epoch), &now->loader, err);
    if (status == GM_OK && (r->context.resolution_knob >= 0 || r->context.early > 0))
        gm_loader_set_resolution(now->loader, resolution_of_step, &r->context);
    return status;
}

// A folder holds one run: an unfinished one is neither overwritten nor taken for another.
static gm_status open_folder(gm__run *r, bool resume, gm_error *err) {
    char model[1024];
    gm_status status = gm_folder_create(r->dir, err);
    if (status != GM_OK) return status;
    snprintf(model, sizeof model, "%s/model.safetensors", r->dir);
    bool unfinished = gm__state_exists(r);
    if (unfinished && !resume)
        return gm_fail(err, GM_ERR_STATE, "%.100s holds an unfinished run: continue it with --resume, remove "
                       "state.safetensors to start again, or train in another folder", r->dir);
    if (!unfinished && resume && gm_path_exists(model))
        return gm_fail(err, GM_ERR_STATE, "%.120s holds a finished run: nothing to resume; evaluate its "
                       "model.safetensors, or train in another folder", r->dir);
    if (unfinished && (status = gm__state_load(r, err)) != GM_OK) return status;
    const gm_train_store *store = r->settings->store;
    if (!unfinished && store && (status = store->begin(store->self, err)) != GM_OK) return status;
    return gm__log_open(r, unfinished, err);
}

gm_status gm__train_with(const gm_train_settings *s, const gm_dataset *train, const gm_dataset *test, const char *dir,
                         bool resume, const gm_train_observer *observer, const gm__train_hooks *hooks,
                         gm_train_result *out, gm_error *err) {
    session now = {0};
    gm_train_result result = {0};
    gm__run *r = gm_alloc(1, sizeof *r);
    if (!r) return gm_fail(err, GM_ERR_MEMORY, "no memory to train");
    gm_status status = gm__run_init(r, s, train, dir, hooks, err);
    if (status == GM_OK) status = open_folder(r, resume, err);
    if (status != GM_OK) goto done;
    now = (session){.start = gm_now(), .saved = gm_now(), .seconds_before = r->marks.seconds,
                    .macs_before = r->marks.macs, .restored = restores_due(r)};
    if ((status = start_loader(r, &now, err)) != GM_OK) goto done;
    if ((status = train_steps(r, &now, observer, err)) != GM_OK) goto done;
    double elapsed = gm_now() - now.start;
    gm_loader_destroy(now.loader);
    now.loader = NULL;
    result.macs_spent = (double)r->marks.macs;
    result.seconds = now.seconds_before + elapsed;
    result.images_per_second = (double)now.steps * s->batch / fmax(elapsed, 1e-9);
    result.steps = r->marks.step;
    result.rollbacks = r->marks.guard.rollbacks;
    status = gm__finish(r, test, &result, err);
    if (status == GM_OK && out) *out = result;
done:
    gm_loader_destroy(now.loader);
    gm__run_fini(r);
    gm_free(r);
    return status;
}

gm_status gm_train(const gm_train_settings *s, const char *dir, bool resume, bool test,
                   const gm_train_observer *observer, gm_train_result *out, gm_error *err) {
    const char *folder = s->data_dir[0] ? s->data_dir : NULL;
    gm_dataset *train_set = NULL, *test_set = NULL;
    gm_status status = gm__settings_check(s, err);
    if (status != GM_OK) return status;
    status = gm_dataset_load(s->data, folder, GM_PART_TRAIN, s->augment.resolution, &train_set, err);
    if (status == GM_OK && test)
        status = gm_dataset_load(s->data, folder, GM_PART_TEST, s->augment.resolution, &test_set, err);
    if (status == GM_OK) status = gm__train_with(s, train_set, test_set, dir, resume, observer, NULL, out, err);
    gm_dataset_destroy(train_set);
    gm_dataset_destroy(test_set);
    return status;
}
