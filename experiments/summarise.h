// SPDX-License-Identifier: Apache-2.0
// Shared by the parts of the summariser.
#ifndef GAMUT_EXPERIMENTS_SUMMARISE_H
#define GAMUT_EXPERIMENTS_SUMMARISE_H

#include "run_log.h"

#include <jansson.h>
#include <stdio.h>

enum { MAX_SUBNETS = 8, MAX_SERIES = 8, MAX_SEEDS = 32 };

typedef struct spread { // over seeds
    double mean, deviation; // of the sample; NAN below two values
    int count;
} spread;
spread spread_of(const double *values, int count); // those that are not NAN

// Texts of a table cell: "-" for what is not known.
void text_percent(char text[48], spread s);     // "93.51" or "93.51 ± 0.12"
void text_macs(char text[48], double macs);     // "31.5 M", "70.0 T"
void text_duration(char text[48], double seconds);

// Text that is written at once, as FOLDER/NAME.
typedef struct page {
    FILE *stream;
    char *text;
    size_t bytes;
} page;
gm_status page_open(page *p, gm_error *err);
gm_status page_write(page *p, const char *folder, const char *name, gm_error *err); // closes it too
gm_status write_json(json_t *value, const char *folder, const char *name, gm_error *err); // takes value
json_t *json_known(double value); // null for NAN

// The machine line: FOLDER/machine.json as `gamut info --json` printed it; "" when there is none.
void machine_text(const char *folder, char text[256]);

typedef struct series { // one line of a panel
    const char *name;
    double x[256], y[256];
    int count;
} series;
typedef struct panel {
    char title[160];
    series line[MAX_SERIES];
    int lines;
} panel;
// Two panels side by side: percent against multiply-accumulates.
gm_status draw_curves(const panel panels[2], const char *title, const char *folder, const char *name, gm_error *err);

gm_status summarise_strategies(const char *folder, const char *experiment, gm_error *err);
gm_status summarise_alone(const char *folder, double limit, gm_error *err);

#endif
