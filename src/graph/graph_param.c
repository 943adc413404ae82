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

// panels: as panels_of, looked at for GM_LAYOUT_PANELS only
static size_t place(const gm_param *p, const gm_panels *panels, size_t element) {
    if (p->layout == GM_LAYOUT_PLAIN) return element;
    size_t taps = (size_t)(p->dims[2] * p->dims[3]), row = element / taps;
    int tap = (int)(element % taps), i = (int)(row % (size_t)p->dims[1]), o = (int)(row / (size_t)p->dims[1]);
    if (p->layout == GM_LAYOUT_TAPS) return (size_t)tap * (size_t)gm_round_up(p->dims[0], 16) + (size_t)o;
    return gm_panels_index(panels, o, i, tap);
}

size_t gm_param_index(const gm_param *p, size_t e) {
    gm_panels panels = panels_of(p);
    return place(p, &panels, e);
}

// Panels without a division an element: training states pass here while training waits.
static void export_panels(const gm_param *p, const float *stored, float *rows) {
    gm_panels panels = panels_of(p);
    int taps = p->dims[2] * p->dims[3];
    for (int o = 0; o < p->dims[0]; o++)
        for (int i = 0; i < p->dims[1]; i++)
            for (int t = 0; t < taps; t++) *rows++ = stored[gm_panels_index(&panels, o, i, t)];
}

static void import_panels(const gm_param *p, const float *rows, float *stored) {
    gm_panels panels = panels_of(p);
    int taps = p->dims[2] * p->dims[3];
    for (int o = 0; o < p->dims[0]; o++)
        for (int i = 0; i < p->dims[1]; i++)
            for (int t = 0; t < taps; t++) stored[gm_panels_index(&panels, o, i, t)] = *rows++;
}

void gm_param_export(const gm_param *p, const float *stored, float *rows) {
    if (p->layout == GM_LAYOUT_PANELS) {
        export_panels(p, stored, rows);
        return;
    }
    for (size_t e = 0, n = gm_param_elements(p); e < n; e++) rows[e] = stored[place(p, NULL, e)];
}

void gm_param_import(const gm_param *p, const float *rows, float *stored) {
    memset(stored, 0, p->count * sizeof *stored);
    if (p->layout == GM_LAYOUT_PANELS) {
        import_panels(p, rows, stored);
        return;
    }
    for (size_t e = 0, n = gm_param_elements(p); e < n; e++) stored[place(p, NULL, e)] = rows[e];
}
