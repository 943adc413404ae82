// SPDX-License-Identifier: Apache-2.0
// serve: traces of arrivals, the simulator in virtual time, and the server.
#ifndef GAMUT_SERVE_H
#define GAMUT_SERVE_H

#include <gamut/data.h>
#include <gamut/plan.h>
#include <gamut/sched.h>

// ---------------------------------------------------------------------------------------------
// What became of a request. Each gets exactly one.
#define GM_OUTCOME_LIST(X) X(MET, "met") X(LATE, "late") X(DROPPED, "dropped") X(REJECTED, "rejected") X(FAILED, "failed")
typedef enum gm_outcome {
#define GM_OUTCOME_ENUM(name, text) GM_OUTCOME_##name,
    GM_OUTCOME_LIST(GM_OUTCOME_ENUM)
#undef GM_OUTCOME_ENUM
    GM_OUTCOMES
} gm_outcome;
GM_API const char *gm_outcome_name(gm_outcome outcome);

// ---------------------------------------------------------------------------------------------
// Traces: when requests arrive. Times in nanoseconds from the start, ascending.
typedef struct gm_trace {
    int64_t *at_ns; // owned
    int count;
} gm_trace;
enum { GM_TRACE_MOST = 50000000 };
typedef struct gm_trace_stats {
    double seconds, rate, cv2; // from the first to the last arrival; squared variation of the gaps
    int peak;                  // most arrivals in one whole second
} gm_trace_stats;
typedef struct gm_trace_settings {
    double duration_s; // generators: their length (default 10); files: cut there, 0 = whole
    double rate;       // mean arrivals a second wanted; 0 = as the trace has it. Files are stretched in time, generators
                       // have their rates multiplied; the shape stays
    uint64_t seed;     // generators
} gm_trace_settings;
GM_API gm_trace_settings gm_trace_settings_default(void);
// A file (its layout is recognised: Azure LLM, Azure Functions 2019 and 2021, intervals in microseconds one a line), or
// poisson:RATE, bursty:BASE,VARIANT,CV2, ramp:FROM,TO,ACCEL,CV2, azure-functions:FILE (specs superserve 5.1), rates a second.
GM_API gm_status gm_trace_create(const char *spec, const gm_trace_settings *settings, gm_trace *out, gm_error *err);
// The same from bytes in memory; name for errors. Only file layouts.
GM_API gm_status gm_trace_parse(const char *name, const uint8_t *bytes, size_t count, gm_trace *out, gm_error *err);
GM_API void gm_trace_fini(gm_trace *t);
GM_API gm_trace_stats gm_trace_measure(const gm_trace *t);
// Queries a second that the smallest subnet serves with its largest batch, one worker: what load 1 means.
GM_API double gm_profile_capacity(const gm_profile *p);
// Gaps in microseconds, one a line: what perf_analyzer's --request-intervals reads.
GM_API gm_status gm_trace_write_intervals(const gm_trace *t, const char *path, gm_error *err);

// ---------------------------------------------------------------------------------------------
// What a load came to, request by request and in sum. Shared by the simulator and by live replays.
typedef struct gm_fate {
    gm_outcome outcome;
    int subnet, batch;                          // index in the profile (-1: not run); queries run together
    int64_t arrival_ns, deadline_ns, answer_ns; // answer: when the outcome was known
} gm_fate;
typedef struct gm_load_summary { // shares are of all sent
    int64_t sent, outcome[GM_OUTCOMES], met;
    double attainment;        // met / sent
    double accuracy_served;   // percent: mean profiled accuracy over those met
    double goodput_accuracy;  // percent: sum of the accuracies of those met / sent; what the oracle maximises
    double p50_ms, p99_ms, p999_ms; // arrival to answer, of those that were run
    double mean_batch;
    double *share;            // [subnets] of those met, by subnet; the caller's array, or NULL
} gm_load_summary;
// top1[subnets]. share: NULL or [subnets].
GM_API gm_status gm_load_summarise(const gm_fate *fate, int64_t count, const double *top1, int subnets, double *share,
                                   gm_load_summary *out, gm_error *err);

