// SPDX-License-Identifier: Apache-2.0
// The search for the configuration of a checkpoint: the cheapest, in bits that the coder will really spend, whose decoded
// weights keep every figure within the bound.
#include "checkpoint/quant_cube.h"
#include "checkpoint/quant_private.h"

#include <math.h>
#include <stdlib.h>

static const int bins_of[] = {5, 6, 8, 10, 12, 15, 20, 28, 40, 62, 90, 126}, embedding_of[] = {16, 32};
static const float prune_of[] = {0.5f, 0.4f, 0.3f, 0.2f, 0.1f, 0}, protect_of[] = {0.0005f, 0.005f, 0.01f, 0.05f, 0.2f};
enum { TRIALS = 512, ATTEMPTS = 6, FAR = 16, BINS = sizeof bins_of / sizeof *bins_of };
// What loss rises by goes with the squared error of the weights, but not closely: at the next checkpoint the same configuration
// may cost four times as much, or nothing. So of the bound, ...
static const double less = 0.12;      // by this much less is aimed at after each attempt that failed
static const double spare = 0.6;      // this much is aimed at when there is a configuration that will do
static const double believed = 0.25;  // a measured rise below this is taken for this
// And of the bits: what another configuration must get by with; what is allowed where the error could be twice as large, to one whose
// error is larger by so much: the change is paid for once, and the coarser one saves ever after.
static const double worthwhile = 0.85, in_the_long_run = 1.1, coarser = 1.25;
// The error may be `distortion` times what training moved the weights by. Where that is less than the last time (checkpoints are not evenly
// spaced), it counts as if it were as much, but not as more than so many times its own; and what is coarser must do for both: bins that go back and
// forth cost more than they save.
static const double soon = 4;
static const double room = 0.8; // of that bound, what another configuration may take, so that the next checkpoint can stay with it
static const double floor_of_error = 0.00015; // where training hardly moves any more, no finer is asked for than some 110 bins

gm__quant_search_settings gm__quant_search_settings_default(void) {
    return (gm__quant_search_settings){.max_drop = 0.05, .distance = 2, .method = GM__QUANT_PREDICTED};
}

typedef struct job {
    const gm__quant_tensor *tensor;
    int tensors;
    gm__quant_settings s;
    const gm__quant_state *previous;
    const gm__quant_search_settings *search;
    const gm__quant_quality *quality;
    gm__quant_search_result *out;
    gm__scores scores;
    float *values; // of the largest tensor
    bool by_sensitivity;
    int embedding_bins;
    double may_rise[GM__QUANT_METRICS]; // a figure, relatively
    double aim_error, coarse_error;     // of max_error, what another configuration may take; a coarser one
    bool fresh; // every weight goes to its nearest centre: less error, more bits
    struct {
        double bits, wrong; // bits a weight (0: not known), squared error of the weights
    } known[2][2][2][GM__CUBE_CELLS]; // [metric][embedding][fresh]
} job;

static const gm__cell finest = {{BINS - 1, 5, 4}};

static gm__quant_config config_of(const job *j, const gm__cell *c) {
    return (gm__quant_config){.bins = bins_of[c->at[0]], .embedding_bins = j->embedding_bins, .prune = prune_of[c->at[1]],
                              .protect = protect_of[c->at[2]], .by_sensitivity = j->by_sensitivity};
}

// bits and error: of the state.
static gm_status quantize(job *j, const gm__quant_config *c, gm__quant_state **state, double *bits, double *wrong,
                          gm_error *err) {
    gm__counts *counts = NULL;
    gm__quant_settings s = j->s;
    s.config = *c;
    if (j->fresh) s.stick = 0;
    gm_status status = gm__quant_assign(j->tensor, j->tensors, &j->scores, &s, j->previous, state, err);
    if (status != GM_OK) return status;
    status = gm__quant_count(*state, j->previous, s.parallel, &counts, err);
    if (status == GM_OK) *bits = fmax(gm__quant_bits(*state, j->previous, counts), 1e-9);
    if (status == GM_OK) *wrong = gm__quant_error(j->tensor, *state);
    gm_free(counts);
    if (status == GM_OK) return GM_OK;
    gm__quant_state_destroy(*state);
    *state = NULL;
    return status;
}

