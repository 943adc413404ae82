// SPDX-License-Identifier: Apache-2.0
// Strategies at equal cost: subnets by strategy, over seeds, beside the published figures.
#include "summarise.h"

#include <math.h>
#include <string.h>

typedef struct subnet {
    char name[32], choice[128];
    double macs;
} subnet;

typedef struct strategy {
    char name[32];
    double published[MAX_SUBNETS];
    int runs;
    int seed[MAX_SEEDS];
    run_log log[MAX_SEEDS];
    spread test[MAX_SUBNETS], val[MAX_SUBNETS], mean; // mean: over the subnets
} strategy;

typedef struct experiment {
    json_t *description;
    const char *title, *source;
    int subnets, strategies;
    subnet subnet[MAX_SUBNETS];
    strategy strategy[MAX_SERIES];
    char machine[256];
} experiment;

static void copy_text(char *to, size_t size, const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(to, size, "%s", text != NULL ? text : "");
}

static gm_status read_description(experiment *e, const char *path, gm_error *err) {
    json_error_t cause;
    size_t i;
    json_t *item;
    e->description = json_load_file(path, 0, &cause);
    if (e->description == NULL)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s:%d: %.100s", path, cause.line, cause.text);
    e->title = json_string_value(json_object_get(e->description, "title"));
    e->source = json_string_value(json_object_get(e->description, "source"));
    json_array_foreach(json_object_get(e->description, "subnets"), i, item) {
        if (i >= MAX_SUBNETS) break;
        subnet *s = &e->subnet[e->subnets++];
        copy_text(s->name, sizeof s->name, item, "name");
        copy_text(s->choice, sizeof s->choice, item, "choice");
        s->macs = NAN;
    }
    json_array_foreach(json_object_get(e->description, "strategies"), i, item) {
        if (i >= MAX_SERIES) break;
        strategy *s = &e->strategy[e->strategies++];
        copy_text(s->name, sizeof s->name, item, "name");
        const json_t *figures = json_object_get(item, "published");
        for (int n = 0; n < e->subnets; n++) {
            const json_t *figure = json_array_get(figures, (size_t)n);
            s->published[n] = json_is_number(figure) ? json_number_value(figure) : NAN;
        }
    }
    if (e->title == NULL || e->source == NULL || e->subnets == 0 || e->strategies == 0)
        return gm_fail(err, GM_ERR_FORMAT, "%.120s: needs title, source, subnets and strategies", path);
    return GM_OK;
}

static gm_status read_runs(experiment *e, const char *folder, gm_error *err) {
    for (int i = 0; i < e->strategies; i++) {
        strategy *s = &e->strategy[i];
        for (int seed = 1; seed <= MAX_SEEDS; seed++) {
            char path[900];
            snprintf(path, sizeof path, "%s/%s-%d", folder, s->name, seed);
            gm_status status = run_log_read(path, &s->log[s->runs], err);
            if (status == GM_ERR_NOT_FOUND) continue;
            s->seed[s->runs++] = seed;
            if (status != GM_OK) return status;
        }
    }
    return GM_OK;
}

static double top1(const run_log *log, const char *split, const subnet *of) {
    const log_point *p = log->ended ? run_log_last(log, split, of->choice) : NULL;
    return p != NULL ? p->top1 : NAN;
}

static void add_up(experiment *e) {
    for (int i = 0; i < e->strategies; i++) {
        strategy *s = &e->strategy[i];
        double test[MAX_SEEDS], val[MAX_SEEDS], mean[MAX_SEEDS] = {0};
        for (int n = 0; n < e->subnets; n++) {
            for (int r = 0; r < s->runs; r++) {
                const log_point *p = run_log_last(&s->log[r], "val", e->subnet[n].choice);
                if (p != NULL) e->subnet[n].macs = p->subnet_macs;
                test[r] = top1(&s->log[r], "test", &e->subnet[n]);
                val[r] = top1(&s->log[r], "val", &e->subnet[n]);
                mean[r] += test[r] / e->subnets;
            }
            s->test[n] = spread_of(test, s->runs);
            s->val[n] = spread_of(val, s->runs);
        }
        s->mean = spread_of(mean, s->runs);
    }
}

