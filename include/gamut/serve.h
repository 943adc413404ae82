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
    double duration_s; // generators: length (default 10); files: 0 = all, else cut
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
// Stretches time so that the mean rate becomes this one; the shape stays.
GM_API gm_status gm_trace_scale(gm_trace *t, double rate, gm_error *err);
// Repeats the trace from its start until it is this long.
GM_API gm_status gm_trace_loop(gm_trace *t, double seconds, gm_error *err);
// Queries a second that the smallest subnet serves with its largest batch, one worker: what load 1 means.
GM_API double gm_profile_capacity(const gm_profile *p);
// Gaps in microseconds, one a line: what perf_analyzer's --request-intervals reads.
GM_API gm_status gm_trace_write_intervals(const gm_trace *t, const char *path, gm_error *err);

#endif