static gm_status cost_of(job *j, const gm__cell *c, double *bits, double *wrong, gm_error *err) {
    int embedding = j->embedding_bins == embedding_of[1], cell = gm__cell_number(c);
    double *known = &j->known[j->by_sensitivity][embedding][j->fresh][cell].bits;
    double *error = &j->known[j->by_sensitivity][embedding][j->fresh][cell].wrong;
    if (*known == 0) {
        gm__quant_config config = config_of(j, c);
        gm__quant_state *state = NULL;
        gm_status status = quantize(j, &config, &state, known, error, err);
        if (status != GM_OK) return status;
        gm__quant_state_destroy(state);
    }
    *bits = *known;
    *wrong = *error;
    return GM_OK;
}

static gm_status cost(void *self, const gm__cell *c, double *bits, gm_error *err) {
    double wrong;
    return cost_of(self, c, bits, &wrong, err);
}

// The worst relative rise of a figure, and the worst against what it may be; figures that are not finite are no good at all.
static void judge(const job *j, gm__quant_trial *t) {
    t->drop = t->strain = -INFINITY;
    for (int m = 0; m < j->quality->metrics; m++) {
        double base = j->out->hint.base[m], size = fmax(fabs(base), 1e-12);
        double rise = isfinite(t->figure[m]) ? (t->figure[m] - base) / size : INFINITY;
        t->drop = fmax(t->drop, rise);
        t->strain = fmax(t->strain, rise / fmax(j->may_rise[m], 1e-12));
    }
    t->feasible = t->strain <= 1 && t->error <= j->out->max_error;
}

// Whether the cell was measured already, in the way of now.
static gm__quant_trial *trial_of(const job *j, const gm__cell *cell) {
    gm__quant_config a = config_of(j, cell);
    for (int i = 0; i < j->out->trials; i++) {
        gm__quant_trial *t = &j->out->trial[i];
        const gm__quant_config *b = &t->config;
        if (a.bins == b->bins && a.embedding_bins == b->embedding_bins && a.prune == b->prune && a.protect == b->protect &&
            a.by_sensitivity == b->by_sensitivity && t->fresh == j->fresh)
            return t;
    }
    return NULL;
}

// The cheapest feasible trial is the result.
static void consider(job *j, const gm__quant_trial *t) {
    if (!t->feasible || (j->out->found && t->bits >= j->out->chosen.bits)) return;
    j->out->found = true;
    j->out->chosen = *t;
}

static bool spent(const job *j) {
    int most = j->search->most_trials;
    return j->out->trials >= TRIALS || (most > 0 && j->out->trials >= most);
}

static gm_status evaluate(job *j, const gm__cell *c, gm__quant_trial **trial, gm_error *err) {
    gm__quant_state *state = NULL;
    gm__quant_trial t = {.config = config_of(j, c), .fresh = j->fresh};
    gm_status status = quantize(j, &t.config, &state, &t.bits, &t.error, err);
    if (status != GM_OK) return status;
    for (int i = 0; i < j->tensors && status == GM_OK; i++) {
        gm__quant_values(state, i, j->values);
        status = j->quality->put(j->quality->self, i, j->values, err);
    }
    gm__quant_state_destroy(state);
    if (status == GM_OK) status = j->quality->measure(j->quality->self, t.figure, err);
    if (status != GM_OK) return status;
    judge(j, &t);
    *trial = &j->out->trial[j->out->trials++];
    **trial = t;
    consider(j, *trial);
    return GM_OK;
}

static gm_status feasible(void *self, const gm__cell *c, bool *yes, bool *stop, gm_error *err) {
    job *j = self;
    gm__quant_trial *trial = trial_of(j, c); // predicted, and tried
    if (!trial) {
        if ((*stop = spent(j))) return GM_OK;
        gm_status status = evaluate(j, c, &trial, err);
        if (status != GM_OK) return status;
    }
    *yes = trial->feasible;
    return GM_OK;
}

static bool has_embedding(const job *j) {
    for (int i = 0; i < j->tensors; i++)
        if (j->tensor[i].shape.kind == GM__QUANT_EMBEDDING) return true;
    return false;
}

