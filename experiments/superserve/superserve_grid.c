// SPDX-License-Identifier: Apache-2.0
// The grid of SuperServe's evaluation in virtual time: workloads x loads x policies, 5 seeds, beside the oracle.
//   superserve_grid [--profile FILE] [--traces FOLDER] [--workers 1|8] [--seeds N] [--seed FIRST] [--seconds S] [--only TEXT] [--load L]
//     --out FOLDER
// Writes FOLDER/results.md and results.json. Same arguments, same numbers. Generated loads last S seconds; recorded ones are played
// whole, each seed from another arrival on. TEXT: only workloads with that in their name;
// L: only that load of the three.
#include <gamut/search.h>
#include <gamut/serve.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 10, FIXED = 6, OTHERS = 6, POLICIES = OTHERS + 2 * FIXED, WORKLOADS = 20 };
static const char *const others[OTHERS] = {"gamut", "slackfit", "maxbatch", "maxacc", "infaas", "slackfit-8"}; // the last: 8 buckets, whatever its trial says
static const double loads[] = {0.5, 0.7, 0.9};
static const double slos[] = {1.2, 2.0};
enum { LOADS = 3, SLOS = 2 };

typedef struct cell { // one policy on one workload: per seed
    double attainment[SEEDS], goodput[SEEDS], accuracy[SEEDS];
} cell;
typedef struct grid {
    gm_profile profile;
    gm_latency *latency;
    const char *name, *traces, *only, *out;
    int workers, seeds, first_seed, policies, workloads;
    double seconds, load; // load 0: all
    char policy[POLICIES][32], workload[WORKLOADS][512];
    FILE *md, *json;
    bool first, exact;
    // over the cells at load 0.7
    double worst_gap, worst_rival, worst_spread; // gamut to the oracle; gamut to the best rival, and the spread there
    char gap_at[160], rival_at[240];
    int slackfit_short, far; // far: cells where gamut lacks more than 1.0 point to the oracle
    double gain, ratio;                 // best headline figures
    char gain_at[320], ratio_at[320];
} grid;

static double mean(const double *v, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += v[i];
    return sum / n;
}
static double spread(const double *v, int n) {
    double m = mean(v, n), sum = 0.0;
    for (int i = 0; i < n; i++) sum += (v[i] - m) * (v[i] - m);
    return n > 1 ? sqrt(sum / (n - 1)) : 0.0;
}

static void name_policies(grid *g) {
    int subnets = g->profile.subnets, fixed = gm_min(subnets, FIXED);
    for (int i = 0; i < OTHERS; i++) snprintf(g->policy[g->policies++], sizeof g->policy[0], "%s", others[i]);
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < fixed; i++) {
            int n = fixed > 1 ? i * (subnets - 1) / (fixed - 1) : 0;
            snprintf(g->policy[g->policies++], sizeof g->policy[0], "%s:%.2f", kind == 0 ? "fixed" : "clipper", g->profile.subnet[n].top1);
        }
}

static void name_workloads(grid *g) {
    static const int variant[] = {2950, 4900, 5550}, acceleration[] = {250, 500, 5000};
    static const char *const files[] = {"AzureLLMInferenceTrace_code.csv", "AzureLLMInferenceTrace_conv.csv"};
    for (int v = 0; v < 3; v++)
        for (int cv2 = 2; cv2 <= 8; cv2 *= 2)
            snprintf(g->workload[g->workloads++], sizeof g->workload[0], "bursty:1500,%d,%d", variant[v], cv2);
    for (int a = 0; a < 3; a++) snprintf(g->workload[g->workloads++], sizeof g->workload[0], "ramp:2500,7800,%d,8", acceleration[a]);
    for (int f = 0; f < 2; f++) {
        snprintf(g->workload[g->workloads], sizeof g->workload[0], "%s/%s", g->traces, files[f]);
        if (gm_path_exists(g->workload[g->workloads]))
            g->workloads++;
        else
            fprintf(stderr, "skipped: needs %s\n", g->workload[g->workloads]);
    }
    int kept = 0;
    for (int w = 0; w < g->workloads; w++)
        if (g->only == NULL || strstr(g->workload[w], g->only) != NULL) memmove(g->workload[kept++], g->workload[w], sizeof g->workload[0]);
    g->workloads = kept;
}

static bool is_recorded(const char *workload) { return strchr(workload, ':') == NULL; }

