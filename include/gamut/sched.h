// SPDX-License-Identifier: Apache-2.0
// sched: decisions only, in virtual time. A policy is a pure function of a view of the queue, a profile and the time; the server,
// the simulator and the tests call the very same function.
#ifndef GAMUT_SCHED_H
#define GAMUT_SCHED_H

#include <gamut/base.h>

// ---------------------------------------------------------------------------------------------
// A profile: what each subnet costs on one machine, and how good it is.
enum { GM_PROFILE_BATCHES = 32, GM_PROFILE_SUBNETS = 4096 };
typedef struct gm_profile_subnet {
    uint64_t id;       // gm_choice_id; any number where there is no space (a published table)
    char choice[512];  // its text form; may be empty
    double top1;       // percent, on the validation split
    uint64_t macs;
    int64_t p50_ns[GM_PROFILE_BATCHES], p99_ns[GM_PROFILE_BATCHES]; // of one run, by index of gm_profile.batch
} gm_profile_subnet;
typedef struct gm_profile {
    char preset[32], data[32], cpu_model[96], level[16]; // level: gm_cpu_level_name
    gm_dtype type;
    int threads;
    int batches, batch[GM_PROFILE_BATCHES]; // ascending, starts with 1
    int subnets;
    gm_profile_subnet *subnet; // owned; ascending by accuracy
} gm_profile;
GM_API void gm_profile_fini(gm_profile *p);
// Makes latency monotone in batch and along the front (isotonic fit), drops dominated subnets (specs: superserve 2.8),
// sorts by accuracy. Errors on an empty profile or values out of range.
GM_API gm_status gm_profile_regularise(gm_profile *p, gm_error *err);
// The median of p99 / p50 over subnets and batches: how far out the tail lies that policies plan with; 1 at least once regularised.
GM_API double gm_profile_tail(const gm_profile *p);

// The six subnets of SuperServe's plots (NSDI 2025) with the made-up latencies of specs superserve 3.1: linear in the batch
// between 1 and 16, all times multiplied by scale (> 0; 1.7 in that table). full_grid: every batch 1..16, not 1,2,4,8,16.
// The accuracies are published, the latencies are not: figures from this profile are indicative.
GM_API gm_status gm_profile_paper(double scale, bool full_grid, gm_profile *out, gm_error *err);

// ---------------------------------------------------------------------------------------------
// Planned times: what policies look at. Time of a run of `size` queries is that of the next profiled batch.
typedef struct gm_latency {
    int subnets, batches;
    int batch[GM_PROFILE_BATCHES]; // ascending, starts with 1
    int largest;                   // the last of them, at most GM_BATCH_MOST
    double *top1;                  // [subnets], ascending
    uint64_t *id;                  // [subnets]
    int64_t *ns;                   // [subnets][batches], not falling along either: what a run must be given (p99)
    int64_t *mean_ns;              // likewise what it costs (p50), at most ns: throughput is made of these
    uint8_t *column;               // [largest + 1]: index of the profiled batch that a size is charged at
} gm_latency;
enum { GM_BATCH_MOST = 4096 };
typedef struct gm_latency_settings {
    double margin;       // (0,1]: a run must fit into this part of the slack; default 1
    int64_t overhead_ns; // dispatch and way back, a batch; default 0
    bool mean;           // plan with p50 instead of p99; default false
} gm_latency_settings;
GM_API gm_latency_settings gm_latency_settings_default(void);
// Subnets must ascend by accuracy (GM_ERR_ARGUMENT otherwise; gm_profile_regularise sorts). Times are raised where needed
// so that they fall nowhere. The profile may go afterwards.
GM_API gm_status gm_latency_create(const gm_profile *p, const gm_latency_settings *settings, gm_latency **out, gm_error *err);
GM_API void gm_latency_destroy(gm_latency *l);
static inline int64_t gm_latency_ns(const gm_latency *l, int subnet, int size) { // 1 <= size <= largest
    return l->ns[subnet * l->batches + l->column[size]];
}
// The first subnet with at least this accuracy; l->subnets when there is none.
GM_API int gm_latency_least(const gm_latency *l, double top1);

