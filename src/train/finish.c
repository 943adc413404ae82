// SPDX-License-Identifier: Apache-2.0
// Validation during a run, and what follows the last step: every subnet asked for is calibrated on training images,
// evaluated on the validation split and, once, on the test set; then the model file is written and the state goes.
#include "train/run.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

bool gm__run_interrupted(const gm__run *r) {
    if (r->hooks && r->hooks->interrupted && r->hooks->interrupted(r->hooks->self, r->marks.step)) return true;
    return gm_interrupted();
}

static gm_status calibrate(gm__run *r, const gm_choice *choice, gm_error *err) {
    gm_calibrate_settings s = gm_calibrate_settings_default();
    s.images = r->settings->calibrate_images;
    // Mixed or masked images have other statistics than those the subnet will see; crops and flips have not.
    gm_augment a = r->augment;
    a.mixup = 0;
    a.cutout = 0;
    return gm_calibrate(r->model, r->walker, r->data, r->train_index, r->train_count, &a, &s, choice, err);
}

static gm_status evaluate(gm__run *r, const gm_dataset *d, const int32_t *index, int count, const char *split,
                          const char *text, const gm_choice *choice, gm_eval_result *out, gm_error *err) {
    gm_status status = gm_evaluate(r->model, r->walker, d, index, count, choice, out, err);
    if (status != GM_OK) return status;
    gm__log_line(r, "{\"event\":\"eval\",\"step\":%llu,\"epoch\":%.4f,\"split\":\"%s\",\"choice\":\"%s\",\"top1\":%.4f,"
                 "\"loss\":%.6f,\"macs\":%llu,\"images\":%d}", (unsigned long long)r->marks.step,
                 (double)r->marks.step / (double)r->context.steps_per_epoch, split, text, out->top1, out->loss,
                 (unsigned long long)out->macs, out->images);
    return GM_OK;
}

// The model holds the averaged weights while it is measured or saved.
static void show_average(gm__run *r, bool show) {
    r->model->params = show && r->live.ema ? r->live.ema : r->live.params;
    gm_model_norms_clear(r->model);
}

// The subnets to report: those asked for, else the one trained or the two ends.
static int list_choices(const gm_train_settings *s, const char *text[8]) {
    int count = 0;
    for (; count < s->eval_choice_count; count++) text[count] = s->eval_choices[count];
    if (count == 0 && s->strategy == GM_STRATEGY_PLAIN) text[count++] = s->choice[0] ? s->choice : "max";
    if (count == 0) {
        text[count++] = "max";
        text[count++] = "min";
    }
    return count;
}

gm_status gm__evaluate_now(gm__run *r, gm_error *err) {
    const gm_train_settings *s = r->settings;
    const char *text[8] = {"max", "min"};
    int count = 2;
    gm_status status = GM_OK;
    if (s->eval_all) {
        count = list_choices(s, text);
    } else if (s->strategy == GM_STRATEGY_PLAIN) {
        text[0] = s->choice[0] ? s->choice : "max";
        count = 1;
    }
    if (r->val_count == 0) return GM_OK;
    show_average(r, true);
    for (int i = 0; i < count && status == GM_OK; i++) {
        gm_choice choice;
        gm_eval_result result;
        status = gm_choice_parse(&r->model->graph->space, text[i], &choice, err);
        if (status == GM_OK) status = calibrate(r, &choice, err);
        if (status == GM_OK)
            status = evaluate(r, r->data, r->val_index, r->val_count, "val", text[i], &choice, &result, err);
    }
    show_average(r, false);
    return status;
}

static gm_status measure(gm__run *r, const gm_dataset *test, gm_train_result *out, gm_error *err) {
    const char *text[8] = {0};
    out->choices = list_choices(r->settings, text);
    for (int i = 0; i < out->choices; i++) {
        gm_choice choice;
        gm_status status = gm_choice_parse(&r->model->graph->space, text[i], &choice, err);
        if (status == GM_OK) status = calibrate(r, &choice, err);
        if (status == GM_OK && r->val_count > 0)
            status = evaluate(r, r->data, r->val_index, r->val_count, "val", text[i], &choice, &out->val[i], err);
        if (status == GM_OK && test)
            status = evaluate(r, test, NULL, test->images, "test", text[i], &choice, &out->test[i], err);
        if (status != GM_OK) return status;
        if (gm__run_interrupted(r))
            return gm_fail(err, GM_ERR_INTERRUPTED, "interrupted after training, before the model was written; "
                           "continue with --resume: only the evaluation is repeated");
    }
    return GM_OK;
}

gm_status gm__finish(gm__run *r, const gm_dataset *test, gm_train_result *out, gm_error *err) {
    char path[1024];
    gm_error cause = {0};
    show_average(r, true);
    gm_status status = measure(r, test, out, err);
    snprintf(path, sizeof path, "%s/model.safetensors", r->dir);
    if (status == GM_OK && (status = gm_model_save(r->model, path, &cause)) != GM_OK)
        status = gm_fail(err, status, "%.160s; %s", cause.text,
                         status == GM_ERR_NUMERIC ? "lower lr, set clip to 1, or lengthen warmup"
                                                  : "nothing is lost: make room and continue with --resume");
    r->model->params = r->live.params;
    if (status != GM_OK) return status;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) out->peak_bytes = (size_t)usage.ru_maxrss * 1024;
    gm__log_line(r, "{\"event\":\"end\",\"steps\":%llu,\"macs_spent\":%.17g,\"seconds\":%.3f,\"images_per_second\":%.1f,"
                 "\"rollbacks\":%d,\"peak_bytes\":%zu}", (unsigned long long)out->steps, out->macs_spent, out->seconds,
                 out->images_per_second, out->rollbacks, out->peak_bytes);
    // Last of all: a folder without a state has a whole log. A kill before this repeats the evaluation only.
    return gm__state_remove(r, err);
}
