// SPDX-License-Identifier: Apache-2.0
// Evolution under a constraint, as Once-for-all searches (specs: training 2.15), with bounds on every rejection loop.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search/evolve.h"

gm_evolution_settings gm_evolution_settings_default(void) {
    return (gm_evolution_settings){.population = 100, .iterations = 500, .mutation = 0.1, .mutation_resolution = 0.5,
                                   .parents = 0.25, .mutated = 0.5, .tries = 100, .seed = 1};
}

typedef struct evolution {
    const gm_evolution_problem *problem;
    const gm_evolution_settings *s;
    double max_cost;
    gm_candidate *member; // [capacity]: parents first, children behind them
    gm_choice *choice;    // [capacity], for the calls of values
    double *value;
    int count, capacity;
    gm_rng rng;
} evolution;

static gm_status cost_of(evolution *e, gm_candidate *c, gm_error *err) {
    return e->problem->cost(e->problem->self, &c->choice, &c->cost, err);
}

static gm_choice mutate(evolution *e, const gm_choice *parent) {
    const gm_space *space = e->problem->space;
    gm_choice c = gm_choice_mutate(space, parent, e->s->mutation, &e->rng);
    for (int k = 0; k < space->knobs; k++) {
        if (strcmp(space->group[space->knob[k].group].kind, "resolution") != 0) continue;
        bool redraw = (double)gm_rng_uniform(&e->rng) < e->s->mutation_resolution;
        uint8_t value = (uint8_t)gm_rng_below(&e->rng, space->knob[k].count);
        if (redraw) c.index[k] = value;
    }
    return gm_choice_canonical(space, c);
}

typedef enum birth { BIRTH_RANDOM, BIRTH_MUTATION, BIRTH_CROSSOVER } birth;

static gm_choice draw(evolution *e, birth how, int parents) {
    const gm_space *space = e->problem->space;
    if (how == BIRTH_RANDOM) return gm_choice_random(space, &e->rng);
    const gm_choice *a = &e->member[gm_rng_below(&e->rng, (uint32_t)parents)].choice;
    if (how == BIRTH_MUTATION) return mutate(e, a);
    const gm_choice *b = &e->member[gm_rng_below(&e->rng, (uint32_t)parents)].choice;
    return gm_choice_crossover(space, a, b, &e->rng);
}

// Draws until the constraint holds. What stays too expensive is crossed with the smallest subnet until it is not: that
// ends at the smallest one, which is known to be affordable.
static gm_status bear(evolution *e, birth how, int parents, gm_error *err) {
    enum { PULLS = 64 };
    const gm_space *space = e->problem->space;
    gm_choice least = gm_choice_min(space);
    gm_candidate c = {0};
    for (int i = 0; i < e->s->tries + PULLS; i++) {
        c.choice = i < e->s->tries ? draw(e, how, parents) : gm_choice_crossover(space, &c.choice, &least, &e->rng);
        gm_status status = cost_of(e, &c, err);
        if (status) return status;
        if (c.cost <= e->max_cost) break;
    }
    if (!(c.cost <= e->max_cost)) {
        c.choice = least;
        gm_status status = cost_of(e, &c, err);
        if (status) return status;
    }
    e->member[e->count++] = c;
    return GM_OK;
}

static gm_status judge(evolution *e, int first, gm_error *err) {
    for (int i = first; i < e->count; i++) e->choice[i] = e->member[i].choice;
    gm_status status = e->problem->values(e->problem->self, e->choice + first, e->count - first, e->value, err);
    for (int i = first; i < e->count && !status; i++) e->member[i].value = e->value[i - first];
    return status;
}

static int by_value(const void *a, const void *b) {
    const gm_candidate *x = a, *y = b;
    if (x->value != y->value) return x->value > y->value ? -1 : 1;
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    return memcmp(&x->choice, &y->choice, sizeof x->choice);
}

