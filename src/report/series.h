// SPDX-License-Identifier: Apache-2.0
// The fates of requests as series over time.
#ifndef GAMUT_REPORT_SERIES_H
#define GAMUT_REPORT_SERIES_H

#include "kinds.h"

// Adds `totals`, `series` and `subnets` to out when the run has fates. Times are cut into at most 160 equal buckets of a
// round width; a request belongs to the bucket in which it arrived.
gm_status gm__series_show(gm_report_db *db, int64_t run, json_t *out, gm_error *err);

#endif