// ---------------------------------------------------------------------------------------------
// The queue: earliest deadline first, equal deadlines by order, the smaller first. All memory is taken at creation. Push, pop and cancel are
// O(log n); the first GM_QUEUE_FRONT entries lie sorted in one array, which is what a policy is shown.
enum { GM_QUEUE_FRONT = 256 };
#define GM_NO_DEADLINE (INT64_MAX / 4) // far in the future, and safe to subtract from
typedef struct gm_waiting {
    int64_t deadline_ns;
    uint64_t order;  // breaks ties
    int32_t least;   // index of the least accurate subnet that will do
    int32_t ticket;  // the queue's
} gm_waiting;
typedef struct gm_request {
    uint64_t tag;
    uint64_t order;    // no two the same: of arrival, or by importance and then arrival
    int64_t arrival_ns, deadline_ns;
    int64_t expiry_ns; // when it can no longer be met; used by gm_queue_expiry only
    int32_t least, attempts;
} gm_request;
typedef struct gm_queue gm_queue;
GM_API gm_status gm_queue_create(int capacity, gm_queue **out, gm_error *err);
GM_API void gm_queue_destroy(gm_queue *q);
GM_API int gm_queue_length(const gm_queue *q);
// The ticket (>= 0, for cancel; free again once the request has left), or -1 when full.
GM_API int gm_queue_push(gm_queue *q, const gm_request *request);
GM_API bool gm_queue_pop(gm_queue *q, gm_request *out); // the most urgent; false when empty
GM_API bool gm_queue_cancel(gm_queue *q, int ticket, gm_request *out);
GM_API const gm_waiting *gm_queue_front(const gm_queue *q, int *shown); // sorted; valid until the next change
GM_API const gm_request *gm_queue_request(const gm_queue *q, int ticket);
// The ticket with the smallest expiry_ns, -1 when empty; gm_queue_expire_at moves one.
GM_API int gm_queue_expiry(const gm_queue *q);
GM_API int gm_queue_last(const gm_queue *q); // the ticket with the largest order, -1 when empty
GM_API void gm_queue_expire_at(gm_queue *q, int ticket, int64_t expiry_ns);

// ---------------------------------------------------------------------------------------------
// What is known of the arrivals so far.
enum { GM_ARRIVAL_SCALES = 3, GM_ARRIVAL_BINS = 48, GM_ARRIVAL_QUANTILES = 6, GM_ARRIVAL_LATEST = 64 };
typedef struct gm_arrivals { // estimator, embedded in its user; one gm_arrivals_add an arrival
    int64_t unit_ns, first_ns, last_ns, window_ns;
    uint64_t count, in_window;
    double decayed[GM_ARRIVAL_SCALES], slo_ns;
    int64_t latest_ns[GM_ARRIVAL_LATEST]; // ring
    double bin[GM_ARRIVAL_BINS], bins; // decayed counts of windows by how many arrived in them; their sum
} gm_arrivals;
typedef struct gm_arrival_stats {
    double rate[GM_ARRIVAL_SCALES];         // arrivals a nanosecond, over about 1, 8 and 64 units
    double quantile[GM_ARRIVAL_QUANTILES];  // of the rate in windows of one unit: 10, 30, 50, 70, 90, 98 percent; those
                                            // above 50 are raised while few windows were seen
    double latest;                          // over the last GM_ARRIVAL_LATEST arrivals: the first to see a burst
    double slo_ns;                          // recent mean of deadline less arrival; 0 when unknown
    uint64_t count;
} gm_arrival_stats;
GM_API void gm_arrivals_init(gm_arrivals *a, int64_t unit_ns); // unit: a typical long run, e.g. of the largest subnet and batch
GM_API void gm_arrivals_add(gm_arrivals *a, int64_t now_ns, int64_t deadline_ns);
GM_API gm_arrival_stats gm_arrivals_read(const gm_arrivals *a, int64_t now_ns);

