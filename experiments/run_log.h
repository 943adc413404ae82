// SPDX-License-Identifier: Apache-2.0
// What `gamut train` leaves in a run's log.jsonl (docs/training.md), as far as tables and curves need it.
#ifndef GAMUT_EXPERIMENTS_RUN_LOG_H
#define GAMUT_EXPERIMENTS_RUN_LOG_H

#include <gamut/base.h>

typedef struct log_point { // one evaluation of one subnet
    char choice[256], split[8];
    double step, epoch;
    double macs_spent; // by the run, up to here; NAN: not known, the run is unfinished
    double top1;       // percent
    double subnet_macs;
} log_point;

typedef struct run_log {
    log_point *points;
    size_t count;
    bool ended;
    double macs_spent, seconds, images_per_second, peak_bytes, rollbacks; // of an ended run
} run_log;

// FOLDER/log.jsonl. GM_ERR_NOT_FOUND: there is none. *out is to be given to run_log_fini in every case.
gm_status run_log_read(const char *folder, run_log *out, gm_error *err);
void run_log_fini(run_log *log);
// The last evaluation of a subnet on a split; NULL: none.
const log_point *run_log_last(const run_log *log, const char *split, const char *choice);

#endif
