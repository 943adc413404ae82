// SPDX-License-Identifier: Apache-2.0
// gamut simulate: policies on a trace, in virtual time, beside the best that any schedule could reach.
#include "cli.h"

#include <gamut/search.h>
#include <gamut/serve.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_POLICIES = 32, MOST_EACH = 8 };

typedef struct request { // what was asked for
    const char *profile, *trace, *policy, *fates, *intervals;
    double slo_ms, slo, load, rate, duration, margin, noise, dispatch_us, floor, kill_every, revive_after, drift;
    int workers, seeds, buckets, kills;
    bool correct, mean;
    uint64_t seed;
} request;
typedef struct total { // sums over seeds, then means
    double attainment, accuracy, goodput, p50, p99, p999, batch, sent, outcome[GM_OUTCOMES];
    double attainment_square, goodput_square;
} total;
typedef struct work {
    request ask;
    gm_profile profile;
    gm_latency *latency;
    double capacity, rate, cv2, seconds;
    int64_t slo_ns;
    char name[MOST_POLICIES][64];
    int policies;
    bool oracle, exact;
    total sum[MOST_POLICIES], best; // best: the oracle's
} work;

static gm_status open_profile(work *w, gm_error *err) {
    const char *name = w->ask.profile;
    bool full = strncmp(name, "paper-full", 10) == 0;
    size_t used = full ? 10 : 5;
    double scale = 1.0;
    if (strncmp(name, "paper", 5) == 0 && (name[used] == '\0' || name[used] == ':')) {
        if (name[used] == ':' && !gm__parse_number(name + used + 1, 0.001, 1000.0, &scale))
            return gm_fail(err, GM_ERR_ARGUMENT, "--profile %.60s: the scale is a number from 0.001 to 1000, e.g. paper:1.7", name);
        return gm_profile_paper(scale, full, &w->profile, err);
    }
    uint64_t model;
    gm_status status = gm_profile_load(name, &w->profile, &model, err);
    return status != GM_OK ? status : gm_profile_regularise(&w->profile, err);
}

static gm_status add_policy(work *w, const char *name, gm_error *err) {
    if (strcmp(name, "oracle") == 0) {
        w->oracle = true;
        return GM_OK;
    }
    if (w->policies == MOST_POLICIES) return gm_fail(err, GM_ERR_RANGE, "--policy: at most %d policies", MOST_POLICIES);
    gm_policy *check = NULL; // an unknown name is refused before anything runs
    gm_policy_settings quick = gm_policy_settings_default();
    quick.buckets = 1;
    gm_status status = gm_policy_create(name, w->latency, &quick, &check, err);
    gm_policy_destroy(check);
    if (status == GM_OK) snprintf(w->name[w->policies++], sizeof w->name[0], "%s", name);
    return status;
}

// Every policy, and as fixed models up to eight of the subnets, evenly spread.
static gm_status add_all(work *w, gm_error *err) {
    static const char *const names[] = {"gamut", "slackfit", "maxbatch", "maxacc", "infaas", "oracle"};
    gm_status status = GM_OK;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && status == GM_OK; i++) status = add_policy(w, names[i], err);
    int subnets = w->latency->subnets, each = gm_min(subnets, MOST_EACH);
    for (int i = 0; i < each && status == GM_OK; i++) {
        char name[64];
        int n = each > 1 ? i * (subnets - 1) / (each - 1) : 0;
        snprintf(name, sizeof name, "fixed:%llx", (unsigned long long)w->latency->id[n]);
        status = add_policy(w, name, err);
    }
    return status;
}

static gm_status add_policies(work *w, gm_error *err) {
    char list[512];
    if (strcmp(w->ask.policy, "all") == 0) return add_all(w, err);
    snprintf(list, sizeof list, "%s", w->ask.policy);
    gm_status status = GM_OK;
    char *rest = NULL;
    for (char *name = strtok_r(list, ",", &rest); name != NULL && status == GM_OK; name = strtok_r(NULL, ",", &rest))
        status = strcmp(name, "all") == 0 ? add_all(w, err) : add_policy(w, name, err);
    return status;
}

