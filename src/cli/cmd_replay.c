// SPDX-License-Identifier: Apache-2.0
// gamut replay: a trace of requests against a server.
#include "cli.h"

#include <gamut/serve.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct replaying {
    gm_replay_settings settings;
    const char *spec, *data, *data_dir, *split, *out, *encoding;
    double rate, load, duration;
    gm_replay_server server; // what it says of itself; a server of others says nothing
} replaying;

static gm_status load_trace(replaying *p, uint64_t seed, gm_trace *trace, gm_error *err) {
    gm_trace_settings t = gm_trace_settings_default();
    t.seed = seed;
    t.rate = p->rate;
    if (p->duration > 0) t.duration_s = p->duration;
    gm_status status = GM_OK;
    if (p->load <= 0 && !p->settings.plain) {
        (void)gm_replay_ask(&p->settings, &p->server, NULL);
    } else if (p->load > 0) {
        status = gm_replay_ask(&p->settings, &p->server, err);
        t.rate = p->load * p->server.smallest_qps;
    }
    return status == GM_OK ? gm_trace_create(p->spec, &t, trace, err) : status;
}

static void write_fate(gm_writer *w, const gm_replay_fate *f, int i, gm_error *err, gm_status *status) {
    json_t *o = json_pack("{s:i, s:f, s:o, s:o, s:i, s:s, s:o, s:o, s:i, s:i, s:i, s:i, s:i, s:i}", "request", i, "due_s",
                          (double)f->due_ns * 1e-9, "sent_s", f->sent_ns < 0 ? json_null() : json_real((double)f->sent_ns * 1e-9),
                          "latency_ms", f->status == 0 || f->done_ns < 0 ? json_null() : json_real((double)(f->done_ns - f->due_ns) * 1e-6), "status",
                          f->status, "outcome", gm_outcome_name(f->outcome), "subnet",
                          f->subnet != 0 ? json_sprintf("%016llx", (unsigned long long)f->subnet) : json_null(), "accuracy",
                          gm__json_number(f->accuracy), "batch", f->batch, "queue_us", f->queue_us, "compute_us", f->compute_us, "image",
                          f->image, "answer", f->answer, "label", f->label);
    char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    *status = text != NULL ? gm_writer_write(w, text, strlen(text), err) : gm_fail(err, GM_ERR_MEMORY, "out of memory");
    if (*status == GM_OK) *status = gm_writer_write(w, "\n", 1, err);
    free(text);
}

static gm_status write_fates(const char *path, const gm_replay_fate *fates, int count, gm_error *err) {
    gm_writer *w = NULL;
    gm_status status = gm_writer_open(path, &w, err);
    if (status != GM_OK) return status;
    for (int i = 0; i < count && status == GM_OK; i++) write_fate(w, &fates[i], i, err, &status);
    if (status == GM_OK) return gm_writer_commit(w, err);
    gm_writer_abort(w);
    return status;
}

// The names by which reports compare results.
static void name_load(const replaying *p, uint64_t seed, json_t *o) {
    if (p->server.policy[0] != '\0') json_object_set_new(o, "policy", json_string(p->server.policy));
    if (p->server.workers > 0) json_object_set_new(o, "workers", json_integer(p->server.workers));
    json_object_set_new(o, "trace", json_string(p->spec));
    if (p->load > 0) json_object_set_new(o, "load", json_real(p->load));
    if (p->settings.slo_ms > 0) json_object_set_new(o, "slo_ms", json_real(p->settings.slo_ms));
    json_object_set_new(o, "seed", json_integer((json_int_t)seed));
}

static json_t *result_json(const gm_replay_result *r) {
    json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "sent", (json_int_t)r->sent, "met", (json_int_t)r->outcome[GM_OUTCOME_MET],
                          "late", (json_int_t)r->outcome[GM_OUTCOME_LATE], "dropped", (json_int_t)r->outcome[GM_OUTCOME_DROPPED], "rejected",
                          (json_int_t)r->outcome[GM_OUTCOME_REJECTED], "failed", (json_int_t)r->outcome[GM_OUTCOME_FAILED], "lost",
                          (json_int_t)r->lost);
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"attainment", r->attainment}, {"accuracy_served", r->accuracy_served}, {"accuracy_measured", r->accuracy_measured},
                   {"goodput_accuracy", r->goodput_accuracy}, {"p50_ms", r->p50_ms}, {"p99_ms", r->p99_ms}, {"p999_ms", r->p999_ms},
                   {"max_ms", r->max_ms}, {"rate", r->rate}, {"seconds", r->seconds}, {"lateness_p99_ms", r->lateness_p99_ms}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) json_object_set_new(o, numbers[i].key, gm__json_number(numbers[i].value));
    json_object_set_new(o, "connections", json_integer(r->connections));
    return o;
}

static void print_result(const gm_replay_result *r) {
    printf("%llu requests in %.1f s (%.0f a second)\n", (unsigned long long)r->sent, r->seconds, r->rate);
    for (int o = 0; o < GM_OUTCOMES; o++)
        printf("  %-9s %8llu  %6.2f %%\n", gm_outcome_name((gm_outcome)o), (unsigned long long)r->outcome[o],
               r->sent > 0 ? 100.0 * (double)r->outcome[o] / (double)r->sent : 0);
    printf("attainment %.5f", r->attainment);
    if (isfinite(r->accuracy_served)) printf(", accuracy served %.2f %%", r->accuracy_served);
    if (isfinite(r->accuracy_measured)) printf(", measured %.2f %%", r->accuracy_measured);
    printf("\nlatency p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms; this client's own lateness p99 %.3f ms\n", r->p50_ms, r->p99_ms, r->p999_ms,
           r->lateness_p99_ms);
    if (r->lost > 0) printf("%llu requests got no answer at all\n", (unsigned long long)r->lost);
}

