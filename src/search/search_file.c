// SPDX-License-Identifier: Apache-2.0
// The result of a search as a file, and two results compared.
#include <gamut/search.h>

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "search/json_fields.h"

static const char format_name[] = "gamut-pareto";
enum { MOST_BYTES = 256 << 20, MOST_POINTS = 200000, MOST_IMAGES = 100000000 };

static json_t *number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static json_t *point_json(const gm_space *space, const gm_search_point *p) {
    char id[24], text[1024] = "";
    snprintf(id, sizeof id, "%016" PRIx64, gm_choice_id(space, &p->choice));
    gm_choice_print(space, &p->choice, text, sizeof text, NULL);
    return json_pack("{s:s, s:s, s:f, s:i, s:I, s:o, s:b, s:o}", "id", id, "choice", text, "top1", p->top1, "images", p->images,
                     "macs", (json_int_t)p->macs, "latency_ms", number(p->latency_ms), "timed", p->timed, "predicted",
                     number(p->predicted));
}

static json_t *points_json(const gm_space *space, const gm_search_point *p, int count) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, point_json(space, &p[i]));
    return list;
}

static json_t *settings_json(const gm_search_settings *s) {
    return json_pack("{s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "exhaustive", s->exhaustive, "samples", s->samples,
                     "sample_images", s->sample_images, "sample_calibrate", s->sample_calibrate, "calibrate_images",
                     s->calibrate_images, "levels", s->levels, "iterations", s->iterations, "candidates", s->candidates,
                     "latency_batch", s->latency_batch, "latency_samples", s->latency_samples);
}

gm_status gm_search_save(const gm_search_result *r, const gm_model *m, const gm_search_settings *s, const char *data,
                         const char *gap_to, double gap, const char *path, gm_error *err) {
    const gm_space *space = &m->graph->space;
    char model[24];
    bool latency = s->objective == GM_OBJECTIVE_LATENCY;
    snprintf(model, sizeof model, "%016" PRIx64, gm_model_hash(m));
    json_t *root = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:i, s:I}", "format", format_name, "version", 1,
                             "model", model, "preset", m->preset, "data", data, "objective", latency ? "latency" : "macs",
                             "max_cost", s->max_cost > 0 ? json_real(s->max_cost) : json_null(), "dtype",
                             gm_dtype_name(s->type), "cpu", gm_cpu_model(), "level", gm_cpu_level_name(gm_cpu_active()),
                             "threads", gm_threads(), "seed", (json_int_t)(s->seed & INT64_MAX));
    if (!root) return gm_fail(err, GM_ERR_MEMORY, "%.120s: no memory to write it", path);
    json_object_set_new(root, "settings", settings_json(s));
    json_object_set_new(root, "predictor",
                        json_pack("{s:i, s:i, s:o, s:o}", "trained", r->predictor.trained, "held_out", r->predictor.held_out,
                                  "tau", number(s->exhaustive ? NAN : r->predictor.tau), "rmse",
                                  number(s->exhaustive ? NAN : r->predictor.rmse)));
    bool table = latency && s->tables == 0;
    json_object_set_new(root, "latency",
                        table ? json_pack("{s:i, s:i, s:i, s:o, s:o}", "operations", r->latency.operations, "trained",
                                          r->latency.trained, "held_out", r->latency.held_out, "tau", number(r->latency.tau),
                                          "error", number(r->latency.error))
                              : json_null());
    json_object_set_new(root, "sampling", json_pack("{s:o, s:i}", "tau", number(r->sampling_tau), "judged", r->judged));
    json_object_set_new(root, "front_tau", number(r->front_tau));
    json_object_set_new(root, "gap", gap_to ? json_pack("{s:s, s:o}", "to", gap_to, "points", number(gap)) : json_null());
    json_object_set_new(root, "evaluations", json_integer(r->evaluated_count));
    json_object_set_new(root, "measured", json_integer(r->measured));
    json_object_set_new(root, "predictions", json_integer(r->predictions));
    json_object_set_new(root, "seconds", number(r->seconds));
    json_object_set_new(root, "front", points_json(space, r->front, r->front_count));
    json_object_set_new(root, "evaluated", points_json(space, r->evaluated, r->evaluated_count));
    return gm__json_file(root, path, err);
}

