// SPDX-License-Identifier: Apache-2.0
// What the server itself costs, with workers that do nothing; and, with a peer, goodput of the same model elsewhere.
//   build/bench_serve [--seconds S] [--rates R,R,...] [--json]
//   build/bench_serve --peer litserve|mlserver|all --model MODEL --profile FILE [--python PYTHON] [more options of
//                     bench/peers/serve_peers.py]
// Run it on a machine with at least two free cores: one for the server, one for the load. Workers answer at once, so every round
// trip is overhead: the server's and this client's. A row a rate: requests answered a second, the round trip, how much
// of the server's own two parts (headers to queue; result to last byte) stays within 200 microseconds, processor time.
#include "measure.h"

#include <gamut/serve.h>

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RATES = 8, SIDE = 28 };

typedef struct job {
    double seconds, rate[RATES];
    int rates;
    bool json;
} job;

static pid_t start_server(int *port, gm_error *err) {
    int tell[2];
    if (pipe(tell) != 0) return gm_fail(err, GM_ERR_IO, "no pipe: %s", strerror(errno)), -1;
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0) {
        close(tell[1]);
        bool told = pid > 0 && read(tell[0], port, sizeof *port) == (ssize_t)sizeof *port && *port > 0;
        close(tell[0]);
        if (!told) gm_fail(err, GM_ERR_STATE, "the server did not start");
        return told ? pid : -1;
    }
    gm_profile profile = {0};
    gm_server *server = NULL;
    gm_log_set(GM_LOG_ERROR);
    if (gm_profile_paper(1, false, &profile, err) != GM_OK) _exit(1);
    gm_serve_stub stub = {&profile, 0, 10};
    gm_served_model model = {.name = "stub", .preset = "stub", .classes = 10, .channels = 1, .side = SIDE, .profile = &profile,
                             .backend = gm_serve_stub_backend(&stub)};
    gm_server_settings s = gm_server_settings_default();
    s.port = 0;
    gm_status status = gm_server_create(&s, &model, &server, err);
    int bound = status == GM_OK ? gm_server_port(server) : -1;
    if (status != GM_OK) fprintf(stderr, "bench_serve: %s\n", err->text);
    if (write(tell[1], &bound, sizeof bound) < 0 || status != GM_OK) _exit(1);
    gm_server_run(server, err);
    gm_server_destroy(server);
    _exit(0);
}

static double processor_seconds(pid_t pid) {
    char path[64];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) return NAN;
    int fields = fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    fclose(f);
    return fields == 2 ? (double)(user + system) / (double)sysconf(_SC_CLK_TCK) : NAN;
}

// Counts of a histogram within 200 microseconds, and all: from the server's /metrics.
typedef struct within {
    double fast, all;
} within;

static within read_histogram(const char *metrics, const char *name) {
    char key[128];
    within w = {NAN, NAN};
    snprintf(key, sizeof key, "gamut_%s_seconds_bucket{model=\"stub\",le=\"0.0002\"} ", name);
    const char *at = strstr(metrics, key);
    if (at != NULL) w.fast = strtod(at + strlen(key), NULL);
    snprintf(key, sizeof key, "gamut_%s_seconds_count{model=\"stub\"} ", name);
    at = strstr(metrics, key);
    if (at != NULL) w.all = strtod(at + strlen(key), NULL);
    return w;
}

static char *fetch_metrics(int port) { // owned by the caller (free); NULL: not to be had
    char command[128];
    snprintf(command, sizeof command, "curl -s http://127.0.0.1:%d/metrics", port);
    FILE *f = popen(command, "r");
    size_t room = 1 << 20, bytes = 0;
    char *text = f != NULL ? calloc(room, 1) : NULL;
    if (text != NULL) bytes = fread(text, 1, room - 1, f);
    if (f != NULL) pclose(f);
    if (bytes == 0) {
        free(text);
        return NULL;
    }
    return text;
}