static bool has_importance(const job *j) {
    for (int i = 0; i < j->tensors; i++)
        if (j->tensor[i].importance && j->tensor[i].source != GM__QUANT_NONE) return true;
    return false;
}

// The whole cube, once for each metric and number of embedding bins.
static gm_status whole_cube(job *j, gm_error *err) {
    gm__cube_questions q = {cost, feasible, j};
    gm_status status = GM_OK;
    double bits = j->out->found ? j->out->chosen.bits : INFINITY;
    int embeddings = has_embedding(j) ? 2 : 1, metrics = has_importance(j) ? 2 : 1;
    j->out->guided = true;
    j->fresh = false;
    for (int e = 0; e < embeddings; e++) {
        for (int m = 0; m < metrics && status == GM_OK; m++) {
            gm__cell cell;
            bool found;
            j->embedding_bins = embedding_of[e];
            j->by_sensitivity = m == 1;
            if (j->search->method == GM__QUANT_BRUTE) status = gm__cube_brute(&q, &cell, &bits, &found, err);
            else status = gm__cube_guided(&q, &cell, &bits, &found, err);
        }
    }
    return status;
}

static int nearest_int(const int *list, int n, int v) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (abs(list[i] - v) < abs(list[best] - v)) best = i;
    return best;
}

static int nearest_float(const float *list, int n, float v) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (fabsf(list[i] - v) < fabsf(list[best] - v)) best = i;
    return best;
}

// A twentieth of the weights protected, or a fifth, is precise at once, for few bits more in a difference, and costs bits ever after: for
// fine codebooks only, when more bins no longer help.
static bool sensible(const gm__cell *c) { return c->at[2] <= 2 || c->at[0] >= BINS - 2; }

// Which cells are worth counting the bits of.
typedef struct wish {
    double fewest, most; // squared error of the weights
    double least;        // bits, below
    bool fresh;          // also with weights at their nearest centres
} wish;

static bool nowhere_finer(const gm__cell *a, const gm__cell *b) { // of two that prune as much
    return a->at[0] <= b->at[0] && a->at[2] <= b->at[2];
}

// What is nowhere finer than a cell that is too wrong is too wrong as well; what is nowhere coarser than one that takes too many bits takes too
// many, if both lie beyond `from`: nearer to it a change costs less. (Pruning has no such order: it may take error away.)
static bool hopeless(const job *j, const gm__cell *c, const gm__cell *from, double most, double least) {
    int embedding = j->embedding_bins == embedding_of[1];
    for (int n = 0; n < GM__CUBE_CELLS; n++) {
        double bits = j->known[j->by_sensitivity][embedding][j->fresh][n].bits, wrong = j->known[j->by_sensitivity][embedding][j->fresh][n].wrong;
        if (bits == 0) continue;
        gm__cell k = gm__cell_at(n);
        if (k.at[1] != c->at[1]) continue;
        if (wrong > most && nowhere_finer(c, &k)) return true;
        if (bits >= least && nowhere_finer(&k, c) && (!j->previous || nowhere_finer(from, &k))) return true;
    }
    return false;
}

// The cheapest cell within `distance` of `from` that was not measured yet and is as wished for. *found: there is one; it is to be measured as
// j->fresh then says.
static gm_status promising(job *j, const gm__cell *from, int distance, const wish *w, gm__cell *best, bool *found, gm_error *err) {
    enum { EACH = 2 * GM__CUBE_CELLS };
    bool best_fresh = false, fresh = w->fresh && j->previous && j->s.stick > 0 && !j->s.dither; // else it is so already
    double least = w->least, bits, wrong;
    gm_status status = GM_OK;
    *found = false;
    for (int i = 0; i < (fresh ? 2 : 1) * gm__cube_size[1] && distance > j->search->distance; i++) { // when not even the finest do, that is known at once
        gm__cell c = {{finest.at[0], i % gm__cube_size[1], finest.at[2]}};
        j->fresh = i >= gm__cube_size[1];
        if ((status = cost_of(j, &c, &bits, &wrong, err)) != GM_OK) return status;
    }
    for (int n = 0; n < (distance + 1) * EACH; n++) { // the nearest first
        gm__cell c = gm__cell_at(n % GM__CUBE_CELLS);
        int steps = 0;
        for (int a = 0; a < GM__CUBE_AXES; a++) steps += abs(c.at[a] - from->at[a]);
        j->fresh = n % EACH >= GM__CUBE_CELLS;
        if (steps != n / EACH || (j->fresh && !fresh) || !sensible(&c) || trial_of(j, &c) || hopeless(j, &c, from, w->most, least)) continue;
        if ((status = cost_of(j, &c, &bits, &wrong, err)) != GM_OK) return status;
        if (bits >= least || wrong > w->most || wrong < w->fewest) continue;
        least = bits;
        best_fresh = j->fresh;
        *best = c;
        *found = true;
    }
    j->fresh = best_fresh;
    return GM_OK;
}