// ---------------------------------------------------------------------------------------------
static gm_status read_point(const gm__fields *f, const gm_space *space, gm_search_point *p, gm_error *err) {
    char text[1024];
    int64_t macs = 0, images = 0;
    gm_error why = {0};
    gm_status status = gm__field_text(f, "choice", text, sizeof text, err);
    if (!status) status = gm__field_number(f, "top1", 0, 100, &p->top1, err);
    if (!status) status = gm__field_whole(f, "images", 1, MOST_IMAGES, &images, err);
    if (!status) status = gm__field_whole(f, "macs", 0, INT64_MAX, &macs, err);
    const json_t *latency = json_object_get(f->object, "latency_ms");
    p->latency_ms = p->predicted = NAN;
    if (!status && !json_is_null(latency)) status = gm__field_number(f, "latency_ms", 0, 1e9, &p->latency_ms, err);
    if (status) return status;
    p->images = (int)images;
    p->macs = (uint64_t)macs;
    p->timed = json_is_true(json_object_get(f->object, "timed"));
    if (gm_choice_parse(space, text, &p->choice, &why) != GM_OK)
        return gm_fail(err, GM_ERR_FORMAT, "%.90s: %s: %.120s", f->what, f->where, why.text);
    return GM_OK;
}

static gm_status read_points(const gm__fields *top, const char *key, const gm_space *space, gm_search_point **out, int *count,
                             gm_error *err) {
    const json_t *list;
    gm_status status = gm__field_array(top, key, MOST_POINTS, &list, err);
    if (status) return status;
    size_t n = json_array_size(list);
    *out = gm_alloc(n > 0 ? n : 1, sizeof **out);
    if (!*out) return gm_fail(err, GM_ERR_MEMORY, "%.120s: no memory for %zu subnets", top->what, n);
    *count = (int)n;
    for (size_t i = 0; i < n && !status; i++) {
        gm__fields f = {.object = json_array_get(list, i), .what = top->what};
        snprintf(f.where, sizeof f.where, "%s[%zu]", key, i);
        status = read_point(&f, space, &(*out)[i], err);
    }
    return status;
}

gm_status gm_search_parse(const char *text, size_t bytes, const char *what, const gm_space *space, gm_search_result *out,
                          uint64_t *model, gm_error *err) {
    json_t *root = NULL;
    memset(out, 0, sizeof *out);
    gm_status status = gm__fields_parse(text, bytes, what, format_name, &root, err);
    gm__fields top = {.object = root, .what = what};
    if (!status) status = gm__field_hash(&top, "model", model, err);
    if (!status) status = read_points(&top, "front", space, &out->front, &out->front_count, err);
    if (!status) status = read_points(&top, "evaluated", space, &out->evaluated, &out->evaluated_count, err);
    json_decref(root);
    if (status) gm_search_result_fini(out);
    return status;
}

gm_status gm_search_load(const char *path, const gm_space *space, gm_search_result *out, uint64_t *model, gm_error *err) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    memset(out, 0, sizeof *out);
    gm_status status = gm_file_read(path, MOST_BYTES, &data, &bytes, err);
    if (!status) status = gm_search_parse((const char *)data, bytes, path, space, out, model, err);
    gm_free(data);
    return status;
}

// ---------------------------------------------------------------------------------------------
static double cost_of(const gm_search_point *p, gm_objective objective) {
    return objective == GM_OBJECTIVE_LATENCY ? p->latency_ms : (double)p->macs;
}

gm_status gm_search_gap(const gm_search_result *r, const gm_search_result *truth, const gm_space *space, gm_objective objective,
                        double max_cost, double *gap, gm_error *err) {
    size_t a = (size_t)r->front_count, b = (size_t)truth->evaluated_count;
    double *numbers = gm_alloc(2 * (a + b) + 1, sizeof *numbers);
    if (!numbers) return gm_fail(err, GM_ERR_MEMORY, "no memory to compare two fronts");
    double *a_cost = numbers, *a_value = numbers + a, *b_cost = numbers + 2 * a, *b_value = b_cost + b;
    int kept = 0;
    for (size_t i = 0; i < a; i++) {
        const gm_search_point *p = &r->front[i];
        for (size_t j = 0; j < b; j++)
            if (gm_choice_equal(space, &truth->evaluated[j].choice, &p->choice)) p = &truth->evaluated[j];
        a_cost[i] = cost_of(p, objective);
        a_value[i] = p->top1;
    }
    for (size_t j = 0; j < b; j++) {
        double cost = cost_of(&truth->evaluated[j], objective);
        if (!(cost >= 0) || (max_cost > 0 && cost > max_cost)) continue;
        b_cost[kept] = cost;
        b_value[kept++] = truth->evaluated[j].top1;
    }
    *gap = gm_front_gap((int)a, a_cost, a_value, kept, b_cost, b_value);
    gm_free(numbers);
    return GM_OK;
}