typedef double run_value(const run_log *log);
static double spent(const run_log *log) { return log->macs_spent; }
static double seconds(const run_log *log) { return log->seconds; }
static double rate(const run_log *log) { return log->images_per_second; }
static double memory(const run_log *log) { return log->peak_bytes; }
static double rollbacks(const run_log *log) { return log->rollbacks; }

static spread over_runs(const strategy *s, run_value *value) {
    double values[MAX_SEEDS];
    for (int r = 0; r < s->runs; r++) values[r] = s->log[r].ended ? value(&s->log[r]) : NAN;
    return spread_of(values, s->runs);
}

// ---------------------------------------------------------------------------------------------
static const strategy *find(const experiment *e, const char *name) {
    for (int i = 0; i < e->strategies; i++)
        if (strcmp(e->strategy[i].name, name) == 0) return &e->strategy[i];
    return NULL;
}

// The published order at the smallest subnet: every strategy of a group above every one of the next.
// -1: not all are there yet; else the number of pairs the other way round, described in text.
static int count_violations(const experiment *e, char text[512]) {
    const json_t *order = json_object_get(e->description, "ordering");
    int violations = 0;
    size_t used = 0;
    text[0] = '\0';
    for (size_t g = 0; g + 1 < json_array_size(order); g++) {
        const json_t *better = json_array_get(order, g), *worse = json_array_get(order, g + 1);
        for (size_t i = 0; i < json_array_size(better); i++) {
            for (size_t j = 0; j < json_array_size(worse); j++) {
                const char *a = json_string_value(json_array_get(better, i));
                const char *b = json_string_value(json_array_get(worse, j));
                const strategy *x = a != NULL ? find(e, a) : NULL, *y = b != NULL ? find(e, b) : NULL;
                if (x == NULL || y == NULL || x->test[0].count == 0 || y->test[0].count == 0) return -1;
                if (x->test[0].mean >= y->test[0].mean || used >= 400) continue;
                used += (size_t)snprintf(text + used, 512 - used, "%s%s lies %.2f points below %s", used > 0 ? ", " : "",
                                         x->name, y->test[0].mean - x->test[0].mean, y->name);
                violations++;
            }
        }
    }
    return violations;
}

static void write_order(const experiment *e, FILE *f) {
    char text[512];
    int violations = count_violations(e, text);
    if (violations < 0) {
        fprintf(f, "\nWhether the published order holds at the smallest subnet is open: not every strategy has ended.\n");
    } else if (violations == 0) {
        fprintf(f, "\nThe published order holds at the smallest subnet (%s).\n", e->subnet[0].name);
    } else {
        fprintf(f, "\nThe published order does **not** hold at the smallest subnet (%s): %s.\n", e->subnet[0].name, text);
    }
}

static void write_head(const experiment *e, FILE *f, const char *first, const char *last) {
    char macs[48];
    fprintf(f, "| %s |", first);
    for (int n = 0; n < e->subnets; n++) {
        text_macs(macs, e->subnet[n].macs);
        fprintf(f, " %s (%s) |", e->subnet[n].name, macs);
    }
    fprintf(f, " %s |\n|---|", last);
    for (int n = 0; n <= e->subnets; n++) fprintf(f, "---|");
    fprintf(f, "\n");
}

static void write_accuracies(const experiment *e, FILE *f) {
    char cell[48];
    fprintf(f, "\n## Accuracy on the test set, %%\n");
    write_head(e, f, "strategy", "mean");
    for (int i = 0; i < e->strategies; i++) {
        const strategy *s = &e->strategy[i];
        fprintf(f, "| **%s** |", s->name);
        for (int n = 0; n < e->subnets; n++) {
            text_percent(cell, s->test[n]);
            fprintf(f, " %s |", cell);
        }
        text_percent(cell, s->mean);
        fprintf(f, " %s |\n", cell);
    }
    for (int i = 0; i < e->strategies; i++) {
        const strategy *s = &e->strategy[i];
        spread mean = spread_of(s->published, e->subnets);
        fprintf(f, "| %s, published |", s->name);
        for (int n = 0; n < e->subnets; n++) {
            text_percent(cell, spread_of(&s->published[n], 1));
            fprintf(f, " %s |", cell);
        }
        mean.deviation = NAN;
        if (mean.count > 1) mean.count = 1; // a mean over subnets has no spread over seeds
        text_percent(cell, mean);
        fprintf(f, " %s |\n", cell);
    }
    fprintf(f, "\nPublished: %s\nMeasured: mean ± standard deviation over the seeds of the table below.\n", e->source);
}

