// SPDX-License-Identifier: Apache-2.0
// gamut serve: the server.
#include "cli.h"

#include <gamut/model.h>
#include <gamut/search.h>
#include <gamut/serve.h>

#include <string.h>

typedef struct serving {
    const char *profile_path, *name, *type;
    bool force, stub;
    double stub_speed, max_body_kib;
    gm_profile profile;
    gm_model *model;
    gm_packed *packed;
    gm_serve_plans *plans;
    gm_serve_stub wait;
    gm_served_model served;
} serving;

enum { STUB_SIDE = 28, STUB_CLASSES = 10 };

// The profile: as told, else profile.json beside the model.
static gm_status load_profile(serving *v, const char *model_path, uint64_t *hash, gm_error *err) {
    char beside[1024];
    const char *path = v->profile_path;
    if (path == NULL) {
        const char *slash = strrchr(model_path, '/');
        int n = snprintf(beside, sizeof beside, "%.*sprofile.json", slash != NULL ? (int)(slash - model_path) + 1 : 0, model_path);
        if (n < 0 || n >= (int)sizeof beside || !gm_path_exists(beside))
            return gm_fail(err, GM_ERR_NOT_FOUND, "no profile: run 'gamut profile %.60s --threads 1', and give its file with --profile",
                           model_path);
        path = beside;
    }
    return gm_profile_load(path, &v->profile, hash, err);
}

static gm_status pick_type(serving *v, gm_dtype *type, gm_error *err) {
    static const gm_dtype types[] = {GM_F32, GM_BF16, GM_I8};
    *type = v->profile.type;
    if (v->type == NULL) return GM_OK;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(v->type, gm_dtype_name(types[i])) != 0) continue;
        *type = types[i];
        if (types[i] == v->profile.type || v->force) return GM_OK;
        return gm_fail(err, GM_ERR_STATE, "the profile was measured with %s, not %s; measure again, or give --force",
                       gm_dtype_name(v->profile.type), v->type);
    }
    return gm_fail(err, GM_ERR_ARGUMENT, "--dtype: '%.40s' is not f32, bf16 or int8", v->type);
}

static gm_status largest_side(const gm_graph *g, int *side, gm_error *err) {
    gm_choice largest = gm_choice_max(&g->space);
    gm_resolved sizes;
    gm_status status = gm_resolved_init(&sizes, g, err);
    if (status != GM_OK) return status;
    status = gm_resolve(g, &largest, &sizes, err);
    if (status == GM_OK) *side = sizes.node[0].out.h;
    gm_resolved_fini(&sizes);
    return status;
}

static gm_status open_model(serving *v, const char *path, gm_error *err) {
    uint64_t hash = 0;
    gm_dtype type = GM_F32;
    gm_threads_set(1); // what a worker has
    gm_status status = gm_model_load(path, &v->model, err);
    if (status == GM_OK) status = load_profile(v, path, &hash, err);
    if (status == GM_OK) status = gm_profile_check(&v->profile, hash, v->model, v->force, err);
    if (status == GM_OK) status = gm_profile_regularise(&v->profile, err);
    if (status == GM_OK) status = pick_type(v, &type, err);
    if (status == GM_OK) status = gm_packed_create(v->model, type, &v->packed, err);
    if (status == GM_OK)
        status = gm_serve_plans_create(v->packed, &v->profile, v->model->input_mean, v->model->input_std, &v->plans, err);
    if (status != GM_OK) return status;
    const gm_graph *g = v->model->graph;
    gm_packed_bytes bytes = gm_packed_memory(v->packed);
    v->served = (gm_served_model){.classes = g->classes, .channels = g->input_channels, .side = 0, .bytes = bytes.weights + bytes.norms,
                                  .profile = &v->profile, .backend = gm_serve_plans_backend(v->plans)};
    status = largest_side(g, &v->served.side, err);
    snprintf(v->served.preset, sizeof v->served.preset, "%s", v->model->preset);
    snprintf(v->served.data, sizeof v->served.data, "%s", v->model->data);
    gm_model_destroy(v->model); // packed: the workers need no more
    v->model = NULL;
    return status;
}

static gm_status open_stub(serving *v, gm_error *err) {
    uint64_t hash = 0;
    gm_status status = v->profile_path != NULL ? gm_profile_load(v->profile_path, &v->profile, &hash, err)
                                               : gm_profile_paper(1, false, &v->profile, err);
    if (status == GM_OK) status = gm_profile_regularise(&v->profile, err);
    if (status != GM_OK) return status;
    v->wait = (gm_serve_stub){&v->profile, v->stub_speed, STUB_CLASSES};
    v->served = (gm_served_model){.preset = "stub", .data = "none", .classes = STUB_CLASSES, .channels = 1, .side = STUB_SIDE,
                                  .profile = &v->profile, .backend = gm_serve_stub_backend(&v->wait)};
    return GM_OK;
}

static void close_all(serving *v) {
    gm_serve_plans_destroy(v->plans);
    gm_packed_destroy(v->packed);
    gm_model_destroy(v->model);
    gm_profile_fini(&v->profile);
}

