// SPDX-License-Identifier: Apache-2.0
// What the server has seen: totals, histograms, and a second-by-second record of the last minutes.
#ifndef GAMUT_SERVE_MONITOR_H
#define GAMUT_SERVE_MONITOR_H

#include <gamut/serve.h>

enum { GM__SECONDS = 300, GM__TIME_BUCKETS = 18, GM__SIZE_BUCKETS = 8, GM__FINE = 160 };
extern const double gm__time_bucket[GM__TIME_BUCKETS]; // upper edges in seconds; one more bucket for what is beyond
extern const int gm__size_bucket[GM__SIZE_BUCKETS];

typedef struct gm__histogram {
    uint64_t count[GM__TIME_BUCKETS + 1];
    double sum; // seconds
    uint64_t total;
} gm__histogram;
void gm__histogram_add(gm__histogram *h, double seconds);

typedef struct gm__second {
    uint32_t received, outcome[GM_OUTCOMES], batches, images, queue, workers; // queue: the longest
    double accuracy;     // summed over the queries met
    float p50_ms, p99_ms; // of those answered by a worker; NAN: none
} gm__second;

typedef struct gm__subnet_count {
    uint64_t answered, met, late, batches;
} gm__subnet_count;

typedef struct gm__monitor {
    const gm_profile *profile;
    int64_t started_ns;
    uint64_t received, outcome[GM_OUTCOMES], batches, images, requests, refused; // refused: requests that were malformed
    uint64_t request_ok, request_failed;
    double accuracy;                                     // summed over the queries met
    gm__histogram latency, queue, run, slack, receive, respond; // receive: headers to queue; respond: result to the answer's last byte
    uint64_t size[GM__SIZE_BUCKETS + 1];
    gm__subnet_count *subnet; // [profile->subnets]
    uint64_t *batch_count;    // [largest + 1]: dispatches of this size
    double *batch_seconds;
    int largest;
    int64_t second;           // number of the running second since the start
    gm__second ring[GM__SECONDS + 1];
    uint32_t *subnet_ring;    // [GM__SECONDS + 1][subnets]
    uint32_t fine[GM__SECONDS + 1][GM__FINE]; // latencies, eight steps an octave from 10 us on
} gm__monitor;

gm_status gm__monitor_init(gm__monitor *m, const gm_profile *profile, int64_t now_ns, gm_error *err);
void gm__monitor_fini(gm__monitor *m);
void gm__monitor_tick(gm__monitor *m, int64_t now_ns); // before the calls below, whenever time has passed
void gm__monitor_received(gm__monitor *m, int images);
void gm__monitor_dispatch(gm__monitor *m, int images, double slack_seconds);
void gm__monitor_ran(gm__monitor *m, int subnet, int images, double seconds);
void gm__monitor_outcome(gm__monitor *m, gm_outcome outcome, int subnet, double latency_seconds, double queue_seconds);
void gm__monitor_levels(gm__monitor *m, int waiting, int workers);

typedef struct gm__window {
    uint64_t received, outcome[GM_OUTCOMES], batches, images;
    double accuracy, p50_ms, p99_ms;
} gm__window;
gm__window gm__monitor_window(const gm__monitor *m, int seconds); // whole seconds before the running one
const gm__second *gm__monitor_second(const gm__monitor *m, int64_t second); // NULL: not recorded any more, or not yet
uint32_t gm__monitor_subnet_second(const gm__monitor *m, int64_t second, int subnet);

#endif
