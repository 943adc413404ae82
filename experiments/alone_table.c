// SPDX-License-Identifier: Apache-2.0
// Subnets of a supernet against the same subnets trained alone for as many epochs.
#include "summarise.h"

#include <math.h>
#include <string.h>

typedef struct row { // one subnet
    const char *choice;
    double macs;
    double together[MAX_SEEDS], alone[MAX_SEEDS], difference[MAX_SEEDS];
} row;

typedef struct comparison {
    int seeds, rows;
    run_log supernet[MAX_SEEDS];
    row row[MAX_SUBNETS];
    double seconds_together, seconds_alone, macs_together, macs_alone; // of the first seed
} comparison;

static row *row_of(comparison *c, const log_point *p) {
    for (int i = 0; i < c->rows; i++)
        if (strcmp(c->row[i].choice, p->choice) == 0) return &c->row[i];
    if (c->rows == MAX_SUBNETS) return NULL;
    row *r = &c->row[c->rows++];
    *r = (row){.choice = p->choice, .macs = p->subnet_macs};
    for (int s = 0; s < MAX_SEEDS; s++) r->together[s] = r->alone[s] = r->difference[s] = NAN;
    return r;
}

// The subnets are those that the supernet was tested with; number N of them alone is in alone-SEED-N.
static gm_status read_alone(comparison *c, const char *folder, int seed, gm_error *err) {
    int at = seed - 1;
    for (int i = 0; i < c->rows; i++) {
        char path[900];
        run_log log;
        row *r = &c->row[i];
        snprintf(path, sizeof path, "%s/alone-%d-%d", folder, seed, i + 1);
        gm_status status = run_log_read(path, &log, err);
        if (status != GM_OK && status != GM_ERR_NOT_FOUND) {
            run_log_fini(&log);
            return status;
        }
        const log_point *p = log.ended ? run_log_last(&log, "test", r->choice) : NULL;
        if (p != NULL) {
            r->alone[at] = p->top1;
            r->difference[at] = r->together[at] - p->top1;
            if (seed == 1) c->seconds_alone += log.seconds;
            if (seed == 1) c->macs_alone += log.macs_spent;
        }
        run_log_fini(&log);
    }
    return GM_OK;
}

static gm_status read_all(comparison *c, const char *folder, gm_error *err) {
    for (int seed = 1; seed <= MAX_SEEDS; seed++) {
        char path[900];
        run_log *log = &c->supernet[seed - 1];
        snprintf(path, sizeof path, "%s/supernet-%d", folder, seed);
        gm_status status = run_log_read(path, log, err);
        if (status == GM_ERR_NOT_FOUND) break;
        c->seeds = seed;
        if (status != GM_OK) return status;
        for (size_t i = 0; i < log->count && log->ended; i++) {
            row *r = strcmp(log->points[i].split, "test") == 0 ? row_of(c, &log->points[i]) : NULL;
            if (r != NULL) r->together[seed - 1] = log->points[i].top1;
        }
        if (seed == 1 && log->ended) {
            c->seconds_together = log->seconds;
            c->macs_together = log->macs_spent;
        }
        if ((status = read_alone(c, folder, seed, err)) != GM_OK) return status;
    }
    if (c->rows > 0) return GM_OK;
    return gm_fail(err, GM_ERR_NOT_FOUND, "%.180s/supernet-1 holds no ended run with results on the test set", folder);
}

// -1: not all known yet; 0: no; 1: yes
static int within(const comparison *c, double limit) {
    int known = 1;
    for (int i = 0; i < c->rows; i++) {
        spread d = spread_of(c->row[i].difference, c->seeds);
        if (d.count == 0) known = -1;
        else if (d.mean < -limit) return 0;
    }
    return known;
}

static gm_status write_page(const comparison *c, const char *folder, double limit, gm_error *err) {
    page p;
    char together[48], alone[48], difference[48], macs[48], machine[256];
    gm_status status = page_open(&p, err);
    if (status != GM_OK) return status;
    fprintf(p.stream, "# One supernet against each subnet trained alone, as many epochs\n");
    machine_text(folder, machine);
    if (machine[0] != '\0') fprintf(p.stream, "\nMachine: %s.\n", machine);
    fprintf(p.stream, "\n| subnet | MACs | in the supernet, %% | alone, %% | difference, points |\n|---|---|---|---|---|\n");
    for (int i = 0; i < c->rows; i++) {
        const row *r = &c->row[i];
        spread d = spread_of(r->difference, c->seeds);
        text_macs(macs, r->macs);
        text_percent(together, spread_of(r->together, c->seeds));
        text_percent(alone, spread_of(r->alone, c->seeds));
        text_percent(difference, d);
        fprintf(p.stream, "| %s | %s | %s | %s | %s%s |\n", r->choice, macs, together, alone, d.mean > 0 ? "+" : "", difference);
    }
    int verdict = within(c, limit);
    fprintf(p.stream, "\nAccuracy on the test set; %s over %d seed%s. Every subnet within %.1f point%s of itself alone: **%s**.\n",
            c->seeds > 1 ? "mean ± standard deviation" : "one run each,", c->seeds, c->seeds > 1 ? "s" : "", limit,
            limit == 1 ? "" : "s", verdict < 0 ? "not all have ended" : verdict ? "yes" : "no");
    text_macs(macs, c->macs_together);
    text_duration(together, c->seconds_together);
    fprintf(p.stream, "\nOne supernet: %s multiply-accumulates in %s.", macs, together);
    text_macs(macs, c->macs_alone);
    text_duration(alone, c->seconds_alone);
    fprintf(p.stream, " These subnets one after another: %s in %s.\n", macs, alone);
    return page_write(&p, folder, "results.md", err);
}

static json_t *values_json(const double *values, int count) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, json_known(values[i]));
    return list;
}

static gm_status write_results(const comparison *c, const char *folder, double limit, gm_error *err) {
    json_t *rows = json_array();
    for (int i = 0; i < c->rows; i++) {
        const row *r = &c->row[i];
        json_array_append_new(
            rows, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "choice", r->choice, "macs", json_known(r->macs), "supernet",
                            values_json(r->together, c->seeds), "alone", values_json(r->alone, c->seeds), "difference",
                            values_json(r->difference, c->seeds), "mean_difference",
                            json_known(spread_of(r->difference, c->seeds).mean)));
    }
    int verdict = within(c, limit);
    json_t *all = json_pack("{s:i, s:f, s:o, s:o, s:o, s:o, s:o}", "seeds", c->seeds, "limit", limit, "subnets", rows,
                            "seconds_supernet", json_known(c->seconds_together), "seconds_alone",
                            json_known(c->seconds_alone), "macs_supernet", json_known(c->macs_together), "macs_alone",
                            json_known(c->macs_alone));
    json_object_set_new(all, "within_limit", verdict < 0 ? json_null() : json_boolean(verdict));
    return write_json(all, folder, "results.json", err);
}

gm_status summarise_alone(const char *folder, double limit, gm_error *err) {
    comparison *c = gm_alloc(1, sizeof *c);
    if (c == NULL) return gm_fail(err, GM_ERR_MEMORY, "out of memory");
    gm_status status = read_all(c, folder, err);
    if (status == GM_OK) status = write_results(c, folder, limit, err);
    if (status == GM_OK) status = write_page(c, folder, limit, err);
    for (int s = 0; s < MAX_SEEDS; s++) run_log_fini(&c->supernet[s]);
    gm_free(c);
    return status;
}
