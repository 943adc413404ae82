// SPDX-License-Identifier: Apache-2.0
// serve: traces of arrivals, the simulator in virtual time, and the server.
#ifndef GAMUT_SERVE_H
#define GAMUT_SERVE_H

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

#endif