static void add_summary(total *t, const gm_load_summary *s) {
    t->sent += (double)s->sent;
    for (int i = 0; i < GM_OUTCOMES; i++) t->outcome[i] += (double)s->outcome[i];
    t->attainment += s->attainment;
    t->attainment_square += s->attainment * s->attainment;
    t->accuracy += s->accuracy_served;
    t->goodput += s->goodput_accuracy;
    t->goodput_square += s->goodput_accuracy * s->goodput_accuracy;
    t->p50 += s->p50_ms;
    t->p99 += s->p99_ms;
    t->p999 += s->p999_ms;
    t->batch += s->mean_batch;
}

static gm_status write_fates(const work *w, const gm_fate *fate, int count, gm_error *err) {
    gm_writer *out = NULL;
    char line[192];
    int n = snprintf(line, sizeof line, "arrival_us,deadline_us,answer_us,outcome,subnet,top1,batch\n");
    gm_status status = gm_writer_open(w->ask.fates, &out, err);
    if (status != GM_OK) return status;
    status = gm_writer_write(out, line, (size_t)n, err);
    for (int i = 0; i < count && status == GM_OK; i++) {
        const gm_fate *f = &fate[i];
        n = snprintf(line, sizeof line, "%.3f,%.3f,%.3f,%s,%llx,%g,%d\n", (double)f->arrival_ns * 1e-3, (double)f->deadline_ns * 1e-3,
                     (double)f->answer_ns * 1e-3, gm_outcome_name(f->outcome),
                     f->subnet < 0 ? 0ull : (unsigned long long)w->profile.subnet[f->subnet].id,
                     f->subnet < 0 ? 0.0 : w->profile.subnet[f->subnet].top1, f->batch);
        status = gm_writer_write(out, line, (size_t)n, err);
    }
    if (status == GM_OK) return gm_writer_commit(out, err);
    gm_writer_abort(out);
    return status;
}

static gm_status simulate(work *w, const gm_trace *t, uint64_t seed, gm_error *err) {
    gm_simulation_settings s = gm_simulation_settings_default();
    s.policy_settings.buckets = w->ask.buckets;
    s.latency = (gm_latency_settings){.margin = w->ask.margin, .mean = w->ask.mean};
    s.latency.overhead_ns = s.dispatch_ns = llround(w->ask.dispatch_us * 1e3);
    s.workers = w->ask.workers;
    s.slo_ns = w->slo_ns;
    s.noise = w->ask.noise;
    s.drift = w->ask.drift;
    s.correct_latency = w->ask.correct;
    s.kills = w->ask.kills;
    s.kill_every_s = w->ask.kill_every;
    s.revive_after_s = w->ask.revive_after;
    s.seed = seed;
    gm_status status = GM_OK;
    gm_fate *fate = gm_alloc((size_t)t->count, sizeof *fate);
    double *floor = gm_alloc((size_t)t->count, sizeof *floor);
    if (fate == NULL || floor == NULL) status = gm_fail(err, GM_ERR_MEMORY, "simulate: no memory for %d requests", t->count);
    for (int i = 0; status == GM_OK && i < t->count; i++) floor[i] = w->ask.floor;
    s.floor_each = w->ask.floor > 0.0 ? floor : NULL;
    for (int i = 0; i < w->policies && status == GM_OK; i++) {
        gm_load_summary summary;
        s.policy = w->name[i];
        status = gm_simulate(&w->profile, t, &s, fate, &summary, err);
        if (status == GM_OK) add_summary(&w->sum[i], &summary);
        if (status == GM_OK && i == 0 && w->ask.fates != NULL && seed == w->ask.seed) status = write_fates(w, fate, t->count, err);
    }
    gm_free(fate);
    gm_free(floor);
    return status;
}

