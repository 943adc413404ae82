// SPDX-License-Identifier: Apache-2.0
// Rates and burstiness of the arrivals so far: exponentially decayed counts over three scales, and a histogram of how many
// came in each short window, which says how large a burst to expect. No history is kept.
#include <gamut/sched.h>

#include <math.h>

static const double scale[GM_ARRIVAL_SCALES] = {1.0, 8.0, 64.0}; // of decay, in units
static const double keep = 1.0 - 1.0 / 512.0;                     // of the histogram, a window
// Few windows have not seen how large bursts can be. After n of them a quantile above the median is raised by this times (its
// level - 0.5) / n. Of 0 to 20, 2 takes most off what the first bursts of the Azure code trace cost (0.3 points) at no loss
// elsewhere (experiments/superserve, loads of 0.7).
static const double unseen = 2.0;
static const double levels[GM_ARRIVAL_QUANTILES] = {0.1, 0.3, 0.5, 0.7, 0.9, 0.98};

void gm_arrivals_init(gm_arrivals *a, int64_t unit_ns) {
    *a = (gm_arrivals){.unit_ns = unit_ns > 0 ? unit_ns : 1};
}

// Bins 0, 1, 2, 3 hold these counts, then there are four a doubling.
static int bin_of(double count) {
    return count < 4.0 ? (int)count : gm_min((int)(4.0 * (log2(count) - 1.0)), GM_ARRIVAL_BINS - 1);
}
static double middle_of(int bin) {
    return bin < 4 ? bin : exp2((bin + 0.5) / 4.0 + 1.0);
}

static void close_windows(gm_arrivals *a, int64_t now_ns) {
    int64_t passed = (now_ns - a->window_ns) / a->unit_ns;
    double empty = passed > 1 ? (double)(passed - 1) : 0.0, kept = pow(keep, empty);
    for (int i = 0; i < GM_ARRIVAL_BINS; i++) a->bin[i] *= keep * kept;
    a->bin[bin_of((double)a->in_window)] += kept;
    a->bin[0] += (1.0 - kept) / (1.0 - keep);
    a->bins = a->bins * keep * kept + kept + (1.0 - kept) / (1.0 - keep);
    a->in_window = 0;
    a->window_ns += passed * a->unit_ns;
}

void gm_arrivals_add(gm_arrivals *a, int64_t now_ns, int64_t deadline_ns) {
    if (a->count == 0) a->first_ns = a->last_ns = a->window_ns = now_ns;
    double gap = (double)(now_ns - a->last_ns) / (double)a->unit_ns;
    for (int i = 0; i < GM_ARRIVAL_SCALES; i++)
        a->decayed[i] = (gap > 0.0 ? a->decayed[i] * exp(-gap / scale[i]) : a->decayed[i]) + 1.0;
    if (now_ns - a->window_ns >= a->unit_ns) close_windows(a, now_ns);
    a->in_window++;
    a->last_ns = now_ns;
    a->latest_ns[a->count % GM_ARRIVAL_LATEST] = now_ns;
    a->count++;
    if (deadline_ns < GM_NO_DEADLINE / 2) {
        double slo = (double)(deadline_ns - now_ns);
        a->slo_ns += (a->slo_ns == 0.0 ? 1.0 : 1.0 / 64.0) * (slo - a->slo_ns);
    }
}

gm_arrival_stats gm_arrivals_read(const gm_arrivals *a, int64_t now_ns) {
    gm_arrival_stats s = {.slo_ns = a->slo_ns, .count = a->count};
    if (a->count == 0) return s;
    double unit = (double)a->unit_ns, gap = (double)(now_ns - a->last_ns) / unit;
    double age = (double)(now_ns - a->first_ns) / unit;
    for (int i = 0; i < GM_ARRIVAL_SCALES; i++) {
        // A young estimate has seen only `age` of its window; half a unit keeps the first arrivals from meaning infinity.
        double seen = scale[i] * (1.0 - exp(-(age + 0.5) / scale[i]));
        s.rate[i] = a->decayed[i] * exp(-gap / scale[i]) / seen / unit;
    }
    double below = 0.0;
    for (int bin = 0, q = 0; bin < GM_ARRIVAL_BINS && q < GM_ARRIVAL_QUANTILES; bin++) {
        below += a->bin[bin];
        for (; q < GM_ARRIVAL_QUANTILES && a->bins > 0.0 && (below >= levels[q] * a->bins || bin == GM_ARRIVAL_BINS - 1); q++)
            s.quantile[q] = middle_of(bin) / unit;
    }
    s.latest = s.rate[0];
    if (a->count >= GM_ARRIVAL_LATEST) {
        int64_t oldest = a->latest_ns[a->count % GM_ARRIVAL_LATEST];
        s.latest = GM_ARRIVAL_LATEST / fmax((double)(now_ns - oldest), 1.0);
    }
    if (a->bins < 4.0) // too young for a spread
        for (int q = 0; q < GM_ARRIVAL_QUANTILES; q++) s.quantile[q] = s.rate[0];
    for (int q = 0; q < GM_ARRIVAL_QUANTILES; q++)
        if (levels[q] > 0.5) s.quantile[q] *= 1.0 + unseen * (levels[q] - 0.5) / fmax(a->bins, 1.0);
    return s;
}