// The arrivals from number `first` on, those before it behind them.
static gm_status start_at(gm_trace *t, int first, gm_error *err) {
    int n = t->count;
    int64_t span = t->at_ns[n - 1] - t->at_ns[0], round = span + span / gm_max(n - 1, 1), *turned = gm_alloc((size_t)n, sizeof *turned);
    if (turned == NULL) return gm_fail(err, GM_ERR_MEMORY, "grid: out of memory");
    for (int i = 0; i < n; i++) {
        int from = (first + i) % n;
        turned[i] = t->at_ns[from] - t->at_ns[first] + (from < first ? round : 0);
    }
    memcpy(t->at_ns, turned, (size_t)n * sizeof *turned);
    gm_free(turned);
    return GM_OK;
}

static const char *short_name(const char *workload) {
    const char *slash = strrchr(workload, '/');
    return slash != NULL ? slash + 1 : workload;
}

static gm_status run_seed(grid *g, const char *workload, double load, int64_t slo_ns, int seed, cell *cells, cell *oracle, gm_error *err) {
    gm_trace t;
    gm_oracle o;
    gm_trace_settings ts = {.duration_s = is_recorded(workload) ? 0.0 : g->seconds, .rate = load * g->workers * gm_profile_capacity(&g->profile), .seed = (uint64_t)(g->first_seed + seed)};
    gm_status status = gm_trace_create(workload, &ts, &t, err);
    if (status != GM_OK) return status;
    if (is_recorded(workload)) status = start_at(&t, (int)((int64_t)t.count * seed / g->seeds), err);
    int64_t *deadline = gm_alloc((size_t)t.count, sizeof *deadline);
    if (status == GM_OK && deadline == NULL) status = gm_fail(err, GM_ERR_MEMORY, "grid: out of memory");
    for (int i = 0; status == GM_OK && i < t.count; i++) deadline[i] = t.at_ns[i] + slo_ns;
    if (status == GM_OK)
        status = gm_oracle_limit(g->latency, g->workers, t.at_ns, deadline, t.count, NULL, &o, err);
    if (status == GM_OK) {
        oracle->goodput[seed] = o.value / t.count;
        oracle->attainment[seed] = (double)o.met / t.count;
        g->exact = (seed == 0 || g->exact) && o.exact;
    }
    for (int p = 0; p < g->policies && status == GM_OK; p++) {
        gm_load_summary s;
        gm_simulation_settings set = gm_simulation_settings_default();
        set.policy = strcmp(g->policy[p], "slackfit-8") == 0 ? "slackfit" : g->policy[p];
        set.policy_settings.buckets = strcmp(g->policy[p], "slackfit-8") == 0 ? 8 : 0;
        set.workers = g->workers;
        set.slo_ns = slo_ns;
        status = gm_simulate(&g->profile, &t, &set, NULL, &s, err);
        if (status != GM_OK) break;
        cells[p].attainment[seed] = s.attainment;
        cells[p].goodput[seed] = s.goodput_accuracy;
        cells[p].accuracy[seed] = s.accuracy_served;
    }
    gm_free(deadline);
    gm_trace_fini(&t);
    return status;
}

// Accuracy gained over the fixed model that attains as much (at least 0.999 of ours), and attainment over the one that is as
// accurate (at least as we are): SuperServe's two headline comparisons.
static void headlines(grid *g, const cell *cells, const char *where) {
    int n = g->seeds;
    double at = mean(cells[0].attainment, n), accuracy = mean(cells[0].accuracy, n), equal = -1.0;
    for (int p = OTHERS; p < g->policies; p++) {
        double other = mean(cells[p].attainment, n), served = mean(cells[p].accuracy, n);
        if (other >= 0.999 * at && served > equal) equal = served;
        if (served >= accuracy && at > 0.99 && other > 0.0 && at / other > g->ratio && strncmp(g->policy[p], "fixed", 5) == 0) {
            bool nearest = true; // the least accurate of those: the fairest comparison
            for (int q = OTHERS; q < p; q++)
                if (strncmp(g->policy[q], "fixed", 5) == 0 && mean(cells[q].accuracy, n) >= accuracy) nearest = false;
            if (!nearest) continue;
            g->ratio = at / other;
            snprintf(g->ratio_at, sizeof g->ratio_at, "%s: %.4f against %.4f of %s (accuracy %.2f against %.2f)", where, at, other, g->policy[p], accuracy, served);
        }
    }
    if (equal >= 0.0 && at > 0.99 && accuracy - equal > g->gain) {
        g->gain = accuracy - equal;
        snprintf(g->gain_at, sizeof g->gain_at, "%s: attainment %.4f, accuracy %.2f against %.2f", where, at, accuracy, equal);
    }
}

