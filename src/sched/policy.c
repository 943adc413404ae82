// SPDX-License-Identifier: Apache-2.0
// The list of policies, their common rules (specs superserve 3): what cannot be met is given up first, floors are respected.
#include "sched/policy.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const gm__policy_kind *const kinds[] = {&gm__policy_gamut,  &gm__policy_slackfit, &gm__policy_maxbatch,
                                               &gm__policy_maxacc, &gm__policy_infaas,   &gm__policy_fixed,
                                               &gm__policy_clipper};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

int gm__most_accurate(const gm_latency *l, int size, int64_t slack_ns) {
    const int64_t *column = l->ns + l->column[size];
    int low = 0, high = l->subnets; // times do not fall with accuracy
    while (low < high) {
        int middle = (low + high) / 2;
        if (column[middle * l->batches] <= slack_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

int gm__largest_batch(const gm_latency *l, int subnet, int64_t slack_ns) {
    const int64_t *row = l->ns + subnet * l->batches;
    int at = l->batches - 1;
    while (at >= 0 && row[at] > slack_ns) at--;
    return at;
}

int gm__least_of(const gm_sched_view *v, int from, int size) {
    int least = 0;
    for (int i = from; i < from + size; i++) least = gm_max(least, v->front[i].least);
    return least;
}

gm_decision gm__settle(const gm_latency *l, const gm_sched_view *v, int from, int subnet, int size, bool repick) {
    int64_t slack = gm__slack(v, from);
    int most = v->shown - from;
    if (size > most) {
        size = most;
        if (repick) subnet = gm_max(gm__most_accurate(l, size, slack), subnet);
    }
    for (;;) {
        int least = gm_max(subnet, gm__least_of(v, from, size));
        if (size == 1 || gm_latency_ns(l, least, size) <= slack || least == subnet)
            return (gm_decision){.drop = from, .subnet = least, .batch = size};
        int column = l->column[size];
        size = column == 0 ? 1 : l->batch[column - 1];
    }
}

gm_policy_settings gm_policy_settings_default(void) {
    return (gm_policy_settings){0};
}

static int nearest_accuracy(const gm_latency *l, double top1) {
    int best = 0;
    for (int n = 1; n < l->subnets; n++)
        if (fabs(l->top1[n] - top1) < fabs(l->top1[best] - top1)) best = n;
    return best;
}

static gm_status parse_subnet(const char *text, const gm_latency *l, int *out, gm_error *err) {
    char *end = NULL;
    *out = -1;
    if (strcmp(text, "min") == 0) *out = 0;
    if (strcmp(text, "max") == 0) *out = l->subnets - 1;
    if (*out >= 0) return GM_OK;
    if (strchr(text, '.') != NULL) {
        double top1 = strtod(text, &end);
        if (*end == '\0' && top1 >= 0.0 && top1 <= 100.0) {
            *out = nearest_accuracy(l, top1);
            return GM_OK;
        }
    } else if (text[strspn(text, "0123456789abcdefABCDEF")] == '\0' && text[0] != '\0' && strlen(text) <= 16) {
        uint64_t id = strtoull(text, NULL, 16);
        for (int n = 0; n < l->subnets; n++)
            if (l->id[n] == id) *out = n;
        if (*out >= 0) return GM_OK;
    }
    return gm_fail(err, GM_ERR_NOT_FOUND,
                   "the profile has no subnet '%.40s': give min, max, the hex id of one of its %d subnets, or an accuracy "
                   "from %.2f to %.2f",
                   text, l->subnets, l->top1[0], l->top1[l->subnets - 1]);
}

static gm_status unknown(const char *name, gm_error *err) {
    char list[128] = "";
    for (int i = 0; i < KINDS; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s%s", i ? ", " : "", kinds[i]->name, kinds[i]->takes_subnet ? ":SUBNET" : "");
    }
    return gm_fail(err, GM_ERR_NOT_FOUND, "there is no policy '%.40s'; there are %s", name, list);
}

gm_status gm_policy_create(const char *name, const gm_latency *l, const gm_policy_settings *settings, gm_policy **out,
                           gm_error *err) {
    *out = NULL;
    size_t length = strcspn(name, ":");
    const gm__policy_kind *kind = NULL;
    for (int i = 0; i < KINDS; i++)
        if (strlen(kinds[i]->name) == length && strncmp(kinds[i]->name, name, length) == 0) kind = kinds[i];
    if (kind == NULL || strlen(name) >= GM__NAME_BYTES || (!kind->takes_subnet && name[length] == ':')) return unknown(name, err);
    int subnet = 0;
    if (kind->takes_subnet) {
        gm_status status = parse_subnet(name[length] == ':' ? name + length + 1 : "", l, &subnet, err);
        if (status != GM_OK) return status;
    }
    gm_policy *p = gm_alloc(1, sizeof *p);
    if (p == NULL) return gm_fail(err, GM_ERR_MEMORY, "policy %s: out of memory", name);
    snprintf(p->name, sizeof p->name, "%s", name);
    p->kind = kind;
    p->subnet = subnet;
    p->settings = settings != NULL ? *settings : gm_policy_settings_default();
    gm_status status = kind->prepare != NULL ? kind->prepare(p, l, err) : GM_OK;
    if (status != GM_OK) {
        gm_policy_destroy(p);
        return status;
    }
    *out = p;
    return GM_OK;
}

void gm_policy_destroy(gm_policy *p) {
    if (p == NULL) return;
    gm_free(p->hull);
    gm_free(p->knot);
    gm_free(p);
}

const char *gm_policy_name(const gm_policy *p) {
    return p->name;
}

bool gm_policy_keeps_late(const gm_policy *p) {
    return p->kind->keeps_late || p->settings.serve_late;
}

void gm_policy_refresh(gm_policy *p, const gm_latency *l) {
    if (p->kind->refresh != NULL) p->kind->refresh(p, l);
}

int gm_policy_buckets(const gm_policy *p, int *filled) {
    if (filled != NULL) *filled = p->filled;
    return p->buckets;
}

gm_decision gm_policy_decide(const gm_policy *p, const gm_latency *l, const gm_sched_view *v) {
    int from = 0;
    if (!p->kind->keeps_late) {
        while (from < v->shown && gm__slack(v, from) < gm_latency_ns(l, v->front[from].least, 1)) from++;
        if (from > 0 && p->settings.serve_late) {
            int size = gm_min(l->largest, v->shown);
            return (gm_decision){.subnet = gm__least_of(v, 0, size), .batch = size, .late = true};
        }
    }
    if (from == v->shown) return (gm_decision){.drop = from, .subnet = -1, .wait_ns = v->now_ns};
    return p->kind->decide(p, l, v, from);
}
