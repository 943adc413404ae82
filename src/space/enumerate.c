// SPDX-License-Identifier: Apache-2.0
// space: the exact number of distinct subnets, and a visit of each of them.
#include <string.h>

#include "space/space_private.h"

// Unsigned integers of 352 bits: GM_MAX_KNOBS knobs of GM_MAX_VALUES values are at most 2^320 subnets, so no count
// can overflow.
enum { LIMBS = 11 };
typedef struct wide {
    uint32_t limb[LIMBS]; // little end first
} wide;

static wide wide_of(uint32_t v) { return (wide){.limb = {v}}; }

static wide wide_add(wide a, const wide *b) {
    uint64_t carry = 0;
    for (int i = 0; i < LIMBS; i++) {
        carry += (uint64_t)a.limb[i] + b->limb[i];
        a.limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    return a;
}

static wide wide_mul(const wide *a, const wide *b) {
    wide r = wide_of(0);
    for (int i = 0; i < LIMBS; i++) {
        uint64_t carry = 0;
        for (int j = 0; i + j < LIMBS; j++) {
            carry += (uint64_t)a->limb[i] * b->limb[j] + r.limb[i + j];
            r.limb[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
    }
    return r;
}

static uint32_t wide_divide(wide *a, uint32_t by) {
    uint64_t rest = 0;
    for (int i = LIMBS; i-- > 0;) {
        rest = rest << 32 | a->limb[i];
        a->limb[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    return (uint32_t)rest;
}

static bool wide_is_zero(const wide *a) {
    for (int i = 0; i < LIMBS; i++)
        if (a->limb[i]) return false;
    return true;
}

// Gates form a forest. Below one knob there are: the sum over its values of the product over the knobs that this
// value switches on. Gates point to earlier knobs, so going backwards every knob is ready before its gate.
static wide count_subnets(const gm_space *space) {
    wide below[GM_MAX_KNOBS], total = wide_of(1);
    for (int k = space->knobs; k-- > 0;) {
        below[k] = wide_of(0);
        for (int v = 0; v < space->knob[k].count; v++) {
            wide product = wide_of(1);
            for (int c = k + 1; c < space->knobs; c++)
                if (space->knob[c].gate_knob == k && v >= space->knob[c].gate_min)
                    product = wide_mul(&product, &below[c]);
            below[k] = wide_add(below[k], &product);
        }
        if (space->knob[k].gate_knob < 0) total = wide_mul(&total, &below[k]);
    }
    return total;
}

gm_status gm_space_count(const gm_space *space, char *text, size_t size, gm_error *err) {
    char digits[LIMBS * 10 + 1]; // 32 bits are under 10 digits
    size_t at = sizeof digits - 1;
    wide n = count_subnets(space);
    digits[at] = '\0';
    do digits[--at] = (char)('0' + wide_divide(&n, 10));
    while (!wide_is_zero(&n));
    if (sizeof digits - at > size)
        return gm_fail(err, GM_ERR_RANGE, "number of subnets: %zu bytes are needed, the buffer has %zu",
                       sizeof digits - at, size);
    memcpy(text, digits + at, sizeof digits - at);
    return GM_OK;
}

gm_status gm_space_enumerate(const gm_space *space, uint64_t limit,
                             bool (*visit)(void *context, const gm_choice *choice), void *context, gm_error *err) {
    wide n = count_subnets(space);
    bool above_64_bits = false;
    for (int i = 2; i < LIMBS; i++) above_64_bits |= n.limb[i] != 0;
    if (above_64_bits || ((uint64_t)n.limb[1] << 32 | n.limb[0]) > limit) {
        char text[128] = "?";
        gm_space_count(space, text, sizeof text, NULL);
        return gm_fail(err, GM_ERR_RANGE, "%s subnets are more than the limit of %llu: sample or search instead", text,
                       (unsigned long long)limit);
    }
    gm_choice c = gm_choice_min(space);
    for (;;) {
        if (!visit(context, &c)) return GM_OK;
        // An odometer, last knob fastest, over canonical choices: only knobs in use turn, and a turn of an earlier
        // knob leaves all later ones at 0, which is also the canonical value of those that it switches off.
        int k = space->knobs - 1;
        for (; k >= 0; k--) {
            if (gm__knob_in_use(space, &c, k) && c.index[k] + 1 < space->knob[k].count) {
                c.index[k]++;
                break;
            }
            c.index[k] = 0;
        }
        if (k < 0) return GM_OK;
    }
}
