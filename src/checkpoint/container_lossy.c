// SPDX-License-Identifier: Apache-2.0
// Lossy tensors: weights through the quantizer, the optimizer's moments dropped or rounded. What neither takes (values that are
// not finite) stays exact, and when no configuration keeps the bound, all weights do.
#include "checkpoint/container_lossy.h"

#include <stdlib.h>
#include <string.h>

void gm__lossy_fini(gm__lossy *l) {
    gm_free(l->use);
    gm_free(l->shape);
    gm_free(l->blob);
    gm_free(l->moment_blob);
    gm__quant_state_destroy(l->state);
    *l = (gm__lossy){0};
}

static gm__quant_kind kind_of(const gm_tensor_info *t) {
    if (t->rank < 2 || t->bytes / 4 < GM__QUANT_SMALLEST) return GM__QUANT_SMALL;
    if (strstr(t->name, "embed")) return GM__QUANT_EMBEDDING;
    if (strstr(t->name, "attn") || strstr(t->name, "attention")) return GM__QUANT_ATTENTION;
    if (t->rank == 4 && t->dims[1] == 1 && t->dims[0] > 1 && t->dims[2] > 1) return GM__QUANT_DEPTHWISE;
    if (t->rank == 4) return GM__QUANT_CONV;
    return t->rank == 2 ? GM__QUANT_LINEAR : GM__QUANT_OTHER;
}

static bool all_finite(const gm_tensor_info *t) {
    const uint32_t *bits = t->data;
    bool finite = true;
    for (uint64_t i = 0; i < t->bytes / 4; i++) finite = finite && (bits[i] & 0x7f800000u) != 0x7f800000u;
    return finite;
}

// Decides about every tensor. Places in the image must be aligned, for values are decoded there.
static void decide(const gm_tensor_file *image, size_t head, const gm_checkpoint_settings *s, gm__lossy *l) {
    bool state = gm__names_are_state(image);
    uint64_t place = head;
    for (int i = 0; i < gm_tensor_count(image); i++) {
        const gm_tensor_info *t = gm_tensor_at(image, i);
        gm_checkpoint_role role = gm__role_of(t, state);
        bool able = t->type == GM_F32 && place % 4 == 0 && t->bytes > 0;
        place += t->bytes;
        if (role == GM_CHECKPOINT_WEIGHTS && able && gm__quant_takes((size_t)(t->bytes / 4), t->data)) {
            l->use[i] = GM__USE_QUANT;
            l->quantized++;
        } else if (role == GM_CHECKPOINT_OPTIMIZER && s->optimizer == GM_CHECKPOINT_DROP) {
            l->use[i] = GM__USE_DROP;
        } else if (role == GM_CHECKPOINT_OPTIMIZER && s->optimizer == GM_CHECKPOINT_ROUND && able && all_finite(t)) {
            l->use[i] = GM__USE_MOMENT;
            l->moments++;
        }
    }
}

// The importance of params/NAME is momentum/NAME: SGD's momentum and Adam's first moment are averages of the gradient.
static const gm_tensor_info *momentum_of(const gm_tensor_file *image, const gm_tensor_info *t) {
    static const char prefix[] = "params/";
    char name[300];
    if (strncmp(t->name, prefix, sizeof prefix - 1) != 0) return NULL;
    snprintf(name, sizeof name, "momentum/%.256s", t->name + sizeof prefix - 1);
    const gm_tensor_info *m = gm_tensor_find(image, name);
    return m && m->type == GM_F32 && m->bytes == t->bytes && all_finite(m) ? m : NULL;
}

static void list_quantized(const gm_tensor_file *image, gm__lossy *l, gm__quant_tensor *tensor) {
    bool importance = true;
    for (int i = 0, n = 0; i < gm_tensor_count(image); i++) {
        const gm_tensor_info *t = gm_tensor_at(image, i);
        if (l->use[i] != GM__USE_QUANT) continue;
        const gm_tensor_info *m = momentum_of(image, t);
        l->shape[n] = (gm__quant_shape){t->name, kind_of(t), (size_t)(t->bytes / 4)};
        tensor[n] = (gm__quant_tensor){.shape = l->shape[n], .weights = t->data, .importance = m ? m->data : NULL,
                                       .source = m ? GM__QUANT_AVERAGE : GM__QUANT_NONE};
        importance = importance && m;
        n++;
    }
    for (int n = 0; n < l->quantized && !importance; n++) { // all or none: thresholds are over whole kinds
        tensor[n].importance = NULL;
        tensor[n].source = GM__QUANT_NONE;
    }
}