static void judge(grid *g, const cell *cells, const cell *oracle, const char *where) {
    int n = g->seeds, best = 1;
    for (int p = 2; p < g->policies; p++)
        if (mean(cells[p].goodput, n) > mean(cells[best].goodput, n)) best = p;
    double gap = mean(oracle->goodput, n) - mean(cells[0].goodput, n), lead = mean(cells[0].goodput, n) - mean(cells[best].goodput, n);
    if (gap > g->worst_gap) {
        g->worst_gap = gap;
        snprintf(g->gap_at, sizeof g->gap_at, "%s", where);
    }
    if (gap > 1.0) g->far++;
    if (lead < g->worst_rival) {
        g->worst_rival = lead;
        g->worst_spread = fmax(spread(cells[0].goodput, n), spread(cells[best].goodput, n));
        snprintf(g->rival_at, sizeof g->rival_at, "%s, against %s", where, g->policy[best]);
    }
    if (mean(oracle->attainment, n) >= 0.999 && mean(cells[1].attainment, n) < 0.999) g->slackfit_short++;
}

static void write_cell(grid *g, const char *workload, double load, double slo, const cell *cells, const cell *oracle) {
    int n = g->seeds;
    fprintf(g->md, "\n### %s, load %.1f, SLO %.1f x\n\n| policy | attainment | accuracy served | goodput accuracy |\n|---|---|---|---|\n", workload, load, slo);
    for (int p = 0; p < g->policies; p++) {
        fprintf(g->md, "| %s | %.4f ± %.4f | %.2f ± %.2f | %.2f ± %.2f |\n", g->policy[p], mean(cells[p].attainment, n),
                spread(cells[p].attainment, n), mean(cells[p].accuracy, n), spread(cells[p].accuracy, n), mean(cells[p].goodput, n),
                spread(cells[p].goodput, n));
        fprintf(g->json, "%s\n{\"workload\":\"%s\",\"load\":%g,\"slo\":%g,\"workers\":%d,\"policy\":\"%s\",\"attainment\":%.6f,\"attainment_spread\":%.6f,"
                "\"accuracy_served\":%.4f,\"goodput_accuracy\":%.4f,\"goodput_accuracy_spread\":%.4f}", g->first ? "" : ",", workload, load, slo,
                g->workers, g->policy[p], mean(cells[p].attainment, n), spread(cells[p].attainment, n), mean(cells[p].accuracy, n),
                mean(cells[p].goodput, n), spread(cells[p].goodput, n));
        g->first = false;
    }
    fprintf(g->md, "| *oracle%s* | | | %.2f ± %.2f |\n", g->exact ? "" : " (bound)", mean(oracle->goodput, n), spread(oracle->goodput, n));
    fprintf(g->json, ",\n{\"workload\":\"%s\",\"load\":%g,\"slo\":%g,\"workers\":%d,\"policy\":\"oracle\",\"exact\":%s,\"goodput_accuracy\":%.4f}", workload,
            load, slo, g->workers, g->exact ? "true" : "false", mean(oracle->goodput, n));
}

static gm_status run_grid(grid *g, gm_error *err) {
    static cell cells[POLICIES], oracle;
    double longest = (double)g->profile.subnet[g->profile.subnets - 1].p50_ns[g->profile.batches - 1];
    g->worst_rival = INFINITY;
    for (int w = 0; w < g->workloads; w++)
        for (int s = 0; s < SLOS; s++)
            for (int i = 0; i < LOADS; i++) {
                if (g->load > 0.0 && fabs(g->load - loads[i]) > 1e-9) continue;
                char where[160];
                for (int seed = 0; seed < g->seeds; seed++) {
                    gm_status status = run_seed(g, g->workload[w], loads[i], llround(slos[s] * longest), seed, cells, &oracle, err);
                    if (status == GM_OK && gm_interrupted()) status = gm_fail(err, GM_ERR_INTERRUPTED, "interrupted");
                    if (status != GM_OK) return status;
                }
                snprintf(where, sizeof where, "%s, load %.1f, SLO %.1f x", short_name(g->workload[w]), loads[i], slos[s]);
                write_cell(g, short_name(g->workload[w]), loads[i], slos[s], cells, &oracle);
                if (i == 1) judge(g, cells, &oracle, where);
                headlines(g, cells, where);
                fprintf(stderr, "%s\n", where);
            }
    return GM_OK;
}

