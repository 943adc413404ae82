// SPDX-License-Identifier: Apache-2.0
// graph: parameters between their stored layout and plain rows, for files and for drawing initial values.
#include <string.h>

#include "graph/graph_private.h"

size_t gm_param_elements(const gm_param *p) {
    size_t count = 1;
    for (int d = 0; d < p->rank; d++) count *= (size_t)p->dims[d];
    return count;
}

static gm_panels panels_of(const gm_param *p) {
    gm_panels panels;
    gm_panels_layout(&panels, GM_F32, p->dims[0], p->dims[1], p->dims[2], p->dims[3], p->flat);
    return panels;
}

size_t gm_param_index(const gm_param *p, size_t e) {
    if (p->layout == GM_LAYOUT_PLAIN) return e;
    size_t taps = (size_t)(p->dims[2] * p->dims[3]), row = e / taps;
    int tap = (int)(e % taps), i = (int)(row % (size_t)p->dims[1]), o = (int)(row / (size_t)p->dims[1]);
    if (p->layout == GM_LAYOUT_TAPS) return (size_t)tap * (size_t)gm_round_up(p->dims[0], 16) + (size_t)o;
    gm_panels panels = panels_of(p);
    return gm_panels_index(&panels, o, i, tap);
}

// Depthwise weights, 16 channels at a time: what they have in the rows fits the first-level cache.
static void export_taps(const gm_param *p, const float *stored, float *rows) {
    int taps = p->dims[2] * p->dims[3], ld = gm_round_up(p->dims[0], 16);
    for (int from = 0; from < p->dims[0]; from += 16)
        for (int t = 0; t < taps; t++)
            for (int o = from; o < gm_min(from + 16, p->dims[0]); o++)
                rows[(size_t)o * (size_t)taps + (size_t)t] = stored[(size_t)t * (size_t)ld + (size_t)o];
}

static void import_taps(const gm_param *p, const float *rows, float *stored) {
    int taps = p->dims[2] * p->dims[3], ld = gm_round_up(p->dims[0], 16);
    for (int from = 0; from < p->dims[0]; from += 16)
        for (int t = 0; t < taps; t++)
            for (int o = from; o < from + 16; o++)
                stored[(size_t)t * (size_t)ld + (size_t)o] = o < p->dims[0] ? rows[(size_t)o * (size_t)taps + (size_t)t] : 0;
}

void gm_param_export(const gm_param *p, const float *stored, float *rows) {
    if (p->layout == GM_LAYOUT_PANELS) {
        gm_panels panels = panels_of(p);
        gm_panels_to_rows(&panels, stored, rows);
    } else if (p->layout == GM_LAYOUT_TAPS) {
        export_taps(p, stored, rows);
    } else {
        memcpy(rows, stored, p->count * sizeof *rows);
    }
}

void gm_param_import(const gm_param *p, const float *rows, float *stored) {
    if (p->layout == GM_LAYOUT_PANELS) {
        gm_panels panels = panels_of(p);
        gm_panels_from_rows(&panels, rows, stored);
    } else if (p->layout == GM_LAYOUT_TAPS) {
        import_taps(p, rows, stored);
    } else {
        memcpy(stored, rows, p->count * sizeof *stored);
    }
}
