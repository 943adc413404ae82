// SPDX-License-Identifier: Apache-2.0
// Choices as inputs of the accuracy predictor (specs: training 2.13): one-hot, what is switched off all zero.
#include <gamut/search.h>

#include <math.h>
#include <string.h>

enum { MBV3_INPUTS = 128, MBV3_BLOCKS = 20, MBV3_RESOLUTIONS = 8, RESNET_INPUTS = 82, RESNET_RESOLUTIONS = 8, RESNET_WIDTHS = 6,
       RESNET_SLOTS = 18 };

// First knob of a group and how many there are; -1: no such group.
static int group_of(const gm_space *space, const char *name, int *count) {
    int first = -1;
    *count = 0;
    for (int k = 0; k < space->knobs; k++) {
        if (strcmp(space->group[space->knob[k].group].name, name) != 0) continue;
        if (first < 0) first = k;
        ++*count;
    }
    return first;
}

static bool in_use(const gm_space *space, const gm_choice *choice, int knob) {
    for (int k = knob; space->knob[k].gate_knob >= 0; k = space->knob[k].gate_knob)
        if (choice->index[space->knob[k].gate_knob] < space->knob[k].gate_min) return false;
    return true;
}

static bool has_group(const gm_space *space, const char *name, int knobs, int values) {
    int count, first = group_of(space, name, &count);
    if (first < 0 || count != knobs) return false;
    for (int k = first; k < first + count; k++)
        if (values > 0 && space->knob[k].count != values) return false;
    return true;
}

gm_status gm_encoding_inputs(gm_encoding encoding, const gm_space *space, int *inputs, gm_error *err) {
    *inputs = 0;
    switch (encoding) {
    case GM_ENCODING_SPACE:
        for (int k = 0; k < space->knobs; k++) *inputs += space->knob[k].count;
        if (*inputs > 0) return GM_OK;
        return gm_fail(err, GM_ERR_ARGUMENT, "this space has no knobs: there is nothing to predict");
    case GM_ENCODING_OFA_MBV3:
        *inputs = MBV3_INPUTS;
        if (has_group(space, "k", MBV3_BLOCKS, 3) && has_group(space, "e", MBV3_BLOCKS, 3) && has_group(space, "r", 1, 0))
            return GM_OK;
        return gm_fail(err, GM_ERR_ARGUMENT, "the predictor of Once-for-all MobileNetV3 needs the space of mbv3 with "
                                             "elastic kernels and resolution");
    case GM_ENCODING_OFA_RESNET50:
        *inputs = RESNET_INPUTS;
        if (has_group(space, "d", 5, 0) && has_group(space, "w", RESNET_WIDTHS, 3) && has_group(space, "e", RESNET_SLOTS, 3) &&
            has_group(space, "r", 1, 0))
            return GM_OK;
        return gm_fail(err, GM_ERR_ARGUMENT,
                       "the predictor of Once-for-all ResNet50 needs the space of resnet50 with elastic resolution");
    }
    return gm_fail(err, GM_ERR_ARGUMENT, "encoding %d does not exist", (int)encoding);
}

// Knobs of a group, `values` inputs each, from x on.
static void one_hot(const gm_space *space, const gm_choice *choice, const char *name, int values, float *x) {
    int count, first = group_of(space, name, &count);
    for (int k = 0; k < count; k++)
        if (in_use(space, choice, first + k)) x[k * values + choice->index[first + k]] = 1;
}

static double value_of(const gm_space *space, const gm_choice *choice, const char *name) {
    int count, first = group_of(space, name, &count);
    return first < 0 ? 0 : space->knob[first].values[choice->index[first]];
}

static gm_status encode_mbv3(const gm_space *space, const gm_choice *choice, float *x, gm_error *err) {
    double slot = (value_of(space, choice, "r") - 112) / 16;
    if (slot < 0 || slot > MBV3_RESOLUTIONS - 1 || slot != floor(slot))
        return gm_fail(err, GM_ERR_RANGE, "the predictor knows no resolution of %g: use 112 to 224 in steps of 16",
                       value_of(space, choice, "r"));
    one_hot(space, choice, "k", 3, x);
    one_hot(space, choice, "e", 3, x + 3 * MBV3_BLOCKS);
    x[6 * MBV3_BLOCKS + (int)slot] = 1;
    return GM_OK;
}

static gm_status encode_resnet50(const gm_space *space, const gm_choice *choice, float *x, gm_error *err) {
    static const int resolutions[RESNET_RESOLUTIONS] = {128, 144, 160, 176, 192, 224, 240, 256};
    int r = (int)value_of(space, choice, "r"), slot = 0;
    while (slot < RESNET_RESOLUTIONS && resolutions[slot] != r) slot++;
    if (slot == RESNET_RESOLUTIONS)
        return gm_fail(err, GM_ERR_RANGE, "the predictor knows no resolution of %d: use 128, 144, ... 192, 224, 240 or 256", r);
    x[slot] = 1;
    x[RESNET_RESOLUTIONS + (value_of(space, choice, "d") > 0 ? 1 : 0)] = 1;
    one_hot(space, choice, "w", 3, x + 10);
    one_hot(space, choice, "e", 3, x + 28);
    return GM_OK;
}

gm_status gm_encode(gm_encoding encoding, const gm_space *space, const gm_choice *choice, float *x, gm_error *err) {
    int inputs;
    gm_status status = gm_encoding_inputs(encoding, space, &inputs, err);
    if (status) return status;
    memset(x, 0, (size_t)inputs * sizeof *x);
    if (encoding == GM_ENCODING_OFA_MBV3) return encode_mbv3(space, choice, x, err);
    if (encoding == GM_ENCODING_OFA_RESNET50) return encode_resnet50(space, choice, x, err);
    for (int k = 0; k < space->knobs; x += space->knob[k++].count)
        if (in_use(space, choice, k)) x[choice->index[k]] = 1;
    return GM_OK;
}
