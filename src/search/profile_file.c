// SPDX-License-Identifier: Apache-2.0
// The profile as a file (docs/format-profile.md), and whether it belongs to this model and this machine.
#include <gamut/search.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search/json_fields.h"

static const char format_name[] = "gamut-profile";
static const double longest_ms = 1e9;
enum { MOST_BYTES = 64 << 20, MOST_BATCH = 65536, MOST_THREADS = 65536 };

uint64_t gm_model_hash(const gm_model *m) {
    // the network that the weights belong to, then the weights as they are stored; padding is zero
    uint64_t seed = gm_hash64(m->preset, strlen(m->preset), (uint64_t)m->graph->classes << 32 | (uint64_t)m->graph->floats);
    return gm_hash64(m->params, m->graph->floats * sizeof *m->params, seed);
}

static const struct {
    const char *name;
    gm_dtype type;
} types[] = {{"f32", GM_F32}, {"bf16", GM_BF16}, {"int8", GM_I8}}; // as the command line has them
enum { TYPES = sizeof types / sizeof *types };

static const char *type_name(gm_dtype type) {
    for (int i = 0; i < TYPES; i++)
        if (types[i].type == type) return types[i].name;
    return gm_dtype_name(type);
}

// ---------------------------------------------------------------------------------------------
static json_t *subnet_json(const gm_profile *p, const gm_profile_subnet *s) {
    char id[24], batch[16];
    json_t *latency = json_object();
    for (int b = 0; b < p->batches; b++) {
        snprintf(batch, sizeof batch, "%d", p->batch[b]);
        json_object_set_new(latency, batch, json_pack("{s:f, s:f}", "p50", (double)s->p50_ns[b] / 1e6, "p99",
                                                      (double)s->p99_ns[b] / 1e6));
    }
    snprintf(id, sizeof id, "%016" PRIx64, s->id);
    return json_pack("{s:s, s:s, s:f, s:I, s:o}", "id", id, "choice", s->choice, "top1", s->top1, "macs", (json_int_t)s->macs,
                     "latency_ms", latency);
}

gm_status gm_profile_save(const gm_profile *p, uint64_t model, const char *path, gm_error *err) {
    char hash[24];
    snprintf(hash, sizeof hash, "%016" PRIx64, model);
    json_t *batches = json_array(), *subnets = json_array();
    for (int b = 0; b < p->batches; b++) json_array_append_new(batches, json_integer(p->batch[b]));
    for (int i = 0; i < p->subnets; i++) json_array_append_new(subnets, subnet_json(p, &p->subnet[i]));
    json_t *root = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:o, s:o}", "format", format_name, "version", 1,
                             "preset", p->preset, "data", p->data, "model", hash, "cpu", p->cpu_model, "level", p->level,
                             "threads", p->threads, "dtype", type_name(p->type), "batches", batches, "subnets", subnets);
    return gm__json_file(root, path, err);
}

// ---------------------------------------------------------------------------------------------
static gm_status read_head(const gm__fields *f, gm_profile *p, uint64_t *model, gm_error *err) {
    char type[8];
    int64_t threads = 0;
    gm_status status = gm__field_text(f, "preset", p->preset, sizeof p->preset, err);
    if (!status) status = gm__field_text(f, "data", p->data, sizeof p->data, err);
    if (!status) status = gm__field_hash(f, "model", model, err);
    if (!status) status = gm__field_text(f, "cpu", p->cpu_model, sizeof p->cpu_model, err);
    if (!status) status = gm__field_text(f, "level", p->level, sizeof p->level, err);
    if (!status) status = gm__field_whole(f, "threads", 1, MOST_THREADS, &threads, err);
    if (!status) status = gm__field_text(f, "dtype", type, sizeof type, err);
    if (status) return status;
    p->threads = (int)threads;
    for (int i = 0; i < TYPES; i++)
        if (strcmp(types[i].name, type) == 0) {
            p->type = types[i].type;
            return GM_OK;
        }
    return gm_fail(err, GM_ERR_FORMAT, "%.120s: dtype: '%s' is not f32, bf16 or int8", f->what, type);
}

static gm_status read_batches(const gm__fields *f, gm_profile *p, gm_error *err) {
    const json_t *list;
    gm_status status = gm__field_array(f, "batches", GM_PROFILE_BATCHES, &list, err);
    if (status) return status;
    p->batches = (int)json_array_size(list);
    for (int b = 0; b < p->batches; b++) {
        json_int_t v = json_integer_value(json_array_get(list, (size_t)b)); // 0 for what is no whole number
        if (v < 1 || v > MOST_BATCH || (b == 0 ? v != 1 : v <= p->batch[b - 1]))
            return gm_fail(err, GM_ERR_FORMAT, "%.120s: batches: they must be whole numbers that start with 1 and ascend", f->what);
        p->batch[b] = (int)v;
    }
    if (p->batches == 0) return gm_fail(err, GM_ERR_FORMAT, "%.120s: batches: there is none", f->what);
    return GM_OK;
}

