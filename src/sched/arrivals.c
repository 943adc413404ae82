// SPDX-License-Identifier: Apache-2.0
// Rates and burstiness of the arrivals so far: exponentially decayed counts over three scales, and the variance of counts in
// short windows. A few dozen nanoseconds an arrival, no history kept.
#include <gamut/sched.h>

#include <math.h>

static const double scale[GM_ARRIVAL_SCALES] = {4.0, 32.0, 256.0}; // of decay, in units
enum { WINDOW = 2 };                                                // units
static const double forget = 1.0 / 128.0;                           // of the window statistics

void gm_arrivals_init(gm_arrivals *a, int64_t unit_ns) {
    *a = (gm_arrivals){.unit_ns = unit_ns > 0 ? unit_ns : 1};
}

// Closes the windows that ended before now. After a long silence the empty ones beyond a few hundred change nothing more.
static void close_windows(gm_arrivals *a, int64_t now_ns) {
    int64_t length = WINDOW * a->unit_ns;
    int64_t passed = (now_ns - a->window_ns) / length;
    for (int64_t i = 0; i < passed && i < 512; i++) {
        double count = (double)a->in_window;
        double step = fmax(forget, 1.0 / (a->weight + 1.0));
        a->mean += step * (count - a->mean);
        a->square += step * (count * count - a->square);
        a->weight += 1.0;
        a->in_window = 0;
    }
    a->window_ns += passed * length;
}

void gm_arrivals_add(gm_arrivals *a, int64_t now_ns, int64_t deadline_ns) {
    if (a->count == 0) a->first_ns = a->last_ns = a->window_ns = now_ns;
    double gap = (double)(now_ns - a->last_ns) / (double)a->unit_ns;
    for (int i = 0; i < GM_ARRIVAL_SCALES; i++) a->decayed[i] = (gap > 0.0 ? a->decayed[i] * exp(-gap / scale[i]) : a->decayed[i]) + 1.0;
    if (now_ns - a->window_ns >= WINDOW * a->unit_ns) close_windows(a, now_ns);
    a->in_window++;
    a->last_ns = now_ns;
    a->count++;
    if (deadline_ns < GM_NO_DEADLINE / 2) {
        double slo = (double)(deadline_ns - now_ns);
        a->slo_ns += (a->slo_ns == 0.0 ? 1.0 : 1.0 / 64.0) * (slo - a->slo_ns);
    }
}

gm_arrival_stats gm_arrivals_read(const gm_arrivals *a, int64_t now_ns) {
    gm_arrival_stats s = {.dispersion = 1.0, .slo_ns = a->slo_ns, .count = a->count};
    if (a->count == 0) return s;
    double unit = (double)a->unit_ns, gap = (double)(now_ns - a->last_ns) / unit;
    double age = (double)(now_ns - a->first_ns) / unit;
    for (int i = 0; i < GM_ARRIVAL_SCALES; i++) {
        // A young estimate has seen only `age` of its window; half a unit keeps the first arrivals from meaning infinity.
        double seen = scale[i] * (1.0 - exp(-(age + 0.5) / scale[i]));
        s.rate[i] = a->decayed[i] * exp(-gap / scale[i]) / seen / unit;
    }
    double variance = a->square - a->mean * a->mean;
    if (a->weight >= 8.0 && a->mean > 0.0) s.dispersion = variance / a->mean;
    return s;
}