static void greet(const serving *v, const gm_server_settings *s, const gm_server *server) {
    const gm_served_model *m = &v->served;
    const char *host = strchr(s->bind, ':') != NULL ? "[::1]" : strcmp(s->bind, "0.0.0.0") == 0 ? "127.0.0.1" : s->bind;
    int port = gm_server_port(server);
    printf("serving %s: %d subnets from %.2f to %.2f %%, %d worker%s, policy %s\n", m->name, v->profile.subnets, v->profile.subnet[0].top1,
           v->profile.subnet[v->profile.subnets - 1].top1, s->workers, s->workers == 1 ? "" : "s", s->policy);
    printf("dashboard: http://%s:%d/\ntry it:\n", host, port);
    printf("  head -c %d /dev/urandom | od -An -v -t u1 | tr -s ' \\n' ',' | sed 's/^,//; s/,$//' |\n"
           "  sed 's/.*/{\"parameters\":{\"timeout\":100000},\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,%d,%d,%d],\"data\":[&]}]}/' |\n"
           "  curl -s -H 'Content-Type: application/json' -d @- http://%s:%d/v2/models/%s/infer\n",
           m->side * m->side * m->channels, m->side, m->side, m->channels, host, port, m->name);
    fflush(stdout);
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    gm_server_settings s = gm_server_settings_default();
    serving v = {.stub_speed = 1, .max_body_kib = 1024};
    const gm__option options[] = {
        {"profile", "FILE", "latency and accuracy of the subnets (default: profile.json beside MODEL)", GM__OPTION_TEXT, &v.profile_path, 0, 0},
        {"port", "N", "default 8000; 0: any that is free", GM__OPTION_INT, &s.port, 0, 65535},
        {"bind", "ADDRESS", "default 127.0.0.1: this machine alone", GM__OPTION_TEXT, (void *)&s.bind, 0, 0},
        {"workers", "N", "processes that run subnets, one thread each (default 1)", GM__OPTION_INT, &s.workers, 1, 256},
        {"pin", NULL, "a processor for each worker", GM__OPTION_FLAG, &s.pin, 0, 0},
        {"slo-ms", "X", "deadline of requests that name none (default: none)", GM__OPTION_NUMBER, &s.slo_ms, 0, 3600000},
        {"policy", "P", "gamut (default), slackfit, maxbatch, ... (docs/policies.md)", GM__OPTION_TEXT, (void *)&s.policy, 0, 0},
        {"serve-late", NULL, "run what cannot make its deadline, instead of refusing it at once", GM__OPTION_FLAG, &s.serve_late, 0, 0},
        {"name", "NAME", "of the model in paths (default: its family)", GM__OPTION_TEXT, &v.name, 0, 0},
        {"dtype", "T", "f32, bf16 or int8 (default: the profile's)", GM__OPTION_TEXT, &v.type, 0, 0},
        {"force", NULL, "use a profile of another machine or element type", GM__OPTION_FLAG, &v.force, 0, 0},
        {"max-queue", "N", "images that may wait; more are refused with 429 (default 4096)", GM__OPTION_INT, &s.max_queue, 1, 1000000},
        {"max-images", "N", "in one request (default 64)", GM__OPTION_INT, &s.max_images, 1, 256},
        {"max-body", "KIB", "size of a request (default 1024)", GM__OPTION_NUMBER, &v.max_body_kib, 1, 1048576},
        {"max-connections", "N", "default 1024", GM__OPTION_INT, &s.max_connections, 1, 60000},
        {"hang-ms", "X", "a worker silent for so long, and 20 times its due time, is replaced (default 1000)", GM__OPTION_NUMBER, &s.hang_ms, 1, 3600000},
        {"api-key-file", "FILE", "keys, one a line, that requests must carry (or $GAMUT_API_KEY)", GM__OPTION_TEXT, (void *)&s.key_file, 0, 0},
        {"host", "NAME", "another name that requests may be sent to", GM__OPTION_TEXT, (void *)&s.host, 0, 0},
        {"insecure", NULL, "serve other machines without keys", GM__OPTION_FLAG, &s.insecure, 0, 0},
        {"strict", NULL, "refuse requests with fields that are not known", GM__OPTION_FLAG, &s.strict, 0, 0},
        {"stub", NULL, "no MODEL: workers wait as long as the profile says", GM__OPTION_FLAG, &v.stub, 0, 0},
        {"stub-speed", "X", "with --stub: times the wait; 0: none (default 1)", GM__OPTION_NUMBER, &v.stub_speed, 0, 1000},
        {0},
    };
    int status = gm__args_parse(self, options, 0, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (v.stub != (args.count == 0)) return gm__usage_error(self, v.stub ? "--stub takes no MODEL" : "MODEL is missing");
    s.max_body = (size_t)(v.max_body_kib * 1024);
    gm_server *server = NULL;
    gm_status result = v.stub ? open_stub(&v, &err) : open_model(&v, args.positional[0], &err);
    if (result == GM_OK) {
        snprintf(v.served.name, sizeof v.served.name, "%s", v.name != NULL ? v.name : v.served.preset);
        result = gm_server_create(&s, &v.served, &server, &err);
    }
    if (result == GM_OK) {
        greet(&v, &s, server);
        result = gm_server_run(server, &err);
    }
    gm_server_destroy(server);
    close_all(&v);
    return result == GM_OK ? GM__EXIT_DONE : gm__failed(&err);
}

const gm__command gm__cmd_serve = {
    .name = "serve",
    .arguments = "MODEL --profile FILE [--workers N] [--slo-ms X] [--policy P] [--port N]",
    .summary = "answers requests over HTTP, each with the subnet that fits its deadline",
    .detail = "Speaks the Open Inference Protocol, version 2 (docs/http.md), shows a dashboard at /, metrics at /metrics, and\n"
              "stops on Ctrl-C or SIGTERM once what is in flight is answered. docs/serve.md tells how to run it.",
    .example = "  gamut serve runs/fashion-mnist/model.safetensors --profile runs/fashion-mnist/profile.json --workers 2 --slo-ms 36\n"
               "  gamut serve --stub --port 0 --slo-ms 36",
    .run = run,
};