static void write_costs(const experiment *e, FILE *f) {
    fprintf(f, "\n## Cost\n| strategy | runs ended | multiply-accumulates | wall time | images/s | memory | roll-backs |\n"
               "|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < e->strategies; i++) {
        const strategy *s = &e->strategy[i];
        char macs[48], time[48];
        spread runs = over_runs(s, spent);
        text_macs(macs, runs.mean);
        text_duration(time, over_runs(s, seconds).mean);
        fprintf(f, "| %s | %d of %d | %s | %s |", s->name, runs.count, s->runs, macs, time);
        if (runs.count > 0) {
            fprintf(f, " %.0f | %.0f MiB | %.1f |\n", over_runs(s, rate).mean, over_runs(s, memory).mean / 1048576,
                    over_runs(s, rollbacks).mean);
        } else {
            fprintf(f, " - | - | - |\n");
        }
    }
    fprintf(f, "\nMultiply-accumulates are those of training (three times a trained subnet, once a teacher); validations are "
               "in the wall time only.\n");
}

static gm_status write_page(const experiment *e, const char *folder, gm_error *err) {
    page p;
    gm_status status = page_open(&p, err);
    if (status != GM_OK) return status;
    fprintf(p.stream, "# %s\n", e->title);
    if (e->machine[0] != '\0') fprintf(p.stream, "\nMachine: %s.\n", e->machine);
    write_accuracies(e, p.stream);
    write_order(e, p.stream);
    write_costs(e, p.stream);
    fprintf(p.stream, "\n![accuracy against cost](curves.svg)\n");
    return page_write(&p, folder, "results.md", err);
}

// ---------------------------------------------------------------------------------------------
static json_t *spread_json(spread s) {
    return json_pack("{s:o, s:o, s:i}", "mean", json_known(s.mean), "deviation", json_known(s.deviation), "runs", s.count);
}

static json_t *run_json(const experiment *e, const run_log *log, int seed) {
    json_t *test = json_object(), *val = json_object(), *curve = json_array();
    for (int n = 0; n < e->subnets; n++) {
        json_object_set_new(test, e->subnet[n].name, json_known(top1(log, "test", &e->subnet[n])));
        json_object_set_new(val, e->subnet[n].name, json_known(top1(log, "val", &e->subnet[n])));
    }
    for (size_t i = 0; i < log->count; i++) {
        const log_point *p = &log->points[i];
        if (strcmp(p->split, "val") != 0 || isnan(p->macs_spent)) continue;
        json_array_append_new(curve, json_pack("{s:s, s:o, s:o, s:o}", "choice", p->choice, "epoch", json_known(p->epoch),
                                               "macs_spent", json_known(p->macs_spent), "top1", json_known(p->top1)));
    }
    return json_pack("{s:i, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "seed", seed, "ended", log->ended, "macs_spent",
                     json_known(log->ended ? spent(log) : NAN), "seconds", json_known(log->ended ? seconds(log) : NAN),
                     "images_per_second", json_known(log->ended ? rate(log) : NAN), "peak_bytes",
                     json_known(log->ended ? memory(log) : NAN), "rollbacks",
                     json_known(log->ended ? rollbacks(log) : NAN), "test", test, "val", val, "curve", curve);
}