static gm_status solve_oracle(work *w, const gm_trace *t, gm_error *err) {
    gm_oracle o;
    int64_t *deadline = gm_alloc((size_t)t->count, sizeof *deadline);
    if (deadline == NULL) return gm_fail(err, GM_ERR_MEMORY, "oracle: no memory for %d requests", t->count);
    for (int i = 0; i < t->count; i++) deadline[i] = t->at_ns[i] + w->slo_ns;
    gm_status status = gm_oracle_limit(w->latency, w->ask.workers, t->at_ns, deadline, t->count, NULL, &o, err);
    gm_free(deadline);
    if (status != GM_OK) return status;
    double goodput = o.value / t->count;
    w->best.goodput += goodput;
    w->best.goodput_square += goodput * goodput;
    w->best.attainment += (double)o.met / t->count;
    w->exact = w->exact && o.exact;
    return GM_OK;
}

static gm_status run_seeds(work *w, gm_error *err) {
    w->capacity = gm_profile_capacity(&w->profile) * w->ask.workers;
    w->exact = true;
    gm_status status = GM_OK;
    for (int i = 0; i < w->ask.seeds && status == GM_OK; i++) {
        gm_trace trace;
        gm_trace_settings s = {.duration_s = w->ask.duration, .rate = w->ask.load > 0.0 ? w->ask.load * w->capacity : w->ask.rate,
                               .seed = w->ask.seed + (uint64_t)i};
        status = gm_trace_create(w->ask.trace, &s, &trace, err);
        if (status != GM_OK) break;
        gm_trace_stats stats = gm_trace_measure(&trace);
        w->rate += stats.rate / w->ask.seeds;
        w->cv2 += stats.cv2 / w->ask.seeds;
        w->seconds += stats.seconds / w->ask.seeds;
        if (i == 0 && w->ask.intervals != NULL) status = gm_trace_write_intervals(&trace, w->ask.intervals, err);
        if (status == GM_OK) status = simulate(w, &trace, s.seed, err);
        if (status == GM_OK && w->oracle) status = solve_oracle(w, &trace, err);
        gm_trace_fini(&trace);
        if (status == GM_OK && gm_interrupted()) status = gm_fail(err, GM_ERR_INTERRUPTED, "simulate: interrupted");
    }
    return status;
}

// Standard deviation over the seeds.
static double spread(double sum, double square, int n) {
    if (n < 2) return 0.0;
    double mean = sum / n;
    return sqrt(fmax(square / n - mean * mean, 0.0) * n / (n - 1));
}

static json_t *policy_json(const work *w, int i) {
    const total *t = &w->sum[i];
    double n = w->ask.seeds;
    json_t *o = json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "policy", w->name[i], "sent", t->sent / n,
                          "met", t->outcome[GM_OUTCOME_MET] / n, "attainment", t->attainment / n, "attainment_spread",
                          spread(t->attainment, t->attainment_square, w->ask.seeds), "accuracy_served", t->accuracy / n,
                          "goodput_accuracy", t->goodput / n, "goodput_accuracy_spread",
                          spread(t->goodput, t->goodput_square, w->ask.seeds), "p50_ms", t->p50 / n, "p99_ms", t->p99 / n,
                          "p999_ms", t->p999 / n, "mean_batch", t->batch / n);
    for (int k = GM_OUTCOME_LATE; o != NULL && k < GM_OUTCOMES; k++)
        json_object_set_new(o, gm_outcome_name((gm_outcome)k), json_real(t->outcome[k] / n));
    return o;
}

static int print_json(const work *w) {
    json_t *list = json_array();
    for (int i = 0; i < w->policies; i++) json_array_append_new(list, policy_json(w, i));
    json_t *o = json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:i, s:o}", "profile", w->ask.profile, "trace", w->ask.trace,
                          "workers", w->ask.workers, "slo_ms", (double)w->slo_ns * 1e-6, "rate", w->rate, "load",
                          w->rate / w->capacity, "cv2", w->cv2, "seconds", w->seconds, "seeds", w->ask.seeds, "policies", list);
    if (o != NULL && w->oracle)
        json_object_set_new(o, "oracle",
                            json_pack("{s:f, s:f, s:f, s:b}", "goodput_accuracy", w->best.goodput / w->ask.seeds,
                                      "goodput_accuracy_spread", spread(w->best.goodput, w->best.goodput_square, w->ask.seeds),
                                      "attainment", w->best.attainment / w->ask.seeds, "exact", w->exact));
    return gm__json_print(o);
}