// The public quality hook under the quantizer's.
typedef struct measuring {
    const gm_checkpoint_quality *hook;
    const gm__quant_tensor *tensor;
} measuring;

static gm_status put(void *self, int tensor, const float *weights, gm_error *err) {
    const measuring *m = self;
    return m->hook->put(m->hook->self, m->tensor[tensor].shape.name, weights, err);
}

static gm_status measure(void *self, double *figure, gm_error *err) {
    const measuring *m = self;
    return m->hook->measure(m->hook->self, figure, err);
}

// Whether training went on from the last checkpoint as it was restored, and nothing was saved since.
static bool just_restored(const gm__pack *pack) { return pack->resumed != 0 && pack->resumed == pack->parent_number; }

// found: a configuration keeps the bound; it is then in settings.
static gm_status search(const gm_tensor_file *image, const gm__quant_tensor *tensor, int tensors,
                        const gm__pack *pack, gm__quant_settings *settings, gm__quant_search_result *result, gm_error *err) {
    const gm_checkpoint_settings *s = pack->settings;
    const gm_checkpoint_quality *hook = s->quality;
    gm__quant_search_settings how = gm__quant_search_settings_default();
    how.max_drop = s->max_drop;
    how.distortion = s->distortion;
    how.restored = just_restored(pack);
    how.most_trials = s->most_trials;
    measuring m = {hook, tensor};
    const gm__quant_quality quality = {put, measure, &m, hook->figures};
    gm_status status = hook->begin(hook->self, image, err);
    if (status == GM_OK)
        status = gm__quant_search(tensor, tensors, settings, pack->parent_state, pack->last, &how, &quality, result, err);
    if (hook->end) hook->end(hook->self);
    if (status == GM_OK && result->found) {
        settings->config = result->chosen.config;
        settings->hint = result->hint;
        if (result->chosen.fresh) settings->stick = 0;
    }
    return status;
}

// A restored weight sits at its centre; what a restore takes away is what training gained since it last was there, as far as that is less than half a
// bin. Once the bins are filled that is hardly more than with draws, which cost bits: they are for restores that come before.
static int settled_of(const gm__quant_tensor *tensor, int tensors, const gm__pack *pack) {
    if (!pack->last || !gm__quant_filled(tensor, tensors, pack->last)) return 0;
    return (just_restored(pack) ? 0 : gm__quant_state_hint(pack->last)->settled) + 1;
}

// ,"NAME":[a, b, ...]
static size_t append_figures(char *text, size_t used, size_t size, const char *name, const double *figure, int count) {
    for (int i = 0; i <= count && used < size; i++) {
        int n = i == 0 ? snprintf(text + used, size - used, ",\"%s\":[", name) : 0;
        used += (size_t)n;
        if (used >= size) break;
        n = i == count ? snprintf(text + used, size - used, "]")
                       : snprintf(text + used, size - used, "%s%.6g", i > 0 ? "," : "", figure[i]);
        used += (size_t)n;
    }
    return used;
}

// base, figure: what was measured before and of the chosen configuration, the largest subnet first.
static void write_report(gm__lossy *l, const gm__quant_settings *s, const gm__quant_report *r, const gm__quant_state *previous,
                         const gm__quant_search_result *found, int figures) {
    char config[GM__QUANT_CONFIG_TEXT];
    gm__quant_config_print(&s->config, config, sizeof config);
    int n = snprintf(l->report, sizeof l->report,
                     "{\"config\":\"%s\",\"coder\":\"%s\",\"weights\":%llu,\"pruned\":%llu,\"protected\":%llu,"
                     "\"migrated\":%.6g,\"bits\":%.6g,\"error\":%.6g,\"settled\":%d", config, gm__quant_coder_name(s->coder),
                     (unsigned long long)r->weights, (unsigned long long)r->pruned, (unsigned long long)r->protected_,
                     previous && r->weights ? (double)r->migrated / (double)r->weights : 1,
                     r->weights ? 8 * (double)r->bytes / (double)r->weights : 0, r->error, s->hint.settled);
    size_t used = (size_t)n;
    if (found && used < sizeof l->report) {
        n = snprintf(l->report + used, sizeof l->report - used, ",\"drop\":%.6g,\"moved\":%.6g,\"trials\":%d,\"guided\":%s,\"fresh\":%s",
                     found->chosen.drop, found->hint.moved, found->trials, found->guided ? "true" : "false",
                     found->chosen.fresh ? "true" : "false");
        used += (size_t)n;
        used = append_figures(l->report, used, sizeof l->report, "base", found->hint.base, figures);
        used = append_figures(l->report, used, sizeof l->report, "figure", found->chosen.figure, figures);
    }
    if (used + 1 < sizeof l->report) snprintf(l->report + used, sizeof l->report - used, "}");
    else l->report[0] = '\0';
}