// What to measure first: the last configuration; or what is clearly cheaper, or will be, if it promises to keep the bounds, too; or, where
// the last one's error is beyond its bound, which is known without measuring, the cheapest whose error is not.
static gm_status first_guess(job *j, const gm__quant_state *last, const gm__cell *from, gm__cell *next, gm_error *err) {
    double bits, wrong, most;
    *next = *from;
    gm_status status = cost_of(j, from, &bits, &wrong, err);
    bool good = wrong <= j->out->max_error, far_off = isfinite(j->coarse_error) && 2 * wrong < j->coarse_error, found = false;
    double least = !good ? INFINITY : far_off ? in_the_long_run * bits : worthwhile * bits;
    most = good ? j->coarse_error : j->aim_error;
    if (good) most = fmin(most, wrong * fmax(spare / fmax(last->hint.strain, believed), 1));
    wish want = {.fewest = far_off ? coarser * wrong : 0, .most = most, .least = least, .fresh = !good};
    for (int steps = j->search->distance; status == GM_OK && !found && steps <= (good ? j->search->distance : FAR); steps *= 2)
        status = promising(j, from, steps, &want, next, &found, err);
    return status;
}

// From the last configuration, or one in the middle, to what promises to be good enough; or, when that fails, to the whole cube
// the first time and to the finest after that, whatever its error. The usual checkpoint takes one measurement, and one of the
// weights as they are.
static gm_status predicted(job *j, const gm__quant_state *last, gm_error *err) {
    static const gm__cell middle = {{4, 4, 0}};
    gm__cell from = middle, next = middle;
    double slopes = 0;
    bool more = true;
    gm_status status = GM_OK;
    j->embedding_bins = embedding_of[0];
    if (last) {
        const gm__quant_config *c = &last->config;
        from = (gm__cell){{nearest_int(bins_of, BINS, c->bins), nearest_float(prune_of, 6, c->prune),
                           nearest_float(protect_of, sizeof protect_of / sizeof *protect_of, c->protect)}};
        j->embedding_bins = embedding_of[nearest_int(embedding_of, 2, c->embedding_bins)];
        j->by_sensitivity = c->by_sensitivity && has_importance(j);
        if ((status = first_guess(j, last, &from, &next, err)) != GM_OK) return status;
    }
    for (int tried = 1; tried <= ATTEMPTS && more && !spent(j); tried++) {
        gm__quant_trial *trial;
        status = evaluate(j, &next, &trial, err);
        if (status != GM_OK || (trial->feasible && last)) return status;
        slopes += fmax(trial->strain, believed) / fmax(trial->error, 1e-12);
        double aim = (j->out->found ? spare : 1 - less * (tried - 1)) * tried / slopes;
        wish want = {.most = fmin(aim, j->aim_error), .least = j->out->found ? j->out->chosen.bits * worthwhile : INFINITY, .fresh = true};
        more = false;
        for (int steps = last ? j->search->distance : FAR; status == GM_OK && !more && steps <= FAR; steps *= 2)
            status = promising(j, &from, steps, &want, &next, &more, err);
        if (status != GM_OK) return status;
    }
    if (j->out->found || spent(j)) return GM_OK;
    if (!last) return whole_cube(j, err); // once in a run it may cost as much
    gm__quant_trial *trial; // none of the others if not the finest
    j->fresh = true;
    j->out->max_error = INFINITY;
    return trial_of(j, &finest) ? GM_OK : evaluate(j, &finest, &trial, err);
}