static gm_status read_latency(const gm__fields *f, const gm_profile *p, gm_profile_subnet *s, gm_error *err) {
    const json_t *table = json_object_get(f->object, "latency_ms");
    if (!json_is_object(table) || json_object_size(table) != (size_t)p->batches)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: %s.latency_ms: an object with a key a batch is expected", f->what, f->where);
    for (int b = 0; b < p->batches; b++) {
        char batch[16];
        double p50, p99;
        snprintf(batch, sizeof batch, "%d", p->batch[b]);
        gm__fields cell = {.object = json_object_get(table, batch), .what = f->what};
        snprintf(cell.where, sizeof cell.where, "%.20s.latency_ms.%.8s", f->where, batch);
        gm_status status = gm__field_number(&cell, "p50", 1e-6, longest_ms, &p50, err);
        if (!status) status = gm__field_number(&cell, "p99", 1e-6, longest_ms, &p99, err);
        if (status) return status;
        s->p50_ns[b] = llround(p50 * 1e6);
        s->p99_ns[b] = llround(p99 * 1e6);
    }
    return GM_OK;
}

static gm_status read_subnet(const json_t *object, const char *what, int i, gm_profile *p, gm_error *err) {
    gm_profile_subnet *s = &p->subnet[i];
    gm__fields f = {.object = object, .what = what};
    int64_t macs = 0;
    snprintf(f.where, sizeof f.where, "subnets[%d]", i);
    gm_status status = gm__field_hash(&f, "id", &s->id, err);
    if (!status) status = gm__field_text(&f, "choice", s->choice, sizeof s->choice, err);
    if (!status) status = gm__field_number(&f, "top1", 0, 100, &s->top1, err);
    if (!status) status = gm__field_whole(&f, "macs", 0, INT64_MAX, &macs, err);
    if (!status) status = read_latency(&f, p, s, err);
    s->macs = (uint64_t)macs;
    return status;
}

static gm_status read_root(const json_t *root, const char *what, gm_profile *p, uint64_t *model, gm_error *err) {
    gm__fields f = {.object = root, .what = what};
    const json_t *list;
    gm_status status = read_head(&f, p, model, err);
    if (!status) status = read_batches(&f, p, err);
    if (!status) status = gm__field_array(&f, "subnets", GM_PROFILE_SUBNETS, &list, err);
    if (status) return status;
    int count = (int)json_array_size(list);
    if (count == 0) return gm_fail(err, GM_ERR_FORMAT, "%.120s: subnets: there is none", what);
    p->subnet = gm_alloc((size_t)count, sizeof *p->subnet);
    if (!p->subnet) return gm_fail(err, GM_ERR_MEMORY, "%.120s: no memory for %d subnets", what, count);
    p->subnets = count;
    for (int i = 0; i < count && !status; i++) status = read_subnet(json_array_get(list, (size_t)i), what, i, p, err);
    for (int i = 1; i < count && !status; i++)
        if (p->subnet[i].top1 < p->subnet[i - 1].top1)
            status = gm_fail(err, GM_ERR_FORMAT, "%.120s: subnets[%d].top1: subnets must ascend by accuracy", what, i);
    return status;
}

gm_status gm_profile_parse(const char *text, size_t bytes, const char *what, gm_profile *out, uint64_t *model, gm_error *err) {
    json_t *root = NULL;
    *out = (gm_profile){0};
    gm_status status = gm__fields_parse(text, bytes, what, format_name, &root, err);
    if (!status) status = read_root(root, what, out, model, err);
    json_decref(root);
    if (status) gm_profile_fini(out);
    return status;
}

gm_status gm_profile_load(const char *path, gm_profile *out, uint64_t *model, gm_error *err) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    *out = (gm_profile){0};
    gm_status status = gm_file_read(path, MOST_BYTES, &data, &bytes, err);
    if (!status) status = gm_profile_parse((const char *)data, bytes, path, out, model, err);
    gm_free(data);
    return status;
}

// ---------------------------------------------------------------------------------------------
gm_status gm_profile_check(const gm_profile *p, uint64_t model, const gm_model *m, bool force, gm_error *err) {
    char problem[200];
    int threads = gm_threads();
    const char *level = gm_cpu_level_name(gm_cpu_active());
    if (m && gm_model_hash(m) != model)
        snprintf(problem, sizeof problem, "the profile was made with other weights");
    else if (strncmp(p->cpu_model, gm_cpu_model(), sizeof p->cpu_model - 1) != 0)
        snprintf(problem, sizeof problem, "the profile was made on '%.60s', this is '%.60s'", p->cpu_model, gm_cpu_model());
    else if (strcmp(p->level, level) != 0)
        snprintf(problem, sizeof problem, "the profile was made with %.15s instructions, in use are %s", p->level, level);
    else if (p->threads != threads)
        snprintf(problem, sizeof problem, "the profile was made with %d threads, in use are %d", p->threads, threads);
    else
        return GM_OK;
    if (!force) return gm_fail(err, GM_ERR_STATE, "%s: run `gamut profile` here, or use --force", problem);
    gm_log(GM_LOG_WARN, "%s: its latencies and accuracies are not those of this run", problem);
    return GM_OK;
}