static void keep_exact(gm__lossy *l, const char *why) {
    for (int i = 0; l->use && l->quantized > 0; i++) {
        if (l->use[i] != GM__USE_QUANT) continue;
        l->use[i] = GM__USE_EXACT;
        l->quantized--;
    }
    snprintf(l->report, sizeof l->report, "{\"exact\":\"%s\"}", why);
}

static gm_status make_weights(const gm_tensor_file *image, const gm__pack *pack, gm__lossy *l, gm_error *err) {
    const gm_checkpoint_settings *s = pack->settings;
    const gm__quant_state *previous = pack->parent_state;
    gm__quant_settings settings = gm__quant_settings_default();
    gm__quant_search_result *found = NULL;
    gm__quant_report report = {0};
    gm_error cause = {0};
    gm__quant_tensor *tensor = gm_alloc((size_t)l->quantized, sizeof *tensor);
    l->shape = gm_alloc((size_t)l->quantized, sizeof *l->shape);
    gm_status status = tensor && l->shape ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to quantize a checkpoint");
    settings.parallel = false; // training has the threads
    settings.stick = (float)s->stick;
    settings.dither = pack->early ? pack->resumed : 0;
    if (status == GM_OK && s->config[0]) status = gm__quant_config_parse(s->config, &settings.config, err);
    if (status == GM_OK && s->coder[0]) status = gm__quant_coder_parse(s->coder, &settings.coder, err);
    if (status == GM_OK) list_quantized(image, l, tensor);
    if (status == GM_OK && s->quality) {
        found = gm_alloc(1, sizeof *found);
        status = found ? search(image, tensor, l->quantized, pack, &settings, found, err)
                       : gm_fail(err, GM_ERR_MEMORY, "no memory to search a configuration");
        if (status == GM_OK && !found->found) {
            keep_exact(l, "no configuration keeps the bound");
            goto done;
        }
    }
    if (status != GM_OK) goto done;
    settings.hint.settled = settled_of(tensor, l->quantized, pack);
    status = gm__quant_encode(tensor, l->quantized, &settings, previous, &l->blob, &l->blob_bytes, &l->state, &report, &cause);
    if (status == GM_ERR_NUMERIC) {
        keep_exact(l, "a weight is not finite");
        status = GM_OK;
    } else if (status != GM_OK) {
        status = gm_fail(err, status, "%s", cause.text);
    } else {
        write_report(l, &settings, &report, previous, found, s->quality ? s->quality->figures : 0);
    }
done:
    gm_free(found);
    gm_free(tensor);
    return status;
}

static gm_status make_moments(const gm_tensor_file *image, gm__lossy *l, gm_error *err) {
    gm__moment_settings settings = gm__moment_settings_default();
    settings.parallel = false;
    gm__quant_shape *shape = gm_alloc((size_t)l->moments, sizeof *shape);
    const float **value = gm_alloc((size_t)l->moments, sizeof *value);
    gm_status status = shape && value ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory to round the optimizer's state");
    for (int i = 0, n = 0; status == GM_OK && i < gm_tensor_count(image); i++) {
        const gm_tensor_info *t = gm_tensor_at(image, i);
        if (l->use[i] != GM__USE_MOMENT) continue;
        shape[n] = (gm__quant_shape){t->name, GM__QUANT_OTHER, (size_t)(t->bytes / 4)};
        value[n++] = t->data;
        // An update divides by the root of the second moment: neither it nor the first may vanish alone.
        settings.clamp = settings.clamp || strncmp(t->name, "second_moment/", strlen("second_moment/")) == 0;
    }
    if (status == GM_OK)
        status = gm__moment_encode(shape, value, l->moments, &settings, &l->moment_blob, &l->moment_bytes, err);
    gm_free(shape);
    gm_free(value);
    return status;
}