static int print_table(const work *w) {
    static const char *const titles[] = {"policy", "attainment", "+-", "accuracy", "goodput", "+-", "p50 ms", "p99 ms", "dropped", "batch"};
    gm__table *table = gm__table_create(10, titles, "lrrrrrrrrr");
    double n = w->ask.seeds;
    printf("%s on %s: %d worker%s, SLO %.2f ms, %.0f queries a second (load %.2f, CV2 of the gaps %.1f), %d seed%s of %.1f s\n\n",
           w->ask.trace, w->ask.profile, w->ask.workers, w->ask.workers == 1 ? "" : "s", (double)w->slo_ns * 1e-6, w->rate,
           w->rate / w->capacity, w->cv2, w->ask.seeds, w->ask.seeds == 1 ? "" : "s", w->seconds);
    for (int i = 0; i < w->policies; i++) {
        const total *t = &w->sum[i];
        gm__table_cell(table, "%s", w->name[i]);
        gm__table_cell(table, "%.4f", t->attainment / n);
        gm__table_cell(table, "%.4f", spread(t->attainment, t->attainment_square, w->ask.seeds));
        gm__table_cell(table, "%.2f", t->accuracy / n);
        gm__table_cell(table, "%.2f", t->goodput / n);
        gm__table_cell(table, "%.2f", spread(t->goodput, t->goodput_square, w->ask.seeds));
        gm__table_cell(table, "%.2f", t->p50 / n);
        gm__table_cell(table, "%.2f", t->p99 / n);
        gm__table_cell(table, "%.4f", t->outcome[GM_OUTCOME_DROPPED] / fmax(t->sent, 1.0));
        gm__table_cell(table, "%.1f", t->batch / n);
    }
    int status = gm__table_print(table);
    if (w->oracle)
        printf("\noracle: at most %.2f of goodput accuracy (%s)\n", w->best.goodput / n,
               w->exact ? "the optimum, by dynamic programming" : "an upper bound; no schedule may reach it");
    return status;
}