// ---------------------------------------------------------------------------------------------
// The simulator: the server's router in virtual time, with made-up workers.
typedef struct gm_simulation_settings {
    const char *policy;                 // default "gamut"
    gm_policy_settings policy_settings;
    gm_latency_settings latency;        // what the policy plans with
    int workers;                        // default 1
    int queue_limit;                    // default 1,000,000
    bool correct_latency;               // default false: the made-up runs take what the profile says
    int64_t slo_ns;                     // deadline of each request after its arrival; default 36 ms
    const int64_t *slo_each_ns;         // [count] or NULL: instead of slo_ns
    const double *floor_each;           // [count] or NULL: least accuracy in percent
    int64_t dispatch_ns;                // added to every run; default 0
    double noise;                       // runs take p50 times exp(noise * normal); default 0
    double drift;                       // and times this; default 1
    int kills;                          // workers that die, one every kill_every_s, the highest number first; default 0
    double kill_every_s, revive_after_s; // revive 0: never
    uint64_t seed;
} gm_simulation_settings;
GM_API gm_simulation_settings gm_simulation_settings_default(void);
// fate: NULL or [t->count], in order of arrival. out->share stays NULL.
GM_API gm_status gm_simulate(const gm_profile *p, const gm_trace *t, const gm_simulation_settings *settings, gm_fate *fate,
                             gm_load_summary *out, gm_error *err);

// ---------------------------------------------------------------------------------------------
// What a server serves. A backend runs batches inside worker processes. `open` is called once, in the server: workers are
// forked from it, each runs on its own copy of what `open` made, and what nobody writes to is shared among them. So `open` starts
// no threads, and does what takes long the first time.
typedef struct gm_serve_image { // rows of interleaved channels, [height][width][channels]
    int height, width, channels;
    bool pixels;      // uint8_t 0..255, to be normalised; else float, normalised already
    const void *data;
} gm_serve_image;
typedef struct gm_serve_backend {
    const void *context;
    gm_status (*open)(const void *context, int max_batch, void **executor, gm_error *err);
    // Runs a subnet (index into the profile) and writes logits[i][0 .. classes-1].
    void (*run)(void *executor, int subnet, int images, const gm_serve_image *image, float *const *logits);
    void (*close)(void *executor); // NULL allowed
} gm_serve_backend;
typedef struct gm_served_model {
    char name[65];            // [A-Za-z0-9._-]
    char preset[32], data[32];
    int classes, channels, side; // side: of the largest input
    size_t bytes;             // resident, for show; 0: not known
    const gm_profile *profile; // regularised; outlives the server
    gm_serve_backend backend;
} gm_served_model;

// ---------------------------------------------------------------------------------------------
// The server. One thread reads, decides and answers; workers are processes.
typedef struct gm_server_settings {
    const char *bind;       // default "127.0.0.1"; a name or address
    int port;               // default 8000; 0: any that is free
    int workers;            // default 1
    bool pin;               // each worker to a processor of its own; default false
    const char *policy;     // default "gamut"; docs/policies.md has them all
    bool serve_late;        // run what cannot make it instead of answering 503 at once; default false
    double slo_ms;          // deadline of requests that name none; 0: none. Default 0
    double overhead_ms;     // taken off every deadline for dispatch and answer; default 0.5
    double hang_ms;         // a worker is hung after 20 times the expected latency and this long; default 1000
    size_t max_body;        // bytes; default 1 MiB
    int max_connections;    // default 1024
    int max_per_address;    // connections of one address, loopback apart; default 64
    int max_queue;          // images; default 4096
    int max_images;         // in one request; default 64
    int max_side;           // of an image in a request; 0: twice the model's, at least 64
    double header_seconds, idle_seconds, total_seconds, drain_seconds; // default 10, 60, 120, 30
    const char *key_file;   // API keys, one a line; NULL: $GAMUT_API_KEY, else none is asked for
    const char *host;       // another name that requests may be sent to, beside the bound one; NULL
    bool insecure;          // permits an address beyond loopback without keys
    bool strict;            // unknown fields and parameters of requests are errors
} gm_server_settings;
GM_API gm_server_settings gm_server_settings_default(void);
typedef struct gm_server gm_server;
// Binds, starts the workers and waits until one is ready. Texts of settings and model's profile must outlive the server.
GM_API gm_status gm_server_create(const gm_server_settings *settings, const gm_served_model *model, gm_server **out,
                                  gm_error *err);