gm_status gm__lossy_make(const gm_tensor_file *image, size_t head, const gm__pack *pack, gm__lossy *out, gm_error *err) {
    const gm_checkpoint_settings *s = pack->settings;
    *out = (gm__lossy){0};
    if (s->mode != GM_CHECKPOINT_QUANTIZED) return GM_OK;
    out->use = gm_alloc((size_t)gm_tensor_count(image) + 1, 1);
    if (!out->use) return gm_fail(err, GM_ERR_MEMORY, "no memory to quantize a checkpoint");
    decide(image, head, s, out);
    gm_status status = GM_OK;
    if (out->quantized > 0) status = make_weights(image, pack, out, err);
    if (status == GM_OK && out->moments > 0) status = make_moments(image, out, err);
    if (status != GM_OK) gm__lossy_fini(out);
    return status;
}

// ---------------------------------------------------------------------------------------------
// Sections of a kind, as shapes and as places in the image.
static gm_status list_places(const gm__source *s, const gm__directory *d, const gm_tensor_file *image, gm__section_kind kind,
                             uint8_t *bytes, gm__quant_shape *shape, float **value, int *count, gm_error *err) {
    uint64_t place = 0;
    int tensor = 0;
    *count = 0;
    for (int i = 0; i < d->sections; i++) {
        const gm__section *at = &d->section[i];
        if (gm__section_is_tensor(at->kind)) {
            const gm_tensor_info *t = gm_tensor_at(image, tensor++);
            if (at->kind == kind) {
                if (!t || t->type != GM_F32 || t->bytes != at->decoded || place % 4 != 0)
                    return gm_fail(err, GM_ERR_FORMAT, "%.150s: damaged: a lossy tensor is not one of aligned floats", s->what);
                gm__quant_kind layer = kind == GM__SECTION_QUANT_TENSOR ? (gm__quant_kind)at->detail : GM__QUANT_OTHER;
                shape[*count] = (gm__quant_shape){t->name, layer, (size_t)(t->bytes / 4)};
                value[(*count)++] = (float *)(void *)(bytes + place);
            }
        }
        if (gm__section_is_of_image(at->kind)) place += at->decoded;
    }
    return GM_OK;
}

gm_status gm__lossy_decode(const gm__source *s, const gm__directory *d, const gm_tensor_file *image, uint8_t *bytes,
                           const gm__quant_state *previous, const uint8_t *blob, size_t blob_bytes,
                           const uint8_t *moment_blob, size_t moment_bytes, gm__quant_state **next, gm_error *err) {
    size_t n = (size_t)d->sections;
    int count = 0;
    gm_error cause = {0};
    gm__quant_shape *shape = gm_alloc(n, sizeof *shape);
    float **value = gm_alloc(n, sizeof *value);
    gm_status status = shape && value
                           ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "%.150s: no memory for its lossy tensors", s->what);
    if (status == GM_OK && blob) {
        status = list_places(s, d, image, GM__SECTION_QUANT_TENSOR, bytes, shape, value, &count, err);
        if (status == GM_OK) {
            status = gm__quant_decode(blob, blob_bytes, s->what, shape, count, previous, false, next, &cause);
            if (status == GM_ERR_STATE) status = GM_ERR_FORMAT; // of another parent: damage, to a store
            if (status != GM_OK) gm_fail(err, status, "%s", cause.text);
        }
        for (int i = 0; i < count && status == GM_OK; i++) gm__quant_values(*next, i, value[i]); // the blob has a hash of all
    }
    if (status == GM_OK && moment_blob) {
        status = list_places(s, d, image, GM__SECTION_MOMENT_TENSOR, bytes, shape, value, &count, err);
        if (status == GM_OK)
            status = gm__moment_decode(moment_blob, moment_bytes, s->what, shape, count, false, value, err);
    }
    if (status != GM_OK && *next) {
        gm__quant_state_destroy(*next);
        *next = NULL;
    }
    gm_free(shape);
    gm_free(value);
    return status;
}
