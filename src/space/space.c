// SPDX-License-Identifier: Apache-2.0
// space: building the list of knobs, and the exact number of distinct subnets.
#include <math.h>
#include <string.h>

#include "space/space_private.h"

void gm_space_init(gm_space *space) { memset(space, 0, sizeof *space); }

static gm_status check_values(const char *group, const double *values, int count, gm_error *err) {
    if (count < 1 || count > GM_MAX_VALUES)
        return gm_fail(err, GM_ERR_RANGE, "knob of group %s: %d values, allowed are 1 to %d", group, count,
                       GM_MAX_VALUES);
    for (int i = 0; i < count; i++)
        if (!isfinite(values[i]) || (i > 0 && values[i] <= values[i - 1]))
            return gm_fail(err, GM_ERR_ARGUMENT,
                           "knob of group %s: value %d (%g) must be finite and above the one before it", group,
                           i + 1, values[i]);
    return GM_OK;
}

static gm_status check_gate(const gm_space *s, const char *group, int gate_knob, int gate_min, gm_error *err) {
    if (gate_knob == -1) return GM_OK;
    if (gate_knob < 0 || gate_knob >= s->knobs)
        return gm_fail(err, GM_ERR_ARGUMENT, "knob of group %s: gate knob %d does not exist yet (%d knobs)", group,
                       gate_knob, s->knobs);
    if (gate_min < 0 || gate_min >= s->knob[gate_knob].count)
        return gm_fail(err, GM_ERR_RANGE, "knob of group %s: gate index %d, knob %s has %d values", group, gate_min,
                       s->knob[gate_knob].name, s->knob[gate_knob].count);
    return GM_OK;
}

// A group's number, added when new. Knobs of one group are consecutive, so an old group must be the last.
static gm_status group_of(gm_space *s, const char *group, const char *kind, int *out, gm_error *err) {
    size_t length = strlen(group);
    if (length == 0 || length + 3 > sizeof s->group[0].name || strspn(group, "abcdefghijklmnopqrstuvwxyz") != length)
        return gm_fail(err, GM_ERR_ARGUMENT, "knob group '%s': 1 to %zu lower-case letters are needed", group,
                       sizeof s->group[0].name - 3);
    for (int i = 0; i < s->groups; i++) {
        if (strcmp(s->group[i].name, group) != 0) continue;
        if (i != s->groups - 1)
            return gm_fail(err, GM_ERR_ARGUMENT, "knob group %s: its knobs must be added one after another", group);
        *out = i;
        return GM_OK;
    }
    if (s->groups == GM_MAX_GROUPS)
        return gm_fail(err, GM_ERR_RANGE, "knob group %s: more than %d groups", group, GM_MAX_GROUPS);
    snprintf(s->group[s->groups].name, sizeof s->group[0].name, "%s", group);
    snprintf(s->group[s->groups].kind, sizeof s->group[0].kind, "%s", kind);
    *out = s->groups++;
    return GM_OK;
}

gm_status gm_space_add(gm_space *space, const char *group, const char *kind, const double *values, int count,
                       int gate_knob, int gate_min, int *out_knob, gm_error *err) {
    gm_status status = check_values(group, values, count, err);
    if (status) return status;
    status = check_gate(space, group, gate_knob, gate_min, err);
    if (status) return status;
    if (space->knobs == GM_MAX_KNOBS)
        return gm_fail(err, GM_ERR_RANGE, "knob group %s: more than %d knobs", group, GM_MAX_KNOBS);
    int number = 0;
    status = group_of(space, group, kind, &number, err);
    if (status) return status;

    int in_group = 1;
    for (int i = 0; i < space->knobs; i++) in_group += space->knob[i].group == number;
    gm_knob *knob = &space->knob[space->knobs];
    memset(knob, 0, sizeof *knob);
    // A knob alone in its group carries the bare letter ("r"); a second one numbers the first.
    if (in_group == 1) snprintf(knob->name, sizeof knob->name, "%s", group);
    else snprintf(knob->name, sizeof knob->name, "%s%d", group, in_group);
    if (in_group == 2) snprintf(knob[-1].name, sizeof knob->name, "%s1", group);
    knob->group = (uint8_t)number;
    knob->count = (uint8_t)count;
    memcpy(knob->values, values, (size_t)count * sizeof values[0]);
    knob->gate_knob = (int16_t)gate_knob;
    knob->gate_min = (uint8_t)(gate_knob < 0 ? 0 : gate_min);
    if (out_knob) *out_knob = space->knobs;
    space->knobs++;
    return GM_OK;
}

bool gm__knob_in_use(const gm_space *space, const gm_choice *choice, int knob) {
    // gates point to earlier knobs, so this ends
    for (int k = knob; space->knob[k].gate_knob >= 0; k = space->knob[k].gate_knob)
        if (choice->index[space->knob[k].gate_knob] < space->knob[k].gate_min) return false;
    return true;
}