GM_API int gm_server_port(const gm_server *s);
// Serves until SIGTERM or SIGINT (which it blocks in the calling thread meanwhile): then what is in flight is answered.
GM_API gm_status gm_server_run(gm_server *s, gm_error *err);
GM_API void gm_server_destroy(gm_server *s);

// A backend without a model: waits as long as the profile says, times `speed` (0: not at all), and answers the class
// (first value of the image) mod classes. For tests and for measuring the server alone.
typedef struct gm_serve_stub {
    const gm_profile *profile;
    double speed;
    int classes;
} gm_serve_stub;
GM_API gm_serve_backend gm_serve_stub_backend(const gm_serve_stub *stub); // stub outlives the server

// A backend of plans: the subnets of a profile, run from packed weights. Both must outlive it, and the servers over it.
// mean, std: of pixels/255, as in the model. GM_ERR_STATE: a subnet of the profile is not calibrated.
typedef struct gm_serve_plans gm_serve_plans;
GM_API gm_status gm_serve_plans_create(const gm_packed *packed, const gm_profile *profile, const float mean[4], const float std[4],
                                       gm_serve_plans **out, gm_error *err);
GM_API void gm_serve_plans_destroy(gm_serve_plans *p);
GM_API gm_serve_backend gm_serve_plans_backend(const gm_serve_plans *p);

// ---------------------------------------------------------------------------------------------
// The load generator: open loop, so a slow server cannot slow the load down. Send times are the trace's; a request that
// leaves late is timed from when it should have left (no coordinated omission).
typedef enum gm_replay_encoding { GM_REPLAY_BINARY, GM_REPLAY_JSON } gm_replay_encoding;
typedef struct gm_replay_settings {
    const char *url;        // "http://127.0.0.1:8000"
    const char *model;      // NULL: asked of the server
    const char *path;       // NULL: /v2/models/{model}/infer
    const char *key;        // API key; NULL: none
    gm_replay_encoding encoding;   // of the images; default binary
    double slo_ms;          // 0: none; every answered request counts as met
    double min_accuracy;    // sent when above 0
    int connections;        // at most, default 512
    double patience_s;      // for answers after the last request; default 10
    bool plain;             // send no parameters and name no outputs: servers that know none. Default false
} gm_replay_settings;
GM_API gm_replay_settings gm_replay_settings_default(void);
typedef struct gm_replay_fate { // of one request
    int64_t due_ns, sent_ns, done_ns; // from the start; sent, done: -1 never
    int status;                // of HTTP; 0: none, the connection failed or nothing came
    gm_outcome outcome;        // by the client's clock; FAILED without an answer
    uint64_t subnet;           // 0: not told
    double accuracy;           // percent, as the server says; NAN
    int batch, queue_us, compute_us; // as the server says; -1
    int image, answer, label;  // answer: -1 none; label: -1 unknown
} gm_replay_fate;
typedef struct gm_replay_result {
    uint64_t sent, outcome[GM_OUTCOMES], lost; // lost: without an answer (counted as failed, too)
    double seconds, rate;               // offered
    double attainment;                  // met / sent
    double accuracy_served;             // mean of what the server said, over the met; NAN
    double accuracy_measured;           // labels answered right, over the met; NAN without labels
    double goodput_accuracy;            // sum of served accuracy of the met / sent (measured, where the server says none)
    double p50_ms, p99_ms, p999_ms, max_ms; // due to answer, of those answered by a worker
    double lateness_p99_ms;             // due to sent: what the client itself added
    int connections;                    // opened
} gm_replay_result;
// data may be NULL: noise of the model's input size. fates (NULL allowed): [trace->count], of the caller.
GM_API gm_status gm_replay_run(const gm_replay_settings *settings, const gm_trace *trace, const gm_dataset *data,
                               gm_replay_fate *fates, gm_replay_result *out, gm_error *err);
// What the server says of itself (GET /v2/gamut/status).
typedef struct gm_replay_server {
    double smallest_qps; // queries a second of its smallest subnet, all workers
    int workers;
    char policy[64];
} gm_replay_server;
GM_API gm_status gm_replay_ask(const gm_replay_settings *settings, gm_replay_server *out, gm_error *err);

#endif