static int go(work *w, bool json) {
    gm_error err = {0};
    gm_latency_settings plan = {.margin = 1.0, .mean = true}; // what runs really take: for capacity, SLO and the oracle
    plan.overhead_ns = llround(w->ask.dispatch_us * 1e3);
    int status;
    if (open_profile(w, &err) != GM_OK || gm_latency_create(&w->profile, &plan, &w->latency, &err) != GM_OK) {
        status = gm__failed(&err);
    } else {
        int last = w->profile.batches - 1, most = w->profile.subnets - 1;
        double longest = (double)w->profile.subnet[most].p50_ns[last];
        w->slo_ns = llround(w->ask.slo_ms > 0.0 ? w->ask.slo_ms * 1e6 : w->ask.slo * longest);
        status = add_policies(w, &err) != GM_OK || run_seeds(w, &err) != GM_OK ? gm__failed(&err)
                 : json                                                       ? print_json(w)
                                                                              : print_table(w);
    }
    gm_latency_destroy(w->latency);
    gm_profile_fini(&w->profile);
    return status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    work *w = gm_alloc(1, sizeof *w);
    if (w == NULL) return gm__failed(&(gm_error){.status = GM_ERR_MEMORY});
    request *a = &w->ask;
    *a = (request){.profile = "paper", .policy = "all", .slo = 1.2, .margin = 1.0, .workers = 1, .seeds = 5, .drift = 1.0, .kill_every = 1.0};
    const gm__option options[] = {
        {"profile", "P", "a file of gamut profile, or paper[:SCALE], paper-full[:SCALE] (default paper)", GM__OPTION_TEXT, &a->profile, 0, 0},
        {"trace", "T", "a file, poisson:RATE, bursty:BASE,VARIANT,CV2, ramp:FROM,TO,ACCEL,CV2, azure-functions:FILE", GM__OPTION_TEXT, &a->trace, 0, 0},
        {"policy", "A,B", "gamut, slackfit, maxbatch, maxacc, infaas, fixed:S, clipper:S, oracle, all (default)", GM__OPTION_TEXT, &a->policy, 0, 0},
        {"workers", "N", "workers (default 1)", GM__OPTION_INT, &a->workers, 1, 1024},
        {"slo-ms", "X", "deadline after arrival", GM__OPTION_NUMBER, &a->slo_ms, 0.001, 1e7},
        {"slo", "X", "the same, in longest runs of the most accurate subnet (default 1.2)", GM__OPTION_NUMBER, &a->slo, 0.01, 1e6},
        {"load", "L", "scale the trace to this part of what the smallest subnet can serve", GM__OPTION_NUMBER, &a->load, 0.001, 100},
        {"rate", "R", "scale the trace to this mean, queries a second", GM__OPTION_NUMBER, &a->rate, 0.001, 1e9},
        {"duration", "S", "seconds (default: 10 for generators, whole files)", GM__OPTION_NUMBER, &a->duration, 0.001, 1e7},
        {"seeds", "N", "runs with other random draws; mean and spread are shown (default 5)", GM__OPTION_INT, &a->seeds, 1, 1000},
        {"floor", "A", "least accuracy of every request, percent", GM__OPTION_NUMBER, &a->floor, 0, 100},
        {"buckets", "N", "slackfit's buckets (default: chosen automatically)", GM__OPTION_INT, &a->buckets, 1, 512},
        {"margin", "M", "part of the slack that a run may take (default 1)", GM__OPTION_NUMBER, &a->margin, 0.01, 1},
        {"noise", "S", "runs vary by this, lognormal (default 0)", GM__OPTION_NUMBER, &a->noise, 0, 2},
        {"drift", "D", "runs take so many times what the profile says (default 1)", GM__OPTION_NUMBER, &a->drift, 0.01, 100},
        {"correct", NULL, "plan with what runs were observed to take, as the server does", GM__OPTION_FLAG, &a->correct, 0, 0},
        {"dispatch-us", "X", "cost of dispatch, a batch (default 0)", GM__OPTION_NUMBER, &a->dispatch_us, 0, 1e6},
        {"kills", "N", "workers that die, one every --kill-every seconds (default 1)", GM__OPTION_INT, &a->kills, 0, 1024},
        {"kill-every", "S", "seconds", GM__OPTION_NUMBER, &a->kill_every, 0.001, 1e6},
        {"revive-after", "S", "a dead worker comes back (default: never)", GM__OPTION_NUMBER, &a->revive_after, 0, 1e6},
        {"fates", "FILE", "what became of each request of the first policy and seed, as CSV", GM__OPTION_TEXT, &a->fates, 0, 0},
        {"intervals", "FILE", "the trace as gaps in microseconds, one a line", GM__OPTION_TEXT, &a->intervals, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, options, 0, 0, argc, argv, &args);
    if (status == GM__EXIT_NONE) {
        a->seed = args.seed;
        if (a->trace == NULL)
            status = gm__usage_error(self, "--trace is missing, e.g. --trace bursty:1500,4900,4 --load 0.7");
        else if (a->load > 0.0 && a->rate > 0.0)
            status = gm__usage_error(self, "--load and --rate both say how much; give one");
        else
            status = go(w, args.json);
    }
    gm_free(w);
    return status;
}

const gm__command gm__cmd_simulate = {
    .name = "simulate",
    .arguments = "--trace T [--profile P] [--policy A,B|all] [--workers N] [--load L] [--slo-ms X]",
    .summary = "serving policies on a load, in virtual time",
    .detail = "Plays a load against the router of gamut serve with made-up workers that take what the profile says. Shows how "
              "many\ndeadlines each policy meets (attainment), how accurate its answers are (over those met), both in one number "
              "(goodput:\nsum of the accuracies of those met over all sent), and the most that any schedule could reach.",
    .example = "  gamut simulate --trace bursty:1500,4900,4 --load 0.7\n"
               "  gamut simulate --profile profile.json --trace AzureLLMInferenceTrace_conv.csv --load 0.7 --workers 2 "
               "--policy gamut,slackfit,oracle --json",
    .run = run,
};
