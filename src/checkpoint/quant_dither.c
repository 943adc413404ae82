// SPDX-License-Identifier: Apache-2.0
// A restored weight sits exactly at its centre. Until it has moved by half a bin, the nearest centre is the old one, and a
// second restore takes it back there: whatever training gained in between is lost, at every restore, while each checkpoint
// alone looks harmless. So after a restore that came early every weight has a threshold of its own, drawn from the gap between two centres: a
// movement of a tenth of the gap takes a tenth of the weights to the next centre, and on average nothing is lost (unbiased
// rounding; experiments/checkpoint/README.md has what it is worth). A draw holds until the next restore, so a weight that does
// not move keeps its id; drawn anew just then, when all weights are at centres, it changes none.
// Where weights have moved so far that they fill their bins evenly again, the nearest centre does as well, with half the error.
#include "checkpoint/quant_private.h"

#include <math.h>

enum { SAMPLES = 4096 };
// Normal movements of 0.38 gaps: nine tenths of a shift then show without a draw. Weights that lie anywhere come to 0.94 to 0.98
// over all tensors (the Fashion-MNIST supernet, 5 to 40 bins, up to 0.4 pruned; measured by hand); single tensors, where much is pruned, to as little as
// 0.6: their draws last.
static const double even_enough = 0.9;

// Squared distances to the nearest centre, and those of weights that fill the bin evenly (a twelfth of its squared width). Not to the centre of
// before: a draw moves weights to the farther one, and would look as if they had moved.
typedef struct spread {
    double apart, even;
} spread;

static spread spread_of(const gm__quant_tensor *t, const gm__part *last, const uint8_t *before) {
    float centre[GM__QUANT_BINS];
    double apart = 0, even = 0;
    size_t stride = t->shape.count / SAMPLES + 1;
    for (int i = 0; i < last->bins; i++) centre[i] = gm_bf16_to_f32(last->centre[i]);
    for (size_t i = 0; i < t->shape.count; i += stride) {
        float w = t->weights[i];
        int c = before[i];
        if (c >= last->bins) continue; // no centre
        while (c > 0 && w - centre[c - 1] < centre[c] - w) c--;
        while (c + 1 < last->bins && centre[c + 1] - w < w - centre[c]) c++;
        if (c < 1 || c + 1 >= last->bins) continue; // at the end, where a bin has no width
        if (centre[c - 1] * centre[c] < 0 || centre[c] * centre[c + 1] < 0) continue; // beside 0, where most of the bin is pruned
        double width = (double)(centre[c + 1] - centre[c - 1]) / 2, d = (double)(w - centre[c]);
        apart += d * d;
        even += width * width / 12;
    }
    return (spread){apart, even};
}

bool gm__quant_filled(const gm__quant_tensor *tensor, int tensors, const gm__quant_state *last) {
    double apart = 0, even = 0; // of all weights, each tensor by what its bins are wide
    if (gm__quant_shapes(&tensor->shape, sizeof *tensor, tensors) != last->shapes) return false;
    for (int i = 0; i < tensors; i++) {
        if (tensor[i].shape.kind == GM__QUANT_SMALL) continue;
        spread s = spread_of(&tensor[i], &last->part[i], last->ids + last->part[i].first);
        if (s.even <= 0) continue;
        apart += s.apart / s.even * (double)tensor[i].shape.count;
        even += (double)tensor[i].shape.count;
    }
    return apart > even_enough * even;
}

gm__dither gm__dither_of(uint64_t seed, int tensor, const gm__quant_tensor *t, const gm__part *last, const uint8_t *before) {
    gm__dither d = {0};
    if (seed == 0) return d;
    gm_rng rng = gm_rng_keyed(seed, (uint64_t)tensor, 0, GM_RNG_USER);
    if (last && t->shape.kind != GM__QUANT_SMALL) {
        spread s = spread_of(t, last, before);
        if (s.apart > even_enough * s.even) return d;
    }
    d.seed = gm_rng_u32(&rng) | 1;
    for (int i = 0; i < GM__DITHER_STEPS; i++) // between 0 and twice the fixed one
        d.prune[i] = (int16_t)lrint(GM__OCTAVE * log2(2 * (i + 0.5) / GM__DITHER_STEPS));
    return d;
}

void gm__dither_ids(const gm__dither *d, const gm__quant_tensor *t, const gm__part *p, bool pruned, const uint16_t *nearest,
                    uint8_t *ids) {
    float centre[GM__QUANT_BINS], from[GM__QUANT_BINS], scale[GM__QUANT_BINS]; // of the gap above each centre
    int last = p->bins - 1;
    for (int i = 0; i <= last; i++) centre[i] = gm_bf16_to_f32(p->centre[i]);
    for (int i = 0; i < last; i++) {
        float gap = centre[i + 1] - centre[i];
        bool around = pruned && centre[i] < 0 && centre[i + 1] > 0; // what is not pruned there goes to its own side
        from[i] = around ? 0 : centre[i];
        scale[i] = around ? INFINITY : gap > 0 ? 1 / gap : 0;
    }
    for (size_t i = 0; i < t->shape.count; i++) {
        float w = t->weights[i], threshold = (float)gm__dither_draw(d, i) * 0x1p-32f;
        if (ids[i] != 0) continue;
        int b = nearest[gm__bits(w) >> 16] & 0xff;
        b = gm_max(b - (w < centre[b]), 0);
        if (b < last && w > from[b]) b += (w - from[b]) * scale[b] > threshold;
        ids[i] = (uint8_t)b;
    }
}