static gm_status replay(replaying *p, uint64_t seed, gm_replay_result *out, gm_error *err) {
    gm_trace trace = {0};
    gm_dataset *data = NULL;
    gm_replay_fate *fates = NULL;
    gm_part part = strcmp(p->split, "train") == 0 ? GM_PART_TRAIN : GM_PART_TEST;
    gm_status status = load_trace(p, seed, &trace, err);
    if (status == GM_OK && p->data != NULL) status = gm_dataset_load(p->data, p->data_dir, part, 0, &data, err);
    if (status == GM_OK) {
        fates = gm_alloc((size_t)trace.count, sizeof *fates);
        if (fates == NULL) status = gm_fail(err, GM_ERR_MEMORY, "no memory for %d requests", trace.count);
    }
    if (status == GM_OK) status = gm_replay_run(&p->settings, &trace, data, fates, out, err);
    if (status == GM_OK && p->out != NULL) status = write_fates(p->out, fates, trace.count, err);
    gm_free(fates);
    gm_dataset_destroy(data);
    gm_trace_fini(&trace);
    return status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    replaying p = {.settings = gm_replay_settings_default(), .split = "test", .encoding = "binary"};
    gm_replay_settings *s = &p.settings;
    s->key = getenv("GAMUT_API_KEY");
    const gm__option options[] = {
        {"url", "U", "the server (default http://127.0.0.1:8000)", GM__OPTION_TEXT, (void *)&s->url, 0, 0},
        {"trace", "T", "a file, or poisson:RATE, bursty:BASE,VARIANT,CV2, ramp:FROM,TO,ACCEL,CV2", GM__OPTION_TEXT, &p.spec, 0, 0},
        {"rate", "R", "mean requests a second (default: the trace's own)", GM__OPTION_NUMBER, &p.rate, 1e-6, 1e7},
        {"load", "L", "the mean as a share of what the server's smallest subnet can serve", GM__OPTION_NUMBER, &p.load, 1e-6, 1000},
        {"slo-ms", "X", "deadline of each request (default: none)", GM__OPTION_NUMBER, &s->slo_ms, 0, 3600000},
        {"min-accuracy", "P", "least accuracy asked for, in percent", GM__OPTION_NUMBER, &s->min_accuracy, 0, 100},
        {"duration", "S", "seconds: of a generator (default 10), or where a file is cut", GM__OPTION_NUMBER, &p.duration, 0.001, 1e6},
        {"data", "D", "images with labels, by name (default: noise without labels)", GM__OPTION_TEXT, &p.data, 0, 0},
        {"data-dir", "DIR", "folder that holds the data set", GM__OPTION_TEXT, &p.data_dir, 0, 0},
        {"split", "test|train", "part of the data (default test)", GM__OPTION_TEXT, &p.split, 0, 0},
        {"out", "FILE", "one JSON line a request: what became of it", GM__OPTION_TEXT, &p.out, 0, 0},
        {"model", "NAME", "default: the server's only one", GM__OPTION_TEXT, (void *)&s->model, 0, 0},
        {"path", "PATH", "of the requests (default /v2/models/NAME/infer)", GM__OPTION_TEXT, (void *)&s->path, 0, 0},
        {"encoding", "E", "of the images: binary (default) or json", GM__OPTION_TEXT, &p.encoding, 0, 0},
        {"plain", NULL, "no parameters, no outputs named: for servers of others", GM__OPTION_FLAG, &s->plain, 0, 0},
        {"connections", "N", "at most (default 512)", GM__OPTION_INT, &s->connections, 1, 60000},
        {"patience", "S", "seconds to wait for the last answers (default 10)", GM__OPTION_NUMBER, &s->patience_s, 0, 3600},
        {0},
    };
    int status = gm__args_parse(self, options, 0, 0, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (p.spec == NULL) return gm__usage_error(self, "--trace is missing");
    if (p.rate > 0 && p.load > 0) return gm__usage_error(self, "--rate and --load exclude each other");
    if (strcmp(p.split, "test") != 0 && strcmp(p.split, "train") != 0)
        return gm__usage_error(self, "--split: '%s' is neither test nor train", p.split);
    if (strcmp(p.encoding, "json") != 0 && strcmp(p.encoding, "binary") != 0)
        return gm__usage_error(self, "--encoding: '%s' is neither binary nor json", p.encoding);
    s->encoding = strcmp(p.encoding, "json") == 0 ? GM_REPLAY_JSON : GM_REPLAY_BINARY;
    if (s->key != NULL && s->key[0] == '\0') s->key = NULL;
    gm_replay_result result;
    if (replay(&p, args.seed, &result, &err) != GM_OK) return gm__failed(&err);
    if (args.json) {
        json_t *o = result_json(&result);
        name_load(&p, args.seed, o);
        return gm__json_print(o);
    }
    print_result(&result);
    return GM__EXIT_DONE;
}

const gm__command gm__cmd_replay = {
    .name = "replay",
    .arguments = "--trace T [--url U] [--rate R|--load L] [--slo-ms X] [--duration S] [--data D]",
    .summary = "plays a trace of requests against a server and says what became of them",
    .detail = "Requests leave when the trace says, however slow the answers are; one that leaves late is timed from when it should\n"
              "have left. With --data the answers are compared with the labels. $GAMUT_API_KEY is sent when it is set.",
    .example = "  gamut replay --trace bursty:200,800,4 --load 0.7 --slo-ms 36 --duration 30 --data fashion-mnist\n"
               "  gamut replay --url http://127.0.0.1:8000 --trace poisson:500 --json --out fates.jsonl",
    .run = run,
};