static gm_status make_room(job *j, gm_error *err) {
    size_t most = 1;
    for (int i = 0; i < j->tensors; i++) most = most > j->tensor[i].shape.count ? most : j->tensor[i].shape.count;
    j->values = gm_alloc(most, sizeof *j->values);
    return j->values ? GM_OK : gm_fail(err, GM_ERR_MEMORY, "no memory for a tensor of %zu weights to measure", most);
}

static gm_status base_figures(job *j, gm_error *err) {
    gm_status status = GM_OK;
    for (int i = 0; i < j->tensors && status == GM_OK; i++)
        status = j->quality->put(j->quality->self, i, j->tensor[i].weights, err);
    if (status == GM_OK) status = j->quality->measure(j->quality->self, j->out->hint.base, err);
    for (int m = 0; m < j->quality->metrics && status == GM_OK; m++)
        if (!isfinite(j->out->hint.base[m]))
            status = gm_fail(err, GM_ERR_NUMERIC, "figure %d of the weights themselves is not finite: save without loss", m);
    return status;
}

// What follows from the last checkpoint: how far figures may rise and weights may be wrong.
static void set_bounds(job *j, const gm__quant_state *last) {
    const gm__quant_hint none = {0}, *before = last ? &last->hint : &none;
    gm__quant_hint *now = &j->out->hint;
    for (int m = 0; m < j->quality->metrics; m++) {
        double fell = before->base[m] != 0 ? (before->base[m] - now->base[m]) / fmax(fabs(now->base[m]), 1e-12) : 0;
        j->may_rise[m] = fmax(j->search->max_drop, fell / 2);
    }
    j->out->max_error = j->aim_error = j->coarse_error = INFINITY;
    if (!last || gm__quant_shapes(&j->tensor->shape, sizeof *j->tensor, j->tensors) != last->shapes) return; // of other tensors
    now->moved = fmax(gm__quant_error(j->tensor, last) - (j->search->restored ? 0 : last->error), 0);
    if (j->search->distortion <= 0) return;
    double steady = fmax(fmin(before->moved, soon * now->moved), now->moved);
    j->out->max_error = fmax(j->search->distortion * steady, floor_of_error);
    j->aim_error = room * j->out->max_error;
    j->coarse_error = before->moved > 0 ? room * fmax(j->search->distortion * fmin(before->moved, now->moved), floor_of_error) : j->aim_error;
}

gm_status gm__quant_search(const gm__quant_tensor *tensor, int tensors, const gm__quant_settings *s,
                           const gm__quant_state *previous, const gm__quant_state *last,
                           const gm__quant_search_settings *search, const gm__quant_quality *quality,
                           gm__quant_search_result *out, gm_error *err) {
    *out = (gm__quant_search_result){0};
    if (quality->metrics < 1 || quality->metrics > GM__QUANT_METRICS || !(search->max_drop >= 0) || search->distance < 0)
        return gm_fail(err, GM_ERR_RANGE, "search: %d figures (1 to %d), max_drop %g, distance %d", quality->metrics,
                       GM__QUANT_METRICS, search->max_drop, search->distance);
    job *j = gm_alloc(1, sizeof *j);
    if (!j) return gm_fail(err, GM_ERR_MEMORY, "no memory to search");
    *j = (job){.tensor = tensor, .tensors = tensors, .s = *s, .previous = previous, .search = search, .quality = quality,
               .out = out};
    gm_status status = gm__scores_init(&j->scores, tensor, tensors, s->parallel, err);
    if (status == GM_OK) status = make_room(j, err);
    if (status == GM_OK) status = base_figures(j, err);
    if (status == GM_OK) set_bounds(j, last);
    if (status == GM_OK && search->method == GM__QUANT_PREDICTED) status = predicted(j, last, err);
    else if (status == GM_OK) status = whole_cube(j, err);
    if (out->found) out->hint.strain = out->chosen.strain;
    gm__scores_fini(&j->scores);
    gm_free(j->values);
    gm_free(j);
    return status;
}