static gm_status measure(const job *j, pid_t server, int port, double rate, gm_error *err) {
    char url[64], spec[64];
    gm_trace trace = {0};
    gm_replay_result r = {0};
    gm_replay_settings s = gm_replay_settings_default();
    gm_trace_settings t = gm_trace_settings_default();
    snprintf(url, sizeof url, "http://127.0.0.1:%d", port);
    snprintf(spec, sizeof spec, "poisson:%g", rate);
    s.url = url;
    t.duration_s = j->seconds;
    gm_status status = gm_trace_create(spec, &t, &trace, err);
    char *before = fetch_metrics(port);
    double start = processor_seconds(server);
    if (status == GM_OK) status = gm_replay_run(&s, &trace, NULL, NULL, &r, err);
    double used = processor_seconds(server) - start;
    char *after = fetch_metrics(port);
    if (status == GM_OK && (before == NULL || after == NULL)) status = gm_fail(err, GM_ERR_IO, "no metrics of the server (is curl there?)");
    if (status == GM_OK) {
        within a0 = read_histogram(before, "receive"), a1 = read_histogram(after, "receive");
        within b0 = read_histogram(before, "respond"), b1 = read_histogram(after, "respond");
        double in = (a1.fast - a0.fast) / (a1.all - a0.all), out = (b1.fast - b0.fast) / (b1.all - b0.all);
        double answered = (double)r.outcome[GM_OUTCOME_MET] / (r.seconds + r.max_ms * 1e-3), cost = used / (double)r.sent * 1e6;
        if (j->json)
            printf("{\"name\": \"serve %.0f\", \"ours\": %.1f, \"peer\": null, \"ratio\": null, \"unit\": \"requests/s\", \"spread\": null, \"offered\": %.1f, "
                   "\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"receive_within_200us\": %.5f, \"respond_within_200us\": %.5f, \"server_us_per_request\": %.2f, "
                   "\"client_lateness_p99_ms\": %.4f, \"lost\": %llu}\n",
                   rate, answered, r.rate, r.p50_ms, r.p99_ms, in, out, cost, r.lateness_p99_ms, (unsigned long long)r.lost);
        else
            printf("%8.0f offered  %8.0f answered/s  round trip p50 %.3f ms, p99 %.3f ms  within 200 us: in %.2f %%, out %.2f %%  server %.1f us a request  (client late p99 %.3f ms)\n",
                   r.rate, answered, r.p50_ms, r.p99_ms, 100 * in, 100 * out, cost, r.lateness_p99_ms);
    }
    free(before);
    free(after);
    gm_trace_fini(&trace);
    return status;
}

static int run_peers(int argc, char **argv) {
    const char *python = "python3";
    char **line = calloc((size_t)argc + 3, sizeof *line);
    int n = 0;
    if (line == NULL) return 1;
    for (int i = 1; i < argc - 1; i++)
        if (strcmp(argv[i], "--python") == 0) python = argv[i + 1];
    line[n++] = (char *)(uintptr_t)python;
    line[n++] = (char *)(uintptr_t) "bench/peers/serve_peers.py";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--python") == 0)
            i++;
        else
            line[n++] = argv[i];
    }
    execvp(python, line);
    fprintf(stderr, "bench_serve: %s cannot be started: %s\n", python, strerror(errno));
    free(line);
    return 1;
}

static const char usage[] =
    "usage: bench_serve [--seconds S] [--rates R,R,...] [--json]\n"
    "       bench_serve --peer litserve|mlserver|all|none --model MODEL --profile FILE [--python PYTHON] [--trace TRACE]\n"
    "                   [--load L | --rate R] [--slo-ms MS] [--duration S] [--workers N] [--policy P] [--data SET] [--force]\n"
    "What HTTP and the router cost with a stub for a model; or goodput of a trace beside other servers with the same model.\n";

int main(int argc, char **argv) {
    if (measure_help(argc, argv, usage)) return 0;
    job j = {.seconds = 10, .rate = {1000, 10000}, .rates = 2};
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--peer") == 0) return run_peers(argc, argv);
        if (strcmp(argv[i], "--json") == 0) {
            j.json = true;
        } else if (strcmp(argv[i], "--seconds") == 0 && more) {
            j.seconds = strtod(argv[++i], NULL);
        } else if (strcmp(argv[i], "--rates") == 0 && more) {
            j.rates = 0;
            for (char *at = argv[++i]; j.rates < RATES && *at != '\0'; at += *at == ',') j.rate[j.rates++] = strtod(at, &at);
        } else {
            return fputs(usage, stderr), 2;
        }
    }
    if (!(j.seconds > 0)) return fputs(usage, stderr), 2;
    gm_error err = {0};
    int port = 0, failures = 0;
    pid_t server = start_server(&port, &err);
    for (int i = 0; server > 0 && i < j.rates && failures == 0; i++) {
        if (!(j.rate[i] > 0)) return kill(server, SIGKILL), fputs(usage, stderr), 2;
        failures += measure(&j, server, port, j.rate[i], &err) != GM_OK;
    }
    if (server <= 0 || failures > 0) fprintf(stderr, "bench_serve: %s\n", err.text);
    if (server > 0) kill(server, SIGTERM);
    if (server > 0) waitpid(server, NULL, 0);
    return server <= 0 || failures > 0;
}