static void conclude(grid *g) {
    fprintf(g->md, "\n## What follows\n\nAt load 0.7, over all workloads and both SLOs:\n\n");
    fprintf(g->md, "* gamut to the oracle (or its bound), largest gap: %.2f points (%s); above 1.0 in %d of %d cells.\n", g->worst_gap, g->gap_at,
            g->far, g->workloads * SLOS);
    fprintf(g->md, "* gamut less the best rival of each cell, smallest: %+.2f points, spread there %.2f (%s).\n", g->worst_rival, g->worst_spread, g->rival_at);
    fprintf(g->md, "* cells where the oracle attains 0.999 and SlackFit does not: %d of %d.\n", g->slackfit_short, g->workloads * SLOS);
    fprintf(g->md, "\nHeadlines, best setting over all loads (attainment of gamut above 0.99):\n\n* accuracy at equal attainment, against the best fixed model: %+.2f points (%s).\n", g->gain, g->gain_at);
    fprintf(g->md, "* attainment at equal accuracy, against a fixed model: %.2f times (%s).\n", g->ratio, g->ratio_at);
}

static gm_status open_all(grid *g, gm_error *err) {
    char path[600];
    gm_status status;
    uint64_t model;
    if (strcmp(g->name, "paper") == 0) {
        status = gm_profile_paper(1.0, false, &g->profile, err);
    } else {
        status = gm_profile_load(g->name, &g->profile, &model, err);
        if (status == GM_OK) status = gm_profile_regularise(&g->profile, err);
    }
    if (status == GM_OK) status = gm_latency_create(&g->profile, NULL, &g->latency, err);
    if (status == GM_OK) status = gm_folder_create(g->out, err);
    if (status != GM_OK) return status;
    snprintf(path, sizeof path, "%.580s/results.md", g->out);
    g->md = fopen(path, "w");
    snprintf(path, sizeof path, "%.580s/results.json", g->out);
    g->json = fopen(path, "w");
    if (g->md == NULL || g->json == NULL) return gm_fail(err, GM_ERR_IO, "%.200s: cannot write there", g->out);
    fprintf(g->md, "# SuperServe's grid: %s, %d worker%s\n\n%d seeds of %g s (recorded arrivals: whole); mean ± standard deviation. Load: part of what the smallest subnet serves at its "
            "largest batch. SLO: multiples of the largest subnet's longest run.\n", g->name, g->workers, g->workers == 1 ? "" : "s", g->seeds, g->seconds);
    fprintf(g->json, "[");
    g->first = true;
    return GM_OK;
}

int main(int argc, char **argv) {
    static grid g = {.name = "paper", .traces = "../shared/data/traces", .workers = 1, .seeds = 5, .first_seed = 1, .seconds = 3.0};
    gm_error err = {0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--profile") == 0) g.name = argv[i + 1];
        if (strcmp(argv[i], "--traces") == 0) g.traces = argv[i + 1];
        if (strcmp(argv[i], "--load") == 0) g.load = atof(argv[i + 1]);
        if (strcmp(argv[i], "--only") == 0) g.only = argv[i + 1];
        if (strcmp(argv[i], "--out") == 0) g.out = argv[i + 1];
        if (strcmp(argv[i], "--workers") == 0) g.workers = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--seeds") == 0) g.seeds = gm_min(gm_max(atoi(argv[i + 1]), 1), SEEDS);
        if (strcmp(argv[i], "--seed") == 0) g.first_seed = gm_max(atoi(argv[i + 1]), 0);
        if (strcmp(argv[i], "--seconds") == 0) g.seconds = atof(argv[i + 1]);
    }
    if (g.out == NULL || g.workers < 1 || argc % 2 == 0)
        return fprintf(stderr, "usage: superserve_grid [--profile FILE] [--traces FOLDER] [--workers N] [--seeds N] [--seed FIRST] [--seconds S] [--only TEXT] [--load L] --out FOLDER\n"), 2;
    gm_interrupt_install();
    gm_status status = open_all(&g, &err);
    if (status == GM_OK) {
        name_policies(&g);
        name_workloads(&g);
        status = run_grid(&g, &err);
    }
    if (status == GM_OK && isfinite(g.worst_rival)) conclude(&g); // load 0.7 was among them
    if (status != GM_OK) fprintf(stderr, "superserve_grid: %s\n", err.text);
    if (g.json != NULL) fprintf(g.json, "\n]\n");
    if (g.json != NULL && fclose(g.json) != 0) status = GM_ERR_IO;
    if (g.md != NULL && fclose(g.md) != 0) status = GM_ERR_IO;
    gm_latency_destroy(g.latency);
    gm_profile_fini(&g.profile);
    return status != GM_OK;
}