// Best first, equal choices once. NaN would order nothing: it counts as worst.
static void rank(evolution *e) {
    for (int i = 0; i < e->count; i++)
        if (isnan(e->member[i].value)) e->member[i].value = -INFINITY;
    qsort(e->member, (size_t)e->count, sizeof *e->member, by_value);
    int kept = 0;
    for (int i = 0; i < e->count; i++) {
        bool twice = kept > 0 && memcmp(&e->member[kept - 1].choice, &e->member[i].choice, sizeof(gm_choice)) == 0;
        if (!twice) e->member[kept++] = e->member[i];
    }
    e->count = kept;
}

gm_status gm__evolve_check(const gm_evolution_problem *problem, double max_cost, double *least, gm_error *err) {
    gm_choice smallest = gm_choice_min(problem->space);
    gm_status status = problem->cost(problem->self, &smallest, least, err);
    if (status || *least <= max_cost) return status;
    return gm_fail(err, GM_ERR_RANGE, "no subnet meets the constraint of %.6g %s: the smallest one costs %.6g %s", max_cost,
                   problem->unit, *least, problem->unit);
}

static gm_status begin(evolution *e, const gm_candidate *first, int firsts, gm_error *err) {
    gm_status status = GM_OK;
    for (int i = 0; i < firsts && e->count < e->s->population && !status; i++) {
        e->member[e->count] = first[i];
        e->member[e->count].choice = gm_choice_canonical(e->problem->space, first[i].choice);
        status = cost_of(e, &e->member[e->count], err);
        if (!status && e->member[e->count].cost <= e->max_cost) e->count++;
    }
    while (e->count < e->s->population && !status) status = bear(e, BIRTH_RANDOM, 0, err);
    if (!status) status = judge(e, 0, err);
    if (!status) rank(e);
    return status;
}

static gm_status generation(evolution *e, gm_error *err) {
    const gm_evolution_settings *s = e->s;
    int parents = gm_max(1, gm_min(e->count, (int)(s->parents * s->population)));
    int mutated = (int)(s->mutated * s->population);
    e->count = parents; // elitist: parents survive
    gm_status status = GM_OK;
    for (int i = 0; i < s->population && !status; i++)
        status = bear(e, i < mutated ? BIRTH_MUTATION : BIRTH_CROSSOVER, parents, err);
    if (!status) status = judge(e, parents, err);
    if (!status) rank(e);
    if (e->count > s->population) e->count = s->population;
    return status;
}

gm_status gm_evolve(const gm_evolution_problem *problem, const gm_evolution_settings *s, double max_cost,
                    const gm_candidate *first, int firsts, gm_candidate *best, int most, int *count, gm_error *err) {
    *count = 0;
    if (s->population < 1 || s->population > 1000000 || s->iterations < 0 || s->tries < 1 || !(s->parents > 0 && s->parents <= 1) ||
        !(s->mutated >= 0 && s->mutated <= 1))
        return gm_fail(err, GM_ERR_ARGUMENT, "evolution: a population of %d, %d iterations, %g parents, %g mutated",
                       s->population, s->iterations, s->parents, s->mutated);
    evolution e = {.problem = problem, .s = s, .max_cost = max_cost, .capacity = 2 * s->population,
                   .rng = gm_rng_keyed(s->seed, 0, 0, GM_RNG_SEARCH)};
    e.member = gm_alloc((size_t)e.capacity, sizeof *e.member);
    e.choice = gm_alloc((size_t)e.capacity, sizeof *e.choice);
    e.value = gm_alloc((size_t)e.capacity, sizeof *e.value);
    gm_status status = GM_OK;
    if (!e.member || !e.choice || !e.value) status = gm_fail(err, GM_ERR_MEMORY, "no memory for a population of %d", s->population);
    double least;
    if (!status) status = gm__evolve_check(problem, max_cost, &least, err);
    if (!status) status = begin(&e, first, firsts, err);
    for (int i = 0; i < s->iterations && !status; i++) {
        if (gm_interrupted()) status = gm_fail(err, GM_ERR_INTERRUPTED, "interrupted in iteration %d of the evolution", i);
        else status = generation(&e, err);
    }
    if (!status) {
        *count = gm_min(most, e.count);
        memcpy(best, e.member, (size_t)*count * sizeof *best);
    }
    gm_free(e.member);
    gm_free(e.choice);
    gm_free(e.value);
    return status;
}