// ---------------------------------------------------------------------------------------------
// Policies: slackfit, maxbatch, maxacc, infaas, gamut, fixed:SUBNET, clipper:SUBNET (docs/policies.md). SUBNET: the hex
// digits of an id, an accuracy with a decimal point (the nearest subnet), min or max.
typedef struct gm_sched_view {
    int64_t now_ns;
    int waiting, shown;        // in the queue; of these, in front[]
    const gm_waiting *front;   // [shown], earliest deadline first
    int workers, idle;         // alive; of these, without a batch: the decision is for one of them
    const int64_t *free_ns;    // [workers - idle]: when the others are expected to be done, any order
    gm_arrival_stats arrivals;
} gm_sched_view;
typedef struct gm_decision {
    int drop;        // so many of the front are given up: they cannot be met, or the policy sacrifices them
    int subnet;      // -1: run nothing now
    int batch;       // so many of the next ones, 1 <= batch <= largest, drop + batch <= shown
    bool late;       // the batch cannot make its first deadline and is run nevertheless (serve_late, clipper)
    int64_t wait_ns; // subnet -1: decide again at this time, or at the next event when that is earlier
} gm_decision;
typedef struct gm_policy_settings {
    bool serve_late;     // an unsavable head is run with the fastest subnet and the largest batch instead of dropped
    int buckets;         // slackfit: 0 = chosen at creation, by trying them on made-up load
    int workers;         // that it is tried with; 0 = 1
} gm_policy_settings;
typedef struct gm_policy gm_policy;
GM_API gm_policy_settings gm_policy_settings_default(void);
// settings NULL: defaults. Errors: GM_ERR_NOT_FOUND names the policies or subnets that there are.
GM_API gm_status gm_policy_create(const char *name, const gm_latency *l, const gm_policy_settings *settings, gm_policy **out, gm_error *err);
GM_API void gm_policy_destroy(gm_policy *p);
GM_API const char *gm_policy_name(const gm_policy *p); // as it was asked for
GM_API void gm_policy_refresh(gm_policy *p, const gm_latency *l); // after the times of l changed; no allocation
// Pure: the same arguments give the same decision. No allocation. view->shown >= 1, view->idle >= 1. What it returns is
// within the profile and respects every floor: each query of the batch has least <= subnet.
GM_API gm_decision gm_policy_decide(const gm_policy *p, const gm_latency *l, const gm_sched_view *view);
GM_API bool gm_policy_keeps_late(const gm_policy *p); // runs what cannot be met: nothing may be expired behind its back
GM_API int gm_policy_buckets(const gm_policy *p, int *filled); // slackfit: buckets and how many hold a choice; others: 0

// ---------------------------------------------------------------------------------------------
// The oracle: the best that any schedule could reach which knows all arrivals beforehand.
typedef struct gm_oracle {
    double value;     // sum of accuracies of the queries met
    int64_t met;      // in the schedule found (exact), or of the bound's own optimum
    bool exact;       // false: an upper bound, no schedule may reach it
    int64_t states;   // examined
} gm_oracle;
typedef struct gm_oracle_settings {
    int most_states;    // kept for one query before nearby times are merged (then the result is a bound); default 2000
    int64_t most_total; // of gm_oracle_limit: for all queries together (some 4 us each); default 4 million
} gm_oracle_settings;
GM_API gm_oracle_settings gm_oracle_settings_default(void);
// One worker, runs take the latency's p50. arrival_ns ascending, deadlines not falling: then some best plan takes contiguous batches in order (specs:
// superserve 2.7), and dynamic programming over (next query, worker free) is exact.
GM_API gm_status gm_oracle_solve(const gm_latency *l, const int64_t *arrival_ns, const int64_t *deadline_ns, int n,
                                 const gm_oracle_settings *settings, gm_oracle *out, gm_error *err);
// Any number of workers: work may be cut at will, and every query costs only its share of the most efficient batch that
// fits its slack (a fluid relaxation). Always an upper bound.
GM_API gm_status gm_oracle_bound(const gm_latency *l, int workers, const int64_t *arrival_ns, const int64_t *deadline_ns, int n,
                                 gm_oracle *out, gm_error *err);
// The optimum where it can be had (one worker; out->exact), otherwise the lower of the bounds there are.
GM_API gm_status gm_oracle_limit(const gm_latency *l, int workers, const int64_t *arrival_ns, const int64_t *deadline_ns, int n,
                                 const gm_oracle_settings *settings, gm_oracle *out, gm_error *err);

#endif