static json_t *strategy_json(const experiment *e, const strategy *s) {
    json_t *runs = json_array(), *test = json_object(), *published = json_object();
    for (int r = 0; r < s->runs; r++) json_array_append_new(runs, run_json(e, &s->log[r], s->seed[r]));
    for (int n = 0; n < e->subnets; n++) {
        json_object_set_new(test, e->subnet[n].name, spread_json(s->test[n]));
        json_object_set_new(published, e->subnet[n].name, json_known(s->published[n]));
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "strategy", s->name, "test", test, "mean", spread_json(s->mean),
                     "published", published, "runs", runs);
}

static gm_status write_results(const experiment *e, const char *folder, gm_error *err) {
    char text[512];
    int violations = count_violations(e, text);
    json_t *subnets = json_array(), *strategies = json_array();
    for (int n = 0; n < e->subnets; n++)
        json_array_append_new(subnets, json_pack("{s:s, s:s, s:o}", "name", e->subnet[n].name, "choice",
                                                 e->subnet[n].choice, "macs", json_known(e->subnet[n].macs)));
    for (int i = 0; i < e->strategies; i++) json_array_append_new(strategies, strategy_json(e, &e->strategy[i]));
    json_t *all = json_pack("{s:s, s:s, s:o, s:o}", "title", e->title, "machine", e->machine, "subnets", subnets,
                            "strategies", strategies);
    json_object_set_new(all, "published_order_holds", violations < 0 ? json_null() : json_boolean(violations == 0));
    return write_json(all, folder, "results.json", err);
}

// ---------------------------------------------------------------------------------------------
// The mean over seeds of the i-th validation: the same epoch in each, at nearly the same cost.
static void make_line(const strategy *s, const subnet *of, series *out) {
    int longest = (int)(sizeof out->x / sizeof *out->x);
    *out = (series){.name = s->name};
    for (int i = 0; i < longest; i++) {
        double x = 0, y = 0;
        int found = 0;
        for (int r = 0; r < s->runs; r++) {
            int number = 0;
            for (size_t k = 0; k < s->log[r].count; k++) {
                const log_point *p = &s->log[r].points[k];
                if (strcmp(p->split, "val") != 0 || strcmp(p->choice, of->choice) != 0 || isnan(p->macs_spent)) continue;
                if (number++ != i) continue;
                x += p->macs_spent;
                y += p->top1;
                found++;
            }
        }
        if (found == 0 || found < s->runs) return; // as far as all seeds are
        out->x[i] = x / found;
        out->y[i] = y / found;
        out->count = i + 1;
    }
}

static gm_status write_curves(const experiment *e, const char *folder, gm_error *err) {
    panel *panels = gm_alloc(2, sizeof *panels);
    if (panels == NULL) return gm_fail(err, GM_ERR_MEMORY, "out of memory");
    for (int i = 0; i < 2; i++) {
        const subnet *of = &e->subnet[i == 0 ? e->subnets - 1 : 0];
        char macs[48];
        text_macs(macs, of->macs);
        snprintf(panels[i].title, sizeof panels[i].title, "%s subnet: %s, %s multiply-accumulates",
                 i == 0 ? "largest" : "smallest", of->name, macs);
        panels[i].lines = e->strategies;
        for (int l = 0; l < e->strategies; l++) make_line(&e->strategy[l], of, &panels[i].line[l]);
    }
    gm_status status = draw_curves(panels, e->title, folder, "curves.svg", err);
    gm_free(panels);
    return status;
}

gm_status summarise_strategies(const char *folder, const char *description, gm_error *err) {
    experiment *e = gm_alloc(1, sizeof *e);
    if (e == NULL) return gm_fail(err, GM_ERR_MEMORY, "out of memory");
    gm_status status = read_description(e, description, err);
    if (status == GM_OK) status = read_runs(e, folder, err);
    if (status == GM_OK) {
        machine_text(folder, e->machine);
        add_up(e);
        status = write_curves(e, folder, err);
    }
    if (status == GM_OK) status = write_results(e, folder, err);
    if (status == GM_OK) status = write_page(e, folder, err);
    for (int i = 0; i < e->strategies; i++)
        for (int r = 0; r < e->strategy[i].runs; r++) run_log_fini(&e->strategy[i].log[r]);
    json_decref(e->description);
    gm_free(e);
    return status;
}
